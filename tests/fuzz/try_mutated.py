#!/usr/bin/env python3
"""Reads mutated HDF5 files with the program's readers; none may crash or hang in them or break a promise.

    try_mutated.py READER NASHFLOW KIND COUNT [--seed N] [--keep DIR]

READER is read_h5 as built, KIND one of its words, NASHFLOW the program that writes the files that are mutated. COUNT
variants are made, the same ones for the same seed, and read by one process that is started again behind a file it
died of. --keep leaves those files in DIR. HDF5 1.10 itself dies of about one in a thousand; those are counted apart,
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


CASE = """
domain: {{lower: {lower}, upper: {upper}, cells: {cells}, boundary: {boundary}}}
time: {{horizon: 1, steps: 4}}
dynamics: {{sigma: 0.5}}
agents: {{count: 100, initial_density: "1 + x"}}
equilibrium: {{max_iterations: 2}}
"""


def results(program, folder):
    """Results of games in one, two and three dimensions."""
    for dim in (1, 2, 3):
        case, run = os.path.join(folder, f"case{dim}.yaml"), os.path.join(folder, f"run{dim}")
        with open(case, "w", encoding="utf-8") as f:
            f.write(CASE.format(lower=[0, -0.5, 1][:dim], upper=[2, 0.75, 1.75][:dim], cells=[7, 5, 4][:dim],
                                boundary=["periodic", "noflux", "noflux"][:dim]))
        done = subprocess.run([program, "run", case, "--output", run], capture_output=True, text=True, check=False)
        if done.returncode != 2:
            sys.exit(f"{case} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        yield os.path.join(run, "result.h5")


def fields(_, folder):
    """Datasets on the grids that read_h5 reads them for."""
    for dim in (1, 2, 3):
        path, shape = os.path.join(folder, f"fields{dim}.h5"), (4, 5, 7)[3 - dim:]
        with h5py.File(path, "w") as f:
            f["m0"] = 1 + np.arange(np.prod(shape), dtype="f4").reshape(shape)
            f.create_dataset("steady", data=np.arange(np.prod(shape)).reshape(shape), chunks=shape, compression=4)
            f.create_dataset("flow", data=np.random.default_rng(1).random((4, *shape)), chunks=(1, *shape), fletcher32=True)
            f["inner/flow"] = h5py.SoftLink("/flow")
        yield path


KINDS = {"flow": (results, ["m", "time", "x", "y", "z"]), "field": (fields, ["m0", "steady", "flow"])}


def make(bases, focus, count, seed, folder):
    rng = np.random.default_rng(seed)
    paths = []
    for i in range(count):
        paths.append(os.path.join(folder, f"{i:05}.h5"))
        with open(paths[-1], "wb") as f:
            f.write(mutate_h5.mutate(bases[i % len(bases)], bases, focus, rng))
    return paths


# Of sanitizer builds: sizes that HDF5 takes from a damaged file may be any.
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1:soft_rss_limit_mb=2000",
               "LSAN_OPTIONS": f"suppressions={HERE}/h5.supp:print_suppressions=0",
               "PETSC_OPTIONS": "-no_signal_handler"}


def read(command, paths, folder):
    """What one process said of the first files, and how it ended."""
    done = subprocess.run([*command, *paths], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True,
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader")
    parser.add_argument("program")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep")
    options = parser.parse_args()
    bases, (source, focus) = [], KINDS[options.kind]
    command = [os.path.abspath(options.reader), options.kind]
    failures, theirs, said = [], 0, collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name in source(os.path.abspath(options.program), folder):
            with open(name, "rb") as f:
                bases.append(f.read())
        paths = rest = make(bases, focus, options.count, options.seed, folder)
        while rest:
            lines, errors, code = read(command, rest, folder)
            said.update(re.sub(r"[\d./'-]+", "*", line.split(": error: ")[-1])[:60] for line in lines if "error: " in line)
            if not code:
                break
            tried = [line for line in lines if line in rest]
            if not tried:
                sys.exit(f"{command} ended with {code} before the first file:\n{errors[-3000:]}")
            if in_hdf5(errors):
                theirs += 1
            else:
                failures.append(f"{os.path.basename(tried[-1])}: ended with {code}\n{errors[:3000]}")
            if options.keep:
                os.makedirs(options.keep, exist_ok=True)
                shutil.copy(tried[-1], options.keep)
            rest = rest[rest.index(tried[-1]) + 1:]
    print("\n".join(failures))
    for message, times in said.most_common(30):
        print(f"{times:5} {message}")
    print(f"{len(paths)} mutated files read, {len(failures)} failures, {theirs} faults of HDF5 itself")
    return 1 if failures or 100 * theirs > len(paths) else 0


if __name__ == "__main__":
    sys.exit(main())
