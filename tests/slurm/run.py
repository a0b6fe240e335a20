#!/usr/bin/env python3
"""The job scripts on a real Slurm: run.py NASHFLOW MPIEXEC SOURCE_DIR CASE; 16: no Slurm can be started here."""
import csv
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from cluster import Cluster, until, why_not

SKIP = 16
NASHFLOW, MPIEXEC, SOURCE = os.path.abspath(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
# Half a second of work, some seconds of it, and work without an end.
SHORT = ("agents.count=3000", "time.steps=20", "domain.cells=[60]", "equilibrium.tolerance=1e-8")
LONG = ("agents.count=300000", "time.steps=50", "domain.cells=[60]", "equilibrium.tolerance=1e-8")
ENDLESS = ("agents.count=3000", "time.steps=20", "domain.cells=[60]", "equilibrium.method=picard",
           "equilibrium.random_numbers=fresh", "equilibrium.tolerance=1e-30", "equilibrium.max_iterations=1000000")


def options(sets):
    return [word for item in sets for word in ("--set", item)]


def status(directory):
    path = pathlib.Path(directory) / "STATUS"
    return dict(line.split("=", 1) for line in path.read_text().splitlines()) if path.exists() else {}


class Jobs:
    """Submits the scripts of jobs/ from an empty directory, as a user does who has the checkout elsewhere."""

    def __init__(self, cluster):
        self.cluster, self.work = cluster, cluster.directory / "work"
        self.work.mkdir()
        self.variables = {"NASHFLOW_HOME": SOURCE, "NASHFLOW_PROGRAM": NASHFLOW, "NASHFLOW_PYTHON": sys.executable,
                          "NASHFLOW_INPUT": SOURCE / "input/peer_1d.yaml"}

    def submit(self, script, *words, sets=(), more=(), command=("sbatch", "--parsable"), **variables):
        """Words go to sbatch, keys to set and more words to nashflow run."""
        return self.cluster.submit(*command, *words, SOURCE / "jobs" / script, *options(sets), *more, cwd=self.work,
                                   **{**self.variables, **variables})

    def log(self):
        return "\n".join(f"-- {f.name}\n{f.read_text(errors='replace')}" for f in sorted(self.work.glob("*.log")))

    def tail(self):
        return self.log()[-4000:]

    def wait(self, job, seconds, *states):
        return self.cluster.wait(job, seconds, *states, details=self.tail)

    def wait_for_rows(self, directory, count=3):
        """Until the run is within its iterations."""
        until(lambda: status(directory).get("status") == "running" and len(re.findall(r"^ +\d+ ", self.log(), re.M)) >= count,
              30, f"{count} iterations in {directory}", self.tail)

    def ranks(self, job):
        """Processes of the program."""
        listed = re.findall(r"^(\d+)\s", self.cluster.ask("scontrol", "listpids", job, check=True), re.M)
        return [int(pid) for pid in listed
                if os.path.exists(f"/proc/{pid}/exe") and os.path.realpath(f"/proc/{pid}/exe") == os.path.realpath(NASHFLOW)]

    def run_alone(self, sets):
        """The same without Slurm; its directory."""
        alone = self.work / "alone"
        subprocess.run([MPIEXEC, "-n", "2", NASHFLOW, "run", str(self.variables["NASHFLOW_INPUT"]), "--output", str(alone),
                        *options(sets)], check=True, capture_output=True, timeout=120)
        return alone

    def send_usr1(self, job):
        """As Slurm does before the time limit: to the script alone."""
        self.cluster.ask("scancel", "--batch", "--signal=USR1", job, check=True)


def same_bits(directory, other):
    done = subprocess.run([sys.executable, SOURCE / "postprocess/compare.py", str(directory), str(other)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def check_time_left():
    """What squeue says of the time that is left, as hours, minutes and seconds."""
    def left(said):
        return subprocess.run(["bash", "-c", f". {SOURCE}/jobs/slurm.sh; squeue() {{ echo '{said}'; }}; time_left"],
                              env={**os.environ, "SLURM_JOB_ID": "1"}, capture_output=True, text=True, check=True).stdout.strip()
    for said, hours in (("9", "00:00:09"), ("0:59", "00:00:59"), ("59:08", "00:59:08"), ("2:00:00", "02:00:00"),
                        ("3-04:05:06", "76:05:06"), ("UNLIMITED", ""), ("NOT_SET", ""), ("INVALID", ""), ("", "")):
        assert left(said) == hours, (said, left(said))


def case_launch(jobs):
    """Two ranks by srun: the bits of mpiexec, exit code 0; a mistake in the input ends the job with its code."""
    check_time_left()
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=SHORT)
    shown = jobs.wait(job, 60, "COMPLETED")
    directory = jobs.work / "results/peer_1d"
    assert shown["ExitCode"] == "0:0" and status(directory)["status"] == "finished", (shown, jobs.tail())
    assert "2 ranks" in jobs.log(), jobs.tail()
    same_bits(directory, jobs.run_alone(SHORT))
    assert re.search(r"--max-walltime (00:59:\d\d|01:00:00) ", jobs.log()), jobs.tail()
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=("time.stepz=3",))
    shown = jobs.wait(job, 60, "FAILED")
    assert shown["ExitCode"] == "65:0" and "did you mean 'time.steps'" in jobs.log(), (shown, jobs.tail())


def case_wrong_mpi(jobs):
    """Ranks that do not know of each other: the program says so and stops before it writes anything."""
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=SHORT, NASHFLOW_MPI="none")
    shown = jobs.wait(job, 60, "FAILED")
    assert shown["ExitCode"] == "64:0" and shown["Restarts"] == "0", (shown, jobs.tail())
    assert "SLURM_NTASKS is 2 but this program sees one rank" in jobs.log(), jobs.tail()
    assert "srun --mpi=pmi2" in jobs.log() and not (jobs.work / "results").exists(), jobs.tail()


def case_killed_rank(jobs):
    """A lost rank ends the job within 10 s; it is not requeued."""
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=ENDLESS)
    jobs.wait_for_rows(jobs.work / "results/peer_1d")
    ranks = jobs.ranks(job)
    assert len(ranks) == 2, (ranks, jobs.tail())
    os.kill(ranks[1], signal.SIGKILL)
    start = time.monotonic()
    shown = jobs.wait(job, 10, "FAILED")
    print(f"ended {time.monotonic() - start:.1f} s after the rank was killed")
    assert shown["ExitCode"] not in ("0:0", "85:0") and shown["Restarts"] == "0", (shown, jobs.tail())
    assert status(jobs.work / "results/peer_1d")["status"] == "running", jobs.tail()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in ranks), "a rank is left"


def case_lost_node(jobs):
    """A node that dies and comes back: Slurm requeues the job, which takes over the lock, goes on from the last
    checkpoint and ends with the bits of a run that nothing disturbed."""
    sets = LONG + ("checkpoint.every_seconds=0.2",)
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=sets)
    directory = jobs.work / "results/peer_1d"
    until(lambda: len(list(directory.glob("checkpoint_*.h5"))) == 3, 30, "three checkpoints", jobs.tail)
    jobs.cluster.lose_node()
    assert (directory / "lock").exists() and status(directory)["status"] == "running", jobs.tail()
    shown = jobs.wait(job, 240, "COMPLETED")
    assert shown["ExitCode"] == "0:0" and int(shown["Restarts"]) >= 1, (shown, jobs.tail())
    assert re.search(r"goes on from .*/checkpoint_", jobs.log()) and not (directory / "lock").exists(), jobs.tail()
    same_bits(directory, jobs.run_alone(LONG))


def case_requeue(jobs):
    """Slurm's USR1 before the limit of a minute: a checkpoint, a requeue, and the bits of a run that nobody stopped."""
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", "--time=1", "--signal=B:USR1@30", sets=LONG)
    directory = jobs.work / "results/peer_1d"
    jobs.wait_for_rows(directory)
    ranks = jobs.ranks(job)
    for pid in ranks:  # it shall not be finished before the signal comes, up to half a minute later
        os.kill(pid, signal.SIGSTOP)
    alone = jobs.run_alone(LONG)
    until(lambda: "USR1: the run shall" in jobs.log(), 45, "USR1 comes", jobs.tail)
    for pid in ranks:
        os.kill(pid, signal.SIGCONT)
    shown = jobs.wait(job, 90, "COMPLETED")
    assert shown["ExitCode"] == "0:0" and int(shown["Restarts"]) >= 1, (shown, jobs.tail())
    assert "status interrupted, exit code 85" in jobs.log() and status(directory)["status"] == "finished", jobs.tail()
    same_bits(directory, alone)


def case_early(jobs):
    """USR1 before the first step stops the run too, with exit code 85 where the job may not be requeued; also in the
    first lines of the script."""
    def ended(job):
        shown = jobs.wait(job, 60, "FAILED")
        assert shown["ExitCode"] == "85:0" and shown["Restarts"] == "0", (shown, jobs.tail())
        assert "not requeued" in jobs.log() and status(jobs.work / "results/peer_1d")["status"] == "interrupted", jobs.tail()
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=ENDLESS, NASHFLOW_MAX_REQUEUES="0")
    until(lambda: "part 1" in jobs.log(), 30, "the script starts the run", jobs.tail)
    jobs.send_usr1(job)
    ended(job)
    home = jobs.work / "home"
    (home / "jobs").mkdir(parents=True)
    (home / "jobs/slurm.sh").write_text(f"kill -USR1 $$\n. {SOURCE}/jobs/slurm.sh\n")
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=ENDLESS, NASHFLOW_MAX_REQUEUES="0", NASHFLOW_HOME=home)
    ended(job)


def case_walltime(jobs):
    """A run that sees itself that its time is over goes on in a requeue, and one that a file stopped does not."""
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=ENDLESS, more=("--max-walltime", "0:00:03"),
                        NASHFLOW_MAX_REQUEUES="1")
    shown = jobs.wait(job, 90, "FAILED")
    assert shown["ExitCode"] == "85:0" and shown["Restarts"] == "1", (shown, jobs.tail())
    assert "it was restarted 1 times" in jobs.log() and "goes on from" in jobs.log(), jobs.tail()
    (jobs.work / "results/peer_1d/stop").touch()
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=ENDLESS)
    shown = jobs.wait(job, 60, "FAILED")
    assert shown["ExitCode"] == "85:0" and shown["Restarts"] == "0", (shown, jobs.tail())


def case_cancel(jobs):
    """scancel: the run stops with a checkpoint, the job is cancelled and does not come back."""
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=ENDLESS)
    jobs.wait_for_rows(jobs.work / "results/peer_1d")
    jobs.cluster.ask("scancel", job, check=True)
    jobs.wait(job, 20, "CANCELLED")
    until(lambda: not jobs.cluster.ask("squeue", "-h").strip(), 15, "no job is left", jobs.tail)
    shown = jobs.cluster.show(job)
    assert shown["JobState"] == "CANCELLED" and shown["Restarts"] == "0" and "requeue" not in jobs.log(), (shown, jobs.tail())
    assert status(jobs.work / "results/peer_1d")["status"] == "interrupted", jobs.tail()


def case_sweep(jobs):
    """Four values of one key, two tasks at a time, end in one table and one picture."""
    values = (0, 0.3, 0.6, 1)
    [job] = jobs.submit("sweep.sbatch", sets=SHORT)
    until(lambda: (jobs.work / "results/sweep_peer_1d/sweep.png").exists(), 90, "the picture", jobs.tail)
    for task in range(len(values)):
        assert jobs.wait(f"{job}_{task}", 30, "COMPLETED")["ExitCode"] == "0:0", jobs.tail()
    with open(jobs.work / "results/sweep_peer_1d/sweep.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    key = "running_cost.coupling.strength"
    assert [(row["run"], float(row[key])) for row in rows] == [(str(k), v) for k, v in enumerate(values)], rows
    assert all(row["status"] == "finished" for row in rows), rows
    # The dearer a crowded place, the less crowded it is.
    peaks = [float(row["peak_density"]) for row in rows]
    assert peaks == sorted(peaks, reverse=True) and peaks[0] > 1.2 * peaks[-1], peaks
    [job] = jobs.submit("sweep.sbatch", "--array=4", sets=SHORT)
    assert jobs.wait(f"{job}_4", 30, "FAILED")["ExitCode"] == "64:0" and "--array=0-3" in jobs.log(), jobs.tail()


def case_gpu(jobs):
    """One GPU for each rank: every rank sees all of its node, and they are those that Slurm gave."""
    program = jobs.work / "program"
    program.write_text("#!/bin/sh\n"
                       'echo "rank $SLURM_PROCID local $SLURM_LOCALID sees $CUDA_VISIBLE_DEVICES" >>ranks\n'
                       f'exec "{NASHFLOW}" "$@"\n')
    program.chmod(0o755)
    [job] = jobs.submit("nashflow_gpu.sbatch", "--ntasks-per-node=2", "--gpus-per-node=2", "--cpus-per-task=1", sets=SHORT,
                        NASHFLOW_PROGRAM=program, NASHFLOW_BACKEND="cpu")
    jobs.wait(job, 60, "COMPLETED")
    seen = sorted((jobs.work / "ranks").read_text().splitlines())
    assert seen == ["rank 0 local 0 sees 0,1", "rank 1 local 1 sees 0,1"], seen
    assert status(jobs.work / "results/peer_1d")["status"] == "finished", jobs.tail()


def case_chain(jobs):
    """Of three parts the first stops at its limit, the second finishes the run, the third finds it finished; a failed
    part takes those after it out of the queue."""
    def chain(parts, sets):
        return jobs.submit("nashflow.sbatch", "--ntasks=2", sets=sets, command=(SOURCE / "jobs/chain.sh", parts))
    first, second, third = chain(3, LONG)
    jobs.wait_for_rows(jobs.work / "results/peer_1d")
    jobs.send_usr1(first)
    shown = [jobs.wait(job, 60, "COMPLETED") for job in (first, second, third)]
    assert shown[0]["EndTime"] <= shown[1]["StartTime"] and shown[1]["EndTime"] <= shown[2]["StartTime"], shown
    assert "the next part goes on" in jobs.log() and {s["Restarts"] for s in shown} == {"0"}, jobs.tail()
    assert status(jobs.work / "results/peer_1d")["reason"] == "converged", jobs.tail()
    failing, waiting = chain(2, ("time.stepz=3",))
    assert jobs.wait(failing, 60, "FAILED")["ExitCode"] == "65:0"
    jobs.wait(waiting, 30, "CANCELLED")


def main():
    reason = why_not()
    if reason:
        print("skipped:", reason)
        return SKIP
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the cluster is stopped on the way out
    with Cluster() as cluster:
        globals()[f"case_{sys.argv[4]}"](Jobs(cluster))
    return 0


if __name__ == "__main__":
    sys.exit(main())
