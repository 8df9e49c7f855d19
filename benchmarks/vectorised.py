"""Many runs trained as one against a loop over them with torch's fused Adam: process CPU time, one thread, medians.

    python benchmarks/vectorised.py                    the table
    python benchmarks/vectorised.py --models mlp --json vectorised.json

K = 32 members, batch 64, each with a learning rate of its own. Three ways to take a step of all members, timed in turn
in every round: the plain loop (one model after the other, `torch.optim.Adam(fused=True)`), plain vmap as torch's
tutorial has it (`vmap(grad_and_value)`, one fused Adam with one learning rate for all), and the lab's. All of them
fetch the losses. The lab's process keeps the memory that it frees (see lab/way.py); the other two are measured in a
process that does not.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from step import listed, machine
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from thalweg import schedule
from thalweg.lab.candidates import Candidate
from thalweg.lab.stacked import Stack
from thalweg.lab.task import Task
from thalweg.lab.train import Training
from thalweg.lab.way import keep_freed_memory
from thalweg.workloads import cross_entropy, mnist1d, shakespeare

MEMBERS, BATCH = 32, 64
RATES = [10 ** (-4 + 2 * k / MEMBERS) for k in range(MEMBERS)]


def classes(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, *shape, generator=numbers), torch.randint(10, (BATCH,), generator=numbers)


def mlp(_: int) -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))


def task(name: str) -> Task:
    """3.5k parameters over 64 numbers; MNIST-1D's network, 5.2k; one block of width 16 over 8 characters, 5.7k."""
    if name == "transformer":
        alphabet = 65
        windows = torch.randint(alphabet, (BATCH, 9), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        build, loss, batch = lambda _: shakespeare.Transformer(alphabet, width=16, depth=1), shakespeare.loss, windows
    else:
        build, shape = (mlp, (64,)) if name == "mlp" else (mnist1d.model, (1, 40))
        loss, batch = cross_entropy, classes(*shape)
    return Task(
        name=name, model=build, train=lambda step, seed: batch, loss=loss, validation=batch,
        metric=lambda model, data: 0.0, mode="min", steps=10**6,
    )  # fmt: skip


def loop(of: Task) -> Callable[[], None]:
    models = [of.build(seed).train() for seed in range(MEMBERS)]
    optimizers = [torch.optim.Adam(m.parameters(), lr=lr, fused=True) for m, lr in zip(models, RATES, strict=True)]
    batch = next(of.batches(0))

    def step() -> None:
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            loss = of.loss(model, batch)
            loss.item()
            loss.backward()
            optimizer.step()

    return step


class _Called(nn.Module):
    def __init__(self, base: nn.Module, state: Any):
        super().__init__()
        self.call = lambda *args: functional_call(base, state, args)

    def forward(self, *args: Any) -> torch.Tensor:
        return self.call(*args)


def plain_vmap(of: Task) -> Callable[[], None]:
    params, buffers = stack_module_state([of.build(seed).train() for seed in range(MEMBERS)])
    params = {name: p.detach() for name, p in params.items()}
    base, batch = of.build(0).train(), next(of.batches(0))
    optimizer = torch.optim.Adam(list(params.values()), lr=1e-3, fused=True)
    member = grad_and_value(lambda p, b: of.loss(_Called(base, (p, b)), batch))

    def step() -> None:
        gradients, losses = vmap(member)(params, buffers)
        losses.tolist()
        for name, p in params.items():
            p.grad = gradients[name]
        optimizer.step()

    return step


def together(of: Task) -> Callable[[], None]:
    keep_freed_memory()
    adam = Candidate("adam", "adam")
    trainings = [
        Training(of, adam.configure({"lr": lr}, "constant"), seed=seed)
        for seed, lr in zip([0] * MEMBERS, RATES, strict=True)
    ]
    with torch.enable_grad():
        stack = Stack(of, trainings, schedule.constant)
    stack.capture(of.steps)

    def step() -> None:
        _, gradients = stack.losses_and_gradients()
        stack.update(gradients)

    return step


WAYS = {"loop": loop, "vmap": plain_vmap, "together": together}
CALLS = {"mlp": (3, 20, 20), "convolution": (2, 4, 6), "transformer": (1, 2, 2)}


def serve(way: str, model: str, calls: int, orders: Any, answers: Any) -> None:
    torch.set_num_threads(1)
    step = WAYS[way](task(model))
    for _ in range(6):  # the lab's way records and compares in the first ones
        step()
    answers.put(None)
    while orders.get():
        begun = time.process_time()
        for _ in range(calls):
            step()
        answers.put((time.process_time() - begun) / calls)


def measure(model: str, rounds: int) -> dict[str, float]:
    """Milliseconds of a step of all members, medians; and the median ratio of the loop's to each."""
    spawn = multiprocessing.get_context("spawn")
    ends = {}
    for way, calls in zip(WAYS, CALLS[model], strict=True):
        orders, answers = spawn.Queue(), spawn.Queue()
        spawn.Process(target=serve, args=(way, model, calls, orders, answers), daemon=True).start()
        answers.get()
        ends[way] = orders, answers
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, (orders, answers) in ends.items():
            orders.put(True)
            times[way].append(answers.get())
    for orders, _ in ends.values():
        orders.put(False)
    found = {way: 1e3 * statistics.median(measured) for way, measured in times.items()}
    for way in ("vmap", "together"):
        found[f"loop / {way}"] = statistics.median(a / b for a, b in zip(times["loop"], times[way], strict=True))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=listed(CALLS), default=list(CALLS), help="comma-separated; default: all")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", help="write the figures there as well")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"machine": machine(), "members": MEMBERS, "batch": BATCH, "figures": {}}
    print(", ".join(f"{key} {value}" for key, value in found["machine"].items()))
    print(f"{'model':12} {'loop':>9} {'vmap':>9} {'together':>9}   times as fast as the loop: vmap, together")
    for model in asked.models:
        figures = found["figures"][model] = measure(model, asked.rounds)
        times = " ".join(f"{figures[way]:6.2f} ms" for way in WAYS)
        print(f"{model:12} {times}   {figures['loop / vmap']:.2f}   {figures['loop / together']:.2f}", flush=True)
    if asked.json:
        Path(asked.json).write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
