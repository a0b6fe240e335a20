#!/usr/bin/env python3
"""Reference errors of the finite difference scheme on LQ-1 and LQ-3, by a solver of its own in NumPy and
SciPy.

F = x^2/2 + gamma log m, G = c x^2/2, nu = 1/8, T = 1, m(0) = N(0, 1/4): LQ-1 has gamma = 0, c = 1, LQ-3 gamma =
0.1, c = 0. Implicit Euler and upwind for the HJB equation, costs at the later level; forward the exact
transpose of its linearisation; damped iteration in the flow. Prints the maximum error of u for |x| < 1.5,
the L1 error of m, both largest over all levels, and the variance at T."""

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import solve_banded

NU, V0 = 0.125, 0.25


def differences(u, dx):
    g = np.concatenate([[u[0]], u, [u[-1]]])
    return np.minimum(g[2:] - g[1:-1], 0) / dx, np.maximum(g[1:-1] - g[:-2], 0) / dx


def bands(u, dx, dt, transposed):
    """Jacobian of (u - next)/dt - nu u_xx + |p|^2/2 for solve_banded."""
    forward, backward = differences(u, dx)
    high, low = NU / dx ** 2 - forward / dx, NU / dx ** 2 + backward / dx
    high[-1] = low[0] = 0
    out = np.zeros((3, u.size))
    out[1] = 1 / dt + high + low
    out[0, 1:], out[2, :-1] = (-low[1:], -high[:-1]) if transposed else (-high[:-1], -low[1:])
    return out


def solve(gamma, c, a0, e0, half, cells, steps):
    dx, dt = 2 * half / cells, 1 / steps
    x = -half + (np.arange(cells) + 0.5) * dx
    m0 = np.exp(-x ** 2 / (2 * V0))
    m0 /= m0.sum() * dx

    def rate(t, y):
        a, v, e = y
        return [a * a - 1 + gamma / v, -2 * a * v + 2 * NU, -NU * a + gamma / 2 * np.log(2 * np.pi * v)]

    exact = solve_ivp(rate, (0, 1), [a0, V0, e0], rtol=1e-12, atol=1e-13, t_eval=np.linspace(0, 1, steps + 1)).y.T
    assert abs(exact[-1][0] - c) < 1e-9 and abs(exact[-1][2]) < 1e-9
    M = [m0] * (steps + 1)
    for _ in range(200):
        U, P = [None] * steps + [c * x ** 2 / 2], [m0]
        for n in range(steps - 1, -1, -1):
            u, F = U[n + 1].copy(), x ** 2 / 2 + gamma * np.log(np.maximum(M[n + 1], 1e-12))
            for _ in range(30):
                g = np.concatenate([[u[0]], u, [u[-1]]])
                forward, backward = differences(u, dx)
                r = ((u - U[n + 1]) / dt - NU * (g[2:] - 2 * u + g[:-2]) / dx ** 2
                     + (forward ** 2 + backward ** 2) / 2 - F)
                if np.max(np.abs(r)) * dt < 1e-12:
                    break
                u -= solve_banded((1, 1), bands(u, dx, dt, False), r)
            U[n] = u
        for u in U[:-1]:
            P.append(solve_banded((1, 1), bands(u, dx, dt, True), P[-1] / dt))
        change = max(np.sum(np.abs(p - m)) * dx for p, m in zip(P, M))
        M = P if gamma == 0 else [m + 0.5 * (p - m) for p, m in zip(P, M)]
        if change < 1e-10:
            break
    u_error = max(np.max(np.abs(U[n] - a * x ** 2 / 2 - e)[np.abs(x) < 1.5]) for n, (a, v, e) in enumerate(exact))
    m_error = max(np.sum(np.abs(M[n] - np.exp(-x ** 2 / 2 / v) / np.sqrt(2 * np.pi * v))) * dx
                  for n, (a, v, e) in enumerate(exact))
    variance = np.sum(M[-1] * x ** 2) * dx - (np.sum(M[-1] * x) * dx) ** 2
    print(f"gamma {gamma} {cells:4d} cells {steps:4d} steps: u {u_error:.3e}, m {m_error:.3e}, "
          f"variance {variance:.4f} (exact {exact[-1][1]:.4f})", flush=True)


for cells in (60, 120, 240, 480):
    solve(0, 1, 1, NU, 3, cells, cells // 2)
for cells in (80, 160, 320):
    solve(0.1, 0, .524091781560, .009632509917, 4, cells, cells // 2)
