"""VTK's XDMF reader finds the sidecar's times, places and values. Skipped without VTK; the wheel in a
virtual environment makes it available: jobs/install-vtk.sh."""
import os
import subprocess
import sys

cache = os.environ.get("NASHFLOW_DEPS") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "nashflow")
try:
    from vtkmodules.vtkIOXdmf2 import vtkXdmfReader
except ImportError:
    python = os.path.join(cache, "vtk", "bin", "python")
    if os.path.exists(python) and not os.environ.get("MFG_VTK"):
        sys.exit(subprocess.run([python, *sys.argv], env={**os.environ, "MFG_VTK": "1"}).returncode)
    print("skipped: no VTK; jobs/install-vtk.sh installs it")
    sys.exit(16)
import math

from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as pipeline


def check(path, dimensions, bounds, times, level, point, expected):
    reader = vtkXdmfReader()
    reader.SetFileName(path)
    reader.UpdateInformation()
    info = reader.GetOutputInformation(0)
    steps = [info.Get(pipeline.TIME_STEPS(), i) for i in range(info.Length(pipeline.TIME_STEPS()))]
    assert len(steps) == len(times) and all(abs(a - b) < 1e-14 for a, b in zip(steps, times)), steps
    reader.UpdateTimeStep(steps[level])
    grid = reader.GetOutputDataObject(0)
    assert grid.GetDimensions() == dimensions, grid.GetDimensions()
    for got, want in zip(grid.GetBounds(), bounds):
        assert abs(got - want) < 1e-12, (grid.GetBounds(), bounds)
    cell = grid.ComputeCellId(point)
    value = grid.GetCellData().GetArray("m").GetValue(cell)
    assert abs(value - expected) < 1e-12, (value, expected)
    assert grid.GetCellData().GetArray("u") is not None


root = sys.argv[1]
t, x, y, s = .6, 2 * 7.5 / 25, -.5 + 1.25 * 5.5 / 18, .15
m = math.exp(-((x - .5 - .8 * t) ** 2 + 2 * (y + .1 - .3 * t * t) ** 2) / (2 * s * s)) * math.sqrt(2) / (2 * math.pi * s * s)
check(f"{root}/2d/result.xmf", (26, 19, 2), (0, 2, -.5, .75), [0, .3, .6, .9, 1], 2, (7, 5, 0), m)
z = 1 + .75 * 6.5 / 11
m *= math.exp(-3 * (z - 1.5 + .3 * t) ** 2 / (2 * s * s)) * math.sqrt(3) / (s * math.sqrt(2 * math.pi))
check(f"{root}/3d/result.xmf", (26, 19, 12), (0, 2, -.5, .75, 1, 1.75), [0, .3, .6, .9, 1], 2, (7, 5, 6), m)
x = 2 * 20.5 / 40
m = math.exp(-(x - .5 - .8 * t) ** 2 / (2 * s * s)) / (s * math.sqrt(2 * math.pi))
check(f"{root}/1d/result.xmf", (41, 2, 2), (0, 2), [n / 10 for n in range(11)], 6, (20, 0, 0), m)
print("ok")
