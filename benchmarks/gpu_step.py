"""Optimizer steps on a GPU, side by side with torch's fused (or foreach) step, in one run.

    python benchmarks/gpu_step.py                      the table
    python benchmarks/gpu_step.py --models gpt --json gpu.json

The models and optimizers of benchmarks/step.py, and LAMB. Two figures for each: time of our step / time of torch's, the
median over rounds; and share of the copy bandwidth: the bytes that a step has to read and write, divided by its time,
in units of what a plain copy of as many bytes reaches on this GPU. Refuses to run without a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

import thalweg as tw

sys.path.insert(0, str(Path(__file__).parent))
from step import FUSED, MODELS, OPTIMIZERS, listed, made, optimizers

CALLS = 20
CLASSES = {**optimizers(), "LAMB": tw.LAMB}  # every elementwise rule, and one with sums


def seconds(call) -> float:
    """Of one call, by the GPU's own clock, over as many as it can queue."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(CALLS):
        call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3 / CALLS


def copy_bandwidth(size: int) -> float:
    """Bytes per second that a copy reads and writes."""
    x = torch.empty(max(size // 2, 1 << 20), dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    seconds(lambda: y.copy_(x))
    return 2 * x.numel() / min(seconds(lambda: y.copy_(x)) for _ in range(5))


def moved(optimizer) -> int:
    """The bytes that a step has to move: gradients once, parameters and state twice."""
    total = 0
    for p in (p for group in optimizer.param_groups for p in group["params"]):
        kept = [p, *(s for s in optimizer.state[p].values() if isinstance(s, torch.Tensor) and s.shape == p.shape)]
        total += p.grad.nbytes + 2 * sum(x.nbytes for x in kept)
    return total


def measure(name: str, shapes, rounds: int) -> dict[str, float | str]:
    settings = OPTIMIZERS.get(name, {})
    ours = made(CLASSES[name], shapes, "cuda", engine="triton", **settings)
    found: dict[str, float | str] = {}
    theirs = None
    if hasattr(torch.optim, name):
        peer = "fused" if name in FUSED else "foreach"
        theirs = made(getattr(torch.optim, name), shapes, "cuda", **settings, **{peer: True})
        found["peer"] = peer
    times, ratios = [], []
    for _ in range(rounds):
        times.append(seconds(ours.step))
        if theirs is not None:
            ratios.append(times[-1] / seconds(theirs.step))
    found["seconds"] = statistics.median(times)
    size = moved(ours)
    found["share"] = size / found["seconds"] / copy_bandwidth(size)
    if ratios:
        found["ratio"] = statistics.median(ratios)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=listed(MODELS), default=list(MODELS), help="comma-separated; default: all")
    parser.add_argument("--optimizers", type=listed(CLASSES), default=list(CLASSES), help="default: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", help="write the figures there as well")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu_step.py measures on a GPU, and torch finds none here: nothing was measured.", file=sys.stderr)
        return 2
    machine = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "thalweg": tw.__version__}
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    figures = {}
    for model in asked.models:
        for name in asked.optimizers:
            figure = figures[f"{model} {name}"] = measure(name, MODELS[model](), asked.rounds)
            peer = f"{figure['peer']} {figure['ratio']:.2f}" if "peer" in figure else "torch has none"
            share = f"{figure['share']:.2f} of the copy bandwidth"
            print(f"{model:9} {name:9} {figure['seconds'] * 1e6:9.1f} µs   {share}   {peer}", flush=True)
    if asked.json:
        Path(asked.json).write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
