"""Instructions per unit of work on small fixed inputs: count_instructions.py <instructions> [--renew]

Runs the program under callgrind, divides the cost of each of its counted functions by the work it prints, and
compares with instructions.txt beside this file: more than 5% above a figure fails, more than 5% below asks for
--renew, which writes the file. valgrind knows AVX2 and not AVX-512, so the AVX2 kernels are counted. Another
compiler or processor family gives other figures: 16 (skipped) where they were not made with this one.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

SKIP = 16
BOUND = 0.05
FIGURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "instructions.txt")


def skip(why):
    print("skipped: " + why)
    sys.exit(SKIP)


def count(program):
    """The first line the program prints says what counts; then name, work and unit of each function."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind.out")
        run = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, program],
                             capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"{program} ended with {run.returncode} under callgrind:\n{run.stdout}{run.stderr}")
        costs = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", out],
                               capture_output=True, text=True, check=True).stdout
    first, *rows = run.stdout.splitlines()
    figures = {}
    for name, work, unit in (row.split(" ", 2) for row in rows):
        cost = re.search(r"^\s*([\d,]+)\s.*[:\s]" + name + r"\b", costs, re.M)
        if not cost:
            sys.exit(f"callgrind saw no function {name}")
        figures[name] = (int(cost[1].replace(",", "")) / int(work), unit)
    return first, figures


def read():
    with open(FIGURES, encoding="utf-8") as f:
        first, *rows = [line.strip() for line in f if line.strip() and not line.startswith("#")]
    return first, {name: float(figure) for name, figure in (row.split()[:2] for row in rows)}


def write(first, figures):
    with open(FIGURES, "w", encoding="utf-8") as f:
        f.write("# Instructions per unit of work; renew with: python3 tests/bench/count_instructions.py "
                "build/tests/instructions --renew\n" + first + "\n")
        for name, (figure, unit) in figures.items():
            f.write(f"{name:19} {figure:10.2f}  per {unit}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--build-type", default="Release")
    parser.add_argument("--renew", action="store_true", help="write the figures instead of comparing")
    options = parser.parse_args()
    if not shutil.which("valgrind") or not shutil.which("callgrind_annotate"):
        skip("there is no valgrind here: apt-get install valgrind")
    if options.build_type != "Release":
        skip(f"figures are of Release builds, this one is {options.build_type}")
    first, figures = count(options.program)
    if options.renew:
        write(first, figures)
    made_with, committed = read()
    if made_with != first:
        skip(f"the figures were made with '{made_with}', this is '{first}'")
    if committed.keys() != figures.keys():
        sys.exit(f"{FIGURES} has other functions than the program: --renew it")
    worst = 0
    for name, (figure, unit) in figures.items():
        ratio = figure / committed[name]
        worst = max(worst, ratio)
        note = "MORE than 5% above" if ratio > 1 + BOUND else "less: --renew the figures" if ratio < 1 - BOUND else ""
        print(f"{name:19} {figure:10.2f} instructions per {unit:17} committed {committed[name]:10.2f}  {note}")
    return 1 if worst > 1 + BOUND else 0


if __name__ == "__main__":
    sys.exit(main())
