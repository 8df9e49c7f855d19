"""K members in one call of the fused kernels: each is a run of its own, by torch's own optimizers."""

import functools

import numpy as np
import pytest
import torch

from thalweg import rules
from thalweg.arguments import with_decay
from thalweg.engine import batched, stacked
from thalweg.ops import minimum, ratio, sqrt, total

SHAPES = [(3, 4), (4,), ()]
MEMBERS, STEPS = 3, 6

TORCHES = {
    "adam": (torch.optim.Adam, {"lr": [1e-3, 1e-2, 0.1], "beta1": [0.9, 0.5, 0.0], "beta2": [0.999, 0.9, 0.99]}),
    "adamw": (torch.optim.AdamW, {"lr": [1e-3, 1e-2, 0.1], "weight_decay": [0.0, 0.01, 0.5]}),
    "nadam": (torch.optim.NAdam, {"lr": [1e-3, 1e-2, 0.1], "momentum_decay": [4e-3, 1e-2, 0.0]}),
    "rmsprop": (torch.optim.RMSprop, {"lr": [1e-3, 1e-2, 0.1], "alpha": [0.99, 0.9, 0.5]}),
    "adagrad": (torch.optim.Adagrad, {"lr": [1e-3, 1e-2, 0.1], "eps": [1e-10, 1e-3, 1.0]}),
}


def tensors(dtype: torch.dtype) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
    generator = torch.Generator().manual_seed(0)

    def draw() -> list[torch.Tensor]:
        return [torch.randn(MEMBERS, *shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]

    return draw(), [draw() for _ in range(STEPS)]


def beside(rule, params, **hyper) -> list[dict[str, torch.Tensor]]:
    return [batched.starts(rule, p, **hyper) for p in params]


def torch_run(cls, settings, params, steps) -> list[torch.Tensor]:
    own = [torch.nn.Parameter(p.clone()) for p in params]
    optimizer = cls(own, **settings)
    for gradients in steps:
        for p, g in zip(own, gradients, strict=True):
            p.grad = g.clone()
        optimizer.step()
    return [p.data for p in own]


@pytest.mark.parametrize("name", TORCHES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_every_member_is_torchs_own_run(name, dtype, tolerance, request):
    request.addfinalizer(functools.partial(torch.set_default_dtype, torch.get_default_dtype()))
    torch.set_default_dtype(dtype)  # torch keeps NAdam's running product in it
    cls, settings = TORCHES[name]
    params, steps = tensors(dtype)
    before = [p.clone() for p in params]
    rule = with_decay(rules.find(name))
    stack = stacked.Stack(rule, params, beside(rule, params))
    assert stack.fused
    hyper = {key: np.array(values) for key, values in settings.items()}
    for t, gradients in enumerate(steps, 1):
        stack.step(gradients, hyper, t)
    for k in range(MEMBERS):
        own = {key: values[k] for key, values in settings.items()}
        if "beta1" in own:
            own["betas"] = own.pop("beta1"), own.pop("beta2")
        wanted = torch_run(cls, own, [p[k] for p in before], [[g[k] for g in gradients] for gradients in steps])
        for p, expected in zip(params, wanted, strict=True):
            torch.testing.assert_close(p[k], expected, rtol=tolerance, atol=tolerance)


def clipped(p, g, v, *, t, lr=0.1, limit=1.0):
    scale = minimum(1.0, ratio(limit, sqrt(total(g * g))))
    v = 0.9 * v + scale * g
    return p - lr * v, v


def test_a_sum_over_the_model_is_a_members_own():
    params, steps = tensors(torch.float64)
    alone = [[p[k].clone() for p in params] for k in range(MEMBERS)]
    lrs, limits = [0.1, 0.2, 0.3], [0.5, 1.0, 100.0]
    stack = stacked.Stack(clipped, params, beside(clipped, params))
    assert stack.fused
    for gradients in steps:
        stack.step(gradients, {"lr": np.array(lrs), "limit": np.array(limits)})
    for k in range(MEMBERS):
        momentum = [torch.zeros_like(p) for p in alone[k]]
        for gradients in steps:
            own = [g[k].clone().requires_grad_() for g in gradients]
            for p in own:
                p.grad = p.detach().clone()
            torch.nn.utils.clip_grad_norm_(own, limits[k])
            for p, v, g in zip(alone[k], momentum, own, strict=True):
                assert g.grad is not None
                v.mul_(0.9).add_(g.grad)
                p.sub_(lrs[k] * v)
        for p, expected in zip(params, alone[k], strict=True):
            torch.testing.assert_close(p[k], expected, rtol=1e-5, atol=1e-5)  # torch divides by the norm + 1e-6


def test_members_may_be_at_different_steps():
    adam = rules.find("adam")
    p, g = torch.ones(2, 3), torch.full((2, 3), 0.5)
    slots = {name: torch.full((2, 3), 0.1) for name in ("m", "v")}
    wanted, _ = batched.step(adam, p, g, slots, t=torch.tensor([1, 10]))
    found, _ = stacked.step(adam, p, g, slots, t=[1, 10])
    torch.testing.assert_close(found, wanted)
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("engine", ["no compiler", "types that differ"])
def test_what_the_kernels_cannot_take_goes_through_vmap(monkeypatch, engine):
    params, steps = tensors(torch.float64)
    if engine == "no compiler":
        monkeypatch.setattr(stacked, "kernels_can_be_built", lambda _: False)
    else:
        params[0] = params[0].float()
        steps = [[g.to(p.dtype) for p, g in zip(params, gradients, strict=True)] for gradients in steps]
    rule = rules.find("adam")
    before = [p.clone() for p in params]
    stack = stacked.Stack(rule, params, beside(rule, params))
    assert not stack.fused
    for t, gradients in enumerate(steps, 1):
        stack.step(gradients, {"lr": np.array([0.1, 0.2, 0.3])}, t)
    for k, lr in enumerate([0.1, 0.2, 0.3]):
        own = [[g[k] for g in gradients] for gradients in steps]
        wanted = torch_run(torch.optim.Adam, {"lr": lr}, [p[k] for p in before], own)
        for p, expected in zip(params, wanted, strict=True):
            torch.testing.assert_close(p[k], expected, rtol=1e-5, atol=1e-6)


def test_gradients_of_any_strides():
    p, g = torch.ones(2, 3, 4), torch.randn(2, 4, 3).transpose(1, 2)
    stacked.Stack(rules.find("sgd"), [p], [{}]).step([g], {"lr": np.array([0.1, 0.2])})
    torch.testing.assert_close(p, 1 - torch.tensor([0.1, 0.2]).view(2, 1, 1) * g)
