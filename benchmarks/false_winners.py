"""How often does the protocol name a winner among equals, and how often does it find a difference that is there?

    python benchmarks/false_winners.py                  # both, from the recorded runs
    python benchmarks/false_winners.py --record digits  # train the recorded runs anew

**False winners.** One optimizer, AdamW, goes in under two (or eight) names. The names draw disjoint recorded runs:
other search points, other seeds. The whole protocol runs on them, pruning, promotion, choice and looks included;
whenever it says "winner", it is wrong. To reach: at most 5 % of 5,000 resamples.

**Power.** Two optimizers (or more) whose true means differ by 1.2 standard deviations between seeds, 20 fresh seeds.
To reach: at least 80 % found. Printed by number of rivals and by the correlation of paired seeds, beside the
difference that `statistics.detectable` promises to find in 80 %.

The protocol is a generator that asks for trials; here they are looked up, in microseconds.
"""

from __future__ import annotations

import argparse
import collections
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from thalweg import rules, workloads
from thalweg.card import Range, card_of
from thalweg.lab import statistics
from thalweg.lab.budget import PRESETS, Budget
from thalweg.lab.plan import Findings, Plan, Trial
from thalweg.lab.protocol import protocol
from thalweg.lab.search import rung
from thalweg.lab.space import Space
from thalweg.lab.train import Point, Run

RECORDED = Path(__file__).with_name("recorded")
POOLS = ("digits",)
RATES, SEEDS, STEPS = 128, 34, 60
STRATA = 14  # of the range of lr; every name owns one of the nine rates in each, so that no two share one
PER_STRATUM = RATES // STRATA
BUDGETS = {
    "quick": PRESETS["quick"],
    "three looks": Budget("three looks", points=9, promoted=4, looks=(5, 10, 20), rungs=1),
}
POWER = Budget("power", points=9, promoted=4, looks=(5, 10, 20), rungs=1)
EFFECT = 1.2


def axis() -> Range:
    """AdamW's range of learning rates."""
    card = card_of(rules.find("adamw"))
    assert card is not None
    return card.search["lr"]


def record(name: str) -> None:
    """Train every learning rate at every seed; keep the metric at the start, the rung and the end, on both halves."""
    import torch

    from thalweg.lab.candidates import candidates
    from thalweg.lab.train import Training, measure

    torch.set_num_threads(1)
    task, adamw = workloads.load(name), candidates("adamw,sgd")[0]
    values = np.full((RATES, SEEDS, 4), np.nan)
    for i in range(RATES):
        for seed in range(SEEDS):
            configure = adamw.configure({"lr": axis().at((i + 0.5) / RATES)}, "warmup_cosine")
            training = Training(task, configure, seed=seed, steps=STEPS)
            training.advance(rung(STEPS, 1))
            early = training.run()
            training.advance()
            late = training.run()
            reports = None if late.diverged else measure(task, training.model, task.reports)
            found = (late.curve[0].metric, early.final, late.final, reports)
            values[i, seed] = [np.nan if v is None else v for v in found]
    RECORDED.mkdir(exist_ok=True)
    np.savez_compressed(RECORDED / f"adamw_{name}.npz", values=values.astype(np.float32), mode=task.mode)


# ---- false winners


@dataclass
class Equals:
    """Answers trials of several names with recorded runs of one optimizer, no run for two names."""

    values: np.ndarray
    rates: Mapping[str, np.ndarray]
    seeds: Mapping[str, np.ndarray]
    placed: dict[str, dict] = field(default_factory=lambda: collections.defaultdict(dict))
    numbers: dict[str, dict] = field(default_factory=lambda: collections.defaultdict(dict))

    def __call__(self, trial: Trial) -> Run:
        """The recorded run of this name that is nearest to what was asked for and not taken."""
        placed, numbers = self.placed[trial.optimizer], self.numbers[trial.optimizer]
        if trial.hyper not in placed:
            u = axis().where(dict(trial.hyper)["lr"])
            free = set(range(STRATA)) - set(placed.values())
            placed[trial.hyper] = min(free, key=lambda j: abs((j + 0.5) / STRATA - u))
        number = numbers.setdefault(trial.seed, len(numbers))
        row, seed = self.rates[trial.optimizer][placed[trial.hyper]], self.seeds[trial.optimizer][number]
        start, early, late, reports = (None if np.isnan(v) else float(v) for v in self.values[row, seed])
        curve = [Point(0, 1.0, start), Point(rung(STEPS, 1), 1.0, early)]
        final = early if trial.until else reports if trial.data == "reports" else late
        if trial.until is None:
            curve.append(Point(STEPS, 1.0, final))
        return Run(final, tuple(curve), 0.0, trial.end, "it diverged" if final is None else None)


def equals(pool: str, names: str, random: np.random.Generator) -> tuple[Equals, str]:
    """Deal the recorded runs of a pool to names."""
    stored = np.load(RECORDED / f"adamw_{pool}.npz")
    dealt = np.stack([PER_STRATUM * j + random.permutation(PER_STRATUM)[: len(names)] for j in range(STRATA)], axis=1)
    seeds = {name: random.permutation(SEEDS) for name in names}
    return Equals(stored["values"], dict(zip(names, dealt, strict=True)), seeds), str(stored["mode"])


def false_winners(pool: str, names: str, budget: Budget, resamples: int, seed: int = 0) -> dict[str, float]:
    """The share of each outcome where nobody is better."""
    outcomes: collections.Counter[str] = collections.Counter()
    for i in range(resamples):
        answer, mode = equals(pool, names, np.random.default_rng([seed, i]))
        spaces = {name: Space({"lr": axis()}, {"lr": 1e-3}, 1) for name in names}
        plan = Plan(spaces, budget, "max" if mode == "max" else "min", STEPS)
        outcomes[played(plan, answer).decision.outcome] += 1  # type: ignore[union-attr]
    return {outcome: count / resamples for outcome, count in sorted(outcomes.items())}


def played(plan: Plan, answer: Callable[[Trial], Run]) -> Findings:
    """What the protocol finds when its trials are answered so."""
    findings = Findings()
    for trials in protocol(plan, findings):
        findings.done += [(trial, answer(trial)) for trial in trials]
    return findings


# ---- power


def power(
    names: str, correlation: float, resamples: int, seed: int = 0, effect: float = EFFECT, sharpness: float = 0.0
) -> dict[str, float]:
    """The share of comparisons in which the first name, better by `effect` seed-sd, is found to be the winner.

    `sharpness`: how many seed-sd a decade of lr away from the best costs. 0: settings do not matter, so that seeds are
    all that stands between the truth and the verdict.
    """
    won = 0
    for i in range(resamples):
        shared = np.random.default_rng([seed, i])
        by_seed: dict[int, float] = {}

        def answer(trial: Trial, shared=shared, by_seed=by_seed) -> Run:
            common = by_seed.setdefault(trial.seed, shared.normal())
            noise = correlation**0.5 * common + (1 - correlation) ** 0.5 * shared.normal()
            far = (np.log10(dict(trial.hyper)["lr"]) + 3) ** 2  # the best lr is in the middle, for all the same
            final = float(noise + sharpness * far + effect * (trial.optimizer != names[0]))
            curve = (Point(0, 1.0, 100.0), Point(rung(STEPS, 1), 1.0, final), Point(STEPS, 1.0, final))
            return Run(final, curve, 0.0, trial.end)

        plan = Plan({name: Space({"lr": axis()}, {"lr": 1e-3}, 1) for name in names}, POWER, "min", STEPS)
        decision = played(plan, answer).decision
        assert decision is not None
        won += decision.outcome == "winner" and decision.leader == names[0]
    n, alpha = POWER.looks[-1], POWER.alphas[-1]
    rivals = len(names) - 1
    seen = statistics.detectable((2 * (1 - correlation)) ** 0.5, n, alpha / min(rivals, POWER.promoted - 1))
    return {"rivals": rivals, "correlation": correlation, "found": won / resamples, "detectable at the last look": seen}


def main() -> None:
    """Print both, and write them with the machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", metavar="WORKLOAD")
    parser.add_argument("--resamples", type=int, default=5000)
    parser.add_argument("--pools", nargs="*", default=POOLS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.record:
        return record(options.record)
    found: dict = {"resamples": options.resamples, "machine": platform.platform(), "false winners": [], "power": []}
    for pool in options.pools:
        for names in ("ab", "abcdefgh"):
            for budget in BUDGETS.values():
                shares = false_winners(pool, names, budget, options.resamples)
                found["false winners"].append({"pool": pool, "names": len(names), "budget": budget.preset, **shares})
                print(found["false winners"][-1], flush=True)
    for names in ("ab", "abc", "abcdefgh"):
        for correlation in (0.0, 0.5, 0.8):
            found["power"].append(power(names, correlation, max(1, options.resamples // 5)))
            print(found["power"][-1], flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
