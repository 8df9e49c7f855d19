"""Eager, lists and K settings at once, where the contract does not reach."""

import pytest
import torch

from thalweg import rules
from thalweg.arguments import with_decay
from thalweg.engine import batched, eager, foreach
from thalweg.engine.cell import Cell, starts
from thalweg.ops import ratio, sqrt, total
from thalweg.rule_class import optimizer
from thalweg.signature import signature_of


def clipped(p, g, *, t, lr=0.1, limit=1.0):
    """Clipping by the norm of the whole model's gradient."""
    return p - lr * g * ratio(limit, sqrt(total(g * g)))


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_is_widened_once_and_rounded_once(dtype):
    adam = rules.find("adam")
    p, g, m, v = (randn(50, seed=i).to(dtype) for i in range(4))
    v = v.abs()
    hyper = signature_of(adam).defaults
    [(new_p, slots)] = eager.step(adam, [Cell(p, g, {"m": m, "v": v}, 3)], hyper)
    # the same by hand, in float32
    m32 = 0.9 * m.float() + (1 - 0.9) * g.float()
    v32 = 0.999 * v.float() + (1 - 0.999) * (g.float() * g.float())
    step = 1e-3 * (m32 / (1 - 0.9**3)) / ((v32 / (1 - 0.999**3)).sqrt() + 1e-8)
    assert torch.equal(new_p, (p.float() - step).to(dtype))
    assert torch.equal(slots["m"], m32.to(dtype))
    assert torch.equal(slots["v"], v32.to(dtype))


def test_total_goes_over_the_whole_model():
    p = [torch.ones(2, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64)]
    g = [torch.tensor([3.0, 0.0], dtype=torch.float64), torch.tensor([[0.0, 4.0, 0.0]], dtype=torch.float64)]
    after = foreach.step(clipped, [Cell(a, b, {}, 1) for a, b in zip(p, g, strict=True)], {"lr": 1.0, "limit": 1.0})
    assert after[0][0].tolist() == pytest.approx([1 - 3 / 5, 1.0], rel=1e-15)
    assert after[1][0].tolist() == [pytest.approx([1.0, 1 - 4 / 5, 1.0], rel=1e-15)]


@pytest.mark.parametrize("grouped", [list, lambda them: [{"params": them[:1]}, {"params": them[1:]}]])
def test_an_optimizer_whose_rule_sums_over_the_model_does_so(grouped):
    parameters = [torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))]
    for p, g in zip(parameters, (3.0, 4.0), strict=True):
        p.grad = torch.tensor([g])
    optimizer(clipped)(grouped(parameters), lr=1.0).step()
    torch.testing.assert_close(torch.cat(parameters).detach(), torch.tensor([-0.6, -0.8]))


def test_a_sum_over_the_model_goes_over_parameters_of_different_t():
    """3 takes a step alone, of length 1; then 3 and 4 together are 5 long."""
    parameters = [torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))]
    for engine in ("eager", "auto"):
        stepping = optimizer(clipped)(parameters, lr=1.0, engine=engine)
        for p in parameters:
            p.data.zero_()
        parameters[0].grad, parameters[1].grad = torch.tensor([3.0]), None
        stepping.step()
        parameters[1].grad = torch.tensor([4.0])
        stepping.step()
        torch.testing.assert_close(torch.cat(parameters).detach(), torch.tensor([-1.6, -0.8]))


def test_a_list_of_tensors_with_different_t():
    adam = rules.find("adam")
    hyper = signature_of(adam).defaults
    cells = [
        Cell(randn(3, seed=i), randn(3, seed=9 + i), {"m": randn(3, seed=i), "v": randn(3, seed=i) ** 2}, t)
        for i, t in enumerate((1, 5, 1, 7))
    ]
    for (p, slots), (q, others) in zip(eager.step(adam, cells, hyper), foreach.step(adam, cells, hyper), strict=True):
        assert torch.equal(p, q)
        assert all(torch.equal(slots[name], others[name]) for name in slots)


# ---- K at once


def alone(rule, p, grads, hyper):
    slots = starts(rule, hyper, p)
    for t, g in enumerate(grads, 1):
        [(p, slots)] = eager.step(rule, [Cell(p, g, slots, t)], hyper)
    return p


@pytest.mark.parametrize("shape", [(), (5,), (3, 2)])
@pytest.mark.parametrize("name", rules.names())
def test_k_lrs_decays_and_parameter_sets_through_the_doors_rule(name, shape):
    rule = with_decay(rules.find(name))
    lrs, decays = [0.001, 0.01, 0.1], [0.0, 0.1, 0.5]
    p = randn(3, *shape)
    grads = [randn(3, *shape, seed=t) for t in range(1, 9)]
    slots = batched.starts(rule, p)
    many = p
    for t, g in enumerate(grads, 1):
        many, slots = batched.step(rule, many, g, slots, t=t, lr=lrs, weight_decay=decays)
    for k in range(3):
        hyper = {**signature_of(rule).defaults, "lr": lrs[k], "weight_decay": decays[k]}
        one = alone(rule, p[k], [g[k] for g in grads], hyper)
        torch.testing.assert_close(many[k], one, rtol=1e-12, atol=1e-15)


def test_float32_members_stay_float32_and_near_their_own_runs():
    adam = rules.find("adam")
    p = randn(3, 4, dtype=torch.float32)
    many, slots = p, batched.starts(adam, p)
    for t in range(1, 6):
        many, slots = batched.step(
            adam, many, randn(3, 4, seed=t, dtype=torch.float32), slots, t=t, beta1=[0.5, 0.9, 0.99]
        )
    assert many.dtype == slots["m"].dtype == torch.float32
    for k, beta1 in enumerate((0.5, 0.9, 0.99)):
        hyper = {**signature_of(adam).defaults, "beta1": beta1}
        one = alone(adam, p[k], [randn(3, 4, seed=t, dtype=torch.float32)[k] for t in range(1, 6)], hyper)
        torch.testing.assert_close(many[k], one, rtol=1e-6, atol=1e-7)


def test_each_member_may_have_its_own_t():
    adam = rules.find("adam")
    p, g = randn(2, 3), randn(2, 3, seed=1)
    slots = batched.starts(adam, p)
    many, _ = batched.step(adam, p, g, slots, t=torch.tensor([1, 10]))
    for k, t in enumerate((1, 10)):
        zero = {"m": torch.zeros(3, dtype=torch.float64), "v": torch.zeros(3, dtype=torch.float64)}
        [(one, _)] = eager.step(adam, [Cell(p[k], g[k], zero, t)], signature_of(adam).defaults)
        torch.testing.assert_close(many[k], one, rtol=1e-12, atol=0)


def test_a_slot_that_one_member_needs_is_kept_by_all_and_harms_none():
    rmsprop = rules.find("rmsprop")
    p, g = randn(2, 3), randn(2, 3, seed=1)
    slots = batched.starts(rmsprop, p, momentum=[0.0, 0.9])
    assert set(slots) == {"v", "u"}
    many = p
    for t in (1, 2):
        many, slots = batched.step(rmsprop, many, g, slots, t=t, momentum=[0.0, 0.9])
    for k, momentum in enumerate((0.0, 0.9)):
        one = alone(rmsprop, p[k], [g[k]] * 2, {**signature_of(rmsprop).defaults, "momentum": momentum})
        torch.testing.assert_close(many[k], one, rtol=1e-12, atol=0)


def test_slots_start_at_each_members_own_value():
    adagrad = rules.find("adagrad")
    slots = batched.starts(adagrad, randn(2, 3), initial_accumulator_value=[0.1, 0.5])
    assert slots["s"].tolist() == [[0.1] * 3, [0.5] * 3]


def test_k_models_with_a_sum_over_each_model():
    p = [torch.zeros(2, 1), torch.zeros(2, 1)]
    g = [torch.tensor([[3.0], [6.0]]), torch.tensor([[4.0], [8.0]])]
    (first, second), _ = batched.step(clipped, p, g, {}, lr=[1.0, 2.0])
    torch.testing.assert_close(first, torch.tensor([[-0.6], [-1.2]]))
    torch.testing.assert_close(second, torch.tensor([[-0.8], [-1.6]]))


def test_k_settings_refused():
    sgd = rules.find("sgd")
    with pytest.raises(ValueError, match=r"lr has shape \(2,\); with 3 members it must be one number or 3"):
        batched.step(sgd, torch.zeros(3, 1), torch.zeros(3, 1), {}, lr=[0.1, 0.2])
    with pytest.raises(TypeError, match=r"sgd has no argument lrr\. Did you mean 'lr'"):
        batched.step(sgd, torch.zeros(3, 1), torch.zeros(3, 1), {}, lrr=[0.1, 0.2, 0.3])
