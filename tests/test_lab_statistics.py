"""Statistics against scipy, enumeration, simulation and numbers worked out by hand."""

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats

from thalweg.lab import statistics

A = [0.81, 0.83, 0.80, 0.86, 0.84]
B = [0.79, 0.82, 0.81, 0.80, 0.80]
DIFFERENCES = [a - b for a, b in zip(A, B, strict=True)]


def test_paired_test_and_interval_are_scipys():
    expected = stats.ttest_rel(A, B)
    assert statistics.t_test(DIFFERENCES) == pytest.approx(expected.pvalue, rel=1e-12)
    for alpha in (0.05, 0.01):
        interval = expected.confidence_interval(1 - alpha)
        assert statistics.t_interval(DIFFERENCES, alpha) == pytest.approx((interval.low, interval.high), rel=1e-12)


def test_spreads():
    assert statistics.sd(A) == pytest.approx(np.std(A, ddof=1))
    assert statistics.sd([3.0]) == 0.0
    by_hand = math.sqrt((4 * np.var(A, ddof=1) + 1 * np.var([1.0, 3.0], ddof=1)) / 5)
    assert statistics.pooled_sd([A, [1.0, 3.0], [7.0]]) == pytest.approx(by_hand)


def test_equal_differences_are_not_certainty():
    differences = [1 / 300] * 5
    low, high = statistics.t_interval(differences, 0.05, floor=1 / 300)
    half = 2.7764451 * (1 / 300) / math.sqrt(5)
    assert (low, high) == pytest.approx((1 / 300 - half, 1 / 300 + half), rel=1e-6)
    assert statistics.t_test(differences, floor=1 / 300) == pytest.approx(2 * stats.t.sf(math.sqrt(5), 4))
    assert statistics.t_test([0.0] * 5) == 1.0


def test_resolution_is_the_smallest_gap():
    assert statistics.resolution([0.5, 0.25, 0.5, 1.0]) == 0.25
    assert statistics.resolution([0.5, 0.5]) == 0.0


def test_step_down_by_hand():
    # 0.001 * 6 of the pairs of four, then 0.03 * 3, then 0.05 * 1 (kept up at 0.09)
    assert statistics.step_down([0.03, 0.001, 0.05]) == pytest.approx([0.09, 0.006, 0.09])
    assert statistics.step_down([0.04]) == [0.04]
    assert statistics.step_down([0.6, 0.7]) == [1.0, 1.0]
    assert statistics.step_down([]) == []


def test_levels_agree_with_adjusted_ps():
    random = np.random.default_rng(0)
    for _ in range(500):
        ps = list(random.uniform(0, 0.1, size=random.integers(1, 6)))
        levels = statistics.step_down_levels(ps, 0.05)
        by_level = [p < level for p, level in zip(ps, levels, strict=True)]
        assert by_level == [p < 0.05 for p in statistics.step_down(ps)]


@pytest.mark.parametrize(
    "means", [(0, 0, 0), (0, 0, 0, 0), (0,) * 8, (0, 0, 0, -9), (0, 0, -1, -1), (0, 0, -9, -9), (0, -0.1, -0.1)]
)
def test_the_best_of_several_is_rarely_called_better_than_one_that_is_as_good(means):
    repeats, n = 1500, 10
    random = np.random.default_rng(5)
    means, wrong = np.array(means, dtype=float), 0
    for values in means[:, None] + random.normal(size=(repeats, len(means), n)):
        best = values.mean(axis=1).argmax()
        others = [i for i in range(len(means)) if i != best]
        ps = statistics.step_down(list(stats.ttest_1samp(values[best] - values[others], 0, axis=1).pvalue))
        wrong += any(p < 0.05 and means[best] <= means[i] for p, i in zip(ps, others, strict=True))
    assert wrong / repeats <= 0.05 + 2 * (0.05 * 0.95 / repeats) ** 0.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3, 4], 2.5),
        ([1, 2, 3, 4, 100], (0.75 * 2 + 3 + 0.75 * 4) / 2.5),
        ([5], 5),
        ([1, 2, 9], (0.25 * 1 + 2 + 0.25 * 9) / 1.5),
    ],
)
def test_interquartile_mean_by_hand(values, expected):
    assert statistics.interquartile_mean(values) == pytest.approx(expected)
    assert statistics.interquartile_mean(values[::-1]) == pytest.approx(expected)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_expected_best_is_the_mean_over_all_subsets(mode):
    values = [0.3, 0.9, 0.1, 0.7, 0.7, 0.2]
    best = {"min": min, "max": max}[mode]
    expected = [np.mean([best(s) for s in itertools.combinations(values, n)]) for n in range(1, 7)]
    assert statistics.expected_best(values, mode) == pytest.approx(expected, rel=1e-12)


def test_detectable_difference_has_the_power_it_says():
    # The textbook number: 20 pairs, two-sided 5 %, 80 % power need an effect of 0.66 (G*Power: 0.6604).
    assert statistics.detectable(1.0, 20, 0.05) == pytest.approx(0.6604, abs=1e-4)
    effect = statistics.detectable(2.0, 5, 0.05 / 3)
    samples = np.random.default_rng(1).normal(effect, 2.0, size=(40_000, 5))
    found = stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05 / 3
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    assert statistics.detectable(4.0, 5, 0.05 / 3) == pytest.approx(2 * effect)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3, 0.02, 0.01, 0.01 / 3])
def test_detectable_difference_is_finite_for_every_look(alpha):
    seen = [statistics.detectable(1.0, n, alpha) for n in (2, 3, 5, 10, 20, 100)]
    assert all(math.isfinite(d) for d in seen)
    assert seen == sorted(seen, reverse=True)


def test_lr_sensitivity_by_hand():
    # best 1.0 at lr 0.1; in the window from 0.1 / 31.6 to 0.1 * 31.6: 2.0, 1.0, min(9, 5), diverged = 5
    tried = [(1e-4, 4.9), (1e-2, 2.0), (1e-1, 1.0), (1.0, 9.0), (3.0, None), (10.0, None)]
    assert statistics.lr_sensitivity(tried, untrained=5.0, mode="min") == pytest.approx((2 + 1 + 5 + 5) / 4 - 1)
    flipped = [(lr, None if v is None else -v) for lr, v in tried]
    assert statistics.lr_sensitivity(flipped, untrained=-5.0, mode="max") == pytest.approx((2 + 1 + 5 + 5) / 4 - 1)


def test_lr_sensitivity_is_none_where_nothing_can_be_said():
    assert statistics.lr_sensitivity([(0.1, 1.0), (0.2, 1.0)], 5.0, "min") is None
    assert statistics.lr_sensitivity([(0.1, None)] * 3, 5.0, "min") is None


def test_another_search_of_a_parabola_is_not_further_behind_than_the_luck_that_is_added():
    for best in (0.0, 0.1, 0.25, 0.5):  # its distance from the optimum, in spacings
        values = sorted((best + k) ** 2 for k in range(-4, 5))
        luck = statistics.search_luck(values[0], values[1:])
        assert luck == pytest.approx(1 - 2 * best)
        assert luck >= 0.5**2 - best**2  # another search's best is at most half a spacing away
    assert statistics.search_luck(1.0, []) == 0.0


def test_share_above_is_wilsons():
    for wins in range(6):
        found = statistics.share_above([1.0] * wins + [-1.0] * (5 - wins))
        expected = stats.binomtest(wins, 5).proportion_ci(0.95, method="wilson")
        assert found == pytest.approx((wins / 5, expected.low, expected.high))
    assert statistics.share_above([0.0, 1.0])[0] == 0.75


def test_the_interval_of_the_middle_half_covers_and_is_always_the_same():
    random, covered, repeats = np.random.default_rng(0), 0, 200
    truth = statistics.interquartile_mean(list(stats.lognorm(0.5).ppf((np.arange(2000) + 0.5) / 2000)))
    for values in np.exp(0.5 * random.normal(size=(repeats, 12))):
        low, high = statistics.interquartile_interval(list(values))
        covered += low <= truth <= high
    assert covered / repeats >= 0.95 - 3 * (0.05 * 0.95 / repeats) ** 0.5
    assert statistics.interquartile_interval(list(values)) == (low, high)
    assert statistics.interquartile_interval([1.0, 2.0] * 4) is None
    assert statistics.interquartile_interval([1.0] * 12) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert statistics.interquartile_interval([1.0] * 11 + [2.0]) is None


def test_students_interval_covers_a_mean_of_few_seeds_and_the_bootstraps_does_not():
    random, repeats = np.random.default_rng(0), 300
    samples = random.normal(size=(repeats, 10))
    student = sum(low <= 0 <= high for low, high in (statistics.t_interval(list(s), 0.05) for s in samples))
    found = stats.bootstrap((samples,), np.mean, axis=1, n_resamples=999, method="BCa", rng=random).confidence_interval
    assert student / repeats >= 0.92
    assert np.mean((found.low <= 0) & (found.high >= 0)) <= 0.92


@pytest.mark.parametrize(("optimizers", "low", "high"), [(3, 0.055, 0.07), (4, 0.065, 0.085), (8, 0.095, 0.125)])
@pytest.mark.parametrize("seeds", [5, 20])
def test_holms_own_factors_call_equals_worse_more_often_than_they_say(optimizers, low, high, seeds):
    repeats, rng = 20_000, np.random.default_rng(3)
    values = rng.normal(size=(repeats, optimizers, seeds))
    order = values.mean(2).argsort(1)  # the best of them leads, as the same data say
    ranked = np.take_along_axis(values, order[:, :, None], 1)
    ps = stats.ttest_1samp(ranked[:, 1:] - ranked[:, :1], 0, axis=2).pvalue
    holm = np.mean(ps.min(1) * (optimizers - 1) < 0.05)  # its first factor decides whether anybody is called worse
    ours = np.mean([min(statistics.step_down(list(each))) < 0.05 for each in ps])
    assert low < holm < high
    assert ours < 0.05
