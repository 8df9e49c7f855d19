"""What one iteration costs beside the function: Rosenbrock's in 10 unknowns, numpy, against SciPy.

OMP_NUM_THREADS=1 python benchmarks/minimize_overhead.py

Methods that SciPy has not stand beside the nearest: the self-scaled Broyden family beside BFGS, the factorisation with
a line search beside trust-exact. An iteration of Newton-CG makes several products. The time of the Hessians or products
is taken off with that of the function.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import minimize, rosen, rosen_der, rosen_hess, rosen_hess_prod

import thalweg as tw

START = np.full(10, -1.2)
PAIRS = {
    "bfgs": "BFGS",
    "broyden": "BFGS",
    "cg": "CG",
    "lbfgs": "L-BFGS-B",
    "newton": "trust-exact",
    "newton-line": "trust-exact",
    "newton-cg": "Newton-CG",
}


def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
    return rosen(x), rosen_der(x)


def in_turns(*runs, rounds: int = 150):
    """The result of each run, and its CPU seconds in each round, all runs in turns: a busy machine is busy for all."""
    results, seconds = [None] * len(runs), np.empty((len(runs), rounds))
    for r in range(rounds):
        for i, run in enumerate(runs):
            start = time.process_time()
            results[i] = run()
            seconds[i, r] = time.process_time() - start
    return results, seconds


def main() -> None:
    for ours, theirs in PAIRS.items():
        second = {"newton-cg": {"hessp": rosen_hess_prod}}.get(ours, {"hess": rosen_hess})
        more = second if "newton" in ours else {}
        results, seconds = in_turns(
            lambda ours=ours, more=more: tw.minimize(fun, START, jac=True, method=ours, **more),
            lambda theirs=theirs, more=more: minimize(fun, START, jac=True, method=theirs, **more),
            lambda: [fun(START) for _ in range(100)],
            lambda: [rosen_hess(START) for _ in range(100)],
            lambda: [rosen_hess_prod(START, START) for _ in range(100)],
        )
        per_call, per_hessian, per_product = seconds[2:] / 100
        overhead = []
        for name, result, taken in zip((f"tw {ours}", f"SciPy {theirs}"), results, seconds, strict=False):
            asked = result["nhev"] + result.get("nhvp", 0) if more else 0  # SciPy counts products as Hessians
            each = per_product if "hessp" in more else per_hessian
            overhead.append((taken - result.nfev * per_call - asked * each) / result.nit)
            whole, own = np.median(taken) / result.nit * 1e6, np.median(overhead[-1]) * 1e6
            print(
                f"{name:18s} {result.nit:4d} iterations, {result.nfev:4d} evaluations, {asked:4d} Hessians or "
                f"products: {whole:6.1f} us an iteration, {own:6.1f} us of it not the function's"
            )
        low, ratio, high = np.quantile(overhead[0] / overhead[1], (0.25, 0.5, 0.75))
        print(f"{'':18s} {ratio:.2f} times SciPy's, the median of the rounds (half of them {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
