"""The map of convergence agrees with the theory of the heavy ball, cell by cell."""

import json
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import thalweg as tw
from thalweg.cli.app import app
from thalweg.racing.race import race
from thalweg.racing.rates import contraction
from thalweg.racing.rates import map as rate_map

CURVATURES = (1.0, 10.0)


def theory(lr: float, beta: float) -> float:
    """The heavy ball's rate on the valley: the largest root of z^2 - (1 + beta - lr h) z + beta."""
    return max(float(np.abs(np.roots([1, -(1 + beta - lr * h), beta])).max()) for h in CURVATURES)


@pytest.fixture(scope="module")
def done():
    return rate_map("valley", x_range=(0.005, 0.45), y_range=(0.0, 0.9), size=15)


def test_every_cell_has_the_rate_of_theory(done):
    for row, beta in enumerate(done.y.values):
        for column, lr in enumerate(done.x.values):
            found, expected = float(done.rates[row, column]), theory(lr, beta)
            assert math.log(found) == pytest.approx(math.log(expected), rel=0.07, abs=0.004), (lr, beta)


def test_the_edge_of_stability_is_where_theory_has_it(done):
    """lr below 2 (1 + beta) / (largest curvature)."""
    for row, beta in enumerate(done.y.values):
        for column, lr in enumerate(done.x.values):
            limit = 2 * (1 + beta) / 10
            if abs(lr / limit - 1) > 1e-3:
                assert bool(done.rates[row, column] < 1) is (lr < limit)


def test_the_whole_map_is_one_walk(done):
    """A cell is what a race with its settings gives."""
    best = done.best
    run = race("valley", "momentum", lr=best["lr"], settings={"momentum.momentum": best["momentum"]}, steps=1000)
    places = torch.tensor([run.runs[0].trajectory[c] for c in "xy"], dtype=torch.float64).T.abs().amax(1, keepdim=True)
    assert float(contraction(places)) == pytest.approx(best["rate"], rel=1e-9)
    assert best["steps per digit"] == pytest.approx(-1 / math.log10(best["rate"]))


def test_ranges_come_from_the_card_unless_given():
    done = rate_map("bowl", "momentum", size=3, steps=20)
    assert done.x.values == pytest.approx([1e-5, math.sqrt(5e-5), 5.0], rel=1e-4)
    assert done.y.values[0] == pytest.approx(0.7)
    assert done.y.values[-1] == pytest.approx(0.995)
    given = rate_map("bowl", "adam(beta2=0.9)", "lr", "beta1", size=3, steps=20, x_range=(0.1, 0.3), y_range=(0, 0.9))
    assert given.x.values == pytest.approx([0.1, 0.2, 0.3])
    assert given.settings == {"beta2": 0.9}


def test_where_no_minimum_is_known_the_gradient_is_measured():
    done = rate_map("lambda x: 2 * (x - 1)**2", "momentum", size=3, x_range=(0.01, 0.1), y_range=(0.0, 0.2))
    assert done.measured == "gradient norm"
    assert float(done.rates[0, 0]) == pytest.approx(1 - 0.01 * 4, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ([0.5**t for t in range(40)], 0.5),
        ([1.5**t for t in range(40)], 1.5),
        ([0.9**t * abs(math.cos(0.7 * t)) + 1e-300 for t in range(400)], 0.9),
        ([0.1**t if t < 12 else 1e-12 for t in range(100)], 0.1),
        ([1.0, 0.0, 0.0, 0.0], 0.0),
        ([1.0, math.inf, math.nan, math.nan], math.inf),
        ([1.0] * 100, 1.0),
    ],
)
def test_contraction(values, rate):
    found = float(contraction(torch.tensor(values, dtype=torch.float64)[:, None], rounding=1e-11))
    assert found == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"x": "momentum"}, "must be two settings"),
        ({"x": "rate"}, "has no number 'rate'"),
        ({"optimizer": "momemtum"}, "Did you mean 'momentum'"),
        ({"optimizer": "adam, sgd"}, "a map shows one"),
        ({"optimizer": "bfgs"}, "a map shows one"),
        ({"optimizer": "adam", "y": "eps_root"}, "has no range for eps_root"),
        ({"x_range": (1.0, 0.5)}, "must go up"),
        ({"size": 1}, "size is 1"),
        ({"steps": 1}, "steps is 1"),
    ],
)
def test_mistakes_are_explained(arguments, said):
    with pytest.raises((ValueError, TypeError)) as error:
        rate_map(**{"landscape": "bowl", "size": 2, "steps": 5, **arguments})
    assert said in str(error.value)


# ---- files


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_svg_is_the_same_every_time_and_says_what_is_on_it(done, theme, tmp_path):
    one = done.save(tmp_path / "map.svg", theme).read_bytes()
    assert done.save(tmp_path / "map.svg", theme).read_bytes() == one
    assert done.description() in one.decode()
    assert "steps per decimal digit" in one.decode()


def test_json_and_csv(done, tmp_path):
    data = json.loads(done.save(tmp_path / "map.json").read_text(), parse_constant=pytest.fail)
    assert data["rates"][3][4] == float(done.rates[3, 4])
    lines = done.save(tmp_path / "map.csv").read_text().splitlines()
    assert lines[0] == "lr,momentum,rate"
    assert len(lines) == 1 + 15 * 15
    with pytest.raises(ValueError, match="must end in"):
        done.save(tmp_path / "map.gif")


def test_a_map_on_which_nothing_converges_can_be_drawn(tmp_path):
    lost = rate_map("bowl", size=3, steps=50, x_range=(5.0, 6.0), y_range=(0.0, 0.1))
    assert not (lost.rates < 1).any()
    assert "converges on 0%" in lost.description()
    lost.save(tmp_path / "lost.png")


def test_the_command(tmp_path):
    path = tmp_path / "map.png"
    done = CliRunner().invoke(
        app, ["map", "--landscape", "valley", "--optimizer", "momentum", "-x", "lr", "-y", "momentum", "--size", "10",
              "--steps", "100", "-o", str(path)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert path.exists()
    assert "steps per decimal digit" in done.output
    shown = CliRunner().invoke(app, ["map", "--size", "8", "--steps", "50", "--x-range", "0.01:0.3"])
    assert shown.exit_code == 0
    assert "★" in shown.output
    wrong = CliRunner().invoke(app, ["map", "--x-range", "1"])
    assert wrong.exit_code == 2
    assert "--x-range is '1'" in wrong.output


def test_the_front_door_has_both_and_keeps_them():
    for _ in range(2):  # a module of the same name would take their place once it is loaded
        assert callable(tw.map)
        assert callable(tw.race)
