"""Successive halving: who goes on from a rung, and what it costs."""

import collections
import math
from dataclasses import replace

import numpy as np
import pytest

from test_lab_protocol import answered, plan, played, space, valley
from thalweg.lab import budget as budgets
from thalweg.lab.budget import Budget
from thalweg.lab.plan import Findings, Trial
from thalweg.lab.run import Point, Run
from thalweg.lab.search import kept, rung, value_at


def legs_of(stages, name="a"):
    """How many trials of an optimizer ran to which step, stage by stage of the search."""
    return [(stage[0].until, sum(t.optimizer == name for t in stage)) for stage in stages if stage[0].phase == "search"]


def far_apart(trial):
    """As a valley, without noise: nobody is near a cut."""
    return valley(trial, spread=0.0)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("quick", [(34, 9), (None, 3)]),
        ("standard", [(12, 27), (34, 9), (None, 3)]),
        ("thorough", [(12, 81), (34, 27), (None, 9)]),
    ],
)
def test_a_third_goes_on_from_every_rung(preset, expected):
    stages, findings = played(plan("ab", preset), far_apart)
    assert legs_of(stages) == legs_of(stages, "b") == expected
    ledger = budgets.ledger("ab", findings.done)
    work = plan("ab", preset).budget.work(2)
    spent = sum(own["total_steps"] for own in ledger.values()) / 100
    assert work[0] - 1.5 <= spent <= work[1] + 1.5  # rungs of 100 steps are rounded up
    assert ledger["a"]["search_steps"] == ledger["b"]["search_steps"]
    assert ledger["a"]["full_search_runs"] == 1 + expected[-1][1] >= 3


def test_the_table_of_costs():
    # LAB's arithmetic: 8 (1 + n .26) + 3 + 4 (4 + 5) + 2 x 5 runs and so on, here without the noise band
    assert Budget("mine", 27, 4, (5, 10))._halved(27, 1 / 3) == pytest.approx(27 * (1 / 9 + 2 / 27 + 2 / 27))
    assert Budget("mine", 9, 2, (5,), rungs=1)._halved(9, 1 / 3) == pytest.approx(5.0)
    assert Budget("mine", 9, 2, (5,), rungs=0)._halved(9, 1 / 3) == 9


def test_nobody_is_pruned_when_told_so():
    stages, findings = played(replace(plan("ab"), budget=replace(budgets.PRESETS["standard"], rungs=0)), far_apart)
    assert legs_of(stages) == [(None, 27)]
    assert not any(t.until for t, _ in findings.done)


def test_the_kept_are_the_best_at_the_rung_and_go_on_with_their_own_schedule():
    stages, _ = played(plan("ab", "standard"), far_apart)
    first, second, last = (stage for stage in stages if stage[0].phase == "search")
    for shorter, longer in ((first, second), (second, last)):
        for name in "ab":
            scores = sorted((far_apart(t), t.hyper) for t in shorter if t.optimizer == name)
            assert {t.hyper for t in longer if t.optimizer == name} == {h for _, h in scores[: len(scores) // 3]}
    assert {t.steps for stage in (first, second, last) for t in stage} == {100}


def test_runs_within_a_seeds_spread_of_the_cut_are_kept_and_all_keep_the_same_number():
    # a: four runs stand within .1 of its third best; b: nobody near its own cut; the spread at the rung is .1
    values = {"a": [1, 2, 3, 3.05, 3.1, 5, 6, 7, 8], "b": [1, 2, 3, 4, 5, 6, 7, 8, 9]}
    tried = plan("ab")
    legs = {
        name: [replace(tried.trial(name, {"lr": 0.1 * (i + 1)}, "search"), until=34) for i in range(9)] for name in "ab"
    }
    findings = Findings(dict_done(legs, values))
    noise = [tried.trial("a", {"lr": 0.1}, "noise", i) for i in range(3)]
    findings.done += [(t, flat(v)) for t, v in zip(noise, (0, 0.1, 0.2), strict=True)]
    gone_on = kept(tried, findings, legs, 2)
    assert [len(trials) for trials in gone_on.values()] == [5, 5]
    assert [dict(t.hyper)["lr"] for t in gone_on["b"]] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert all(t.until is None for t in gone_on["a"])
    findings.done[-3:] = [(t, flat(v)) for t, v in zip(noise, (0, 3, 6), strict=True)]
    assert [len(trials) for trials in kept(tried, findings, legs, 2).values()] == [5, 5]  # never more than half


def flat(value):
    """A run that has this metric from its first step to its last."""
    return Run(value, (Point(0, 1.0, value), Point(100, 1.0, value)), 0.1, 100)


def dict_done(legs, values):
    return [(t, answered(v)) for name in legs for t, v in zip(legs[name], values[name], strict=True)]


def test_optimizers_are_never_compared_at_a_rung():
    def slow(trial):  # b is hopeless until its end, where it is the best
        value = far_apart(trial)
        return value if trial.optimizer == "a" else value + (100 if trial.until else -1)

    stages, findings = played(plan("ab", "standard"), slow)
    assert legs_of(stages, "a") == legs_of(stages, "b")
    assert findings.decision.leader == "b"


def test_what_divergence_saves_goes_to_further_points_of_the_same_optimizer():
    def answer(trial):  # most of a's range diverges at once
        return None if trial.optimizer == "a" and dict(trial.hyper)["lr"] > 2e-4 else far_apart(trial)

    flat = replace(plan("ab", "standard"), spaces={name: replace(space(27), opened=1) for name in "ab"})
    stages, findings = played(flat, answer)
    assert legs_of(stages)[-1] != legs_of(stages, "b")[-1]
    ledger = budgets.ledger("ab", findings.done)
    assert abs(ledger["a"]["search_steps"] - ledger["b"]["search_steps"]) < 100
    assert ledger["a"]["search_runs"] > ledger["b"]["search_runs"] == 28 or findings.edges
    tried = collections.Counter(t.hyper for t, _ in findings.tried("a", "search"))
    assert set(tried.values()) == {1}


def test_a_curve_is_read_between_its_points():
    run = Run(3.0, (Point(0, 1.0, 1.0), Point(10, 1.0, 2.0), Point(20, 1.0, 3.0)), 0.1, 20)
    assert [value_at(run, step) for step in (0, 5, 10, 15, 20)] == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert value_at(run, 21) is None


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
def test_rungs_rise(steps):
    assert 1 <= rung(steps, 2) <= rung(steps, 1) <= steps
    assert rung(steps, 1) == math.ceil(steps / 3)


def test_one_full_run_is_one_run_whatever_its_legs():
    whole = Trial("a", (("lr", 0.1),), 0, 90, "selects", "constant", "search")
    done = [(replace(whole, until=until), answered(1.0)) for until in (10, 30, None)]
    own = budgets.ledger("a", done)["a"]
    assert (own["search_runs"], own["full_search_runs"], own["search_steps"]) == (1, 1, 90)
    assert [t.until for t, _ in Findings(done).tried("a", "search")] == [None]
    assert Findings(done[:2]).best("a", "min") is None


def test_a_model_places_the_last_third_of_many_points():
    pytest.importorskip("optuna")
    with_model = replace(plan("ab"), budget=replace(budgets.PRESETS["standard"], model=True))
    with_model = replace(with_model, spaces={name: space(27) for name in "ab"})

    def answer(trial):
        value = far_apart(trial)
        return None if dict(trial.hyper)["lr"] > 0.5 else value

    stages, findings = played(with_model, answer)
    firsts = [stage for stage in stages if stage[0].phase == "search" and stage[0].until == 12]
    assert [len(stage) for stage in firsts] == [36, 18]
    assert [t for s in played(with_model, answer)[0] for t in s] == [t for s in stages for t in s]
    ledger = budgets.ledger("ab", findings.done)
    assert abs(ledger["a"]["search_steps"] - ledger["b"]["search_steps"]) < 100

    # neither the model's points nor the defaults are evenly spread
    spread = [t.setting for t, _ in findings.evenly_spread("a", with_model)]
    assert spread == [t.setting for t in firsts[0] if t.optimizer == "a"]

    # it looks where it was good: nearer to the best lr than the same number of quasi-random points
    def distance(trials):
        return np.median([abs(math.log10(dict(t.hyper)["lr"] / 0.01)) for t in trials])

    assert distance([t for stage in firsts[1:] for t in stage]) < distance(firsts[0])
