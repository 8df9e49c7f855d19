"""The Triton engine, through Triton's interpreter where there is no GPU, against eager.

On a machine with a GPU the interpreter is off, and tests/test_cuda.py runs the same kernels for real.
"""

import math
import sys

import pytest
import torch

import thalweg as tw
from engine_cases import WITH_CUTS, alike, cells, clipped, drive, means_of_rows, parameters, same, shapes_for, walk
from engine_cases import odd_gradients_behave_as_in_eager as odd_gradients
from far import Far, World, near
from thalweg import rules
from thalweg.engine import eager, foreach, triton, triton_machine, triton_table
from thalweg.engine.cell import Cell
from thalweg.engine.model_wide import alone
from thalweg.engine.trace import trace
from thalweg.extras import MissingExtra
from thalweg.ops import norm, total
from thalweg.signature import signature_of
from thalweg.transforms import OFF

if not triton_machine.installed():
    pytest.skip("triton is not installed", allow_module_level=True)
if not triton_machine.interpreting():
    pytest.skip("Triton's interpreter is off: see tests/test_cuda.py", allow_module_level=True)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 8 elements, so that small tensors have many."""
    monkeypatch.setattr(triton_table, "BLOCK", 8)
    triton_table.mapped.cache_clear()
    yield
    triton_table.mapped.cache_clear()


@pytest.mark.parametrize("rule", WITH_CUTS, ids=lambda r: r.__name__)
def test_rules_with_every_word_and_with_cuts(rule, small_blocks):
    same(walk(eager, rule, shapes_for(rule), 2), walk(triton, rule, shapes_for(rule), 2), 1e-13)


def test_total_over_all_tensors(small_blocks):
    shapes = [(20,), (3, 2)]
    same(walk(foreach, clipped, shapes, 2), walk(triton, clipped, shapes, 2), 1e-13)


@pytest.mark.parametrize("rest", ["triton", "eager"])
def test_a_clipped_step_sums_over_groups_types_and_engines(rest, monkeypatch):
    """Two groups, float32 and bfloat16; a parameter with gaps in its memory is eager's."""
    door, ends = sys.modules["thalweg.optimizer"], []
    in_place = door.in_place  # which says who takes a parameter's step
    monkeypatch.setattr(door, "in_place", lambda *given: ways.append(in_place(*given)) or ways[-1])
    for engine in ("eager", "triton"):
        ways = []
        gaps = torch.ones(3, 8, dtype=torch.bfloat16)[:, ::2]
        second = gaps if rest == "eager" else gaps.contiguous()
        ps = [torch.nn.Parameter(x) for x in (torch.ones(3, 4), second)]
        for i, p in enumerate(ps):
            p.grad = torch.full_like(p, i + 2.0)
        optimizer = tw.AdamW([{"params": [p]} for p in ps], clip_norm=0.5, clip_value=2.5, engine=engine, lr=0.1)
        for _ in range(3):
            optimizer.step()
        ends.append([p.detach().double() for p in ps] + [optimizer.state[ps[0]]["exp_avg"].double()])
    assert ways[:2] == [triton, None if rest == "eager" else triton]  # in the last walk's first step
    for a, b in zip(*ends, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


def test_a_norm_and_a_total_of_one_kernel_are_kept_apart(small_blocks):
    def both(p, g, *, t, lr=0.1):
        return p - lr * g * norm(p) / total(g * g)

    same(walk(foreach, both, [(20,), (3,)], 2), walk(triton, both, [(20,), (3,)], 2), 1e-13)


def test_tensors_of_one_size_have_rows_of_their_own(small_blocks):
    for shape in [(4, 20), (20, 4), (80,), (80, 1), (1, 80)]:
        same(walk(eager, means_of_rows, [shape], 1), walk(triton, means_of_rows, [shape], 1), 1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", rules.names())
def test_odd_gradients_behave_as_in_eager(name, dtype):
    odd_gradients(triton, name, dtype, steps=2)


@pytest.mark.parametrize("transform", OFF)
@pytest.mark.parametrize("name", tw.optimizers.__all__)
def test_every_transform_in_front_of_every_rule(name, transform):
    """All through the kernels, and where eager goes: matrices, vectors and a number, in one group and two."""
    on = {"clip_value": 0.3, "clip_tensor_norm": 0.8, "clip_norm": 1.1, "centralise": True}[transform]
    ends = []
    for engine in ("eager", "triton"):
        params = parameters(shapes=((5,), (2, 3), (4, 2, 3), ()))
        groups = [{"params": params[:2]}, {"params": params[2:]}]
        optimizer = getattr(tw, name)(groups, lr=0.1, engine=engine, **{transform: on})
        ends.append(drive(optimizer, 3))
        assert bool(optimizer._plans) == (engine == "triton")  # and then by a plan, also the sums over the model
    alike(*ends)


@pytest.mark.parametrize("value", [1.0, 1.00390625, 1.01171875, 3.3895e38, 1e-40, -2.5, math.nan, -math.inf])
def test_the_interpreter_rounds_to_bfloat16_as_torch_does(value):
    def copy(p, g, *, t, lr=1.0):
        return g

    g = torch.tensor([value], dtype=torch.float32)
    [(p, _)] = triton.step(copy, [Cell(torch.zeros(1, dtype=torch.bfloat16), g, {}, 1)], {"lr": 1.0})
    torch.testing.assert_close(p, g.to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)


# ---- what stays between steps


@pytest.fixture
def writes(monkeypatch):
    """How many values each write into a table brought."""
    seen = []
    write = triton_table.Table.write

    def noted(table, begin, values):
        seen.append(len(values))
        write(table, begin, values)

    monkeypatch.setattr(triton_table.Table, "write", noted)
    return seen


def test_a_step_writes_only_what_has_changed(writes):
    made, hyper = cells(rules.find("adam"), [(5,), (2, 3)], torch.float32)
    for t in (1, 2):
        triton.update(rules.find("adam"), [c._replace(t=t) for c in made], hyper)
    addresses, first, second = writes
    assert addresses == 2 * 3  # p, m, v of two tensors
    assert first == 2 + 9  # g of two tensors, and Adam's scalars
    assert second < 9  # the bias corrections
    moved = [c._replace(g=c.g.clone(), t=3) for c in made]
    triton.update(rules.find("adam"), moved, hyper)
    assert writes[3] == 2 + 9
    triton.update(rules.find("adam"), moved, hyper)
    assert writes[4] == 0


def test_tensors_that_lie_elsewhere_get_a_table_of_their_own():
    adam = rules.find("adam")
    made, hyper = cells(adam, [(5,), (2, 3)])
    [one], [two] = (cells(adam, [(5,)])[0] for _ in range(2))
    triton.update(adam, made, hyper)
    triton.update(adam, [one], hyper)
    triton.update(adam, [two._replace(t=2)], hyper)
    triton.update(adam, [c._replace(t=2) for c in made], hyper)
    same(walk(eager, adam, [(5,)], 1), [one], 1e-14)
    assert not torch.equal(one.p, two.p)


def test_a_table_that_is_remembered_no_longer_is_made_again(monkeypatch):
    monkeypatch.setattr(triton, "KEPT", 1)
    adam = rules.find("adam")
    made = [cells(adam, [(5,)])[0] for _ in range(3)]
    hyper = signature_of(adam).defaults
    for t in (1, 2):
        for its in made:
            triton.update(adam, [its[0]._replace(t=t)], hyper)
    assert torch.equal(made[0][0].p, made[2][0].p)


def test_a_view_that_begins_in_the_middle_of_a_word():
    sgd = rules.find("sgd")
    storage = torch.arange(9, dtype=torch.float32)
    p = storage[1:]
    assert p.data_ptr() % 16
    triton.update(sgd, [Cell(p, torch.ones(8), {}, 1)], {"lr": 1.0})
    assert storage.tolist() == [0.0, *range(8)]


# ---- scalars that the device computes


@pytest.mark.parametrize("name", ["adam", "nadam", "adagrad", "lamb"])
def test_step_numbers_on_the_device_may_differ_from_tensor_to_tensor(name):
    rule = rules.find(name)
    made, hyper = cells(rule, [(5,), (2, 3), (4,)])
    together = [c._replace(t=torch.tensor(float(t))) for c, t in zip(made, (1, 7, 3), strict=True)]
    alone = [eager.step(rule, [c._replace(t=int(c.t))], hyper)[0] for c in together]
    triton.update(rule, together, hyper)
    for cell, (p, slots) in zip(together, alone, strict=True):
        torch.testing.assert_close(cell.p, p, rtol=1e-13, atol=1e-14)
        for slot, value in slots.items():
            torch.testing.assert_close(cell.slots[slot], value, rtol=1e-13, atol=1e-14)


def test_an_lr_on_the_device_is_not_read_by_the_host(monkeypatch):
    """The host would have to wait; on the CPU, where it need not, we look at what the program is given."""
    adam = rules.find("adam")
    made, hyper = cells(adam, [(5,), (2, 3)])
    expected = eager.step(adam, made, {**hyper, "lr": 0.25})
    program = triton.program(trace(adam), triton.memory_of(trace(adam), made[0]))
    given = {**{n: hyper[n] for n in signature_of(adam).numbers}, "lr": torch.tensor(0.25, dtype=torch.float64)}
    monkeypatch.setattr(torch.Tensor, "item", None)
    monkeypatch.setattr(torch.Tensor, "__float__", None)
    alone([program.run(made, given)])
    monkeypatch.undo()
    for cell, (p, _) in zip(made, expected, strict=True):
        torch.testing.assert_close(cell.p, p, rtol=1e-13, atol=1e-14)


def test_nadams_product_of_the_host_is_not_fetched_from_the_device():
    """An lr on the device, and a count that the host keeps: on a device that is not there."""
    nadam = rules.find("nadam")
    [here], hyper = cells(nadam, [(5,)], t=3)
    there = here._replace(p=Far(here.p), slots={**here.slots, "mu_product": torch.tensor(1.0, dtype=torch.float64)})
    program = triton.program(trace(nadam), triton.memory_of(trace(nadam), here))
    numbers = {name: hyper[name] for name in signature_of(nadam).numbers}
    expected = program.scalars([here], numbers)
    with World() as world:
        found = program.scalars([there], numbers | {"lr": Far(torch.tensor(hyper["lr"], dtype=torch.float64))})
        assert world.fetched == 0
    assert isinstance(found, Far)
    assert near(found).tolist() == [pytest.approx(expected, rel=1e-14)]
    assert here.slots["mu_product"] < 1
    assert torch.equal(there.slots["mu_product"], here.slots["mu_product"])


# ---- without triton, or without a GPU


def test_without_an_interpreter_parameters_on_the_cpu_are_refused(monkeypatch):
    monkeypatch.setattr(triton_machine, "interpreting", lambda: False)
    said = r"^engine is 'triton', and a parameter is on cpu; it must be on a GPU, or engine 'auto', 'eager', 'cpu' or "
    with pytest.raises(ValueError, match=said + r"'compiled'\.$"):
        tw.Adam(parameters(), engine="triton")
    monkeypatch.setenv("THALWEG_ENGINE", "triton")
    with pytest.raises(ValueError, match=said):
        tw.Adam(parameters())
    monkeypatch.delenv("THALWEG_ENGINE")
    alike(drive(tw.Adam(parameters())), drive(tw.Adam(parameters(), engine="eager")))


def test_without_triton_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(MissingExtra, match=r"^triton is not installed: pip install 'thalweg\[triton\]'$"):
        tw.Adam([torch.nn.Parameter(torch.ones(2))], engine="triton")
