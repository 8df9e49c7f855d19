"""How much the past counts: the expected numbers are theory's and the lecture's."""

from __future__ import annotations

import json
import math

import pytest

from thalweg import rules
from thalweg.arguments import with_decay
from thalweg.engine.history import Memory, bar, history
from thalweg.ops import sign
from thalweg.signature import signature_of


def past(name, steps=16, **settings):
    return history(rules.find(name), steps, **settings)


def test_momentum_counts_100_50_25_percent():
    found = past("momentum", momentum=0.5)
    assert found.memories["step"].shares[:4] == [1.0, 0.5, 0.25, 0.125]
    assert found.memories["step"].half_life == pytest.approx(1.0)
    assert found.memories["step"].window == pytest.approx(2.0)


def test_the_heavy_balls_weights_are_powers_of_beta():
    found = past("momentum", momentum=0.9, lr=0.1)
    assert found.memories["step"].weights == pytest.approx([0.1 * 0.9**k for k in range(16)], rel=1e-12)
    assert found.memories["v"].weights == pytest.approx([0.9**k for k in range(16)], rel=1e-12)
    assert past("momentum", average=True).memories["v"].weights[:2] == pytest.approx([0.1, 0.09])


def test_a_velocity_reaches_one_over_one_minus_beta():
    assert past("momentum", 400, momentum=0.9).rates[-1] == pytest.approx(10, rel=1e-12)


def test_nesterovs_newest_gradient_counts_one_plus_momentum():
    weights = past("nesterov", momentum=0.9, lr=1.0).memories["step"].weights
    assert weights[:3] == pytest.approx([1.9, 0.9**2, 0.9**3])


def test_an_average_at_095_has_half_life_13_5_and_window_20():
    memory = past("rmsprop", alpha=0.95).memories["v"]
    assert memory.half_life == pytest.approx(math.log(0.5) / math.log(0.95))
    assert round(memory.half_life, 1) == 13.5
    assert memory.window == pytest.approx(20)
    assert memory.shares[1] == pytest.approx(0.95)


@pytest.mark.parametrize(("beta", "window"), [(0.9, 10), (0.99, 100), (0.999, 1000)])
def test_the_window_is_one_over_one_minus_beta(beta, window):
    assert past("adam", beta1=beta).memories["m"].window == pytest.approx(window, rel=1e-6)


def test_half_life_and_window_do_not_depend_on_how_far_one_looks():
    near, far = (past("adam", steps).memories["m"] for steps in (8, 64))
    assert near.half_life == pytest.approx(far.half_life)
    assert near.window == pytest.approx(far.window)


def test_adams_direction_forgets_as_its_m_does():
    found = past("adam", eps=0.0)
    assert found.memories["step"].shares == pytest.approx([0.9**k for k in range(16)])
    full = sum(0.1 * 0.9**k for k in range(16))
    assert sum(found.memories["step"].weights) == pytest.approx(1e-3)  # lr, as all gradients are 1
    assert found.memories["step"].weights[0] == pytest.approx(1e-3 * 0.1 / full)
    assert found.held


def test_decay_is_no_memory_of_gradients():
    assert past("adamw").memories["step"].shares == pytest.approx([0.9**k for k in range(16)])


def test_adagrad_never_forgets_and_its_rate_shrinks_as_one_over_root_t():
    found = past("adagrad", 64, eps=0.0)
    assert found.rates == pytest.approx([1 / math.sqrt(t) for t in range(1, 65)], rel=1e-12)
    assert found.trend == pytest.approx(-0.5)
    assert found.memories["s"].shares == [1.0] * 64
    assert found.memories["s"].half_life == math.inf
    assert found.memories["s"].window == math.inf
    assert found.memories["step"].shares[:2] == [1.0, 0.0]
    assert "shrinks as t^-0.5" in str(found)
    assert "for ever" in str(found)


@pytest.mark.parametrize("gradient", [1.0, -3.0, 1e-6, 1e6])
def test_adams_first_step_is_lr_and_without_correction_3_162_lr(gradient):
    """0.1 / sqrt(0.001) = 3.1622..., whatever the gradient."""
    sure = history(rules.find("adam"), 1, [gradient], eps=0.0)
    assert abs(sure.rates[0]) == pytest.approx(1.0, rel=1e-12)
    unsure = history(rules.find("adam"), 1, [gradient], eps=0.0, bias_correction=False)
    assert abs(unsure.rates[0]) == pytest.approx(0.1 / math.sqrt(0.001), rel=1e-12)
    assert round(abs(unsure.rates[0]), 3) == 3.162


def test_adams_rate_stays_the_same_under_a_constant_gradient():
    found = past("adam", 32, eps=0.0)
    assert found.rates == pytest.approx([1.0] * 32, rel=1e-9)
    assert "stays the same" in str(found)


def test_sgd_has_no_memory():
    found = past("sgd")
    assert found.memories.keys() == {"step"}
    assert found.memories["step"].window == 1
    assert found.memories["step"].half_life is None
    assert "the newest only" in str(found)
    assert not found.held


def test_a_rule_that_takes_the_sign_has_no_derivative_and_says_so():
    def lion(p, g, m, *, t, lr=0.1, beta=0.9):
        m = beta * m + (1 - beta) * g
        return p - lr * sign(m), m

    found = history(lion, 4)
    assert all(math.isnan(share) for share in found.memories["step"].shares)
    first = {line.split()[0]: line.split()[1] for line in str(found).splitlines() if line.startswith("  ")}
    assert (first["newest"], first["window"]) == ("none", "none")
    assert found.memories["m"].shares == pytest.approx([0.9**k for k in range(4)])
    json.dumps(found.data(), allow_nan=False)


def test_the_derivative_is_that_of_the_gradients_given():
    found = history(rules.find("rmsprop"), 2, [3.0, 5.0], alpha=0.5)
    assert found.memories["v"].weights == pytest.approx([0.5 * 2 * 5, 0.25 * 2 * 3])


@pytest.mark.parametrize("name", rules.names())
def test_every_rule_under_every_flag(name):
    rule = with_decay(rules.find(name))
    for flags in signature_of(rule).flag_settings():
        for steps in (1, 5):
            found = history(rule, steps, **flags)
            assert len(found.rates) == steps
            json.dumps(found.data(), allow_nan=False)
            assert str(found).count("step 1") >= 1


def test_an_unsettled_memory_is_not_given_a_number():
    memory = Memory([1.0, 0.9, 0.7, 0.65])
    assert memory.factor is None
    assert memory.half_life is None
    assert memory.window is None


def test_mistakes():
    with pytest.raises(ValueError, match="steps is 0"):
        past("sgd", 0)
    with pytest.raises(ValueError, match="steps is 3 with 2 gradients"):
        history(rules.find("sgd"), 3, [1.0, 2.0])


def test_bars():
    assert [bar(x, 2) for x in (0.0, 1 / 16, 0.5, 0.75, 1.0, 3.0, math.nan, -1.0)] == [
        "", "▏", "█", "█▌", "██", "██", "", "",
    ]  # fmt: skip
