"""One Python variant of the reference sweep: sweep.py NAME THREADS REPEATS, prints one line of JSON.

50,000 agents on [0,1] with walls, 50 steps of Euler-Maruyama under a given drift, their Gaussian kernel
density at the 100 cell centres at every level, h = 2 cells. A variant is a function (start positions, drift
table) -> work; work(seed) walks from the start and returns the last positions and the densities [50][100].
First call: set-up and compilation included, imports not. Error: max |last density - direct sum on the
variant's own last positions| / max density.
"""
import importlib
import importlib.metadata
import json
import math
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

N, CELLS, STEPS, T, NU = 50_000, 100, 50, 1.0, 0.045
DX, DT = 1 / CELLS, T / STEPS
NOISE = math.sqrt(2 * NU * DT)
H = 2 * DX
RIM = 14  # cells beyond a wall that are computed and folded back: 7 h, where the kernel is 2e-11
CENTRES = (np.arange(CELLS) + 0.5) * DX
WIDE = (np.arange(-RIM, CELLS + RIM) + 0.5) * DX
SCALE = 1 / (N * H * math.sqrt(2 * math.pi))
FINE = 16  # bins per cell of the binning variants


def fold(wide):
    """What lies beyond the walls belongs to their mirror images: [..., CELLS + 2 RIM] -> [..., CELLS]."""
    rho = np.array(wide[..., RIM:RIM + CELLS])
    rho[..., :RIM] += wide[..., RIM - 1::-1]
    rho[..., CELLS - RIM:] += wide[..., :RIM + CELLS - 1:-1]
    return rho


def exact(x):
    """The direct sum with the mirror images at both walls, in full."""
    rho = [sum(np.exp(-0.5 * ((c - image) / H) ** 2).sum() for image in (x, -x, 2 - x)) for c in CENTRES]
    return SCALE * np.array(rho)


def push(x, row, rng):
    """A third of the time of np.interp, which searches: the cells are uniform."""
    row = np.concatenate([row[:1], row, row[-1:]]) * DT
    step = x * CELLS + 0.5
    i = step.astype(np.int32)
    step -= i
    step *= np.diff(row).take(i)
    step += row.take(i)
    step += x
    step += NOISE * rng.standard_normal(N)
    np.abs(step, out=step)
    return np.minimum(step, 2 - step, out=step)


def host_sweep(x0, drift, density):
    """A sweep with NumPy's push and the given density of the positions at the wide centres."""
    def work(seed):
        rng, x, rho = np.random.default_rng(seed), x0, np.empty((STEPS, CELLS))
        for n in range(STEPS):
            x = push(x, drift[n], rng)
            rho[n] = fold(density(x))
        return x, rho
    return work


def scipy_kde(x0, drift, threads):
    from scipy.stats import gaussian_kde
    return host_sweep(x0, drift, lambda x: gaussian_kde(x, bw_method=H / x.std(ddof=1))(WIDE))


def numpy_direct(x0, drift, threads):
    scaled, buffer, rho = np.empty(N), np.empty(N), np.empty(len(WIDE))

    def density(x):  # a buffer of N fits the cache; the clamp keeps exp from its slow denormal numbers
        np.multiply(x, math.sqrt(0.5) / H, out=scaled)
        for i, c in enumerate(WIDE * (math.sqrt(0.5) / H)):
            np.subtract(scaled, c, out=buffer)
            np.multiply(buffer, buffer, out=buffer)
            np.minimum(buffer, 700, out=buffer)
            np.negative(buffer, out=buffer)
            rho[i] = np.exp(buffer, out=buffer).sum()
        return SCALE * rho
    return host_sweep(x0, drift, density)


def torch_direct(x0, drift, threads):
    import torch
    torch.set_num_threads(threads)
    start, table = torch.from_numpy(x0), torch.from_numpy(drift)
    centres = torch.from_numpy(WIDE * (math.sqrt(0.5) / H))
    rows, buffer = 4, torch.empty(4, N, dtype=torch.float64)

    def work(seed):
        generator = torch.Generator().manual_seed(seed)
        x, rho, noise = start, torch.empty(STEPS, len(WIDE), dtype=torch.float64), torch.empty_like(start)
        with torch.inference_mode():
            for n in range(STEPS):
                s = x / DX - 0.5
                i = s.floor().clamp_(0, CELLS - 2)
                w = (s - i).clamp_(0, 1)
                i = i.long()
                v = table[n]
                x = x + torch.lerp(v[i], v[i + 1], w) * DT + NOISE * noise.normal_(generator=generator)
                x = x.abs_()
                x = torch.minimum(x, 2 - x)
                scaled = x * (math.sqrt(0.5) / H)
                for c in range(0, len(WIDE), rows):
                    torch.sub(scaled, centres[c:c + rows, None], out=buffer)
                    buffer.square_().clamp_(max=700).neg_().exp_()
                    torch.sum(buffer, 1, out=rho[n, c:c + rows])
        return x.numpy(), fold(SCALE * rho.numpy())
    return work


def jax_push(jnp, jax, x, row, key, dtype):
    s = x * dtype(CELLS) - dtype(0.5)
    i = jnp.clip(jnp.floor(s).astype(jnp.int32), 0, CELLS - 2)
    w = jnp.clip(s - i.astype(dtype), 0, 1)
    v = row[i] * (1 - w) + row[i + 1] * w
    x = jnp.abs(x + v * dtype(DT) + dtype(NOISE) * jax.random.normal(key, (N,), dtype))
    return jnp.minimum(x, 2 - x)


def jax_direct(x0, drift, threads):
    import jax
    import jax.numpy as jnp
    jax.config.update("jax_enable_x64", True)
    scaled_centres = jnp.asarray(WIDE * (math.sqrt(0.5) / H))

    def step(x, inputs):
        row, key = inputs
        x = jax_push(jnp, jax, x, row, key, jnp.float64)
        z = (x * (math.sqrt(0.5) / H))[:, None] - scaled_centres[None, :]  # centres last: the fast order
        return x, jnp.exp(-jnp.minimum(z * z, 700)).sum(axis=0)

    @jax.jit
    def sweep(x, table, key):
        return jax.lax.scan(step, x, (table, jax.random.split(key, STEPS)))

    start, table = jnp.asarray(x0), jnp.asarray(drift)

    def work(seed):
        x, wide = sweep(start, table, jax.random.key(seed))
        return np.asarray(x), fold(SCALE * np.asarray(wide))
    return work


def binning_matrix(bins):
    """[CELLS][bins]: kernel with walls at the bins' centres, less the variance that linear binning adds."""
    fine = (np.arange(bins) + 0.5) / bins
    h = math.sqrt(H * H - 1 / (6 * bins * bins))
    images = [np.exp(-0.5 * ((CENTRES[:, None] - image) / h) ** 2) for image in (fine, -fine, 2 - fine)]
    return sum(images) / (N * h * math.sqrt(2 * math.pi))


def jax_binning(x0, drift, threads):
    import jax
    import jax.numpy as jnp
    bins = CELLS * FINE
    matrix = jnp.asarray(binning_matrix(bins).T, dtype=jnp.float32)

    def step(x, inputs):
        row, key = inputs
        x = jax_push(jnp, jax, x, row, key, jnp.float32)
        s = x * jnp.float32(bins) + jnp.float32(0.5)  # bin j is entry j + 1; a half bin beyond each wall
        i = s.astype(jnp.int32)
        w = s - i.astype(jnp.float32)
        empty = jnp.zeros(bins + 2, jnp.float32)
        upper = empty.at[i].add(w, mode="promise_in_bounds")
        counts = empty.at[i].add(1, mode="promise_in_bounds") - upper + jnp.roll(upper, 1)
        inner = counts[1:-1].at[0].add(counts[0]).at[-1].add(counts[-1])
        return x, inner

    @jax.jit
    def sweep(x, table, key):
        x, counts = jax.lax.scan(step, x, (table, jax.random.split(key, STEPS)))
        return x, counts @ matrix

    start, table = jnp.asarray(x0, jnp.float32), jnp.asarray(drift, jnp.float32)

    def work(seed):
        x, rho = sweep(start, table, jax.random.key(seed))
        return np.asarray(x, dtype=np.float64), np.asarray(rho, dtype=np.float64)
    return work


def finufft_density(x0, drift, threads):
    import finufft
    modes = int(7 / (math.pi * H)) + 1  # the kernel's transform is 2e-11 there; period 2 mirrors at both walls
    plan = finufft.Plan(1, (2 * modes + 1,), eps=1e-10, nthreads=threads, spread_sort=0)  # few modes: no sort
    k = np.arange(modes + 1)
    weight = np.exp(-0.5 * (math.pi * H * k) ** 2) / N
    weight[1:] *= 2
    matrix = np.cos(math.pi * CENTRES[:, None] * k) * weight
    ones = np.ones(N, dtype=np.complex128)

    def work(seed):
        rng, x, rho = np.random.default_rng(seed), x0, np.empty((STEPS, CELLS))
        for n in range(STEPS):
            x = push(x, drift[n], rng)
            plan.setpts(math.pi * x)
            rho[n] = matrix @ plan.execute(ones)[modes:].real
        return x, rho
    return work


def kdepy_fft(x0, drift, threads):
    from KDEpy import FFTKDE
    points = np.arange(-RIM * FINE, (CELLS + RIM) * FINE + 1) * (DX / FINE)  # every cell centre is one of them
    estimator = FFTKDE(kernel="gaussian", bw=H)
    return host_sweep(x0, drift, lambda x: estimator.fit(x).evaluate(points)[FINE // 2::FINE])


def numba_halves(x0, drift, threads, kernel, columns, density):
    """The agents in one range per thread, each with its own random numbers, through all steps at once."""
    parts = np.array_split(np.arange(N), threads)

    def work(seed):
        x, rngs = x0.copy(), np.random.default_rng(seed).spawn(threads)
        sums = np.zeros((threads, STEPS, columns))
        jobs = [(x[p[0]:p[-1] + 1], drift, rngs[t], sums[t]) for t, p in enumerate(parts)]
        if threads == 1:
            kernel(*jobs[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda job: kernel(*job), jobs))
        return x, density(sums.sum(axis=0))
    return work


def numba_push():
    import numba

    @numba.njit(fastmath=True)
    def push_one(x, row, rng):
        s = x * CELLS - 0.5
        i = min(max(int(math.floor(s)), 0), CELLS - 2)
        w = min(max(s - i, 0.0), 1.0)
        x += (row[i] * (1 - w) + row[i + 1] * w) * DT + NOISE * rng.standard_normal()
        x = abs(x)
        return min(x, 2 - x)
    return numba, push_one


def numba_recurrence(x0, drift, threads):
    numba, push_one = numba_push()
    ratio = DX / H
    falls = np.exp(-0.5 * (ratio * np.arange(RIM + 1)) ** 2)

    @numba.njit(fastmath=True, nogil=True)
    def kernel(x, table, rng, lines):
        """Each agent adds its Gaussian to a window of cells: two exponentials, ratios by recurrence."""
        for n in range(STEPS):
            line = lines[n]
            for j in range(len(x)):
                x[j] = push_one(x[j], table[n], rng)
                i = min(int(x[j] * CELLS), CELLS - 1)
                d = (x[j] - (i + 0.5) * DX) / H
                base = math.exp(-0.5 * d * d)
                up = math.exp(d * ratio)
                down = 1 / up
                a = b = base
                line[i + RIM] += base
                for k in range(1, RIM + 1):
                    a *= up
                    b *= down
                    line[i + RIM + k] += a * falls[k]
                    line[i + RIM - k] += b * falls[k]

    return numba_halves(x0, drift, threads, kernel, CELLS + 2 * RIM, lambda wide: fold(SCALE * wide))


def numba_binning(x0, drift, threads):
    numba, push_one = numba_push()
    bins = CELLS * FINE
    matrix = binning_matrix(bins)

    @numba.njit(fastmath=True, nogil=True)
    def kernel(x, table, rng, counts):
        for n in range(STEPS):
            for j in range(len(x)):
                x[j] = push_one(x[j], table[n], rng)
                s = x[j] * bins - 0.5
                i = int(math.floor(s))
                w = s - i
                counts[n, max(i, 0)] += 1 - w
                counts[n, min(i + 1, bins - 1)] += w

    return numba_halves(x0, drift, threads, kernel, bins, lambda counts: counts @ matrix.T)


VARIANTS = {f.__name__: f for f in (scipy_kde, numpy_direct, torch_direct, jax_direct, finufft_density, kdepy_fft,
                                    numba_recurrence, jax_binning, numba_binning)}
PACKAGES = {"scipy_kde": "scipy", "numpy_direct": "numpy", "torch_direct": "torch", "jax_direct": "jax",
            "finufft_density": "finufft", "kdepy_fft": "KDEpy", "numba_recurrence": "numba", "jax_binning": "jax",
            "numba_binning": "numba"}


def main():
    name, threads, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    x0 = np.clip(0.3 + 0.1 * np.random.default_rng(0).standard_normal(N), 0, 1)
    drift = (0.5 - CENTRES) * (1 + 0.5 * np.arange(STEPS)[:, None] / STEPS)
    version = getattr(importlib.import_module(PACKAGES[name]), "__version__", None)
    start = time.perf_counter()
    work = VARIANTS[name](x0, drift, threads)
    work(0)
    first, later = time.perf_counter() - start, []
    for seed in range(1, repeats + 1):
        start = time.perf_counter()
        x, rho = work(seed)
        later.append(time.perf_counter() - start)
    reference = exact(x)
    print(json.dumps({"first": first, "later": statistics.median(later), "version": version, "numpy": np.__version__,
                      "error": float(np.max(np.abs(rho[-1] - reference)) / reference.max()),
                      "python": sys.version.split()[0], "cores": len(os.sched_getaffinity(0))}))


if __name__ == "__main__":
    main()
