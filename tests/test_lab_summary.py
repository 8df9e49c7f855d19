"""What a result says beside its runs: the error that was spent, one spread, edges, and searches with too few values."""

import re
from pathlib import Path
from statistics import mean, stdev

import pytest
import scipy.stats

import toy_task
from thalweg.card import Log, OneMinusLog
from thalweg.lab import statistics
from thalweg.lab.budget import Budget
from thalweg.lab.comparison import compare
from thalweg.lab.space import Space
from thalweg.lab.tuning import tune

TOY = str(Path(toy_task.__file__))
SMALL = {"jobs": 1, "stack": "off", "steps": 8}


@pytest.fixture(scope="module")
def two_looks():
    """A comparison whose first look leaves the two undecided."""
    budget = Budget("small", points=3, promoted=2, looks=(2, 4), rungs=0)
    return compare(TOY, "momentum,sgd", budget=budget, margin=0.0, **SMALL).data


def confirmed(data, name):
    return [run["final"] for run in data["runs"] if run["optimizer"] == name and run["phase"] == "confirmation"]


def test_the_risk_of_a_false_winner_is_what_all_looks_have_spent(two_looks):
    looks, alphas = two_looks["budget"]["looks"], two_looks["budget"]["alphas"]
    taken = looks.index(len(confirmed(two_looks, two_looks["decision"]["leader"]))) + 1
    assert two_looks["decision"]["alpha"] == alphas[taken - 1]
    assert two_looks["decision"]["spent"] == pytest.approx(sum(alphas[:taken]))
    assert taken == 2


def test_the_room_of_the_target_is_the_spread_between_the_seeds_that_confirm(two_looks):
    groups = [confirmed(two_looks, name) for name in ("momentum", "sgd")]
    assert two_looks["target"]["tolerance"] == two_looks["decision"]["seed_sd"]
    assert two_looks["target"]["tolerance"] == pytest.approx(statistics.pooled_sd(groups))


def test_the_verdict_on_one_optimizer_has_students_interval():
    data = tune(TOY, "sgd", points=3, **SMALL).data
    values = confirmed(data, "sgd")
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    found = re.fullmatch(r"Tuned: sgd \(mse (.+), 95 % interval \[(.+), (.+)\]\), n = 5 fresh seeds\.", data["verdict"])
    assert found, data["verdict"]
    wanted = [mean(values), mean(values) - half, mean(values) + half]
    assert [float(each) for each in found.groups()] == pytest.approx(wanted, rel=1e-3)


def test_a_search_with_too_few_values_is_noted(two_looks, tmp_path):
    (tmp_path / "wild.toml").write_text("[sgd]\nlr = { log = [1e8, 1e9] }\ndefault = 1e9")
    data = compare(TOY, "momentum,sgd", points=3, spaces=tmp_path / "wild.toml", **SMALL).data
    note = "only 0 full search runs of sgd gave a value: with fewer than 3 it is not compared fairly"
    assert [each for each in data["decision"]["notes"] if "full search runs" in each] == [note]
    assert not [each for each in two_looks["decision"]["notes"] if "full search runs" in each]


def test_every_searched_hyper_parameter_is_looked_at_for_an_edge():
    ranges = {"lr": Log(1e-4, 1.0), "momentum": OneMinusLog(0.01, 1.0), "weight_decay": Log(1e-6, 1e-2)}
    space = Space(ranges, {"lr": 0.1}, opened=2)
    assert space.edges({"lr": 0.9, "momentum": 0.5}) == {"lr": "high"}
    assert space.edges({"lr": 0.01, "momentum": 0.989}) == {"momentum": "high"}
    assert space.edges({"lr": 0.01, "momentum": 0.05, "weight_decay": 1e-2}) == {"momentum": "low"}
    assert space.edges({"lr": 0.01}) == {}
