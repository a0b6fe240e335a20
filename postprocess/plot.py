#!/usr/bin/python3
"""Pictures of a result: the flow m and the value u over space and time, and the convergence.

In 3D m.png holds the integrals of m over each axis, m_slices.png and u.png orthogonal slices.
Arrows are the velocity of the agents: /control where the result holds it, else -H_p of the central
differences of u, without a given drift."""
import argparse
import os

from nashflow_io import Result, main, name_of, pyplot, require

MAPS = {"m": ("viridis", "density m"), "u": ("cividis", "value u")}


def edges(r, axis):
    np = require("numpy")
    return np.linspace(r.lower[axis], r.upper[axis], len(r.centers[axis]) + 1)


def time_edges(t):
    np = require("numpy")
    if len(t) == 1:
        return np.array([t[0] - 0.5, t[0] + 0.5])
    middle = (t[1:] + t[:-1]) / 2
    return np.concatenate([[t[0]], middle, [t[-1]]])


def extent(r):
    """Limits of the x axis in 1D: where the agents are at any time, so that an empty box does not hide them."""
    np = require("numpy")
    m = r.m[:]
    used = np.flatnonzero((m > 1e-3 * m.max()).any(axis=0))
    first, last = used[0], used[-1]
    margin = (last - first + 1) // 8
    e = edges(r, 0)
    return e[max(0, first - margin)], e[min(len(e) - 1, last + 1 + margin)]


def mean_lines(axes, r, last=None, shown=None, **style):
    """The mean path in the axes `shown` (default: all); on a periodic axis its periodic images, which the limits of the axes cut. False where
    the agents fill a period so evenly that their mean says nothing."""
    np = require("numpy")
    mean = r.mean_path()
    if mean is None:
        return False
    mean = mean[:last]
    shown, shifts = shown or range(r.dim), [[0.0]]
    for a in shown:
        length = r.upper[a] - r.lower[a]
        images = np.arange(np.floor((r.lower[a] - mean[:, a].max()) / length),
                           np.ceil((r.upper[a] - mean[:, a].min()) / length) + 1) if r.periodic[a] else [0]
        shifts = [s + [k * length] for s in shifts for k in images]
    for s in shifts:
        x = [mean[:, a] + s[1 + k] for k, a in enumerate(shown)]
        axes.plot(*([r.time[:last]] if r.dim == 1 else []), *x, **style)
        style.pop("label", None)
    return True


def space_time(r, field, path, whole):
    plt, np = pyplot(), require("numpy")
    (colours, label), limits = MAPS[field], (r.lower[0], r.upper[0]) if whole else extent(r)
    shown = (r.centers[0] >= limits[0]) & (r.centers[0] <= limits[1])
    data = r.file[field][:].T
    low, high = (0 if field == "m" else data[shown].min()), data[shown].max()
    figure, axes = plt.subplots(figsize=(8, 5))
    mesh = axes.pcolormesh(time_edges(r.time), edges(r, 0), data, cmap=colours, vmin=low, vmax=high)
    if field == "u" and high > low and len(r.time) > 1:
        lines = axes.contour(r.time, r.centers[0], data, np.linspace(low, high, 9)[1:-1],
                             colors="white", linewidths=0.8, alpha=0.7)
        axes.clabel(lines, fmt="%.3g", fontsize=8)
    if mean_lines(axes, r, color="white" if field == "m" else "tab:red", lw=2, label="mean of the agents"):
        axes.legend(loc="best", facecolor="0.3", labelcolor="white", framealpha=0.8)
    figure.colorbar(mesh, label=f"{label} [1]")
    axes.set(xlabel="time t [1]", ylabel="position x [1]", xlim=(r.time[0], r.time[-1]), ylim=limits,
             title=f"{name_of(r)}: {label} over space and time")
    figure.savefig(path, dpi=130)
    plt.close(figure)


class Plane:
    """Two axes of a result in space, seen along the third one, `normal`: as the integral over it, or as the
    slice at a cell number. In 2D normal is None and there is nothing to do."""

    def __init__(self, r, normal=None):
        self.r, self.normal = r, normal
        self.shown = [a for a in range(r.dim) if a != normal]
        self.names = [r.axes[a] for a in self.shown]
        self.lower, self.upper = [r.lower[a] for a in self.shown], [r.upper[a] for a in self.shown]
        self.lengths = [b - a for a, b in zip(self.lower, self.upper)]
        self.edges = [edges(r, a) for a in self.shown]
        self.centers = [r.centers[a] for a in self.shown]

    def field(self, name, n, place=None):
        values = self.r.file[name][n]
        return values if self.normal is None else self.r.flat(values, self.normal, place)

    def motion(self, n, place=None):
        """m, and the velocity in the plane: of an integral, the mean over the agents behind each point."""
        np = require("numpy")
        v = self.r.velocity(n)[0]
        if self.normal is None:
            return self.r.m[n], v
        if place is not None:
            return self.field("m", n, place), np.array([self.r.flat(v[a], self.normal, place) for a in self.shown])
        m = self.field("m", n)
        moved = np.array([self.r.flat(v[a] * self.r.m[n], self.normal) for a in self.shown])
        return m, moved / np.where(m > 0, m, 1)

    def velocities(self, n, place=None):
        """Rows, columns and velocities of the arrows: about 13 along the longer side, none where no agents are."""
        np = require("numpy")
        places = []
        for a in (0, 1):
            cells = len(self.centers[a])
            count = max(1, min(cells, round(13 * self.lengths[a] / max(self.lengths))))
            places.append(((np.arange(count) + 0.5) * cells / count).astype(int))
        rows, columns = places[1][:, None], places[0][None, :]
        m, v = self.motion(n, place)
        return rows, columns, np.where(m[rows, columns] < 0.05 * m.max(), np.nan, v[:, rows, columns])

    def top_speed(self, levels, places=None):
        """The largest speed at the arrows of these levels."""
        np = require("numpy")
        return max(np.nan_to_num(np.sqrt((self.velocities(n, places and places[k])[2] ** 2).sum(axis=0))).max()
                   for k, n in enumerate(levels))

    def arrows(self, axes, n, speed, place=None):
        """speed: the one whose arrow is as long as the arrows are apart."""
        np = require("numpy")
        rows, columns, v = self.velocities(n, place)
        v = np.where((v ** 2).sum(axis=0) < (0.05 * speed) ** 2, np.nan, v)
        x, y = np.meshgrid(self.centers[0][columns[0]], self.centers[1][rows[:, 0]])
        apart = max(self.lengths) / 13
        axes.quiver(x, y, v[0], v[1], color="white", edgecolor="black", linewidth=0.4, scale=speed / (1.3 * apart),
                    scale_units="xy", angles="xy", width=0.009, headwidth=3.6, headlength=4, headaxislength=3.6,
                    minlength=0)


def colour_scale(field, data):
    """Colours of a film or of panels over time: a root scale for a density that is much higher at one time
    than at most others, which would look empty. With it goes what the colour bar says of it."""
    from matplotlib import colors
    tops = sorted(d.max() for d in data)
    low = 0 if field == "m" else min(d.min() for d in data)
    if field == "m" and tops[len(tops) // 2] < 0.6 * tops[-1]:
        return colors.PowerNorm(0.5, low, tops[-1]), ", root scale"
    return colors.Normalize(low, tops[-1]), ""


def panels(r, field, levels, path):
    plt = pyplot()
    colours, label = MAPS[field]
    plane = Plane(r)
    data = [plane.field(field, n) for n in levels]
    norm, note = colour_scale(field, data)
    columns = min(3, len(levels))
    rows = -(-len(levels) // columns)
    height = min(max(3.7 * (r.upper[1] - r.lower[1]) / (r.upper[0] - r.lower[0]), 1.4), 6)
    figure, grid = plt.subplots(rows, columns, squeeze=False, sharex=True, sharey=True, layout="compressed",
                                figsize=(3.7 * columns + 1.7, rows * (0.92 * height + 0.35) + 0.9))
    speed, red = plane.top_speed(levels), ""
    agents = r.agents(150) if field == "m" else None
    for place, axes in enumerate(grid.flat):
        if place >= len(levels):
            axes.set_visible(False)
            continue
        n = levels[place]
        mesh = axes.pcolormesh(*plane.edges, data[place], cmap=colours, norm=norm)
        if field == "u" and data[place].max() > data[place].min():
            axes.contour(*r.centers, data[place], 8, colors="white", linewidths=0.6, alpha=0.6)
        if speed > 0:
            plane.arrows(axes, n, speed)
        if agents is not None:
            axes.plot(*agents[n].T, ".", color="tab:red", ms=3)
            red = f"red: {agents.shape[1]} of {r.get('agents')} agents"
        elif field == "m" and mean_lines(axes, r, n + 1, color="tab:red", lw=2):
            red = "red: path of the mean"
        axes.set(title=f"t = {r.time[n]:.3g}", aspect="equal", xlim=(r.lower[0], r.upper[0]),
                 ylim=(r.lower[1], r.upper[1]))
    for axes in grid[-1, :]:
        axes.set_xlabel("x [1]")
    for axes in grid[:, 0]:
        axes.set_ylabel("y [1]")
    figure.colorbar(mesh, ax=grid, label=f"{label} [1]{note}", shrink=0.9)
    notes = [f"arrows: velocity of the agents ({r.velocity(levels[0])[1]}), longest {speed:.3g}"] if speed > 0 else []
    notes += [red] if red else []
    figure.suptitle(f"{name_of(r)}: {label}" + ("\n" + "; ".join(notes) if notes else ""))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def peaks(r, levels, where):
    """Per level the cell (x, y, z) the slices go through: where the density is largest, or the middle."""
    np = require("numpy")
    if where == "center":
        return [[len(c) // 2 for c in r.centers]] * len(levels)
    return [[int(i) for i in np.unravel_index(r.m[n].argmax(), r.m.shape[1:])][::-1] for n in levels]


def sections(r, field, levels, path, where=None):
    """3D: one row for each of the planes x-y, x-z, y-z and one column for each level; integrals over the axis
    behind the plane, or slices through the cell that `where` names."""
    plt = pyplot()
    colours, label = MAPS[field]
    planes = [Plane(r, normal) for normal in (2, 1, 0)]
    cells = peaks(r, levels, where) if where else None
    heights = [min(max(p.lengths[1] / p.lengths[0], 0.3), 1.7) for p in planes]
    figure, grid = plt.subplots(3, len(levels), squeeze=False, sharex="row", sharey="row",
                                height_ratios=heights, figsize=(3.3 * len(levels) + 1.8, 3.1 * sum(heights) + 2.4))
    places = [[c[p.normal] for c in cells] if where else [None] * len(levels) for p in planes]
    data = [[p.field(field, n, at[k]) for k, n in enumerate(levels)] for p, at in zip(planes, places)]
    # Slices are of one quantity; the integrals are of three, with a scale each.
    everything = [max((row[k] for row in data), key=lambda d: d.max()) for k in range(len(levels))]
    norms = [colour_scale(field, everything if where else row) for row in data]
    if where and field == "u":
        norms = [(plt.Normalize(min(d.min() for row in data for d in row),
                                max(d.max() for row in data for d in row)), "")] * 3
    speeds = [p.top_speed(levels, at if where else None) for p, at in zip(planes, places)]
    agents, red = r.agents(150) if field == "m" and not where else None, ""
    for plane, row, at, (norm, note), fields, speed in zip(planes, grid, places, norms, data, speeds):
        for k, axes in enumerate(row):
            n = levels[k]
            mesh = axes.pcolormesh(*plane.edges, fields[k], cmap=colours, norm=norm)
            if field == "u" and fields[k].max() > fields[k].min():
                axes.contour(*plane.centers, fields[k], 8, colors="white", linewidths=0.6, alpha=0.6)
            if speed > 0:
                plane.arrows(axes, n, speed, at[k])
            if agents is not None:
                axes.plot(*agents[n][:, plane.shown].T, ".", color="tab:red", ms=2)
                red = f"red: {agents.shape[1]} of {r.get('agents')} agents"
            elif field == "m" and not where and mean_lines(axes, r, n + 1, plane.shown, color="tab:red", lw=2):
                red = "red: path of the mean"
            behind = r.axes[plane.normal]
            title = f"{behind} = {r.centers[plane.normal][at[k]]:.3g}" if where else ""
            axes.set(aspect="equal", xlim=(plane.lower[0], plane.upper[0]), ylim=(plane.lower[1], plane.upper[1]),
                     xlabel=f"{plane.names[0]} [1]", ylabel=f"{plane.names[1]} [1]" if k == 0 else None,
                     title="\n".join(w for w in (f"t = {r.time[n]:.3g}" if plane is planes[0] else "", title) if w))
        what = f"{label} [1]" if where else f"integral of {field} over {behind} [1]"
        if not where:
            figure.colorbar(mesh, ax=row, label=what + note, shrink=0.9)
    if where:
        figure.colorbar(mesh, ax=grid, label=what + note, shrink=0.6)
    through = {"max": "slices through the largest density", "center": "slices through the middle"}.get(where, "integrals")
    longest = ", ".join(f"{speed:.3g}" for speed in speeds)
    notes = [f"arrows: velocity of the agents ({r.velocity(levels[0])[1]}), longest {longest} by rows"] if max(speeds) > 0 else []
    notes += [red] if red else []
    figure.suptitle(f"{name_of(r)}: {label}, {through}" + ("\n" + "; ".join(notes) if notes else ""))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def convergence(r, path):
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7, 4.5))
    steps = r.convergence.get("iteration", [])
    for name, label, style in (("density_residual", "density: max over t of |M - Phi(M)|, L1", "o-"),
                               ("value_residual", "value: max change of U / its range", "s--")):
        values = r.convergence.get(name, [])
        if len(values) and (values > 0).any():
            axes.semilogy(steps, values, style, ms=4, label=label)
    if axes.lines:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "no iterations in this result", ha="center", transform=axes.transAxes)
    axes.grid(alpha=0.3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="outer iteration", ylabel="residual [1]",
             title=f"{name_of(r)}: convergence ({r.get('stop_reason')})")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def run():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("result", help="result.h5 or its run directory")
    parser.add_argument("--out", metavar="DIR", help="where the pictures go (default: beside the result)")
    parser.add_argument("--levels", type=int, metavar="N", help="panels over time (6 in 2D, 4 in 3D)")
    parser.add_argument("--through", choices=["max", "center"], default="max",
                        help="3D slices go through the largest density of each time, or the middle of the domain")
    parser.add_argument("--field", choices=["m", "u", "both"], default="both")
    parser.add_argument("--whole", action="store_true", help="the whole domain in 1D, not only where agents are")
    args = parser.parse_args()
    if args.levels is not None and args.levels < 1:
        parser.error("--levels must be at least 1")
    np = require("numpy")
    r = Result(args.result)
    out = args.out or os.path.dirname(os.path.abspath(r.path))
    os.makedirs(out, exist_ok=True)
    levels = sorted({r.level(t) for t in np.linspace(r.time[0], r.time[-1], args.levels or (4 if r.dim > 2 else 6))})
    for field in ("m", "u") if args.field == "both" else (args.field,):
        path = os.path.join(out, f"{field}.png")
        if r.dim == 1:
            space_time(r, field, path, args.whole)
        elif r.dim == 3:
            if field == "m":
                sections(r, field, levels, path)
                print(path)
                path = os.path.join(out, "m_slices.png")
            sections(r, field, levels, path, args.through)
        else:
            panels(r, field, levels, path)
        print(path)
    path = os.path.join(out, "convergence.png")
    convergence(r, path)
    print(path)
    return 0


if __name__ == "__main__":
    main(run)
