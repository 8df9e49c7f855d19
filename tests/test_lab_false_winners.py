"""The protocol against recorded runs of one optimizer under several names, and its power; small, of benchmarks/."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import false_winners

from thalweg.lab import protocol


@pytest.mark.parametrize("pool", false_winners.POOLS)
@pytest.mark.parametrize("budget", false_winners.BUDGETS)
def test_equals_rarely_win(pool, budget):
    repeats = 100
    shares = false_winners.false_winners(pool, "ab", false_winners.BUDGETS[budget], repeats, seed=1)
    assert shares.get("winner", 0.0) <= 0.05 + 2 * (0.05 * 0.95 / repeats) ** 0.5


@pytest.mark.parametrize("pool", ["digits", "mnist1d"])
def test_none_of_several_equals_is_called_worse_more_often(pool):
    repeats = 60
    names, budget = false_winners.POOLS[pool], false_winners.BUDGETS["three looks"]
    shares = false_winners.false_winners(pool, names, budget, repeats, seed=1)
    assert shares[false_winners.BEATEN] <= 0.05 + 2 * (0.05 * 0.95 / repeats) ** 0.5


def test_without_the_half_that_reports_equals_win_where_it_has_a_slope(monkeypatch):
    monkeypatch.setattr(protocol, "_reported_apart", lambda findings, name: 0.0)
    budget, repeats = false_winners.BUDGETS["three looks"], 200
    without = false_winners.false_winners("breast_cancer", "ab", budget, repeats)["winner"]
    monkeypatch.undo()
    assert without > 0.02 + false_winners.false_winners("breast_cancer", "ab", budget, repeats)["winner"]


def test_names_share_no_run():
    import numpy as np

    pool = false_winners.Pool.read("digits")
    answer = false_winners.equals(pool, "abcdefgh", np.random.default_rng(0))
    rows = [row for own in answer.rates.values() for row in own]
    assert len(set(rows)) == len(rows) == 8 * pool.strata


def test_without_the_guard_equals_win_where_their_best_lies_at_an_edge(monkeypatch):
    monkeypatch.setattr(protocol, "search_lucks", lambda plan, findings: {})
    shares = false_winners.false_winners("quadratic_deep", "ab", false_winners.BUDGETS["quick"], 20, seed=1)
    assert shares["winner"] > 0.5


def test_a_difference_of_twelve_tenths_is_found():
    repeats = 200
    found = false_winners.power("ab", 0.0, repeats, seed=1)
    assert found["found"] >= 0.8 - 2 * (0.8 * 0.2 / repeats) ** 0.5
    assert found["detectable at the last look"] < false_winners.EFFECT
    two_rivals = false_winners.power("abc", 0.0, repeats, seed=1)
    assert two_rivals["found"] >= 0.8 - 2 * (0.8 * 0.2 / repeats) ** 0.5
    paired = false_winners.power("ab", 0.8, repeats // 4, seed=1)
    assert paired["detectable at the last look"] < found["detectable at the last look"]
    assert paired["found"] >= 0.95


def test_power_is_nothing_without_a_difference():
    assert false_winners.power("ab", 0.0, 200, effect=0.0)["found"] <= 0.05
