"""Would a proven setting from elsewhere be a good first point of a search? The best of it with and without.

    python benchmarks/portfolio.py            # prints what it gains

AdamW gets its defaults and nine points of the search, as with the budget "quick"; or, for the last of these points,
the setting of NAdamW that AlgoPerf's baselines and many of its submissions start from, found on its large workloads: as
many runs. What counts is the best mean over seeds, in standard deviations between seeds.
"""

from __future__ import annotations

import argparse
import math
import platform

import torch

from thalweg import workloads
from thalweg.card import card_of
from thalweg.lab import statistics
from thalweg.lab.arithmetic import settled
from thalweg.lab.candidates import candidates
from thalweg.lab.space import Space, points
from thalweg.lab.train import train
from thalweg.rules import find

TASKS = {"digits": 500, "mnist1d": 300, "breast_cancer": 100}
PROVEN = {"lr": 0.0017486, "beta1": 0.93266, "beta2": 0.995516, "weight_decay": 0.081216}, "warmup_cosine(warmup=0.02)"
POINTS = 9


def main() -> None:
    """Train everything, and print the best of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    adamw, card = candidates("adamw,sgd")[0], card_of(find("adamw"))
    assert card is not None
    searched = Space({"lr": card.search["lr"]}, {"lr": 1e-3})
    usual = "warmup_cosine"
    tried = [({"lr": 1e-3}, usual), *((searched.at(point), usual) for point in points(POINTS)), PROVEN]
    print(f"{platform.platform()}, torch {torch.__version__}, {seeds} seeds")
    for name, steps in TASKS.items():
        task = workloads.load(name, held_out=True) if name == "breast_cancer" else workloads.load(name)
        values = []
        with settled():
            for hyper, schedule in tried:
                runs = [train(task, adamw.configure(hyper, schedule), seed=s, steps=steps) for s in range(seeds)]
                values.append([math.nan if run.final is None else run.final for run in runs])
        sign = 1 if task.mode == "min" else -1
        means = [math.inf if any(map(math.isnan, own)) else sign * statistics.mean(own) for own in values]
        *searched_ones, last, proven = means
        spread, plain = statistics.sd(values[means.index(min(means))]), min(*searched_ones, last)
        gain = (plain - min(*searched_ones, proven)) / spread
        print(
            f"{name}: default {sign * means[0]:.4g}, proven {sign * proven:.4g}, best of the search {sign * plain:.4g}"
        )
        print(f"  gained by trying the proven one instead of the last point: {gain:+.2f} seed-sd", flush=True)


if __name__ == "__main__":
    main()
