"""`hess_inv`: what the methods with a matrix have learned of the inverse Hessian."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import thalweg as tw
from minimize_cases import starts, valley
from thalweg.minimize import METHODS

LEARNING = ("bfgs", "broyden")


@pytest.mark.parametrize("method", LEARNING)
def test_on_rosenbrock_it_is_near_the_inverse_and_near_scipys(method):
    scipy = pytest.importorskip("scipy.optimize")
    x0 = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    ours = tw.minimize(valley, x0, method=method, tol=1e-8).hess_inv
    theirs = scipy.minimize(scipy.rosen, x0.numpy(), jac=scipy.rosen_der, method="BFGS", tol=1e-8).hess_inv
    exact = np.linalg.inv(scipy.rosen_hess(np.ones(2)))
    assert isinstance(ours, torch.Tensor)
    np.testing.assert_allclose(theirs, exact, rtol=0.02)
    np.testing.assert_allclose(ours, exact, rtol=0.02)
    np.testing.assert_allclose(ours, ours.T, rtol=1e-9)


@pytest.mark.parametrize("method", LEARNING)
def test_standard_errors_of_a_fit_are_those_of_curve_fit(method):
    scipy = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    t, sigma = np.linspace(0, 4, 60), 0.05
    y = 3 * np.exp(-0.7 * t) + 0.5 + sigma * rng.standard_normal(60)

    def model(t, a, rate, c):
        return a * np.exp(-rate * t) + c

    _, covariance = scipy.curve_fit(model, t, y, p0=(1, 1, 0), sigma=np.full(60, sigma), absolute_sigma=True)
    times, data = torch.from_numpy(t), torch.from_numpy(y)

    def misfit(p):  # half of chi squared: its Hessian is the inverse covariance
        return ((p["a"] * torch.exp(-p["rate"] * times) + p["c"] - data) / sigma).square().sum() / 2

    one = torch.ones((), dtype=torch.float64)
    fit = tw.minimize(misfit, {"a": one, "rate": one, "c": 0 * one}, method=method, tol=1e-6)
    assert fit.success
    np.testing.assert_allclose(fit.hess_inv.diagonal().sqrt(), np.sqrt(covariance.diagonal()), rtol=0.05)


@pytest.mark.parametrize("form", ["torch", "numpy", "float32"])
@pytest.mark.parametrize("method", LEARNING)
def test_every_member_of_a_batch_has_what_it_would_have_alone(method, form):
    x0 = starts(12)
    x0[3] = 1.0  # is there already
    given = {"method": method, "tol": 1e-2 if form == "float32" else 1e-6}
    fun = valley
    if form == "float32":
        x0 = x0.float()
    if form == "numpy":
        x0 = x0.numpy()
        given["jac"] = True

        def fun(x):
            leaf = torch.tensor(x, requires_grad=True)
            value = valley(leaf)
            value.backward()
            return float(value.detach()), leaf.grad.numpy()

    batch = tw.minimize(fun, x0, batched=True, **given)
    assert len({int(nit) for nit in batch.nit}) > 3  # they left one after the other
    assert type(batch.hess_inv) is type(x0)
    assert batch.hess_inv.dtype == x0.dtype
    assert tuple(batch.hess_inv.shape) == (12, 3, 3)
    np.testing.assert_array_equal(batch.hess_inv[3], np.eye(3))
    for i in range(12):
        alone = tw.minimize(fun, x0[i], **given)
        assert type(alone.hess_inv) is type(x0)
        if form != "float32":  # there rounding leads elsewhere
            np.testing.assert_allclose(batch.hess_inv[i], alone.hess_inv, rtol=1e-5)


@pytest.mark.parametrize("method", LEARNING)
def test_whatever_ends_the_run_it_is_there(method):
    x0, unit = starts(4), torch.eye(3, dtype=torch.float64)
    for options in ({"maxiter": 0}, {"maxfun": 1}, {"gtol": 1e9}):  # no step was taken
        assert torch.equal(tw.minimize(valley, x0[0], method=method, options=options).hess_inv, unit)
        assert torch.equal(tw.minimize(valley, x0, method=method, options=options, batched=True).hess_inv[2], unit)
    short = tw.minimize(valley, x0, method=method, options={"maxiter": 5}, batched=True)
    counting, calls = iter(range(1, 100)), []
    stopped = tw.minimize(valley, x0, method=method, batched=True, callback=lambda x: next(counting) == 5)

    def interrupted(x):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return (x**2).sum(-1) + (x**4).sum(-1)

    broken = tw.minimize(interrupted, x0, method=method, batched=True, vectorized=True)
    for result in (short, stopped, broken):
        assert result.hess_inv.shape == (4, 3, 3)
        assert (torch.linalg.eigvalsh(result.hess_inv) > 0).all()
        assert not torch.equal(result.hess_inv[0], unit)


def test_a_start_that_is_not_finite_leaves_the_others_what_they_learned():
    x0 = starts(3)
    alone = tw.minimize(valley, x0[2], method="bfgs")
    x0[0] = torch.nan
    batch = tw.minimize(valley, x0, method="bfgs", batched=True)
    torch.testing.assert_close(batch.hess_inv[2], alone.hess_inv, rtol=1e-6, atol=0)


@pytest.mark.parametrize("method", sorted(METHODS.keys() - set(LEARNING)))
def test_without_a_matrix_there_is_none(method):
    n = 12  # conjugate gradients are themselves
    assert tw.minimize(valley, starts(1, n)[0], method=method).hess_inv is None


def test_a_callback_gets_none():
    seen = []
    tw.minimize(valley, starts(1)[0], callback=lambda intermediate_result: seen.append(intermediate_result.hess_inv))
    assert seen
    assert set(seen) == {None}
