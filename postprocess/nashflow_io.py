"""Reads a result of nashflow. The only place that knows the layout of result.h5."""
import os
import sys

PACKAGES = {"numpy": "python3-numpy", "h5py": "python3-h5py", "matplotlib": "python3-matplotlib"}
LAYOUT_MAJOR = 1


class ResultError(Exception):
    """A file that is missing, foreign, or newer than this reader."""


def require(*modules):
    """Imports modules by name; without one, says which package brings it and exits."""
    found = []
    for module in modules:
        try:
            found.append(__import__(module))
        except ImportError as error:
            package = PACKAGES.get(module.split(".")[0], module)
            sys.exit(f"{os.path.basename(sys.argv[0])}: needs the Python module {module} ({error}); "
                     f"on Debian: apt install {package}, and run it with /usr/bin/python3")
    return found[0] if len(found) == 1 else found


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def read_run(directory):
    """Of a run directory: STATUS as a dictionary, and the effective input as {"time.steps": "50", ...}."""
    def lines(name):
        path = os.path.join(directory, name)
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()

    values, path = {}, []
    for line in lines("effective.yaml"):  # sections indented by two, a value on one line
        name, _, value = line.strip().partition(":")
        path = path[:(len(line) - len(line.lstrip())) // 2] + [name]
        if value:
            values[".".join(path)] = value.strip()
    return dict(line.split("=", 1) for line in lines("STATUS") if "=" in line), values


class Result:
    """m and u are (time, x), (time, y, x) or (time, z, y, x) HDF5 datasets, read when sliced; the rest is in memory."""

    def __init__(self, path):
        h5py = require("h5py")
        self.path = os.path.join(path, "result.h5") if os.path.isdir(path) else path
        if not os.path.exists(self.path):
            raise ResultError(f"{self.path}: no such file; give a result.h5 or its run directory")
        try:
            self.file = h5py.File(self.path, "r")
        except OSError:
            raise ResultError(f"{self.path}: not an HDF5 file, or damaged") from None
        self.attributes = {k: text(v) if isinstance(v, (bytes, str)) else v.item()
                           for k, v in self.file.attrs.items() if k != "_NCProperties"}
        version = self.attributes.get("layout_version")
        if version is None or "m" not in self.file or "u" not in self.file:
            raise ResultError(f"{self.path}: not a result of nashflow (no layout_version, /m or /u)")
        if int(version.split(".")[0]) > LAYOUT_MAJOR:
            raise ResultError(f"{self.path}: layout {version}, this reader knows up to "
                              f"{LAYOUT_MAJOR}; use the scripts of the nashflow that wrote it")
        try:
            self._open()
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ResultError(f"{self.path}: a result of nashflow that is damaged: {error}") from None

    def _open(self):
        self.m, self.u = self.file["m"], self.file["u"]
        self.dim = self.m.ndim - 1
        self.time = self.file["time"][:]
        self.axes = ["x", "y", "z"][:self.dim]
        self.centers = [self.file[a][:] for a in self.axes]
        self.lower = [float(self.file[a].attrs["lower"]) for a in self.axes]
        self.upper = [float(self.file[a].attrs["upper"]) for a in self.axes]
        self.periodic = [text(self.file[a].attrs["boundary_low"]) == "periodic" for a in self.axes]
        self.spacing = [(b - a) / len(c) for a, b, c in zip(self.lower, self.upper, self.centers)]
        self.series = self._group("series")
        self.convergence = self._group("convergence")
        self.position = self.file["particles/position"] if "particles" in self.file else None
        self.control = self.file.get("control")

    def _group(self, name):
        return {k: v[:] for k, v in self.file[name].items()} if name in self.file else {}

    def get(self, name, default=""):
        return self.attributes.get(name, default)

    def level(self, t):
        """The stored level nearest to time t."""
        return int(abs(self.time - t).argmin())

    def mean(self):
        """Mean position (time, dim): the series, or the centre of mass of m."""
        np = require("numpy")
        if "mean" in self.series:
            return self.series["mean"]
        rows = []
        for n in range(len(self.time)):
            m = self.m[n]
            axes = [m.sum(axis=tuple(k for k in range(self.dim) if k != self.dim - 1 - a))
                    for a in range(self.dim)]
            rows.append([np.dot(p, c) / p.sum() for p, c in zip(axes, self.centers)])
        return np.array(rows)

    def mean_path(self):
        """mean() without jumps over a periodic border; None where the agents fill a period so evenly that
        it says nothing."""
        np = require("numpy")
        mean = np.array(self.mean())
        for a in range(self.dim):
            if self.periodic[a]:
                length = self.upper[a] - self.lower[a]
                wave = np.exp(2j * np.pi * self.centers[a] / length)
                others = tuple(1 + k for k in range(self.dim) if k != self.dim - 1 - a)
                marginal = self.m[:].sum(axis=others)
                if (abs(marginal @ wave) < 0.05 * marginal.sum(axis=1)).any():
                    return None
                mean[:, a] = np.unwrap(mean[:, a], period=length)
        return mean

    def agents(self, count):
        """Positions (time, agent, dim) of a few agents, or None when the result holds none at its levels."""
        np = require("numpy")
        if self.position is None or self.position.shape[0] != len(self.time) or not self.position.shape[1]:
            return None
        return self.position[:, np.unique(np.linspace(0, self.position.shape[1] - 1, count).astype(int)), :]

    def flat(self, values, normal, place=None):
        """A field (z, y, x) without one axis: its integral over it, or its slice at cell number `place`."""
        np = require("numpy")
        axis = self.dim - 1 - normal
        return values.sum(axis) * self.spacing[normal] if place is None else np.take(values, place, axis)

    def velocity(self, n):
        """Velocity (dim, z, y, x) at level n, and where it is from: /control, else -H_p of the central
        differences of u (quadratic and power Hamiltonians, without a given drift)."""
        np = require("numpy")
        if self.control is not None:
            return self.control[n], "control"
        u = self.u[n]
        p = []
        for a in range(self.dim):
            axis = self.dim - 1 - a
            mode = "wrap" if self.periodic[a] else "edge"
            pad = np.pad(u, [(1, 1) if k == axis else (0, 0) for k in range(self.dim)], mode=mode)
            high = np.take(pad, range(2, pad.shape[axis]), axis)
            low = np.take(pad, range(0, pad.shape[axis] - 2), axis)
            p.append((high - low) / (2 * self.spacing[a]))
        p = np.array(p)
        cost, exponent = self.get("control_cost", 1.0), self.get("hamiltonian_exponent", 2.0)
        length = np.sqrt((p * p).sum(axis=0))
        factor = np.where(length > 0, length, 1.0) ** (exponent - 2) / cost
        return -factor * p, "-H_p(grad u)" + (" without drift" if self.get("given_drift", 0) else "")


def main(function):
    """Runs a script; errors of files are one line, not a traceback."""
    try:
        sys.exit(function())
    except ResultError as error:
        sys.exit(f"{os.path.basename(sys.argv[0])}: error: {error}")
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        sys.exit(f"{os.path.basename(sys.argv[0])}: error: {place}{error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(130)


def pyplot():
    """matplotlib without a display."""
    matplotlib = require("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    plt.rcParams.update({"font.size": 11, "axes.titlesize": 12, "figure.constrained_layout.use": True})
    return plt


def name_of(result):
    title = result.get("title") or os.path.basename(os.path.dirname(os.path.abspath(result.path)))
    return title if result.get("status") == "finished" else f"{title} ({result.get('status')})"
