"""Sums in the C++ kernels: every element once, for sizes around a block (64) and around its four streams (256)."""

import pytest
import torch

import thalweg
from thalweg.engine import cpu
from thalweg.engine.cell import Cell
from thalweg.ops import norm, row_mean, total

SIZES = [0, 1, 63, 64, 65, 255, 256, 257, 300, 511, 1000, 1 << 10, (1 << 18) + 77]


def by_norm(p, g, *, t):
    return p - g / norm(g)


def by_total(p, g, *, t):
    return p - total(g)


def without_mean(p, g, *, t):
    return p - (g - row_mean(g))


def stepped(rule, g):
    (p, _), *_ = cpu.step(rule, [Cell(torch.zeros_like(g), g, {}, 1)], {})
    return p


@pytest.mark.parametrize("size", SIZES)
def test_every_element_counts_once_in_a_total(size):
    g = (torch.arange(size) % 64 + 1).float()  # whole numbers: exact in any order, and no two in a block alike
    assert torch.equal(stepped(by_total, g), torch.full((size,), -float(g.double().sum())))


@pytest.mark.parametrize("size", SIZES)
def test_every_element_counts_once_in_a_norm(size):
    g = (torch.arange(size) % 64 + 1).float()
    torch.testing.assert_close(stepped(by_norm, g), -(g.double() / g.double().norm()).float(), rtol=2e-7, atol=0)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200, 1000])
def test_the_mean_of_a_row_counts_every_element_once(length):
    g = (torch.arange(5 * length) % 97).double().reshape(5, length)
    torch.testing.assert_close(stepped(without_mean, g), g.mean(1, keepdim=True) - g, rtol=1e-14, atol=1e-14)


def test_a_norm_is_summed_in_double():
    """Squares that float32 can neither hold nor add up."""
    g = torch.tensor([1e30, *[1e-3] * 299])
    assert torch.equal(stepped(by_norm, g)[:1], torch.tensor([-1.0]))
    g = torch.cat([torch.tensor([4096.0]), torch.full((1 << 12,), 0.5)])  # each square alone is lost beside 2^24
    torch.testing.assert_close(stepped(by_norm, g), -(g.double() / g.double().norm()).float(), rtol=2e-7, atol=0)


def test_a_sum_that_nobody_uses_is_harmless_in_every_step():
    """Such a rule is one kernel, and that one has a sum: the prepared step of one kernel had no room for it."""

    def unused(p, g, *, t, lr=0.125):
        norm(g)
        return p - lr * g

    p = torch.nn.Parameter(torch.ones(100))
    optimizer = thalweg.optimizer(unused)([p])
    for _ in range(4):
        p.grad = torch.ones(100)
        optimizer.step()
    assert torch.equal(p.detach(), torch.full((100,), 0.5))
