"""What clipping costs: a clipped step beside a plain one and beside torch's, ratios of process CPU time, medians.

    python benchmarks/clipping.py                    ResNet-18 and the GPT, one thread
    python benchmarks/clipping.py --json clipping.json

A step of AdamW moves seven numbers per parameter (reads p, g, m, v; writes p, m, v). Clipping by norm reads g once
more: 8 / 7 = 1.14 of the plain step where every byte costs the same, 5 / 4 = 1.25 where one core waits for what it
reads and not for what it writes. "a bare read of g" says which holds here: the plain step after a loop that does
nothing but read the gradients. torch's way, ``clip_grad_norm_`` and then ``step``, reads g for the norm, and reads and
writes it again to scale it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from step import MODELS, listed, machine, made
from steps.roofline import reading

import thalweg as tw

WAYS = {
    "clip_norm": {"clip_norm": 1.0},
    "clip_tensor_norm": {"clip_tensor_norm": 1.0},
    "clip_value": {"clip_value": 1e-3},
    "centralise": {"centralise": True},
    "clip_norm, centralise": {"clip_norm": 1.0, "centralise": True},
}


def torchs(shapes):
    """Clip, then the fused step, as people write it."""
    optimizer = made(torch.optim.AdamW, shapes, fused=True)
    params = optimizer.param_groups[0]["params"]

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
        optimizer.step()

    return step


def bare(shapes):
    """The plain step after one bare read of the gradients: the floor of every clipping by norm."""
    optimizer = made(tw.AdamW, shapes, engine="cpu")
    read = reading([p.grad for p in optimizer.param_groups[0]["params"]])

    def step() -> None:
        read()
        optimizer.step()

    return step


def measure(shapes, rounds: int) -> dict[str, float]:
    """Median milliseconds of the plain step, and the median ratio to it of every other way."""
    steps = {"plain": made(tw.AdamW, shapes, engine="cpu").step}
    steps |= {name: made(tw.AdamW, shapes, engine="cpu", **settings).step for name, settings in WAYS.items()}
    steps["a bare read of g"] = bare(shapes)
    steps["torch fused"] = made(torch.optim.AdamW, shapes, fused=True).step
    steps["torch clip_grad_norm_ + fused"] = torchs(shapes)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            begun = time.process_time()
            step()
            step()
            times[name].append((time.process_time() - begun) / 2)
    ratios = {
        name: statistics.median(a / b for a, b in zip(found, times["plain"], strict=True))
        for name, found in times.items()
        if name != "plain"
    }
    ours = zip(times["clip_norm"], times["torch clip_grad_norm_ + fused"], strict=True)
    both = statistics.median(a / b for a, b in ours)
    return {"plain, ms": 1e3 * statistics.median(times["plain"]), **ratios, "clip_norm / torch's": both}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    some = ["resnet18", "gpt"]
    parser.add_argument("--models", type=listed(MODELS), default=some, help="comma-separated; default: resnet18,gpt")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="write the figures there as well")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found = {"machine": machine(), "figures": {}}
    print(", ".join(f"{key} {value}" for key, value in found["machine"].items()))
    for model in asked.models:
        figures = found["figures"][model] = measure(MODELS[model](), asked.rounds)
        print(f"{model}: AdamW; CPU time of each way / the plain step's, median of {asked.rounds}")
        for name, figure in figures.items():
            print(f"  {name:30} {figure:6.2f}", flush=True)
    if asked.json:
        Path(asked.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
