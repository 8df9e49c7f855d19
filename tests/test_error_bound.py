"""The bound on rounding is a bound, is near what rounding does, and sees what rounding cannot explain."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg import ops, rules
from thalweg.engine import eager
from thalweg.engine.cell import AS_TORCH
from thalweg.engine.error_bound import Bounded, bounded_walk, furthest
from thalweg.engine.store import Store
from thalweg.engine.walk import beginning, gradients, settings_of, walk
from thalweg.signature import signature_of

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
STORES = {
    "as torch": AS_TORCH,
    "half": Store(torch.bfloat16),
    "by chance": Store(torch.bfloat16, "stochastic"),
    "kahan": Store(kahan=True),
    "all": Store(torch.bfloat16, "stochastic", kahan=True),
    "wide": Store(torch.float32, kahan=True),
}


def bounded(x: torch.Tensor) -> Bounded:
    return Bounded(x.double(), torch.zeros_like(x, dtype=torch.float64), torch.float32)


# ---- a bound: against arithmetic without rounding


def expression(a, b, c):
    """Every operation that rounds and that fractions know."""
    return (0.9 * a + 0.1 * b * b) / (c * c + 0.5) - (a - b) * 3.0 / 7.0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3))
def test_float32_lies_within_the_bound_around_exact_fractions(numbers):
    narrow = expression(*(torch.tensor([x], dtype=torch.float32) for x in numbers))
    bound = expression(*(bounded(torch.tensor([x])) for x in numbers))
    a, b, c = map(Fraction, numbers)
    literal = [Fraction(x) for x in (0.9, 0.1, 0.5, 3.0, 7.0)]
    exact = (literal[0] * a + literal[1] * b * b) / (c * c + literal[2]) - (a - b) * literal[3] / literal[4]
    off = abs(Fraction(float(narrow)) - exact)
    assert off <= Fraction(float(bound.error)) * Fraction(1 + 2**-20)
    assert float(bound.error) <= 40 * 2**-24 * (sum(map(abs, numbers)) + max(map(abs, numbers)) ** 2 + 1)


@pytest.mark.parametrize("name", ["sqrt", "exp", "log", "tanh", "abs", "norm", "total"])
def test_functions_in_float32_lie_within_the_bound(name):
    x = torch.logspace(-6, 1, 4000)
    x = x * torch.where(torch.arange(4000) % 2 == 0, 1, -1) if name in ("tanh", "abs", "exp") else x
    narrow = getattr(ops, name)(0.3 * x)
    bound = getattr(ops, name)(0.3 * bounded(x))
    assert ((narrow.double() - bound.value).abs() <= bound.error).all()


def test_a_comparison_on_the_edge_may_go_either_way():
    x = bounded(torch.tensor([1.0, 1.0, 2.0])) * 0.1  # 0.1 is no float32
    chosen = ops.where(x > 0.1, 5.0, 0.0)
    assert chosen.error.tolist() == [5.0, 5.0, 0.0]
    assert ops.sign(x - 0.1).error.tolist() == [2.0, 2.0, 0.0]
    larger = ops.maximum(x, 0.1)
    assert (larger.error <= x.error.max() + 1e-8).all()


def test_dividing_by_what_may_be_zero_has_no_bound():
    x = bounded(torch.tensor([1.0])) * 0.1
    assert (1.0 / (x - 0.1)).error.isinf().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", rules.names())
def test_every_rule_stays_within_and_the_bound_is_near(name, store, dtype):
    if STORES[store].refuses(torch.zeros(1, dtype=dtype)):
        pytest.skip("refused")
    rule = rules.find(name)
    hyper = next(iter(settings_of(rule)))
    p, grads = beginning((64,), dtype), gradients((64,), 20, dtype)
    ratios = [
        furthest(cell.kept, wanted)[1]
        for cell, wanted in zip(
            walk(rule, hyper, p, grads, store=STORES[store]),
            bounded_walk(rule, hyper, p, grads, STORES[store]),
            strict=True,
        )
    ]
    assert max(ratios) <= 1
    if dtype is not torch.float64:  # there, eager is the float64 walk itself
        assert max(ratios) >= 0.1


# ---- no pass for what is wrong


def wrong(change):
    """Eager, with a mistake."""

    class Engine:
        @staticmethod
        def step(rule, cells, hyper):
            return change(rule, cells, hyper)

    return Engine


def another_eps(rule, cells, hyper):
    return eager.step(rule, cells, {**hyper, "eps": hyper["eps"] * 1.5})


def another_beta(rule, cells, hyper):
    return eager.step(rule, cells, {**hyper, "beta2": hyper["beta2"] + 1e-4})


def rounds_twice(rule, cells, hyper):
    narrow = [c._replace(slots={n: s.bfloat16() for n, s in c.slots.items()}) for c in cells]
    return [(p, {n: s.float() for n, s in slots.items()}) for p, slots in eager.step(rule, narrow, hyper)]


def late_by_one(rule, cells, hyper):
    return eager.step(rule, [c._replace(t=c.t + 1) for c in cells], hyper)


@pytest.mark.parametrize("mistake", [another_eps, another_beta, rounds_twice, late_by_one])
def test_a_mistake_is_outside(mistake):
    rule = rules.find("adam")
    hyper = {**signature_of(rule).defaults, "eps": 1e-3}
    p, grads = beginning((64,), torch.float32), gradients((64,), 20, torch.float32)
    wanted = list(bounded_walk(rule, hyper, p, grads))
    found = walk(rule, hyper, p, grads, wrong(mistake))
    assert max(furthest(c.kept, w)[1] for c, w in zip(found, wanted, strict=True)) > 10


def test_bfloat16_parameters_without_their_compensation_are_outside():
    rule, store = rules.find("momentum"), Store(kahan=True)
    hyper = signature_of(rule).defaults
    p, grads = beginning((64,), torch.bfloat16), gradients((64,), 20, torch.bfloat16)
    wanted = list(bounded_walk(rule, hyper, p, grads, store))
    found = walk(rule, hyper, p, grads)
    assert max(furthest(c.kept, w)[1] for c, w in zip(found, wanted, strict=True)) > 10


def test_where_the_formula_divides_by_nothing_no_number_is_wrong():
    """RMSprop, centred and corrected: at the first step the variance is g^2 - g^2."""
    rule = rules.find("rmsprop")
    hyper = {**signature_of(rule).defaults, "centered": True, "bias_correction": True}
    p, grads = beginning((8,), torch.float32), gradients((8,), 1, torch.float32)
    [wanted] = bounded_walk(rule, hyper, p, grads)
    assert wanted["p"].error.isinf().any()


def test_matrix_operations_have_no_bound():
    with pytest.raises(NotImplementedError, match="no bound is known for the rounding of matmul"):
        ops.matmul(bounded(torch.eye(2)), bounded(torch.eye(2)))
