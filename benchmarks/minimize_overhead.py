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


def least(*runs, repeats: int = 60):
    """For each run its result and its least CPU seconds, taken in turns, so that a busy machine is busy for all."""
    results, taken = [None] * len(runs), [float("inf")] * len(runs)
    for _ in range(repeats):
        for i, run in enumerate(runs):
            start = time.process_time()
            results[i] = run()
            taken[i] = min(taken[i], time.process_time() - start)
    return list(zip(results, taken, strict=True))


def main() -> None:
    for ours, theirs in PAIRS.items():
        more = {"hess": rosen_hess} if ours == "newton" else {}
        pair = least(
            lambda ours=ours, more=more: tw.minimize(fun, START, jac=True, method=ours, **more),
            lambda theirs=theirs, more=more: minimize(fun, START, jac=True, method=theirs, **more),
            lambda: [fun(START) for _ in range(100)],
            lambda: [rosen_hess(START) for _ in range(100)],
        )
        per_call, per_hessian = (seconds / 100 for _, seconds in pair[2:])
        overhead = []
        for name, (result, seconds) in zip((f"tw {ours}", f"SciPy {theirs}"), pair[:2], strict=True):
            hessians = result["nhev"] * per_hessian if more else 0
            whole, own = seconds / result.nit, (seconds - result.nfev * per_call - hessians) / result.nit
            overhead.append(own)
            print(
                f"{name:18s} {result.nit:4d} iterations, {result.nfev:4d} evaluations: {whole * 1e6:6.1f} us an "
                f"iteration, {own * 1e6:6.1f} us of it not the function's"
            )
        print(f"{'':18s} {overhead[0] / overhead[1]:.2f} times SciPy's")


if __name__ == "__main__":
    main()
