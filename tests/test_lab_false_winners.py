"""The protocol against recorded runs of one optimizer under several names, and its power; small, of benchmarks/."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import false_winners


@pytest.mark.parametrize("names", ["ab", "abcdefgh"])
@pytest.mark.parametrize("budget", false_winners.BUDGETS)
def test_equals_rarely_win(names, budget):
    repeats = 200
    shares = false_winners.false_winners("digits", names, false_winners.BUDGETS[budget], repeats, seed=1)
    assert shares.get("winner", 0.0) <= 0.05 + 2 * (0.05 * 0.95 / repeats) ** 0.5


def test_names_share_no_run():
    import numpy as np

    answer, _ = false_winners.equals("digits", "abcdefgh", np.random.default_rng(0))
    rows = [row for own in answer.rates.values() for row in own]
    assert len(set(rows)) == len(rows) == 8 * false_winners.STRATA


def test_a_difference_of_twelve_tenths_is_found():
    repeats = 200
    found = false_winners.power("ab", 0.0, repeats, seed=1)
    assert found["found"] >= 0.8 - 2 * (0.8 * 0.2 / repeats) ** 0.5
    assert found["detectable at the last look"] < false_winners.EFFECT
    paired = false_winners.power("ab", 0.8, repeats // 4, seed=1)
    assert paired["detectable at the last look"] < found["detectable at the last look"]
    assert paired["found"] >= 0.95


def test_power_is_nothing_without_a_difference():
    assert false_winners.power("ab", 0.0, 200, effect=0.0)["found"] <= 0.05
