"""What one iteration costs beside the function: Rosenbrock's in 10 unknowns, numpy, against SciPy.

OMP_NUM_THREADS=1 python benchmarks/minimize_overhead.py
"""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import minimize, rosen, rosen_der, rosen_hess

import thalweg as tw

START = np.full(10, -1.2)
PAIRS = {"bfgs": "BFGS", "cg": "CG", "lbfgs": "L-BFGS-B", "newton": "trust-exact"}


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
        more = {"hess": rosen_hess} if ours == "newton" else {}
        results, seconds = in_turns(
            lambda ours=ours, more=more: tw.minimize(fun, START, jac=True, method=ours, **more),
            lambda theirs=theirs, more=more: minimize(fun, START, jac=True, method=theirs, **more),
            lambda: [fun(START) for _ in range(100)],
            lambda: [rosen_hess(START) for _ in range(100)],
        )
        per_call, per_hessian = seconds[2:] / 100
        overhead = []
        for name, result, taken in zip((f"tw {ours}", f"SciPy {theirs}"), results, seconds, strict=False):
            hessians = result["nhev"] * per_hessian if more else 0
            overhead.append((taken - result.nfev * per_call - hessians) / result.nit)
            whole, own = np.median(taken) / result.nit * 1e6, np.median(overhead[-1]) * 1e6
            print(
                f"{name:18s} {result.nit:4d} iterations, {result.nfev:4d} evaluations: {whole:6.1f} us an iteration, "
                f"{own:6.1f} us of it not the function's"
            )
        low, ratio, high = np.quantile(overhead[0] / overhead[1], (0.25, 0.5, 0.75))
        print(f"{'':18s} {ratio:.2f} times SciPy's, the median of the rounds (half of them {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
