"""The Poisson network with fixed points: BFGS and self-scaled Broyden after a short Adam, against AdamW alone.

    OMP_NUM_THREADS=1 python benchmarks/poisson_pinn.py [--seconds 60] [--seed 0]

Everybody gets the same CPU seconds, float64, and the same start. AdamW's learning rate is the best of a few, each
falling by a cosine over the whole budget; the best error that it has anywhere on the way counts, on the 51 x 51 grid.
"""

from __future__ import annotations

import argparse
import math
import time

import torch

import thalweg as tw
from thalweg.workloads.poisson_pinn import relative_error, task

WARM_UP = 500  # steps of Adam before the second-order methods


def start(seed: int):
    """The task, its model, and the loss on its fixed points."""
    the_task = task(fixed=True, dtype=torch.float64)
    model, batch = the_task.model(seed), the_task.train(0, seed)
    return the_task, model, lambda: the_task.loss(model, batch)


def adamw(lr: float, seconds: float, seed: int, resample: bool) -> float:
    """The best error of AdamW in this many CPU seconds; it may also draw new points at every step."""
    the_task, model, loss = start(seed)
    fresh = task(dtype=torch.float64)
    optimizer = tw.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    began, step, best = time.process_time(), 0, math.inf
    while (spent := time.process_time() - began) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * min(spent / seconds, 1)))
        optimizer.zero_grad()
        value = the_task.loss(model, fresh.train(step, seed)) if resample else loss()
        value.backward()
        optimizer.step()
        step += 1
        if step % 50 == 0:
            with torch.no_grad():
                best = min(best, relative_error(model, the_task.validation))
    return best


def second_order(make, seconds: float, seed: int) -> tuple[float, int]:
    """The error after a warm-up and this method, in this many CPU seconds together, and its calls of `step`."""
    the_task, model, loss = start(seed)
    began = time.process_time()
    adam = tw.Adam(model.parameters(), lr=1e-2)
    for _ in range(WARM_UP):
        adam.zero_grad()
        loss().backward()
        adam.step()
    optimizer, calls = make(model.parameters()), 0

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    while time.process_time() - began < seconds and not optimizer.converged:
        before = calls
        optimizer.step(closure)
        calls += 1
        if optimizer.message.startswith("No lower") and before > 0:
            break
    with torch.no_grad():
        return relative_error(model, the_task.validation), calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    errors = {}
    for resample in (True, False):
        for lr in (3e-3, 1e-2, 3e-2):
            name = f"AdamW, lr {lr:g}, {'new points every step' if resample else 'fixed points'}"
            errors[name] = adamw(lr, given.seconds, given.seed, resample)
            print(f"{name:45s} relative L2 error {errors[name]:.2e}", flush=True)
    best = min(errors.values())
    makers = {
        "BFGS": lambda p: tw.BFGS(p, max_iter=10, gtol=1e-12),
        "self-scaled Broyden": lambda p: tw.BFGS(p, max_iter=10, gtol=1e-12, self_scaled=True),
        "L-BFGS": lambda p: tw.LBFGS(p, max_iter=10, gtol=1e-12),
    }
    for name, make in makers.items():
        error, calls = second_order(make, given.seconds, given.seed)
        print(f"{name:45s} relative L2 error {error:.2e}   {best / error:.1f} times below AdamW's best   {calls} calls")


if __name__ == "__main__":
    main()
