"""mfgsolver on the periodic game with F = V(x) + m: one line of JSON.

    game.py solve DIM CELLS FILE      policy iteration until both residuals are below TOLERANCE; saves u and m
    game.py input DIM CELLS FILE              writes the input file of nashflow
    game.py compare DIM CELLS FILE RESULT     its residuals of a nashflow result, and how far the two are apart

-u_t - nu Lap u + |grad u|^2/2 = V + m, u(1) = g, m_t - nu Lap m - div(m grad u) = 0 on [0,1]^d, as many steps
as cells. Both programs: implicit Euler, upwind |grad u|^2, the transposed matrix for m, u^n with the costs of
m^{n+1}. mfgsolver: nodes i/N, time levels u 0..N-1 and m 1..N; nashflow: centres, so its box is half a cell lower.
"""
import contextlib
import importlib.metadata
import json
import os
import sys
import time
import warnings

import mfgsolver
import numpy as np

NU = 0.1
TOLERANCE = 1e-8  # of mfgsolver's two residuals; nashflow's own, a tenth of it, makes the same two smaller still
WEIGHTS = (0.65, 0.35)  # of the old and the new control; the defaults do not converge


def formulas(dim):
    """V, g and the unnormalised m0 of the game, as the input file of nashflow takes them."""
    axes = ["x", "y"][:dim]
    potential = " + ".join(["cos(2*pi*x)", "0.6*sin(2*pi*y)"][:dim])
    terminal = " + ".join(["0.3*sin(2*pi*x)", "0.2*cos(2*pi*y)"][:dim])
    initial = " * ".join(f"(1 + 0.8*cos(2*pi*({a} - 0.25)))" for a in axes)
    return potential, terminal, initial


def write_input(dim, cells, file):
    potential, terminal, initial = formulas(dim)
    low, high = -0.5 / cells, 1 - 0.5 / cells
    each = lambda value: "[" + ", ".join([str(value)] * dim) + "]"
    text = f"""metadata: {{title: Periodic game beside mfgsolver}}
domain: {{lower: {each(low)}, upper: {each(high)}, cells: {each(cells)}, boundary: {each("periodic")}}}
time: {{horizon: 1, steps: {cells}}}
dynamics: {{sigma: {(2 * NU) ** 0.5!r}}}
running_cost: {{potential: "{potential}", coupling: {{type: power, strength: 1, exponent: 1}}}}
terminal_cost: {{potential: "{terminal}"}}
agents: {{initial_density: "{initial}"}}
fokker_planck: {{method: grid}}
equilibrium: {{tolerance: {TOLERANCE / 10:g}}}
"""
    with open(file, "w", encoding="utf-8") as f:
        f.write(text)
    return {}


class Converged(Exception):
    pass


def game(dim, cells):
    """The game as a user of mfgsolver writes it; the log of all iterates gives way to a stop at TOLERANCE."""
    base = mfgsolver.MfgBase if dim == 1 else mfgsolver.MfgBase2D
    names = {"cos": np.cos, "sin": np.sin, "pi": np.pi}

    def value(formula, axes):
        points = dict(zip("xy", np.meshgrid(*axes)))
        return np.broadcast_to(eval(formula, names, points), [len(axes[0])] * dim).reshape(-1)

    class Game(base):
        def M0_func(self, *axes):
            return value(formulas(dim)[2], axes)

        def UT_func(self, *axes):
            self.V = value(formulas(dim)[0], axes)
            return value(formulas(dim)[1], axes)

        def F1_func(self, m):
            return 1.0

        def F2_func(self, m):
            return self.V + m

        def logging_solution(self, M, U):
            if max(self.residual_FP_history[-1], self.residual_HJB_history[-1]) < TOLERANCE:
                raise Converged

    return Game(nv=NU, Nx=cells, Nt=cells, T=1.0)


def solve(dim, cells, file):
    start = time.perf_counter()
    g = game(dim, cells)
    with contextlib.redirect_stdout(open(os.devnull, "w")), contextlib.suppress(Converged):
        g.solve_with_spi1(maxit=200, pn=lambda n: WEIGHTS)
    seconds = time.perf_counter() - start
    np.savez(file, M=g.M, U=g.U)
    return {"seconds": seconds, "iterations": len(g.residual_FP_history), "residual_fp": g.residual_FP_history[-1],
            "residual_hjb": g.residual_HJB_history[-1], "version": importlib.metadata.version("mfgsolver")}


def compare(dim, cells, file, result):
    import h5py
    with h5py.File(result) as f:
        m, u = (f[name][:].reshape(cells + 1, -1) for name in ("m", "u"))
    g, theirs = game(dim, cells), np.load(file)
    m, u = m[1:], u[:-1]
    fp, hjb = g.compute_residual(m, u)
    return {"residual_fp": fp, "residual_hjb": hjb, "m": float(np.max(np.abs(m - theirs["M"])) / np.max(theirs["M"])),
            "u": float(np.max(np.abs(u - theirs["U"])) / np.ptp(theirs["U"]))}


def main():
    warnings.simplefilter("ignore")  # SciPy's, on the matrix formats that mfgsolver chooses
    action, dim, cells = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps({"input": write_input, "solve": solve, "compare": compare}[action](dim, cells, *sys.argv[4:])))


if __name__ == "__main__":
    main()
