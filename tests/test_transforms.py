"""Clipping and centralisation in front of every rule, against what torch and people do by hand."""

import copy
import inspect
import itertools

import numpy as np
import pytest
import torch

import thalweg as tw
from thalweg import rules
from thalweg.arguments import transformed, with_decay
from thalweg.engine import cpu, eager, foreach
from thalweg.engine.cell import Cell, start, widened
from thalweg.engine.trace import trace
from thalweg.engine.walk import gradients, settings_of
from thalweg.ops import ratio, sqrt, total
from thalweg.signature import signature_of
from thalweg.transforms import OFF, TRANSFORMS

SHAPES = [(3, 4), (5,), (2, 3, 2, 2), (), (0, 3)]
ON = {"clip_value": 0.3, "clip_tensor_norm": 0.8, "clip_norm": 1.1, "centralise": True}


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def model(shapes=SHAPES, dtype=torch.float64):
    return [torch.nn.Parameter(randn(*shape, seed=i, dtype=dtype)) for i, shape in enumerate(shapes)]


def give(params, t):
    """Gradients of growing size: some steps are clipped, some are not."""
    for i, p in enumerate(params):
        p.grad = randn(*p.shape, seed=100 * t + i, dtype=p.dtype) * 0.2 * t


def walk(optimizer, params, before=None, steps=5):
    for t in range(1, steps + 1):
        give(params, t)
        if before:
            before(params)
        optimizer.step()
    return [p.detach().clone() for p in params]


def close(ours, theirs, rtol=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol)


def in_two_groups(params):
    return [{"params": params[:2]}, {"params": params[2:], "weight_decay": 0.2, "lr": 0.03}]


# ---- torch's own, by hand before the step


def by_global_norm(params):
    torch.nn.utils.clip_grad_norm_(params, 1.1)


def by_norm(params):
    for p in params:
        torch.nn.utils.clip_grad_norm_(p, 0.8)


def by_value(params):
    torch.nn.utils.clip_grad_value_(params, 0.3)


def centred(params):
    """Written as loops over rows."""
    for p in params:
        if p.ndim > 1:
            rows = p.grad.numpy().reshape(p.shape[0], -1) if p.numel() else np.zeros((0, 1))
            p.grad = torch.from_numpy(np.array([row - row.mean() for row in rows]).reshape(p.shape))


def all_of_them(params):
    for one in (by_value, by_norm, by_global_norm, centred):
        one(params)


BY_HAND = {
    "clip_norm": by_global_norm, "clip_tensor_norm": by_norm, "clip_value": by_value, "centralise": centred,
}  # fmt: skip


@pytest.mark.parametrize("grouped", [list, in_two_groups])
@pytest.mark.parametrize(("ours", "theirs"), [(tw.AdamW, torch.optim.AdamW), (tw.SGD, torch.optim.SGD)])
@pytest.mark.parametrize("name", [*OFF, "all of them"])
@pytest.mark.usefixtures("engine")
def test_as_by_hand_before_torchs_step(name, ours, theirs, grouped):
    settings = {"lr": 0.1, "weight_decay": 0.1}
    on = ON if name == "all of them" else {name: ON[name]}
    params, others = model(), model()
    mine = walk(ours(grouped(params), **settings, **on), params)
    hand = walk(theirs(grouped(others), **settings), others, BY_HAND.get(name, all_of_them))
    close(mine, hand)
    plain = model()
    assert not torch.equal(walk(ours(grouped(plain), **settings), plain)[0], mine[0])


@pytest.mark.parametrize("settings", [{"foreach": True}, {"maximize": True}, {"engine": "eager"}, {"engine": "cpu"}])
def test_clipping_knows_torchs_hints(settings):
    params, others = model(), model()
    mine = walk(tw.AdamW(in_two_groups(params), clip_norm=1.1, **settings), params)
    settings.pop("engine", None)
    close(mine, walk(torch.optim.AdamW(in_two_groups(others), **settings), others, by_global_norm))


# ---- every engine, every rule


def composed(rule, names):
    return transformed(with_decay(rule), tuple(names))


ALONE, PAIRS, ALL = [(name,) for name in TRANSFORMS], [*itertools.combinations(TRANSFORMS, 2)], tuple(TRANSFORMS)


def agree(name, names, step, dtype, **settings):
    """On several tensors at once: what they share is part of it."""
    rule = composed(rules.find(name), names)
    signature = signature_of(rule)
    hyper = {**signature.defaults, **settings, **{n: v for n, v in ON.items() if n in signature.numbers}}
    ours, reference = (several(rule, hyper, way, dtype) for way in (step, part_by_part))
    close([a.double() for a in ours], [b.double() for b in reference], 50 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("names", [*ALONE, *PAIRS, ALL], ids=" ".join)
@pytest.mark.parametrize("name", rules.names())
def test_lists_of_tensors_agree_with_each_part_alone(name, names):
    for settings in list(settings_of(rules.find(name)))[:2]:
        agree(name, names, foreach.step, torch.float64, **settings)
        agree(name, names, foreach.step, torch.bfloat16, **settings)


@pytest.mark.parametrize(
    ("name", "names"),
    [(name, ALL) for name in rules.names()] + [(name, names) for name in ("lamb", "lion") for names in ALONE],
)
def test_kernels_agree_with_each_part_alone(name, names):
    agree(name, names, cpu.step, torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("names", [*ALONE, *PAIRS], ids=" ".join)
@pytest.mark.parametrize("name", rules.names())
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_all_kernels_agree_with_each_part_alone(name, names, dtype):
    agree(name, names, cpu.step, dtype)


def several(rule, hyper, step, dtype):
    """Three steps of a model of several tensors."""
    params = [randn(*shape, seed=i, dtype=dtype) for i, shape in enumerate(SHAPES)]
    kept = signature_of(rule).kept(hyper)
    slots = [{name: start(slot, p, hyper) for name, slot in kept.items()} for p in params]
    for t in range(1, 4):
        cells = [
            Cell(p, randn(*p.shape, seed=10 * t + i, dtype=dtype) * t, s, t)
            for i, (p, s) in enumerate(zip(params, slots, strict=True))
        ]
        after = step(rule, cells, hyper)
        params, slots = [p for p, _ in after], [s for _, s in after]
    return params + [x for each in slots for x in each.values()]


def part_by_part(rule, cells, hyper):
    """Each transform applied to all gradients, one after the other, then the eager rule."""
    while rule.parts[0] in TRANSFORMS.values() if hasattr(rule, "parts") else False:
        transform, rule = rule.parts
        grads = [widened(c.g) for c in cells]
        if transform.__name__ == "clip_by_global_norm":
            whole = torch.stack([g.norm() for g in grads]).norm()
            grads = [g * (hyper["clip_norm"] / (whole + 1e-6)).clamp(max=1) for g in grads]
        else:
            own = {name: hyper[name] for name in inspect.signature(transform).parameters if name in hyper}
            grads = [transform(None, g, **own)[1] for g in grads]
        cells = [c._replace(g=g) for c, g in zip(cells, grads, strict=True)]
    return eager.step(rule, cells, {n: v for n, v in hyper.items() if n in signature_of(rule).defaults})


@pytest.mark.parametrize("name", rules.names())
def test_the_number_of_kernels(name):
    """A norm costs one more pass; values and rows none; two norms one after the other cost two."""
    rule = rules.find(name)
    plain = len(trace(rule).kernels)
    extra = {
        ("maximize",): 0, ("clip_value",): 0, ("centralise",): 0, ("clip_norm",): 1, ("clip_tensor_norm",): 1,
        ("clip_value", "clip_norm", "centralise"): 1, ("clip_tensor_norm", "clip_norm"): 2,
    }  # fmt: skip
    for names, more in extra.items():
        assert len(trace(composed(rule, names)).kernels) == plain + more


def test_the_pass_for_the_norm_reads_the_gradient_and_writes_nothing():
    first, second = trace(composed(rules.find("adamw"), ("clip_norm",))).kernels
    assert [node.name for node in first.reads] == ["g"]
    assert first.writes == ()
    plain = trace(rules.find("adamw")).kernels[0]
    assert {node.name for node in second.reads} == {node.name for node in plain.reads}


# ---- the whole model


def test_the_norm_is_of_all_groups_and_types():
    """float32 and bfloat16 in one group and in two, different t: torch's norm over all of them."""
    for grouped in (lambda p: p, lambda p: [{"params": p[::2]}, {"params": p[1::2]}]):
        params = [
            torch.nn.Parameter(randn(4, 3, seed=i, dtype=d)) for i, d in enumerate((torch.float32, torch.bfloat16))
        ]
        params.append(torch.nn.Parameter(randn(7, seed=9, dtype=torch.float64)))
        optimizer = tw.SGD(grouped(params), lr=1.0, clip_norm=0.5)
        give(params[:1], 1)  # alone, so that its t is another one later
        optimizer.step()
        before = [p.detach().clone() for p in params]
        give(params, 5)
        length = torch.stack([p.grad.double().norm() for p in params]).norm()
        optimizer.step()
        for p, old in zip(params, before, strict=True):
            wanted = (old.double() - p.grad.double() * 0.5 / (length + 1e-6)).to(p.dtype)
            torch.testing.assert_close(p.detach(), wanted, rtol=2 * torch.finfo(p.dtype).eps, atol=1e-7)


def test_a_group_that_does_not_clip_stands_aside():
    params, others = model(), model()
    groups = [{"params": params[:2], "clip_norm": 1.1}, {"params": params[2:]}]
    mine = walk(tw.AdamW(groups), params)
    close(mine, walk(torch.optim.AdamW(others), others, lambda them: by_global_norm(them[:2])))


def test_a_parameter_without_gradient_does_not_count():
    params, others = model(), model()

    def without_the_second(them):
        them[1].grad = None

    mine = walk(tw.AdamW(params, clip_norm=1.1), params, without_the_second)

    def clip(them):
        without_the_second(them)
        by_global_norm(them)

    close(mine, walk(torch.optim.AdamW(others), others, clip))


@pytest.mark.usefixtures("engine")
def test_sparse_and_complex_gradients_count():
    table = torch.nn.Parameter(randn(6, 2))
    wave = torch.nn.Parameter(torch.complex(randn(3), randn(3, seed=1)))
    old = table.detach().clone(), wave.detach().clone()
    rows = torch.tensor([[1, 4, 1]])
    table.grad = torch.sparse_coo_tensor(rows, randn(3, 2, seed=2) * 9, (6, 2), check_invariants=True)
    wave.grad = torch.complex(randn(3, seed=3), randn(3, seed=4)) * 9
    dense = table.grad.to_dense()
    length = torch.sqrt((dense**2).sum() + (wave.grad.abs() ** 2).sum())
    tw.SGD([{"params": [table]}, {"params": [wave]}], lr=1.0, clip_norm=2.0).step()
    torch.testing.assert_close(table.detach(), old[0] - dense * 2 / (length + 1e-6))
    torch.testing.assert_close(wave.detach(), old[1] - wave.grad * 2 / (length + 1e-6))


def test_centralisation_refuses_what_has_no_rows():
    table = torch.nn.Parameter(randn(6, 2))
    table.grad = torch.sparse_coo_tensor(torch.tensor([[1]]), randn(1, 2), (6, 2), check_invariants=True)
    with pytest.raises(ValueError, match="centralise is True, and a gradient is sparse"):
        tw.SGD([table], centralise=True).step()
    wave = torch.nn.Parameter(torch.complex(randn(3), randn(3)))
    wave.grad = torch.ones_like(wave)
    with pytest.raises(ValueError, match="centralise is True, and a parameter is complex"):
        tw.SGD([wave], centralise=True).step()


@pytest.mark.parametrize("size", [float("inf"), float("nan")])
@pytest.mark.usefixtures("engine")
def test_a_length_that_is_not_finite_does_what_torchs_default_does(size):
    params, others = model([(3,), (2,)]), model([(3,), (2,)])
    for them, before in ((params, None), (others, by_global_norm)):
        for p in them:
            p.grad = torch.ones_like(p)
        them[0].grad[1] = size
        if before:
            before(them)
    tw.SGD(params, clip_norm=1.1).step()
    torch.optim.SGD(others).step()
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=0, equal_nan=True)


def scaled(p, g, *, t, lr=0.1):
    """A rule with a sum over the whole model of its own."""
    return p - lr * g * ratio(1.0, sqrt(total(g * g)))


@pytest.mark.usefixtures("engine")
def test_a_rule_that_sums_over_the_model_may_have_several_groups():
    one, many = model(), model()
    close(
        walk(tw.optimizer(scaled)(one, lr=0.3), one),
        walk(tw.optimizer(scaled)([{"params": many[:1]}, {"params": many[1:]}], lr=0.3), many),
    )


def test_a_rule_of_ones_own_is_clipped_first():
    """g = 3, 4 is shortened to length 1, and then has length 1 anyway; by value to 2, 2."""
    params = [torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))]
    for settings, wanted in (({"clip_norm": 1.0}, [-0.6, -0.8]), ({"clip_value": 2.0}, [-(0.5**0.5)] * 2)):
        for p, g in zip(params, (3.0, 4.0), strict=True):
            p.data.zero_()
            p.grad = torch.tensor([g])
        tw.optimizer(scaled)([{"params": [p]} for p in params], lr=1.0, **settings).step()
        torch.testing.assert_close(torch.cat(params).detach(), torch.tensor(wanted))


def test_different_sums_in_different_groups_are_refused():
    params = model([(2,), (2,)])
    give(params, 1)
    optimizer = tw.optimizer(scaled)([{"params": params[:1], "clip_norm": 1.0}, {"params": params[1:]}])
    with pytest.raises(ValueError, match="clip_norm is on in some groups and off in others"):
        optimizer.step()


# ---- the door


def test_off_is_not_there():
    p = model([(2,)])
    assert {*tw.AdamW(p).param_groups[0]} == {*torch.optim.AdamW(p).param_groups[0]}
    assert not {*OFF} & {*tw.Lion(p).param_groups[0]}
    assert tw.AdamW(p, clip_norm=1.0).param_groups[0]["clip_norm"] == 1.0


def test_checkpoints_go_both_ways():
    settings = {"lr": 0.1, "weight_decay": 0.1}
    params, others = model(), model()
    ours, theirs = tw.AdamW(params, clip_norm=1.1, **settings), torch.optim.AdamW(others, **settings)
    walk(ours, params)
    walk(theirs, others, by_global_norm)
    ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[0]["clip_norm"] == 1.1
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))  # torch would share it
    close(walk(ours, params), walk(theirs, others, by_global_norm))
    fresh = tw.AdamW(model(), **settings)
    fresh.load_state_dict(ours.state_dict())
    assert fresh.param_groups[0]["clip_norm"] == 1.1


@pytest.mark.usefixtures("engine")
def test_the_bound_may_change_at_any_time():
    """A schedule of bounds, a tensor as a bound, and off: no state is lost."""
    bounds = [1.1, 0.2, torch.tensor(0.5), None, 3.0]
    params, others = model(), model()
    ours, theirs = tw.Adam(params, clip_norm=9.0), torch.optim.Adam(others)
    for t, bound in enumerate(bounds, 1):
        give(params, t)
        give(others, t)
        ours.param_groups[0]["clip_norm"] = bound
        ours.step()
        if bound is not None:
            torch.nn.utils.clip_grad_norm_(others, float(bound))
        theirs.step()
    close([p.detach() for p in params], [p.detach() for p in others])


def test_a_new_bound_compiles_nothing(monkeypatch):
    from thalweg.engine import build

    params = model()
    optimizer = tw.Adam(params, clip_norm=9.0)
    walk(optimizer, params, steps=1)
    monkeypatch.setattr(build, "load", lambda source: pytest.fail("compiled again"))
    for bound in (3.0, 0.1):
        optimizer.param_groups[0]["clip_norm"] = bound
        walk(optimizer, params, steps=1)


def test_autograd_follows_a_clipped_step():
    """d p / d lr = -g * scale."""
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    p = torch.zeros(2, dtype=torch.float64).requires_grad_()
    p.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    target = p.clone()
    target.grad = p.grad
    optimizer = tw.SGD([p], lr=lr, differentiable=True, clip_norm=1.0)
    moving = p.clone()
    moving.grad = p.grad
    optimizer.param_groups[0]["params"][0] = moving
    optimizer.step()
    moving.sum().backward()
    assert lr.grad.item() == pytest.approx(-7 / (5 + 1e-6), rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"clip_norm": -1.0}, ValueError, "clip_norm is -1; it must be at least 0"),
        ({"clip_value": "much"}, TypeError, "clip_value is 'much'; it must be a number"),
        ({"clip_tensor_norm": True}, TypeError, "clip_tensor_norm is True; it must be a number"),
        ({"centralise": "yes"}, ValueError, "centralise is 'yes'; it must be one of False, True"),
        ({"clipnorm": 1.0}, TypeError, "Did you mean 'clip_norm'"),
        ({"centralize": True}, TypeError, "Did you mean 'centralise'"),
    ],
)
def test_refusals(settings, error, words):
    with pytest.raises(error, match=words):
        tw.AdamW(model([(2,)]), **settings)


def test_gradients_are_left_alone():
    params = model()
    give(params, 5)
    before = [p.grad.clone() for p in params]
    tw.AdamW(params, **ON).step()
    for p, g in zip(params, before, strict=True):
        assert torch.equal(p.grad, g)


def test_the_walks_gradients_are_not_all_within_the_bounds():
    """The comparisons above can fail: clipping happens, and sometimes does not."""
    lengths = []
    for t in range(1, 6):
        params = model()
        give(params, t)
        lengths.append(float(torch.nn.utils.get_total_norm([p.grad for p in params])))
    assert min(lengths) < ON["clip_norm"] * 1.5 < max(lengths)
    assert float(gradients((3,))[0].abs().max()) > 0


@pytest.mark.parametrize("cls", [tw.AdamW, tw.LAMB])
def test_a_clipped_step_is_planned_too(cls, monkeypatch):
    """From the second step on nothing is looked up again, in one group and in two."""
    for grouped in (list, in_two_groups):
        params, others = model(), model()
        planned = cls(grouped(params), clip_norm=1.1, lr=0.1, engine="cpu")
        walk(planned, params, steps=1)
        monkeypatch.setattr(planned, "_step_group", lambda *_: pytest.fail("took the general way"))
        again = walk(planned, params, steps=4)
        general = cls(grouped(others), clip_norm=1.1, lr=0.1, engine="eager")
        walk(general, others, steps=1)
        close(again, walk(general, others, steps=4))


def test_explain_shows_what_stands_in_front():
    lines = tw.explain("sgd", clip_norm=1.0, centralise=True).formula
    assert "1e−06" in str(lines)
    assert lines.latex[1:3] == [
        r"g \leftarrow \mathrm{scale} \cdot g",
        r"g \leftarrow g - \mathrm{mean}_{\mathrm{row}}\left( g \right)",
    ]
    assert str(tw.explain("sgd", clip_norm=None, centralise=False).formula) == str(tw.explain("sgd").formula)
