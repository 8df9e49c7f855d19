"""A thousand curve fits at once: y = a exp(-b t) + c exp(-d t), 50 points, noise, perturbed starts.

    OMP_NUM_THREADS=1 python benchmarks/batched_fit.py [--fits 1000] [--device cpu] [--profile]

Against SciPy's L-BFGS-B in a loop with an analytic numpy gradient: the same problems, starts and tolerance,
one thread. Prints seconds and the share of fits that reached the same optimum. With --profile it prints in their
place, for Newton and L-BFGS with numpy derivatives, where the time goes, and how many rounds of evaluations the batch
takes: as it is, where each fit tries its own next point in every round, and in lockstep, where all would wait for the
slowest step.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
from scipy.optimize import minimize as scipy_minimize

import thalweg as tw
from thalweg.minimize import along_lines
from thalweg.minimize.direction import lbfgs, trust_exact
from thalweg.minimize.loop.line import LineWalk
from thalweg.minimize.search.wolfe import loose_wolfe

TIMES = np.linspace(0, 4, 50)


def problems(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy curves (count, 50) and starts (count, 4)."""
    rng = np.random.default_rng(0)
    truth = np.array([3.0, 0.5, 2.0, 3.0]) * rng.uniform(0.8, 1.25, (count, 4))
    a, b, c, d = truth.T[:, :, None]
    curves = a * np.exp(-b * TIMES) + c * np.exp(-d * TIMES) + 0.02 * rng.standard_normal((count, 50))
    return curves, truth * rng.uniform(0.7, 1.4, (count, 4))


def numpy_loss(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Sum of squares / 2 and its gradient, one curve."""
    a, b, c, d = x
    u, v = np.exp(-b * TIMES), np.exp(-d * TIMES)
    r = a * u + c * v - y
    ru, rv = r * u, r * v
    return 0.5 * (r @ r), np.array([ru.sum(), -a * (ru @ TIMES), rv.sum(), -c * (rv @ TIMES)])


def numpy_losses(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for k curves at once: (k, 4), (k, 50) -> (k,), (k, 4)."""
    a, b, c, d = x.T[:, :, None]
    u, v = np.exp(-b * TIMES), np.exp(-d * TIMES)
    r = a * u + c * v - y
    ru, rv = r * u, r * v
    gradient = np.stack([ru.sum(-1), -x[:, 0] * (ru @ TIMES), rv.sum(-1), -x[:, 2] * (rv @ TIMES)], -1)
    return 0.5 * np.vecdot(r, r), gradient


def numpy_hessians(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The second derivatives for k curves at once: (k, 4, 4)."""
    a, b, c, d = x.T[:, :, None]
    u, v = np.exp(-b * TIMES), np.exp(-d * TIMES)
    r = a * u + c * v - y
    J = np.stack([u, -a * TIMES * u, v, -c * TIMES * v], 1)
    H = J @ J.swapaxes(1, 2)
    H[:, 0, 1] -= (r * u) @ TIMES
    H[:, 2, 3] -= (r * v) @ TIMES
    H[:, 1, 0], H[:, 3, 2] = H[:, 0, 1], H[:, 2, 3]
    H[:, 1, 1] += x[:, 0] * ((r * u) @ TIMES**2)
    H[:, 3, 3] += x[:, 2] * ((r * v) @ TIMES**2)
    return H


def torch_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The same for torch: one curve, or k of them along leading axes."""
    t = torch.from_numpy(TIMES).to(y)
    a, b, c, d = (x[..., i, None] for i in range(4))
    return 0.5 * (a * torch.exp(-b * t) + c * torch.exp(-d * t) - y).square().sum(-1)


def timed(run, repeats: int = 3):
    """The result and the least CPU seconds of a few runs."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        result = run()
        best = min(best, time.process_time() - start)
    return result, best


def where_the_time_goes(method: str, call: dict, repeats: int = 20) -> str:
    """The shares of CPU seconds of the function, of linear algebra, of searches one by one, and of the rest."""
    spent = dict.fromkeys(("function", "linear algebra", "searches one by one"), 0.0)

    def watched(part, function):
        def run(*args, **kwargs):
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[part] += time.process_time() - start

        return run

    call = call | {name: watched("function", call[name]) for name in ("fun", "hess") if name in call}
    if method == "lbfgs":
        direction = lbfgs.limited(call.pop("options")["memory"])
        method = along_lines(method, direction._replace(turn=watched("linear algebra", direction.turn)), loose_wolfe)
    with (
        patch.object(trust_exact, "prepare", watched("linear algebra", trust_exact.prepare)),
        patch.object(trust_exact, "solve", watched("linear algebra", trust_exact.solve)),
        patch.object(LineWalk, "_next", watched("searches one by one", LineWalk._next)),
    ):
        start = time.process_time()
        for _ in range(repeats):
            tw.minimize(method=method, **call)
        whole = time.process_time() - start
    spent["loop"] = whole - sum(spent.values())
    return ", ".join(f"{part} {seconds / whole:.0%}" for part, seconds in spent.items())


def rounds(run, count: int) -> str:
    """How often the batch is evaluated, beside what a fit needs, and what a batch in lockstep would need."""
    steps, trials, longest = np.zeros(count, int), np.ones(count, int), {}

    def callback(intermediate_result) -> None:
        nonlocal steps
        now = intermediate_result
        moved = now.nit > steps
        for step in np.unique(now.nit[moved]):
            those = moved & (now.nit == step)
            longest[step] = max(longest.get(step, 0), (now.nfev - trials)[those].max())
        steps, trials[moved] = now.nit.copy(), now.nfev[moved]

    nfev = run(callback=callback).nfev
    lockstep = 1 + sum(longest.values())
    return f"{nfev.mean():.1f} evaluations a fit, {nfev.max()} rounds of the batch, {lockstep} in lockstep"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=1000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--profile", action="store_true", help="where the time goes, and the rounds")
    given = parser.parse_args()
    torch.set_num_threads(1)
    curves, starts = problems(given.fits)
    tol = 1e-5
    numpy_call = dict(fun=numpy_losses, x0=starts, args=(curves,), jac=True, vectorized=True, batched=True, tol=tol)
    if given.profile:
        for method, more in {"newton": {"hess": numpy_hessians}, "lbfgs": {"options": {"memory": 5}}}.items():
            run = partial(tw.minimize, method=method, **numpy_call, **more)
            said = rounds(run, given.fits)
            print(f"{method}: {where_the_time_goes(method, numpy_call | more)}; {said}")
        return

    def loop() -> np.ndarray:
        options = {"gtol": tol, "ftol": 0.0, "maxiter": 5000, "maxfun": 50000}
        runs = [
            scipy_minimize(numpy_loss, x, args=(y,), jac=True, method="L-BFGS-B", options=options)
            for x, y in zip(starts, curves, strict=True)
        ]
        return np.array([r.fun for r in runs]), sum(r.nfev for r in runs)

    (reference, evaluations), base = timed(loop, 1)
    print(
        f"{'SciPy L-BFGS-B, one after the other':44s} {base:8.3f} s   {evaluations / given.fits:.1f} evaluations a fit"
    )
    y, x0 = torch.from_numpy(curves).to(given.device), torch.from_numpy(starts).to(given.device)
    kinds = {
        "numpy, vectorized": numpy_call,
        "torch, vectorized": dict(fun=torch_loss, x0=x0, args=(y,), vectorized=True, batched=True, tol=tol),
        "torch, one problem under vmap": dict(fun=torch_loss, x0=x0, args=(y,), batched=True, tol=tol),
    }
    for method in ("lbfgs", "bfgs", "newton"):
        for kind, call in kinds.items():
            call = dict(call)
            if method == "newton" and "numpy" in kind:
                call["hess"] = numpy_hessians
            if method == "lbfgs":
                call["options"] = {"memory": 5}

            def run(call=call, method=method):
                return tw.minimize(method=method, **call)

            result, seconds = timed(run)
            fun = np.asarray(torch.as_tensor(result.fun).cpu())
            same = abs(fun - reference) <= 1e-6 * abs(reference) + 1e-10
            success = np.asarray(torch.as_tensor(result.success).cpu())
            nfev = np.asarray(torch.as_tensor(result.nfev).cpu())
            print(
                f"{method + ', ' + kind:44s} {seconds:8.3f} s   {base / seconds:5.1f} times faster   same optimum "
                f"{same.mean():.3f}  at least as low {(fun <= reference * (1 + 1e-6) + 1e-10).mean():.3f}   success "
                f"{success.mean():.3f}   {nfev.mean():.1f} evaluations, at most {nfev.max()}"
            )


if __name__ == "__main__":
    main()
