"""What a user may change between two steps: the next step sees it, as torch's does."""

import copy

import pytest
import torch

import thalweg as tw
from torch_cases import PAIRS, number

pytestmark = pytest.mark.usefixtures("float64", "engine")


def group(optimizer):
    return optimizer.param_groups[0]


def new_storage(optimizer, params):
    """As model.to(...) and fully_shard do."""
    for p in params:
        p.data = p.data.clone() * 1.5


def new_state(optimizer, params):
    for p in params:
        for key, value in optimizer.state[p].items():
            if key != "step" and value is not None:
                optimizer.state[p][key] = value * 0.5 + 0.25


def state_in_place(optimizer, params):
    for p in params:
        for key, value in optimizer.state[p].items():
            if key != "step" and value is not None:
                value.mul_(0.5).add_(0.25)


def forget_one(optimizer, params):
    optimizer.state.pop(params[0], None)


def forget_all(optimizer, params):
    optimizer.state.clear()


def new_lr(optimizer, params):
    group(optimizer)["lr"] = 0.003


def tensor_lr(optimizer, params):
    group(optimizer)["lr"] = number(0.003)


def new_decay(optimizer, params):
    group(optimizer)["weight_decay"] = 0.3


def new_betas(optimizer, params):
    if "betas" in group(optimizer):
        group(optimizer)["betas"] = (0.5, 0.7)


def new_momentum(optimizer, params):
    if group(optimizer).get("momentum"):
        group(optimizer)["momentum"] = 0.3


def turn_round(optimizer, params):
    group(optimizer)["maximize"] = True


def listed(optimizer, params):
    group(optimizer)["foreach"] = True


def set_to_zero(optimizer, params):
    with torch.no_grad():
        params[0].zero_()


def reload(optimizer, params):
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def older_state(optimizer, params):
    saved = copy.deepcopy(optimizer.state_dict())
    for state in saved["state"].values():
        if "step" in state:
            state["step"] = state["step"] * 0 + 2.0
    optimizer.load_state_dict(saved)


def another_parameter(optimizer, params):
    params.append(torch.linspace(1, 2, 3).requires_grad_())
    optimizer.add_param_group({"params": [params[-1]], "lr": 0.07})


def one_less(optimizer, params):
    group(optimizer)["params"].pop(0)


def other_order(optimizer, params):
    group(optimizer)["params"].reverse()


def frozen(optimizer, params):
    params[0].requires_grad_(False)


CHANGES = [
    new_storage, new_state, state_in_place, forget_one, forget_all, new_lr, tensor_lr, new_decay, new_betas,
    new_momentum, turn_round, listed, set_to_zero, reload, older_state, another_parameter, one_less, other_order,
    frozen,
]  # fmt: skip


def walk(name, module, change, missing=()):
    theirs, extra = PAIRS[name]
    extra = {**extra, "foreach": False} if module is torch.optim else {}
    params = [torch.linspace(-1, 2, 12).reshape(3, 4).requires_grad_(), torch.ones(5, requires_grad=True)]
    optimizer = getattr(module, name if module is tw else theirs)(params, **extra)
    for t in range(30):
        if t == 12:
            change(optimizer, params)
        for i, p in enumerate(params):
            p.grad = None if (t, i) in missing else torch.cos(3 * p.detach() + t)
        optimizer.step()
    return params


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", PAIRS)
def test_the_next_step_sees_the_change(name, change):
    if name == "Adagrad" and change in (forget_one, forget_all):
        pytest.skip("torch's Adagrad makes its state once, in the constructor, and then fails")
    for p, q in zip(walk(name, tw, change), walk(name, torch.optim, change), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_that_come_and_go(name):
    missing = {(t, i) for t in range(30) for i in range(2) if (t * 7 + i * 3) % 5 == 0}
    pair = (walk(name, module, lambda optimizer, params: None, missing) for module in (tw, torch.optim))
    for p, q in zip(*pair, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", PAIRS)
def test_parameters_that_are_frozen_and_thawed(name):
    """No gradient for many steps on end: of one parameter from the third on, of the other from the start."""
    missing = {(t, i) for t in range(30) for i in range(2) if t in (range(3, 20), range(10))[i]}
    pair = (walk(name, module, lambda optimizer, params: None, missing) for module in (tw, torch.optim))
    for p, q in zip(*pair, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_of_another_layout(name):
    """Transposed, expanded, sliced, and a new tensor each time."""
    ends = []
    for module in (tw, torch.optim):
        theirs, extra = PAIRS[name]
        p = torch.linspace(-1, 2, 12).reshape(3, 4).requires_grad_()
        optimizer = getattr(module, name if module is tw else theirs)([p], **(extra if module is torch.optim else {}))
        for t in range(12):
            dense = torch.cos(torch.arange(12.0) + t)
            kinds = [
                dense.reshape(3, 4),
                dense.reshape(4, 3).t(),
                torch.cos(torch.arange(24.0) + t)[::2].reshape(3, 4),
                dense[0].expand(3, 4),
            ]
            p.grad = kinds[t % 4]
            optimizer.step()
        ends.append(p)
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", PAIRS)
def test_autograd_sees_that_the_parameter_was_written(name):
    """A backward through a value from before the step is refused, as with torch's, instead of being wrong."""
    p = torch.ones(3, requires_grad=True)
    optimizer = getattr(tw, name)([p])
    for _ in range(3):
        loss = (p**2).sum()
        p.grad = torch.ones(3)
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
