"""Schedules tuned for all: one more thing that every optimizer's search chooses, among the same."""

import collections
import dataclasses

import pytest

from test_lab_compare import SMALL, TOY, run_winner
from test_lab_protocol import plan, played, valley
from thalweg import schedule
from thalweg.lab.comparison import compare
from thalweg.lab.model import suggested
from thalweg.lab.plan import SEARCHED, Findings
from thalweg.lab.report.page import render

BEST = "warmup_linear(warmup=0.1)"


def favouring(best):
    """The others cost more than any lr does."""
    return lambda trial: valley(trial, spread=0.01) + 5.0 * (trial.schedule != best)


def searched(findings, name):
    return [t for t, _ in findings.tried(name, "search")]


def test_every_optimizer_searches_the_same_schedules():
    _, findings = played(plan(budget="standard", schedule="tuned"), favouring(BEST))
    found = {name: [t.schedule for t in searched(findings, name)] for name in "abc"}
    assert found["a"] == found["b"] == found["c"]
    counts = collections.Counter(found["a"])
    assert len(counts) >= 8
    assert set(counts) <= set(schedule.CHOICES)
    assert max(counts.values()) <= 6  # of 27 points: none is preferred


def test_one_schedule_moves_no_point_of_the_search():
    tuned, fixed = (played(plan(budget="standard", schedule=s), valley)[1] for s in ("tuned", "wsd"))
    assert [t.hyper for t in searched(tuned, "a")] == [t.hyper for t in searched(fixed, "a")]
    assert {t.schedule for t in searched(fixed, "a")} == {"wsd"}


def test_the_best_schedule_is_chosen_and_confirmed():
    stages, findings = played(plan(budget="standard", schedule="tuned"), favouring(BEST))
    confirmed = [t for stage in stages for t in stage if t.phase == "confirmation"]
    assert {t.schedule for t in confirmed} == {BEST}
    assert {t.setting for t in confirmed if t.optimizer == "a"} == {findings.chosen["a"].setting}
    noise = [t for stage in stages for t in stage if t.phase == "noise"]
    assert {t.schedule for t in noise} == {"warmup_cosine(warmup=0.05)"}  # only the defaults ran


def test_the_model_looks_where_the_best_schedule_is():
    pytest.importorskip("optuna")
    of = plan(budget="standard", schedule="tuned")
    _, findings = played(of, favouring(BEST))
    tried = findings.tried("a", "search")
    assert isinstance(findings, Findings)
    asked = suggested(of.spaces["a"], tried, "min", 12, 0, of.schedules)
    assert [len(point) for point in asked] == [len(of.spaces["a"].searched) + 1] * 12
    best = sum(of.schedule_at(point) == BEST for point in asked)
    assert best >= 4, [of.schedule_at(point) for point in asked]  # by chance 1.2 of 12


def test_the_model_is_told_of_the_run_at_the_defaults_where_the_lr_alone_is_searched():
    pytest.importorskip("optuna")
    of = plan(budget="standard", schedule="tuned")
    _, findings = played(of, favouring(BEST))
    alone = dataclasses.replace(of.spaces["a"], opened=1)
    tried = findings.tried("a", *SEARCHED)
    assert [trial.phase for trial, _ in tried][:2] == ["default", "search"]
    assert len(suggested(alone, tried, "min", 3, 0, of.schedules)) == 3


def test_the_winner_is_trained_with_its_own_schedule(tmp_path):
    result = compare(TOY, "sgd,momentum", schedule="tuned", **{**SMALL, "points": 6})
    best = result.data["winner"]
    assert best["schedule"] in schedule.CHOICES
    assert {run["schedule"] for run in result.runs if run["phase"] == "search"} != {best["schedule"]}
    folder = result.save(tmp_path / "out")
    assert run_winner(folder) == repr(best["final"])
    name, given = schedule.called(best["schedule"])
    said = "".join(f", {key}={value}" for key, value in given.items())
    assert f"scheduler = {name}(optimizer, steps{said})" in (folder / "winner.py").read_text()
    page = render(result.data)
    for known in result.data["optimizers"].values():
        assert f'<code class="nowrap">{known["schedule"]}</code>' in page


def test_a_warm_up_of_its_own_is_the_same_for_all():
    result = compare(TOY, "sgd,momentum", schedule="wsd(warmup=0.1)", **SMALL)
    assert {run["schedule"] for run in result.runs} == {"wsd(warmup=0.1)"}
