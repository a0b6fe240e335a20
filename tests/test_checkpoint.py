#!/usr/bin/env python3
"""Checkpoints of whole runs: a run in parts ends with the bits of one that was never stopped, on any ranks;
what cannot be used is refused, and says why.

    test_checkpoint.py NASHFLOW MPIEXEC INPUT_DIR CASE [RANKS]
"""

import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

NASHFLOW, MPIEXEC, INPUTS = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
SMALL_1D = ("agents.count=2000", "time.steps=6", "domain.cells=[40]", "output.particles=5",
            "equilibrium.tolerance=1e-6")
SMALL_2D = ("agents.count=2000", "time.steps=4", "domain.cells=[20,28]", "density.bandwidth=[0.06,0.05]",
            "density.tolerance=1e-3", "equilibrium.max_iterations=7")
BLOCK = 512


def command(case, directory, *sets, ranks=1, options=()):
    words = [MPIEXEC, "-n", str(ranks), NASHFLOW, "run", str(INPUTS / f"{case}.yaml"), "--output", str(directory)]
    for item in sets:
        words += ["--set", item]
    return words + list(options)


def run(case, directory, *sets, ranks=1, expect=0, options=()):
    """Runs a case, checks the exit code, returns what it printed."""
    done = subprocess.run(command(case, directory, *sets, ranks=ranks, options=options), capture_output=True, text=True)
    assert done.returncode == expect, f"exit code {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def status(directory):
    text = (pathlib.Path(directory) / "STATUS").read_text()
    return dict(line.split("=", 1) for line in text.splitlines())


def checkpoints(directory):
    return sorted(p.name for p in pathlib.Path(directory).glob("checkpoint_*.h5"))


def differences(a, b):
    """Datasets of two results that are not the same to the bit, but for times."""
    found = []
    with h5py.File(pathlib.Path(a) / "result.h5") as f, h5py.File(pathlib.Path(b) / "result.h5") as g:
        def visit(name, item):
            if isinstance(item, h5py.Dataset) and "seconds" not in name and not name.startswith("viz"):
                if name not in g or item.shape != g[name].shape or item[...].tobytes() != g[name][...].tobytes():
                    found.append(name)
        f.visititems(visit)
        assert "convergence/density_residual" in f and "series/cost" in f
    return found


def one_piece(case, directory, *sets, ranks=1):
    """A part of a run that finds the file `stop` there: it does one piece of its work."""
    pathlib.Path(directory).mkdir(exist_ok=True)
    (pathlib.Path(directory) / "stop").write_text("")
    text = run(case, directory, *sets, ranks=ranks, expect=85)
    said = status(directory)
    assert said["status"] == "interrupted" and said["exit_code"] == "85" and said["resumable"] == "yes", said
    assert said["checkpoint"] == checkpoints(directory)[-1] and "the file 'stop'" in said["message"], said
    assert not (pathlib.Path(directory) / "stop").exists() and not (pathlib.Path(directory) / "lock").exists()
    return text


def case_parts(ranks, tmp):
    """A run in parts, each a piece of the work, then the rest: the same bits, a whole history, its checkpoints
    gone in the end, no more than three of them before."""
    case, sets = ("torus_1d", SMALL_1D) if ranks == 1 else ("noflux_2d", SMALL_2D)
    expect = 0 if ranks == 1 else 2
    run(case, tmp / "whole", *sets, ranks=ranks, expect=expect)
    for part in range(5):
        one_piece(case, tmp / "parts", *sets, ranks=ranks)
        assert len(checkpoints(tmp / "parts")) == min(part + 1, 3)
    text = run(case, tmp / "parts", *sets, ranks=ranks, expect=expect)
    assert f"goes on from {tmp}/parts/checkpoint_000005.h5" in text, text
    assert differences(tmp / "whole", tmp / "parts") == []
    assert not checkpoints(tmp / "parts") and status(tmp / "parts")["resumable"] == "no"
    with h5py.File(tmp / "parts" / "result.h5") as f:
        history = f.attrs["history"]
    lines = (history.decode() if isinstance(history, bytes) else history).splitlines()
    assert len(lines) == 6 and "(from " in lines[0] and "(from " not in lines[-1], lines


def case_elsewhere(ranks, tmp):
    """1 -> 3 -> 2 ranks, agents by id and by box in turns, also between two steps of a sweep of the agents (the
    direct density stops after each): in 1D the same bits as on one rank."""
    sets = SMALL_1D + ("time.steps=4", "density.method=direct", "agents.count=300", "density.bandwidth=0.06",
                       "equilibrium.max_iterations=4")
    run("torus_1d", tmp / "whole", *sets, expect=2)
    for n, way in ((1, "domain"), (3, "domain"), (2, "replicated"), (3, "replicated"), (1, "replicated"),
                   (2, "domain"), (3, "domain")):
        one_piece("torus_1d", tmp / "parts", *sets, f"parallel.decomposition={way}", ranks=n)
    with h5py.File(tmp / "parts" / "checkpoint_000006.h5") as f:
        assert f["state/agents"].shape == (300, 1) and sorted(f["state/agents_id"]) == list(range(300))
    run("torus_1d", tmp / "parts", *sets, ranks=ranks, expect=2)
    assert differences(tmp / "whole", tmp / "parts") == []


def case_restart(ranks, tmp):
    """auto, none and a file: a finished result is left alone, the file named is taken, none begins anew."""
    run("torus_1d", tmp / "a", *SMALL_1D, ranks=ranks)
    written = (tmp / "a" / "result.h5").stat().st_mtime_ns
    text = run("torus_1d", tmp / "a", *SMALL_1D, "output.every=2", "checkpoint.keep=1", ranks=ranks)
    assert "finished result of this input" in text and (tmp / "a" / "result.h5").stat().st_mtime_ns == written
    run("torus_1d", tmp / "a", *SMALL_1D, ranks=ranks, options=("--restart", "none"))
    assert (tmp / "a" / "result.h5").stat().st_mtime_ns != written
    for _ in range(3):
        one_piece("torus_1d", tmp / "b", *SMALL_1D, ranks=ranks)
    second = tmp / "b" / "checkpoint_000002.h5"
    text = run("torus_1d", tmp / "c", *SMALL_1D, ranks=ranks, options=("--restart", str(second)))
    assert f"goes on from {second}" in text and differences(tmp / "a", tmp / "c") == []
    text = run("torus_1d", tmp / "b", *SMALL_1D, ranks=ranks, options=("--restart", "none"))
    assert "goes on" not in text and differences(tmp / "a", tmp / "b") == []


def tree(directory):
    """What is in a directory, to the byte."""
    return {p.name: p.read_bytes() for p in pathlib.Path(directory).iterdir()}


def case_mismatch(ranks, tmp):
    """A checkpoint of another input: exit code 65, every key that differs with both values, nothing changed."""
    one_piece("torus_1d", tmp / "a", *SMALL_1D, ranks=ranks)
    before = tree(tmp / "a")
    other = SMALL_1D + ("time.steps=7", "constants.kappa=2", "running_cost.coupling.strength=0.5")
    for options in ((), ("--restart", str(tmp / "a" / "checkpoint_000001.h5"))):
        text = run("torus_1d", tmp / "a", *other, ranks=ranks, expect=65, options=options)
        assert "time.steps is 6 there, 7 in" in text and "running_cost.coupling.strength is 1 there, 0.5 in" in text
        assert "constants is {" in text and "agents.count" not in text, text
        assert tree(tmp / "a") == before
    run("torus_1d", tmp / "a", *SMALL_1D, "parallel.decomposition=replicated", "backend=cpu", "metadata.note=x",
        "checkpoint.every_iterations=3", "output.every=2", ranks=ranks)


def rotate(v, bits):
    return (v << bits | v >> 64 - bits) & (1 << 64) - 1


def mix(v):
    v = (v ^ v >> 33) * 0xff51afd7ed558ccd & (1 << 64) - 1
    v = (v ^ v >> 33) * 0xc4ceb9fe1a85ec53 & (1 << 64) - 1
    return v ^ v >> 33


def digest(data):
    total = 0
    for number in range(0, (len(data) + (1 << 20) - 1) >> 20):
        block = data[number << 20:(number + 1) << 20]
        lane, h = [number, 1, 2, 3], len(block)
        words = struct.unpack(f"<{(len(block) + 31) // 32 * 4}Q", block + bytes(-len(block) % 32))
        for i, word in enumerate(words):
            lane[i % 4] = rotate(lane[i % 4] ^ word, 29) * 0x9e3779b97f4a7c15 & (1 << 64) - 1
        for value in lane:
            h = mix(h ^ value)
        total = (total + h) & (1 << 64) - 1
    return total


def seal(path, layout=1):
    """Gives a file that was changed the text of a whole one again."""
    data = pathlib.Path(path).read_bytes()
    text = f"nashflow checkpoint\nlayout={layout}\nbytes={len(data)}\ndigest={digest(data[BLOCK:]):016x}\n".encode()
    pathlib.Path(path).write_bytes(text + bytes(BLOCK - len(text)) + data[BLOCK:])


def change(path, function):
    """Changes a checkpoint by h5py and seals it again."""
    with h5py.File(path, "r+") as f:
        function(f)
    seal(path)


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 16]))


def places(path):
    """Where the bytes of every dataset lie, some of the metadata, and the text at the beginning."""
    found = {"text": 30, "superblock": BLOCK + 10, "metadata": BLOCK + 700}
    with h5py.File(path, "r") as f:
        for name, item in f["state"].items():
            found[name] = item.id.get_offset() + item.id.get_storage_size() // 2
    return found


def case_damage(ranks, tmp):
    """A newest checkpoint that is damaged, cut, empty, foreign, or of another version is named with the reason
    and left as it is; the one before it is used, and the end has the same bits."""
    run("torus_1d", tmp / "whole", *SMALL_1D, ranks=ranks)
    for _ in range(2):
        one_piece("torus_1d", tmp / "good", *SMALL_1D, ranks=ranks)
    second = tmp / "good" / "checkpoint_000002.h5"
    assert digest(second.read_bytes()[BLOCK:]) == int(second.read_bytes().split(b"digest=")[1][:16], 16)
    faults = {f"flipped byte in {name}": ("is damaged: its digest differs" if name != "text" else "its beginning is damaged",
                                          lambda path, at=at: flip(path, at))
              for name, at in places(second).items()}
    faults |= {
        "cut": ("bytes of", lambda path: os.truncate(path, path.stat().st_size // 2)),
        "cut to the text": ("bytes of", lambda path: os.truncate(path, BLOCK)),
        "empty": ("is empty", lambda path: os.truncate(path, 0)),
        "foreign": ("is no checkpoint", lambda path: shutil.copy(tmp / "whole" / "result.h5", path)),
        "layout": ("has layout 2, this program reads layout 1", lambda path: seal(path, 2)),
        "version": ("was written by nashflow 7.0.0", lambda path: change(path, lambda f: f.attrs.modify("version", "7.0.0"))),
        "a directory": ("no plain file", lambda path: (path.unlink(), path.mkdir())),
        "a link to nothing": ("cannot be read: No such file", lambda path: (path.unlink(), path.symlink_to(tmp / "none"))),
        "a link to itself": ("Too many levels of symbolic links", lambda path: (path.unlink(), path.symlink_to(path))),
    }
    for name, (reason, fault) in faults.items():
        shutil.rmtree(tmp / "x", ignore_errors=True)
        shutil.copytree(tmp / "good", tmp / "x")
        bad = tmp / "x" / "checkpoint_000002.h5"
        fault(bad)
        kept = (tmp / "x" / "checkpoint_000001.h5").read_bytes()
        text = run("torus_1d", tmp / "x", *SMALL_1D, ranks=ranks, expect=74,
                   options=("--restart", str(bad)))
        assert reason in text and "give another checkpoint" in text, (name, text)
        assert (tmp / "x" / "checkpoint_000001.h5").read_bytes() == kept, name
        if name not in ("cut", "version", "flipped byte in value", "a link to itself"):
            continue  # the search for the newest says the same
        text = run("torus_1d", tmp / "x", *SMALL_1D, ranks=ranks)
        assert f"{bad} " in text and reason in text and "not used" in text, (name, text)
        assert "goes on from " in text and "checkpoint_000001.h5" in text, (name, text)
        assert differences(tmp / "whole", tmp / "x") == [], name
    shutil.rmtree(tmp / "x")
    shutil.copytree(tmp / "good", tmp / "x")
    for path in (tmp / "x").glob("checkpoint_*.h5"):
        os.truncate(path, 100)
    before = tree(tmp / "x")
    text = run("torus_1d", tmp / "x", *SMALL_1D, ranks=ranks, expect=74)
    assert "none of the 2 checkpoints" in text and "--restart none" in text, text
    assert {k: v for k, v in tree(tmp / "x").items() if k != "STATUS"} == {k: v for k, v in before.items() if k != "STATUS"}


def relink(f, name, make):
    del f["state"][name]
    make(f["state"])


def case_hostile(ranks, tmp):
    """Checkpoints made to do harm, with a digest that is right: links out, data in other files, filters, other
    types and shapes, numbers out of range. All refused by name, nothing else is opened."""
    for _ in range(2):
        one_piece("torus_1d", tmp / "good", *SMALL_1D, ranks=ranks)
    with h5py.File(tmp / "other.h5", "w") as f:
        f["value"] = np.zeros((7, 40))
    shape = (7, 40)

    def virtual(g):
        layout = h5py.VirtualLayout(shape, "f8")
        layout[...] = h5py.VirtualSource(str(tmp / "other.h5"), "value", shape)
        g.create_virtual_dataset("value", layout)

    evil = {
        "external link": lambda f: relink(f, "value", lambda g: g.__setitem__("value", h5py.ExternalLink(str(tmp / "other.h5"), "/value"))),
        "soft link": lambda f: relink(f, "value", lambda g: g.__setitem__("value", h5py.SoftLink("/state/density"))),
        "external storage": lambda f: relink(f, "value", lambda g: g.create_dataset("value", shape, "f8", external=[(str(tmp / "raw"), 0, 2240)])),
        "virtual": lambda f: relink(f, "value", virtual),
        "filter": lambda f: relink(f, "value", lambda g: g.create_dataset("value", shape, "f8", chunks=shape, compression="gzip")),
        "integers": lambda f: relink(f, "value", lambda g: g.create_dataset("value", shape, "i8")),
        "another shape": lambda f: relink(f, "value", lambda g: g.create_dataset("value", (7, 41), "f8")),
        "another rank": lambda f: relink(f, "value", lambda g: g.create_dataset("value", (280,), "f8")),
        "huge": lambda f: relink(f, "value", lambda g: g.create_dataset("value", (1 << 40, 40), "f8", chunks=(1, 40))),
        "a group": lambda f: relink(f, "value", lambda g: g.create_group("value")),
        "missing": lambda f: f["state"].__delitem__("value"),
        "no state": lambda f: f.__delitem__("state"),
        "state elsewhere": lambda f: (f.__delitem__("state"), f.__setitem__("state", h5py.ExternalLink(str(tmp / "other.h5"), "/"))),
        "a number missing": lambda f: f["state"].attrs.__delitem__("maps"),
        "a number out of range": lambda f: f["state"].attrs.modify("map_part", np.int64(9)),
        "a text for a number": lambda f: f["state"].attrs.__setitem__("maps", "x"),
        "too much history": lambda f: f["state"].attrs.modify("history_entries", np.int64(1 << 40)),
        "another radius": lambda f: f["state"]["radius"].__setitem__(3, 100000),
    }
    for name, change_it in evil.items():
        bad = tmp / "bad.h5"
        shutil.copy(tmp / "good" / "checkpoint_000002.h5", bad)
        change(bad, change_it)
        text = run("torus_1d", tmp / "x", *SMALL_1D, ranks=ranks, expect=74, options=("--restart", str(bad)))
        assert "bad.h5" in text and "take an older checkpoint" in text, (name, text)
        assert "PETSC ERROR" not in text and "fault of the program" not in text, (name, text)
        assert not (tmp / "x" / "result.h5").exists() and status(tmp / "x")["status"] == "failed", name
    os.mkfifo(tmp / "pipe.h5")
    text = run("torus_1d", tmp / "x", *SMALL_1D, ranks=ranks, expect=74, options=("--restart", str(tmp / "pipe.h5")))
    assert "no plain file" in text, text


# 150 maps: some seconds on a quiet machine, where all asks are answered within one.
LONG_1D = ("agents.count=60000", "time.steps=20", "domain.cells=[60]", "equilibrium.method=picard",
           "equilibrium.damping=0.05", "equilibrium.max_iterations=150", "checkpoint.every_iterations=1000")


def processes(directory, name="nashflow"):
    """Ids of the processes of that name that have the directory among their words."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(name.encode()) and os.fsencode(str(directory)) in words:
            found.append(int(path.parent.name))
    return sorted(found)


class Running:
    """A run under way; what it says goes to a file."""

    def __init__(self, directory, *sets, ranks=1, options=(), case="torus_1d", log=None):
        self.directory, self.log = directory, log or pathlib.Path(f"{directory}.log")
        with open(self.log, "w") as log:
            self.launcher = subprocess.Popen(command(case, directory, *sets, ranks=ranks, options=options),
                                             stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def said(self):
        return self.log.read_text()

    def wait_for(self, pattern):
        """Until it says so, or is over."""
        while self.launcher.poll() is None and not re.search(pattern, self.said(), re.M):
            time.sleep(0.005)
        assert re.search(pattern, self.said(), re.M), self.said()

    def end(self):
        """The exit code that the launcher makes of it, which is not always the program's."""
        code = self.launcher.wait(timeout=120)
        deadline = time.time() + 30
        while processes(self.directory) and time.time() < deadline:
            time.sleep(0.01)
        assert not processes(self.directory)
        return code


def case_signals(ranks, tmp):
    """USR1 and TERM stop with a checkpoint, to the launcher or to one rank, also when more come while it is
    written; USR2, to the rank whose number is in the lock, writes one and goes on; the end has the bits of a
    run that got none."""
    run("torus_1d", tmp / "whole", *LONG_1D, ranks=ranks, expect=2)
    first_row = r"^   1  "

    def stopped(name):
        said = status(tmp / "parts")
        assert said["status"] == "interrupted" and said["exit_code"] == "85" and said["resumable"] == "yes", said
        assert said["checkpoint"] == checkpoints(tmp / "parts")[-1] and name in said["message"], said

    for name, to_all in (("SIGUSR1", True), ("SIGTERM", True), ("SIGTERM", False), ("SIGUSR1", False)):
        job = Running(tmp / "parts", *LONG_1D, ranks=ranks)
        job.wait_for(r"^goes on|" + first_row)
        number = getattr(signal, name)
        for _ in range(3):
            if to_all:
                job.launcher.send_signal(number)
                break  # a second TERM makes the launcher kill its ranks
            for pid in processes(tmp / "parts")[-1:]:
                os.kill(pid, number)
            time.sleep(0.001)
        job.end()
        stopped(name)
    job = Running(tmp / "parts", *LONG_1D, ranks=ranks)
    job.wait_for(r"^goes on")
    os.kill(int(re.search(r"^pid=(\d+)", (tmp / "parts" / "lock").read_text(), re.M)[1]), signal.SIGUSR2)
    job.wait_for(r"^checkpoint_\d+\.h5: ")
    job.end()
    assert status(tmp / "parts")["status"] == "finished" and differences(tmp / "whole", tmp / "parts") == []


# Minutes of preparation: formulas at 120 million points, 60 million agents, a flow of 3,000 large levels.
TABULATING = ("domain.cells=[200,200]", "time.steps=3000", "running_cost.potential=sin(x+t)*exp(-y*t)")
SAMPLING = ("agents.count=60000000", "domain.cells=[40]", "time.steps=6", "agents.precision=single")
READING = ("domain.cells=[100,100]", "time.steps=3000", "agents.count=1000")


def large_flow(path):
    """A result of 3001 levels of 1000 x 1000 cells in a small file."""
    with h5py.File(path, "w") as f:
        f.attrs["layout_version"] = "1.0"
        f["time"] = np.linspace(0, 1, 3001)
        for name in "xy":
            f[name] = np.linspace(0, 1, 1000)
            f[name].attrs.update(lower=0.0, upper=1.0)
        m = f.create_dataset("m", (3001, 1000, 1000), "f8", chunks=(1, 1000, 1000), compression=1)
        m[0] = 1
        _, chunk = m.id.read_direct_chunk((0, 0, 0))
        for level in range(1, 3001):
            m.id.write_direct_chunk((level, 0, 0), chunk)


def case_early(ranks, tmp):
    """A stop while the run is set up, by a signal to all or to one rank, a file, the time: an end at once with 85,
    STATUS and nothing else written; a checkpoint that is there stays."""
    large_flow(tmp / "flow.h5")
    reading = READING + (f"equilibrium.initial={tmp / 'flow.h5'}",)

    def stop_file(job):
        (job.directory / "stop").touch()

    def to_last(job):
        os.kill(processes(job.directory)[-1], signal.SIGUSR1)

    asks = (("noflux_2d", TABULATING, r"", lambda job: job.launcher.send_signal(signal.SIGTERM), "SIGTERM", ()),
            ("noflux_2d", TABULATING, r"", to_last, "SIGUSR1", ()),
            ("noflux_2d", TABULATING, r"", lambda job: None, "the end of --max-walltime", ("--max-walltime", "00:00:02")),
            ("torus_1d", SAMPLING, r"60000000 agents", to_last, "SIGUSR1", ()),
            ("noflux_2d", reading, r"", stop_file, "the file 'stop'", ()))
    for number, (case, sets, moment, ask, cause, options) in enumerate(asks):
        directory = tmp / str(number)
        directory.mkdir()
        before = sets is not SAMPLING
        if before and sets is not reading:  # none of them is looked at before
            (directory / "checkpoint_000003.h5").write_text("older")
        job = Running(directory, *sets, case=case, ranks=ranks, options=options)
        job.wait_for(moment)
        while len(processes(directory)) < ranks:
            time.sleep(0.01)
        if not moment:
            time.sleep(0.7)  # MPI has started
        start = time.time()
        ask(job)
        job.end()
        seconds = time.time() - start
        said, there = status(directory), sorted(p.name for p in directory.iterdir())
        assert said["status"] == "interrupted" and said["exit_code"] == "85" and cause in said["cause"], (said, job.said())
        assert "stopped by" in job.said() and "before the first iteration" in job.said() and seconds < 10, (seconds, job.said())
        if "checkpoint_000003.h5" in there:
            assert (directory / "checkpoint_000003.h5").read_text() == "older" and said["resumable"] == "yes", said
            assert said["checkpoint"] == "checkpoint_000003.h5", said
            there.remove("checkpoint_000003.h5")
        else:
            assert said["resumable"] == "no" and not said["checkpoint"], said
        assert there in (["STATUS"], ["STATUS", "effective.yaml"]), there


def case_walltime(ranks, tmp):
    """--max-walltime stops in time, however short it is, and each part gets somewhere."""
    run("torus_1d", tmp / "whole", *SMALL_1D, ranks=ranks)
    for part in range(3):
        text = run("torus_1d", tmp / "parts", *SMALL_1D, ranks=ranks, expect=85,
                   options=("--max-walltime", "00:00:01"))
        assert "the end of --max-walltime" in text and "goes on from checkpoint" in text, text
        with h5py.File(tmp / "parts" / checkpoints(tmp / "parts")[-1]) as f:
            assert f["state"].attrs["hjb_level"] == 5 - part
    # In the time that is left after two seconds for a checkpoint a run works until then.
    start = time.time()
    text = run("torus_1d", tmp / "long", *LONG_1D, "agents.count=3000000", ranks=ranks, expect=85,
               options=("--max-walltime", "00:00:08"))
    assert time.time() - start < 16 and "the end of --max-walltime" in text, text
    run("torus_1d", tmp / "parts", *SMALL_1D, ranks=ranks, options=("--max-walltime", "1:00:00"))
    assert differences(tmp / "whole", tmp / "parts") == []


def case_seconds(ranks, tmp):
    """Checkpoints by time, within an iteration too, and by count."""
    text = run("torus_1d", tmp / "a", *SMALL_1D, "checkpoint.every_seconds=1e-6", ranks=ranks)
    assert len(re.findall(r"^checkpoint_\d+\.h5: ", text, re.M)) > 1, text
    assert text.index("checkpoint_000001.h5: ") < text.index("iter   density") < text.index("checkpoint_000002.h5: ")
    text = run("torus_1d", tmp / "b", *SMALL_1D, "checkpoint.every_iterations=4", ranks=ranks)
    rows = text.splitlines()
    for row in rows:
        if re.match(r"checkpoint_\d+\.h5: ", row):
            assert int(rows[rows.index(row) - 1].split()[0]) % 4 == 0, text
    assert "checkpoint_000002.h5: " in text and differences(tmp / "a", tmp / "b") == []


def case_diagnostic(ranks, tmp):
    """A NaN stops the run with exit code 3; a file tells the level, where it is, and the fields. m^3000 is infinite
    where m > 1.27."""
    for case, sets in (("torus_1d", SMALL_1D), ("noflux_2d", SMALL_2D)):
        steps = 6 if case == "torus_1d" else 4
        text = run(case, tmp / case, *sets, "running_cost.coupling.exponent=3000", ranks=ranks, expect=3)
        said = status(tmp / case)
        assert said["status"] == "failed" and said["exit_code"] == "3" and said["resumable"] == "no", said
        assert f"HJB step to level {steps - 1}" in said["message"] and f"diagnostic: {tmp / case}/diagnostic.h5" in text
        with h5py.File(tmp / case / "diagnostic.h5") as f:
            assert f.attrs["level"] == steps - 1 and f.attrs["iteration"] == 1
            where = f.attrs["where_cost"]
            where = where.decode() if isinstance(where, bytes) else where
            cost, iterate = f["state/cost"][0], f["state/iterate"][...]
            bad = np.argwhere(~np.isfinite(cost))
            with np.errstate(over="ignore"):
                assert np.array_equal(~np.isfinite(cost), np.isinf(iterate[-1]**3000)) and len(bad), case
            cell = ", ".join(str(i) for i in bad[0][::-1])
            assert f"{len(bad)} numbers are not finite, the first of level {steps}, cell ({cell}) at (" in where, where
            assert where in text and f["state/value"].shape == (steps + 1, *cost.shape)


def case_diagnostic_corner(ranks, tmp):
    """The same where all that is not finite is in the box of one rank, of which the others know nothing: they end
    together, whatever divides the agents and without agents."""
    sets = ("agents.count=5000", "time.steps=4", "domain.cells=[24,28]", "running_cost.coupling.exponent=3000",
            "agents.initial_density=exp(-200*((x-0.1)^2+(y-0.1)^2))", "density.tolerance=1e-3")
    for name, more in (("replicated", ("density.bandwidth=[0.06,0.05]", "parallel.decomposition=replicated")),
                       ("domain", ("density.bandwidth=[0.06,0.05]", "parallel.decomposition=domain")),
                       ("grid", ("fokker_planck.method=grid",))):
        text = run("noflux_2d", tmp / name, *sets, *more, ranks=ranks, expect=3)
        assert status(tmp / name)["exit_code"] == "3" and "PETSC ERROR" not in text, text
        with h5py.File(tmp / name / "diagnostic.h5") as f:
            bad = np.argwhere(~np.isfinite(f["state/cost"][0]))
        assert len(bad) and bad[:, 0].max() < 14 and bad[:, 1].max() < 12, bad.max(axis=0)


def case_guards(ranks, tmp):
    """Too little memory or disk is said before the start, with both figures."""
    text = run("torus_1d", tmp / "a", *SMALL_1D, "agents.count=100000000000",
               "parallel.decomposition=replicated", ranks=ranks, expect=75)
    assert re.search(rf"the {ranks} ranks on host .* will need [\d.]+ GB of memory and [\d.]+ GB are free", text), text
    needed = float(re.search(r"will need ([\d.]+) GB", text)[1])
    assert 1600 <= needed < 1610, text  # positions at t = 0 and now, 8 bytes each
    text = run("torus_1d", tmp / "b", *SMALL_1D, "time.steps=200", "domain.cells=[100000]", "density.bandwidth=1e-3",
               "checkpoint.keep=1000", ranks=ranks, expect=74)
    result, checkpoint, needed = map(float, re.search(
        r"the result \(([\d.]+) MB\) and 1001 checkpoints \(([\d.]+) MB each\) will need ([\d.]+) MB more", text).groups())
    flow = 201 * 100000 * 8e-6
    assert abs(result - 2 * flow) < 0.02 * flow and 10 * flow < checkpoint < 10.1 * flow
    assert abs(result + 1001 * checkpoint - needed) < 1e-3 * needed and "MB are free" in text
    for name in "ab":
        assert sorted(p.name for p in (tmp / name).iterdir()) == ["STATUS"], list((tmp / name).iterdir())


# Its checkpoints take 0.14 MB and its result 0.35 MB on a disk of 4 MiB.
DISK_1D = ("agents.count=2000", "time.steps=40", "domain.cells=[100]", "equilibrium.method=picard",
           "equilibrium.damping=0.02", "equilibrium.max_iterations=200", "checkpoint.every_iterations=10")


def on_disk(ranks, tmp, test):
    """Calls test(ranks, tmp, disk) with a file system of 4 MiB."""
    disk = tmp / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True).returncode:
        sys.exit(16)  # who is not root may not mount; disk.failure needs no right
    try:
        run("torus_1d", tmp / "whole", *DISK_1D, ranks=ranks, expect=2)
        test(ranks, tmp, disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk, leave):
    """Leaves so many bytes of a disk free, in pages."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with open(disk / "ballast", "wb") as f:
        os.posix_fallocate(f.fileno(), 0, free - leave)


def free(disk):
    (disk / "ballast").unlink(missing_ok=True)


def kept(directory):
    return {name: data for name, data in tree(directory).items() if name.startswith("checkpoint")}


def went_on(ranks, tmp, directory):
    """After the fault the same command line goes on, to the bits of the run that had none."""
    text = run("torus_1d", directory, *DISK_1D, ranks=ranks, expect=2)
    assert "goes on from" in text and differences(tmp / "whole", directory) == [], text
    assert sorted(p.name for p in directory.iterdir()) == ["STATUS", "effective.yaml", "result.h5", "result.xmf"]
    for name in ("result.h5", "result.xmf"):
        (directory / name).unlink()


def stopped_by_fault(ranks, directory, fault, reason):
    """A fault after the second checkpoint: no other is written, the run goes on until it is told to stop, and ends
    with 74. What was written before stays as it was."""
    job = Running(directory, *DISK_1D, ranks=ranks, log=directory.parents[1] / "log")
    job.wait_for(r"^checkpoint_000002.h5: ")
    fault(job)
    job.wait_for(rf"^warning: no checkpoint: .*{reason}")
    before = kept(directory)
    os.kill(processes(directory)[0], signal.SIGTERM)
    assert job.end() == 74, job.said()
    assert "the last checkpoint could not be written" in job.said() or "cannot write" in job.said(), job.said()
    assert before and kept(directory) == before, (list(before), list(kept(directory)))


def case_full_disk(ranks, tmp):
    """A disk of 4 MiB that is full at the start, at a checkpoint, at the result; to the last byte or but for the
    small files: 74 with what to do, older checkpoints as they were, and the next start goes on from them."""
    def test(ranks, tmp, disk):
        directory = disk / "run"
        for leave in (0, 1 << 16):
            stopped_by_fault(ranks, directory, lambda job, leave=leave: fill(disk, leave), "make room")
            before = kept(directory)
            for room, message in ((0, r"cannot write .*/run/lock: No space left on device; .* make room"),
                                  (1 << 15, r"will need [\d.]+ MB more and [\d.]+ MB are free; make room")):
                free(disk)
                fill(disk, room)
                text = run("torus_1d", directory, *DISK_1D, ranks=ranks, expect=74)
                assert re.search(message, text) and kept(directory) == before, text
            assert status(directory)["exit_code"] == "74"
            free(disk)
            went_on(ranks, tmp, directory)
        job = Running(directory, *DISK_1D, "checkpoint.every_iterations=150", ranks=ranks, log=tmp / "log")
        job.wait_for(r"^checkpoint_000001.h5: ")
        fill(disk, 1 << 17)
        assert job.end() == 74 and "the result needs" in job.said() and "output.every" in job.said(), job.said()
        assert sorted(kept(directory)) == ["checkpoint_000001.h5"] and not list(directory.glob("result*")), job.said()
        free(disk)
        went_on(ranks, tmp, directory)
    on_disk(ranks, tmp, test)


def limit_files(job):
    """As `ulimit -f`, but after MPI has started, which needs larger ones."""
    for pid in processes(job.directory):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (50000, 50000))


def case_no_writing(ranks, tmp):
    """A file system that is read-only at the start or becomes it; a limit on the size of files."""
    def test(ranks, tmp, disk):
        def remount(way):
            while subprocess.run(["mount", "-o", f"remount,{way}", str(disk)], capture_output=True).returncode:
                time.sleep(0.001)  # busy: a file is being written
        directory = disk / "run"
        stopped_by_fault(ranks, directory, limit_files, "File too large; make room")
        assert status(directory)["exit_code"] == "74" and status(directory)["resumable"] == "yes"
        went_on(ranks, tmp, directory)
        stopped_by_fault(ranks, directory, lambda job: remount("ro"), "Read-only file system")
        before = tree(directory)
        text = run("torus_1d", directory, *DISK_1D, ranks=ranks, expect=74)
        assert re.search("cannot write .*/run/lock: Read-only file system; choose another output.directory", text), text
        assert tree(directory) == before
        remount("rw")
        went_on(ranks, tmp, directory)
    on_disk(ranks, tmp, test)


def main():
    case, ranks = sys.argv[4], int(sys.argv[5]) if len(sys.argv) > 5 else 1
    with tempfile.TemporaryDirectory() as tmp:
        globals()[f"case_{case}"](ranks, pathlib.Path(tmp))
    print(f"{case} on {ranks} ranks: passed")


main()
