#!/usr/bin/env python3
"""Reads mutated HDF5 files with the program's readers; none may crash or hang in them or break a promise.

    try_mutated.py READER NASHFLOW KIND COUNT [--seed N] [--keep DIR]

READER is read_h5 as built, KIND one of its words, NASHFLOW the program that writes the files that are mutated. COUNT
variants are made, the same ones for the same seed, and read by few processes, which are started again behind a file
they died of. --keep leaves those files in DIR. HDF5 1.10 itself dies of about one in a thousand; those are counted apart,
and more than one in a hundred is a failure.
"""
import argparse
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import mutate_h5  # noqa: E402


# Each kind of files: pairs of the reader's words before them and of a file, and the objects that are looked up in it.

def grid(dim, steps):
    return f"""
domain: {{lower: {[0, -0.5, 1][:dim]}, upper: {[2, 0.75, 1.75][:dim]}, cells: {[7, 5, 4][:dim]},
  boundary: {["periodic", "noflux", "noflux"][:dim]}}}
time: {{horizon: 1, steps: {steps}}}
dynamics: {{sigma: 0.5}}
running_cost: {{coupling: {{type: power}}}}
agents: {{count: 100, initial_density: "1 + x"}}
""".replace("'", "")


def run(program, folder, name, text, code):
    case, directory = os.path.join(folder, f"{name}.yaml"), os.path.join(folder, name)
    with open(case, "w", encoding="utf-8") as f:
        f.write(text)
    done = subprocess.run([program, "run", case, "--output", directory], capture_output=True, text=True, check=False)
    if done.returncode != code:
        sys.exit(f"{case} ended with {done.returncode}, expected {code}:\n{done.stdout}{done.stderr}")
    return case, directory


def results(program, folder):
    """Results of games in one, two and three dimensions."""
    for dim in (1, 2, 3):
        _, directory = run(program, folder, f"run{dim}", grid(dim, 4) + "equilibrium: {max_iterations: 2}", 2)
        yield ["flow"], os.path.join(directory, "result.h5"), ["m", "time", *"xyz"[:dim]]


def fields(_, folder):
    """Datasets on the grids that read_h5 reads them for."""
    for dim in (1, 2, 3):
        path, shape = os.path.join(folder, f"fields{dim}.h5"), (4, 5, 7)[3 - dim:]
        with h5py.File(path, "w") as f:
            f["m0"] = 1 + np.arange(np.prod(shape), dtype="f4").reshape(shape)
            f.create_dataset("steady", data=np.arange(np.prod(shape)).reshape(shape), chunks=shape, compression=4)
            f.create_dataset("flow", data=np.random.default_rng(1).random((4, *shape)), chunks=(1, *shape), fletcher32=True)
            f["inner/flow"] = h5py.SoftLink("/flow")
        yield ["field"], path, ["m0", "steady", "flow"]


def checkpoints(program, folder):
    """Of runs that were stopped between two steps of a sweep of the agents, after iterations, and on the grid."""
    kinds = {"within": (1, 2, "density: {method: direct}"), "anderson": (2, 4, "density: {bandwidth: 0.4}"),
             "grid": (1, 4, "fokker_planck: {method: grid}\nequilibrium: {method: newton}")}
    for name, (dim, pieces, more) in kinds.items():
        os.mkdir(os.path.join(folder, name))
        for _ in range(pieces):
            with open(os.path.join(folder, name, "stop"), "w", encoding="utf-8"):
                pass
            case, directory = run(program, folder, name, grid(dim, 4) + more, 85)
        path = os.path.join(directory, f"checkpoint_{pieces:06}.h5")
        with h5py.File(path) as f:
            state = [f"state/{name}" for name in f["state"]]
        yield ["checkpoint", case], path, ["state", *state, *state]


KINDS = {"flow": results, "field": fields, "checkpoint": checkpoints}


def make(bases, count, seed, folder):
    """Paths of the variants by the reader's words. One in eight has its bytes changed and no new digest."""
    rng = np.random.default_rng(seed)
    made, all_data = collections.defaultdict(list), [data for _, data, _ in bases]
    for i in range(count):
        words, data, focus = bases[i % len(bases)]
        raw = rng.integers(8) == 0
        path = os.path.join(folder, f"{'raw' if raw else 'new'}{i:05}.h5")
        with open(path, "wb") as f:
            f.write(mutate_h5.mutate_bytes(data, all_data, rng) if raw else mutate_h5.mutate(data, all_data, focus, rng))
        made[tuple(words)].append(path)
    return made


def read(command, paths, folder):
    """What one process said of the first files, and how it ended."""
    # Of sanitizer builds: sizes that HDF5 takes from a damaged file may be any, and an error of PETSc frees nothing.
    leaks = int(command[1] != "checkpoint")
    environment = {**os.environ, "PETSC_OPTIONS": "-no_signal_handler",
                   "ASAN_OPTIONS": f"detect_leaks={leaks}:allocator_may_return_null=1:soft_rss_limit_mb=2000",
                   "LSAN_OPTIONS": f"suppressions={HERE}/h5.supp:print_suppressions=0"}
    done = subprocess.run([*command, *paths], cwd=folder, env=environment, capture_output=True, text=True,
                          errors="replace", check=False)
    return done.stdout.splitlines(), done.stderr, done.returncode


def in_hdf5(errors):
    """Whether the first frame of ours or of HDF5 is of HDF5."""
    for line in errors.splitlines():
        if "libhdf5" in line:
            return True
        if re.search(r"read_h5|/(app|solvers|tests)/", line):
            return False
    return False


class Tally:
    """What the readers said, and the files that they died of."""

    def __init__(self, keep):
        self.keep, self.failures, self.theirs, self.said = keep, [], 0, collections.Counter()

    def try_all(self, command, paths, folder):
        while paths:
            lines, errors, code = read(command, paths, folder)
            self.said.update(re.sub(r"[\d./'-]+", "*", line.split(": error: ")[-1])[:60]
                             for line in lines if "error: " in line or line.startswith("goes on"))
            if not code:
                return
            tried = [line for line in lines if line in paths]
            if not tried:
                sys.exit(f"{command} ended with {code} before the first file:\n{errors[-3000:]}")
            if in_hdf5(errors):
                self.theirs += 1
            else:
                self.failures.append(f"{os.path.basename(tried[-1])}: ended with {code}\n{errors[:3000]}")
            if self.keep:
                os.makedirs(self.keep, exist_ok=True)
                shutil.copy(tried[-1], self.keep)
            paths = paths[paths.index(tried[-1]) + 1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader")
    parser.add_argument("program")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep")
    options = parser.parse_args()
    tally = Tally(options.keep)
    with tempfile.TemporaryDirectory() as folder:
        bases = []
        for words, path, focus in KINDS[options.kind](os.path.abspath(options.program), folder):
            with open(path, "rb") as f:
                bases.append((words, f.read(), focus))
        for words, paths in make(bases, options.count, options.seed, folder).items():
            tally.try_all([os.path.abspath(options.reader), *words], paths, folder)
    print("\n".join(tally.failures))
    for message, times in tally.said.most_common(30):
        print(f"{times:5} {message}")
    print(f"{options.count} mutated files read, {len(tally.failures)} failures, {tally.theirs} faults of HDF5 itself")
    return 1 if tally.failures or 100 * tally.theirs > options.count else 0


if __name__ == "__main__":
    sys.exit(main())
