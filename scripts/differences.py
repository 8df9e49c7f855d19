"""Print how far every class is from its namesake in torch.optim: the table of largest relative differences.

    PYTHONPATH=src python scripts/differences.py

The settings are those of tests/test_optimizer_torch.py (tests/torch_cases.py makes them for both): 300 float64
steps each, max |p - q| / max |q| per tensor, looked at every 20 steps.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import torch  # noqa: E402

from torch_cases import PAIRS, STEPS, cases, difference, walk  # noqa: E402


def main() -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # torch keeps NAdam's scalars in it
    print(f"| class | torch.optim | settings | largest difference, {STEPS} steps: the rule itself | compiled |")
    print("|---|---|---|---|---|")
    for name, (theirs, extra) in PAIRS.items():
        found: dict[str, list[tuple[float, str]]] = {"eager": [], "auto": []}
        for case in cases(name):
            path = walk(case, theirs=True)
            for engine, differences in found.items():
                os.environ["THALWEG_ENGINE"] = engine
                differences.append((difference(walk(case, theirs=False), path), case.label))
        worst = [max(pairs, key=lambda pair: (pair[0] != pair[0], pair[0])) for pairs in found.values()]
        shown = " | ".join(f"{value:.1e} ({label})" for value, label in worst)
        namesake = theirs + "".join(f", {k}={v}" for k, v in extra.items())
        print(f"| {name} | {namesake} | {len(found['eager'])} | {shown} |")


if __name__ == "__main__":
    main()
