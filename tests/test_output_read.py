"""Reads what test_output_write wrote with h5py and xarray and compares with the formulas."""
import sys

try:
    import h5py
    import numpy as np
    import xarray
except ImportError as error:
    print("skipped:", error)
    sys.exit(16)


def text(v):
    return v.decode() if isinstance(v, bytes) else v


def density(dim, t, x, y, z):
    cx, cy, cz, s = .5 + .8 * t, -.1 + .3 * t * t, 1.5 - .3 * t, .15
    if dim == 1:
        return np.exp(-(x - cx) ** 2 / (2 * s * s)) / (s * np.sqrt(2 * np.pi))
    plane = np.exp(-((x - cx) ** 2 + 2 * (y - cy) ** 2) / (2 * s * s)) * np.sqrt(2) / (2 * np.pi * s * s)
    if dim == 2:
        return plane
    return plane * np.exp(-3 * (z - cz) ** 2 / (2 * s * s)) * np.sqrt(3) / (s * np.sqrt(2 * np.pi))


def value(t, x, y, z):
    return ((1.5 - t) * ((x - 1.3) ** 2 + .5 * (y - .2) ** 2 + .25 * (z - 1.2) ** 2)
            + .1 * x * y + .05 * x * (z - 1.2))


def centers(lower, upper, n):
    return lower + (np.arange(n) + .5) * (upper - lower) / n


def check(directory, dim, times, cells):
    path = f"{directory}/result.h5"
    x = centers(0, 2, cells[0])
    y = centers(-.5, .75, cells[1])[:, None] if dim > 1 else 0
    z = centers(1, 1.75, cells[2])[:, None, None] if dim > 2 else 1.2
    want = {"m": np.array([density(dim, t, x, y, z) for t in times]),
            "u": np.array([value(t, x, y, z) for t in times])}
    dims = ("time",) + ("z", "y", "x")[3 - dim:]
    with h5py.File(path, "r") as f:
        for name, expected in want.items():
            np.testing.assert_allclose(f[name][:], expected, rtol=1e-12, atol=1e-13)
            assert f[name].fletcher32, name
            assert f[name].chunks[0] == 1, name
            assert np.prod(f[name].chunks) * int(f.attrs["ranks"] if dim > 1 else 1) >= np.prod(cells), f[name].chunks
            assert all(c <= n for c, n in zip(f[name].chunks[1:], cells[::-1])), f[name].chunks
            for n in f["viz"]:
                assert f[f"viz/{n}/{name}"].shape == (1, 1, 1)[dim:] + tuple(cells[::-1])
            for n in f["viz"]:
                level = [round(t * 10 if dim or 1 else 0) for t in times].index(int(n)) if len(times) > 2 else None
                if level is not None:
                    np.testing.assert_array_equal(f[f"viz/{n}/{name}"][:].ravel(), f[name][level].ravel())
        assert len(f["viz"]) == len(times)

        def scaled(name, item):
            if isinstance(item, h5py.Dataset) and not name.startswith("viz") and item.attrs.get("CLASS") != b"DIMENSION_SCALE":
                for k in range(item.ndim):
                    assert len(item.dims[k]) == 1, f"{name} has no scale on dimension {k}"
        f.visititems(scaled)
        for key in ("Conventions", "source", "version", "git_commit", "git_dirty", "compiler",
                    "compiler_flags", "mpi_version", "petsc_version", "hdf5_version", "command_line",
                    "ranks", "backend", "seed", "input", "input_hash", "uuid", "history", "status",
                    "stop_reason", "layout_version"):
            assert key in f.attrs, key
        assert text(f.attrs["Conventions"]) == "CF-1.10" and f.attrs["seed"] == 7
    for engine in ("h5netcdf", "netcdf4"):
        with xarray.open_dataset(path, engine=engine) as data:
            assert data["m"].dims == dims, (engine, data["m"].dims)
            assert data["time"].dtype == float and data["x"].attrs["units"] == "1"
            np.testing.assert_allclose(data["time"], times, rtol=1e-15)
            np.testing.assert_allclose(data["x"], x, rtol=1e-15)
            for name, want_centers in (("y", y), ("z", z))[:dim - 1]:
                np.testing.assert_allclose(data[name], np.ravel(want_centers), rtol=1e-15)
            np.testing.assert_allclose(data["m"], want["m"], rtol=1e-12, atol=1e-13)
            if "control" in data:
                assert data["control"].dims == ("time", "dim") + dims[1:]
                velocity = (-(2 * (1.5 - times[1]) * (x - 1.3) + .1 * y + .05 * (z - 1.2)),
                            -((1.5 - times[1]) * (y - .2) + .1 * x), -(.5 * (1.5 - times[1]) * (z - 1.2) + .05 * x))
                for k in range(dim):
                    np.testing.assert_allclose(data["control"][1, k], np.broadcast_to(velocity[k], want["m"].shape[1:]),
                                               rtol=1e-12, atol=1e-13)
        with xarray.open_dataset(path, engine=engine, group="series") as series:
            if "mean" in series:
                t = np.array(times)
                mean = np.stack([.5 + .8 * t, -.1 + .3 * t * t, 1.5 - .3 * t], axis=1)
                np.testing.assert_allclose(series["mean"], mean[:, :dim])
        with xarray.open_dataset(path, engine=engine, group="convergence") as history:
            assert history["density_residual"].dims == ("iteration",)


root = sys.argv[1]
check(f"{root}/1d", 1, [n / 10 for n in range(11)], [40])
check(f"{root}/2d", 2, [0, .3, .6, .9, 1], [25, 18])
check(f"{root}/3d", 3, [0, .3, .6, .9, 1], [25, 18, 11])
check(f"{root}/extreme", 2, [0, 1], [7, 5])
with h5py.File(f"{root}/extreme/result.h5") as f:
    assert len(text(f.attrs["input"])) == 100000 and text(f.attrs["status"]) == "interrupted"
    assert f["convergence/density_residual"].shape == (0,)
with h5py.File(f"{root}/2d/result.h5") as f:
    assert f["particles/position"].shape == (5, 5, 2) and list(f["particles/id"]) == [0, 10, 20, 30, 40]
    np.testing.assert_allclose(f["particles/position"][3, 4, 1], -.1 + .3 * .81 + .04)
    np.testing.assert_allclose(f["convergence/density_residual"][:], .3 ** np.arange(8))
    assert text(f.attrs["parent_uuid"]).startswith("11111111")
with h5py.File(f"{root}/3d/result.h5") as f:
    assert f["particles/position"].shape == (5, 5, 3)
    np.testing.assert_allclose(f["particles/position"][3, 4], [1.22 + .02, -.1 + .3 * .81 + .04, 1.23 + .06])
with h5py.File(f"{root}/deep/er/replaced/result.h5") as f:
    assert text(f.attrs["stop_reason"]) == "max_iterations"
print("ok")
