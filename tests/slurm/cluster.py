"""A throw-away Slurm cluster of one node on this machine: its own munged, slurmctld and slurmd, on free ports and in
a directory of its own. As root, without systemd and cgroups; nothing of the system's own Slurm is touched.

    with Cluster() as cluster:
        [job] = cluster.submit("sbatch", "--parsable", "job.sbatch", NASHFLOW_INPUT="case.yaml")
        cluster.wait(job, 60, "COMPLETED")
"""
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

DAEMONS = ("munged", "slurmctld", "slurmd")
CORES = 2
GPUS = 2
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"}
SHOWN = {"JobId", "JobState", "Reason", "ExitCode", "Restarts", "StartTime", "EndTime", "RunTime"}


def why_not():
    """What keeps a cluster from starting here, or None."""
    if os.geteuid() != 0:
        return "a Slurm of one's own needs root"
    missing = [name for name in (*DAEMONS, "sbatch", "srun") if not shutil.which(name)]
    return f"no {', '.join(missing)}: jobs/install-deps.sh, as root, installs slurm-wlm and munge" if missing else None


def free_ports(count):
    """Ports that nobody listens to, all different."""
    held = []
    for _ in range(count):
        held.append(socket.socket())
        held[-1].bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def end_all(directory):
    """Kills the daemons and jobs of a cluster, known by SLURM_CONF in their environment, and removes its files."""
    mark = f"SLURM_CONF={directory}/slurm.conf".encode()
    while True:
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and mark in pathlib.Path("/proc", name, "environ").read_bytes().split(b"\0"):
                    os.kill(int(name), signal.SIGKILL)
                    found.append(name)
            except OSError:  # it has ended meanwhile
                pass
        if not found:
            break
        time.sleep(0.1)
    shutil.rmtree(directory, ignore_errors=True)


def guard(directory):
    """A process of its own that outlives this one, and then ends what it left."""
    if os.fork():
        os._exit(0)
    os.setsid()
    sys.stdin.read()  # to the end of the pipe: nobody holds its other end any more
    end_all(directory)


def until(condition, seconds, what, details=lambda: ""):
    """Asks five times a second; the first answer that is not false."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}\n{details()}"
        time.sleep(0.2)
    return answer


class Cluster:
    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="nashflow-slurm-"))
        self.daemons, self.jobs = [], []
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "NASHFLOW_"))}
        self.environment["SLURM_CONF"] = str(self.directory / "slurm.conf")

    def __enter__(self):
        self.guard = subprocess.Popen([sys.executable, "-B", __file__, str(self.directory)], stdin=subprocess.PIPE)
        self.guard.wait()  # it has forked
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.directory.chmod(0o755)
        self.write_configuration()
        d = self.directory
        self.launch("munged", "--foreground", f"--key-file={d}/munge.key", f"--socket={d}/munge.socket",
                    f"--pid-file={d}/munged.pid", f"--log-file={d}/munged.log", f"--seed-file={d}/munge.seed")
        until((d / "munge.socket").exists, 10, "munged listens", self.logs)
        self.launch("slurmctld", "-D")
        self.launch("slurmd", "-D")
        until(lambda: self.ask("sinfo", "-h", "-o", "%T").strip() == "idle", 20, "the node is idle", self.logs)

    def write_configuration(self):
        d, host = self.directory, socket.gethostname().split(".")[0]
        for name in ("state", "spool"):
            (d / name).mkdir()
        key = d / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        for k in range(GPUS):  # devices that are there and do nothing: /dev/null's numbers
            os.mknod(d / f"gpu{k}", 0o20666, os.makedev(1, 3))
        (d / "gres.conf").write_text(f"Name=gpu File={d}/gpu[0-{GPUS - 1}]\n")
        control, node = free_ports(2)
        (d / "slurm.conf").write_text("\n".join(f"{k}={v}" for k, v in {
            "ClusterName": "throwaway", "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": control, "SlurmdPort": node,
            "SlurmUser": "root", "SlurmdUser": "root",
            "AuthType": "auth/munge", "AuthInfo": f"socket={d}/munge.socket,cred_expire=5",  # a requeue waits for it
            "CredType": "cred/munge", "StateSaveLocation": d / "state", "SlurmdSpoolDir": d / "spool",
            "SlurmctldPidFile": d / "slurmctld.pid", "SlurmdPidFile": d / "slurmd.pid",
            "SlurmctldLogFile": d / "slurmctld.log", "SlurmdLogFile": d / "slurmd.log",
            "ProctrackType": "proctrack/linuxproc", "TaskPlugin": "task/none", "SwitchType": "switch/none",
            "JobAcctGatherType": "jobacct_gather/none", "AccountingStorageType": "accounting_storage/none",
            "SelectType": "select/cons_tres", "SelectTypeParameters": "CR_Core",
            "SlurmdParameters": "config_overrides",  # cores that the machine may not have
            "MpiDefault": "pmi2", "ReturnToService": 2, "KillWait": 5, "GresTypes": "gpu",
            "SchedulerType": "sched/builtin", "SchedulerParameters": "batch_sched_delay=0,sched_interval=1",
        }.items()) + f"\nNodeName={host} NodeAddr=127.0.0.1 CPUs={CORES} Gres=gpu:{GPUS} State=UNKNOWN\n"
            f"PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP\n")

    def launch(self, *command):
        with open(self.directory / f"{command[0]}.out", "wb") as out:
            self.daemons.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                                 env=self.environment))

    def lose_node(self):
        """All that runs on the node dies at once: the processes that know this cluster, but for the controller and
        munge. The controller takes it for down, as it does by itself after some minutes; then it is back."""
        mark, slurmd = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode(), self.daemons.pop()
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0") and \
                        (process / "comm").read_text().strip() not in ("munged", "slurmctld", "slurmscriptd"):
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                pass
        slurmd.wait()
        node = self.ask("sinfo", "-h", "-o", "%n").strip()
        self.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost", check=True)
        self.launch("slurmd", "-D")
        self.ask("scontrol", "update", f"NodeName={node}", "State=RESUME", check=True)

    def stop(self):
        """Ends the jobs, then the daemons that this object started, and takes the directory away."""
        if len(self.daemons) == len(DAEMONS) and self.jobs:
            self.ask("scancel", *self.jobs)
            end = time.monotonic() + 10
            while self.ask("squeue", "-h").strip() and time.monotonic() < end:
                time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.daemons.clear()
        end_all(self.directory)
        self.guard.stdin.close()

    def logs(self):
        """The ends of what the daemons said."""
        files = sorted([*self.directory.glob("*.out"), *self.directory.glob("*.log")])
        return "\n".join(f"-- {f.name}\n{f.read_text(errors='replace')[-1500:]}" for f in files)

    def ask(self, *command, check=False, env=None):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**self.environment, **(env or {})})
        assert not check or done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def submit(self, *command, cwd=None, **variables):
        """Runs sbatch or a script that does; the numbers of the jobs."""
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, timeout=60,
                              env={**self.environment, **{k: str(v) for k, v in variables.items()}})
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        jobs = done.stdout.split()
        self.jobs += jobs
        return jobs

    def show(self, job):
        """What Slurm knows of a job, {"JobState": "RUNNING", ...}."""
        found = dict(re.findall(r"(\S+?)=(\S*)", self.ask("scontrol", "show", "job", "-o", job, check=True)))
        return {k: v for k, v in found.items() if k in SHOWN}

    def wait(self, job, seconds, *states, details=lambda: ""):
        """Until the job is in one of the states; by default, has ended in any way."""
        wanted = set(states) or ENDED
        def there():
            shown = self.show(job)
            assert shown["JobState"] in wanted or shown["JobState"] not in ENDED, (shown, details())
            return shown if shown["JobState"] in wanted else None
        return until(there, seconds, f"job {job} is {'/'.join(sorted(wanted))}", lambda: f"{self.show(job)}\n{details()}")


if __name__ == "__main__":
    guard(sys.argv[1])
