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


def run(program, name, out, sets, backend, ranks=1, expect=2, seed=2, restart="none", **environment):
    """A run's output."""
    command = [MPIEXEC, "-n", str(ranks), program, "run", f"{SOURCE}/input/{name}.yaml", "--backend", backend,
               "--output", str(out), "--restart", restart]
    for s in sets:
        command += ["--set", s]
    environment = {k.upper(): str(v) for k, v in environment.items()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False,
                          env=os.environ | {"MFG_STANDIN_SEED": str(seed)} | environment)
    text = done.stdout + done.stderr
    assert done.returncode == expect, f"exit code {done.returncode}, expected {expect}\n{text}"
    return text


def same_bits(a, b):
    with h5py.File(a / "result.h5") as f, h5py.File(b / "result.h5") as g:
        for key in ("m", "u", "series/mean", "series/variance"):
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
        table = done.stdout.split("predicted crossover of backends", 1)[1]
        entries = re.findall(r"([\d.e+-]+) / ([\d.e+-]+) (cpu|cuda)\b", table)
        assert len(entries) == 27, table
        for cpu, cuda, faster in entries:
            assert cpu == cuda or (faster == "cuda") == (float(cuda) < float(cpu)), table


def case_restart(tmp):
    """Piece by piece by cpu and cuda in turn, and the rest by cpu: the bits of an undisturbed run."""
    name, sets = CASES[1]
    sets = (*FEW[:2], FEW[3], *sets, "equilibrium.tolerance=1e-7")
    run(PROGRAM, name, tmp / "whole", sets, "cpu", expect=0)
    parts = 12
    for part in range(parts + 1):
        program, backend = ((PROGRAM, "cpu"), (ON_HOST, "cuda"))[part % 2]
        if part < parts:
            (tmp / "parts").mkdir(exist_ok=True)
            (tmp / "parts" / "stop").write_text("")
        text = run(program, name, tmp / "parts", sets, backend, expect=85 if part < parts else 0, restart="auto")
        assert (f"goes on from {tmp}" in text) == (part > 0), text
    same_bits(tmp / "whole", tmp / "parts")


with tempfile.TemporaryDirectory() as folder:
    globals()[f"case_{CASE}"](pathlib.Path(folder))
