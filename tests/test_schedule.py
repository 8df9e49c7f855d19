"""Schedules: the factors by hand and against torch's own pieces put together."""

import math
import warnings

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from thalweg import schedule


def lrs(make, steps, lr=2.0, **more):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(optimizer, steps, **more)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen, optimizer.param_groups[0]["lr"]


def torchs(optimizer, steps, warmup):
    w = round(warmup * steps)
    rise = LinearLR(optimizer, start_factor=1 / w, end_factor=1.0, total_iters=w - 1)
    fall = CosineAnnealingLR(optimizer, T_max=steps - w)
    return SequentialLR(optimizer, [rise, fall], milestones=[w])


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.05), (1000, 0.05), (200, 0.1)])
def test_warmup_cosine_is_torchs_linear_then_cosine(steps, warmup):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's SequentialLR warns about its own epoch argument
        expected, _ = lrs(torchs, steps, warmup=warmup)
    seen, after = lrs(schedule.warmup_cosine, steps, warmup=warmup)
    assert seen == pytest.approx(expected, abs=1e-12)
    assert after == 0.0


def test_warmup_cosine_by_hand():
    seen, after = lrs(schedule.warmup_cosine, 6, lr=1.0, warmup=1 / 3)
    halves = [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert seen == pytest.approx([0.5, 1.0, *halves])
    assert after == 0.0


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_short_run_takes_its_steps_at_a_positive_rate(steps):
    seen, after = lrs(schedule.warmup_cosine, steps)
    assert seen[0] == 2.0
    assert min(seen) > 0
    assert after == 0.0


def test_lr_stays_0_after_the_last_step():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = schedule.warmup_cosine(optimizer, 5)
    for _ in range(8):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_constant_leaves_lr_alone():
    seen, after = lrs(schedule.constant, 7)
    assert {*seen, after} == {2.0}


def test_mistakes_are_named():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(ValueError, match=r"steps is 0; it must be a whole number of optimizer steps, at least 1"):
        schedule.warmup_cosine(optimizer, 0)
    with pytest.raises(ValueError, match=r"warmup is 2; it must be a share"):
        schedule.warmup_cosine(optimizer, 10, warmup=2)
    with pytest.raises(ValueError, match=r"schedule is 'tuend'.*in a comparison also 'tuned'\. Did you mean 'tuned'"):
        schedule.find("tuend")
    with pytest.raises(ValueError, match=r"schedule is 'warmup_cosin'.*Did you mean 'warmup_cosine'"):
        schedule.find("warmup_cosin")


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.05), (200, 0.1)])
def test_warmup_linear_is_torchs_two_lines(steps, warmup):
    def torchs_lines(optimizer, steps, warmup):
        w = round(warmup * steps)
        rise = LinearLR(optimizer, start_factor=1 / w, end_factor=1.0, total_iters=w - 1)
        fall = LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps - w)
        return SequentialLR(optimizer, [rise, fall], milestones=[w])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, _ = lrs(torchs_lines, steps, warmup=warmup)
    seen, after = lrs(schedule.warmup_linear, steps, warmup=warmup)
    assert seen == pytest.approx(expected, abs=1e-12)
    assert after == 0.0


def test_wsd_rises_stays_and_falls():
    seen, after = lrs(schedule.wsd, 100, lr=1.0)
    assert seen[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(seen[5:80]) == {1.0}
    assert seen[80:] == pytest.approx([1 - i / 20 for i in range(20)])
    assert after == 0.0
    assert set(lrs(schedule.wsd, 100, lr=1.0, decay=0.0)[0][5:]) == {1.0}
    with pytest.raises(ValueError, match=r"decay is 0\.99; it must be a share of the steps, from 0 to 1 - warmup"):
        lrs(schedule.wsd, 10, decay=0.99)
