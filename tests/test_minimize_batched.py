"""Many problems at once: each goes as it would alone, the finished cost nothing, a failing one harms nobody."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import thalweg as tw
from minimize_cases import starts, valley
from thalweg.minimize import METHODS, problem

EVERY = sorted(METHODS)


@pytest.mark.parametrize("method", EVERY)
def test_every_member_behaves_as_alone(method):
    x0 = starts(64)
    batch = tw.minimize(valley, x0, method=method, batched=True)
    assert batch.success.all()
    assert batch.x.shape == batch.grad.shape == (64, 3)
    for i in range(64):
        alone = tw.minimize(valley, x0[i], method=method)
        assert (int(batch.nit[i]), int(batch.nfev[i])) == (alone.nit, alone.nfev)
        assert (int(batch.nhev[i]), int(batch.nhvp[i])) == (alone.nhev, alone.nhvp)
        torch.testing.assert_close(batch.x[i], alone.x, rtol=1e-7, atol=1e-9)
        assert batch.message[i] == alone.message


@pytest.mark.parametrize("method", EVERY)
def test_a_failing_member_harms_nobody(method):
    x0 = starts(6)
    reference = tw.minimize(valley, x0, method=method, batched=True)

    def troubled(x, kind):
        value = valley(x) + torch.where(kind == 1, torch.nan, 0.0)  # never finite
        return torch.where(kind == 2, -x.sum(), value)  # falls for ever

    kind = torch.tensor([0, 1, 0, 2, 0, 0])
    result = tw.minimize(troubled, x0, args=(kind,), method=method, batched=True, options={"maxiter": 500})
    good = kind == 0
    assert result.success[good].all()
    assert not result.success[~good].any()
    torch.testing.assert_close(result.x[good], reference.x[good], rtol=1e-7, atol=1e-9)
    assert torch.equal(result.nit[good], reference.nit[good])
    assert "not finite at x0" in result.message[1]
    assert torch.equal(result.x[1], x0[1])


def test_the_finished_are_evaluated_no_more():
    sizes = []

    def fun(x, scale):
        sizes.append(len(x))
        return (scale[:, None] * (x - 1) ** 2 * torch.tensor([1.0, 50.0])).sum(-1) + (x**4).sum(-1) * (scale > 1)

    scale = torch.tensor([1.0] * 10 + [3.0, 7.0], dtype=torch.float64)
    result = tw.minimize(fun, torch.zeros(12, 2, dtype=torch.float64), (scale,), batched=True, vectorized=True)
    assert result.success.all()
    assert sizes[0] == 12
    assert sizes[-1] < 12
    assert sum(sizes) == int(result.nfev.sum())


def test_numpy_one_by_one_or_all_at_once():
    rng = np.random.default_rng(0)
    target, x0 = rng.standard_normal((5, 4)), np.zeros((5, 4))
    weights = np.array([1.0, 3.0, 10.0, 40.0])

    def one(x, target):
        return (weights * (x - target) ** 2).sum() + ((x - target) ** 4).sum(), (
            2 * weights * (x - target) + 4 * (x - target) ** 3
        )

    def all_at_once(x, target):
        return (weights * (x - target) ** 2).sum(-1) + ((x - target) ** 4).sum(-1), (
            2 * weights * (x - target) + 4 * (x - target) ** 3
        )

    first = tw.minimize(one, x0, (target,), jac=True, batched=True)
    second = tw.minimize(all_at_once, x0, (target,), jac=True, batched=True, vectorized=True)
    for result in (first, second):
        assert isinstance(result.x, np.ndarray)
        assert result.success.all()
        np.testing.assert_allclose(result.x, target, atol=1e-5)
    np.testing.assert_array_equal(first.nit, second.nit)


@pytest.mark.parametrize("method", ["newton", "newton-cg", "newton-line", "lbfgs"])
def test_vectorized_is_the_same_as_vmap(method):
    x0 = starts(8)

    def many(x):
        return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(-1)

    first = tw.minimize(valley, x0, method=method, batched=True)
    second = tw.minimize(many, x0, method=method, batched=True, vectorized=True)
    torch.testing.assert_close(first.x, second.x, rtol=1e-7, atol=1e-9)
    assert torch.equal(first.nit, second.nit)


def test_a_pytree_with_a_leading_axis():
    x = torch.linspace(0, 2, 20, dtype=torch.float64)
    rates = torch.tensor([0.3, 0.7, 1.1], dtype=torch.float64)
    y = 2 * torch.exp(-rates[:, None] * x)

    def loss(p, y):
        return (p["a"] * torch.exp(-p["rate"] * x) - y).square().sum()

    start = {"a": torch.ones(3, dtype=torch.float64), "rate": torch.zeros(3, dtype=torch.float64) + 0.5}
    fit = tw.minimize(loss, start, (y,), batched=True)
    assert fit.success.all()
    torch.testing.assert_close(fit.x["rate"], rates, rtol=1e-5, atol=1e-5)
    assert fit.fun.shape == (3,)


def test_float32_batches():
    result = tw.minimize(lambda x: ((x - 2) ** 2).sum(), torch.zeros(4, 3), batched=True, tol=1e-3)
    assert result.success.all()
    assert result.x.dtype == torch.float32


@pytest.mark.parametrize("method", EVERY)
def test_the_loop_on_tensors_takes_the_path_of_the_loop_on_numpy(method, monkeypatch):
    """As on a GPU, but on this machine."""
    x0 = starts(5)
    first = tw.minimize(valley, x0, method=method, batched=True)
    alone = tw.minimize(valley, x0[0], method=method)
    monkeypatch.setattr(problem, "on_numpy", lambda device: False)
    second = tw.minimize(valley, x0, method=method, batched=True)
    assert second.success.all()
    torch.testing.assert_close(first.x, second.x, rtol=1e-6, atol=1e-7)
    assert (first.nit - second.nit).abs().max() <= 2
    again = tw.minimize(valley, x0[0], method=method)
    assert again.success
    torch.testing.assert_close(again.x, alone.x, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", EVERY)
def test_a_gpu_comes_to_the_same(method):
    x0 = starts(64)
    here = tw.minimize(valley, x0, method=method, batched=True)
    there = tw.minimize(valley, x0.cuda(), method=method, batched=True)
    assert there.x.is_cuda
    assert there.success.all()
    torch.testing.assert_close(there.x.cpu(), here.x, rtol=1e-4, atol=1e-4)
    assert (there.nit.cpu() - here.nit).abs().max() <= 3
    alone = tw.minimize(valley, x0[0].cuda(), method=method)
    assert alone.success
    assert alone.x.is_cuda


@pytest.mark.parametrize("method", EVERY)
def test_every_member_beyond_a_handful_of_unknowns_behaves_as_alone(method):
    """14 unknowns: conjugate gradients are themselves, and begin anew on their diagonal at different times."""
    x0 = starts(8, 14)
    batch = tw.minimize(valley, x0, method=method, batched=True)
    assert batch.success.all()
    for i in range(8):
        alone = tw.minimize(valley, x0[i], method=method)
        assert (int(batch.nit[i]), int(batch.nfev[i])) == (alone.nit, alone.nfev)
        torch.testing.assert_close(batch.x[i], alone.x, rtol=1e-7, atol=1e-9)


def test_refusals_of_batches():
    with pytest.raises(ValueError, match="leading axis"):
        tw.minimize(valley, torch.tensor(1.0, dtype=torch.float64), batched=True)
    with pytest.raises(ValueError, match="args"):
        tw.minimize(lambda x, y: (x - y).square().sum(), starts(4), (torch.ones(3, 3),), batched=True)


def test_args_of_a_batch_may_be_arrays_or_lists():
    x0 = starts(3)
    given = [torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), np.array([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]]
    results = [tw.minimize(lambda x, a: ((x - a) ** 4).sum(), x0, (args,), batched=True).x for args in given]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    with pytest.raises(TypeError, match=r"^args holds str; many problems at once need tensors"):
        tw.minimize(lambda x, a: (x**2).sum(), x0, ("abc",), batched=True)


@pytest.mark.parametrize(
    ("fun", "sentence"),
    [
        (lambda x: (x**2).sum() if x[0] > 0 else (x**4).sum(), r"^fun asks for a number of x.*vectorized=True"),
        (lambda x: (x**2).sum() * torch.rand(()), "^fun draws random numbers"),
    ],
)
def test_what_vmap_cannot_is_said(fun, sentence):
    with pytest.raises(TypeError, match=sentence):
        tw.minimize(fun, starts(3), batched=True)


@pytest.mark.parametrize("derivative", ["hess", "hessp"])
def test_second_derivatives_of_all_at_once(derivative):
    x0 = starts(5).numpy()
    n = x0.shape[1]

    def value(x):
        return (x**4).sum(-1) + (x**2).sum(-1)

    def gradient(x):
        return 4 * x**3 + 2 * x

    def diagonal(x):
        return 12 * x**2 + 2

    sizes = []

    def at_once(x, *v):
        sizes.append(x.shape)
        return diagonal(x) * v[0] if v else diagonal(x)[..., None] * np.eye(n)

    one_by_one, together = (
        tw.minimize(
            value, x0, jac=gradient, method="newton-cg", batched=True, vectorized=vectorized, **{derivative: at_once}
        )
        for vectorized in (False, True)
    )
    assert sizes[0] == (n,)
    assert sizes[-1][1:] == (n,)
    assert together.success.all()
    np.testing.assert_allclose(together.x, one_by_one.x, atol=1e-12)
    np.testing.assert_array_equal(together.nhvp, one_by_one.nhvp)
