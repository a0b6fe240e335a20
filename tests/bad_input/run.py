#!/usr/bin/env python3
"""Bad inputs through the whole program: exit code, message, remedy, and nothing written.

    run.py NASHFLOW MPIEXEC RANKS [--both]

Lines of cases.txt are tried with --validate and as a run in turn, or each in both ways, and the bad command lines below.
"""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
COMMAND_LINES = [
    ([], "no command"),
    (["rnu", "x.yaml"], "did you mean 'run'?"),
    (["run"], "run needs an input file"),
    (["run", "x.yaml", "--validat"], "did you mean '--validate'?"),
    (["run", "x.yaml", "--backend", "quantum"], "use auto, cpu or cuda"),
    (["run", "x.yaml", "--max-walltime", "90"], "hours:minutes:seconds"),
    (["run", "x.yaml", "-log_view"], "options of PETSc go after --"),
    (["devices", "cpu"], "takes no names"),
]


def table():
    for line in (HERE / "cases.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, code, what, remedy = line.split("|")
            yield name, int(code), what, remedy


def attempt(command, code, fragments, scratch, problems):
    done = subprocess.run(command, cwd=scratch, capture_output=True, timeout=120, check=False)
    output = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode != code:
        problems.append(f"{command}: exit code {done.returncode}, expected {code}\n{output[:500]}")
    for fragment in fragments:
        if fragment not in output:
            problems.append(f"{command}: no '{fragment}' in\n{output[:500]}")
    if "PETSC ERROR" in output:
        problems.append(f"{command}: a PETSc error instead of a message\n{output[:500]}")
    left = [str(p) for p in pathlib.Path(scratch).rglob("*")]
    if left:
        problems.append(f"{command}: left {left}")


def reader_leaves(nashflow, problems):
    """The help into a pipe that nobody reads, as `nashflow help parameters | head -1` does."""
    with subprocess.Popen([nashflow, "help", "parameters"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as help_:
        help_.stdout.close()
        said = help_.stderr.read().decode(errors="replace")
    if help_.returncode or said:
        problems.append(f"help into a closed pipe: exit code {help_.returncode}\n{said}")


def main():
    nashflow = str(pathlib.Path(sys.argv[1]).resolve())
    start = [sys.argv[2], "-n", sys.argv[3], nashflow]
    both = sys.argv[4:] == ["--both"]
    problems, tried = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        for line, (name, code, what, remedy) in enumerate(table()):
            ways = ["--validate"], ["--output", f"{scratch}/run"]
            for flags in ways if both else [ways[line % 2]]:
                command = [*start, "run", str(HERE / name), *flags]
                attempt(command, code, (what, remedy), scratch, problems)
                tried += 1
        for words, fragment in COMMAND_LINES:
            attempt([*start, *words], 64, (fragment,), scratch, problems)
            tried += 1
    reader_leaves(nashflow, problems)
    print("\n".join(problems))
    print(f"{tried} command lines tried, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
