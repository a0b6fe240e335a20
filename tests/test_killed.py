#!/usr/bin/env python3
"""Runs that are killed: test_killed.py PROGRAM MPIEXEC INPUT_DIR RANKS KILLS

kill -9 of all ranks at random moments, many of them while a checkpoint is written: every restart goes on from the
newest checkpoint, which is whole, and the end has the bits of a run that nobody killed."""
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

PROGRAM, MPIEXEC, INPUT, RANKS, KILLS = sys.argv[1:4] + [int(n) for n in sys.argv[4:6]]
SETS = ("agents.count=40000", "time.steps=24", "domain.cells=[64]", "equilibrium.tolerance=1e-9",
        "checkpoint.every_iterations=1", "checkpoint.every_seconds=0.05")


def command(directory):
    words = [MPIEXEC, "-n", str(RANKS), PROGRAM, "run", f"{INPUT}/torus_1d.yaml", "--output", str(directory)]
    for s in SETS:
        words += ["--set", s]
    return words


def ranks_of(directory):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == os.fsencode(PROGRAM) and os.fsencode(str(directory)) in words:
            found.append(int(path.parent.name))
    return found


def same(a, b):
    with h5py.File(a / "result.h5") as f, h5py.File(b / "result.h5") as g:
        for key in ("m", "u", "convergence/density_residual", "convergence/value_residual", "series/cost", "series/mean"):
            assert np.array_equal(f[key][()], g[key][()]), f"{key} differs from that of the undisturbed run"


def part(directory, seconds):
    """A part of the run, killed after so many seconds or left alone (None); what it said, and whether it ended."""
    with open(f"{directory}.log", "w+") as log:
        job = subprocess.Popen(command(directory), stdout=log, stderr=subprocess.STDOUT)
        try:
            job.wait(timeout=seconds or 120)
        except subprocess.TimeoutExpired:
            assert seconds, "the run does not end"
            for pid in ranks_of(directory):
                os.kill(pid, signal.SIGKILL)
            job.wait(timeout=60)
        while ranks_of(directory):
            time.sleep(0.01)
        log.seek(0)
        return log.read(), (directory / "STATUS").exists() and "status=finished" in (directory / "STATUS").read_text()


def main():
    moments = random.Random(7 + RANKS)
    with tempfile.TemporaryDirectory() as tmp:
        whole, parts = pathlib.Path(tmp) / "whole", pathlib.Path(tmp) / "parts"
        start = time.time()
        assert part(whole, None)[1]
        length, kills, writing, ends = time.time() - start, 0, 0, 0
        while kills < KILLS or not ends:
            before = sorted(parts.glob("checkpoint_*.h5")) if parts.exists() else []
            said, ended = part(parts, moments.uniform(0.1, 0.6) * length if kills < KILLS else None)
            if before and re.search(r"^iter ", said, re.M):
                assert re.search(rf"^goes on from {before[-1]}", said, re.M), said
            if not ended:
                kills += 1
                writing += bool(list(parts.glob("*.part*")))
                continue
            same(whole, parts)
            ends += 1
            shutil.rmtree(parts)
        print(f"{kills} kills, {writing} of them while a file was written, {ends} ends with the same bits")


main()
