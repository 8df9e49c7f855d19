"""What pruning costs in quality, on recorded runs; small, of benchmarks/."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import pruning

from thalweg.lab import search

CLOSE = 0.25  # standard deviations between seeds


def behind() -> float:
    regrets, horizons = pruning.compared(40)
    assert horizons["pruned"] < 0.6 * horizons["not pruned"]
    return float((regrets["pruned"] - regrets["not pruned"]).mean())


def test_pruned_comparisons_recommend_settings_as_good():
    assert behind() < CLOSE


def test_going_on_with_the_wrong_ones_would_be_seen(monkeypatch):
    def worst(plan, findings, legs, least):
        known = {trial: run for trial, run in findings.done if trial.until is not None}
        ends = {
            name: sorted(trials, key=lambda trial: search.score(known[trial], plan.mode))[-least:]
            for name, trials in legs.items()
        }
        return {name: [replace(leg, until=None) for leg in trials] for name, trials in ends.items()}

    monkeypatch.setattr(search, "kept", worst)
    assert behind() > CLOSE


@pytest.mark.slow
def test_the_recorded_runs_are_what_training_comes_to():
    import numpy as np

    from thalweg import workloads

    known = list(pruning.places())
    rows = [i for i, (name, _) in enumerate(known) if name == "adamw"][:4]
    found = list(pruning._trained(workloads.load("digits"), [known[i] for i in rows], pruning.FIRST_SEED))
    recorded = np.load(pruning.RECORDED)["values"][rows, 0]
    assert np.allclose(np.array(found)[:, 1:], recorded[:, 1:], atol=0.02, equal_nan=True)
