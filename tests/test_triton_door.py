"""The optimizer's door with the Triton engine behind it, through the interpreter: capturable, plans, odd gradients."""

import copy
import gc
import weakref

import pytest
import torch

import thalweg as tw
from engine_cases import alike, drive, parameters
from thalweg.engine import triton, triton_machine, triton_table

if not triton_machine.installed():
    pytest.skip("triton is not installed", allow_module_level=True)
if not triton_machine.interpreting():
    pytest.skip("Triton's interpreter is off: see tests/test_cuda.py", allow_module_level=True)

CAPTURABLE = [
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "lr": torch.tensor(0.02, dtype=torch.float64)}),
    ("AdamW", {}),
    ("NAdam", {}),
    ("Adadelta", {}),
    ("RMSprop", {"momentum": 0.9}),
    ("Adagrad", {"lr_decay": 0.1}),
]


@pytest.mark.usefixtures("float64")  # torch keeps NAdam's product in the default type
@pytest.mark.parametrize(("name", "settings"), CAPTURABLE)
def test_a_capturable_step_counts_on_the_device_and_is_torchs(name, settings):
    ours = getattr(tw, name)(parameters(), capturable=True, engine="triton", **settings)
    theirs = getattr(torch.optim, name)(parameters(), **settings)
    alike(drive(ours), drive(theirs))
    assert ours._plans  # from the second step on
    for group in (*ours.param_groups, *theirs.param_groups):
        group["lr"] = 0.005  # a scheduler's change
    alike(drive(ours, 2, 4), drive(theirs, 2, 4))
    again = getattr(tw, name)(parameters(7), capturable=True, engine="triton", **settings)
    again.load_state_dict(theirs.state_dict() | {"param_groups": ours.state_dict()["param_groups"]})
    for p, q in zip(again.param_groups[0]["params"], ours.param_groups[0]["params"], strict=True):
        p.data.copy_(q.data)
    alike(drive(again, 2, 6), drive(theirs, 2, 6))


@pytest.mark.parametrize("name", tw.optimizers.__all__)
def test_every_optimizer_is_capturable(name):
    ours, theirs = (getattr(tw, name)(parameters(), engine="triton", capturable=on) for on in (True, False))
    alike(drive(ours), drive(theirs))
    assert ours._plans


def test_a_parameter_that_had_no_gradient_keeps_a_count_of_its_own():
    walks = []
    for cls, more in ((tw.Adam, {"capturable": True, "engine": "triton"}), (torch.optim.Adam, {})):
        params = parameters()
        optimizer = cls(params, **more)
        for t in range(5):
            for i, p in enumerate(params):
                p.grad = None if i == 1 and t % 2 else torch.full_like(p, 0.1 * (t + 1))
            optimizer.step()
        walks.append(params)
        assert [int(optimizer.state[p]["step"]) for p in params] == [5, 3, 5]
    alike(*walks)


def test_capturable_is_refused_where_the_host_computes_the_scalars():
    for engine in ("eager", "cpu", "auto"):
        with pytest.raises(ValueError, match=rf"^capturable is True; it must be False .* with engine='{engine}'"):
            tw.Adam(parameters(), capturable=True, engine=engine)
    optimizer = tw.Adam([torch.nn.Parameter(torch.zeros(3, 2)[:, 0])], capturable=True, engine="triton")
    optimizer.param_groups[0]["params"][0].grad = torch.ones(3)
    with pytest.raises(ValueError, match="must be dense and without gaps"):
        optimizer.step()


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam", "LAMB"])
def test_a_planned_step_is_the_general_one(name, monkeypatch):
    planned, general = getattr(tw, name)(parameters(), engine="triton"), getattr(tw, name)(parameters(), engine="eager")
    drive(planned, 1)
    drive(general, 1)
    step = type(planned)._step_group

    def not_planned(optimizer, *arguments):
        assert optimizer is not planned
        return step(optimizer, *arguments)

    monkeypatch.setattr(type(planned), "_step_group", not_planned)
    alike(drive(planned, 2, 1), drive(general, 2, 1))


@pytest.mark.parametrize("change", ["flag", "direction", "moved", "slot", "gone", "layout", "dtype", "count"])
def test_a_plan_says_no_when_it_does_not_fit(change):
    walks = []
    for engine in ("triton", "eager"):
        params = parameters(shapes=((5,), (2, 3)))
        optimizer = tw.Adam(params, engine=engine)
        drive(optimizer, 2)
        if change == "flag":
            optimizer.param_groups[0]["amsgrad"] = True
        if change == "direction":
            optimizer.param_groups[0]["maximize"] = True
        if change == "moved":
            params[0].data = params[0].data * 1.5
            optimizer.state[params[0]]["exp_avg"].data = torch.ones(5, dtype=torch.float64)
        if change == "slot":
            optimizer.state[params[0]]["exp_avg"] = torch.ones(5, dtype=torch.float64)
        if change == "count":
            optimizer.state[params[0]]["step"].data = torch.tensor(7.0)
        if change == "gone":
            optimizer.state[params[0]].clear()
        drive(optimizer, 1, 2)
        for p in params:
            p.grad = torch.ones_like(p)
        if change == "layout":
            params[1].grad = torch.arange(6.0, dtype=torch.float64).reshape(3, 2).t()
        if change == "dtype":
            params[1].data = params[1].data.float()
            params[1].grad = torch.ones(2, 3)
        optimizer.step()
        walks.append(params)
    alike(*walks)


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.1}])
def test_groups_of_several_types_layouts_and_lengths_of_walk_are_planned(clip, monkeypatch):
    """Matrices in bfloat16 beside float32, images in channels_last, and a parameter that joins later."""
    ends = []
    for engine in ("triton", "eager"):
        generator = torch.Generator().manual_seed(0)
        kinds = [
            ((4, 3), torch.bfloat16),
            ((2, 3, 4, 5), torch.float32),
            ((3,), torch.float32),
            ((2, 2), torch.float32),
        ]
        params = [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape, dtype in kinds]
        params[1].data = params[1].data.contiguous(memory_format=torch.channels_last)
        optimizer = tw.NAdam(params, engine=engine, **clip)
        for t in range(5):
            if engine == "triton" and t == 3:
                monkeypatch.setattr(optimizer, "_step_group", lambda *_: pytest.fail("took the general way"))
            for p in params[: 3 if t < 2 else None]:
                p.grad = torch.cos(3 * p.detach() + t)
            optimizer.step()
        assert params[1].is_contiguous(memory_format=torch.channels_last)
        ends.append(params)
    for a, b in zip(*ends, strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("engine", ["cpu", "triton"])
@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.1}])
@pytest.mark.parametrize("change", ["nothing", "moved", "slot", "conjugate"])
def test_groups_that_walk_up_and_complex_ones_are_planned(change, clip, engine, monkeypatch):
    """Complex tensors as pairs; where one goes elsewhere or is seen otherwise, the plan sees it."""
    ends = []
    for way in (engine, "eager"):
        params = [torch.nn.Parameter(torch.complex(p.detach(), p.detach().cos())) for p in parameters()] + parameters()
        optimizer = tw.Adam(params, engine=way, maximize=True, **clip)
        for t in range(5):
            for p in params:
                p.grad = torch.cos(3 * p.detach() + t)
            if t == 3 and change == "moved":
                params[1].data = params[1].data * 1.5
            if t == 3 and change == "slot":
                optimizer.state[params[1]]["exp_avg"].data = torch.ones(2, 3, dtype=torch.complex128)
            if t == 3 and change == "conjugate":
                params[1].grad = params[1].grad.conj()
            with monkeypatch.context() as patch:
                if way != "eager" and t and (change == "nothing" or t < 3):
                    patch.setattr(optimizer, "_step_group", lambda *_: pytest.fail("took the general way"))
                optimizer.step()
        ends.append(params)
    alike(*ends)


@pytest.mark.parametrize("engine", ["cpu", "triton"])
def test_a_plan_keeps_no_gradient_alive(engine):
    params, given = parameters(), []
    optimizer = tw.Adam(params, engine=engine)
    for _ in range(3):
        for p in params:
            p.grad = torch.ones_like(p)
        given += [weakref.ref(p.grad) for p in params]
        optimizer.step()
        optimizer.zero_grad()
    assert optimizer._plans
    assert [g() for g in given] == [None] * len(given)


def test_complex_sparse_and_reversed_gradients_go_through_the_kernels():
    for make in (
        lambda: torch.nn.Parameter(torch.tensor([1 + 2j, -1j], dtype=torch.complex128)),
        lambda: torch.nn.Parameter(torch.ones(4, 2, dtype=torch.float64)),
    ):
        walks = []
        for engine in ("triton", "eager"):
            p = make()
            optimizer = tw.Adam([p], engine=engine, maximize=True)
            for t in range(1, 4):
                p.grad = torch.full_like(p, t)
                if not p.is_complex():
                    p.grad = torch.sparse_coo_tensor([[0, 2]], t * torch.ones(2, 2, dtype=torch.float64), (4, 2))
                optimizer.step()
            walks.append([p])
        alike(*walks)


@pytest.mark.parametrize("engine", ["cpu", "triton"])
@pytest.mark.parametrize("name", ["Adam", "SGD", "LAMB"])
def test_a_step_beside_frozen_parameters_is_planned(name, engine, monkeypatch):
    """From the third step on; what is frozen is left alone, and walks on as soon as it has a gradient again."""
    planned, general = (getattr(tw, name)(parameters(), lr=0.1, engine=kind) for kind in (engine, "eager"))
    step, taken = type(planned)._step_group, []
    monkeypatch.setattr(type(planned), "_step_group", lambda *given: taken.append(given[0]) or step(*given))
    for t in range(7):
        taken.clear()
        for optimizer in (planned, general):
            params = optimizer.param_groups[0]["params"]
            for i, p in enumerate(params):
                p.grad = None if i == 1 and t < 5 else torch.cos(p.detach() + t + i)
            before = [p._version for p in params]
            optimizer.step()
            assert [p._version > v for p, v in zip(params, before, strict=True)] == [p.grad is not None for p in params]
        if t < 6:
            assert (planned in taken) == (t in (0, 1, 5))
    alike(planned.param_groups[0]["params"], general.param_groups[0]["params"])


# ---- what a CUDA graph would record: here nothing is, and every launch runs


@pytest.fixture
def capturing(monkeypatch):
    """A function after which steps believe that they are captured."""

    def begin():
        for module in (triton, triton_table, triton_machine):
            monkeypatch.setattr(module, "capturing", lambda device: True)

    return begin


def changing():
    return [
        tw.Adam(parameters(), engine="triton"),
        tw.NAdam(parameters(), engine="triton"),
        tw.SGD(parameters(), engine="triton", store=tw.Store(rounding="stochastic")),
    ]


@pytest.mark.parametrize("optimizer", changing(), ids=lambda o: type(o).__name__)
def test_a_step_that_would_be_frozen_in_a_graph_is_refused_and_has_not_counted(optimizer, capturing):
    drive(optimizer, 2)
    before = copy.deepcopy(optimizer.state_dict()["state"])
    assert optimizer._plans
    capturing()
    with pytest.raises(RuntimeError, match=r"^a step is captured whose scalars change .* needs capturable=True\.$"):
        optimizer.step()
    for kept, was in zip(optimizer.state_dict()["state"].values(), before.values(), strict=True):
        assert {key: value.tolist() for key, value in kept.items()} == {k: v.tolist() for k, v in was.items()}


@pytest.mark.parametrize(
    ("name", "settings"), [("SGD", {"momentum": 0.9}), ("Nesterov", {}), ("Adam", {"capturable": True})]
)
def test_a_first_step_is_not_captured_and_the_next_may_be(name, settings, capturing, monkeypatch):
    """Also where another optimizer has walked before with tensors of these sizes. torch's SGD needs no `capturable`."""
    ours, theirs = (getattr(tw, name)(parameters(), engine=engine, **settings) for engine in ("triton", "triton"))
    drive(theirs, 4)
    with monkeypatch.context() as patch:
        patch.setattr(triton_machine, "capturing", lambda device: True)
        with pytest.raises(RuntimeError, match=r"^a step is captured that has never run: take one step before"):
            drive(ours, 1)
    assert not ours.state
    drive(ours, 2)
    capturing()
    alike(drive(ours, 2, 2), theirs.param_groups[0]["params"])


def test_what_a_captured_step_reads_stays_when_it_is_no_longer_remembered(capturing):
    optimizer = tw.Adam(parameters(shapes=((17,), (3, 5))), engine="triton", capturable=True)
    drive(optimizer, 1)
    device = optimizer.param_groups[0]["params"][0].device
    read = weakref.ref(triton_table.mapped((17, 15), (), device))
    capturing()
    drive(optimizer, 1, 1)
    optimizer._plans.clear()
    for remembered in (triton.program, triton_table.mapped):
        remembered.cache_clear()
    gc.collect()
    assert read() is not None
