"""The worked example: every expected number was computed by hand, or by the rule itself on torch tensors."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import thalweg as tw
from thalweg import rules
from thalweg.arguments import with_decay
from thalweg.engine.trajectory import Trajectory, plain
from thalweg.ops import norm, where
from thalweg.printing.worked import work
from thalweg.signature import signature_of


def once(*gradients):
    return lambda p, t: gradients[t - 1]


def test_the_line_of_the_work_order():
    """m <- 0.9 * 0.213 + 0.1 * (-1.404) = 0.0513: m is 0.213 after a gradient of 2.13."""
    done = work(rules.find("adam"), once([2.13], [-1.404]), [0.0], steps=2)
    assert str(done.steps[1][0]) == "m <- 0.9 * 0.213 + 0.1 * (-1.404) = 0.0513"


def test_adam_by_hand():
    done = work(rules.find("adam"), once([4.0]), [1.0], steps=1, lr=0.1)
    assert [str(line) for line in done.steps[0]] == [
        "m <- 0.9 * 0 + 0.1 * 4 = 0.4",
        "v <- 0.999 * 0 + 0.001 * 4**2 = 0.016",
        "full_m <- 1 - 0.9**1 = 0.1",
        "full_v <- 1 - 0.999**1 = 0.001",
        "m_hat <- 0.4 / 0.1 = 4",
        "v_hat <- 0.016 / 0.001 = 16",
        "p <- 1 - 0.1 * 4 / (sqrt(16) + 1e-08) = 0.9",
    ]
    assert math.isclose(done.trajectory["p"][1], 1 - 0.1 * 4 / (4 + 1e-8))
    assert done.trajectory["v_hat"] == [None, pytest.approx(16)]


def test_momentum_by_hand():
    """v: 0 -> 2 -> 0.5 * 2 + 4 = 5; p: 1 -> 0.8 -> 0.3."""
    done = work(rules.find("momentum"), once([2.0], [4.0]), [1.0], steps=2, lr=0.1, momentum=0.5)
    assert str(done) == "\n".join(
        [
            "step 1   p = 1   g = 2",
            "  push <- 2",
            "  v <- 0.5 * 0 + 2 = 2",
            "  p <- 1 - 0.1 * 2 = 0.8",
            "step 2   p = 0.8   g = 4",
            "  push <- 4",
            "  v <- 0.5 * 2 + 4 = 5",
            "  p <- 0.8 - 0.1 * 5 = 0.3",
        ]
    )
    assert done.trajectory.steps == [0, 1, 2]
    assert done.trajectory["v"] == [0.0, 2.0, 5.0]
    assert done.trajectory["g"] == [None, 2.0, 4.0]


def test_dampening_takes_the_branch_of_its_step():
    done = work(rules.find("momentum"), once([2.0], [2.0]), [1.0], steps=2, dampening=0.25)
    assert [str(lines[0]) for lines in done.steps] == ["push <- 1 * 2 = 2", "push <- 0.75 * 2 = 1.5"]


def test_the_other_parameter():
    done = work(rules.find("sgd"), lambda p, t: p * [1, 10], [1.0, 2.0], steps=1, parameter=1, names="xy", lr=0.01)
    assert str(done) == "step 1   p = y = 2   g = 20\n  p <- 2 - 0.01 * 20 = 1.8"
    assert done.parameter == "y"


def test_the_gradient_is_shown_before_the_decay_joins_it():
    done = work(with_decay(rules.find("sgd")), once([2.0]), [1.0], steps=1, lr=0.1, weight_decay=0.5)
    assert str(done) == "step 1   p = 1   g = 2\n  g <- 2 + 0.5 * 1 = 2.5\n  p <- 1 - 0.1 * 2.5 = 0.75"


def clipped(p, g, *, t, lr=0.1, most=1.0):
    """Gradient descent with its gradient clipped."""
    g = g * where(norm(g) > most, most / norm(g), 1)
    return p - lr * g


def test_a_norm_is_shown_as_the_number_that_it_is():
    done = work(clipped, once([3.0, 4.0]), [1.0, 1.0], steps=1)
    assert str(done.steps[0][0]) == "g <- 3 * (1 / 5) = 0.6"
    assert str(done.steps[0][1]) == "p <- 1 - 0.1 * 0.6 = 0.94"


def test_a_place_that_is_put_back_says_so():
    done = work(rules.find("sgd"), once([2.0]), [1.0], steps=1, lr=1.0, project=lambda p: np.clip(p, -0.5, 0.5))
    assert [str(line) for line in done.steps[0]] == [
        "p <- 1 - 1 * 2 = -1",
        "p <- -1, put back to its bounds, = -0.5",
    ]
    assert done.trajectory["p"] == [1.0, -0.5]


@pytest.mark.parametrize("name", rules.names())
def test_the_walk_is_that_of_the_optimizer_on_torch(name):
    """Independent of numpy and of the printed lines: torch's door, step by step, with every flag."""
    curvature = np.array([1.0, 10.0])
    rule = with_decay(rules.find(name))
    for flags in signature_of(rule).flag_settings():
        done = work(rule, lambda p, t: curvature * p, [1.0, 2.0], steps=4, parameter=1, lr=0.03, **flags)
        p = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
        optimizer = tw.optimizer(rules.find(name))([p], lr=0.03, **flags)
        for wanted in done.trajectory["p"][1:]:
            p.grad = torch.from_numpy(curvature) * p.detach()
            optimizer.step()
            assert math.isclose(p[1].item(), wanted, rel_tol=1e-12), (name, flags)


def test_infinities_are_none_in_json():
    done = work(rules.find("sgd"), once([math.inf]), [1.0], steps=1)
    known = json.loads(json.dumps(done.data(), allow_nan=False))
    assert known["trajectory"]["values"]["p"] == [1.0, None]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"parameter": 2}, "parameter is 2; it must be from 0 to 1: there are 2."),
        ({"steps": 0}, "steps is 0; it must be at least 1."),
    ],
)
def test_mistakes(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        work(rules.find("sgd"), lambda p, t: p, [1.0, 2.0], **asked)


# ---- trajectories


def test_a_trajectory_needs_one_value_per_step():
    with pytest.raises(ValueError, match="p has 1 values; it must have 2, one per step"):
        Trajectory([0, 1], {"p": [1.0]})


def test_a_trajectory_is_strict_json():
    walk = Trajectory([0, 1], {"p": [torch.tensor([1.0, math.nan]), np.array([math.inf, 2.0])], "k": [True, None]})
    assert json.loads(walk.json()) == {
        "steps": [0, 1],
        "values": {"p": [[1.0, None], [None, 2.0]], "k": [True, None]},
    }
    assert walk.at(1)["k"] is None
    assert len(walk) == 2
    assert plain({1: (np.float64(2.5), np.int64(3))}) == {"1": [2.5, 3]}
