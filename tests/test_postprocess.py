"""Each script on small results: pictures that show something, exit codes, messages without tracebacks; then on
runs of the program, whose errors and orders are known.

    test_postprocess.py DATA_DIR SCRIPTS_DIR NASHFLOW INPUT_DIR
"""
import csv
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import traceback

try:
    import h5py
    import matplotlib.image
    import matplotlib.pyplot
    import numpy as np
except ImportError as error:
    print("skipped:", error)
    sys.exit(16)
data, scripts, program, inputs = sys.argv[1:5]


def fresh(script, *args, options=()):
    """Exit code, output and errors of a script in an interpreter of its own."""
    done = subprocess.run([sys.executable, *options, os.path.join(scripts, script), *args], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def forked(script, *args):
    """The same in a copy of this process, which has loaded what takes a script half a second."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            path = sys.argv[0] = os.path.join(scripts, script)
            sys.argv[1:] = args
            sys.path[0] = scripts
            code = 0
            try:
                runpy.run_path(path, run_name="__main__")
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
                if isinstance(end.code, str):
                    print(end.code, file=sys.stderr)
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        errors.seek(0)
        return code, out.read(), errors.read()


def call(script, *args, code=0, start=forked, **more):
    ended, out, errors = start(script, *args, **more)
    assert ended == code, (script, args, ended, errors)
    assert "Traceback" not in errors, errors
    return out + errors


def picture(path):
    image = matplotlib.image.imread(path)
    return image.reshape(-1, image.shape[-1])


def colours(path):
    """How many a picture has."""
    red, green, blue = np.rint(255 * picture(path)[:, :3].T).astype(np.int64)
    return len(np.unique(red << 16 | green << 8 | blue))


def share(path, low, high):
    """The share of pixels between two colours."""
    rgb = picture(path)[:, :3]
    return ((rgb >= low) & (rgb <= high)).all(axis=1).mean()


def run(case, out, *sets):
    command = [program, "run", os.path.join(inputs, f"{case}.yaml"), "--output", out]
    for item in sets:
        command += ["--set", item]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)


def check_runs(out):
    """1D and 2D results of the program itself."""
    run("peer_1d", f"{out}/peer", "agents.count=5000", "time.steps=20", "equilibrium.tolerance=1e-6")
    for path in call("plot.py", f"{out}/peer").split():
        assert os.path.dirname(path) == f"{out}/peer" and colours(path) > 50, path
    # Agents of the crowd and arrows are drawn; a torus filled evenly has neither a mean path nor agents.
    small = ("domain.cells=[24,24]", "time.steps=8", "agents.count=4000", "equilibrium.tolerance=1e-4")
    red = ((0.8, 0.1, 0.1), (0.9, 0.2, 0.2))
    run("crowd_2d", f"{out}/crowd", *small)
    run("torus_2d", f"{out}/torus", *small)
    for name in ("crowd", "torus"):
        call("plot.py", f"{out}/{name}", "--levels", "2")
        assert share(f"{out}/{name}/m.png", (0.97, 0.97, 0.97), (1, 1, 1)) < 0.9
        marks = share(f"{out}/{name}/m.png", *red)
        assert (marks > 5e-4) if name == "crowd" else (marks < 1e-4), (name, marks)
    call("animate.py", f"{out}/crowd", "--out", f"{out}/films/crowd.gif", "--fps", "5")
    assert os.path.getsize(f"{out}/films/crowd.gif") > 10000
    text = call("info.py", f"{out}/crowd")
    assert "24 cells" in text and "converged" in text and "density_residual" in text, text


def check_known_error(out):
    """T1 in one dimension: u against its formula. The bound is one and a half times the error that this number
    of agents and cells gives; a formula with nu 5% off is beyond it."""
    run("torus_1d", f"{out}/ring", "domain.cells=[40]", "time.steps=40", "agents.count=20000")
    names = ["--set", "L=4*pi^2*0.05", "--set", "T=0.5"]
    def u(nu):
        return ["--u", f"-2*{nu}*log(1 + 0.8*exp(-L*(T - t))*cos(2*pi*x))", *names]
    text = call("compare.py", f"{out}/ring", *u(0.05), "--tolerance", "0.0064")
    largest = float(text.split("largest")[-1].split(",")[0])
    assert largest > 2e-3, (largest, "better than the scheme can be")
    call("compare.py", f"{out}/ring", *u(0.0525), "--tolerance", "0.0064", code=1)


def check_orders(out):
    """The value of LQ-1, which no agent changes, converges with order 1, and the seeds give no u error at all."""
    where = ["--out", f"{out}/study", "--program", program, "--set", "agents.count=2000"]
    case = os.path.join(inputs, "lq_1d.yaml")
    call("convergence.py", case, "--cells", "30", "60", "120", "240", *where)
    with open(f"{out}/study/convergence_cells.csv") as file:
        rows = list(csv.DictReader(file))
    found = [float(row["u_order"]) for row in rows[1:]]
    assert len(found) == 2 and all(0.88 < order < 1.1 for order in found), found
    call("convergence.py", case, "--seeds", "1", "2", "3", *where)
    with open(f"{out}/study/convergence_seeds.csv") as file:
        spread = {row["field"]: float(row["max_deviation"]) for row in csv.DictReader(file)}
    assert spread["u"] < 1e-12 < 1e-3 < spread["m"], spread
    peer = os.path.join(inputs, "peer_1d.yaml")
    loose = ["--set", "equilibrium.max_iterations=3", "--set", "time.steps=10"]
    assert "did not reach" in call("convergence.py", peer, "--agents", "1e3", "1e4", *loose, *where[:4])
    for kind in ("cells", "seeds", "agents"):
        assert colours(f"{out}/study/convergence_{kind}.png") > 50
    assert "exit code 65" in call("convergence.py", f"{out}/absent.yaml", "--seeds", "1", "2", *where, code=1)
    assert "--program" in call("convergence.py", case, "--seeds", "1", "2", "--program", f"{out}/absent", code=1)


def table(text, **columns):
    """Rows of a printed table as dictionaries, those whose columns have the values asked for."""
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rows = [dict(zip(lines[0], line)) for line in lines[2:]]
    return [row for row in rows if all(row[k] == v for k, v in columns.items())]


def check_scaling(out):
    """Predicted seconds are bytes over a bandwidth, agents over a rate and messages times a latency, each alone where
    the others are nothing; of measured ones, runs of known seconds have known efficiencies."""
    case = os.path.join(inputs, "torus_2d.yaml")
    predict = ["predict", case, "--program", program, "--markdown", "--out", f"{out}/s.png"]
    weak = [*predict, "--weak", "--cells", "32", "32", "--agents", "1e4", "--steps", "10", "--ranks", "1", "4", "16"]
    def figures(rate, nvlink, infiniband, latency):
        return ["--agent-rate", rate, "--nvlink", nvlink, "--infiniband", infiniband, "--latency", latency]
    rows = table(call("scaling.py", *weak, *figures("1e7", "1e30", "1e30", "0")))
    assert len(rows) == 6 and all(row["ms a step"] == "1" and row["efficiency"] == "100.0%" for row in rows), rows
    assert [row["cells"] for row in rows] == [s for n in (32, 64, 128) for s in 2 * [f"{n} x {n}"]], rows
    for row in table(call("scaling.py", *weak, *figures("1e30", "2", "1", "0"))):
        sent = float(row["MB sent a step"].replace(",", "")) / (2 if row["ranks"] == "4" else 1)  # 1 GB/s is 1 MB a millisecond
        assert abs(float(row["ms a step"]) - sent) <= 0.01 * sent + 1e-9 and (sent > 0) == (row["ranks"] != "1"), row
    rows = table(call("scaling.py", *weak, *figures("1e30", "1e30", "1e30", "1000")), ranks="16")
    assert [row["ms a step"] for row in rows] == ["8", "4"], rows  # 2 log2(16) stages; messages to four neighbours
    # 16 ranks of 128^2 cells reduce (levels/steps) 8 bytes for every moment and marginal, and gather the drift.
    said = dict(line.split(": ", 1) for line in subprocess.run(
        [program, "run", case, "--dry-run", "--ranks", "16", "--set", "domain.cells=[128,128]", "--set",
         "time.steps=10", "--set", "density.bandwidth=[0.015625,0.015625]", "--set", "agents.count=160000"],
        capture_output=True, text=True, check=True).stdout.splitlines())
    moved = 2 * 15 / 16 * float(said["replicated.middle.reduction"]) + 15 * 2 * 32 * 32 * 8
    row = table(call("scaling.py", *weak), ranks="16", division="replicated")[0]
    assert abs(float(row["MB sent a step"]) * 1e6 / moved - 1) < 0.01, (row, moved)
    # The case as it is on more ranks: shares of the agents, boxes too narrow named.
    text = call("scaling.py", *predict, "--strong", "--ranks", "1", "2", "256", *figures("1e30", "1e30", "1e30", "0"),
                "--set", "domain.cells=[64,64]", "--set", "density.bandwidth=[0.05,0.05]")
    assert "256 ranks: domain is not possible: boxes of 4 cells" in text, text
    assert table(text, ranks="256", division="domain")[0]["ms a step"] == "-", text
    assert colours(f"{out}/s.png") > 50
    assert "--weak needs" in call("scaling.py", *predict, "--weak", code=2)
    assert "exit code 65" in call("scaling.py", "predict", f"{out}/absent.yaml", "--strong", "--program", program, code=1)
    run("torus_1d", f"{out}/one", "domain.cells=[20]", "time.steps=5", "agents.count=1000")
    for ranks, agents, factor in ((2, 1000, 0.5), (4, 1000, 0.5), (8, 8000, 2.0)):
        os.mkdir(f"{out}/scaled{ranks}")
        shutil.copy(f"{out}/one/result.h5", f"{out}/scaled{ranks}")
        with h5py.File(f"{out}/scaled{ranks}/result.h5", "a") as f:
            f.attrs["ranks"], f.attrs["agents"] = ranks, agents
            for name in ("hjb", "particles", "density", "other"):
                f[f"convergence/seconds_{name}"][:] *= factor
    text = call("scaling.py", "measure", f"{out}/scaled8", f"{out}/one", f"{out}/scaled4", f"{out}/scaled2", "--markdown",
                "--out", f"{out}/m.png")
    assert [(row["ranks"], row["speed-up"], row["efficiency"]) for row in table(text)] == [
        ("1", "1.000", "100.0%"), ("2", "2.000", "100.0%"), ("4", "2.000", "50.0%"), ("8", "4.000", "50.0%")], text
    assert colours(f"{out}/m.png") > 50
    assert "same number" in call("scaling.py", "measure", f"{out}/one", f"{out}/one", code=1)
    assert "two results" in call("scaling.py", "measure", f"{out}/one", code=2)


def check_planes():
    """Integrals and slices of the 3D crowd, whose density is a product: each plane holds the other two factors."""
    sys.path.insert(0, scripts)
    from nashflow_io import Result
    from plot import Plane, peaks
    r, n, s = Result(f"{data}/3d"), 1, 0.15
    t, (x, y, z) = r.time[n], r.centers
    middle = (0.5 + 0.8 * t, -0.1 + 0.3 * t * t, 1.5 - 0.3 * t)
    one = [np.exp(-(k + 1) * (c - middle[k]) ** 2 / (2 * s * s)) * np.sqrt((k + 1) / (2 * np.pi)) / s
           for k, c in enumerate((x, y, z))]
    cell = peaks(r, [n], "max")[0]
    assert cell == [int(f.argmax()) for f in one] and peaks(r, [n], "center")[0] == [12, 9, 5], cell
    for normal, names in ((2, "xy"), (1, "xz"), (0, "yz")):
        plane = Plane(r, normal)
        assert "".join(plane.names) == names
        a, b = plane.shown
        want = one[b][:, None] * one[a][None, :]
        np.testing.assert_allclose(plane.field("m", n), want * one[normal].sum() * r.spacing[normal], rtol=1e-10)
        np.testing.assert_allclose(plane.field("m", n, 3), want * one[normal][3], rtol=1e-10)
        m, v = plane.motion(n, 4)
        stored = r.control[n]
        np.testing.assert_array_equal(v[0], np.take(stored[a], 4, 2 - normal))
        weights = r.m[n]
        mean = (stored[b] * weights).sum(2 - normal) / weights.sum(2 - normal)
        np.testing.assert_allclose(plane.motion(n)[1][1], mean, rtol=1e-9, atol=1e-12)


def check_sweep(out):
    """Of the 3D crowd, a product of normal densities, the known means, deviations and cost; of runs of the program
    one row each in the order of the values, and a picture with a line for each."""
    from nashflow_io import Result
    from sweep import quantities
    r, s = Result(f"{data}/3d"), 0.15
    found = quantities(r)
    def middle(t):
        return 0.5 + 0.8 * t, -0.1 + 0.3 * t * t, 1.5 - 0.3 * t
    for k, (axis, mean) in enumerate(zip("xy", middle(r.time[-1]))):  # along z the box cuts the crowd
        assert abs(found[f"mean_{axis}"] - mean) < 1e-5, (found, axis, mean)
        assert abs(found[f"deviation_{axis}"] * np.sqrt(k + 1) - s) < 1e-5, (found, axis)
    x, y, z = middle(r.time[0])
    moved = sum(w * (d * d + s * s / (k + 1)) for k, (w, d) in enumerate(((1, x - 1.3), (0.5, y - 0.2), (0.25, z - 1.2))))
    cost = (1.5 - r.time[0]) * moved + 0.1 * x * y + 0.05 * x * (z - 1.2)
    assert abs(found["mean_cost"] - cost) < 4e-3 * cost, (found, cost)  # two thousandths are beyond the box
    key, small = "running_cost.coupling.strength", ("agents.count=4000", "time.steps=20", "equilibrium.tolerance=1e-5")
    for k, value in enumerate((0.5, 1e-1, 0)):
        run("peer_1d", f"{out}/sweep/{k}", *small, f"{key}={value}")
    text = call("sweep.py", f"{out}/sweep")
    with open(f"{out}/sweep/sweep.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], float(row[key]), row["reason"]) for row in rows] == [
        ("2", 0, "converged"), ("1", 0.1, "converged"), ("0", 0.5, "converged")], text
    peaks, costs = ([float(row[name]) for row in rows] for name in ("peak_density", "mean_cost"))
    assert peaks == sorted(peaks, reverse=True) and costs == sorted(costs) and peaks[0] > 1.2 * peaks[-1], text
    assert colours(f"{out}/sweep/sweep.png") > 50
    os.remove(f"{out}/sweep/1/result.h5")
    assert "run 1 (running_cost.coupling.strength = 0.1) has no result" in call("sweep.py", f"{out}/sweep", "--out", f"{out}/lost")
    red = ((0.8, 0.1, 0.1), (0.9, 0.2, 0.2))  # its cross
    assert share(f"{out}/lost/sweep.png", *red) > 0 == share(f"{out}/sweep/sweep.png", *red)
    run("peer_1d", f"{out}/sweep/3", *small[:2], "equilibrium.tolerance=1e-4")
    assert f"differ in equilibrium.tolerance, {key}" in call("sweep.py", f"{out}/sweep", code=1)
    assert "running_cost.strength: not a key" in call("sweep.py", f"{out}/sweep", "--parameter", "running_cost.strength", code=1)
    call("sweep.py", f"{out}/sweep", "--parameter", key)
    assert "0 run directories" in call("sweep.py", f"{out}/lost", code=1)
    assert "no such directory" in call("sweep.py", f"{out}/absent", code=1)


def check_three_dimensions(out):
    check_planes()
    names = {os.path.basename(p) for p in call("plot.py", f"{data}/3d", "--out", f"{out}/c", "--through", "center").split()}
    assert names == {"m.png", "m_slices.png", "u.png", "convergence.png"}, names
    for field in ("m", "u"):
        call("animate.py", f"{data}/3d", "--field", field, "--out", f"{out}/film_{field}.gif")
        assert os.path.getsize(f"{out}/film_{field}.gif") > 10000
    assert "z [1, 1.75] 11 cells" in call("info.py", f"{data}/3d")
    u = "(1.5-t)*((x-1.3)^2 + 0.5*(y-0.2)^2 + 0.25*(z-1.2)^2) + 0.1*x*y + 0.05*x*(z-1.2)"
    call("compare.py", f"{data}/3d", "--u", u, "--tolerance", "1e-12")
    call("compare.py", f"{data}/3d", "--u", u.replace("0.05*x", "0.05*y"), "--tolerance", "1e-3", code=1)
    call("compare.py", f"{data}/3d", f"{data}/2d", code=2)


with tempfile.TemporaryDirectory() as out:
    for case in ("1d", "2d", "3d", "extreme"):
        for path in call("plot.py", f"{data}/{case}", "--out", f"{out}/{case}").split():
            found = colours(path)
            assert found > (20 if "convergence" not in path else 2), (path, found)
    check_three_dimensions(out)
    check_sweep(out)
    call("animate.py", f"{data}/1d", "--out", f"{out}/film.gif")
    assert os.path.getsize(f"{out}/film.gif") > 1000
    assert "git_commit" in call("info.py", f"{data}/2d")
    call("compare.py", f"{data}/2d", f"{data}/2d")
    call("compare.py", f"{data}/1d", f"{data}/2d", code=2)
    formula = "exp(-(x-0.5-0.8*t)^2/(2*s^2))/(s*sqrt(2*pi))"
    call("compare.py", f"{data}/1d", "--m", formula, "--set", "s=0.15", "--tolerance", "1e-12")
    call("compare.py", f"{data}/1d", "--m", formula, "--set", "s=0.16", "--tolerance", "1e-12", code=1)
    assert "not allowed" in call("compare.py", f"{data}/1d", "--m", "x.__class__", code=1)
    call("compare.py", f"{data}/1d", "--m", "-x", "--tolerance", "100")
    assert "division" in call("compare.py", f"{data}/1d", "--m", "1/0", code=1)
    assert "NAME=VALUE" in call("compare.py", f"{data}/1d", "--m", "x", "--set", "s", code=2)
    assert ".gif" in call("animate.py", f"{data}/1d", "--out", f"{out}/film.avi", code=2)
    assert "error: " in call("plot.py", f"{data}/1d", "--out", "/proc/absent", code=1)
    assert "no such file" in call("info.py", f"{out}/absent.h5", code=1)
    assert "not an HDF5 file" in call("info.py", __file__, code=1)
    assert "apt install python3-h5py" in call("info.py", f"{data}/1d", code=1, start=fresh, options=["-S"])
    for script in ("plot.py", "animate.py", "compare.py", "convergence.py", "info.py", "scaling.py", "sweep.py"):
        assert "usage" in call(script, "--help", start=fresh)
    check_runs(out)
    check_scaling(out)
    check_known_error(out)
    check_orders(out)
print("ok")
