"""The decision: winner, tie and undecided where they are due, and not more often than promised."""

import numpy as np
import pytest
from scipy import stats

from thalweg.lab.decide import decide


def by_seed(*values, first=300):
    return {first + i: v for i, v in enumerate(values)}


def test_a_clear_difference_is_a_winner_with_scipys_interval():
    a, b = [0.90, 0.91, 0.92, 0.90, 0.93], [0.80, 0.79, 0.83, 0.80, 0.81]
    decision = decide({"a": by_seed(*a), "b": by_seed(*b)}, mode="max", alpha=0.05)
    expected = stats.ttest_rel(a, b)
    (against,) = decision.comparisons
    assert (decision.outcome, decision.leader, decision.recommended, decision.n) == ("winner", "a", "a", 5)
    assert (against.rival, against.verdict) == ("b", "better")
    assert against.p_adjusted == against.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (against.low, against.high) == pytest.approx((interval.low, interval.high))
    assert decision.seed_sd == pytest.approx(np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2))
    assert decision.margin == decision.seed_sd / 2


def test_mode_min_turns_it_round():
    values = {"a": by_seed(0.90, 0.91, 0.92), "b": by_seed(0.80, 0.79, 0.83)}
    decision = decide(values, mode="min", alpha=0.05)
    assert decision.leader == "b"
    assert decision.comparisons[0].difference < 0


def test_noise_is_undecided():
    values = {"a": by_seed(1.0, 3.0, 2.0, 5.0), "b": by_seed(2.0, 2.5, 2.0, 4.0)}
    assert decide(values, mode="min", alpha=0.05).outcome == "undecided"


def test_a_difference_known_to_be_small_is_a_tie_and_the_cheap_one_is_recommended():
    values = {"a": by_seed(1.0, 3.0, 2.0, 5.0), "b": by_seed(1.01, 3.0, 2.01, 5.02)}
    decision = decide(values, mode="min", alpha=0.05, preference=["b", "a"])
    assert (decision.outcome, decision.leader, decision.recommended) == ("practical tie", "a", "b")
    strict = decide(values, mode="min", alpha=0.05, margin=0.001)
    assert strict.outcome == "undecided"


def test_a_tie_with_one_and_a_win_over_another():
    values = {
        "a": by_seed(1.0, 3.0, 2.0, 5.0),
        "b": by_seed(1.01, 3.0, 2.01, 5.02),
        "c": by_seed(11.0, 13.0, 12.1, 15.0),
    }
    decision = decide(values, mode="min", alpha=0.05, preference=["c", "b", "a"])
    assert decision.outcome == "practical tie"
    assert decision.recommended == "b"  # c is cheaper, and beaten
    assert {c.rival: c.verdict for c in decision.comparisons} == {"b": "tie", "c": "better"}


def test_one_grain_in_every_seed_is_no_winner():
    a, b = by_seed(*[290 / 300] * 5), by_seed(*[289 / 300] * 5)
    decision = decide({"a": a, "b": b}, mode="max", alpha=0.05)
    (against,) = decision.comparisons
    assert decision.outcome == "undecided"
    assert against.low < 0 < against.high
    assert decision.smallest_detectable_difference > 0


def test_equal_everywhere_is_a_tie():
    values = {"a": by_seed(1.0, 1.0, 1.0), "b": by_seed(1.0, 1.0, 1.0)}
    assert decide(values, mode="max", alpha=0.05).outcome == "practical tie"


def test_who_diverged_cannot_lead():
    values = {"a": by_seed(0.99, 0.99, 0.98, 0.99, 0.98), "b": by_seed(0.91, 0.90, 0.92, 0.90, 0.91)}
    decision = decide(values, mode="max", alpha=0.05, failed={"a": 1, "b": 0})
    assert decision.leader == "b"
    assert decision.outcome != "winner"
    assert decision.notes == ("a diverged on 1 of its confirmation seeds",)
    nobody = decide(values, mode="max", alpha=0.05, failed={"a": 1, "b": 2})
    assert (nobody.leader, nobody.outcome) == (None, "undecided")


def test_rivals_with_fewer_seeds_are_compared_on_those_they_share():
    a = by_seed(1.0, 1.1, 0.9, 1.0, 1.2, 1.0, 0.9, 1.1, 1.0, 1.0)
    b = by_seed(1.05, 1.0, 1.0, 0.9, 1.3, 1.1, 1.0, 1.2, 0.9, 1.1)
    c = by_seed(3.0, 3.1, 2.8, 3.2, 3.1)
    decision = decide({"a": a, "b": b, "c": c}, mode="min", alpha=0.03)
    assert decision.n == 10
    assert {x.rival: x.n for x in decision.comparisons} == {"b": 10, "c": 5}
    against_c = next(x for x in decision.comparisons if x.rival == "c")
    assert against_c.p == pytest.approx(stats.ttest_rel(list(a.values())[:5], list(c.values())).pvalue)


def test_detectable_difference_uses_the_level_and_the_spread_of_the_pairs():
    random = np.random.default_rng(3)
    a, b, c = random.normal(0, 1, size=(3, 10))
    values = {name: by_seed(*v) for name, v in zip("abc", (a, b, c), strict=True)}
    decision = decide(values, mode="max", alpha=0.05)
    leader = {"a": a, "b": b, "c": c}[decision.leader]
    spread = max(np.std(leader - v, ddof=1) for v in (a, b, c) if v is not leader)
    ncp = decision.smallest_detectable_difference / spread * np.sqrt(10)
    critical = stats.t.ppf(1 - 0.05 / 3 / 2, 9)  # three pairs
    assert stats.nct.sf(critical, 9, ncp) + stats.nct.cdf(-critical, 9, ncp) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(("names", "shared"), [(2, 0.0), (2, 0.8), (4, 0.0)])
def test_equal_optimizers_rarely_get_a_winner(names, shared):
    random = np.random.default_rng(7)
    winners, repeats = 0, 2000
    for _ in range(repeats):
        seeds = random.normal(0, 1, size=5)  # what the seed gives to all, and what it gives to each
        values = {
            f"o{i}": by_seed(*(shared * seeds + random.normal(0, (1 - shared**2) ** 0.5, size=5))) for i in range(names)
        }
        winners += decide(values, mode="max", alpha=0.05).outcome == "winner"
    assert winners / repeats <= 0.05 + 2 * (0.05 * 0.95 / repeats) ** 0.5


def test_the_luck_of_a_search_widens_the_interval_and_is_taken_off_the_difference():
    values = {"a": {i: 1.0 + 0.01 * (i % 3) for i in range(10)}, "b": {i: 1.5 + 0.01 * (i % 2) for i in range(10)}}
    plain = decide(values, mode="min", alpha=0.05)
    lucky = decide(values, mode="min", alpha=0.05, luck={"a": 0.1, "b": 0.2})
    assert (plain.outcome, lucky.outcome) == ("winner", "winner")
    (c,), (w,) = plain.comparisons, lucky.comparisons
    assert (w.low, w.high) == pytest.approx((c.low - 0.2, c.high + 0.2))
    assert w.p > c.p
    assert lucky.smallest_detectable_difference == pytest.approx(plain.smallest_detectable_difference + 0.2)
    assert decide(values, mode="min", alpha=0.05, luck={"a": 0.6}).outcome == "undecided"
