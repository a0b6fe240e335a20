#!/usr/bin/python3
"""Differences of two results, or of a result and formulas: largest, L1 and L2 of m and u per level.

Exit code 0 when all largest differences are within --tolerance, 1 when not, 2 when the two cannot be
compared. Formulas are those of numpy in x, y, z, t, pi and the --set constants: "exp(-x**2)*cos(t)"."""
import argparse
import ast
import sys

from nashflow_io import Result, ResultError, main, require

FUNCTIONS = ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "abs", "minimum",
             "maximum", "where", "arctan")


def evaluate(formula, names):
    """Numbers, names, arithmetic and calls of the functions above; nothing else is run."""
    allowed = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Constant, ast.Load,
               ast.operator, ast.unaryop, ast.Compare, ast.cmpop)
    try:
        tree = ast.parse(formula.replace("^", "**"), mode="eval")
        for node in ast.walk(tree):
            if not isinstance(node, allowed):
                raise ResultError(f"'{formula}': {type(node).__name__} is not allowed in a formula")
        return eval(compile(tree, "formula", "eval"), {"__builtins__": {}}, names)
    except (SyntaxError, NameError, TypeError, ValueError, ArithmeticError) as error:
        raise ResultError(f"'{formula}': {error}; known: x, y, z (as many as there are axes), t, pi, {', '.join(FUNCTIONS)}") from None


def from_formula(r, formula, n, constants):
    np = require("numpy")
    names = {f: getattr(np, f) for f in FUNCTIONS} | {"pi": np.pi, "t": r.time[n]} | constants
    for axis, c in zip(r.axes, r.centers):
        shape = [1] * r.dim
        shape[r.dim - 1 - r.axes.index(axis)] = len(c)
        names[axis] = c.reshape(shape)
    return np.broadcast_to(evaluate(formula, names), r.m.shape[1:])


def run():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=__doc__.split("\n", 2)[2])
    parser.add_argument("result")
    parser.add_argument("other", nargs="?", help="a second result, on the same grid and levels")
    parser.add_argument("--m", metavar="FORMULA")
    parser.add_argument("--u", metavar="FORMULA")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a constant")
    parser.add_argument("--tolerance", type=float, default=0.0, help="of the largest difference (0)")
    words = sys.argv[1:]    # argparse takes a formula that begins with a minus for an option
    for n in range(len(words) - 1, 0, -1):
        if words[n - 1] in ("--m", "--u"):
            words[n - 1:n + 1] = [f"{words[n - 1]}={words[n]}"]
    args = parser.parse_args(words)
    if bool(args.other) == bool(args.m or args.u):
        parser.error("give a second result, or formulas by --m and --u")
    np = require("numpy")
    a = Result(args.result)
    b = Result(args.other) if args.other else None
    if b and (a.m.shape != b.m.shape or not np.allclose(a.time, b.time)
              or a.lower != b.lower or a.upper != b.upper):
        print(f"not comparable: {a.m.shape} levels and cells of {a.path} against {b.m.shape} of {b.path}")
        return 2
    constants = {}
    for item in args.set:
        name, equals, value = item.partition("=")
        if not equals:
            parser.error(f"--set takes NAME=VALUE, not '{item}'")
        constants[name] = float(evaluate(value, {"pi": np.pi} | constants))
    volume, worst = np.prod(a.spacing), 0.0
    fields = ["m", "u"] if b else [f for f in ("m", "u") if getattr(args, f)]
    print(f"{'field':>5} {'t':>10} {'largest':>12} {'L1':>12} {'L2':>12}")
    for field in fields:
        for n in range(len(a.time)):
            other = b.file[field][n] if b else from_formula(a, getattr(args, field), n, constants)
            d = np.abs(a.file[field][n] - other)
            largest = d.max()
            print(f"{field:>5} {a.time[n]:10.4g} {largest:12.4e} {d.sum() * volume:12.4e} "
                  f"{np.sqrt((d * d).sum() * volume):12.4e}")
            worst = max(worst, largest) if np.isfinite(largest) else np.inf
    passed = worst <= args.tolerance
    print(f"largest {worst:.4e}, tolerance {args.tolerance:g}: {'within' if passed else 'beyond'}")
    return 0 if passed else 1


if __name__ == "__main__":
    main(run)
