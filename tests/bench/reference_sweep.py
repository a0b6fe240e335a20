#!/usr/bin/env python3
"""The reference sweep of the field beside what a good Python user writes, in one run, on one core.

    reference_sweep.py NASHFLOW [--repeats 5]

50,000 agents, 100 cells on [0,1] with walls, 50 steps of Euler-Maruyama under a given drift, a Gaussian
kernel density estimate at every level, h = 2 cells. Each row: first call, best of later calls, error of
the last density against the direct sum, ratio to nashflow. Missing libraries are skipped by name.
"""

import argparse
import math
import os
import re
import subprocess
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np

N, CELLS, STEPS, T, NU = 50_000, 100, 50, 1.0, 0.045
DX, DT = 1 / CELLS, T / STEPS
H = 2 * DX
CENTRES = (np.arange(CELLS) + 0.5) * DX
FINE = 16  # bins a cell of the binning variants


def drift_table():
    return np.array([(0.5 - CENTRES) * (1 + 0.5 * n / STEPS) for n in range(STEPS)])


def direct(x):
    """The exact sum with mirror images at both walls."""
    rho = np.zeros(CELLS)
    for part in np.array_split(x, 50):
        for image in (part, -part, 2 - part):
            z = (CENTRES[:, None] - image[None, :]) / H
            rho += np.exp(-0.5 * z * z).sum(axis=1)
    return rho / (N * H * math.sqrt(2 * math.pi))


def push(x, table, rng):
    v = np.interp(x, CENTRES, table)
    x = x + v * DT + math.sqrt(2 * NU * DT) * rng.standard_normal(N)
    x = np.abs(x)
    return np.where(x > 1, 2 - x, x)


def sweep_scipy(x0):
    from scipy.stats import gaussian_kde
    rng, x, table = np.random.default_rng(1), x0, drift_table()
    for n in range(STEPS):
        x = push(x, table[n], rng)
        images = np.concatenate([x, -x, 2 - x])
        rho = 3 * gaussian_kde(images, bw_method=H / images.std(ddof=1))(CENTRES)
    return x, rho


def sweep_numpy(x0):
    rng, x, table = np.random.default_rng(1), x0, drift_table()
    for n in range(STEPS):
        x = push(x, table[n], rng)
        rho = direct(x)
    return x, rho


def make_numba():
    import numba

    @numba.njit(fastmath=True)
    def push_one(x, row, rng):
        s = x / DX - 0.5
        i = min(max(int(math.floor(s)), 0), CELLS - 2)
        w = min(max(s - i, 0.0), 1.0)
        x += (row[i] * (1 - w) + row[i + 1] * w) * DT + math.sqrt(2 * NU * DT) * rng.standard_normal()
        x = abs(x)
        return 2 - x if x > 1 else x

    @numba.njit(fastmath=True)
    def binning(x, table, matrix, rng):
        fine = CELLS * FINE
        bins = np.zeros(fine)
        for n in range(STEPS):
            bins[:] = 0
            for j in range(N):
                x[j] = push_one(x[j], table[n], rng)
                s = x[j] * fine - 0.5
                i = int(math.floor(s))
                w = s - i
                bins[max(i, 0)] += 1 - w
                bins[min(i + 1, fine - 1)] += w
            rho = matrix @ bins
        return rho

    @numba.njit(fastmath=True)
    def recurrence(x, table, rng):
        """Each agent adds its Gaussian to a window of cells, ratios by recurrence: two exponentials."""
        width = 14
        pad = width + 1
        g = DX / H
        falls = np.array([math.exp(-0.5 * g * g * k * k) for k in range(width + 1)])
        for n in range(STEPS):
            line = np.zeros(CELLS + 2 * pad)
            for j in range(N):
                x[j] = push_one(x[j], table[n], rng)
                i = min(int(x[j] / DX), CELLS - 1)
                d = (x[j] - (i + 0.5) * DX) / H
                base = math.exp(-0.5 * d * d)
                up = math.exp(d * g)
                down = 1 / up
                a = b = base
                line[i + pad] += base
                for k in range(1, width + 1):
                    a *= up
                    b *= down
                    line[i + pad + k] += a * falls[k]
                    line[i + pad - k] += b * falls[k]
            rho = line[pad:pad + CELLS].copy()
            for k in range(pad):
                rho[k] += line[pad - 1 - k]
                rho[CELLS - 1 - k] += line[pad + CELLS + k]
        return rho / (N * H * math.sqrt(2 * math.pi))

    fine = (np.arange(CELLS * FINE) + 0.5) * DX / FINE
    # linear binning adds the variance of a triangle, two bins wide: taken off the kernel's
    h = math.sqrt(H * H - (DX / FINE) ** 2 / 6)
    matrix = sum(np.exp(-0.5 * ((CENTRES[:, None] - image[None, :]) / h) ** 2) for image in (fine, -fine, 2 - fine))
    matrix /= N * h * math.sqrt(2 * math.pi)
    table = drift_table()

    def run_binning(x0):
        x = x0.copy()
        return x, binning(x, table, matrix, np.random.default_rng(1))

    def run_recurrence(x0):
        x = x0.copy()
        return x, recurrence(x, table, np.random.default_rng(1))

    return run_binning, run_recurrence


def nashflow_rows(program):
    """Later milliseconds and errors by tolerance, from the program's own bench."""
    text = subprocess.run([program, "bench", "sweep"], capture_output=True, text=True, check=True).stdout
    first_case = text.split("crowd_2d_large")[0]
    rows = re.findall(r"moments (\S+)\s+\d+\s+(\S+)\s+(\S+)\s+\S+\s+\S+\s+(\S+)", first_case)
    return [(f"nashflow, tolerance {tol}", float(first), float(later), float(error))
            for tol, first, later, error in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nashflow")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    x0 = np.clip(0.5 + 0.1 * np.random.default_rng(0).standard_normal(N), 0, 1)
    works = [("NumPy, direct sum", lambda: sweep_numpy, 1), ("SciPy gaussian_kde", lambda: sweep_scipy, 1),
             ("Numba, window and recurrence", lambda: make_numba()[1], args.repeats),
             ("Numba, linear binning, matrix", lambda: make_numba()[0], args.repeats)]
    rows = []
    for name, make, repeats in works:
        try:
            start = time.perf_counter()
            work = make()
            x, rho = work(x0)
            first = time.perf_counter() - start
        except ImportError as error:
            print(f"skipped: {name}: {error}; install it with python3 -m pip install {error.name}")
            continue
        later = [first]
        for _ in range(repeats):
            start = time.perf_counter()
            work(x0)
            later.append(time.perf_counter() - start)
        exact = direct(x)
        rows.append((name, 1e3 * first, 1e3 * min(later[1:]), np.max(np.abs(rho - exact)) / exact.max()))
    best = min((nashflow_rows(args.nashflow) for _ in range(3)), key=lambda r: r[0][2])
    floor = {row[0]: row[2] for row in best}
    reference = floor[best[1][0]]
    print(f"{'':34}{'first ms':>10}{'later ms':>10}{'error':>9}{'x nashflow at 1e-10':>21}")
    for name, first, later, error in rows + best:
        print(f"{name:34}{first:10.1f}{later:10.2f}{error:9.0e}{later / reference:21.1f}")


if __name__ == "__main__":
    main()
