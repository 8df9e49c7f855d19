"""Numbers that one can work out on paper."""

import math

import pytest
import torch

import thalweg as tw
from reference import lecture
from torch_cases import number


def steps(cls, gradients, start=0.0, dtype=torch.float64, **settings):
    """How far each step went, downhill counted as positive."""
    p = torch.tensor([start], dtype=dtype, requires_grad=True)
    optimizer = cls([p], **settings)
    moved = []
    for g in gradients:
        before = p.item()
        p.grad = torch.tensor([g], dtype=dtype)
        optimizer.step()
        moved.append(before - p.item())
    return moved


@pytest.mark.parametrize("g", [1e-6, 3.7, 1e6])
@pytest.mark.parametrize("cls", [tw.Adam, tw.AdamW])
def test_adams_first_step_is_lr(cls, g):
    """m / (1 - beta1) = g and v / (1 - beta2) = g^2, so the step is lr * g / |g|."""
    assert steps(cls, [g, g], lr=0.25, eps=0.0, weight_decay=0.0) == pytest.approx([0.25, 0.25], rel=1e-12)
    assert steps(cls, [-g], lr=0.25, eps=0.0) == pytest.approx([-0.25], rel=1e-12)


def test_adams_first_step_without_correction_is_316_percent():
    """0.1 g / sqrt(0.001 g^2) = 0.1 / 0.0316 = 3.162."""
    (first,) = steps(tw.Adam, [7.0], lr=1.0, eps=0.0, bias_correction=False)
    assert first == pytest.approx(0.1 / math.sqrt(0.001), rel=1e-12)
    assert first == pytest.approx(3.162, abs=5e-4)


def test_adams_first_step_as_the_lecture_prints_it_is_ten_lr():
    """With beta1 in the second correction: v = 0.001 g^2 over 0.1 is 0.01 g^2, whose root is g / 10."""
    printed = lecture.adam(eps=0.0, mended=False).step(0.0, 5.0, 1, 1.0)
    assert -printed == pytest.approx(10.0, rel=1e-12)
    assert steps(tw.Adam, [5.0], lr=1.0, eps=0.0) == pytest.approx([1.0], rel=1e-12)


def test_nadams_first_step():
    """With constant mu = beta1: 0.9 * 0.1 g / (1 - 0.81) + 0.1 g / 0.1 = (0.09 / 0.19 + 1) g = 1.4737 g."""
    (first,) = steps(tw.NAdam, [3.0], lr=1.0, eps=0.0, momentum_schedule=False)
    assert first == pytest.approx(0.09 / 0.19 + 1, rel=1e-12)


def test_nadams_momentum_begins_near_half_of_beta1():
    """mu_1 = 0.9 (1 - 0.5 * 0.96^0.004) = 0.45007, kept as the product of all momenta."""
    p = torch.zeros(1, requires_grad=True)
    optimizer = tw.NAdam([p])
    p.grad = torch.ones(1)
    optimizer.step()
    assert optimizer.state[p]["mu_product"].item() == pytest.approx(0.9 * (1 - 0.5 * 0.96**0.004), rel=1e-14)
    assert optimizer.state[p]["mu_product"].item() == pytest.approx(0.45007, abs=1e-5)


def test_adagrad_under_a_constant_gradient_steps_lr_over_root_t():
    moved = steps(tw.Adagrad, [5.0] * 100, lr=0.3, eps=0.0)
    assert moved == pytest.approx([0.3 / math.sqrt(t) for t in range(1, 101)], rel=1e-10)


def test_adagrads_rates_fall_with_the_root_of_the_sum_not_the_sum():
    """The lecture says 1 / SS, its formula has the root: gradients 3 and 4 leave lr * 4 / 5, not 4 / 25."""
    assert steps(tw.Adagrad, [3.0, 4.0], lr=1.0, eps=0.0) == pytest.approx([1.0, 0.8], rel=1e-12)


def test_adagrads_lr_decay():
    """lr / (1 + (t - 1) * 1) on top of 1 / sqrt(t): 1, 1/2/sqrt(2), 1/3/sqrt(3)."""
    moved = steps(tw.Adagrad, [1.0] * 3, lr=1.0, eps=0.0, lr_decay=1.0)
    assert moved == pytest.approx([1.0, 1 / (2 * math.sqrt(2)), 1 / (3 * math.sqrt(3))], rel=1e-12)


def test_momentums_weights_are_100_50_25_percent():
    """The lecture: V_t3 = 0.25 b_1 + 0.5 b_2 + b_3."""
    assert steps(tw.Momentum, [1.0, 0.0, 0.0, 0.0], lr=1.0, momentum=0.5) == [1.0, 0.5, 0.25, 0.125]
    assert steps(tw.Momentum, [100.0, 10.0, 1.0], lr=1.0, momentum=0.5)[2] == 0.25 * 100 + 0.5 * 10 + 1


def test_momentum_as_an_average_moves_one_minus_momentum_as_far():
    """0.9 v + 0.1 g after a single g = 1: 0.1, 0.09, 0.081."""
    moved = steps(tw.Momentum, [1.0, 0.0, 0.0], lr=1.0, momentum=0.9, average=True)
    assert moved == pytest.approx([0.1, 0.09, 0.081], rel=1e-12)


def test_momentum_reaches_lr_over_one_minus_momentum():
    assert steps(tw.Momentum, [1.0] * 300, lr=0.1, momentum=0.9)[-1] == pytest.approx(1.0, rel=1e-12)


def test_dampening_spares_the_first_step():
    """1, then 0.5 * 1 + (1 - 0.75) * 1 = 0.75."""
    assert steps(tw.Momentum, [1.0, 1.0], lr=1.0, momentum=0.5, dampening=0.75) == [1.0, 0.75]


def test_nesterov_counts_the_newest_gradient_one_plus_momentum_times():
    """g + 0.5 g, then the old one fades as 0.25, 0.125."""
    assert steps(tw.Nesterov, [1.0, 0.0, 0.0], lr=1.0, momentum=0.5) == [1.5, 0.25, 0.125]


def test_an_average_of_95_percent_forgets_half_in_13_and_a_half_steps():
    """0.95^13.5 = 0.5003, seen in RMSProp's own average after one gradient of 1."""
    p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = tw.RMSprop([p], alpha=0.95)
    kept = []
    for t in range(28):
        p.grad = torch.full((1,), float(t == 0), dtype=torch.float64)
        optimizer.step()
        kept.append(optimizer.state[p]["square_avg"].item() / 0.05)
    assert kept[13] > 0.5 > kept[14]
    assert kept[27] == pytest.approx(0.95**27, rel=1e-12)
    assert pytest.approx(0.5, abs=5e-4) == 0.95**13.5
    assert math.log(0.5) / math.log(0.95) == pytest.approx(13.5, abs=0.02)


def test_rmsprops_first_step_is_root_of_one_over_one_minus_alpha():
    """lr * g / sqrt(0.01 g^2) = 10 lr; with bias correction lr."""
    assert steps(tw.RMSprop, [4.0], lr=1.0, eps=0.0) == pytest.approx([10.0], rel=1e-12)
    assert steps(tw.RMSprop, [4.0], lr=1.0, eps=0.0, bias_correction=True) == pytest.approx([1.0], rel=1e-12)


@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_centered_rmsprop_stays_finite_under_a_constant_float32_gradient(alpha):
    """The variance goes to 0, and its rounded value may fall below: no root of a negative number.

    Among the same gradients torch's own class has some that end in NaN: the danger is real.
    """
    g = 10 * torch.rand(2000, generator=torch.Generator().manual_seed(0))
    ends = []
    for cls, settings in (
        (tw.RMSprop, {}),
        (tw.RMSprop, {"eps_inside_root": True}),
        (torch.optim.RMSprop, {}),
    ):
        p = torch.zeros(2000, requires_grad=True)
        optimizer = cls([p], lr=1e-3, alpha=alpha, centered=True, **settings)
        for _ in range(1000):
            p.grad = g
            optimizer.step()
        ends.append(torch.isfinite(p).all().item())
    assert ends == [True, True, False]


def test_adadeltas_first_step_is_about_root_eps():
    """sqrt(eps) / sqrt(0.1 g^2 + eps) * g = 1e-3 / sqrt(0.1) for g = 1 and eps = 1e-6."""
    (first,) = steps(tw.Adadelta, [1.0])
    assert first == pytest.approx(1e-3 / math.sqrt(0.1 + 1e-6), rel=1e-12)


def test_adamw_shrinks_by_lr_times_decay():
    """Without gradient, 2 * (1 - 0.1 * 0.5)^3; Adam's coupled decay steps lr instead, whatever its size."""
    p = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    optimizer = tw.AdamW([p], lr=0.1, weight_decay=0.5)
    for _ in range(3):
        p.grad = torch.zeros(1, dtype=torch.float64)
        optimizer.step()
    assert p.item() == pytest.approx(2 * 0.95**3, rel=1e-14)
    for decay in (0.5, 5e-5):
        assert steps(tw.Adam, [0.0], start=2.0, lr=0.1, weight_decay=decay, eps=0.0) == pytest.approx([0.1])


def test_sgds_valley_by_hand():
    """On x^2 / 2 a step of lr multiplies x by 1 - lr."""
    p = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = tw.SGD([p], lr=0.25)
    for _ in range(3):
        p.grad = p.detach().clone()
        optimizer.step()
    assert p.item() == 0.75**3


def reddi(**settings):
    """Reddi, Kale and Kumar 2018, section 3: every third slope is +C, the others -1, on [-1, 1]; best is -1.

    C = 3, beta1 = 0, beta2 = 1 / (1 + C^2), lr / sqrt(t), the point clipped to the interval after each step.
    """
    p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = tw.Adam([p], lr=number(1.0), betas=(0.0, 0.1), **settings)
    for t in range(1, 6001):
        p.grad = torch.tensor([3.0 if t % 3 == 1 else -1.0], dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = 0.5 / math.sqrt(t)
        optimizer.step()
        with torch.no_grad():
            p.clamp_(-1, 1)
    return p.item()


def test_reddis_counterexample():
    """Adam forgets the rare large slope and climbs to +1, the worst point; AMSGrad does not, and reaches -1."""
    settings = {"eps": 0.0, "bias_correction": False}
    assert reddi(**settings) == pytest.approx(1.0, abs=0.05)
    assert reddi(amsgrad=True, **settings) < -0.9
    assert reddi() > 0.95  # as torch has it, with correction and eps, alike
    assert reddi(amsgrad=True) < -0.9


def test_lion_steps_lr_by_the_sign_of_nine_tenths_momentum_and_one_tenth_gradient():
    """1: 0.1 > 0, m = 0.01. -0.05: 0.009 - 0.005 > 0, m = 0.0094. -1: it turns, m = -0.0007, and goes on."""
    assert steps(tw.Lion, [1.0, -0.05, -1.0, 0.0], lr=0.25) == [0.25, 0.25, -0.25, -0.25]


def test_lion_stays_where_the_gradient_is_zero_and_decays_beside_the_sign():
    """sign(0) = 0; with decay 2 -> 2 (1 - 0.1 * 0.5) - 0.1 = 1.8."""
    assert steps(tw.Lion, [0.0, 0.0], start=2.0, lr=0.25) == [0.0, 0.0]
    assert steps(tw.Lion, [3.0], start=2.0, lr=0.1, weight_decay=0.5) == pytest.approx([0.2], rel=1e-14)


def lamb_step(p, g, **settings):
    p = torch.tensor(p, dtype=torch.float64, requires_grad=True)
    before = p.detach().clone()
    p.grad = torch.tensor(g, dtype=torch.float64)
    tw.LAMB([p], lr=0.1, eps=0.0, **settings).step()
    return (before - p.detach()).tolist()


def test_lambs_first_step_by_hand():
    """p = (3, 4) has length 5; Adam's direction (1, -1) has length sqrt(2): the step is 0.1 * 5 / sqrt(2) of it."""
    share = 0.1 * 5 / math.sqrt(2)
    assert lamb_step([3.0, 4.0], [7.0, -0.2]) == pytest.approx([share, -share], rel=1e-12)


def test_lambs_decay_is_inside_the_ratio():
    """u = (1, -1) + (3, 4) = (4, 3) has p's own length: a ratio of 1, and the step is 0.1 u."""
    assert lamb_step([3.0, 4.0], [7.0, -0.2], weight_decay=1.0) == pytest.approx([0.4, 0.3], rel=1e-12)


def test_lamb_without_a_length_takes_adams_step():
    """p = 0: a trust ratio of 1. No gradient: no step. Undecayed and not always_adapt: Adam's step."""
    assert lamb_step([0.0, 0.0], [7.0, -0.2]) == pytest.approx([0.1, -0.1], rel=1e-12)
    p = torch.tensor([3.0, 4.0], requires_grad=True)
    p.grad = torch.zeros(2)
    tw.LAMB([p], lr=0.1).step()
    assert p.tolist() == [3.0, 4.0]
    assert lamb_step([3.0, 4.0], [7.0, -0.2], always_adapt=False) == pytest.approx([0.1, -0.1], rel=1e-12)


def test_lambs_trust_ratio_is_each_tensors_own():
    """A layer a thousand times as large steps a thousand times as far."""
    small, large = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in ([3.0, 4.0], [3e3, 4e3]))
    for p in (small, large):
        p.grad = torch.tensor([7.0, -0.2], dtype=torch.float64)
    tw.LAMB([small, large], lr=0.1).step()
    assert (large.detach() / 1000).tolist() == pytest.approx(small.tolist(), rel=1e-12)
