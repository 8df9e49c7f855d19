"""What makes no sense is refused in one sentence that names the argument and its value."""

import copy
import re

import pytest
import torch

import thalweg as tw
from thalweg.engine import triton_machine
from torch_cases import PAIRS, number

HOUSE = list(PAIRS)
NAN = float("nan")
VECTOR = torch.ones(3)

# class, settings, the kind of error, and the words of the sentence
WRONG = [
    (
        "AdamW",
        {"weight_deccay": 0.5},
        TypeError,
        "AdamW has no argument 'weight_deccay'. Did you mean 'weight_decay'?",
    ),
    ("SGD", {"momentun": 0.5}, TypeError, "SGD has no argument 'momentun'. Did you mean 'momentum'?"),
    ("Adam", {"beta": 0.9}, TypeError, "Adam has no argument 'beta'. Did you mean 'betas'?"),
    ("SGD", {"betas": (0.9, 0.99)}, TypeError, "SGD has no argument 'betas'."),
    ("Adagrad", {"momentum": 0.9}, TypeError, "Adagrad has no argument 'momentum'."),
    *((name, {"lr": -0.1}, ValueError, "lr is -0.1; it must be at least 0.") for name in HOUSE),
    *((name, {"lr": NAN}, ValueError, "lr is nan; it must be at least 0.") for name in HOUSE),
    *((name, {"lr": number(-0.1)}, ValueError, "lr is -0.1; it must be at least 0.") for name in HOUSE),
    *((name, {"lr": VECTOR}, ValueError, "lr is a tensor of shape (3,); it must hold one number.") for name in HOUSE),
    *((name, {"lr": "0.1"}, TypeError, "lr is '0.1'; it must be a number.") for name in HOUSE),
    *((name, {"lr": None}, TypeError, "lr is None; it must be a number.") for name in HOUSE),
    *((name, {"lr": True}, TypeError, "lr is True; it must be a number.") for name in HOUSE),
    *((name, {"lr": [0.1]}, TypeError, "lr is [0.1]; it must be a number.") for name in HOUSE),
    *((name, {"weight_decay": -1}, ValueError, "weight_decay is -1; it must be at least 0.") for name in HOUSE),
    *((name, {"weight_decay": NAN}, ValueError, "weight_decay is nan; it must be at least 0.") for name in HOUSE),
    *((name, {"maximize": 1}, ValueError, "maximize is 1; it must be one of False, True.") for name in HOUSE),
    *(
        (name, {"foreach": "yes"}, ValueError, "foreach is 'yes'; it must be one of None, False, True.")
        for name in HOUSE
    ),
    *(
        (name, {"betas": betas}, ValueError, sentence)
        for name in ("Adam", "AdamW", "NAdam")
        for betas, sentence in (
            ((1.0, 0.999), "betas[0] is 1; it must be in [0, 1)."),
            ((-0.1, 0.999), "betas[0] is -0.1; it must be in [0, 1)."),
            ((0.9, 1.0), "betas[1] is 1; it must be in [0, 1)."),
            ((0.9, 99.9), "betas[1] is 99.9; it must be in [0, 1)."),
            ((0.9, NAN), "betas[1] is nan; it must be in [0, 1)."),
            ((0.9,), "betas is (0.9,); it must be 2 numbers."),
            ((0.9, 0.99, 0.999), "betas is (0.9, 0.99, 0.999); it must be 2 numbers."),
            (0.9, "betas is 0.9; it must be 2 numbers."),
        )
    ),
    ("Adam", {"betas": (0.9, "x")}, TypeError, "betas[1] is 'x'; it must be a number."),
    *(
        (name, {"eps": eps}, ValueError, f"eps is {eps:g}; it must be at least 0.")
        for name in ("Adam", "AdamW", "NAdam", "RMSprop", "Adagrad", "Adadelta")
        for eps in (-1e-8, NAN)
    ),
    *(
        (name, {"momentum": -0.5}, ValueError, "momentum is -0.5; it must be at least 0.")
        for name in ("SGD", "RMSprop")
    ),
    ("RMSprop", {"alpha": -0.5}, ValueError, "alpha is -0.5; it must be at least 0."),
    ("Adadelta", {"rho": 1.5}, ValueError, "rho is 1.5; it must be in [0, 1]."),
    ("Adadelta", {"rho": -0.5}, ValueError, "rho is -0.5; it must be in [0, 1]."),
    ("Adagrad", {"lr_decay": -1.0}, ValueError, "lr_decay is -1; it must be at least 0."),
    (
        "Adagrad",
        {"initial_accumulator_value": -1.0},
        ValueError,
        "initial_accumulator_value is -1; it must be at least 0.",
    ),
    ("NAdam", {"momentum_decay": -1.0}, ValueError, "momentum_decay is -1; it must be at least 0."),
    ("Adam", {"amsgrad": "no"}, ValueError, "amsgrad is 'no'; it must be one of False, True."),
    ("Adam", {"amsgrad": 1}, ValueError, "amsgrad is 1; it must be one of False, True."),
    ("RMSprop", {"centered": None}, ValueError, "centered is None; it must be one of False, True."),
    ("SGD", {"nesterov": True}, ValueError, "nesterov is True; it needs momentum above 0 and dampening 0."),
    (
        "SGD",
        {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
        ValueError,
        "nesterov is True; it needs momentum above 0 and dampening 0.",
    ),
    (
        "Momentum",
        {"momentum": 0.0, "dampening": 0.9},
        ValueError,
        "dampening is 0.9; it must be 0 where momentum is 0: there is nothing to dampen.",
    ),
    *(
        (
            name,
            {"capturable": True},
            ValueError,
            "capturable is True; it must be False for parameters on cpu with engine='auto': the step's scalars are "
            "computed on the host there, and a captured graph would freeze them.",
        )
        for name in ("Adam", "AdamW", "NAdam", "RMSprop", "Adadelta")
    ),
    *(
        (
            name,
            {"foreach": True, "fused": True},
            ValueError,
            "foreach and fused are both True; ask for one of them.",
        )
        for name in ("SGD", "Momentum", "Nesterov", "Adagrad", "Adam", "AdamW")
    ),
]


def shown(value):
    return "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None


def exactly(sentence):
    return f"^{re.escape(sentence)}$"


@pytest.mark.parametrize(("name", "settings", "error", "sentence"), WRONG, ids=shown)
def test_a_wrong_setting(name, settings, error, sentence):
    """Refused in the constructor, and in a group, before anything is changed."""
    p = torch.ones(2, requires_grad=True)
    with pytest.raises(error, match=exactly(sentence)):
        getattr(tw, name)([p], **settings)


@pytest.mark.parametrize(("name", "settings", "error", "sentence"), WRONG, ids=shown)
def test_a_wrong_setting_of_a_group(name, settings, error, sentence):
    p, q = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    sentence = sentence.replace(" has no argument ", " has no setting ")
    with pytest.raises(error, match=exactly(sentence)):
        getattr(tw, name)([{"params": [p], **settings}])
    optimizer = getattr(tw, name)([p])
    with pytest.raises(error, match=exactly(sentence)):
        optimizer.add_param_group({"params": [q], **settings})
    assert len(optimizer.param_groups) == 1


def test_every_numeric_argument_has_a_wrong_value_above():
    """A new argument needs its refusal: what no entry names would pass untested."""
    import inspect

    free = {"differentiable", "fused", "decoupled_weight_decay"}  # switches, as maximize and foreach are
    tested = {key for _, settings, *_ in WRONG for key in settings}
    for name in HOUSE:
        theirs = set(inspect.signature(getattr(torch.optim, PAIRS[name][0]).__init__).parameters)
        assert theirs - {"self", "params"} - free <= tested


@pytest.mark.parametrize("flag", ["differentiable", "fused", "decoupled_weight_decay"])
def test_switches_must_be_switches(flag):
    with pytest.raises(ValueError, match=rf"^{flag} is 3; it must be one of .*False, True\.$"):
        tw.Adam([torch.ones(2)], **{flag: 3})


def leaf():
    return torch.ones(2, requires_grad=True)


P = leaf()
PARAMS = [
    ([], ValueError, r"^params is empty; it must hold at least one tensor\.$"),
    (iter(()), ValueError, r"^params is empty; it must hold at least one tensor\.$"),
    (P, TypeError, r"^params is a tensor; it must be an iterable of tensors or of parameter groups\.$"),
    (torch.nn.Linear(2, 2), TypeError, r"^params is of type Linear; .* Did you mean its \.parameters\(\)\?$"),
    (torch.nn.Sequential(), TypeError, r"^params is of type Sequential; .* Did you mean its \.parameters\(\)\?$"),
    (torch.nn.Linear(2, 2).state_dict(), TypeError, r"^params is of type OrderedDict; it must be an iterable of tens"),
    (None, TypeError, r"^params is of type NoneType; it must be an iterable of tensors or of parameter groups\.$"),
    ([P, P], ValueError, r"^params holds the same tensor twice, at 0 and 1\.$"),
    ([leaf(), P, leaf(), P], ValueError, r"^params holds the same tensor twice, at 1 and 3\.$"),
    (
        [{"params": [P]}, {"params": [leaf(), P]}],
        ValueError,
        r"^params holds a tensor that is already in another ",
    ),
    ([{"params": P}, {"params": P}], ValueError, "params|parameter"),
    ([("w", P), ("w2", P)], ValueError, r"^params holds the same tensor twice, at 0 and 1\.$"),
    ([P, "weights"], TypeError, "str"),
    ([3], TypeError, "int"),
    ([P * 2], ValueError, "non-leaf"),
    ([{"lr": 0.1}], KeyError, "params"),
    ([{"params": {P, leaf()}}], TypeError, "ordered|set"),
    ([("w", P), leaf()], ValueError, "with/without names"),
]


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adagrad"])
@pytest.mark.parametrize(("params", "error", "words"), PARAMS, ids=range(len(PARAMS)))
def test_wrong_parameters(name, params, error, words):
    if isinstance(params, type(iter(()))):
        params = iter(())
    with pytest.raises(error, match=words) as raised:
        getattr(tw, name)(params, lr=0.1)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", HOUSE)
def test_a_parameter_in_an_existing_group(name):
    optimizer = getattr(tw, name)([P])
    with pytest.raises(ValueError, match=r"^params holds a tensor that is already in another parameter group\.$"):
        optimizer.add_param_group({"params": [P]})


@pytest.mark.parametrize("name", HOUSE)
def test_what_it_is_asked_for_but_cannot_be(name):
    """Momentum is never Nesterov's, and AdamW's decay is never coupled."""
    fixed = getattr(tw, name).card.torch.fixed
    for setting, value in fixed.items():
        other = (not value) if isinstance(value, bool) else value + 0.5
        words = f"{setting} is {other!r}; {name} is always {value!r} there."
        optimizer = getattr(tw, name)([{"params": [P], setting: value}])  # what it is may be said
        with pytest.raises(ValueError, match=exactly(words)):
            optimizer.add_param_group({"params": [leaf()], setting: other})
    assert bool(fixed) == (name in ("Momentum", "Nesterov", "AdamW"))


def test_momentum_has_no_switch_for_nesterov():
    with pytest.raises(TypeError, match=r"^Momentum has no argument 'nesterov'\.$"):
        tw.Momentum([P], nesterov=True)


def test_the_callers_groups_are_not_written_into():
    """So that one list of groups serves several optimizers; torch fills in its defaults, lr among them."""
    groups = [{"params": [leaf()], "lr": 0.5}, {"params": [leaf()]}]
    tw.SGD(groups, lr=0.25, momentum=0.9)
    assert [set(group) for group in groups] == [{"params", "lr"}, {"params"}]
    assert [group["lr"] for group in tw.AdamW(groups).param_groups] == [0.5, 1e-3]


@pytest.mark.parametrize("name", HOUSE)
def test_a_misuse_leaves_nothing_behind(name):
    p = leaf()
    optimizer = getattr(tw, name)([p], lr=0.1)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="lr is -1; it must be at least 0"):
        optimizer.add_param_group({"params": [leaf()], "lr": -1})
    assert optimizer.state_dict() == before


@pytest.mark.parametrize("taken", [0, 2])
@pytest.mark.parametrize("name", HOUSE)
def test_a_step_that_is_refused_leaves_nothing_behind(name, taken):
    """Neither a count that has gone on nor slots of a parameter that has not moved: SGD asks whether it has any."""
    ends = []
    for refused in (False, True):
        params = [torch.nn.Parameter(torch.linspace(-1, 2, 6).reshape(2, 3)) for _ in range(2)]
        more = {"momentum": 0.9, "dampening": 0.5} if name == "SGD" else {}
        optimizer = getattr(tw, name)(params, lr=0.1, engine="eager", **more)
        for s in range(taken + 2):
            for p in params:
                p.grad = torch.cos(p.detach() + s)
            if refused and s == taken:
                kept = copy.deepcopy(optimizer.state_dict())
                optimizer.param_groups[0]["capturable"] = True
                with pytest.raises(ValueError, match=r"^capturable is True, and a parameter cannot go throu"):
                    optimizer.step()
                optimizer.param_groups[0]["capturable"] = kept["param_groups"][0].get("capturable", False)
                torch.testing.assert_close(optimizer.state_dict()["state"], kept["state"], rtol=0, atol=0)
            optimizer.step()
        ends.append(params)
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize("taken", [0, 2])
@pytest.mark.parametrize("settings", [{}, {"clip_norm": 1.0}], ids=["alone", "together"])
@pytest.mark.parametrize("engine", ["auto", "eager", "triton"])
def test_no_group_is_stepped_where_one_is_refused(engine, settings, taken):
    """Neither a group whose next step is prepared, nor one whose first step it is."""
    if engine == "triton" and not (triton_machine.installed() and triton_machine.interpreting()):
        pytest.skip("Triton's interpreter is off")
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(3)]
    optimizer = tw.Adam([{"params": [p]} for p in params], engine=engine, **settings)
    for p in params:
        p.grad = torch.ones(3)
    for _ in range(taken):
        optimizer.step()
    params[1].data = params[1].data[:2]
    before = [p.detach().clone() for p in params], copy.deepcopy(optimizer.state_dict()["state"])
    with pytest.raises(ValueError, match=r"^a gradient is real, of shape \(3,\); it must be as its parameter is"):
        optimizer.step()
    assert all(map(torch.equal, params, before[0]))
    torch.testing.assert_close(optimizer.state_dict()["state"], before[1], rtol=0, atol=0)


def test_a_slot_that_is_refused_leaves_nothing_behind():
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = tw.AdamW(params)
    for p in params:
        p.grad = torch.ones(3)
    optimizer.state[params[1]].update(exp_avg=torch.ones(2))
    with pytest.raises(ValueError, match="exp_avg is real, of shape"):
        optimizer.step()
    assert optimizer.state == {params[1]: {"exp_avg": optimizer.state[params[1]]["exp_avg"]}}


def test_the_engine_in_the_environment(monkeypatch):
    """Set to nothing it is not set; a word that is no engine is refused."""
    params = [torch.ones(2, requires_grad=True)]
    monkeypatch.setenv("THALWEG_ENGINE", "")
    assert tw.SGD(params).engine == "auto"
    monkeypatch.setenv("THALWEG_ENGINE", "eagre")
    with pytest.raises(ValueError, match=r"THALWEG_ENGINE is 'eagre'; it must be one of .* Did you mean 'eager'"):
        tw.SGD(params)


def test_wrong_values_from_a_scheduler_or_by_hand_are_the_users_own():
    """A group's dict is open, as in torch: what is written there later is used as it is."""
    p = leaf()
    optimizer = tw.SGD([p], lr=0.1)
    optimizer.param_groups[0]["lr"] = -0.5
    p.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(p.detach(), torch.full((2,), 1.5))


NOT_RULES = [
    (lambda p: p, "after its slots|must begin with"),
    (lambda p, g: p, "step number"),
    (lambda p, g, *, lr=0.1: p, "step number"),
    (lambda p, g, *, t, lr: p, "lr needs a default"),
    (lambda p, g, *, t, lr="0.1": p, "default of lr is '0.1'"),
    (lambda p, g, m=0.0, *, t, lr=0.1: p, "slot m must be a Slot"),
    (3, "not 3"),
]


@pytest.mark.parametrize(("rule", "words"), NOT_RULES, ids=range(len(NOT_RULES)))
def test_what_is_no_rule_is_refused(rule, words):
    with pytest.raises(TypeError, match=words):
        tw.optimizer(rule)
