"""Numbers from theory that the rules have to give: none of them comes from our own code.

The rate of a rule on a quadratic is the spectral radius of its step's Jacobian, got by differentiating the rule.
"""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from thalweg import rules
from thalweg.landscape import Landscape
from thalweg.racing.race import race
from thalweg.racing.rates import contraction
from thalweg.racing.walk import walk
from thalweg.signature import signature_of


def quadratic(*curvatures: float) -> Landscape:
    h = torch.tensor(curvatures, dtype=torch.float64)
    return Landscape(
        "quadratic", lambda p: 0.5 * (h * p * p).sum(-1), start=(1.0,) * len(h), domain=((-2.0, 2.0),) * len(h),
        minima=((0.0,) * len(h),), lowest=0.0,
    )  # fmt: skip


def path(name: str, place: Landscape, steps: int, **hyper) -> torch.Tensor:
    """The positions of one walk, (steps + 1, n)."""
    rule = rules.find(name)
    settings = {**signature_of(rule).defaults, **hyper}
    return walk(rule, place, place.point(), steps, settings, members=1).positions[:, 0]


def radius(name: str, curvature: float, **hyper) -> float:
    """The spectral radius of one step's Jacobian in (p, v) on curvature / 2 p^2."""
    rule = partial(rules.find(name), t=2, **hyper)

    def step(state: torch.Tensor) -> torch.Tensor:
        p = state[0]
        result = rule(p, curvature * p, *state[1:])
        return torch.stack(list(result) if isinstance(result, tuple) else [result])

    size = 1 if name == "sgd" else 2
    jacobian = torch.autograd.functional.jacobian(step, torch.ones(size, dtype=torch.float64))
    assert isinstance(jacobian, torch.Tensor)
    return float(torch.linalg.eigvals(jacobian).abs().max())


def steps_per_digit(rate: float) -> float:
    return -1 / math.log10(rate)


# ---- gradient descent


@pytest.mark.parametrize("curvature", [0.5, 3.0, 40.0])
@pytest.mark.parametrize(("product", "converges"), [(0.01, True), (1.0, True), (1.99, True), (2.01, False), (5, False)])
def test_gradient_descent_converges_exactly_below_two_over_curvature(curvature, product, converges):
    lr = product / curvature
    assert (radius("sgd", curvature, lr=lr) < 1) is converges
    places = path("sgd", quadratic(curvature), 1000, lr=lr).abs()[:, 0]
    assert bool(places[-1] < places[0]) is converges
    assert bool(torch.isfinite(places[-1]) and places[-1] < 1e-4) is converges


def test_at_the_limit_it_neither_converges_nor_diverges():
    assert radius("sgd", 4.0, lr=0.5) == 1
    assert path("sgd", quadratic(4.0), 100, lr=0.5).abs().unique().tolist() == [1.0]
    assert radius("sgd", 4.0, lr=-0.1) > 1  # and uphill it goes with a negative rate


@pytest.mark.parametrize(("lr", "curvature", "deviation"), [(0.1, 1.0, 2.0), (0.3, 2.0, 0.5), (0.05, 5.0, 1.0)])
def test_with_noise_it_hovers_with_the_known_variance(lr, curvature, deviation):
    noise = deviation * torch.randn(601, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    place = quadratic(curvature)
    noisy = replace(place, sample=lambda p, t, seed: place.value(p) + noise[t - 1] * p[..., 0])
    walks = walk(rules.find("sgd"), noisy, place.point(), 600, {"lr": lr}, members=200)
    settled = walks.positions[200:, :, 0]  # 200 walks that have forgotten their start
    expected = lr * deviation**2 / (curvature * (2 - lr * curvature))
    assert float(settled.var()) == pytest.approx(expected, rel=0.05)


# ---- condition 100


def test_gradient_descent_at_its_best_needs_115_steps_per_digit_on_condition_100():
    lr = 2 / (1 + 100)
    rate = max(radius("sgd", h, lr=lr) for h in (1.0, 100.0))
    assert rate == pytest.approx(99 / 101)
    assert steps_per_digit(rate) == pytest.approx(115, rel=0.005)
    distance = path("sgd", quadratic(1.0, 100.0), 600, lr=lr).abs().amax(1, keepdim=True)
    assert steps_per_digit(float(contraction(distance))) == pytest.approx(115, rel=0.05)
    for other in (0.97 * lr, 1.03 * lr):
        assert max(radius("sgd", h, lr=other) for h in (1.0, 100.0)) > rate


BEST = {"lr": (2 / (1 + 10)) ** 2, "momentum": (9 / 11) ** 2}  # Polyak: curvatures 1 and 100, roots 1 and 10


def test_the_heavy_ball_at_its_best_needs_eleven_and_a_half():
    rate = max(radius("momentum", h, **BEST) for h in (1.0, 100.0))
    assert rate == pytest.approx(9 / 11, rel=1e-6)
    assert steps_per_digit(rate) == pytest.approx(11.5, rel=0.005)
    distance = path("momentum", quadratic(1.0, 100.0), 600, **BEST).abs().amax(1, keepdim=True)
    assert steps_per_digit(float(contraction(distance))) == pytest.approx(11.5, rel=0.05)


@pytest.mark.parametrize("beta", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("product", [0.3, 1.0, 2.0])
def test_the_heavy_balls_rate_is_the_root_of_beta_where_it_swings(beta, product):
    """For v = beta v + g, p = p - lr v; as long as the roots are complex."""
    assert (1 - math.sqrt(product)) ** 2 < beta < 1
    assert radius("momentum", 4.0, lr=product / 4, momentum=beta) == pytest.approx(math.sqrt(beta), rel=1e-9)


@pytest.mark.parametrize("product", [0.04, 0.25, 0.64])
def test_the_critical_beta(product):
    """Below (1 - sqrt(lr lambda))^2 the ball creeps, above it swings; there it is fastest."""
    critical = (1 - math.sqrt(product)) ** 2
    fastest = radius("momentum", 1.0, lr=product, momentum=critical)
    assert fastest == pytest.approx(math.sqrt(critical), abs=1e-7)
    for off in (-0.02, 0.02):
        assert radius("momentum", 1.0, lr=product, momentum=critical + off) > fastest
    swings = path("momentum", quadratic(1.0), 200, lr=product, momentum=critical + 0.05)
    creeps = path("momentum", quadratic(1.0), 200, lr=product, momentum=critical - 0.05)
    assert (swings < 0).any()
    assert (creeps >= -1e-12).all()


# ---- averages and adaptive rates


def test_an_average_at_095_forgets_half_in_thirteen_and_a_half_steps_and_looks_back_twenty():
    """RMSProp's average of squares, differentiated: the weight of a gradient t steps ago."""
    rule = partial(rules.find("rmsprop"), t=1, alpha=0.95)
    zero = torch.zeros((), dtype=torch.float64)

    def after(squares: torch.Tensor) -> torch.Tensor:
        v = zero
        for square in squares:
            _, v, *_ = rule(zero, square.sqrt(), v, None, None)
        return v

    count = 400
    weights = torch.autograd.functional.jacobian(after, torch.ones(count, dtype=torch.float64))
    assert isinstance(weights, torch.Tensor)
    newest_first = weights.flip(0)
    ages = torch.arange(count, dtype=torch.float64)
    half_life = math.log(0.5) / math.log(float(newest_first[1] / newest_first[0]))
    assert half_life == pytest.approx(13.5, abs=0.05)
    window = 1 / float(newest_first[0])
    assert window == pytest.approx(20)
    assert float((newest_first * (ages + 1)).sum()) == pytest.approx(20, rel=1e-6)  # the mean age, too


def first_step(name: str, gradient: float, **hyper) -> float:
    place = Landscape("slope", lambda p: gradient * p[..., 0], start=(0.0,))
    return abs(float(path(name, place, 1, **hyper)[1, 0]))


@pytest.mark.parametrize("gradient", [1e-3, 1.0, -250.0])
def test_adams_first_step_is_lr_and_without_correction_3162_lr(gradient):
    assert first_step("adam", gradient, lr=0.1, eps=0.0) == pytest.approx(0.1, rel=1e-14)
    uncorrected = first_step("adam", gradient, lr=0.1, eps=0.0, bias_correction=False)
    assert uncorrected == pytest.approx(0.1 * 0.1 / math.sqrt(0.001), rel=1e-12)
    assert uncorrected / 0.1 == pytest.approx(3.162, abs=5e-4)


def test_adagrads_steps_shrink_with_the_root_of_t():
    place = Landscape("slope", lambda p: 7.0 * p[..., 0], start=(0.0,))
    lengths = path("adagrad", place, 50, lr=0.3, eps=0.0).diff(dim=0).abs()[:, 0]
    assert lengths.tolist() == pytest.approx([0.3 / math.sqrt(t) for t in range(1, 51)], rel=1e-12)


def test_on_reddis_example_adam_goes_the_wrong_way_and_amsgrad_does_not():
    done = race("reddi", steps=1000)
    adam, amsgrad = done.runs
    assert adam.settings["beta1"] == 0
    assert adam.settings["beta2"] == pytest.approx(0.1)
    assert done.decay == "sqrt"
    assert amsgrad.settings["amsgrad"] is True
    assert sum(adam.trajectory["x"][-30:]) / 30 == pytest.approx(1, abs=0.05)
    assert sum(amsgrad.trajectory["x"][-30:]) / 30 == pytest.approx(-1, abs=0.05)
    assert adam.ending == "ended higher than it began"
    for run in done.runs:  # inside, and the projection is on record
        assert max(map(abs, run.trajectory["x"])) == 1
        assert max(run.trajectory["correction"]) > 0


# ---- rotation


@pytest.mark.parametrize(
    ("name", "equivariant"),
    [("sgd", True), ("momentum", True), ("nesterov", True), ("adagrad", False), ("rmsprop", False), ("adam", False)],
)
def test_who_only_turns_with_the_valley(name, equivariant):
    straight = race("valley", name, lr=0.02, steps=100).runs[0].trajectory
    turned = race("valley", name, lr=0.02, steps=100, rotate=45).runs[0].trajectory
    half = math.sqrt(0.5)
    gap = max(
        max(abs(half * (x - y) - u), abs(half * (x + y) - v))
        for x, y, u, v in zip(straight["x"], straight["y"], turned["x"], turned["y"], strict=True)
    )
    assert (gap < 1e-12) is equivariant
    assert equivariant or gap > 1e-2
