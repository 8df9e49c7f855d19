"""Every engine is as near to the float64 walk as its precision allows, whatever it is given."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thalweg as tw
from far import AWAY, Far, World
from thalweg import rules
from thalweg.engine import agreement, eager, triton
from thalweg.engine.cell import Cell, starts
from thalweg.engine.error_bound import Bounded, bounded_walk
from thalweg.engine.walk import settings_of

ROOT = Path(__file__).resolve().parent.parent
_spec = spec_from_file_location("equality", ROOT / "scripts/equality.py")
assert _spec is not None
assert _spec.loader is not None
equality = module_from_spec(_spec)
_spec.loader.exec_module(equality)
TABLE = equality.committed(equality.PAGE.read_text(encoding="utf-8"))


# ---- the table


@pytest.mark.parametrize("kind", equality.KINDS)
@pytest.mark.parametrize("name", rules.names())
def test_at_the_defaults_no_engine_exceeds_the_table(name, kind):
    rule = rules.find(name)
    found = equality.measure(rule, kind, [next(iter(settings_of(rule)))])
    assert equality.exceeded(name, kind, found, TABLE) == []


@pytest.mark.slow
def test_under_every_setting_no_engine_exceeds_the_table():
    script = [sys.executable, str(ROOT / "scripts/equality.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_holds_every_rule_and_kind_and_no_other():
    assert {(rule, kind) for rule, kind, _ in TABLE} == {(r, k) for r in rules.names() for k in equality.KINDS}
    assert {engine for *_, engine in TABLE} == {"eager", "foreach", "cpu", "triton", "compiled"}


def test_a_page_with_a_smaller_figure_is_found_out():
    cell = equality.Cell(2e-7, 0.5)
    page = {("sgd", "float32", "cpu"): equality.Cell(1e-7, 0.5)}
    assert "above the committed" in equality.exceeded("sgd", "float32", {"cpu": cell}, page)[0]
    assert "precision does not explain" in equality.exceeded("sgd", "float32", {"cpu": equality.Cell(0, 1.5)}, page)[0]
    assert "not in engines.md" in equality.exceeded("sgd", "float32", {"eager": cell}, page)[0]


def test_ceilings_are_above_and_near():
    for error in (1e-9, 1.01e-9, 2.9e-7, 3.1e-7, 0.99, 9.999e-5):
        ceiling = equality.ceiling(equality.Cell(error, 0.42))
        assert error <= ceiling.error * (1 + 1e-6)
        assert ceiling.error < 3.4 * error
        assert ceiling.share == 0.5


# ---- what is not a usual number

SPECIAL = (0.0, -0.0, 1e-45, 1e-40, -3e-39, 1e-30, 1e30, -1e30, 3e38, float("inf"), -float("inf"), float("nan"))


@pytest.mark.parametrize("dtype", equality.DTYPES)
@pytest.mark.parametrize("name", rules.names())
def test_unusual_gradients_do_as_in_eager(name, dtype):
    """Each beside two usual elements, in its own tensor: a norm spreads what is not finite."""
    rule = rules.find(name)
    hyper = next(iter(settings_of(rule)))
    grads = [torch.tensor([x, 0.5, -2.0, x], dtype=torch.float64).to(dtype) for x in SPECIAL]
    p = torch.tensor([1.0, 1e-30, -3.0, 0.0], dtype=torch.float64).to(dtype)
    engines = {"eager": eager, **agreement.engines(rule, hyper)}
    walks = {}
    for engine_name, engine in engines.items():
        there = p.to(agreement.device_of(engine))
        cells = [Cell(there, g.to(there.device), starts(rule, hyper, there)) for g in grads]
        for t in (1, 2):
            after = engine.step(rule, [cell._replace(t=t) for cell in cells], hyper)
            cells = [c._replace(p=new, slots=s) for c, (new, s) in zip(cells, after, strict=True)]
        walks[engine_name] = cells
    for index, reference in enumerate(walks.pop("eager")):
        *_, bounds = bounded_walk(rule, hyper, p, [grads[index]] * 2)
        for engine_name, cells in walks.items():
            for slot, want in reference.kept.items():
                near(cells[index].kept[slot].cpu(), want, bounds[slot], f"{engine_name}, g = {SPECIAL[index]}, {slot}")


class Away:
    """Eager for tensors of one device only, as Triton's kernels are where there is a GPU."""

    @staticmethod
    def step(rule, cells, hyper):
        assert all(isinstance(x, Far) for cell in cells for x in (cell.p, cell.g))
        return eager.step(rule, cells, hyper)


def test_every_engine_is_given_tensors_of_its_own_device(monkeypatch):
    monkeypatch.setattr(agreement, "engines", lambda rule, hyper: {"away": Away})
    monkeypatch.setattr(agreement, "device_of", lambda engine: AWAY if engine is Away else "cpu")
    monkeypatch.setattr(sys.modules[__name__], "SPECIAL", (1e30,))
    monkeypatch.setattr(agreement, "STEPS", 2)
    with World():
        test_unusual_gradients_do_as_in_eager("nadam", torch.float32)
        agreement.engines_agree_with_eager(rules.find("nadam"))


def near(got: torch.Tensor, want: torch.Tensor, bound: Bounded | float, what: str) -> None:
    """The same NaN and infinities; else within twice the bound, or where there is none to a few last places."""
    eps = torch.finfo(want.dtype).eps
    got, want = got.double(), want.double()
    assert torch.equal(got.isnan(), want.isnan()), what
    assert torch.equal(got.isinf() * got.sign(), want.isinf() * want.sign()), what
    finite = want.isfinite()
    allowed = 16 * eps * want.abs()
    if isinstance(bound, Bounded):
        allowed = torch.maximum(allowed, (2 * bound.error).nan_to_num(nan=0.0, posinf=0.0))
    assert ((got - want).abs()[finite] <= allowed[finite]).all(), (what, got, want)


# ---- shapes and strides


@st.composite
def views(draw, sizes, widest):
    """A tensor of those sizes that lies in a larger one somehow: permuted, with gaps, behind an offset."""
    order = draw(st.permutations(range(len(sizes))))
    gaps = [draw(st.integers(1, widest)) for _ in sizes]
    offset = draw(st.integers(0, 3))
    room = [sizes[axis] * gaps[axis] for axis in order]
    base = torch.zeros(offset + int(torch.tensor(room).prod()) + 3, dtype=torch.float64)
    inside = base[offset : offset + int(torch.tensor(room).prod())].view(room)
    for place, axis in enumerate(order):
        inside = inside[(slice(None),) * place + (slice(0, room[place], gaps[axis]),)]
    back = [order.index(axis) for axis in range(len(sizes))]
    return inside.permute(back), base


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_shape_and_strides_walk_as_in_eager_and_touch_nothing_else(data):
    walks_as_in_eager(data, "auto", "cpu", widest=3)


@pytest.mark.skipif(agreement.device_of(triton) is None, reason="neither a GPU nor Triton's interpreter")
@settings(max_examples=15, deadline=None)  # the interpreter is slow
@given(st.data())
def test_any_shape_and_strides_walk_through_triton_as_in_eager(data):
    walks_as_in_eager(data, "triton", agreement.device_of(triton), widest=2)


def walks_as_in_eager(data, fast, device, widest):
    sizes = data.draw(st.lists(st.integers(0, 5), max_size=4))
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
    make = data.draw(st.sampled_from([tw.AdamW, tw.LAMB, tw.NAdam, lambda p, **k: tw.SGD(p, momentum=0.9, **k)]))
    store = data.draw(st.sampled_from([None, tw.Store(torch.bfloat16, "stochastic", kahan=True)]))
    where, room = data.draw(views(sizes, widest))
    slopes, slopes_room = data.draw(views(sizes, widest))
    first = torch.linspace(-1, 1, len(room), dtype=torch.float64).to(dtype)
    slope = torch.linspace(2, -1, len(slopes_room), dtype=torch.float64).to(dtype)
    ends = []
    for engine in ("eager", fast):
        base = first.to(device, copy=True)
        view = base.as_strided(where.shape, where.stride(), where.storage_offset())
        ground = slope.to(device, copy=True)
        p = torch.nn.Parameter(view)
        assert p.data_ptr() == view.data_ptr()
        optimizer = make([p], lr=0.05, engine=engine, store=store)
        for _ in range(3):
            p.grad = ground.as_strided(slopes.shape, slopes.stride(), slopes.storage_offset())
            optimizer.step()
        whole = base.double()
        if "p_compensation" in optimizer.state.get(p, {}):
            rest = torch.zeros_like(whole)
            rest.as_strided(where.shape, where.stride(), where.storage_offset()).copy_(
                optimizer.state[p]["p_compensation"]
            )
            whole = whole + rest
        untouched = torch.ones(len(base), dtype=torch.bool)
        untouched.as_strided(where.shape, where.stride(), where.storage_offset()).fill_(False)
        assert torch.equal(base.cpu()[untouched], first[untouched])
        assert torch.equal(ground.cpu(), slope)
        ends.append(whole.cpu())
    # one rounding more or less in the state, of bfloat16 by chance or of the type itself, in three steps of 0.05
    unit = torch.finfo(torch.bfloat16).eps if store else torch.finfo(dtype).eps
    assert (ends[0] - ends[1]).abs().max() <= 3 * 0.05 * 4 * unit + 2 * torch.finfo(dtype).eps * (not store)
