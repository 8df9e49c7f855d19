"""Optimizer steps side by side with their peers, in one run: ratios of process CPU time, medians.

    python benchmarks/step.py                           the table on the screen
    python benchmarks/step.py --processes 5 --write     and in benchmarks/steps/figures.*
    python benchmarks/step.py --compile --write         against torch.compile of torch's step, in steps/compiled.*

Models by their tensors alone: an MLP of 26k parameters in 6 tensors, ResNet-18 (11.7M in 62), a GPT of 27.6M in 76.
Peers: torch's loop over tensors (single), foreach, and fused where it has one; HeavyBall and pytorch_optimizer where
they have the optimizer; and a bare C++ loop over as many streams of memory. One thread unless --threads says so.
Each round times every peer once, in turn; a process gives the median over rounds of ours / peer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from steps.models import MODELS
from steps.peers import FUSED, OPTIMIZERS, TORCHS, listed, missing, optimizers, peers, shaped
from steps.report import beside_compiled, draw, table
from steps.roofline import bare, streams

import thalweg as tw

HERE = Path(__file__).parent / "steps"
# What the other benchmarks take from here.
__all__ = ["FUSED", "MODELS", "OPTIMIZERS", "listed", "machine", "made", "optimizers", "seconds"]


def made(cls, shapes, device="cpu", **settings):
    """An optimizer after three steps."""
    optimizer = cls(shaped(shapes, device), **settings)
    for _ in range(3):
        optimizer.step()
    return optimizer


def seconds(optimizer, calls: int) -> float:
    return timed(optimizer.step, calls)


def timed(step, calls: int, clock=time.process_time) -> float:
    begun = clock()
    for _ in range(calls):
        step()
    return (clock() - begun) / calls


def measure(name: str, shapes, rounds: int, compiled: bool) -> dict[str, list[float]]:
    """Median seconds of ours, and the median ratio ours / peer for every peer."""
    steps = dict(peers(name, shapes, compiled))
    rule = optimizers()[name].rule
    kept = OPTIMIZERS.get(name, {})
    steps["bare loop"] = bare(*streams(tw.trace(rule, **kept)), shapes)
    elements = sum(torch.Size(shape).numel() for shape in shapes)
    calls = max(1, min(400, 20_000_000 // elements))
    times: dict[str, list[float]] = {peer: [] for peer in steps}
    for _ in range(rounds):
        for peer, step in steps.items():
            slow = times[peer] and times[peer][-1] > 8 * times["ours"][-1]  # once is enough
            times[peer].append(times[peer][-1] if slow else timed(step, calls))
    found = {"seconds": [statistics.median(times["ours"])]}
    for peer, theirs in times.items():
        ratios = [a / b for a, b in zip(times["ours"], theirs, strict=True)]
        if peer == "bare loop":
            found["bare loop / ours"] = [1 / statistics.median(ratios)]
        elif peer != "ours":
            found[f"ours / {peer}"] = [statistics.median(ratios)]
    return found


def cold_seconds() -> tuple[float, float]:
    """Wall and CPU seconds of the first step of a fresh process with an empty cache, the compiler's own included."""
    code = (
        "import resource, time, torch, thalweg as tw\n"
        "who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN\n"
        "spent = lambda: sum(sum(resource.getrusage(each)[:2]) for each in who)\n"
        "p = torch.nn.Parameter(torch.ones(8)); p.grad = torch.ones(8); o = tw.Adam([p], engine='cpu')\n"
        "begun, at = spent(), time.perf_counter(); o.step(); print(time.perf_counter() - at, spent() - begun)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "THALWEG_CACHE": str(Path(folder, "kernels"))}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    wall, cpu = map(float, done.stdout.split())
    return wall, cpu


def two_threads() -> str:
    """Wall seconds of one thread over those of two, on the largest model: the best of some rounds."""
    before = torch.get_num_threads()
    steps = {peer: step for peer, step in peers("Adam", MODELS["gpt"](), False) if peer in ("ours", "fused")}
    best: dict[tuple[str, int], float] = {}
    busy = torch.randn(700, 700)
    for _ in range(7):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for peer, step in steps.items():
                busy @ busy  # torch's own threads have just worked, and may still wait for more
                best[peer, threads] = min(best.get((peer, threads), 1e9), timed(step, 1, time.perf_counter))
    torch.set_num_threads(before)
    told = [f"{peer} {best[peer, 1] / best[peer, 2]:.2f} times as fast" for peer in steps]
    return f"{', '.join(told)} as with one (Adam on gpt, wall time, right after a matrix product of torch's)"


@contextmanager
def multiplying() -> Iterator[list[float]]:
    """While it is open, another thread multiplies matrices with torch; what it gives grows by one for each product."""
    busy, over, done = torch.randn(700, 700), threading.Event(), []

    def products() -> None:
        while not over.is_set():
            busy @ busy
            done.append(time.perf_counter())

    thread = threading.Thread(target=products)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def both_busy(model: str = "gpt", rounds: int = 15) -> str:
    """Median wall time of our step and of torch's fused one, each with two threads: alone, and beside products."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    steps = {peer: step for peer, step in peers("Adam", MODELS[model](), False) if peer in ("ours", "fused")}
    alone, beside, products = ({peer: [] for peer in steps} for _ in range(3))
    for _ in range(rounds):
        for peer, step in steps.items():
            alone[peer].append(timed(step, 1, time.perf_counter))
            with multiplying() as done:
                while not done:  # it has begun
                    time.sleep(0.001)
                count, begun = len(done), time.perf_counter()
                beside[peer].append(timed(step, 5, time.perf_counter))
                products[peer].append((len(done) - count) / (time.perf_counter() - begun))
    torch.set_num_threads(before)
    told = []
    for peer in steps:
        free, taken, rate = (statistics.median(found[peer]) for found in (alone, beside, products))
        told.append(f"{peer} {taken * 1e3:.1f} ms, and {free * 1e3:.1f} ms alone, beside {rate:.0f} products a second")
    ratio = statistics.median(a / b for a, b in zip(beside["ours"], beside["fused"], strict=True))
    return f"{'; '.join(told)}; ours / fused {ratio:.2f} (Adam on {model}, median wall time of a step)"


def beside() -> dict[str, str]:
    """What stands beside the table: one sentence for each measurement of another kind."""
    wall, cpu = map(statistics.median, zip(*(cold_seconds() for _ in range(3)), strict=True))
    told = {
        "First step from a cold cache, a fresh process": f"{wall:.2f} s of wall time, {cpu:.2f} s of CPU time, the "
        "compiler included",
        "Two threads": two_threads(),
        "Two threads, while another thread multiplies matrices with torch": both_busy(),
    }
    compiled = HERE / "compiled.json"
    if compiled.exists():
        told["Against torch.compile of torch's step ([compiled.md](compiled.md))"] = beside_compiled(
            json.loads(compiled.read_text())
        )
    return told


def machine() -> dict[str, object]:
    facts = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in facts if "model name" in line), platform.processor())
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "thalweg": tw.__version__,
        "python": platform.python_version(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=listed(MODELS), default=list(MODELS), help="comma-separated; default: all")
    help_ = "comma-separated; default: all, or with --compile torch's"
    parser.add_argument("--optimizers", type=listed(optimizers()), help=help_)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="repeat everything in fresh processes")
    parser.add_argument("--compile", action="store_true", help="against torch.compile too; without other libraries")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--write", nargs="?", const="", help="write steps/NAME.json, .md and .svg: figures or compiled")
    asked = parser.parse_args()
    asked.optimizers = asked.optimizers or list(TORCHS if asked.compile else optimizers())
    torch.set_num_threads(asked.threads)
    found, load = {"machine": machine(), "figures": {}}, os.getloadavg()[0]
    print("\n".join(missing()), end="")
    for _ in range(asked.processes if asked.processes > 1 else 0):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "figures.json")
            same = [f"--{name}={','.join(getattr(asked, name))}" for name in ("models", "optimizers")]
            same += [f"--{name}={getattr(asked, name)}" for name in ("rounds", "threads")]
            same += ["--compile"] if asked.compile else []
            subprocess.run([sys.executable, __file__, *same, f"--json={file}"], check=True)
            for title, figures in json.loads(file.read_text())["figures"].items():
                merged = found["figures"].setdefault(title, {})
                for name, values in figures.items():
                    merged.setdefault(name, []).extend(values)
    for model in asked.models if asked.processes == 1 else ():
        for name in asked.optimizers:
            figures = measure(name, MODELS[model](), asked.rounds, asked.compile)
            found["figures"][f"{model} {name}"] = figures
            told = "   ".join(f"{key} {values[0]:.2f}" for key, values in figures.items() if key != "seconds")
            print(f"{model:9} {name:9} {figures['seconds'][0] * 1e6:8.1f} µs   {told}", flush=True)
    if asked.write is not None:
        name = asked.write or ("compiled" if asked.compile else "figures")
        found["beside"] = {} if asked.compile else beside()
        found["beside"]["Load of the machine's cores"] = f"{load:.1f} before, {os.getloadavg()[0]:.1f} after"
        (HERE / f"{name}.md").write_text(table(found))
        draw(found, HERE / f"{name}.svg")
        asked.json = asked.json or HERE / f"{name}.json"
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
