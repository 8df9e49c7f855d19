"""Budgets as time and steps, and search ranges: their version, and those of the user's own."""

import hashlib
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

import toy_task
from thalweg.card import Log, OneMinusLog
from thalweg.lab import budget as budgets
from thalweg.lab import ranges
from thalweg.lab.candidates import FIRST_TRIAL, candidates
from thalweg.lab.comparison import prepared, settled
from thalweg.lab.cost import Cost
from thalweg.lab.space import WITHOUT_CARD, dimensions

KNOWN = {c.name: c.numbers for c in candidates("adamw,sgd")}
RANGES = ("cards of 2026-11-27", "366bd3d473a5")
"""The version of the ranges, and the first letters of their hash: a card that changes raises the version."""


@pytest.mark.parametrize(
    ("said", "seconds", "steps"),
    [("20m", 1200, None), ("90s", 90, None), ("1.5h", 5400, None), ("2 d", 172_800, None), ("5,000 steps", None, 5000)],
)
def test_amounts_are_read(said, seconds, steps):
    found = budgets.amount(said)
    assert (found.seconds, found.steps) == (seconds, steps)


def test_an_unknown_unit_is_refused():
    with pytest.raises(ValueError, match=r"budget is '20 parsecs'; time is written as in 90s, 20m or 1\.5h"):
        budgets.amount("20 parsecs")


@pytest.mark.parametrize("optimizers", [2, 5, 8])
def test_an_amount_buys_the_most_that_fits(optimizers):
    like, bought = budgets.PRESETS["quick"], []
    sizes = [
        replace(preset, points=points)
        for preset, fewest in zip(budgets.PRESETS.values(), (2, 10, 28), strict=True)
        for points in range(fewest, preset.points + 1)
    ]
    for minutes in (10, 20, 60, 200, 2000):
        try:
            found = budgets.afforded(budgets.amount(f"{minutes}m"), optimizers, 10.0, 100, 1, like)
        except budgets.BudgetError:
            continue
        assert found.work(optimizers)[1] * 10 <= 60 * minutes
        larger = [size for size in sizes if (size.looks, size.points) > (found.looks, found.points)]
        assert all(size.work(optimizers)[1] * 10 > 60 * minutes for size in larger)
        bought.append((found.promoted, found.points))
    assert bought == sorted(bought)
    assert bought[-1] == (4, 81)
    full = 1 + max(2, math.ceil(bought[0][1] / 3))
    assert full >= 3


def test_too_little_is_no_comparison():
    with pytest.raises(budgets.BudgetError, match=r"budget is '10 steps', which is no comparison of 2 optimizers"):
        budgets.afforded(budgets.amount("10 steps"), 2, 0.1, 20, 1, budgets.PRESETS["quick"])


def test_a_plan_is_settled_by_what_was_measured():
    comparison = prepared(toy_task.task, "sgd,adamw", budget="100s", jobs=2, equal="seconds")
    costs = {"sgd": Cost(0.01, 0.0, 0.0, 5), "adamw": Cost(0.03, 0.0, 2.0, 5)}
    plan = settled(comparison.plan, costs, comparison.amount, comparison.equal, 2)
    assert (plan.horizon("sgd"), plan.horizon("adamw")) == (40, 13)
    assert plan.budget.work(2)[1] * 0.4 / 2 <= 100
    assert plan.spaces["adamw"].opened == min(dimensions(plan.budget.points), 5)
    assert plan.spaces["sgd"].opened <= 2  # lr, and a decay
    assert plan == settled(comparison.plan, costs, comparison.amount, comparison.equal, 2)


def test_a_file_changes_the_ranges_of_a_card(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[adamw]\nsource = "our sweeps"\ndefault = 3e-4\n'
        "weight_decay = { log = [1e-3, 0.1] }\nlr = { log = [1e-4, 1e-2] }\n"
    )
    own, version = ranges.read(path, KNOWN)
    adamw, sgd = candidates("adamw,sgd")
    space = adamw.space(27, own["adamw"])
    assert list(space.ranges)[:2] == ["lr", "weight_decay"]
    assert space.ranges["lr"] == Log(1e-4, 1e-2)
    assert (space.default, space.source, space.opened) == ({"lr": 3e-4}, "our sweeps", 3)
    assert version.startswith("mine.toml ")
    assert sgd.space(27, own.get("sgd")) == sgd.space(27)
    assert "AlgoPerf" in sgd.space(27).source


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "[adamq]\n",
            r"names 'adamq', which is no optimizer of this comparison or of the house\. Did you mean 'adamw'",
        ),
        ("[adamw]\nbeta = { log = [1, 2] }", r"has 'beta', which the rule does not\."),
        ("[adamw]\nlr = [1, 2]", r"lr is \[1, 2\]; it must be \{ log = \[low, high\] \}"),
        ("[adamw]\nlr = { log = [2, 1] }", r"lr goes from 2 to 1; it must rise, from above 0"),
        ("[adamw]\nbeta1 = { one_minus_log = [0.1, 3] }", r"it must rise, from above 0, and at most 1"),
        (
            "[adamw]\nlr = { log = [1e-4, inf] }",
            r"lr is \{'log': \[0\.0001, inf\]\}; it must be \{ log = \[low, high\] \}",
        ),
        ("[adamw]\ndefault = -1", r"default is -1; it must be a learning rate above 0"),
        ("not toml", r"is no TOML file"),
    ],
)
def test_mistakes_in_a_file_are_explained(tmp_path, content, sentence):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        ranges.read(path, KNOWN)


def test_a_file_changes_a_minimizers_range(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[bfgs]\nlr = { log = [0.01, 1.0] }\ndefault = 0.5")
    [bfgs] = candidates("bfgs", least=1)
    space = bfgs.space(9, ranges.read(path, {"bfgs": ["lr"]})[0]["bfgs"])
    assert (space.ranges, space.default) == ({"lr": Log(0.01, 1.0)}, {"lr": 0.5})


def test_a_file_may_name_optimizers_that_do_not_compete(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[lion]\nlr = { log = [1e-5, 1e-3] }\n[adamw]\nlr = { log = [1e-4, 1e-2] }")
    assert list(ranges.read(path, KNOWN)[0]) == ["adamw"]


def test_momentum_ranges_are_distances_from_one(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[adamw]\nbeta1 = { one_minus_log = [0.02, 0.3] }")
    assert ranges.read(path, KNOWN)[0]["adamw"].ranges == {"beta1": OneMinusLog(0.02, 0.3)}


def test_every_range_of_a_card_can_be_named_in_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    for candidate in candidates("all"):
        for name in candidate.space(81).ranges:
            path.write_text(f"[{candidate.name}]\n{name} = {{ log = [1e-6, 1e-3] }}")
            own, _ = ranges.read(path, {candidate.name: candidate.numbers})
            assert candidate.space(81, own[candidate.name]).ranges[name] == Log(1e-6, 1e-3)


def test_a_change_of_the_ranges_raises_their_version():
    said = [(c.name, c.space(81).ranges, c.space(81).default) for c in candidates("all")]
    found = hashlib.sha256(repr([*said, WITHOUT_CARD, FIRST_TRIAL]).encode()).hexdigest()[:12]
    assert (ranges.VERSION, found) == RANGES


def test_every_optimizer_searches_weight_decay_with_the_points_that_the_docs_say():
    page = (Path(__file__).parents[1] / "docs" / "lab.md").read_text(encoding="utf-8")
    documented = {
        name: int(n)
        for n, names in re.findall(r"^\| (\d+) \| ([a-z, ]+) \|$", page, re.M)
        for name in names.split(", ")
    }
    needed = {c.name: next(n for n in range(1, 82) if "weight_decay" in c.space(n).searched) for c in candidates("all")}
    assert documented == needed
