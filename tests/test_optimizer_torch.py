"""Every class walks 300 float64 steps beside its namesake in torch.optim, over torch's whole signature."""

import inspect

import pytest
import torch

import thalweg as tw
import torch_cases
from torch_cases import GIVEN, HINTS, PAIRS, Case, all_cases, arguments, difference, probes, walk

pytestmark = pytest.mark.usefixtures("float64")
EQUAL = 1e-12  # max |p - q| / max |q| per tensor
EVERY, EARLY = 20, 100  # how often a path is looked at; steps in which every argument has had its effect


def test_every_namesake_of_the_house_is_tested():
    with_namesake = {name for name in tw.optimizers.__all__ if getattr(tw, name).card.torch}
    assert with_namesake == set(PAIRS)
    for name, (theirs, _) in PAIRS.items():
        assert getattr(tw, name).card.torch.name == theirs


def test_an_argument_that_nobody_listed_is_noticed(monkeypatch):
    """The proof that this file fails with a torch that has a new argument."""

    class Newer(torch.optim.Adam):
        def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), *, brand_new=False):
            super().__init__(params, lr, betas)

    monkeypatch.setattr(torch.optim, "Adam", Newer)
    with pytest.raises(KeyError, match="brand_new"):
        probes("Adam")


@pytest.mark.parametrize("name", PAIRS)
def test_signature_is_torchs(name):
    """The same arguments in the same places with the same defaults; ours come after, by keyword."""
    ours = inspect.signature(getattr(tw, name).__init__).parameters
    theirs = arguments(name)
    positional = [k for k, q in ours.items() if q.kind is q.POSITIONAL_OR_KEYWORD and k not in ("self", "params")]
    assert positional == [k for k, q in theirs.items() if q.kind is q.POSITIONAL_OR_KEYWORD]
    own_start = {"Momentum": {"momentum": 0.9}, "Nesterov": {"momentum": 0.9}}.get(name, {})
    for argument, parameter in theirs.items():
        assert ours[argument].default == own_start.get(argument, parameter.default), argument
    assert all(q.kind is q.KEYWORD_ONLY for k, q in ours.items() if k not in {*positional, "self", "params"})


@pytest.mark.parametrize("name", [name for name in PAIRS if name not in GIVEN])
def test_positional_arguments_mean_what_they_mean_in_torch(name):
    """Called by position alone, with a different value in each place, the groups are torch's."""
    given = []
    for argument, parameter in arguments(name).items():
        if isinstance(parameter.default, bool) or parameter.default is None:
            break
        tried = (v for v in probes(name)[argument] if not callable(v) and v != parameter.default)
        given.append(next(tried))
    p = torch.zeros(2, requires_grad=True)
    groups = [m([p], *given).param_groups[0] for m in (getattr(tw, name), getattr(torch.optim, name))]
    assert len(given) >= 4
    assert groups[0] == groups[1]


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_path_is_torchs(case, monkeypatch):
    """With compiled kernels wherever they fit; the rules themselves take the beginning of the same path."""
    theirs = walk(case, theirs=True, every=EVERY)
    monkeypatch.delenv("THALWEG_ENGINE", raising=False)
    assert difference(walk(case, theirs=False, every=EVERY), theirs) <= EQUAL
    monkeypatch.setenv("THALWEG_ENGINE", "eager")
    assert difference(walk(case, theirs=False, steps=EARLY, every=EVERY), theirs[: EARLY // EVERY]) <= EQUAL


@pytest.mark.parametrize("name", PAIRS)
def test_the_probes_can_fail(name):
    """Each argument that is no hint changes torch's own path: equal paths then mean that ours has it."""
    for argument in probes(name).keys() - HINTS:
        alone = [case for case in torch_cases.cases(name) if case.touches == argument]
        assert any(moves(case, argument) for case in alone), argument


def moves(case, argument):
    """Whether torch's path is another one without the argument, before the rules themselves stop."""
    without = Case(case.ours, "", {k: v for k, v in case.settings.items() if k != argument})
    return difference(*(walk(each, True, steps=60) for each in (case, without))) > 1e-6


@pytest.mark.parametrize("theirs", [False, True])
def test_the_measure_sees_a_wrong_digit_and_a_nan(theirs):
    path = walk(Case("SGD", ""), theirs, steps=20)
    wrong = [[p.clone() for p in path[0]]]
    wrong[0][1][2] *= 1 + 1e-11
    assert difference(wrong, path) > EQUAL
    wrong[0][1][2] = float("nan")
    assert not difference(wrong, path) <= EQUAL


@pytest.mark.usefixtures("engine")
def test_a_groups_initial_accumulator_value_is_honoured():
    """torch takes it in a group and then fills the sum from its constructor's; ours is what the group says."""
    groups = tuple({"initial_accumulator_value": value} for value in (0.1, 0.5, 2.0))
    ours = walk(Case("Adagrad", "", groups=groups), theirs=False)
    for k, group in enumerate(groups):
        theirs = walk(Case("Adagrad", "", group), theirs=True)
        assert difference([[at[k]] for at in ours], [[at[k]] for at in theirs]) <= EQUAL


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", PAIRS)
def test_a_parameter_without_gradient_stays_and_gets_no_state(name):
    kept = []
    for module in (tw, torch.optim):
        moved, still = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
        cls = getattr(module, name if module is tw else PAIRS[name][0])
        optimizer = cls([moved, still], **(PAIRS[name][1] if module is torch.optim else {}))
        for _ in range(3):
            moved.grad = torch.full((2,), 0.5)
            optimizer.step()
        assert torch.equal(still.detach(), torch.ones(3))
        kept.append(set(optimizer.state.get(still, {})))
    assert kept[0] == kept[1]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("dampening", [0.0, 0.6])
def test_momentum_that_is_switched_on_later(dampening):
    """torch's first velocity is the undampened gradient of the step at which momentum begins."""
    paths = []
    for cls in (tw.SGD, torch.optim.SGD):
        p = torch.ones(3, requires_grad=True)
        optimizer = cls([p], lr=0.1, dampening=dampening)
        for t in range(40):
            optimizer.param_groups[0]["momentum"] = 0.9 if t >= 10 else 0.0
            p.grad = torch.sin(p.detach() * torch.arange(1.0, 4.0) + t)
            optimizer.step()
        paths.append([[p.detach()]])
    assert difference(*paths) <= EQUAL


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", PAIRS)
def test_closure_is_torchs(name):
    """The closure's loss comes back, gradients are on inside it, and it is called once per step."""
    ends = []
    for module in (tw, torch.optim):
        p = torch.tensor([1.0, -2.0], requires_grad=True)
        cls = getattr(module, name if module is tw else PAIRS[name][0])
        optimizer = cls([p], lr=0.05, **(PAIRS[name][1] if module is torch.optim else {}))
        losses = []

        def closure(optimizer=optimizer, p=p):
            assert torch.is_grad_enabled()
            optimizer.zero_grad()
            loss = (p**4).sum()
            loss.backward()
            return loss

        with torch.no_grad():
            for _ in range(30):
                losses.append(optimizer.step(closure).item())
        assert losses[0] == 17.0
        assert losses[-1] < 17.0
        ends.append([[p.detach()]])
    assert difference(*ends) <= EQUAL


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", PAIRS)
def test_float32_is_as_precise_as_torchs(name):
    """Against torch's float64 path, our float32 path is at most three times as far off as torch's float32."""

    def end(module, dtype):
        p = torch.linspace(-2, 3, 50, dtype=dtype).requires_grad_()
        cls = getattr(module, name if module is tw else PAIRS[name][0])
        optimizer = cls([p], lr=0.05, **(PAIRS[name][1] if module is torch.optim else {}))
        for t in range(100):
            p.grad = p.detach() - 1 + 0.5 * torch.cos(torch.arange(50, dtype=dtype) * (t + 1))
            optimizer.step()
        return p.detach().double()

    exact = end(torch.optim, torch.float64)
    ours, theirs = ((end(m, torch.float32) - exact).abs().max() for m in (tw, torch.optim))
    assert ours <= 3 * theirs
    assert ours > 0
