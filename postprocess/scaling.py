#!/usr/bin/python3
"""How a run scales with the number of ranks: predicted from counted bytes, or measured in results.

predict: asks `nashflow run CASE --dry-run --ranks N` for the bytes that a rank sends and holds, for every N,
and makes seconds of them with figures of the hardware (one rank a GPU; the defaults are near an H100's). It is the
forward sweep of the agents; the value equation sends value_ghosts bytes in each exchange besides.
  --weak    every rank brings --cells and --agents. The cells are one unit wide, the kernel and the noise of a
            step --kernel and --noise of them, and the crowd is spread evenly; --set comes last
  --strong  the case as it is, on more ranks
measure: seconds per outer iteration, speed-up and efficiency of finished runs, one result for every number of
ranks. Agents times steps is the work, so that weak and strong series are read alike.

    scaling.py predict input/torus_2d.yaml --weak --cells 1024 1024 --agents 1e7 --ranks 1 8 64 512 1024
    scaling.py measure results/ranks_1 results/ranks_2 results/ranks_4"""
import argparse
import math
import os
import subprocess
import sys

from nashflow_io import Result, main, pyplot, require

CELLS_MOST = 2**31 - 1  # of a grid: indices are 32-bit integers
WAYS = ("replicated", "domain")
STYLE = {"replicated": ("tab:blue", "o-"), "domain": ("tab:orange", "s-")}


def divide(ranks, dim):
    """Factors of the number of ranks, as equal as can be, the largest last."""
    best = (ranks,)
    if dim > 1:
        best = min(((first, *divide(ranks // first, dim - 1)) for first in range(1, ranks + 1) if ranks % first == 0),
                   key=lambda d: (sum(d), d))
    return tuple(sorted(best))


def weak_sets(args, ranks):
    cells = [n * d for n, d in zip(args.cells, divide(ranks, len(args.cells)))]
    if math.prod(cells) > CELLS_MOST:
        last = CELLS_MOST // math.prod(cells[:-1])
        print(f"scaling.py: note: {ranks} ranks: {last} cells along the last axis instead of {cells[-1]}: a grid has "
              f"{CELLS_MOST} at most", file=sys.stderr)
        cells[-1] = last
    listed = ",".join(map(str, cells))
    return [f"domain.cells=[{listed}]", f"domain.upper=[{listed}]", f"domain.lower=[{','.join('0' for _ in cells)}]",
            f"agents.count={round(args.agents) * ranks}", "agents.initial_density=1",
            "running_cost.potential=0", "terminal_cost.potential=0",
            f"time.steps={args.steps}", f"time.horizon={args.steps}", f"dynamics.sigma={args.noise}",
            f"density.bandwidth=[{','.join(str(args.kernel) for _ in cells)}]"]


def dry_run(args, ranks):
    """The `key: value` lines of a dry run."""
    command = [args.program, "run", args.case, "--dry-run", "--ranks", str(ranks)]
    for item in (weak_sets(args, ranks) if args.weak else []) + args.set:
        command += ["--set", item]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"scaling.py: {args.program}: {error.strerror}; see --program")
    if done.returncode:
        sys.exit(f"scaling.py: {' '.join(command)}\nended with exit code {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    return dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)


def predict(said, way, args):
    """Bytes and seconds of a step of one way to divide the agents; None where it cannot be had."""
    if f"{way}.middle.rank" not in said:
        return None
    ranks = int(said["ranks"])
    divisions = [int(d) for d in said["divisions"].split(" x ")]
    sent = {key: float(said[f"{way}.middle.{key}"]) for key in ("halo", "migration", "reduction", "gather")}
    rate = args.agent_rate or (4e9 if len(divisions) > 2 else 6.5e9)
    speed = args.nvlink if ranks <= args.gpus_per_node else args.infiniband
    # A ring reduces in 2 (ranks - 1) pieces of 1/ranks; what is gathered goes to all others.
    bytes_ = sent["halo"] + sent["migration"] + 2 * (ranks - 1) / ranks * sent["reduction"]
    bytes_ += (ranks - 1) * sent["gather"]
    messages = 2 * sum(d > 1 for d in divisions) if way == "domain" else 2 * math.ceil(math.log2(ranks))
    compute = float(said[f"{way}.largest.agents"]) / rate
    return {"bytes": bytes_ if ranks > 1 else 0, "memory": float(said[f"{way}.largest.memory"]), "compute": compute,
            "seconds": compute + (bytes_ / (speed * 1e9) + messages * args.latency * 1e-6 if ranks > 1 else 0)}


def study(args):
    rows = []
    for ranks in sorted(set(args.ranks)):
        said = dry_run(args, ranks)
        rows.append((ranks, said, {way: predict(said, way, args) for way in WAYS}))
    first = rows[0]
    base = min(p["seconds"] for p in first[2].values() if p)
    titles = ("ranks", "cells", "agents", "division", "MB sent a step", "GB a rank", "ms a step", "efficiency", "MB of m0")
    table = [titles]
    for ranks, said, ways in rows:
        for way, p in ways.items():
            head = (str(ranks), said["cells"], short(said["agents"]), way)
            if not p:
                table.append((*head, "-", "-", "-", "-", "-"))
                continue
            p["efficiency"] = base / p["seconds"] * (1 if args.weak else first[0] / ranks)
            table.append((*head, short(p["bytes"] / 1e6), short(p["memory"] / 1e9), short(p["seconds"] * 1e3),
                          f"{p['efficiency']:.1%}", short(float(said["initial_density"]) / 1e6)))
    show(table, args.markdown)
    for ranks, said, ways in rows:
        if not ways["domain"]:
            print(f"{ranks} ranks: domain is not possible: {said['domain.possible'][4:]}")
    kind = "weak" if args.weak else "strong"
    dim = len(first[1]["divisions"].split(" x "))
    if args.weak:
        load = f"{' x '.join(map(str, args.cells))} cells and {args.agents:.3g} agents a rank"
    else:
        load = f"{first[1]['cells']} cells and {float(first[1]['agents']):.3g} agents in all"
    draw(args, f"Predicted {kind} scaling in {dim}D: {load}", "seconds per step",
         "from counted bytes and stated figures of the hardware, not measured",
         [(way, *zip(*[(n, w[way]["seconds"], w[way]["efficiency"]) for n, _, w in rows if w[way]]))
          for way in WAYS if any(w[way] for _, _, w in rows)],
         [(n, w["replicated"]["compute"]) for n, _, w in rows])
    return 0


def measure(args):
    np = require("numpy")
    results = sorted((Result(path) for path in args.results), key=lambda r: int(r.get("ranks", 1)))
    rows = []
    for r in results:
        phases = [v for k, v in r.convergence.items() if k.startswith("seconds_")]
        if not phases:
            sys.exit(f"scaling.py: {r.path}: no seconds in its convergence history")
        rows.append((int(r.get("ranks", 1)), float(np.median(np.sum(phases, axis=0))),
                     float(r.get("agents", 1)) * float(r.get("time_steps", 1)), r))
    if len({row[0] for row in rows}) < len(rows):
        sys.exit("scaling.py: two results of the same number of ranks; give one of each")
    table = [("ranks", "agents", "iterations", "s an iteration", "speed-up", "efficiency")]
    efficiencies = []
    for ranks, seconds, work, r in rows:
        speed_up = work / seconds / (rows[0][2] / rows[0][1])
        efficiencies.append(speed_up * rows[0][0] / ranks)
        table.append((str(ranks), short(r.get("agents", 1)), str(len(r.convergence["density_residual"])),
                      f"{seconds:.4g}", f"{speed_up:.3f}", f"{efficiencies[-1]:.1%}"))
    show(table, args.markdown)
    title = results[0].get("title") or "nashflow"
    draw(args, title, "seconds per outer iteration (median)", "measured",
         [("measured", [row[0] for row in rows], [row[1] for row in rows], efficiencies)])
    return 0


def short(number):
    """Three digits: 647,000 or 0.0123."""
    rounded = f"{float(number):.3g}"
    return f"{float(rounded):,.0f}" if 1e3 <= float(rounded) < 1e9 else rounded.replace("e+", "e").replace("e0", "e")


def show(table, markdown):
    widths = [max(map(len, column)) for column in zip(*table)]
    for i, row in enumerate(table):
        if markdown:
            print("| " + " | ".join(row) + " |")
            if not i:
                print("|" + "---|" * len(row))
        else:
            print("  ".join(text.rjust(width) for text, width in zip(row, widths)))


def draw(args, title, label, remark, curves, compute=None):
    plt = pyplot()
    from matplotlib.ticker import NullLocator
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
    ranks = sorted({n for curve in curves for n in curve[1]})
    for name, x, seconds, efficiency in curves:
        colour, style = STYLE.get(name, ("tab:blue", "o-"))
        left.plot(x, seconds, style, color=colour, label=name)
        right.plot(x, [100 * e for e in efficiency], style, color=colour, label=name)
    if compute:
        left.plot(*zip(*compute), "--", color="0.5", label="agents alone, even shares", zorder=0)
        left.legend()
    right.axhline(100, color="0.7", lw=1, zorder=0)
    right.set_ylim(0, max(110, 105 * max(e for curve in curves for e in curve[3])))
    left.set(xscale="log", xlabel="ranks", ylabel=label)
    values = [s for curve in curves for s in curve[2]]
    if max(values) > 20 * min(values):
        left.set_yscale("log")
    else:
        left.set_ylim(0, 1.1 * max(values))
    right.set(xscale="log", xlabel="ranks", ylabel="efficiency [%]")
    for axes in (left, right):
        axes.set_xticks(ranks, [f"{n:,}" for n in ranks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
    figure.suptitle(f"{title}\n({remark})", fontsize=12)
    path = args.out
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    figure.savefig(path, dpi=130)
    print(path)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    p = modes.add_parser("predict", help="from a dry run and figures of the hardware",
                         formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("case", help="case.yaml")
    kinds = p.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--weak", action="store_true", help="cells and agents grow with the ranks")
    kinds.add_argument("--strong", action="store_true", help="the case as it is")
    p.add_argument("--ranks", type=int, nargs="+", default=[1, 8, 64, 512, 1024])
    p.add_argument("--cells", type=int, nargs="+", metavar="N", help="cells of a rank per axis, of --weak")
    p.add_argument("--agents", type=float, help="agents of a rank, of --weak")
    p.add_argument("--steps", type=int, default=50, help="time steps, of --weak")
    p.add_argument("--kernel", type=float, default=2, help="bandwidth in cells, of --weak")
    p.add_argument("--noise", type=float, default=1, help="deviation of a step's noise in cells, of --weak")
    p.add_argument("--agent-rate", type=float, metavar="PER_SECOND", help="agent-steps/s of a GPU with deposit and "
                   "density; by default 6.5e9 in 1D and 2D, as measured on an H100 in 2D, and 4e9 in 3D, "
                   "not measured")
    p.add_argument("--nvlink", type=float, default=450, metavar="GB/S", help="one way, a GPU: half of the 900 "
                   "of NVIDIA's data sheet of the H200; used up to --gpus-per-node ranks")
    p.add_argument("--infiniband", type=float, default=50, metavar="GB/S", help="one way, a GPU: NDR, 400 Gbit/s, "
                   "one port a GPU; used for all bytes beyond one node")
    p.add_argument("--latency", type=float, default=10, metavar="US", help="of one message or one stage of a "
                   "reduction between GPUs; an all-reduce of a few bytes takes 6 to 15")
    p.add_argument("--gpus-per-node", type=int, default=8)
    p.add_argument("--set", action="append", default=[], metavar="path=value", help="as of nashflow run")
    p.add_argument("--program", default="nashflow", metavar="PATH", help="nashflow")
    m = modes.add_parser("measure", help="from results", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    m.add_argument("results", nargs="+", help="result.h5 or run directory")
    for mode in (p, m):
        mode.add_argument("--out", default="scaling.png", metavar="FILE.png")
        mode.add_argument("--markdown", action="store_true", help="the table for a document")
    args = parser.parse_args()
    if args.mode == "predict":
        if min(args.ranks) < 1:
            p.error("--ranks are numbers from 1 on")
        if args.weak and not (args.cells and args.agents):
            p.error("--weak needs --cells and --agents of a rank")
        if args.strong and (args.cells or args.agents):
            p.error("--strong takes cells and agents from the case; use --set to change them")
    elif len(args.results) < 2:
        m.error("at least two results, of different numbers of ranks")
    return args


def run():
    args = parse()
    return study(args) if args.mode == "predict" else measure(args)


if __name__ == "__main__":
    main(run)
