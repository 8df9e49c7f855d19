"""When a run is as good as a baseline: by hand on four curves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from thalweg.lab.cost import Cost
from thalweg.lab.target import time_to_target


def run(*values, every=10):
    """A run that was measured every so many steps, with these values of the metric."""
    curve = [SimpleNamespace(step=every * i, metric=value) for i, value in enumerate(values)]
    return SimpleNamespace(curve=curve, final=values[-1])


CURVES = {
    "sgd": [run(3.0, 2.5, 2.4, 2.3), run(3.0, 2.6, 2.2, 2.1), run(3.0, 2.4, 2.3, 2.2)],
    "adamw": [run(3.0, 1.9, 1.6, 1.5), run(3.0, 2.1, 1.8, 1.7), run(3.0, 2.0, 1.5, 1.6)],
    "lion": [run(3.0, 1.7, 1.6, 1.4), run(3.0, 2.0, 1.9, 1.8), run(3.0, None, 1.9, None)],
}


HORIZONS = {"sgd": 40, "adamw": 30, "lion": 30}


def test_the_target_is_the_better_baselines_median_with_one_tolerance_of_room():
    found = time_to_target(CURVES, {"adamw": Cost(0.5, 0, 0, 0)}, "min", 0.1, HORIZONS)
    assert (found["of"], found["tolerance"]) == ("adamw", 0.1)
    assert found["value"] == pytest.approx(1.7)  # the median of 1.5, 1.7, 1.6, and 0.1
    adamw = found["reached"]["adamw"]
    assert adamw == {"n": 3, "reached": 3, "steps": 20, "restricted_mean": pytest.approx(70 / 3), "seconds": 10.0}


def test_seeds_that_miss_it_are_counted_and_not_dropped():
    found = time_to_target(CURVES, {}, "min", 0.1, HORIZONS)["reached"]
    assert found["sgd"] == {"n": 3, "reached": 0, "steps": None, "restricted_mean": 40, "seconds": None}
    assert found["lion"]["reached"] == 1
    assert found["lion"]["steps"] is None
    assert found["lion"]["restricted_mean"] == pytest.approx((10 + 30 + 30) / 3)


def test_more_may_be_better_and_another_may_be_the_baseline():
    up = {"lion": [run(0.1, 0.8, 0.9)], "lamb": [run(0.1, 0.5, 0.7)]}
    found = time_to_target(up, {}, "max", 0.0, {"lion": 20, "lamb": 20})
    assert (found["of"], found["value"]) == ("lamb", 0.7)  # the last of those confirmed
    assert found["reached"]["lion"]["steps"] == 10
    assert found["reached"]["lamb"]["steps"] == 20
    assert time_to_target({}, {}, "max", 0.0, {"lion": 20, "lamb": 20}) is None
