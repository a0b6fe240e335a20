#!/usr/bin/python3
"""A film of the density (or value) over time: mp4 by ffmpeg, gif by pillow where the name says so."""
import argparse
import os
import shutil
import sys

from nashflow_io import Result, main, name_of, pyplot
from plot import MAPS, arrows, colour_scale, edges, extent, top_speed


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
    plt = pyplot()
    from matplotlib import animation
    r = Result(args.result)
    out = args.out or os.path.join(os.path.dirname(os.path.abspath(r.path)), f"{args.field}.mp4")
    if not out.endswith(".gif") and not shutil.which("ffmpeg"):
        sys.exit("animate.py: needs ffmpeg for mp4 (Debian: apt install ffmpeg); --out FILE.gif works without")
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    data, (colours, label) = r.file[args.field][:], MAPS[args.field]
    figure, axes = plt.subplots(figsize=(7, 5.6) if r.dim > 1 else (8, 4.8))
    if r.dim > 1:
        norm, note = colour_scale(args.field, data)
        speed = top_speed(r, range(len(r.time)))
        mesh = axes.pcolormesh(edges(r, 0), edges(r, 1), data[0], cmap=colours, norm=norm)
        figure.colorbar(mesh, label=f"{label} [1]{note}", shrink=0.9)
    else:
        limits = extent(r)
        shown = (r.centers[0] >= limits[0]) & (r.centers[0] <= limits[1])
        low, high = (0 if args.field == "m" else data[:, shown].min()), data[:, shown].max()

    def draw(n):
        axes.clear()
        if r.dim > 1:
            axes.pcolormesh(edges(r, 0), edges(r, 1), data[n], cmap=colours, norm=norm)
            if speed > 0:
                arrows(axes, r, n, speed)
            axes.set(xlabel="x [1]", ylabel="y [1]", aspect="equal")
        else:
            axes.plot(r.centers[0], data[n], lw=2)
            axes.grid(alpha=0.3)
            axes.set(xlabel="position x [1]", ylabel=f"{label} [1]", xlim=limits,
                     ylim=(low, high + 0.05 * (high - low)))
        axes.set_title(f"{name_of(r)}: {label} at t = {r.time[n]:.2f}")

    film = animation.FuncAnimation(figure, draw, frames=len(r.time))
    film.save(out, writer="pillow" if out.endswith(".gif") else "ffmpeg", fps=args.fps, dpi=110)
    print(out)
    return 0


if __name__ == "__main__":
    main(run)
