"""On a device: every tensor is made where x0 lies, and the host waits only for the numbers that decide.

There need be no GPU: `far.World` is a device that counts what crosses, and refuses tensors of two devices.
"""

from __future__ import annotations

import pytest
import torch

import thalweg as tw
from far import Far, World, near
from thalweg.minimize import METHODS

# How often the host waits per round of evaluations, at most, as docs/minimize.md says. Along lines: to accept the
# trials, to see whether those refused differ from where they began, to see whether the new directions lead down.
# Newton's trust region also asks after every step of its inner iteration, and newton-cg after every product.
WAITS = {"bfgs": 3, "broyden": 3, "cg": 3, "lbfgs": 3, "newton-line": 3, "newton": 10, "newton-cg": 20}


def valley(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def starts(count, n=6):
    return torch.randn(count, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


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
