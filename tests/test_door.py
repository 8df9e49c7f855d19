"""The door is torch's: everything one does to a torch.optim.Optimizer, done to ours."""

import copy

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

import thalweg as tw
from torch_cases import PAIRS, number

pytestmark = pytest.mark.usefixtures("engine")
HOUSE = list(PAIRS)


def twin(name, module, params, **settings):
    """Our class, or torch's with the settings that make it ours."""
    if module is tw:
        return getattr(tw, name)(params, **settings)
    theirs, extra = PAIRS[name]
    return getattr(torch.optim, theirs)(params, **{**extra, **settings})


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def relative(ours, theirs):
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    return max(((p - q).abs().max() / q.abs().max()).item() for p, q in pairs)


# ---- beside the training loop's other tools


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", HOUSE)
def test_grad_scaler(name, dtype):
    """Scaled losses, an overflow that is skipped, unscaling and clipping: as with torch's class."""
    ends, scales = [], []
    for module in (tw, torch.optim):
        model = network()
        optimizer = twin(name, module, model.parameters())
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
        for t in range(12):
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(t))
            if t == 5:
                x = x * float("inf")
            with torch.autocast("cpu", dtype):
                loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            before = [p.detach().clone() for p in model.parameters()]
            scaler.step(optimizer)
            stood = all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
            assert stood == (t == 5)
            scaler.update()
        ends.append(model)
        scales.append(scaler.get_scale())
    assert scales == [2.0**12] * 2  # grown three times, halved once
    assert relative(*ends) < 1e-4  # 16-bit activations magnify what float32 rounds differently


@pytest.mark.parametrize("name", HOUSE)
def test_clip_grad_norm(name):
    ends = []
    for module in (tw, torch.optim):
        model = network().double()
        optimizer = twin(name, module, model.parameters(), lr=0.05)
        for t in range(20):
            x = torch.randn(8, 4, generator=torch.Generator().manual_seed(t)).double()
            optimizer.zero_grad()
            (model(x) ** 2).sum().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
        ends.append(model)
    assert relative(*ends) < (1e-6 if name == "NAdam" else 1e-12)  # torch's NAdam: a float32 product


@pytest.mark.parametrize("name", HOUSE)
def test_hooks_around_the_step(name):
    p = torch.ones(2, requires_grad=True)
    optimizer = getattr(tw, name)([p])
    p.grad = torch.ones(2)
    called = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: called.append(("before", p[0].item())))
    after = optimizer.register_step_post_hook(lambda o, args, kwargs: called.append(("after", p[0].item())))
    everywhere = register_optimizer_step_post_hook(lambda o, *_: called.append(("all", o)))
    optimizer.step()
    everywhere.remove()
    after.remove()
    assert [what for what, _ in called] == ["before", "after", "all"]
    assert called[0][1] == 1.0 > called[1][1] == p[0].item()
    optimizer.step()
    assert len(called) == 4


@pytest.mark.parametrize("profile", [torch.profiler.profile, torch.autograd.profiler.profile])
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_a_profile_shows_the_step_as_torchs(name, profile):
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    shown = []
    for cls in (getattr(tw, name), getattr(torch.optim, name)):
        optimizer = cls([p], lr=0.1)
        for _ in range(3):  # planned by now
            optimizer.step()
        with profile() as seen:
            optimizer.step()
        shown.append({event.key: event.count for event in seen.key_averages() if event.key.startswith("Optimizer.")})
    assert shown[0] == shown[1] == {f"Optimizer.step#{name}.step": 1}


@pytest.mark.parametrize("name", HOUSE)
def test_zero_grad(name):
    p = torch.ones(2, requires_grad=True)
    optimizer = getattr(tw, name)([p])
    p.grad = torch.ones(2)
    optimizer.zero_grad(set_to_none=False)
    assert torch.equal(p.grad, torch.zeros(2))
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.step()  # nothing to do
    assert torch.equal(p.detach(), torch.ones(2))


def test_named_parameters_are_kept_and_saved_as_torch_does():
    model = network()
    ours, theirs = (m.AdamW(model.named_parameters(), lr=0.1) for m in (tw, torch.optim))
    assert ours.param_groups[0]["param_names"] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert ours.state_dict() == theirs.state_dict()
    groups = [
        {"params": list(model[0].named_parameters())},
        {"params": list(model[2].named_parameters()), "lr": 1},
    ]
    assert tw.SGD(groups).state_dict() == torch.optim.SGD(groups).state_dict()


@pytest.mark.parametrize("name", HOUSE)
def test_representation_names_the_class_and_its_settings(name):
    shown = repr(getattr(tw, name)([torch.ones(1)], lr=0.125))
    assert shown.startswith(f"{name} (")
    assert "lr: 0.125" in shown


@pytest.mark.parametrize("name", HOUSE)
def test_is_a_torch_optimizer(name):
    assert issubclass(getattr(tw, name), torch.optim.Optimizer)


# ---- what it may not touch


@pytest.mark.parametrize("settings", [{}, {"foreach": True}, {"maximize": True}], ids=str)
@pytest.mark.parametrize("name", HOUSE)
def test_the_gradient_is_neither_changed_nor_cleared(name, settings):
    params = [torch.linspace(1, 2, 6).reshape(2, 3).requires_grad_(), torch.ones(2, dtype=torch.bfloat16)]
    params += [torch.ones(2, dtype=torch.complex64, requires_grad=True)]
    optimizer = getattr(tw, name)(params, weight_decay=0.1, **settings)
    for p in params:
        p.grad = torch.full_like(p, 0.25)
    kept = [(p.grad, p.grad.clone(), p.grad._version) for p in params]
    for _ in range(3):
        optimizer.step()
    for p, (grad, value, version) in zip(params, kept, strict=True):
        assert p.grad is grad
        assert torch.equal(p.grad, value)
        assert grad._version == version


@pytest.mark.parametrize("name", HOUSE)
def test_parameters_stay_the_same_leaf_tensors(name):
    p = torch.ones(3, requires_grad=True)
    address = p.data_ptr()
    optimizer = getattr(tw, name)([p])
    p.grad = torch.ones(3)
    optimizer.step()
    assert p.is_leaf
    assert p.requires_grad
    assert p.data_ptr() == address
    assert all(not v.requires_grad for v in optimizer.state[p].values() if v is not None)


# ---- tensors of every kind


@pytest.mark.parametrize("name", HOUSE)
def test_shapes_and_layouts(name):
    """Not contiguous, channels last, one number, nothing at all: the same path as torch's."""
    ends = []
    for module in (tw, torch.optim):
        image = torch.arange(120.0).double().reshape(2, 3, 4, 5).to(memory_format=torch.channels_last)
        base = torch.arange(24.0).double()
        params = [
            base[:12].reshape(3, 4).t(),
            base[12::2],
            image,
            torch.tensor(2.0).double(),
            torch.zeros(0, 3),
        ]
        optimizer = twin(name, module, params, lr=0.01)
        for t in range(10):
            for p in params:
                p.grad = torch.cos(p + t).contiguous()
            optimizer.step()
        assert not params[0].is_contiguous()
        assert torch.equal(base[13::2], torch.arange(13.0, 24, 2).double())  # what lies between is untouched
        assert image.is_contiguous(memory_format=torch.channels_last)
        ends.append(params)
    for p, q in zip(*ends, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6 if name == "NAdam" else 1e-12, atol=0)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", HOUSE)
def test_a_gradient_of_another_shape_is_refused(name):
    """torch lets nobody set one, but it may be there before the parameter's data is exchanged."""
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    p.data = torch.ones(3)
    optimizer = getattr(tw, name)([p])
    with pytest.raises(ValueError, match=r"a gradient is real, of shape \(2,\); .* real, of shape \(3,\)"):
        optimizer.step()
    assert torch.equal(p, torch.ones(3))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("first", [True, False], ids=["at once", "after a step"])
def test_a_gradient_of_zeros_without_memory_is_zeros(first):
    """Autograd has such zeros; there is nothing at their address."""
    ends = []
    for zeros in (torch._efficientzerotensor, torch.zeros):
        p = torch.nn.Parameter(torch.ones(3))
        optimizer = tw.Adam([p], lr=0.1)
        for t in range(3):
            p.grad = torch.ones(3) if t == 0 and not first else zeros((3,))
            optimizer.step()
        ends.append(p)
    torch.testing.assert_close(*ends, rtol=0, atol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", HOUSE)
def test_a_broken_gradient_does_not_raise_and_does_not_spread(name, bad):
    p = torch.ones(3, requires_grad=True)
    optimizer = getattr(tw, name)([p], lr=0.01)
    for _ in range(3):
        p.grad = torch.tensor([0.1, bad, 0.1])
        optimizer.step()
    assert torch.isfinite(p[[0, 2]]).all()
    if bad != bad:
        assert torch.isnan(p[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", HOUSE)
def test_a_16_bit_step_is_computed_in_float32_and_rounded_once(name, dtype):
    """Against torch's float64 step: the error of one rounding to 16 bits, and float32's; torch's own is larger."""
    made = torch.Generator().manual_seed(5)
    start, g = (torch.randn(2000, generator=made).to(dtype) for _ in range(2))
    settings = {"lr": 300.0 if name == "Adadelta" else 0.37, "weight_decay": 0.125}
    ours, theirs, exact = start.clone(), start.clone(), start.double()
    for p, module in ((ours, tw), (theirs, torch.optim), (exact, torch.optim)):
        p.grad = g.to(p.dtype)
        twin(name, module, [p], **settings).step()
    assert ours.dtype is dtype
    one_rounding = (exact.to(dtype).double() - exact).abs()
    allowed = one_rounding + 2**-21 * (start.double().abs() + (exact - start.double()).abs())
    assert ((ours.double() - exact).abs() <= allowed).all()
    if (name, dtype) != ("Adagrad", torch.bfloat16):  # whose few roundings on the way happen to be harmless
        assert not ((theirs.double() - exact).abs() <= allowed).all()


# ---- the hyper-gradient


SMOOTH = {"Adadelta": 1.0, "Adagrad": 0.3}


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("name", HOUSE)
def test_differentiable_gives_the_derivative_of_training_with_respect_to_lr(name, foreach):
    def trained(lr, settings):
        p = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64, requires_grad=True).clone()
        p.retain_grad()
        optimizer = getattr(tw, name)([p], lr=lr, foreach=foreach, **settings)
        for _ in range(5):
            at = p.clone()
            loss = (at**4).sum() + torch.sin(3 * at).sum()
            (p.grad,) = torch.autograd.grad(loss, at, create_graph=True)
            optimizer.step()
        return (p**2).sum()

    value = SMOOTH.get(name, 0.02)
    lr = number(value).requires_grad_()
    (derivative,) = torch.autograd.grad(trained(lr, {"differentiable": True}), lr)
    h = 1e-5 * value
    ends = [trained(value + k * h, {}).item() for k in (-2, -1, 1, 2)]
    finite = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)
    assert abs(finite) > 1e-3
    assert derivative.item() == pytest.approx(finite, rel=1e-7)


# ---- a rule of one's own


def signed(p, g, m, *, t, lr=0.1, beta1=0.5, beta2=0.8, small=False):
    """A user's rule, outside the house, without a card."""
    ahead = beta1 * m + (1 - beta1) * g
    m = beta2 * m + (1 - beta2) * g
    return p - (lr / 10 if small else lr) * ahead / t, m


def test_a_rule_of_ones_own_becomes_a_class():
    cls = tw.optimizer(signed)
    assert cls is tw.optimizer(signed)
    assert (cls.__name__, cls.__doc__) == ("signed", signed.__doc__)
    p = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    optimizer = cls([p], 0.2, betas=(0.0, 0.5), weight_decay=0.5)
    by_hand, m = p.detach().clone(), torch.zeros(2, dtype=torch.float64)
    for t in (1, 2, 3):
        p.grad = torch.tensor([1.0, -1.0], dtype=torch.float64)
        optimizer.step()
        g = torch.tensor([1.0, -1.0], dtype=torch.float64) + 0.5 * by_hand
        by_hand, m = by_hand - 0.2 * g / t, 0.5 * m + 0.5 * g
    torch.testing.assert_close(p.detach(), by_hand, rtol=1e-14, atol=0)
    torch.testing.assert_close(optimizer.state[p]["m"], m, rtol=1e-14, atol=0)
    with pytest.raises(TypeError, match=r"signed has no argument 'smal'\. Did you mean 'small'\?"):
        cls([p], smal=True)
    other = copy.deepcopy(optimizer)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["betas"] == (0.0, 0.5)


def test_the_houses_rules_are_the_houses_classes():
    from thalweg.rules import find, names

    assert {tw.optimizer(find(name)) for name in names()} == {getattr(tw, name) for name in tw.optimizers.__all__}
