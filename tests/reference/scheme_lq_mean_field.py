#!/usr/bin/env python3
"""Reference errors of the finite difference scheme on LQ-2, by a solver of its own in NumPy and SciPy.

Implicit Euler and upwind for the HJB equation; fixed point in the mean alone. Forward either the exact
transpose of the linearised HJB step (grid), or the law of infinitely many Euler-Maruyama agents with the
drift at central differences (agents): a Gaussian whose mean and variance follow by quadrature, up to the
drift's small curvature. Prints the maximum error of u for |x| < 1.5 and the L1 error of m over all
levels; those of the agents stand in app/exact.c."""

import numpy as np
from scipy.linalg import solve_banded

NU, T, TARGET, MU0, V0 = 0.125, 1.0, 0.5, -0.5, 0.25


def exact(t):
    """a, b, e, mu, v on a fine grid of times by RK4 and the closed form of mu."""
    r, theta = np.sqrt(2), np.arctanh(1 / np.sqrt(2))
    A, B = MU0, TARGET * np.exp(-T) - MU0
    a = lambda s: r * np.tanh(r * (T - s) + theta)
    mu = lambda s: A * np.cosh(s) + B * np.sinh(s)
    b = lambda s: -(A * np.sinh(s) + B * np.cosh(s)) - a(s) * mu(s)
    s = np.linspace(t, T, 4001)
    f = NU * a(s) - b(s) ** 2 / 2 + mu(s) ** 2 / 2
    e = TARGET ** 2 / 2 + (np.sum((f[1:] + f[:-1]) / 2) * (T - t) / 4000)
    s = np.linspace(0, t, 4001)
    z0, z = r * T + theta, r * (T - t) + theta
    v = np.cosh(z) ** 2 * (V0 / np.cosh(z0) ** 2 + r * NU * (np.tanh(z0) - np.tanh(z)))
    return a(t), b(t), e, mu(t), v


def step(u, dx):
    """Differences at walls with mirrored ghosts: value of |p|^2/2, and the rows of its linearisation."""
    g = np.concatenate([[u[0]], u, [u[-1]]])
    forward, backward = np.minimum(g[2:] - g[1:-1], 0) / dx, np.maximum(g[1:-1] - g[:-2], 0) / dx
    return (forward ** 2 + backward ** 2) / 2, forward, backward


def matrix(u, dx, dt):
    """Banded Jacobian of (u - next)/dt - nu u_xx + |p|^2/2."""
    _, forward, backward = step(u, dx)
    high, low = NU / dx ** 2 - forward / dx, NU / dx ** 2 + backward / dx
    high[-1] = low[0] = 0
    bands = np.zeros((3, u.size))
    bands[0, 1:], bands[1], bands[2, :-1] = -high[:-1], 1 / dt + high + low, -low[1:]
    return bands


def transpose(bands):
    out = bands.copy()
    out[0, 1:], out[2, :-1] = bands[2, :-1], bands[0, 1:]
    return out


def gaussian(x, mean, variance):
    return np.exp(-(x - mean) ** 2 / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def forward_grid(x, U, dx, dt, m0):
    M = [m0]
    for u in U[:-1]:
        M.append(solve_banded((1, 1), transpose(matrix(u, dx, dt)), M[-1] / dt))
    return M


def forward_agents(x, U, dx, dt, m0):
    M, mean, variance = [gaussian(x, MU0, V0)], MU0, V0
    for u in U[:-1]:
        g = np.concatenate([[u[0]], u, [u[-1]]])
        next_x = x - dt * (g[2:] - g[:-2]) / (2 * dx)
        weights = M[-1] / M[-1].sum()
        mean = np.sum(weights * next_x)
        variance = np.sum(weights * (next_x - mean) ** 2) + 2 * NU * dt
        M.append(gaussian(x, mean, variance))
    return M


def solve(cells, steps, forward, half=4.0):
    dx, dt = 2 * half / cells, T / steps
    x = -half + (np.arange(cells) + 0.5) * dx
    m0 = np.exp(-2 * (x - MU0) ** 2)
    m0 /= m0.sum() * dx
    means = np.full(steps + 1, MU0)
    for _ in range(200):
        U = [None] * steps + [(x - TARGET) ** 2 / 2]
        for n in range(steps - 1, -1, -1):
            u, source = U[n + 1].copy(), x ** 2 / 2 + (x - means[n + 1]) ** 2 / 2
            for _ in range(20):
                g = np.concatenate([[u[0]], u, [u[-1]]])
                residual = ((u - U[n + 1]) / dt - NU * (g[2:] - 2 * u + g[:-2]) / dx ** 2
                            + step(u, dx)[0] - source)
                if np.max(np.abs(residual)) * dt < 1e-12:
                    break
                u -= solve_banded((1, 1), matrix(u, dx, dt), residual)
            U[n] = u
        M = forward(x, U, dx, dt, m0)
        new = np.array([np.sum(x * m) * dx for m in M])
        change, means = np.max(np.abs(new - means)), new
        if change < 1e-11:
            break
    judged, worst_u, worst_m = np.abs(x) < 1.5, 0, 0
    for n in range(steps + 1):
        a, b, e, mu, v = exact(n * dt)
        worst_u = max(worst_u, np.max(np.abs(U[n] - (a * x ** 2 / 2 + b * x + e))[judged]))
        worst_m = max(worst_m, np.sum(np.abs(M[n] - gaussian(x, mu, v))) * dx)
    return worst_u, worst_m


for name, forward in (("grid", forward_grid), ("agents", forward_agents)):
    for cells, steps in ((80, 30), (160, 60), (320, 120)):
        print(name, cells, steps, "u %.3e  m (L1) %.3e" % solve(cells, steps, forward))
