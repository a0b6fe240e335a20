#!/usr/bin/python3
"""A film of the density (or value) over time: mp4 by ffmpeg, gif by pillow where the name says so."""
import argparse
import os
import shutil
import sys

from nashflow_io import Result, main, name_of, pyplot
from plot import MAPS, Plane, colour_scale, extent


def film_of_line(r, field):
    plt, data, label = pyplot(), r.file[field][:], MAPS[field][1]
    figure, axes = plt.subplots(figsize=(8, 4.8))
    limits = extent(r)
    shown = (r.centers[0] >= limits[0]) & (r.centers[0] <= limits[1])
    low, high = (0 if field == "m" else data[:, shown].min()), data[:, shown].max()

    def draw(n):
        axes.clear()
        axes.plot(r.centers[0], data[n], lw=2)
        axes.grid(alpha=0.3)
        axes.set(xlabel="position x [1]", ylabel=f"{label} [1]", xlim=limits, ylim=(low, high + 0.05 * (high - low)))
        axes.set_title(f"{name_of(r)}: {label} at t = {r.time[n]:.2f}")

    return draw, figure


def film_of_planes(r, field):
    """One picture in 2D; in 3D the planes x-y, x-z and y-z: integrals of m, slices of u through the middle."""
    plt, (colours, label) = pyplot(), MAPS[field]
    planes = [Plane(r)] if r.dim == 2 else [Plane(r, normal) for normal in (2, 1, 0)]
    places = [len(r.centers[p.normal]) // 2 if r.dim == 3 and field == "u" else None for p in planes]
    widths = [1] if r.dim == 2 else [p.lengths[0] / max(q.lengths[0] for q in planes) for p in planes]
    figure, grid = plt.subplots(1, len(planes), squeeze=False, width_ratios=[max(w, 0.4) for w in widths],
                                figsize=(7, 5.6) if r.dim == 2 else (15, 5))
    data = [[p.field(field, n, at) for n in range(len(r.time))] for p, at in zip(planes, places)]
    scales = [colour_scale(field, d) for d in data]
    speeds = [p.top_speed(range(len(r.time)), [at] * len(r.time)) for p, at in zip(planes, places)]
    for plane, axes, flow, (norm, note), at in zip(planes, grid[0], data, scales, places):
        what = label if r.dim == 2 else f"integral of m over {r.axes[plane.normal]}" if field == "m" else \
            f"{label} at {r.axes[plane.normal]} = {r.centers[plane.normal][at]:.3g}"
        mesh = axes.pcolormesh(*plane.edges, flow[0], cmap=colours, norm=norm)
        figure.colorbar(mesh, ax=axes, label=f"{what} [1]{note}", shrink=0.9,
                        orientation="vertical" if r.dim == 2 else "horizontal")

    def draw(n):
        for plane, axes, flow, (norm, _), at, speed in zip(planes, grid[0], data, scales, places, speeds):
            axes.clear()
            axes.pcolormesh(*plane.edges, flow[n], cmap=colours, norm=norm)
            if speed > 0:
                plane.arrows(axes, n, speed, at)
            axes.set(xlabel=f"{plane.names[0]} [1]", ylabel=f"{plane.names[1]} [1]", aspect="equal")
        title = f"{name_of(r)}: {label} at t = {r.time[n]:.2f}"
        if r.dim == 2:
            grid[0, 0].set_title(title)
        else:
            figure.suptitle(title)

    return draw, figure


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", help="result.h5 or its run directory")
    parser.add_argument("--out", metavar="FILE", help="FILE.mp4 or FILE.gif (default: beside the result)")
    parser.add_argument("--field", choices=["m", "u"], default="m")
    parser.add_argument("--fps", type=int, default=15)
    args = parser.parse_args()
    if args.fps < 1:
        parser.error("--fps must be at least 1")
    if args.out and not args.out.endswith((".mp4", ".gif")):
        parser.error(f"--out must end in .mp4 or .gif, not '{args.out}'")
    pyplot()
    from matplotlib import animation
    r = Result(args.result)
    out = args.out or os.path.join(os.path.dirname(os.path.abspath(r.path)), f"{args.field}.mp4")
    if not out.endswith(".gif") and not shutil.which("ffmpeg"):
        sys.exit("animate.py: needs ffmpeg for mp4 (Debian: apt install ffmpeg); --out FILE.gif works without")
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    draw, figure = (film_of_planes if r.dim > 1 else film_of_line)(r, args.field)
    film = animation.FuncAnimation(figure, draw, frames=len(r.time))
    film.save(out, writer="pillow" if out.endswith(".gif") else "ffmpeg", fps=args.fps, dpi=110)
    print(out)
    return 0


if __name__ == "__main__":
    main(run)
