"""On a device: every tensor is made where x0 lies, and the host waits only for the numbers that decide.

There need be no GPU: `far.World` is a device that counts what crosses, and refuses tensors of two devices.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import minimize_cases
import thalweg as tw
from far import Far, World, near
from minimize_cases import valley
from thalweg.minimize import METHODS, arrays

# How often the host waits per round of evaluations, at most, as docs/minimize.md says. Along lines: to accept the
# trials, to see whether those refused differ from where they began, to see whether the new directions lead down.
# Newton's trust region also asks after every step of its inner iteration, and newton-cg after every product.
WAITS = {"bfgs": 3, "broyden": 3, "cg": 3, "lbfgs": 3, "newton-line": 3, "newton": 10, "newton-cg": 20}
starts = partial(minimize_cases.starts, n=6)


def away(method, x0, batched, options):
    """The result, and how often was fetched and sent in its walk, without what comes before and after it."""
    with World() as world:
        result = tw.minimize(valley, Far(x0), method=method, batched=batched, options=options)
        fetched, sent = world.fetched, world.sent
    return result, fetched, sent


def rounds(result):
    return int(result.nfev.max()) if isinstance(result.nfev, torch.Tensor) else result.nfev


@pytest.mark.parametrize("batched", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_walk_on_a_device_is_the_walk_on_the_host(method, batched):
    x0 = starts(16) if batched else starts(1)[0]
    there, _, _ = away(method, x0, batched, {"maxiter": 12})
    here = tw.minimize(valley, x0, method=method, batched=batched, options={"maxiter": 12})
    assert isinstance(there.x, Far)
    assert isinstance(there.grad, Far)
    if here.hess_inv is not None:
        assert isinstance(there.hess_inv, Far)
        torch.testing.assert_close(near(there.hess_inv), here.hess_inv, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(near(there.x), here.x, rtol=1e-5, atol=1e-7)
    assert torch.equal(torch.as_tensor(there.nfev), torch.as_tensor(here.nfev))


@pytest.mark.parametrize("method", sorted(WAITS))
def test_the_host_waits_for_what_decides_and_no_more(method):
    for count in (1, 4, 64):
        result, fetched, sent = away(method, starts(count), True, {"maxiter": 15, "gtol": 0.0})
        assert fetched <= WAITS[method] * rounds(result) + 3  # at the start f and |g|, the slope, the first step
        assert sent <= {"newton": 8, "newton-cg": 15}.get(method, 6) * rounds(result)
    result, fetched, sent = away(method, starts(1)[0], False, {"maxiter": 15, "gtol": 0.0})
    assert fetched <= WAITS[method] * rounds(result) + 3
    assert sent == 0


@pytest.mark.parametrize("batched", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_device_need_not_have_float64(method, batched, monkeypatch):
    monkeypatch.setattr(arrays, "WITHOUT_DOUBLE", ("meta",))
    x0 = (starts(4) if batched else starts(1)[0]).float()
    with World(double=False):
        there = tw.minimize(valley, Far(x0), method=method, batched=batched, options={"maxiter": 5})
    here = tw.minimize(valley, x0, method=method, batched=batched, options={"maxiter": 5})
    torch.testing.assert_close(near(there.x), here.x, rtol=1e-3, atol=1e-3)


def test_nor_need_a_value_that_is_pythons(monkeypatch):
    monkeypatch.setattr(arrays, "WITHOUT_DOUBLE", ("meta",))
    with World(double=False):
        result = tw.minimize(lambda x: ((x @ x).item(), 2 * x), Far(starts(1)[0].float()), jac=True, tol=1e-3)
        assert result.success


def giving_up(eigh, error):
    """The decomposition, which gives up on all matrices where one of them is of a troubled problem."""

    def decomposed(H):
        if (abs(near(H)[..., 0, 0]) > 1e12).any():
            raise error("the algorithm did not converge")
        return eigh(H)

    return decomposed


@pytest.mark.parametrize("lost", [False, True], ids=["the host can", "nobody can"])
@pytest.mark.parametrize("where", ["here", "there"])
def test_one_matrix_without_eigenvalues_harms_nobody(where, lost, monkeypatch):
    x0, scale = starts(6), torch.tensor([1.0, 1.0, 2.0**60, 1.0, 1.0, 1.0], dtype=torch.float64)

    def walk(x0, scale):  # down the plain gradient the troubled one would go for long
        fun, options = lambda x, c: c * valley(x), {"maxiter": 40}
        return tw.minimize(fun, x0, (scale,), method="newton", batched=True, tol=1e-6, options=options)

    expected = walk(x0, scale)
    if where == "there":
        monkeypatch.setattr(torch.linalg, "eigh", giving_up(torch.linalg.eigh, torch.linalg.LinAlgError))
    if where == "here" or lost:
        error = np.linalg.LinAlgError
        once = giving_up(np.linalg.eigh, error) if lost else only_together(giving_up(np.linalg.eigh, error))
        monkeypatch.setattr(np.linalg, "eigh", once)
    if where == "there":
        with World():
            result = walk(Far(x0), Far(scale))
    else:
        result = walk(x0, scale)
    good = [0, 1, 3, 4, 5]
    assert near(result.success)[good].all()
    torch.testing.assert_close(near(result.x)[good], expected.x[good], rtol=1e-9, atol=1e-9)
    assert near(result.nit)[good].tolist() == expected.nit[good].tolist()
    if lost:
        assert near(result.fun)[2] < scale[2] * valley(x0[2])
    else:
        torch.testing.assert_close(near(result.x), expected.x, rtol=1e-9, atol=1e-9)


def only_together(eigh, real=np.linalg.eigh):
    """It gives up on many matrices and never on one."""
    return lambda H: eigh(H) if H.ndim > 2 else real(H)


@pytest.mark.parametrize("made", [tw.LBFGS, tw.Newton])
def test_the_optimizers_need_no_float64_either(made):
    def trained(p):
        optimizer = made([p], max_iter=5)

        def closure():
            optimizer.zero_grad()
            loss = valley(p)
            if optimizer.backward:
                loss.backward()
            return loss

        return float(optimizer.step(closure))

    x0 = starts(1)[0].float()
    with World(double=False):
        there = trained(torch.nn.Parameter(Far(x0.clone())))
    assert there == pytest.approx(trained(torch.nn.Parameter(x0.clone())), rel=1e-3)
