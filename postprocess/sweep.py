#!/usr/bin/python3
"""One table and one picture of runs that differ in one key of the input, as jobs/sweep.sbatch makes them.

Reads every run directory in DIRECTORY and writes sweep.csv and sweep.png there (--out for another place). Columns:
the key, how the run ended, its outer iterations and residuals, and of its result
  mean_cost        what an agent pays on average, the integral of m u at t = 0
  peak_density     the largest density at the end
  mean_x, ...      the mean of the agents at the end, and
  deviation_x, ... their standard deviation; neither on periodic axes
A run without a result has a row without them.

    sweep.py results/sweep_peer_1d"""
import argparse
import csv
import os
import sys

from nashflow_io import Result, ResultError, main, pyplot, read_run, require

IGNORED = ("output.", "metadata")  # keys that do not change the solution


class Run:
    def __init__(self, directory):
        self.name = os.path.basename(directory)
        self.status, self.input = read_run(directory)
        self.result = Result(directory) if os.path.exists(os.path.join(directory, "result.h5")) else None
        self.value, self.row = None, {}

    def measure(self, parameter):
        """Fills value, a number where it is one, and the row of the table."""
        self.value = number(self.input[parameter])
        self.row = {"run": self.name, parameter: self.value, "status": self.status.get("status", ""),
                    **{k: self.status.get(k, "") for k in ("reason", "iterations", "density_residual", "value_residual")}}
        if self.result:
            self.row.update(quantities(self.result))

    def converged(self):
        return self.status.get("reason") == "converged"


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def marginal(r, a):
    """The density at the end along one axis, integrated over the others."""
    np = require("numpy")
    others = [k for k in range(r.dim) if k != a]
    return r.m[-1].sum(axis=tuple(r.dim - 1 - k for k in others)) * np.prod([r.spacing[k] for k in others])


def quantities(r):
    np = require("numpy")
    found = {"mean_cost": float((r.m[0] * r.u[0]).sum() * np.prod(r.spacing)), "peak_density": float(r.m[-1].max())}
    for a in range(r.dim):
        if not r.periodic[a]:
            p = marginal(r, a) * r.spacing[a]
            found[f"mean_{r.axes[a]}"] = mean = float(p @ r.centers[a] / p.sum())
            found[f"deviation_{r.axes[a]}"] = float(np.sqrt(p @ (r.centers[a] - mean) ** 2 / p.sum()))
    return found


def varied(runs, asked):
    """The key in which the runs differ."""
    keys = sorted(set().union(*[run.input for run in runs]))
    differ = [k for k in keys if len({run.input.get(k) for run in runs}) > 1 and not k.startswith(IGNORED)]
    if asked:
        if any(asked not in run.input for run in runs):
            raise ResultError(f"--parameter {asked}: not a key of every input; the runs differ in {', '.join(differ)}")
        return asked
    if len(differ) != 1:
        raise ResultError(f"the runs differ in {', '.join(differ) or 'no key'}; choose one by --parameter")
    return differ[0]


def write_table(path, rows):
    columns = list(dict.fromkeys(name for row in rows for name in row))
    temporary = f"{path}.{os.getpid()}.part"  # tasks of an array may write it at the same time
    with open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)
    texts = [columns] + [[format(v, ".5g") if isinstance(v := row.get(c, ""), float) else v for c in columns]
                         for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts)]
    for row in texts:
        print("  ".join(text.rjust(width) for text, width in zip(row, widths)))
    print(path)


class Axis:
    """Where the values stand: at their numbers, or side by side where they are words."""

    def __init__(self, values):
        np = require("numpy")
        self.names = [shown(v) for v in values] if any(isinstance(v, str) for v in values) else None
        self.places = list(range(len(values))) if self.names else values
        low, high = min(self.places), max(self.places)
        self.logarithmic = low > 0 and high > 20 * low
        change, back = (np.log, np.exp) if self.logarithmic else (float, float)
        margin = 0.04 * (change(high) - change(low)) or 0.5
        self.limits = back(change(low) - margin), back(change(high) + margin)

    def apply(self, axes, labels):
        if self.logarithmic:
            axes.set_xscale("log")
        axes.set_xlim(*self.limits)
        if self.names:
            axes.set_xticks(self.places, self.names, rotation=20)
        axes.tick_params(labelbottom=labels)


def shown(value):
    return value if isinstance(value, str) else f"{value:g}"


def densities(axes, runs, parameter):
    """The density at the end along the first axis, a line for each run; in the legend also the runs without one."""
    plt, np = pyplot(), require("numpy")
    every = -(-len(runs) // 12)  # legends of more lines say nothing
    for k, (run, colour) in enumerate(zip(runs, plt.get_cmap("viridis")(np.linspace(0, 0.9, len(runs))))):
        if not run.result:
            axes.plot([], [], "x", color="tab:red", label=f"{shown(run.value)} (no result)")
            continue
        label = shown(run.value) + ("" if run.converged() else " (not converged)")
        axes.plot(run.result.centers[0], marginal(run.result, 0), color=colour, label=None if k % every else label)
    first = next(run.result for run in runs if run.result)
    axes.set(xlabel="x [1]", ylabel="density [1]" + (", integrated over the other axes" if first.dim > 1 else ""),
             title=f"density at t = {first.time[-1]:g}", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(title=parameter)


def curve(axes, points, line, colour, label):
    """(place, value, converged): marks, hollow where the run did not converge, and a line through them."""
    axes.plot([x for x, _, _ in points], [y for _, y, _ in points], line, color=colour, lw=1, label=label)
    for converged in (True, False):
        marks = [(x, y) for x, y, c in points if c == converged]
        axes.plot([x for x, _ in marks], [y for _, y in marks], "o", color=colour, ms=5,
                  markerfacecolor=colour if converged else "white")


def draw(path, runs, parameter):
    plt = pyplot()
    place = dict(zip((run.name for run in runs), (axis := Axis([run.value for run in runs])).places))
    solved = [run for run in runs if run.result]
    first = solved[0]
    panels = {"cost of an agent": ["mean_cost"], "largest density at the end": ["peak_density"],
              "standard deviation at the end": [k for k in first.row if k.startswith("deviation_")],
              "outer iterations": ["iterations"]}
    panels = {title: columns for title, columns in panels.items() if columns}
    with plt.rc_context({"figure.constrained_layout.use": False}):  # which squeezes panels with wide labels
        figure = plt.figure(figsize=(12, 7))
    grid = figure.add_gridspec(len(panels), 2, width_ratios=(3, 2), left=0.07, right=0.97, top=0.89, bottom=0.13,
                               hspace=0.4, wspace=0.2)
    densities(figure.add_subplot(grid[:, 0]), runs, parameter)
    for line, (title, columns) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[line, 1])
        for k, column in enumerate(columns):
            points = [(place[run.name], float(run.row[column]), run.converged()) for run in solved]
            curve(axes, points, "" if axis.names else "-", f"C{k}", column[-1] if len(columns) > 1 else None)
        if len(columns) > 1:
            axes.legend(fontsize=8)
        axis.apply(axes, line == len(panels) - 1)
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    lost = [place[run.name] for run in runs if not run.result]
    axes.plot(lost, [0] * len(lost), "x", color="tab:red", ms=8, clip_on=False)
    axes.set(xlabel=parameter, ylim=(0, None))
    title = first.result.get("title") or os.path.basename(os.path.dirname(os.path.abspath(path)))
    figure.suptitle(f"{title}: sweep over {parameter}")
    temporary = f"{path}.{os.getpid()}.part"
    figure.savefig(temporary, dpi=130, format="png")
    os.replace(temporary, path)
    print(path)


def run():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="with a run directory for each value")
    parser.add_argument("--parameter", metavar="PATH", help="of the input; by default the one in which the runs differ")
    parser.add_argument("--out", metavar="DIR", help="default: DIRECTORY")
    args = parser.parse_args()
    if not os.path.isdir(args.directory):
        raise ResultError(f"{args.directory}: no such directory")
    names = sorted(os.listdir(args.directory))
    runs = [Run(os.path.join(args.directory, n)) for n in names
            if os.path.exists(os.path.join(args.directory, n, "effective.yaml"))]
    if len(runs) < 2:
        raise ResultError(f"{args.directory}: {len(runs)} run directories (with effective.yaml) in it; a sweep has two at least")
    if not any(r.result for r in runs):
        raise ResultError(f"{args.directory}: no run in it has a result")
    parameter = varied(runs, args.parameter)
    for r in runs:
        r.measure(parameter)
    runs.sort(key=lambda r: (isinstance(r.value, str), r.value))
    out = args.out or args.directory
    os.makedirs(out, exist_ok=True)
    write_table(os.path.join(out, "sweep.csv"), [r.row for r in runs])
    draw(os.path.join(out, "sweep.png"), runs, parameter)
    for r in runs:
        if not r.result:
            print(f"sweep.py: warning: run {r.name} ({parameter} = {r.row[parameter]}) has no result", file=sys.stderr)
    return 0


if __name__ == "__main__":
    main(run)
