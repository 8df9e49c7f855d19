"""What the report draws: of which runs, and what stands below it."""

import copy

import pytest

from report_cases import STEPS, Page, synthetic_stop
from thalweg.lab.report import markdown, render
from thalweg.lab.report.drawings import by_optimizer, pictures

pytest_plugins = ["report_fixtures"]


def test_a_trial_without_a_value_is_never_drawn_as_one(result):
    one = copy.deepcopy(result)
    one["runs"] = [run for run in one["runs"] if run["phase"] == "default"]
    for run in one["runs"]:
        run.update(final=None, diverged=True)
    assert "5 trials diverged, marked by a cross" in pictures(one)["lr"].caption


def test_the_picture_of_the_lr_says_which_trials_did_not_come_to_the_end(result):
    one = copy.deepcopy(result)
    searched = [run for run in one["runs"] if run["phase"] == "search"]
    searched[0].update(pruned=True)
    before = pictures(one)["lr"].caption
    assert "at the end (of 1 that was pruned, where it stopped) against" in before
    searched[1].update(pruned=True)
    one["runs"].append({**searched[2], "final": None, "error": "ValueError: the task's own", "diverged": False})
    after = pictures(one)["lr"].caption
    assert "at the end (of 2 that were pruned, where they stopped) against" in after
    assert after.split("matters.")[1] == before.split("matters.")[1]  # a run that failed is no divergence


def test_curves_fall_back_to_the_search_when_nothing_was_confirmed():
    drawn = pictures(synthetic_stop())
    assert "one seed, so it proves nothing yet" in drawn["curves"].caption
    assert "differences" not in drawn


def test_seconds_are_steps_times_what_a_step_took_alone(result):
    each = {name: known["milliseconds_per_step"] / 1000 for name, known in result["optimizers"].items()}
    runs = [run for run in result["runs"] if run["phase"] == "confirmation"]
    curves = by_optimizer(runs, "metric", each)
    assert curves["AdamW"][0][-1][0] == pytest.approx(
        STEPS * result["optimizers"]["AdamW"]["milliseconds_per_step"] / 1000
    )
    untimed = copy.deepcopy(result)
    for known in untimed["optimizers"].values():
        known["milliseconds_per_step"] = None
    assert "seconds" not in pictures(untimed)


def test_every_further_hyper_parameter_that_was_searched_has_a_slice(result):
    assert "slices" not in pictures(result)  # only lr was opened
    more = copy.deepcopy(result)
    more["spaces"]["AdamW"]["beta2"] = {"scale": "1-log", "low": 0.8, "high": 0.9999, "opened": True}
    drawn = pictures(more)["slices"].svg
    assert "AdamW: beta2" in drawn
    assert "SGD: beta" not in drawn
    Page(render(more))


def test_the_window_of_the_table_is_that_of_the_picture(result, page):
    one = copy.deepcopy(result)
    one["runs"] = [run for run in one["runs"] if run["phase"] == "confirmation"] + [
        {**result["runs"][0], "optimizer": "SGD", "phase": "search", "diverged": False, "final": final,
         "hyper_parameters": {"lr": lr}}
        for lr, final in ((1e-3, 0.5), (1e-2, 0.96), (1e-1, 1.0), (1.0, 0.96), (10.0, 0.94))
    ]  # fmt: skip
    row = next(line for line in markdown(one).splitlines() if line.startswith("| SGD |"))
    assert row.endswith("| 2 |")
    assert "2.0 decades" in pictures(one)["lr"].svg
