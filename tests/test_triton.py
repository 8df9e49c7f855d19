"""The Triton engine, through Triton's interpreter where there is no GPU, against eager; and what a GPU would be given.

On a machine with a GPU the interpreter is off, and tests/test_cuda.py runs the same kernels for real.
"""

import json
import math
import os
import re
import subprocess
import sys

import pytest
import torch

import thalweg as tw
from test_cpu_engine import ODD, SHAPES, cells, clipped, counting, every_word, lamb_like, same, stored_direction, walk
from thalweg import rules
from thalweg.arguments import with_decay
from thalweg.engine import eager, foreach, triton
from thalweg.engine.cell import Cell, start
from thalweg.engine.model_wide import alone
from thalweg.engine.trace import trace
from thalweg.engine.triton_source import WRITE, print_kernels
from thalweg.extras import MissingExtra
from thalweg.ops import norm, total
from thalweg.signature import signature_of

if not triton.installed():
    pytest.skip("triton is not installed", allow_module_level=True)
if not triton.interpreting():
    pytest.skip("Triton's interpreter is off: see tests/test_cuda.py", allow_module_level=True)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 8 elements, so that small tensors have many."""
    monkeypatch.setattr(triton, "BLOCK", 8)
    triton._map.cache_clear()
    yield
    triton._map.cache_clear()


@pytest.mark.parametrize("rule", [every_word, stored_direction, lamb_like, counting], ids=lambda r: r.__name__)
def test_rules_with_every_word_and_with_cuts(rule, small_blocks):
    shapes = SHAPES if rule is every_word else [s for s in SHAPES if s != (0,)]
    same(walk(eager, rule, shapes, 2), walk(triton, rule, shapes, 2), 1e-13)


def test_total_over_all_tensors(small_blocks):
    shapes = [(20,), (3, 2)]
    same(walk(foreach, clipped, shapes, 2), walk(triton, clipped, shapes, 2), 1e-13)


@pytest.mark.parametrize("rest", ["triton", "eager"])
def test_a_clipped_step_sums_over_groups_types_and_engines(rest):
    """Two groups, float32 and bfloat16; a gradient that is laid out otherwise is eager's."""
    ends = []
    for engine in ("eager", "triton"):
        ps = [torch.nn.Parameter(torch.ones(3, 4, dtype=d)) for d in (torch.float32, torch.bfloat16)]
        for i, p in enumerate(ps):
            p.grad = torch.full_like(p, i + 2.0)
        if rest == "eager":
            ps[1].grad = ps[1].grad.t().contiguous().t()
        optimizer = tw.AdamW([{"params": [p]} for p in ps], clip_norm=0.5, clip_value=2.5, engine=engine, lr=0.1)
        for _ in range(3):
            optimizer.step()
        ends.append([p.detach().double() for p in ps] + [optimizer.state[ps[0]]["exp_avg"].double()])
    for a, b in zip(*ends, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


def test_a_norm_and_a_total_of_one_kernel_are_kept_apart(small_blocks):
    def both(p, g, *, t, lr=0.1):
        return p - lr * g * norm(p) / total(g * g)

    same(walk(foreach, both, [(20,), (3,)], 2), walk(triton, both, [(20,), (3,)], 2), 1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", rules.names())
def test_odd_gradients_behave_as_in_eager(name, dtype):
    rule = with_decay(rules.find(name))
    p = torch.linspace(-1, 1, len(ODD), dtype=torch.float64).to(dtype)
    g = torch.tensor(ODD, dtype=torch.float64).to(dtype)
    hyper = signature_of(rule).defaults
    slots = {n: start(s, p, hyper) for n, s in signature_of(rule).kept(hyper).items()}
    for t in (1, 2):
        cell = Cell(p, g, slots, t)
        [(a, a_slots)], [(b, b_slots)] = eager.step(rule, [cell], hyper), triton.step(rule, [cell], hyper)
        tolerance = 16 * torch.finfo(dtype).eps
        torch.testing.assert_close(b, a, rtol=tolerance, atol=0, equal_nan=True)
        for n in slots:
            torch.testing.assert_close(b_slots[n], a_slots[n], rtol=tolerance, atol=0, equal_nan=True)
        p, slots = a, a_slots


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
    write = triton.Table.write

    def noted(table, begin, values):
        seen.append(len(values))
        write(table, begin, values)

    monkeypatch.setattr(triton.Table, "write", noted)
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


# ---- what a GPU would be given: Triton compiles without one


COMPILE = """
import re, sys, json, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from thalweg.engine import triton as engine
types = dict(table="*i64", tensors="i32", scalars="*fp64", stride="i32", numbers="*fp64", sums="*fp64",
             sizes="*i64", owners="*i32", chunks="*i32", firsts="*i32", wholes="*fp64", count="i32")
constants = {"BLOCK": 1024, "ALIGNED": True, "LANES": 128}
module = engine.load(open(sys.argv[1]).read())
found = {}
for name, f in vars(module).items():
    if not re.fullmatch(r"(kernel|numbers)\\d+|write", name):
        continue
    signature = {a: types.get(a, "i64" if name == "write" else "constexpr") for a in f.arg_names}
    given = {k: v for k, v in constants.items() if k in f.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(f.arg_names) if types.get(a, "")[:1] == "*"}
    options = {"num_warps": 4, "enable_fp_fusion": False, "enable_reflect_ftz": False}
    target, source = GPUTarget("cuda", int(sys.argv[2]), 32), ASTSource(f, signature, given, aligned)
    found[name] = triton.compile(source, target=target, options=options).asm["ptx"]
print(json.dumps(found))
"""


def compiled(source, tmp_path, capability=90):
    """The PTX of every function of a source, for a GPU of that capability."""
    file = tmp_path / "kernels.py"
    file.write_text(source)
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    env |= {"THALWEG_CACHE": str(tmp_path / "cache"), "TRITON_CACHE_DIR": str(tmp_path / "triton")}
    command = [sys.executable, "-c", COMPILE, str(file), str(capability)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def source_of(rule, dtype):
    graph = trace(rule)
    slots = {n: dtype if graph.signature.slots[n].shape == "p" else "float64" for n in graph.slots}
    slots = {n: kind for n, kind in slots.items() if graph.inputs[n].stage != "host"}
    return print_kernels(graph, {"p": dtype, "g": dtype, **slots}).source


def test_a_gpu_reads_wide_words_and_rounds_as_eager_does(tmp_path):
    [ptx] = compiled(source_of(rules.find("adam"), "float32"), tmp_path).values()
    assert ptx.count("ld.global.v4.b32") == 2 * 4  # 1024 elements, 128 threads: 2 times 4 of each of p, g, m, v
    assert ptx.count("st.global.v4.b32") == 2 * 3
    assert "div.rn.f32" in ptx
    assert "sqrt.rn.f32" in ptx
    assert not re.search(r"fma|ftz|approx|div\.full", ptx)


def test_a_gpu_sums_without_atomics(tmp_path):
    functions = compiled(source_of(lamb_like, "bfloat16"), tmp_path, 80)
    assert set(functions) == {"kernel0", "numbers1", "kernel1"}
    assert not any(re.search(r"\b(atom|red)\.", ptx) for ptx in functions.values())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("rule", [*map(rules.find, rules.names()), every_word, counting], ids=lambda r: r.__name__)
def test_every_rule_compiles_for_a_gpu(rule, dtype, tmp_path):
    assert "kernel0" in compiled(source_of(rule, dtype), tmp_path)


def test_the_table_is_written_by_a_kernel_that_a_gpu_compiles(tmp_path):
    assert compiled(WRITE, tmp_path)["write"].count("st.global.b64") == 16


# ---- without triton


def test_without_triton_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(MissingExtra, match=r"^triton is not installed: pip install 'thalweg\[triton\]'$"):
        tw.Adam([torch.nn.Parameter(torch.ones(2))], engine="triton")


# ---- the door


def parameters(seed=0, shapes=((5,), (2, 3), ())):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]


def drive(optimizer, steps=4, first=0):
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for t in range(first, first + steps):
        generator = torch.Generator().manual_seed(t)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        optimizer.step()
    return params


def alike(ours, theirs):
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-12, atol=1e-14)


CAPTURABLE = [
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "lr": torch.tensor(0.02, dtype=torch.float64)}),
    ("AdamW", {}),
    ("NAdam", {}),
    ("Adadelta", {}),
    ("RMSprop", {"momentum": 0.9}),
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
    optimizer = tw.Adam([torch.nn.Parameter(torch.zeros(3, 2).t())], capturable=True, engine="triton")
    optimizer.param_groups[0]["params"][0].grad = torch.ones(3, 2).t()
    with pytest.raises(ValueError, match="must be dense and contiguous"):
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


@pytest.mark.parametrize("change", ["flag", "slot", "gone", "layout", "dtype"])
def test_a_plan_says_no_when_it_does_not_fit(change):
    walks = []
    for engine in ("triton", "eager"):
        params = parameters(shapes=((5,), (2, 3)))
        optimizer = tw.Adam(params, engine=engine)
        drive(optimizer, 2)
        if change == "flag":
            optimizer.param_groups[0]["amsgrad"] = True
        if change == "slot":
            optimizer.state[params[0]]["exp_avg"] = torch.ones(5, dtype=torch.float64)
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
