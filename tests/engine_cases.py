"""What the C++ engine and the Triton engine are both tried on: rules with every word and with cuts, odd numbers."""

import math

import torch

from thalweg import rules
from thalweg.arguments import with_decay
from thalweg.engine import eager
from thalweg.engine.cell import Cell, starts
from thalweg.ops import abs, exp, log, maximum, minimum, norm, ratio, row_mean, sign, sqrt, tanh, total, where
from thalweg.signature import Slot, signature_of


def every_word(p, g, m, *, t, lr=0.1, beta=0.9, warm=False):
    m = beta * m + (1 - beta) * sign(g) * sqrt(abs(g)) + tanh(g) * log(1 + abs(p)) - exp(-abs(g))
    step = where(m > p, maximum(m, -1.0), minimum(m, 1.0)) ** 3
    return p - lr * step * where(t > 2, 1.0, 0.5), m


def lamb_like(p, g, m, *, t, lr=0.1, beta=0.9, weight_decay=0.1):
    m = beta * m + (1 - beta) * g
    r = m / (1 - beta**t) + weight_decay * p
    return p - lr * ratio(norm(p), norm(r)) * r, m


def clipped(p, g, *, t, lr=0.1, limit=1.0):
    return p - lr * g * minimum(1.0, ratio(limit, sqrt(total(g * g))))


def stored_direction(p, g, m, *, t, lr=0.1):
    """Needs the old m after the new one is written: a temporary between the kernels."""
    d = g - m
    return p - lr * d / norm(d), m + 0.5 * g


def counting(p, g, d=Slot(start=1.0, shape="number"), n=Slot(shape="number"), *, t, lr=0.1):
    d = d + norm(g)
    n = n + 1
    return p - lr / n * g / d, d, n


def means_of_rows(p, g, *, t, lr=0.1):
    """One mean of the other's, a length of what is left, and a mean in the kernel behind the cut."""
    g = g - row_mean(g)
    g = g * g - row_mean(p + g * g)
    return p - lr * (g / norm(g) + row_mean(g * p))


def cells(rule, shapes, dtype=torch.float64, t=1, **settings):
    hyper = {**signature_of(rule).defaults, **settings}
    generator = torch.Generator().manual_seed(0)
    made = []
    for shape in shapes:
        p, g = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
        made.append(Cell(p, g, starts(rule, hyper, p), t))
    return made, hyper


def walk(engine, rule, shapes, steps=4, dtype=torch.float64, **settings):
    now, hyper = cells(rule, shapes, dtype, **settings)
    for t in range(1, steps + 1):
        done = engine.step(rule, [c._replace(t=t) for c in now], hyper)
        now = [c._replace(p=p, slots=slots) for c, (p, slots) in zip(now, done, strict=True)]
    return now


def same(a, b, tolerance):
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(y.p, x.p, rtol=tolerance, atol=tolerance, equal_nan=True)
        for name in x.slots:
            torch.testing.assert_close(y.slots[name], x.slots[name], rtol=tolerance, atol=tolerance, equal_nan=True)


SHAPES = [(), (0,), (1,), (7,), (3, 5), (2, 3, 4), (33,)]
WITH_CUTS = [every_word, stored_direction, lamb_like, counting, means_of_rows]
ODD = [0.0, -0.0, 1e-30, 1e30, 1e-42, 3e38, math.inf, -math.inf, math.nan, 1.0]


def shapes_for(rule):
    """Without elements there is no direction to divide by the length of."""
    return SHAPES if rule is every_word else [s for s in SHAPES if s != (0,)]


def odd_gradients_behave_as_in_eager(engine, name, dtype, steps):
    rule = with_decay(rules.find(name))
    p = torch.linspace(-1, 1, len(ODD), dtype=torch.float64).to(dtype)
    g = torch.tensor(ODD, dtype=torch.float64).to(dtype)
    hyper = signature_of(rule).defaults
    slots = starts(rule, hyper, p)
    for t in range(1, steps + 1):
        cell = Cell(p, g, slots, t)
        [(a, a_slots)], [(b, b_slots)] = eager.step(rule, [cell], hyper), engine.step(rule, [cell], hyper)
        tolerance = 16 * torch.finfo(dtype).eps
        torch.testing.assert_close(b, a, rtol=tolerance, atol=0, equal_nan=True)
        for n in slots:
            torch.testing.assert_close(b_slots[n], a_slots[n], rtol=tolerance, atol=0, equal_nan=True)
        p, slots = a, a_slots


# ---- the same through the door, in float64


def parameters(seed=0, shapes=((5,), (2, 3), ())):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]


def drive(optimizer, steps=4, first=0):
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for t in range(first, first + steps):
        generator = torch.Generator().manual_seed(t)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        optimizer.step()
    return params


def alike(ours, theirs):
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-12, atol=1e-14)
