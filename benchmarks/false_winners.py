"""How often does the protocol name a winner among equals, and how often does it find a difference that is there?

    python benchmarks/false_winners.py                  # both, from the recorded runs
    python benchmarks/recorded/record.py mnist1d        # train another pool of them

**False winners.** One optimizer, AdamW, goes in under two (or eight) names. The names draw disjoint recorded runs:
other seeds, and other search points, for every name turns the sequence by a share of the lr's range that it draws. The
whole protocol runs on them, pruning, promotion, choice and looks included; whenever it says "winner", or calls some
rival beaten, it is wrong. To reach: at most 5 % of 5,000 resamples. Five pools of recorded runs: digits, quadratic_deep
and breast_cancer, on which the protocol's guard against the luck of the search was chosen, mnist1d, and mnist1d_loss,
which was recorded when the guard stood. On quadratic_deep the best lr lies at the end of what is recorded; on
breast_cancer the half that selects is at its best where the half that reports has a slope.

**Power.** Two optimizers (or more) whose true means differ by 1.2 standard deviations between seeds, 20 fresh seeds.
To reach: at least 80 % found against two rivals. Printed by number of rivals and by the correlation of paired seeds,
beside the difference that `statistics.detectable` promises to find in 80 %; then for settings that matter, where the
luck of the search is taken off and so larger differences are needed.

The protocol is a generator that asks for trials; here they are looked up, in microseconds.
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from thalweg import rules
from thalweg.card import Log, Range, card_of
from thalweg.lab import statistics
from thalweg.lab.budget import PRESETS, Budget
from thalweg.lab.plan import Findings, Plan, Trial
from thalweg.lab.protocol import protocol
from thalweg.lab.run import Point, Run
from thalweg.lab.search import rung
from thalweg.lab.space import Space
from thalweg.lab.statistics import Mode

RECORDED = Path(__file__).with_name("recorded")
POOLS = {  # and their most names
    "digits": "abcdefgh",
    "quadratic_deep": "abcd",
    "breast_cancer": "abcd",
    "mnist1d": "abcd",
    "mnist1d_loss": "abcd",
}
STEPS = 60  # of the runs that are made up
BUDGETS = {
    "quick": PRESETS["quick"],
    "three looks": Budget("three looks", points=9, promoted=4, looks=(5, 10, 20), rungs=1),
}
POWER = Budget("power", points=9, promoted=4, looks=(5, 10, 20), rungs=1)
EFFECT = 1.2
BEATEN = "some rival is beaten"
NAMED = ("ab", "abc", "abcd", "abcdefgh")


@functools.cache
def axis() -> Range:
    """AdamW's range of learning rates."""
    card = card_of(rules.find("adamw"))
    assert card is not None
    return card.search["lr"]


# ---- false winners


@dataclass(frozen=True)
class Pool:
    """Recorded runs of AdamW.

    Attributes:
        values: (lrs, seeds, 4): the metric at the start, the rung and the end, and at the end on the other half.
        mode: which way it is better.
        steps: the horizon.
        axis: along which the lrs are spread evenly.
        strata: parts of the axis; every name owns one of the lrs in each, so that no two share one.
    """

    values: np.ndarray
    mode: Mode
    steps: int
    axis: Log
    strata: int

    @classmethod
    @functools.cache
    def read(cls, name: str) -> Pool:
        """From its file."""
        kept = np.load(RECORDED / f"adamw_{name}.npz")
        axis = Log(float(kept["low"]), float(kept["high"]))
        return cls(kept["values"], str(kept["mode"]), int(kept["steps"]), axis, int(kept["strata"]))  # type: ignore[arg-type]


@dataclass
class Equals:
    """Answers trials of several names with recorded runs of one optimizer, no run for two names."""

    pool: Pool
    rates: Mapping[str, np.ndarray]
    seeds: Mapping[str, np.ndarray]
    placed: dict[str, dict] = field(default_factory=lambda: collections.defaultdict(dict))
    numbers: dict[str, dict] = field(default_factory=lambda: collections.defaultdict(dict))

    def __call__(self, trial: Trial) -> Run:
        """The recorded run of this name that is nearest to what was asked for and not taken."""
        pool, placed, numbers = self.pool, self.placed[trial.optimizer], self.numbers[trial.optimizer]
        if trial.hyper not in placed:
            u = pool.axis.where(dict(trial.hyper)["lr"])
            free = set(range(pool.strata)) - set(placed.values())
            placed[trial.hyper] = min(free, key=lambda j: abs((j + 0.5) / pool.strata - u))
        number = numbers.setdefault(trial.seed, len(numbers))
        row, seed = self.rates[trial.optimizer][placed[trial.hyper]], self.seeds[trial.optimizer][number]
        start, early, late, reports = (None if np.isnan(v) else float(v) for v in pool.values[row, seed])
        curve = [Point(0, 1.0, start), Point(rung(pool.steps, 1), 1.0, early)]
        final = early if trial.until else reports if trial.data == "reports" else late
        if trial.until is None:
            curve.append(Point(pool.steps, 1.0, final))
        why = "it diverged" if final is None else None
        return Run(final, tuple(curve), 0.0, trial.end, why, reported=reports if trial.phase == "choice" else None)


@dataclass(frozen=True)
class Turned(Space):
    """A space of which other points are searched: turned by a share of the lr's range, which they cover as well."""

    turn: float = 0.0

    def at(self, point: tuple[float, ...]) -> dict[str, float]:
        """The hyper-parameters at a point of [0, 1]^d."""
        return super().at(((point[0] + self.turn) % 1.0, *point[1:]))

    def beyond(self, point: tuple[float, ...]) -> dict[str, float]:
        """The hyper-parameters at a point in the decade that was added."""
        return super().beyond(((point[0] + self.turn) % 1.0, *point[1:]))


def equals(pool: Pool, names: str, random: np.random.Generator) -> Equals:
    """Deal the recorded runs of a pool to names."""
    rates, seeds = pool.values.shape[:2]
    each = rates // pool.strata
    dealt = np.stack([each * j + random.permutation(each)[: len(names)] for j in range(pool.strata)], axis=1)
    return Equals(pool, dict(zip(names, dealt, strict=True)), {name: random.permutation(seeds) for name in names})


def false_winners(pool: str, names: str, budget: Budget, resamples: int, seed: int = 0) -> dict[str, float]:
    """The share of each outcome where nobody is better, and of those in which some rival is called beaten."""
    outcomes: collections.Counter[str] = collections.Counter()
    runs = Pool.read(pool)
    for i in range(resamples):
        random = np.random.default_rng([seed, i])
        answer = equals(runs, names, random)
        spaces = {name: Turned({"lr": axis()}, {"lr": 1e-3}, 1, turn=random.uniform()) for name in names}
        plan = Plan(spaces, budget, runs.mode, runs.steps)
        decision = played(plan, answer).decision
        assert decision is not None
        outcomes[decision.outcome] += 1
        outcomes[BEATEN] += any(c.verdict == "better" for c in decision.comparisons)
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
            return Run(final, curve, 0.0, trial.end, reported=final if trial.phase == "choice" else None)

        plan = Plan({name: Space({"lr": axis()}, {"lr": 1e-3}, 1) for name in names}, POWER, "min", STEPS)
        decision = played(plan, answer).decision
        assert decision is not None
        won += decision.outcome == "winner" and decision.leader == names[0]
    n, alpha = POWER.looks[-1], POWER.alphas[-1]
    rivals = len(names) - 1
    pairs = math.comb(min(rivals + 1, POWER.promoted), 2)
    seen = statistics.detectable((2 * (1 - correlation)) ** 0.5, n, alpha / pairs)
    asked = {"rivals": rivals, "correlation": correlation, "effect": effect, "sharpness": sharpness}
    return {**asked, "found": won / resamples, "detectable at the last look": seen}


def main() -> None:
    """Print both, and write them with the machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=5000, help="of power, two fifths of them")
    parser.add_argument("--pools", nargs="*", default=POOLS)
    parser.add_argument("--power", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, help="a file whose entries are replaced, one by one")
    options = parser.parse_args()
    fewer = max(1, 2 * options.resamples // 5)

    def keep(kind: str, key: dict, found: dict) -> None:
        print(key, found, flush=True)
        if options.out:
            kept = json.loads(options.out.read_text()) if options.out.exists() else {}
            others = [entry for entry in kept.get(kind, []) if any(entry[name] != key[name] for name in key)]
            kept = {**kept, "machine": platform.platform(), kind: [*others, {**key, **found}]}
            options.out.write_text(json.dumps(kept, indent=1) + "\n")

    for pool in options.pools:
        for names in ("ab", POOLS[pool]):
            for budget in BUDGETS.values():
                shares = false_winners(pool, names, budget, options.resamples)
                key = {"pool": pool, "names": len(names), "budget": budget.preset}
                keep("false winners", key, {"resamples": options.resamples, **shares})
    cases = [(names, correlation, EFFECT, 0.0) for names in NAMED for correlation in (0.0, 0.5, 0.8)]
    cases += [(names, 0.0, effect, 1.0) for names in ("ab", "abc") for effect in (1.2, 2.0, 3.0)]
    for case in cases if options.power else ():
        found = power(case[0], case[1], fewer, effect=case[2], sharpness=case[3])
        key = {name: found.pop(name) for name in ("rivals", "correlation", "effect", "sharpness")}
        keep("power", key, {"resamples": fewer, **found})


if __name__ == "__main__":
    main()
