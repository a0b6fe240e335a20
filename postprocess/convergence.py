#!/usr/bin/python3
"""Runs a case again on refined grids, with more agents, or with other seeds, and compares the ends.

--cells 20 40 80 160   cells on the first axis, the others and the time steps in proportion; the
                       difference of neighbours gives the observed order
--agents 1e4 1e5 1e6   more agents; the difference to the last one gives the order (-1/2 expected)
--seeds 1 2 3 4        the spread over seeds: standard deviation of m and u at every point
Writes convergence_<kind>.csv and .png into --out, and every run into a folder there. A run that ends
with exit code 2 (not converged) is used and named; other codes stop the study.

    convergence.py input/lq_1d.yaml --cells 30 60 120 --program build/nashflow"""
import argparse
import csv
import os
import shlex
import subprocess
import sys

from nashflow_io import Result, main, name_of, pyplot, require


def launch(args, name, sets, warn=True):
    directory = os.path.join(args.out, name)
    command = shlex.split(args.launcher) + [args.program, "run", args.case, "--output", directory,
                                            "--restart", "none"]
    for item in sets + args.set:
        command += ["--set", item]
    print(" ".join(command), flush=True)
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        sys.exit(f"convergence.py: {command[0]}: {error.strerror}; see --launcher and --program")
    if done.returncode not in (0, 2):
        sys.exit(f"convergence.py: the run ended with exit code {done.returncode}:\n"
                 f"{done.stderr.strip()[-2000:]}")
    if done.returncode == 2 and warn:
        print(f"convergence.py: warning: {name} did not reach its tolerance", file=sys.stderr)
    return Result(directory)


def on_grid(r, field, coarse):
    """The last level of m or the first of u, multilinear at the cell centres of another result."""
    np = require("numpy")
    values = r.file[field][-1 if field == "m" else 0]
    for a in range(r.dim):
        axis, old, new = r.dim - 1 - a, r.centers[a], coarse.centers[a]
        if r.periodic[a]:
            length = r.upper[a] - r.lower[a]
            old = np.concatenate([[old[-1] - length], old, [old[0] + length]])
            values = np.concatenate([np.take(values, [-1], axis), values, np.take(values, [0], axis)], axis)
        values = np.apply_along_axis(lambda v, o=old, n=new: np.interp(n, o, v), axis, values)
    return values


def difference(a, b, field):
    np = require("numpy")
    d = np.abs(on_grid(b, field, a) - on_grid(a, field, a))
    return d.mean() * np.prod(np.subtract(a.upper, a.lower))


def orders(numbers, errors):
    np = require("numpy")
    return [None] + [float(np.log(errors[i - 1] / errors[i]) / np.log(numbers[i] / numbers[i - 1]))
                     if errors[i] > 0 and errors[i - 1] > 0 else None for i in range(1, len(errors))]


def refine_sets(first, factor):
    cells = ",".join(str(max(1, round(len(c) * factor))) for c in first.centers)
    return [f"domain.cells=[{cells}]", f"time.steps={max(1, round(first.get('time_steps') * factor))}"]


def table(args, kind, header, rows):
    path = os.path.join(args.out, f"convergence_{kind}.csv")
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header] + rows)
    for row in [header] + rows:
        print("  ".join(f"{('' if c is None else c if isinstance(c, str) else format(c, '.4g')):>12}" for c in row))
    print(path)


def study(args, kind, numbers, results):
    plt = pyplot()
    pairs = list(zip(results, results[1:])) if kind == "cells" else [(r, results[-1]) for r in results[:-1]]
    errors = {f: [difference(a, b, f) for a, b in pairs] for f in ("m", "u")}
    order = {f: orders(numbers, e) for f, e in errors.items()}
    table(args, kind, [kind, "m_L1", "m_order", "u_L1", "u_order"],
          [[n, errors["m"][i], order["m"][i], errors["u"][i], order["u"][i]] for i, n in enumerate(numbers[:-1])])
    figure, axes = plt.subplots(figsize=(7, 4.5))
    expected = -1 if kind == "cells" else -0.5
    for field, style in (("m", "o-"), ("u", "s--")):
        last = [o for o in order[field] if o is not None]
        if errors[field][0] > 0:
            line = [errors[field][0] * (n / numbers[0]) ** expected for n in numbers[:-1]]
            axes.loglog(numbers[:-1], line, color="0.6", lw=1, zorder=0,
                        label=f"order {-expected:g}" if field == "u" else None)
        axes.loglog(numbers[:-1], errors[field], style,
                    label=f"{field}" + (f", last order {last[-1]:.2f}" if last else ""))
    other = "the next finer grid" if kind == "cells" else f"{numbers[-1]:g} agents"
    axes.set(xlabel="cells on the first axis" if kind == "cells" else "agents",
             ylabel="L1 difference [1]", title=f"{name_of(results[0])}: difference to {other}\n(m at the end, u at the start)")
    axes.set_xticks(numbers[:-1], [f"{n:g}" for n in numbers[:-1]])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, args, kind)


def spread(args, numbers, results):
    plt, np = pyplot(), require("numpy")
    table_rows = []
    figure, grid = plt.subplots(2, 1, figsize=(7, 6), sharex=True)
    for field, axes in zip(("m", "u"), grid):
        values = np.array([r.file[field][-1 if field == "m" else 0] for r in results])
        while values.ndim > 2:
            values = values.mean(axis=1)
        mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
        axes.errorbar(results[0].centers[0], mean, yerr=2 * deviation, ecolor="tab:red", capsize=2, lw=1)
        axes.set(ylabel=f"{field} [1]", title=("m at the end" if field == "m" else "u at the start")
                 + f": mean and 2 standard deviations of {len(numbers)} seeds")
        axes.grid(alpha=0.3)
        table_rows.append([field, deviation.mean(), deviation.max(), deviation.max() / np.ptp(mean)])
    grid[-1].set_xlabel("x [1]" + (", mean over the other axes" if results[0].dim > 1 else ""))
    figure.suptitle(name_of(results[0]))
    table(args, "seeds", ["field", "mean_deviation", "max_deviation", "of_range"], table_rows)
    save(figure, args, "seeds")


def save(figure, args, kind):
    path = os.path.join(args.out, f"convergence_{kind}.png")
    figure.savefig(path, dpi=130)
    print(path)


def run():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", help="case.yaml")
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--cells", type=int, nargs="+")
    kinds.add_argument("--agents", type=float, nargs="+")
    kinds.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--out", default="convergence", metavar="DIR")
    parser.add_argument("--set", action="append", default=[], metavar="path=value", help="as of nashflow run")
    parser.add_argument("--launcher", default="", metavar="WORDS",
                        help='"mpiexec.mpich -n 2" for instance (default: none, one rank)')
    parser.add_argument("--program", default="nashflow", metavar="PATH", help="default: nashflow on the PATH")
    args = parser.parse_args()
    kind = "cells" if args.cells else "agents" if args.agents else "seeds"
    numbers = sorted(set(getattr(args, kind)))
    if len(numbers) < 2 or min(numbers) < (0 if kind == "seeds" else 1):
        parser.error(f"--{kind} needs at least two different positive numbers")
    os.makedirs(args.out, exist_ok=True)
    if kind == "cells":
        base = launch(args, "base", ["equilibrium.max_iterations=1"], warn=False)
        results = [launch(args, f"cells_{n}", refine_sets(base, n / len(base.centers[0]))) for n in numbers]
    else:
        path = "agents.count" if kind == "agents" else "agents.seed"
        results = [launch(args, f"{kind}_{int(n)}", [f"{path}={int(n)}"]) for n in numbers]
    if kind == "seeds":
        spread(args, numbers, results)
    else:
        study(args, kind, numbers, results)
    return 0


if __name__ == "__main__":
    main(run)
