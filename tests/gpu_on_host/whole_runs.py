"""Whole runs of the program with the CUDA backend on the host stand-in: whole_runs.py CASE ON_HOST PROGRAM SOURCE MPIEXEC.

Their densities, values and series are those of the CPU to the bit, whatever the seed of the stand-in."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import h5py
import numpy as np

CASE, ON_HOST, PROGRAM, SOURCE, MPIEXEC = sys.argv[1:6]
FEW = ("agents.count=3000", "time.steps=12", "equilibrium.max_iterations=3", "density.tolerance=1e-4")
CASES = {1: ("torus_1d", ("domain.cells=[40]", "density.bandwidth=0.06")),
         2: ("torus_2d", ("domain.cells=[20,16]", "density.bandwidth=[0.1,0.12]")),
         3: ("torus_3d", ("domain.cells=[12,8,8]", "density.bandwidth=[0.09,0.1,0.1]", "agents.count=1500", "time.steps=6"))}


def run(program, name, out, sets, backend, ranks=1, expect=2, seed=2, restart="none", launch=(), options=(),
        **environment):
    """A run's output."""
    command = [MPIEXEC, "-n", str(ranks), *launch, program, "run", f"{SOURCE}/input/{name}.yaml", "--backend", backend,
               "--output", str(out), "--restart", restart]
    for s in sets:
        command += ["--set", s]
    command += ["--", *options]
    environment = {k.upper(): str(v) for k, v in environment.items()}
    if expect not in (0, 2, 85):  # an aborted run gives nothing back
        environment["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False,
                          env=os.environ | {"MFG_STANDIN_SEED": str(seed)} | environment)
    text = done.stdout + done.stderr
    assert done.returncode == expect, f"exit code {done.returncode}, expected {expect}\n{text}"
    return text


def in_parts(tmp, name, sets, parts, options=(), end=2):
    """So many parts, each stopped after a piece of work, and the rest, by cpu and cuda in turn: of each, whether it was
    cuda's, and its output. `options`: of those of cuda."""
    for part in range(parts + 1):
        on_device = part % 2 == 1
        if part < parts:
            (tmp / "parts").mkdir(exist_ok=True)
            (tmp / "parts" / "stop").write_text("")
        yield on_device, run(ON_HOST if on_device else PROGRAM, name, tmp / "parts", sets, "cuda" if on_device else "cpu",
                             expect=85 if part < parts else end, restart="auto", options=options if on_device else ())


def same_bits(a, b, *more):
    with h5py.File(a / "result.h5") as f, h5py.File(b / "result.h5") as g:
        for key in ("m", "u", "series/mean", "series/variance", *more):
            assert np.array_equal(f[key][()], g[key][()]), f"{key} of {a.name} and {b.name} differ"


def case_bits(tmp):
    """One and two ranks, both divisions, doubles and floats: the CPU's results, by NCCL between two ranks."""
    for dim, (name, sets) in CASES.items():
        for decomposition in ("replicated", "domain"):
            for ranks in (1, 2):
                more = (*FEW, *sets, f"parallel.decomposition={decomposition}",
                        f"agents.precision={'single' if ranks == 2 else 'double'}")
                here, there = tmp / f"cpu{dim}{decomposition}{ranks}", tmp / f"cuda{dim}{decomposition}{ranks}"
                run(PROGRAM, name, here, more, "cpu", ranks)
                text = run(ON_HOST, name, there, more, "cuda", ranks, seed=2 + ranks)
                assert "backend cuda (host stand-in" in text, text
                assert ("NCCL" in text) == (ranks == 2), text
                same_bits(here, there)
    assert not np.array_equal(*(h5py.File(tmp / f"cuda1domain{r}" / "result.h5")["m"][()] for r in (1, 2))), \
        "single precision changes nothing: these runs would not see a difference"


def case_shared(tmp):
    """Two ranks with one GPU exchange through the host, said in the log."""
    name, sets = CASES[2]
    sets = (*FEW, *sets, "parallel.decomposition=domain")
    run(PROGRAM, name, tmp / "cpu", sets, "cpu", 2)
    text = run(ON_HOST, name, tmp / "cuda", sets, "cuda", 2, mfg_standin_shared_device=1)
    assert "since ranks 0 and 1 have the same GPU" in text, text
    same_bits(tmp / "cpu", tmp / "cuda")


def case_refused(tmp):
    """What is missing is told: a driver, a GPU, memory; auto does without."""
    name, sets = CASES[1]
    sets = (*FEW, *sets)
    assert "no NVIDIA driver" in run(ON_HOST, name, tmp / "a", sets, "cuda", expect=64, mfg_standin_devices=-1)
    assert "a rank sees no GPU" in run(ON_HOST, name, tmp / "b", sets, "cuda", expect=64, mfg_standin_devices=0)
    text = run(ON_HOST, name, tmp / "c", sets, "cuda", expect=75, mfg_standin_memory=100000)
    assert "of its GPU's memory, of which 0.1 are free" in text, text
    text = run(ON_HOST, name, tmp / "d", sets, "auto", mfg_standin_memory=100000)
    assert "backend cpu" in text and "would want" in text, text
    text = run(ON_HOST, name, tmp / "e", sets, "auto", mfg_standin_devices=0)
    assert "backend cpu" in text, text
    text = run(ON_HOST, name, tmp / "f", sets, "auto")
    assert "predicted ms per step from measured figures: cpu" in text, text


def case_devices(tmp):
    """Both backends, and over cells and agents which is predicted to be faster: that of the smaller figure."""
    for ranks in (1, 2):
        done = subprocess.run([MPIEXEC, "-n", str(ranks), ON_HOST, "devices"], capture_output=True, text=True,
                              timeout=250, check=False)
        assert done.returncode == 0, done
        assert "backend cuda: host stand-in" in done.stdout and "GB/s" in done.stdout, done.stdout
        for where in done.stdout.split("backend cuda: "):
            each, least = re.search(r"HJB 2D, us per cell and level +([\d.]+), bandwidth alone ([\d.]+) a Newton step$",
                                    where, re.M).groups()
            assert 0 < float(least) < float(each), done.stdout
        assert len(re.findall(r"^  HJB 1D, us per cell and level +[\d.]+ on the host$", done.stdout, re.M)) == 1
        table = done.stdout.split("predicted crossover of backends", 1)[1]
        entries = re.findall(r"([\d.e+-]+) / ([\d.e+-]+) (cpu|cuda)\b", table)
        assert len(entries) == 27, table
        for cpu, cuda, faster in entries:
            assert cpu == cuda or (faster == "cuda") == (float(cuda) < float(cpu)), table


def case_bench(tmp):
    """Backward sweeps on the device beside the host's: the same values and steps, a bandwidth that is no limit."""
    done = subprocess.run([MPIEXEC, "-n", "1", ON_HOST, "bench", "hjb", "--resolutions", "1", "--backend", "cuda"],
                          capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done
    rows = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines() if re.match(r"  \w+.*  +\d+( x \d+)?  ", line)]
    table = {(row[0], row[1], row[2]): row[3:] for row in rows}
    assert len(table) == len(rows) == 7, done.stdout
    for (label, grid, solver), (first, later, each, least, newton, _, plain, ratio, difference) in table.items():
        assert float(first) > 0 and float(later) > 0 and float(each) > 0, done.stdout
        assert solver == "plain" or solver == "direct" or 0 < float(least) < float(each), done.stdout
        if solver == "multigrid, cuda":
            host = table[label, grid, "multigrid"]
            assert newton == host[4] and float(difference) == 0, done.stdout
            assert 0 < float(ratio) < 0.5, f"not done by the stand-in, which is slow\n{done.stdout}"
            assert (plain == "-") == (host[6] == "-"), done.stdout
    assert {label for label, _, solver in table if solver == "multigrid, cuda"} == {"torus_2d", "torus_2d, T .1"}


def case_value(tmp):
    """The value equation solved by the device too, whose memory its levels do not leave within a chunk."""
    for dim in 2, 3:
        name, sets = CASES[dim]
        for ranks, chunk in (1, 100), (2, 5):
            more = (*FEW, *sets, f"parallel.decomposition={'replicated' if ranks == dim - 1 else 'domain'}",
                    "equilibrium.max_iterations=2", "equilibrium.exploitability=1", "output.control=true")
            here, there = tmp / f"cpu{dim}{ranks}", tmp / f"cuda{dim}{ranks}"
            run(PROGRAM, name, here, more, "cpu", ranks)
            text = run(ON_HOST, name, there, more, "cuda", ranks, options=("-hjb_backend", "cuda", "-hjb_chunk", str(chunk)))
            assert "value equation: cuda (-hjb_backend), vectors of the host" in text, text
            same_bits(here, there, "control", "convergence/exploitability")
    name, sets = CASES[2]
    sets = (*FEW, *sets)
    text = run(ON_HOST, name, tmp / "host", sets, "cuda")
    assert "value equation: cpu: this PETSc has no vectors on a GPU" in text, text
    name, sets = CASES[1]
    text = run(ON_HOST, name, tmp / "one", (*FEW, *sets), "cuda", options=("-hjb_backend", "cuda"))
    assert "value equation: cpu: in one dimension" in text, text


def case_value_restart(tmp):
    """Chunk by chunk by the host and by the device in turn: the bits of an undisturbed run."""
    name, sets = CASES[2]
    sets = (*FEW[:2], FEW[3], *sets, "equilibrium.max_iterations=2")
    run(PROGRAM, name, tmp / "whole", sets, "cpu")
    for _ in in_parts(tmp, name, sets, 7, ("-hjb_backend", "cuda", "-hjb_chunk", "4")):
        pass
    same_bits(tmp / "whole", tmp / "parts")


def case_grid(tmp):
    """The density on the grid: both equations, Newton's linearised sweeps and the exploitability by the device."""
    few = ("fokker_planck.method=grid", "equilibrium.max_iterations=2", "equilibrium.exploitability=1",
           "time.steps=6", "equilibrium.tolerance=1e-4", "running_cost.coupling.strength=5")
    for dim, method, ranks, chunk in (2, "newton", 2, 4), (3, "newton", 1, 100), (2, "picard", 1, 3):
        name, sets = CASES[dim][0], (CASES[dim][1][0], *few, f"equilibrium.method={method}")
        here, there = tmp / f"cpu{dim}{ranks}", tmp / f"cuda{dim}{ranks}"
        on_cpu = run(PROGRAM, name, here, sets, "cpu", ranks, options=("-log_view",))
        text = run(ON_HOST, name, there, sets, "cuda", ranks, options=("-hjb_chunk", str(chunk), "-log_view"))
        for sweep in ("HJBSweep", "FPSweep") + ("LinearisedSweeps",) * (method == "newton"):
            for output in on_cpu, text:
                assert re.search(rf"^{sweep} +[1-9]", output, re.M), output
        told = f"value and Fokker-Planck equations: cuda (backend), vectors of the host, {min(chunk, 6)} of 6 levels"
        assert told in text, text
        same_bits(here, there, "convergence/exploitability")
    name, sets = CASES[1]
    text = run(ON_HOST, name, tmp / "one", (*few, sets[0]), "cuda")
    assert "value and Fokker-Planck equations: cpu: in one dimension" in text, text
    name, sets = CASES[2]
    for out, options, told in (("by_hand", ("-hjb_backend", "cpu"), None),
                               ("assembled", ("-fp_mat_type", "aij", "-fp_pc_type", "jacobi"), "cpu: -fp_mat_type asks")):
        text = run(ON_HOST, name, tmp / out, (*few, sets[0]), "cuda", options=options)
        assert (told or "") in text and "equations: cuda" not in text, text
    assert "no NVIDIA driver" in run(ON_HOST, name, tmp / "none", (*few, sets[0]), "cuda", expect=64, mfg_standin_devices=-1)


def case_grid_memory(tmp):
    """As much of a GPU's memory as is predicted is enough; with less, chunks are shorter; too little is told."""
    name, sets = CASES[2]
    sets = ("domain.cells=[24,20]", "fokker_planck.method=grid", "equilibrium.method=newton", "equilibrium.max_iterations=2",
            "equilibrium.exploitability=1", "time.steps=10", "equilibrium.tolerance=1e-3", "running_cost.coupling.strength=5")
    run(PROGRAM, name, tmp / "cpu", sets, "cpu")
    pattern = r"equations: cuda \(backend\), vectors of the host, (\d+) of 10 levels at a time in ([\d.]+) of ([\d.]+) free MB"
    memory, levels = 0, []
    for out, share in ("all", 1), ("exact", 1), ("less", .7):
        text = run(ON_HOST, name, tmp / out, sets, "cuda", **({"mfg_standin_memory": int(memory * share)} if memory else {}))
        found = re.search(pattern, text)
        assert found, text
        levels.append(int(found[1]))
        memory = memory or 1e6 * (float(found[2]) + .1)
        same_bits(tmp / "cpu", tmp / out, "convergence/exploitability")
    assert levels[:2] == [10, 10] and 1 <= levels[2] < 8, levels
    text = run(ON_HOST, name, tmp / "little", sets, "cuda", expect=75, mfg_standin_memory=int(memory / 20))
    assert re.search(r"backend cuda: a rank needs [\d.]+ MB of its GPU's memory for the value and Fokker-Planck", text), text


def case_grid_restart(tmp):
    """Chunk by chunk of both sweeps by the host and by the device in turn: the bits of an undisturbed run."""
    name, sets = CASES[2]
    sets = (sets[0], "time.steps=12", "fokker_planck.method=grid", "equilibrium.max_iterations=2")
    run(PROGRAM, name, tmp / "whole", sets, "cpu")
    within = set()
    for on_device, _ in in_parts(tmp, name, sets, 12, ("-hjb_chunk", "4")):
        for checkpoint in sorted((tmp / "parts").glob("checkpoint_*.h5"))[-1:]:
            with h5py.File(checkpoint) as f:
                if f.visit(lambda item: item.endswith("fp_change") or None):
                    within.add(on_device)
    assert within == {True, False}, f"not stopped within Fokker-Planck sweeps of both: {within}"
    same_bits(tmp / "whole", tmp / "parts")


def case_restart(tmp):
    """Piece by piece by cpu and cuda in turn, and the rest by cpu: the bits of an undisturbed run."""
    name, sets = CASES[1]
    sets = (*FEW[:2], FEW[3], *sets, "equilibrium.tolerance=1e-7")
    run(PROGRAM, name, tmp / "whole", sets, "cpu", expect=0)
    for part, (_, text) in enumerate(in_parts(tmp, name, sets, 12, end=0)):
        assert (f"goes on from {tmp}" in text) == (part > 0), text
    same_bits(tmp / "whole", tmp / "parts")


def status(out):
    return dict(line.split("=", 1) for line in (out / "STATUS").read_text().splitlines())


def case_killed(tmp):
    """kill -9 of a rank while the others are in NCCL, unseen by the launcher: the others end with a message, a
    code and a checkpoint; the same command line goes on to the bits of an undisturbed run."""
    name, sets = CASES[1]
    sets = (*FEW[:2], FEW[3], "domain.cells=[60]", "density.bandwidth=0.04", "equilibrium.max_iterations=6",
            "checkpoint.every_iterations=1")
    hide = ("sh", "-c", '"$@"; code=$?; [ $code -ne 137 ] || sleep 30; exit $code', "sh")
    run(PROGRAM, name, tmp / "whole", sets, "cpu")
    for ranks, decomposition, victim, collective in ((2, "domain", 1, 70), (3, "replicated", 0, 12)):
        more, out = (*sets, f"parallel.decomposition={decomposition}"), tmp / decomposition
        text = run(ON_HOST, name, out, more, "cuda", ranks, expect=75, launch=hide, options=("-exchange_timeout", "3"),
                   mfg_standin_death=f"{victim}:{collective}:kill")
        assert "by NCCL: no answer; another rank has died or hangs" in text, text
        left = status(out)
        assert left["resumable"] == "yes" and (out / left["checkpoint"]).exists(), left
        assert victim == 0 or left["exit_code"] == "75", left  # rank 0 is the one that writes it
        text = run(ON_HOST, name, out, more, "cuda", ranks, restart="auto")
        assert f"goes on from {out / left['checkpoint']}" in text, text
        same_bits(tmp / "whole", out)


def case_memory(tmp):
    """Too little of a GPU's memory: at the start, or when all agents run into one rank's box, which no prediction
    knows. Both figures are told, the checkpoint stays, with more memory it goes on to the bits of an undisturbed run."""
    sets = ("agents.count=40000", "agents.initial_density=1", "domain.cells=[60]", "time.steps=6",
            "density.bandwidth=0.03", "density.tolerance=1e-4", "dynamics.drift=[\"-8\"]", "checkpoint.every_iterations=1",
            "parallel.decomposition=domain")
    name, sets = "reference_1d", (*sets, "equilibrium.max_iterations=2")
    run(PROGRAM, name, tmp / "whole", sets, "cpu", 2)
    for ranks in (2, 3):
        out = tmp / f"ranks{ranks}"
        text = run(ON_HOST, name, tmp / "none", sets, "cuda", ranks, expect=75, mfg_standin_memory=500000)
        assert re.search(r"a rank needs [\d.]+ MB of its GPU's memory, of which 0\.5 are free", text), text
        out.mkdir()
        (out / "stop").write_text("")
        run(ON_HOST, name, out, sets, "cuda", ranks, expect=85)
        text = run(ON_HOST, name, out, sets, "cuda", ranks, expect=75, restart="auto", mfg_standin_memory=3800000)
        assert re.search(r"backend: cuda: [\d.]+ of 3\.8 MB", text), text
        assert re.search(r"[\d.]+ MiB wanted on the GPU, [\d.]+ of 3\.6 MiB are free", text), text
        assert status(out)["resumable"] == "yes", status(out)
        run(ON_HOST, name, out, sets, "cuda", ranks, restart="auto")
        same_bits(tmp / "whole", out)


with tempfile.TemporaryDirectory() as folder:
    globals()[f"case_{CASE}"](pathlib.Path(folder))
