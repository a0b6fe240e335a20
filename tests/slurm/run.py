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
NASHFLOW, MPIEXEC, SOURCE = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
# Half a second of work, and work without an end.
SHORT = ("agents.count=3000", "time.steps=20", "domain.cells=[60]", "equilibrium.tolerance=1e-8")
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

    def submit(self, script, *more, sets=(), command=("sbatch", "--parsable"), **variables):
        return self.cluster.submit(*command, *more, SOURCE / "jobs" / script, *options(sets), cwd=self.work,
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

    def same_as_mpiexec(self, directory, sets):
        """The result is that of a run without Slurm, to the bit."""
        alone = self.work / "alone"
        subprocess.run([MPIEXEC, "-n", "2", NASHFLOW, "run", str(self.variables["NASHFLOW_INPUT"]), "--output", str(alone),
                        *options(sets)], check=True, capture_output=True, timeout=120)
        done = subprocess.run([sys.executable, SOURCE / "postprocess/compare.py", str(directory), str(alone)],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-300:] + done.stderr


def case_launch(jobs):
    """Two ranks by srun: the bits of mpiexec, exit code 0, and the input's own mistakes end the job with their code."""
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=SHORT)
    shown = jobs.wait(job, 60, "COMPLETED")
    directory = jobs.work / "results/peer_1d"
    assert shown["ExitCode"] == "0:0" and status(directory)["status"] == "finished", (shown, jobs.tail())
    assert "2 ranks" in jobs.log(), jobs.tail()
    jobs.same_as_mpiexec(directory, SHORT)
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


def case_cancel(jobs):
    """scancel: the job is cancelled and does not come back."""
    [job] = jobs.submit("nashflow.sbatch", "--ntasks=2", sets=ENDLESS)
    jobs.wait_for_rows(jobs.work / "results/peer_1d")
    jobs.cluster.ask("scancel", job, check=True)
    shown = jobs.wait(job, 20, "CANCELLED")
    assert shown["Restarts"] == "0" and "requeue" not in jobs.log(), (shown, jobs.tail())
    assert not jobs.cluster.ask("squeue", "-h").strip(), "a job is left"


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
    """Parts start one after the other; a failed one takes those after it out of the queue."""
    def chain(parts, sets):
        return jobs.submit("nashflow.sbatch", "--ntasks=2", sets=sets, command=(SOURCE / "jobs/chain.sh", parts))
    first, second = chain(2, SHORT)
    shown = [jobs.wait(job, 60, "COMPLETED") for job in (first, second)]
    assert shown[0]["EndTime"] <= shown[1]["StartTime"], shown
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
