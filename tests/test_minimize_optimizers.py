"""The minimizers as torch.optim.Optimizer: state_dict resumes exactly, closures are what they must be."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

import thalweg as tw
from thalweg.minimize.methods import SEARCHES

MAKERS = {
    "bfgs": lambda params, **kw: tw.BFGS(params, **kw),
    "broyden": lambda params, **kw: tw.BFGS(params, self_scaled=True, **kw),
    "lbfgs": lambda params, **kw: tw.LBFGS(params, history_size=7, **kw),
    "cg": lambda params, **kw: tw.ConjugateGradient(params, **kw),
    "newton": lambda params, **kw: tw.Newton(params, **kw),
    "newton-cg": lambda params, **kw: tw.Newton(params, matrix=0, **kw),
}


def regression(make, dtype=torch.float64):
    """A small net, its optimizer, and the closure over all data."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).to(dtype)
    x = torch.randn(30, 2, dtype=dtype)
    y = (x[:, :1] * 2).sin() + x[:, 1:] ** 2
    optimizer = make(list(model.parameters()))
    return model, optimizer, closure_over(model, optimizer, x, y)


def closure_over(model, optimizer, x, y):
    """The mean squared error, with its gradient where the optimizer wants that."""

    def closure():
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        if optimizer.backward:
            loss.backward()
        return loss

    return closure


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_loss_falls(make):
    model, optimizer, closure = regression(make)
    before = float(closure().detach())
    losses = [optimizer.step(closure) for _ in range(5)]
    assert losses[-1] < losses[0] < before
    assert losses[-1].item() == pytest.approx(float(closure().detach()), rel=1e-12)  # as of torch
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("made", [tw.BFGS, tw.LBFGS, tw.ConjugateGradient, tw.Newton])
def test_settings_go_by_name(made):
    with pytest.raises(TypeError, match=f"^{made.__name__} was given 1 without a name; settings go by name: lr="):
        made([torch.nn.Parameter(torch.ones(2))], 1)  # torch's LBFGS would take it for lr


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"line_search_fn": "strong_wolfe"}, "; every step is a safe one"),
        ({"tolerance_grad": 1e-7}, "; gtol is the same"),
        ({"tolerance_change": 1e-9}, "; no change of the loss or the parameters ends a call, only gtol and max_iter"),
        ({"max_eval": 25}, "; max_iter bounds the steps of a call"),
        ({"weight_decay": 0.1}, "; the closure may add it to the loss"),
        ({"maxiter": 3}, "; it takes params, max_iter, .* Did you mean 'max_iter'"),
        ({"histroy": 3}, "; it takes params, max_iter, gtol, lr"),
    ],
)
@pytest.mark.parametrize("made", [tw.BFGS, tw.LBFGS, tw.ConjugateGradient, tw.Newton])
def test_settings_of_torch_say_what_is_here_instead(made, settings, sentence):
    p = torch.nn.Parameter(torch.ones(2))
    ((name, _),) = settings.items()
    with pytest.raises(TypeError, match=f"^{made.__name__} has no argument {name!r}{sentence}"):
        made([p], **settings)
    with pytest.raises(TypeError, match=f"^{made.__name__} has no setting {name!r}; "):
        made([{"params": [p], **settings}])


def test_the_settings_of_torch_that_are_here_too_are_taken():
    (group,) = tw.LBFGS([torch.nn.Parameter(torch.ones(2))], lr=0.5, max_iter=4, history_size=3).param_groups
    assert (group["lr"], group["max_iter"]) == (0.5, 4)
    scheduled = tw.LBFGS([{"params": [torch.nn.Parameter(torch.ones(2))], "initial_lr": 0.5}])
    torch.optim.lr_scheduler.LambdaLR(scheduled, lambda step: 1.0, last_epoch=3)


def test_a_class_of_ones_own_takes_what_its_own_signature_says():
    class Mine(tw.LBFGS):
        def __init__(self, params, pairs, **settings):
            super().__init__(params, history_size=pairs, **settings)

    assert Mine([torch.nn.Parameter(torch.ones(2))], 5, max_iter=3).history_size == 5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_save_load_continue_is_continue(make, dtype, tmp_path):
    def made(params):
        return make(params, max_iter=3)

    model, optimizer, closure = regression(made, dtype)
    other, loaded, other_closure = regression(made, dtype)
    for _ in range(4):
        optimizer.step(closure)
    torch.save((model.state_dict(), optimizer.state_dict()), tmp_path / "state.pt")
    weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
    other.load_state_dict(weights)
    loaded.load_state_dict(copy.deepcopy(state))
    for _ in range(4):
        assert optimizer.step(closure) == loaded.step(other_closure)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("name", ["bfgs", "broyden", "lbfgs", "cg"])
def test_many_short_calls_are_one_long_call(name):
    _, one, closure = regression(lambda params: MAKERS[name](params, max_iter=12))
    long = one.step(closure)
    _, many, closure = regression(lambda params: MAKERS[name](params, max_iter=1))
    short = [many.step(closure) for _ in range(12)]
    assert short[-1].item() == pytest.approx(long.item(), rel=1e-12)


def test_parameters_changed_from_outside_start_anew_and_noise_is_warned_of():
    model, optimizer, closure = regression(MAKERS["bfgs"])
    optimizer.step(closure)
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    before = float(closure().detach())
    assert optimizer.step(closure) < before

    def noisy():
        return closure() * (1 + 0.1 * torch.rand(()))

    with pytest.warns(UserWarning, match="the loss at the same point was"):
        optimizer.step(noisy)


def test_groups_make_one_vector():
    a, b = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = tw.BFGS([{"params": [a]}, {"params": [b]}])

    def closure():
        optimizer.zero_grad()
        loss = (a - 2).square().sum() + (a * b - 6).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    optimizer.step(closure)
    torch.testing.assert_close(b.detach(), torch.full((2,), 3.0, dtype=torch.float64), atol=1e-5, rtol=0)
    assert optimizer.converged
    with pytest.raises(ValueError, match="max_iter is 3 in one group"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1, dtype=torch.float64))], "max_iter": 3})
    with pytest.raises(ValueError, match="on one device"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})


def test_refusals():
    p = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="max_iter is 0"):
        tw.LBFGS([p], max_iter=0)
    with pytest.raises(ValueError, match="gtol is -1"):
        tw.BFGS([p], gtol=-1)
    with pytest.raises(ValueError, match="lr is 0; it must be a number, above 0"):
        tw.ConjugateGradient([p], lr=0)
    with pytest.raises(ValueError, match="history_size is 0"):
        tw.LBFGS([p], history_size=0)
    with pytest.raises(TypeError, match="closure returned int"):
        tw.BFGS([p]).step(lambda: 3)
    with pytest.raises(TypeError, match=r"closure is None; BFGS\.step needs a function"):
        tw.BFGS([p]).step(None)  # pyright: ignore[reportArgumentType]
    p.grad = torch.ones(2)  # of an earlier backward
    with pytest.raises(ValueError, match="closure set no gradient; for BFGS it must call backward"):
        tw.BFGS([p]).step(lambda: (p * p).sum())

    def backward():
        loss = (p**3).sum()
        loss.backward()
        return loss

    with pytest.raises(ValueError, match="it must only return the loss"):
        tw.Newton([p]).step(backward)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (tw.BFGS, r"^params hold 40100 numbers and tw\.BFGS keeps n\^2 of them; use tw\.LBFGS\.$"),
        (MAKERS["broyden"], r"^params hold 40100 numbers and tw\.BFGS keeps n\^2 of them; use tw\.LBFGS\.$"),
        (
            lambda params: tw.Newton(params, matrix=50_000),
            r"^params hold 40100 numbers and tw\.Newton keeps n\^2 of them; use tw\.Newton\(params, matrix=500\)\.$",
        ),
    ],
    ids=["bfgs", "broyden", "newton"],
)
def test_a_matrix_that_fills_the_memory_is_refused_before_the_closure_is_called(make, sentence):
    params = [torch.nn.Parameter(torch.zeros(200, 200)), torch.nn.Parameter(torch.zeros(100))]
    optimizer = make(params)

    def closure():
        raise AssertionError("the closure was called")

    with pytest.raises(ValueError, match=sentence):
        optimizer.step(closure)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_parameters_without_numbers_are_refused_alone_and_left_out_beside_others(make):
    empty, p = (torch.nn.Parameter(torch.ones(n, dtype=torch.float64)) for n in (0, 2))
    with pytest.raises(ValueError, match=r"^params are all empty; they must hold at least one number that is not froz"):
        make([empty]).step(lambda: (empty**2).sum() + 1)
    optimizer = make([empty, p])

    def closure():
        optimizer.zero_grad()
        loss = ((p - 3) ** 2).sum() + (empty**2).sum()
        if optimizer.backward:
            loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(p.detach(), torch.full((2,), 3.0, dtype=torch.float64))


def test_a_loss_that_is_not_finite_changes_nothing():
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = tw.BFGS([p])

    def closure():
        optimizer.zero_grad()
        loss = (p * torch.nan).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.equal(p.detach(), torch.ones(2))
    assert "not finite" in optimizer.message


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_step_without_gradients_around_it_is_the_same_step(make, mode):
    _, optimizer, closure = regression(make)
    _, within, other_closure = regression(make)
    for _ in range(2):
        loss = optimizer.step(closure)
        with mode():
            assert within.step(other_closure) == loss


OTHERS = {**MAKERS, "more pairs": lambda params: tw.LBFGS(params, history_size=9), "torch's": torch.optim.LBFGS}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_state_of_another_method_is_refused_and_nothing_of_it_loaded(make):
    _, optimizer, closure = regression(make)
    optimizer.step(closure)
    before = copy.deepcopy(optimizer.state_dict())
    for name, other in OTHERS.items():
        if other is make:
            continue
        _, another, another_closure = regression(lambda params, other=other: other(params))
        another.backward = name not in ("newton", "newton-cg")
        another.step(another_closure)
        with pytest.raises(ValueError, match=r"^state_dict is of .*; it must be of \w"):
            optimizer.load_state_dict(another.state_dict())
        torch.testing.assert_close(optimizer.state_dict()["state"], before["state"], rtol=0, atol=0)
        assert optimizer.state_dict()["param_groups"] == before["param_groups"]
    assert optimizer.step(closure) < before["state"][0]["walk"]["f"]


SEARCHED = {
    f"bfgs, {search}": lambda params, search=search, **kw: tw.BFGS(params, search=SEARCHES[search], **kw)
    for search in SEARCHES
}


def saved_whole(both):
    """By torch.save, as whole objects."""
    file = io.BytesIO()
    torch.save(both, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), saved_whole])
@pytest.mark.parametrize("metered", [False, True])
@pytest.mark.parametrize("make", [*MAKERS.values(), *SEARCHED.values()], ids=[*MAKERS, *SEARCHED])
def test_a_copy_goes_on_like_the_original(make, metered, copied):
    model, optimizer, closure = regression(lambda params: make(params, max_iter=3))
    optimizer.meter = paid if metered else None
    optimizer.step(closure)
    twin, other = copied((model, optimizer))
    x, y = (cell.cell_contents for cell in closure.__closure__ if isinstance(cell.cell_contents, torch.Tensor))
    for _ in range(3):
        assert other.step(closure_over(twin, other, x, y)) == optimizer.step(closure)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


def paid(price):
    """A meter."""


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_frozen_parameters_are_left_out(make):
    model, _, _ = regression(make)
    model[0].requires_grad_(False)
    before = copy.deepcopy(model[0].state_dict())
    x = torch.linspace(-1, 1, 10, dtype=torch.float64).repeat(2, 1).T

    def steps(params):
        optimizer = make(params)

        def closure():
            optimizer.zero_grad()
            loss = (model(x) - x[:, :1] ** 2).square().mean()
            if optimizer.backward:
                loss.backward()
            return loss

        return [optimizer.step(closure) for _ in range(2)]

    start = copy.deepcopy(model.state_dict())
    everything = steps(model.parameters())
    torch.testing.assert_close(model[0].state_dict(), before, rtol=0, atol=0)
    model.load_state_dict(start)
    assert steps(model[2].parameters()) == everything
    model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"^params are all frozen"):
        steps(model.parameters())


def test_sparse_gradients_are_gradients():
    rows = torch.tensor([1, 2])

    def embedded(sparse):
        torch.manual_seed(0)
        table = torch.nn.Embedding(5, 2, sparse=sparse).double()
        optimizer = tw.LBFGS(table.parameters())

        def closure():
            optimizer.zero_grad()
            loss = ((table(rows) - 1) ** 4).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return table.weight.detach()

    assert torch.equal(embedded(sparse=True), embedded(sparse=False))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_call_that_begins_where_it_may_end_forgets_nothing(make):
    _, optimizer, closure = regression(lambda params: make(params, max_iter=5))
    optimizer.step(closure)
    (known,) = (copy.deepcopy(each["walk"]) for each in optimizer.state.values())
    group = optimizer.param_groups[0]
    group["gtol"] = 1e6  # reached where it stands
    optimizer.step(closure)
    assert optimizer.converged
    (walk,) = (each["walk"] for each in optimizer.state.values())
    torch.testing.assert_close(walk, known, rtol=0, atol=0)
    group["gtol"] = 1e-7
    _, other, again = regression(lambda params: make(params, max_iter=5))
    other.step(again)
    assert optimizer.step(closure) == other.step(again)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_float32_rounding_of_the_loss_is_no_noise(make, recwarn):
    _, optimizer, closure = regression(lambda params: make(params, max_iter=4), torch.float32)
    calls = []

    def rounded():
        calls.append(1)
        return closure() * (1 + 3e-7 * (len(calls) % 3))  # sums in another order, as on a GPU

    for _ in range(3):
        optimizer.step(rounded)
    assert not recwarn


def test_a_search_goes_by_name_and_a_wrong_one_is_refused_before_the_first_step():
    p = torch.nn.Parameter(torch.ones(2))
    assert tw.BFGS([p], search="hager-zhang").method(2).name == "bfgs"
    with pytest.raises(ValueError, match=r"search is 'wolf'; .* Did you mean 'wolfe'"):
        tw.LBFGS([p], search="wolf")
    with pytest.raises(TypeError, match=r"beta is 'fr'; it must be a function"):
        tw.ConjugateGradient([p], beta="fr")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("reason", [KeyboardInterrupt, RuntimeError])
def test_a_closure_that_raises_ends_the_call_and_no_trial_point_is_left(make, reason):
    model, optimizer, closure = regression(make)
    start = [p.detach().clone() for p in model.parameters()]
    before, calls = float(closure().detach()), []

    def broken():
        calls.append(1)
        if len(calls) == 6:
            with torch.no_grad():
                for p in model.parameters():
                    p.fill_(7.0)
            raise reason
        return closure()

    with pytest.raises(reason):  # Ctrl-C also ends the user's loop around it
        optimizer.step(broken)
    if reason is KeyboardInterrupt:  # the best so far
        assert float(closure().detach()) < before
    else:
        for p, began in zip(model.parameters(), start, strict=True):
            assert torch.equal(p, began)
    assert optimizer.step(closure) < before


def clamped(p):
    with torch.no_grad():
        p.clamp_(max=0.5)


def clamped_data(p):
    p.data.clamp_(max=0.5)


def other_data(p):
    p.data = p.data.clamp(max=0.5)


def renormed(p):
    torch.nn.functional.embedding(torch.tensor([0]), p[None], max_norm=0.6)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("change", [clamped, clamped_data, other_data, renormed])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_closure_that_changes_the_parameters_is_refused(make, change, when):
    p = torch.nn.Parameter(torch.tensor([0.1, 0.2], dtype=torch.float64))
    optimizer = make([p])

    def closure():
        optimizer.zero_grad()
        if when == "before":
            change(p)
        loss = ((p - 3) ** 2).sum()  # beyond the bound
        if optimizer.backward:
            loss.backward()
        if when == "after":
            change(p)
        return loss

    name = type(optimizer).__name__
    with pytest.raises(ValueError, match=f"^closure changed the parameters, and {name} needs the loss where it put"):
        optimizer.step(closure)
    assert p.tolist() == [0.1, 0.2]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_clamp_that_changes_nothing_is_none_and_between_steps_all_is_allowed(make):
    _, one, closure = regression(make)
    model, other, same_closure = regression(make)

    def clamps():
        with torch.no_grad():
            for p in model.parameters():
                p.clamp_(-1e6, 1e6)
        return same_closure()

    for _ in range(2):
        assert one.step(closure) == other.step(clamps)
    with torch.no_grad():
        for p in model.parameters():
            p.clamp_(-0.1, 0.1)
    before = float(same_closure().detach())
    assert other.step(clamps) < before
