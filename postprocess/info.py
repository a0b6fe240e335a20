#!/usr/bin/python3
"""Prints what a result is and where it comes from."""
import argparse
import os

from nashflow_io import Result, main


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", help="result.h5 or its run directory")
    parser.add_argument("--input", action="store_true", help="print the effective input only")
    args = parser.parse_args()
    r = Result(args.result)
    if args.input:
        print(r.get("input"))
        return 0
    print(f"{r.path}  {os.path.getsize(r.path) / 1e6:.2f} MB")
    grid = ", ".join(f"{a} [{lo:g}, {hi:g}] {len(c)} cells {'periodic' if p else 'no-flux'}"
                     for a, lo, hi, c, p in zip(r.axes, r.lower, r.upper, r.centers, r.periodic))
    rows = [("grid", grid),
            ("time", f"{r.time[0]:g} to {r.time[-1]:g}, {r.get('time_steps')} steps, "
                     f"{len(r.time)} levels kept")]
    for key in ("title", "status", "stop_reason", "created", "uuid", "parent_uuid", "source",
                "git_commit", "git_dirty", "compiler", "compiler_flags", "mpi_version",
                "petsc_version", "hdf5_version", "command_line", "ranks", "backend", "seed",
                "agents", "input_hash", "layout_version"):
        if key in r.attributes:
            rows.append((key, r.attributes[key]))
    residuals = r.convergence.get("density_residual", [])
    rows.append(("iterations", len(residuals)))
    if len(residuals):
        rows.append(("density_residual", f"{residuals[-1]:.3e}"))
        rows.append(("value_residual", f"{r.convergence['value_residual'][-1]:.3e}"))
        seconds = {k[8:]: v.sum() for k, v in r.convergence.items() if k.startswith("seconds_")}
        rows.append(("seconds", ", ".join(f"{k} {v:.2f}" for k, v in seconds.items())))
    if "mass" in r.series:
        rows.append(("mass", f"{r.series['mass'].min():.12g} to {r.series['mass'].max():.12g}"))
    for key, value in rows:
        print(f"  {key:<17} {value}")
    return 0


if __name__ == "__main__":
    main(run)
