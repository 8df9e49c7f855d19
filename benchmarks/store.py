"""What a smaller store saves: bytes per element and step, and time, side by side in one run.

    python benchmarks/store.py                         AdamW on a GPT of 27.6M parameters
    python benchmarks/store.py --optimizer RMSprop --model resnet18

Process CPU time of one thread, medians over rounds in which every store takes its turn. Bytes are counted: what a step
reads and writes of parameter, gradient, state and compensation.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from step import MODELS, OPTIMIZERS, machine, seconds

import thalweg as tw

STORES = {
    "float32": (torch.float32, tw.Store()),
    "float32, state bfloat16": (torch.float32, tw.Store(torch.bfloat16)),
    "float32, state bfloat16 by chance": (torch.float32, tw.Store(torch.bfloat16, "stochastic")),
    "bfloat16": (torch.bfloat16, tw.Store()),
    "bfloat16 by chance": (torch.bfloat16, tw.Store(rounding="stochastic")),
    "bfloat16, kahan": (torch.bfloat16, tw.Store(kahan=True)),
    "bfloat16, kahan, by chance": (torch.bfloat16, tw.Store(torch.bfloat16, "stochastic", kahan=True)),
    "bfloat16, state float32, kahan": (torch.bfloat16, tw.Store(torch.float32, kahan=True)),
}


def made(cls, shapes, dtype: torch.dtype, store: tw.Store, **settings) -> tw.Optimizer:
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(dtype)
    optimizer = cls(params, **settings, store=store)
    for _ in range(3):
        optimizer.step()
    return optimizer


def bytes_per_element(optimizer: tw.Optimizer) -> int:
    """Of a large tensor: its parameter and state are read and written, its gradient is read."""
    p = max(optimizer.param_groups[0]["params"], key=torch.Tensor.numel)
    kept = [p, *(x for x in optimizer.state[p].values() if x.ndim)]
    return sum(2 * x.element_size() for x in kept) + p.grad.element_size()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizer", default="AdamW", choices=[*OPTIMIZERS, "AdamW"])
    parser.add_argument("--model", default="gpt", choices=MODELS)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    shapes = MODELS[asked.model]()
    elements = sum(torch.Size(shape).numel() for shape in shapes)
    cls, settings = getattr(tw, asked.optimizer), OPTIMIZERS[asked.optimizer]
    times: dict[str, list[float]] = {name: [] for name in STORES}
    made_of = {name: made(cls, shapes, dtype, store, **settings) for name, (dtype, store) in STORES.items()}
    for _ in range(asked.rounds):
        for name, optimizer in made_of.items():
            times[name].append(seconds(optimizer, max(1, 30_000_000 // elements)))
    first = statistics.median(times["float32"])
    print(f"{asked.optimizer}, {asked.model}, {elements / 1e6:.1f}M parameters, median of {asked.rounds}")
    print(f"{'store':36} {'bytes':>6} {'ns':>6} {'of float32':>11}   per element")
    for name, found in times.items():
        one = statistics.median(found)
        print(f"{name:36} {bytes_per_element(made_of[name]):6} {one / elements * 1e9:6.2f} {one / first:11.2f}")


if __name__ == "__main__":
    main()
