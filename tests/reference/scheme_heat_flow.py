#!/usr/bin/env python3
"""Reference errors of the finite difference scheme on the heat-flow games, by a solver of its own in NumPy
and SciPy.

Implicit Euler and upwind for the HJB equation, costs at the later level; forward the exact transpose of
its linearisation; damped iteration in the flow. Axis k has waves cos(w n x), w = 2 pi on a periodic axis
and pi between walls. Prints the maximum error of u and the L1 error of m, largest over all levels, as
they stand in app/exact.c. Arguments: the dimension, 2 or 3, and the cells of each grid; without, those of
app/exact.c."""
import sys

import numpy as np
from scipy.sparse import csr_matrix, diags, eye, kron
from scipy.sparse.linalg import bicgstab, splu

NU, KAPPA, T = 0.05, 0.15, 0.25
AXES = {2: [("periodic", 1, 0.5), ("noflux", 3, 0.4)],
        3: [("periodic", 1, 0.4), ("noflux", 3, 0.3), ("noflux", 1, 0.5)]}
GRIDS = {2: [(20, 28, 10), (40, 56, 20), (80, 112, 40)], 3: [(10, 14, 8, 5), (20, 28, 16, 10)]}


def exact(dim, t, x):
    """m and V at the points."""
    m, V = 1.0, 0.0
    for (kind, n, a), z in zip(AXES[dim], x):
        k = (2 if kind == "periodic" else 1) * np.pi * n
        A = a * np.exp(-KAPPA * k * k * t)
        g = 1 + A * np.cos(k * z)
        m = m * g
        V = V + (KAPPA ** 2 - NU ** 2) * ((A * k * np.sin(k * z) / g) ** 2 / 2 + k * k * A * np.cos(k * z) / g)
    return m, V


def differences(dim, cells):
    """One-sided differences per axis as matrices, x fastest."""
    out = []
    for a, n in enumerate(cells):
        h = 1 / n
        up = diags([1.0], [1], shape=(n, n)).tolil()
        if AXES[dim][a][0] == "periodic":
            up[n - 1, 0] = 1
        else:
            up[n - 1, n - 1] = 1
        forward = csr_matrix((up - eye(n)) / h)
        down = diags([1.0], [-1], shape=(n, n)).tolil()
        if AXES[dim][a][0] == "periodic":
            down[0, n - 1] = 1
        else:
            down[0, 0] = 1
        backward = csr_matrix((eye(n) - down) / h)
        before, after = int(np.prod(cells[:a])), int(np.prod(cells[a + 1:]))
        out.append([csr_matrix(kron(kron(eye(after), d), eye(before))) for d in (forward, backward)])
    return out


def solve_linear(A, rhs):
    if A.shape[0] < 12000:
        return splu(A.tocsc()).solve(rhs)
    scale = diags(1 / A.diagonal())
    x, info = bicgstab(scale @ A, scale @ rhs, x0=rhs / A.diagonal(), tol=1e-11)
    assert info == 0
    return x


def solve(dim, cells, steps):
    x = [(np.arange(n) + 0.5) / n for n in cells]
    points = [z.ravel() for z in np.meshgrid(*x[::-1], indexing="ij")][::-1]
    D, dt, size = differences(dim, cells), T / steps, int(np.prod(cells))
    laplace = sum((f - b) * n for (f, b), n in zip(D, cells))
    E = [exact(dim, dt * n, points) for n in range(steps + 1)]

    def jacobian(u):
        A = eye(size) / dt - NU * laplace
        for f, b in D:
            A = A + diags(np.minimum(f @ u, 0)) @ f + diags(np.maximum(b @ u, 0)) @ b
        return csr_matrix(A)

    def residual(u, later, F):
        H = sum(np.minimum(f @ u, 0) ** 2 + np.maximum(b @ u, 0) ** 2 for f, b in D) / 2
        return (u - later) / dt - NU * (laplace @ u) + H - F

    M = [m for m, _ in E]
    for iteration in range(60):
        U, P = [None] * steps + [(KAPPA - NU) * np.log(E[-1][0])], [E[0][0] / E[0][0].mean()]
        for n in range(steps - 1, -1, -1):
            F, u = E[n + 1][1] + M[n + 1] - E[n + 1][0], U[n + 1].copy()
            for _ in range(20):
                r = residual(u, U[n + 1], F)
                if abs(r).max() < 1e-9:
                    break
                u -= solve_linear(jacobian(u), r)
            U[n] = u
        for n in range(steps):
            P.append(solve_linear(csr_matrix(jacobian(U[n]).T), P[-1] / dt))
        change = max(abs(p - m).mean() for p, m in zip(P, M))
        M = [m + 0.5 * (p - m) for p, m in zip(P, M)]
        if change < 1e-7:
            break
    u_error = max(abs(U[n] - (KAPPA - NU) * np.log(E[n][0])).max() for n in range(steps + 1))
    m_error = max(abs(M[n] - E[n][0]).mean() for n in range(steps + 1))
    print(f"{' x '.join(map(str, cells)):>14} {steps:4d} steps: u {u_error:.3e}, m {m_error:.3e}, "
          f"{iteration + 1} iterations", flush=True)


if len(sys.argv) > 3:
    grid = [int(a) for a in sys.argv[2:]]
    solve(int(sys.argv[1]), grid[:-1], grid[-1])
else:
    for dim, grids in GRIDS.items():
        for grid in grids:
            solve(dim, grid[:-1], grid[-1])
