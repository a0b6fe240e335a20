#!/usr/bin/env python3
"""nashflow beside what Python users would use, as two tables in markdown.

    run.py NASHFLOW [--quick] [--only NAME...] [--repeats 3] [--update]

Installs the peers first (install.sh). The reference sweep in nine variants (sweep.py) and mfgsolver on a
periodic game (game.py), each in a process of its own on as many cores as its row says; nashflow is timed
before, between and after them. Written to peers.md beside the program; --update puts it into RESULTS.md in place of
its section "Peers". NAME: a variant, `sweep`, `game`, or a game such as `1d-200`.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, os.pardir, "RESULTS.md")
MPIEXEC = "mpiexec.mpich"

# name, title, environment, does the package use two threads?
VARIANTS = [
    ("scipy_kde", "SciPy gaussian_kde", "peers", False),
    ("numpy_direct", "NumPy, direct sum, buffers reused", "peers", False),
    ("torch_direct", "PyTorch, direct sum", "", True),
    ("jax_direct", "JAX, direct sum (jit, scan)", "peers", True),
    ("finufft_density", "FINUFFT", "peers", True),
    ("kdepy_fft", "KDEpy FFTKDE, grid 16x finer", "peers", False),
    ("numba_recurrence", "Numba, window and Gaussian recurrence", "peers", True),
    ("jax_binning", "JAX float32, linear binning 16x finer, matrix", "peers", True),
    ("numba_binning", "Numba, linear binning 16x finer, matrix", "peers", True),
]
TOLERANCES = ["1e-06", "1e-10"]
GAMES = [(1, 200), (2, 25), (2, 50), (2, 100)]
SLOW = (2, 100)


class Skipped(Exception):
    pass


def interpreter(environment):
    cache = os.environ.get("NASHFLOW_DEPS") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "nashflow")
    return os.path.join(cache, environment, "bin", "python") if environment else "/usr/bin/python3"


def on_cores(count):
    """Arguments of a process that has `count` cores and that many threads: the last ones, interrupts like the first."""
    cores = sorted(os.sched_getaffinity(0))[-count:]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {"env": dict(os.environ, **{name: str(count) for name in names}),
            "preexec_fn": lambda: os.sched_setaffinity(0, cores)}


def worker(environment, cores, script, *words):
    """The line of JSON that a script of this folder prints, with the wall seconds of its process."""
    start = time.perf_counter()
    try:
        done = subprocess.run([interpreter(environment), "-B", os.path.join(HERE, script), *map(str, words)],
                              capture_output=True, text=True, **on_cores(cores))
    except OSError as error:
        raise Skipped(error.strerror) from None
    if done.returncode:
        raise Skipped((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return dict(json.loads(done.stdout.splitlines()[-1]), process=time.perf_counter() - start)


def on_ranks(program, ranks, *words):
    return ([MPIEXEC, "-n", str(ranks)] if ranks > 1 else []) + [program, *words]


def nashflow_sweep(program, ranks):
    """{tolerance: (first ms, later ms, error)}, the first case of `nashflow bench sweep`, on ranks the division
    that auto takes by default, by id; then it is stopped."""
    rows = {}
    process = subprocess.Popen(on_ranks(program, ranks, "bench", "sweep"), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, **on_cores(ranks))
    with process:
        for line in process.stdout:
            words = line.split()
            if words[:1] == ["moments"] and "domain" not in words:
                first = words.index("in") + 2  # after "8 in 4", order and boxes
                rows[words[1]] = [float(words[i]) for i in (first, first + 1, -1)]
            if {"1e-06", "1e-10"} <= rows.keys():
                process.terminate()
                return rows
        sys.exit(f"nashflow bench sweep on {ranks} ranks ended early: {process.stderr.read()}")


def sweep_table(program, names, repeats, say):
    """Rows: title, version, threads, first ms, later ms, error; then the skipped."""
    rows, skipped, versions, own = [], [], {}, {1: [], 2: []}

    def time_nashflow():
        for ranks in own:
            own[ranks].append(nashflow_sweep(program, ranks))

    time_nashflow()
    for index, (name, title, environment, threads) in enumerate(v for v in VARIANTS if v[0] in names):
        if index == len(names) // 2:
            time_nashflow()
        for count in (1, 2) if threads else (1,):
            say(f"{title}, {count} thread{'s' * (count > 1)}")
            try:
                r = worker(environment, count, "sweep.py", name, count, repeats)
            except Skipped as reason:
                skipped += prose(f"Skipped: {title}: {reason}")
                break
            rows.append((f"{title} {r['version']}", count, 1e3 * r["first"], 1e3 * r["later"], r["error"]))
            versions[f"Python {r['python']}, NumPy {r['numpy']}"] = True
    time_nashflow()
    for tolerance in TOLERANCES:
        for ranks, runs in own.items():
            first, later, error = (statistics.median(run[tolerance][i] for run in runs) for i in range(3))
            rows.append((f"nashflow, tolerance {float(tolerance):g}", ranks, first, later, error))
    return rows, skipped, list(versions)


def times(ratio):
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.1f}"


def format_sweep(rows):
    own = {r[1]: r[3] for r in rows if r[0] == "nashflow, tolerance 1e-10"}
    lines = ["| | cores | first ms | later ms | error | over nashflow at 1e-10 on as many cores |",
             "|---|---|---|---|---|---|"]
    for title, count, first, later, error in rows:
        ratio = later / own[count]
        wins = "" if ratio >= 1 or title.startswith("nashflow") else ", **faster than nashflow**"
        lines.append(f"| {title} | {count} | {first:,.1f} | {later:,.1f} | {error:.0e} | {times(ratio)}{wins} |")
    return lines


def nashflow_game(program, ranks, case, directory):
    """Seconds of the solve and of the whole process, and iterations."""
    start = time.perf_counter()
    done = subprocess.run(on_ranks(program, ranks, "run", case, "--output", directory, "--restart", "none"),
                          capture_output=True, text=True, **on_cores(ranks))
    process = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"nashflow run on {ranks} ranks: exit code {done.returncode}: {done.stderr}")
    return {"process": process, "seconds": float(re.search(r"^\s+total\s+(\S+)", done.stdout, re.M)[1]),
            "iterations": int(re.search(r"converged in (\d+) iterations", done.stdout)[1])}


def play(program, dim, cells, repeats, say):
    """Rows of one game: title, cores, iterations, residuals, seconds, process, differences."""
    with tempfile.TemporaryDirectory() as folder:
        case, peer = os.path.join(folder, "game.yaml"), os.path.join(folder, "peer.npz")
        worker("peers-mfgsolver", 1, "game.py", "input", dim, cells, case)
        rows = []
        for ranks in (1, 2):
            say(f"{dim}d-{cells}: nashflow, {ranks} rank{'s' * (ranks > 1)}")
            directory = os.path.join(folder, f"ranks_{ranks}")
            runs = [nashflow_game(program, ranks, case, directory) for _ in range(repeats)]
            run = sorted(runs, key=lambda r: r["seconds"])[repeats // 2]
            rows.append(dict(run, title="nashflow", cores=ranks, result=os.path.join(directory, "result.h5")))
        say(f"{dim}d-{cells}: mfgsolver")
        theirs = worker("peers-mfgsolver", 1, "game.py", "solve", dim, cells, peer)
        for row in rows:
            row.update(worker("peers-mfgsolver", 1, "game.py", "compare", dim, cells, peer, row["result"]),
                       process=row["process"])
    return [dict(theirs, title=f"mfgsolver {theirs['version']}", cores=1), *rows]


def format_games(games):
    lines = ["| | cores | iterations | residuals HJB, FP | solve s | process s "
             "| over nashflow on one core: solve, process | difference of m, u |", "|---|---|---|---|---|---|---|---|"]
    for (dim, cells), rows in games:
        own = next(r for r in rows if r["title"] == "nashflow")
        for r in rows:
            ratios = [r[key] / own[key] for key in ("seconds", "process")]
            wins = ", **faster than nashflow**" if r["title"] != "nashflow" and min(ratios) < 1 else ""
            differs = f"{r['m']:.0e}, {r['u']:.0e}" if "m" in r else "-"
            size = " x ".join([str(cells)] * dim)
            lines.append(f"| {size} cells, {cells} steps: {r['title']} | {r['cores']} | {r['iterations']} "
                         f"| {r['residual_hjb']:.0e}, {r['residual_fp']:.0e} | {r['seconds']:.2f} | {r['process']:.2f} "
                         f"| {times(ratios[0])}, {times(ratios[1])}{wins} | {differs} |")
    return lines


def machine(program):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = (re.findall(r"model name\s*: (.*)", f.read()) or [os.uname().machine])[0].strip()
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    version = re.sub(r"(commit \w{10})\w*", r"\1", version)
    return (f"{version}, on {len(os.sched_getaffinity(0))} cores ({model}); load of the machine at the start "
            f"{os.getloadavg()[0]:.1f}, which should be below 0.3.")


def faster(table):
    rows = [line.split(" | ") for line in table if "faster than nashflow" in line]
    return f"Faster than nashflow: {'; '.join(f'{row[0][2:]} on {row[1]}' for row in rows) or 'none'}."


def prose(text):
    return [*textwrap.wrap(" ".join(text.split()), 110, break_on_hyphens=False), ""]


def games_table(args, say):
    """[((dim, cells), rows of play)], and the skipped."""
    games, skipped = [], []
    for dim, cells in args.games:
        try:
            games.append(((dim, cells), play(args.nashflow, dim, cells, args.repeats, say)))
        except Skipped as reason:
            skipped += prose(f"Skipped: mfgsolver, {dim}D, {cells} cells: {reason}")
    return games, skipped


def update(section):
    with open(RESULTS, encoding="utf-8") as f:
        text = f.read()
    new = re.sub(r"^## Peers\n.*?(?=^## |\Z)", lambda _: section + "\n", text, flags=re.M | re.S)
    with open(RESULTS, "w", encoding="utf-8") as f:
        f.write(new.rstrip("\n") + "\n")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nashflow", help="the program")
    parser.add_argument("--quick", action="store_true", help="without mfgsolver at 100 x 100 cells: 4 minutes of 10")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=["sweep", "game"])
    parser.add_argument("--repeats", type=int, default=3, help="later calls of each row; the median is taken")
    parser.add_argument("--update", action="store_true", help="replace the section in RESULTS.md")
    args = parser.parse_args()
    games = {f"{dim}d-{cells}": (dim, cells) for dim, cells in GAMES}
    variants = [v[0] for v in VARIANTS]
    known = ["sweep", "game", *variants, *games]
    for name in args.only:
        if name not in known:
            parser.error(f"unknown name '{name}'; there are {', '.join(known)}")
    if args.update and args.only != parser.get_default("only"):
        parser.error("--update replaces the whole section, so it does not go with --only")
    args.variants = [v for v in variants if v in args.only or "sweep" in args.only]
    args.games = [g for name, g in games.items() if (name in args.only or "game" in args.only)
                  and not (args.quick and g == SLOW)]
    args.nashflow = os.path.abspath(args.nashflow)
    return args


def main():
    args = arguments()
    start = time.perf_counter()
    say = lambda text: print(f"{time.perf_counter() - start:6.0f} s  {text}", file=sys.stderr, flush=True)
    head = machine(args.nashflow)
    say("install.sh")
    subprocess.run([os.path.join(HERE, "install.sh")], check=True, stdout=sys.stderr)
    lines = ["## Peers", "", *prose(f"`python3 tests/bench/peers/run.py build/nashflow --update`: {head}")]
    if args.variants:
        rows, skipped, versions = sweep_table(args.nashflow, args.variants, args.repeats, say)
        table = format_sweep(rows)
        lines += [*prose(f"""The reference sweep: 50,000 agents, 100 cells, 50 steps, h = 2 cells, each program with
                  random numbers of its own. Later: median of {args.repeats} calls; nashflow: of three runs, before,
                  between and after the others. First calls with compilation, without imports. Error of the last density
                  against the direct sum on the same positions, nashflow's at all levels. {'; '.join(versions)}.
                  {faster(table)}"""), *table, "", *skipped]
    if args.games:
        rows, skipped = games_table(args, say)
        table = format_games(rows)
        lines += [*prose(f"""A periodic game with F = V(x) + m by finite differences, the same scheme at the same
                  points: nashflow with `fokker_planck.method: grid`, the median of {args.repeats} runs, and one run of
                  mfgsolver by policy iteration with weights .65 and .35 (its defaults do not converge). Residuals are
                  mfgsolver's for both; differences are those of nashflow to mfgsolver on all levels, relative to the
                  largest m and the range of u. Process: with its start, imports and output. {faster(table)}"""),
                  *table, "", *skipped]
    section = "\n".join(lines).rstrip("\n") + "\n"
    print(section, end="")
    with open(os.path.join(os.path.dirname(args.nashflow), "peers.md"), "w", encoding="utf-8") as f:
        f.write(section)
    if args.update:
        update(section)


if __name__ == "__main__":
    main()
