"""Checkpoints go both ways between ours and torch's, and an optimizer that is copied or reloaded walks on."""

import copy
import io
import pickle

import pytest
import torch

import thalweg as tw
from torch_cases import PAIRS, Case, Slopes, build, difference, number

pytestmark = pytest.mark.usefixtures("engine")
FLAGS = {
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.8, "dampening": 0.5}],
    "Momentum": [{}, {"dampening": 0.3}],
    "Nesterov": [{}],
    "Adagrad": [{}, {"initial_accumulator_value": 0.5}, {"lr_decay": 0.1}],
    "Adadelta": [{}],
    "RMSprop": [{}, {"momentum": 0.9}, {"centered": True}, {"centered": True, "momentum": 0.9}],
    "Adam": [
        {},
        {"amsgrad": True, "betas": (0.9, 0.9)},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "NAdam": [{}, {"momentum_decay": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}],
    "AdamW": [{}, {"amsgrad": True, "betas": (0.9, 0.9)}, {"maximize": True, "foreach": True}],
}
CASES = [
    Case(name, "+".join(flags) or "defaults", flags, complex=complex)
    for name in PAIRS
    for flags in FLAGS[name]
    for complex in (False, True)
]
IDS = [f"{case}{'-complex' if case.complex else ''}" for case in CASES]


def drive(optimizer, params, start, stop):
    """The steps from `start` to `stop` under the gradients of torch_cases."""
    slopes = Slopes(params)
    for t in range(start, stop):
        for p, g in zip(params, slopes.at(params, t), strict=True):
            p.grad = g
        optimizer.step()
    return [p.detach().clone() for p in params]


def halfway(case, theirs, steps=20):
    optimizer, params = build(case, theirs)
    drive(optimizer, params, 0, steps)
    return optimizer, params


def set_to(params, values):
    with torch.no_grad():
        for p, value in zip(params, values, strict=True):
            p.copy_(value)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("steps", [0, 20])
@pytest.mark.parametrize("from_torch", [True, False], ids=["torch-to-ours", "ours-to-torch"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_other_ones_checkpoint_continues_on_the_same_path(case, from_torch, steps):
    source, walked = halfway(case, theirs=from_torch, steps=steps)
    saved = copy.deepcopy(source.state_dict())  # torch's load_state_dict would share the tensors
    target, params = build(Case(case.ours, "", complex=case.complex), theirs=not from_torch)
    set_to(params, walked)
    target.load_state_dict(saved)
    expected = drive(source, walked, steps, steps + 60)
    assert difference([drive(target, params, steps, steps + 60)], [expected]) <= 1e-12


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 20])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_state_dict_is_torchs(case, steps, double, request):
    """The same keys, group settings, shapes and values; and the same dtypes, but for NAdam's product.

    torch keeps that one number in the default dtype, and its float32 rounding shows in NAdam's whole path;
    ours is float64 always. So NAdam is held to 1e-12 when the default is float64.
    """
    if double:
        request.getfixturevalue("float64")
    rtol = 1e-6 if case.ours == "NAdam" and not double else 1e-12
    ours, theirs = (halfway(case, which, steps)[0].state_dict() for which in (False, True))
    assert ours.keys() == theirs.keys()
    assert ours["param_groups"] == theirs["param_groups"]
    assert list(ours["state"]) == list(theirs["state"])
    for i, state in theirs["state"].items():
        assert ours["state"][i].keys() == state.keys()
        for key, value in state.items():
            mine = ours["state"][i][key]
            if value is None:
                assert mine is None
                continue
            assert mine.shape == value.shape
            if key == "mu_product":
                assert mine.dtype is torch.float64
                value = value.double()
            assert mine.dtype == value.dtype
            torch.testing.assert_close(mine, value, rtol=rtol, atol=rtol / 100)


def test_a_convention_of_ours_is_saved_and_comes_back():
    p = torch.ones(2, requires_grad=True)
    saved = tw.Adam([p], eps_hat=True).state_dict()
    assert saved["param_groups"][0]["eps_hat"] is True
    other = tw.Adam([p])
    other.load_state_dict(saved)
    assert other.param_groups[0]["eps_hat"] is True


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "SGD"])
def test_state_keeps_its_dtype_on_load(name):
    """float32 state beside a bfloat16 parameter stays float32; torch would round it to the parameter's type."""
    p = torch.linspace(1, 2, 6).requires_grad_()
    source = getattr(tw, name)([p])
    p.grad = torch.linspace(0.1, 0.7, 6)
    source.step()
    q = p.detach().bfloat16().requires_grad_()
    target = getattr(tw, name)([q])
    target.load_state_dict(source.state_dict())
    assert target.state[q].keys() == source.state[p].keys()
    for key, value in source.state[p].items():
        assert target.state[q][key].dtype is value.dtype, key
        assert torch.equal(target.state[q][key], value), key
    q.grad = torch.linspace(0.1, 0.7, 6).bfloat16()
    target.step()
    assert all(target.state[q][key].dtype is value.dtype for key, value in source.state[p].items())


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("theirs", [False, True], ids=["from-ours", "from-torch"])
def test_loading_does_not_alias(name, theirs):
    source, params = halfway(Case(name, ""), theirs)
    saved = source.state_dict()
    before = copy.deepcopy(saved)
    first, first_params = build(Case(name, ""), theirs=False)
    second, second_params = build(Case(name, ""), theirs=False)
    first.load_state_dict(saved)
    second.load_state_dict(saved)
    drive(first, first_params, 0, 5)
    for i, (p, q) in enumerate(zip(params, second_params, strict=True)):
        for key, value in before["state"].get(i, {}).items():
            for state in (saved["state"][i], source.state[p], second.state[q]):
                assert value is state[key] or torch.equal(state[key], value), key
    first.param_groups[0]["lr"] = 99.0
    assert saved["param_groups"][0]["lr"] == second.param_groups[0]["lr"] == before["param_groups"][0]["lr"]


def test_a_tensor_lr_is_not_shared_after_loading():
    p = torch.ones(2, requires_grad=True)
    source, target = tw.Adam([p], lr=number(0.1)), tw.Adam([p], lr=number(0.2))
    target.load_state_dict(source.state_dict())
    source.param_groups[0]["lr"].fill_(0.5)
    assert float(target.param_groups[0]["lr"]) == pytest.approx(0.1)


@pytest.mark.parametrize("name", PAIRS)
def test_a_state_that_does_not_fit_is_an_error(name):
    cls = getattr(tw, name)
    one, two = (torch.ones(2, requires_grad=True) for _ in range(2))
    saved = cls([one]).state_dict()
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        cls([one, two]).load_state_dict(saved)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        cls([{"params": [one]}, {"params": [two]}]).load_state_dict(saved)


@pytest.mark.parametrize("name", PAIRS)
def test_a_state_for_a_parameter_of_another_shape_is_refused_at_the_step(name):
    """As in torch, where the operations themselves refuse it; kernels would read what lies behind."""
    p, q = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    p.grad, q.grad = torch.ones(2), torch.ones(3)
    settings = {"momentum": 0.9} if name == "SGD" else {}
    source, target = (getattr(tw, name)([x], **settings) for x in (p, q))
    source.step()
    target.load_state_dict(source.state_dict())
    with pytest.raises(ValueError, match=r"of shape \(2,\); it must be as its parameter is: real, of shape \(3,\)"):
        target.step()
    assert torch.equal(q, torch.ones(3))


def test_a_real_state_for_a_complex_parameter_is_refused():
    p, q = torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.complex64, requires_grad=True)
    p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
    source, target = tw.Adam([p]), tw.Adam([q])
    source.step()
    target.load_state_dict(source.state_dict())
    with pytest.raises(ValueError, match=r"exp_avg is real, .* it must be as its parameter is: complex"):
        target.step()


def test_what_older_torchs_wrote_is_understood():
    """A velocity that is None, and a step that is a plain number."""
    for name, settings, older in (
        ("SGD", {"momentum": 0.9, "dampening": 0.5}, lambda state: {"momentum_buffer": None}),
        ("Adam", {}, lambda state: {**state, "step": 7}),
    ):
        ends = []
        for module in (tw, torch.optim):
            p = torch.ones(3, dtype=torch.float64, requires_grad=True)
            p.grad = torch.linspace(-1, 1, 3, dtype=torch.float64)
            optimizer = getattr(module, name)([p], lr=0.1, **settings)
            optimizer.step()
            saved = optimizer.state_dict()
            saved["state"][0] = older(saved["state"][0])
            optimizer.load_state_dict(saved)
            for _ in range(3):
                optimizer.step()
            ends.append(p)
        torch.testing.assert_close(*ends, rtol=1e-12, atol=0)


def test_the_users_hooks_around_saving_and_loading_still_work():
    p = torch.ones(2, requires_grad=True)
    source, target = tw.AdamW([p]), tw.AdamW([p])
    p.grad = torch.ones(2)
    source.step()
    called = []

    def rename(optimizer, state_dict):
        called.append("after saving")
        return {**state_dict, "note": "kept"}

    def change(optimizer, state_dict):
        called.append("before loading")
        changed = copy.deepcopy(state_dict)
        changed["state"][0]["exp_avg"] = torch.full((2,), 7.0, dtype=torch.float64)
        changed["param_groups"][0]["lr"] = 0.25
        return changed

    source.register_state_dict_pre_hook(lambda optimizer: called.append("before saving"))
    source.register_state_dict_post_hook(rename)
    target.register_load_state_dict_pre_hook(change)
    target.register_load_state_dict_post_hook(lambda o: called.append(float(o.state[p]["exp_avg"][0])))
    saved = source.state_dict()
    assert saved["note"] == "kept"
    for _ in range(2):  # and loading leaves none of its own hooks behind
        target.load_state_dict(saved)
    assert called == ["before saving", "after saving", *(["before loading", 7.0] * 2)]
    assert target.param_groups[0]["lr"] == 0.25
    assert target.state[p]["exp_avg"].dtype is torch.float64
    assert len(target._optimizer_load_state_dict_pre_hooks) == 1
    assert len(target._optimizer_load_state_dict_post_hooks) == 1


def halving(p, g, v, *, t, lr=0.1, keep=0.5):
    """An importable rule of a user."""
    v = keep * v + g
    return p - lr / (1 + 0.1 * t) * v, v


CLASSES = [*(getattr(tw, name) for name in PAIRS), tw.optimizer(halving)]


def by_pickle(pair):
    return pickle.loads(pickle.dumps(pair))


@pytest.mark.parametrize("copied", [copy.deepcopy, by_pickle], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_copied_optimizer_walks_on(cls, copied):
    params = [
        torch.ones(3, dtype=torch.float64, requires_grad=True),
        torch.ones(2, 2).double().requires_grad_(),
    ]
    optimizer = cls([{"params": params[:1], "lr": 0.02}, {"params": params[1:], "weight_decay": 0.1}], lr=0.1)
    drive(optimizer, params, 0, 10)
    twin, twins = copied((optimizer, params))
    assert type(twin) is type(optimizer)
    assert twin.param_groups[0]["params"][0] is twins[0]
    expected = drive(optimizer, params, 10, 40)
    untouched = [p.detach().clone() for p in twins]
    assert not any(torch.equal(a, b) for a, b in zip(untouched, expected, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(drive(twin, twins, 10, 40), expected, strict=True))


@pytest.mark.parametrize("name", PAIRS)
def test_a_group_added_later_starts_at_its_own_first_step(name):
    ours, theirs = [], []
    for path, which in ((ours, False), (theirs, True)):
        optimizer, params = halfway(Case(name, ""), theirs=which)
        late = torch.linspace(1, 2, 4, dtype=torch.float64).requires_grad_()
        optimizer.add_param_group({"params": [late], "lr": 0.07})
        path.append(drive(optimizer, [*params, late], 20, 60))
        assert len(optimizer.param_groups) == 2
    bound = 1e-6 if name == "NAdam" else 1e-12  # torch keeps NAdam's product in float32 by default
    assert difference(ours, theirs) <= bound


@pytest.mark.parametrize("name", PAIRS)
def test_torch_save_and_load_with_weights_only(name):
    optimizer, params = halfway(Case(name, ""), theirs=False)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "params": params}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    other = getattr(tw, name)(loaded["params"])
    other.load_state_dict(loaded["optimizer"])
    expected = drive(optimizer, params, 20, 40)
    assert all(torch.equal(a, b) for a, b in zip(drive(other, loaded["params"], 20, 40), expected, strict=True))


def test_a_checkpoint_without_a_newer_setting_loads_with_its_default():
    """As torch's own classes do for settings that an old checkpoint does not have."""
    p = torch.ones(2, requires_grad=True)
    saved = tw.Adam([p]).state_dict()
    del saved["param_groups"][0]["decoupled_weight_decay"]
    optimizer = tw.Adam([p])
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is False
