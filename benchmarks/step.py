"""Optimizer steps side by side with torch's own, in one run: ratios of process CPU time, medians.

    python benchmarks/step.py                      the table
    python benchmarks/step.py --models mlp --json steps.json

Models by their tensors alone: an MLP of 26k parameters in 6 tensors, ResNet-18 (11.7M in 62), a GPT of 27.6M in 76.
Peers: torch's loop over tensors (single), foreach, and fused where it has one. One thread unless --threads says so.
Each round times every peer once, in turn; what is printed is the median over rounds of time / ours.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import torch

import thalweg as tw


def mlp() -> list[tuple[int, ...]]:
    return [(128, 64), (128,), (128, 128), (128,), (10, 128), (10,)]


def resnet18() -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    inside = 64
    for width in (64, 128, 256, 512):
        for block in range(2):
            first = inside if block == 0 else width
            shapes += [(width, first, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            if block == 0 and inside != width:
                shapes += [(width, inside, 1, 1), (width,), (width,)]
        inside = width
    return [*shapes, (1000, 512), (1000,)]


def gpt() -> list[tuple[int, ...]]:
    width, layers, words = 512, 6, 16_384
    block = [(width,), (width,), (3 * width, width), (3 * width,), (width, width), (width,), (width,), (width,)]
    block += [(4 * width, width), (4 * width,), (width, 4 * width), (width,)]
    return [(words, width), (512, width), *block * layers, (width,), (width,)]


MODELS = {"mlp": mlp, "resnet18": resnet18, "gpt": gpt}
OPTIMIZERS = {
    "SGD": {"momentum": 0.9},
    "Adagrad": {},
    "Adam": {},
    "AdamW": {},
    "RMSprop": {},
    "Adadelta": {},
    "NAdam": {},
}
FUSED = ("SGD", "Adagrad", "Adam", "AdamW")


def made(cls, shapes, device="cpu", **settings):
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape, generator=generator).to(device)) for shape in shapes]
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(device)
    optimizer = cls(params, **settings)
    for _ in range(3):
        optimizer.step()
    return optimizer


def seconds(optimizer, calls: int) -> float:
    begun = time.process_time()
    for _ in range(calls):
        optimizer.step()
    return (time.process_time() - begun) / calls


def measure(name: str, shapes, rounds: int) -> dict[str, float]:
    """Median seconds of ours, and the median ratio ours / peer for every peer."""
    settings = OPTIMIZERS[name]
    peers = {"ours": made(getattr(tw, name), shapes, **settings, engine="cpu")}
    theirs = getattr(torch.optim, name)
    peers["single"] = made(theirs, shapes, **settings, foreach=False)
    peers["foreach"] = made(theirs, shapes, **settings, foreach=True)
    if name in FUSED:
        peers["fused"] = made(theirs, shapes, **settings, fused=True)
    elements = sum(torch.Size(shape).numel() for shape in shapes)
    calls = max(1, min(400, 20_000_000 // elements))
    times: dict[str, list[float]] = {peer: [] for peer in peers}
    for _ in range(rounds):
        for peer, optimizer in peers.items():
            times[peer].append(seconds(optimizer, calls))
    ratios = {
        peer: statistics.median(a / b for a, b in zip(times["ours"], found, strict=True))
        for peer, found in times.items()
        if peer != "ours"
    }
    return {"seconds": statistics.median(times["ours"]), **ratios}


def machine() -> dict[str, object]:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    ) if Path("/proc/cpuinfo").exists() else platform.processor()  # fmt: skip
    return {
        "processor": model,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "thalweg": tw.__version__,
        "python": platform.python_version(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help="comma-separated; default: all")
    parser.add_argument("--optimizers", default=",".join(OPTIMIZERS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="write the figures there as well")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found = {"machine": machine(), "figures": {}}
    print(", ".join(f"{key} {value}" for key, value in found["machine"].items()))
    print(f"{'model':9} {'optimizer':9} {'ours':>10}   CPU time of ours / torch's, median of {asked.rounds}")
    for model in asked.models.split(","):
        shapes = MODELS[model]()
        for name in asked.optimizers.split(","):
            figures = found["figures"][f"{model} {name}"] = measure(name, shapes, asked.rounds)
            known = [peer for peer in ("fused", "foreach", "single") if peer in figures]
            ratios = "   ".join(f"{peer} {figures[peer]:.2f}" for peer in known)
            print(f"{model:9} {name:9} {figures['seconds'] * 1e6:8.1f} µs   {ratios}", flush=True)
    if asked.json:
        Path(asked.json).write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
