"""Groups whose tensors are of several types, or not all as far: every rule steps them as if each were alone."""

import gc
import weakref

import pytest
import torch

import thalweg as tw
from thalweg import rules
from thalweg.arguments import door_arguments
from thalweg.engine import build, cpu
from thalweg.engine.agreement import DTYPES, MANY, NARROW
from thalweg.engine.error_bound import bounded_walk, furthest
from thalweg.engine.trace import trace
from thalweg.engine.walk import STEPS, beginning, gradients, settings_of

try:
    build.compiler()
except build.NoCompiler as none:
    pytest.skip(str(none), allow_module_level=True)

LATE = (0, 2)  # how many of the steps pass before a tensor has its first gradient
KINDS = (*DTYPES, torch.complex64)  # complex tensors lie in memory as pairs of real ones, and share their kernels


def paired(x, dtype):
    """The real numbers, two by two where the dtype is complex."""
    return torch.view_as_complex(x.reshape(-1, 2)) if dtype.is_complex else x


def mixed(dtypes=KINDS):
    """For each dtype and lateness a parameter, and the gradients it will have."""
    kinds = [(dtype, late) for dtype in dtypes for late in LATE]
    params = [torch.nn.Parameter(paired(beginning(MANY, dtype.to_real()), dtype)) for dtype, _ in kinds]
    given = [[paired(g, dtype) for g in gradients(MANY, STEPS, dtype.to_real())] for dtype, _ in kinds]
    return params, [[None] * late + its for (_, late), its in zip(kinds, given, strict=True)]


def drive(optimizer, params, given, monkeypatch=None):
    """All the steps; with `monkeypatch`, those after the last tensor has joined must be planned."""
    for s in range(STEPS):
        for p, its in zip(params, given, strict=True):
            p.grad = its[s]
        optimizer.step()
        if monkeypatch is not None and s == max(LATE) + 1:
            monkeypatch.setattr(optimizer, "_step_group", lambda *_: pytest.fail("took the general way"))


def real(x):
    return torch.view_as_real(x).flatten() if x.is_complex() else x


def kept_of(optimizer, p):
    """All that is kept, as real numbers."""
    spelled = {optimizer._spelled(name): name for name in optimizer.arguments.signature.slots}
    state = optimizer.state.get(p, {})
    kept = {"p": p.detach(), **{spelled.get(key, key): value for key, value in state.items()}}
    return {name: real(value) for name, value in kept.items()}


@pytest.mark.parametrize("engine", ["cpu", "eager"])
@pytest.mark.parametrize("name", rules.names())
def test_every_tensor_walks_as_if_alone_within_what_rounding_explains(name, engine, monkeypatch):
    rule, make = rules.find(name), tw.optimizer(rules.find(name))
    for hyper in settings_of(rule):
        params, given = mixed()
        optimizer = make(params, **door_arguments(rule, hyper), engine=engine)
        drive(optimizer, params, given, monkeypatch if engine == "cpu" else None)
        for p, its in zip(params, given, strict=True):
            own = [real(g) for g in its[:STEPS] if g is not None]
            *_, wanted = bounded_walk(rule, hyper, beginning(MANY, p.dtype.to_real()), own)
            assert furthest(kept_of(optimizer, p), wanted)[1] <= 1, (hyper, p.dtype, len(own))


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.5}], ids=["", "clipped"])
@pytest.mark.parametrize("name", rules.names())
def test_walking_up_is_walking_down_the_opposite_bit_for_bit(name, clip, monkeypatch):
    """Planned, and nothing is copied; the gradient is turned round before it is clipped, and before decay joins it."""
    rule, make = rules.find(name), tw.optimizer(rules.find(name))
    for hyper in list(settings_of(rule))[:2]:
        ends = []
        for maximize in (True, False):
            params, given = mixed((torch.float32, torch.complex64))
            if not maximize:
                given = [[g if g is None else -g for g in its] for its in given]
            optimizer = make(params, **door_arguments(rule, hyper), **clip, maximize=maximize, engine="cpu")
            drive(optimizer, params, given, monkeypatch)
            ends.append([kept_of(optimizer, p) for p in params])
        for up, down in zip(*ends, strict=True):
            assert all(torch.equal(up[slot], down[slot]) for slot in down), hyper


@pytest.mark.parametrize("name", rules.names())
def test_what_the_model_sums_is_summed_over_all_types(name, monkeypatch):
    """Clipping by the norm of the whole model: the planned step, the kernels' general way and eager agree."""
    make, ends = tw.optimizer(rules.find(name)), {}
    for way in ("planned", "general", "eager"):
        params, given = mixed((*KINDS, torch.float16))
        optimizer = make(params, lr=0.01, clip_norm=0.5, engine="eager" if way == "eager" else "cpu")
        if way == "general":
            monkeypatch.setattr(optimizer, "_plan", lambda *_: None)
        drive(optimizer, params, given, monkeypatch if way == "planned" else None)
        ends[way] = [kept_of(optimizer, p) for p in params]
    for planned, general, eager in zip(*ends.values(), strict=True):
        for slot, value in planned.items():
            assert torch.equal(value, general[slot]), slot
            eps = max(torch.finfo(dtype).eps for dtype in (value.dtype, torch.float32))  # the narrowest sum's
            near = 8 * STEPS * eps * float(eager[slot].abs().max())
            assert float((value - eager[slot]).abs().max()) <= near, (slot, value.dtype)


def test_the_norm_of_all_types_is_that_of_torch():
    params, _ = mixed(DTYPES)
    for i, p in enumerate(params):
        p.grad = torch.full_like(p, i + 1)
    optimizer = tw.SGD(params, lr=1.0, clip_norm=2.0, engine="cpu")
    whole = sum(float(p.grad.double().square().sum()) for p in params) ** 0.5
    for s in range(1, 6):
        optimizer.step()
        for i, p in enumerate(params[:4]):  # float64 and float32
            gone = beginning(MANY, p.dtype) - p.detach()
            torch.testing.assert_close(gone, torch.full_like(gone, s * (i + 1) * 2 / whole), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("store", [NARROW, tw.Store(kahan=True)], ids=["by chance", "compensated"])
@pytest.mark.parametrize("name", ["AdamW", "LAMB", "SGD"])
def test_what_is_rounded_by_chance_is_as_in_the_general_way(name, store, monkeypatch):
    ends = []
    for planned in (True, False):
        params, given = mixed()
        optimizer = getattr(tw, name)(params, engine="cpu", store=store)
        if not planned:
            monkeypatch.setattr(optimizer, "_plan", lambda *_: None)
        drive(optimizer, params, given, monkeypatch if planned else None)
        ends.append([kept_of(optimizer, p) for p in params])
    for planned, general in zip(*ends, strict=True):
        assert planned.keys() == general.keys()
        assert all(torch.equal(planned[slot], general[slot]) for slot in planned)


@pytest.mark.parametrize("unfit", range(len(KINDS) * len(LATE)))
def test_where_one_part_does_not_fit_no_part_has_moved(unfit):
    params, given = mixed()
    optimizer = tw.AdamW(params, engine="cpu")
    drive(optimizer, params, given)
    [plan] = optimizer._plans.values()
    assert len(plan.parts) == len(DTYPES) * len(LATE)
    params[unfit].grad = params[unfit].grad.to_sparse()
    kept = [value for p in params for value in kept_of(optimizer, p).values()]
    before = [value.clone() for value in kept]
    assert plan.ready(optimizer.param_groups[0], params, optimizer.state) is False
    assert all(torch.equal(a, b) for a, b in zip(before, kept, strict=True))


def test_tensors_whose_counts_meet_and_part_go_on_as_torchs():
    ends = []
    for module in (tw, torch.optim):
        params = [torch.nn.Parameter(torch.linspace(-1, 2, 5 + i, dtype=torch.float64)) for i in range(4)]
        optimizer = module.Adam(params, lr=0.1)
        for s in range(20):
            for p in params:
                p.grad = torch.cos(3 * p.detach() + s)
            if s in (5, 10):
                for i, p in enumerate(params):
                    optimizer.state[p]["step"].fill_(7 if s == 10 else 5 + i % 3)
            optimizer.step()
        ends.append(params)
    for p, q in zip(*ends, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("engine", ["cpu", "eager"])
@pytest.mark.parametrize("seen", [torch.conj, torch._neg_view], ids=["conjugate", "negative"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3)])
def test_a_gradient_that_is_seen_with_another_sign_is_read_so(shape, seen, engine):
    """Views that share memory with what they are not equal to, while a plan is there."""
    p = torch.nn.Parameter(torch.full(shape, 1 + 2j))
    q = p.detach().clone()
    optimizer = tw.SGD([p], lr=0.5, engine=engine)
    for s in range(4):
        g = torch.complex(torch.rand(shape), torch.rand(shape))
        p.grad = seen(g) if s == 2 else g
        q -= 0.5 * p.grad.resolve_conj().resolve_neg()
        optimizer.step()
        torch.testing.assert_close(p.detach(), q)
    p.data = p.data.conj()
    with pytest.raises(RuntimeError, match="view_as_real"):
        optimizer.step()


@pytest.mark.parametrize("elements", [8, 2 * cpu.ELEMENTS_PER_THREAD])
@pytest.mark.parametrize("make", [tw.AdamW, tw.LAMB, lambda p: tw.SGD(p, clip_norm=1.0)])
def test_parameters_are_freed_with_their_optimizer(make, elements):
    """At once, without waiting for Python to look for circles."""
    make([torch.nn.Parameter(torch.ones(1))])  # what a process does once may keep something
    gc.collect()
    gc.disable()
    try:
        p = torch.nn.Parameter(torch.ones(elements))
        p.grad = torch.ones(elements)
        optimizer = make([p])
        for _ in range(3):
            optimizer.step()
        assert optimizer._plans
        seen = weakref.ref(p)
        del optimizer, p
        assert seen() is None
    finally:
        gc.enable()


def test_every_rule_of_the_house_has_kernels():
    """If one without is added, the tests above must say where it takes the general way."""
    assert all(cpu.has_kernels(trace(rules.find(name))) for name in rules.names())
