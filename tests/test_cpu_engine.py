"""The C++ engine where the contract does not reach: shapes, threads, odd numbers, cuts."""

import ctypes
import subprocess
import sys

import pytest
import torch

import thalweg as tw
from engine_cases import WITH_CUTS, cells, clipped, odd_gradients_behave_as_in_eager, same, shapes_for, walk
from thalweg import rules
from thalweg.arguments import with_decay
from thalweg.engine import build, cpu, eager, foreach
from thalweg.engine.cell import Cell
from thalweg.engine.host import host_function, host_inputs
from thalweg.engine.plan import Plan, Settings
from thalweg.engine.trace import trace
from thalweg.signature import signature_of

try:
    build.compiler()
except build.NoCompiler as none:
    pytest.skip(str(none), allow_module_level=True)


@pytest.mark.parametrize("rule", WITH_CUTS, ids=lambda r: r.__name__)
def test_rules_with_every_word_and_with_cuts(rule):
    same(walk(eager, rule, shapes_for(rule)), walk(cpu, rule, shapes_for(rule)), 1e-13)


def test_total_over_all_tensors():
    same(walk(foreach, clipped, [(4,), (3, 2)]), walk(cpu, clipped, [(4,), (3, 2)]), 1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", rules.names())
def test_odd_gradients_behave_as_in_eager(name, dtype):
    odd_gradients_behave_as_in_eager(cpu, name, dtype, steps=3)


@pytest.mark.parametrize("name", rules.names())
def test_two_threads_give_what_one_gives(name):
    rule, shapes = with_decay(rules.find(name)), [(cpu.ELEMENTS_PER_THREAD,), (3,), (cpu.ELEMENTS_PER_THREAD + 1,)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = walk(cpu, rule, shapes, 2, torch.float32)
        torch.set_num_threads(2)
        two = walk(cpu, rule, shapes, 2, torch.float32)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.p, b.p)
        assert all(torch.equal(a.slots[n], b.slots[n]) for n in a.slots)


@pytest.mark.parametrize("value", [1.0, 1.00390625, 1.01171875, 3.3895e38, 1e-40, -2.5])
def test_bfloat16_is_rounded_as_torch_does(value):
    def copy(p, g, *, t, lr=1.0):
        return g

    g = torch.tensor([value], dtype=torch.float32)
    [(p, _)] = cpu.step(copy, [Cell(torch.zeros(1, dtype=torch.bfloat16), g, {}, 1)], {"lr": 1.0})
    assert torch.equal(p, g.to(torch.bfloat16))


def test_the_inputs_of_step_are_left_alone():
    [cell], hyper = cells(rules.find("adam"), [(5,)])
    p, m = cell.p.clone(), cell.slots["m"].clone()
    cpu.step(rules.find("adam"), [cell], hyper)
    assert torch.equal(cell.p, p)
    assert torch.equal(cell.slots["m"], m)


# ---- the host's function and the plan


@pytest.mark.parametrize("name", rules.names())
def test_host_function_is_the_graph_evaluated(name):
    graph = trace(rules.find(name))
    inputs = {n: v for n, v in {**signature_of(rules.find(name)).numbers, "t": 7, "mu_product": 0.3}.items()}
    values = host_function(graph, graph.host)(**{k: v for k, v in inputs.items() if k in graph.inputs})
    ones = {k: 1.0 for k in graph.inputs}
    known = {node: {**ones, **inputs}[n] for n, node in graph.inputs.items()}
    from thalweg.engine.graph import evaluate

    for node in graph.nodes:
        if node.stage == "host" and node not in known:
            known[node] = evaluate(node, [known[a] for a in node.args])
    assert list(values) == [known[node] for node in graph.host]


@pytest.mark.parametrize("name", rules.names())
def test_the_host_in_cpp_is_the_host_in_python(name):
    rule = with_decay(rules.find(name))
    for settings in signature_of(rule).flag_settings():
        graph = trace(rule, **settings)
        if not cpu.has_kernels(graph):
            continue
        program = cpu.program(graph, tuple((slot, "float64") for slot in ("p", "g", *graph.slots)))
        wanted = program.wanted
        given = {"t": 7, **dict.fromkeys(program.own, 0.3), **signature_of(rule).numbers}
        inputs = (ctypes.c_double * len(given))(*(given[key] for key in host_inputs(graph)))
        outputs = (ctypes.c_double * max(1, len(wanted)))()
        program.host(inputs, outputs)
        in_python = [float(value) for value in host_function(graph, wanted)(**given)]
        assert list(outputs)[: len(wanted)] == pytest.approx(in_python, rel=1e-15)


def planned(name):
    """A plan over two parameters, the group and state it looks into, and what eager makes of three steps."""
    rule = rules.find(name)
    made, hyper = cells(rule, [(5,), (2, 3)], torch.float32)
    reference = walk(eager, rule, [(5,), (2, 3)], 3, torch.float32)
    for c in made:
        c.p.grad = c.g
    numbers = {n: hyper[n] for n in signature_of(rule).numbers}
    group = {"params": [c.p for c in made], "flag": "a word", **numbers}
    state = {c.p: {**c.slots, "step": torch.zeros(())} for c in made}
    graph = trace(rule)
    assert Plan.fits(graph, made)
    settings = Settings({n: (n, None, 0.0) for n in numbers}, ["flag"], ["lr"])
    plan = Plan(graph, made, group, state, {**{slot: slot for slot in graph.slots}, "t": "step"}, settings, 0)
    return plan, group, state, made, reference


@pytest.mark.parametrize("name", ["adam", "nadam"])
def test_a_plan_walks_the_path(name):
    plan, group, state, made, reference = planned(name)
    for _ in range(3):
        assert plan.ready(group, group["params"], state)
        plan.take()
    assert [float(kept["step"]) for kept in state.values()] == [3.0, 3.0]
    same(reference, made, 1e-6)


def narrow_walk(dtype, store, monkeypatch, planned):
    params = [torch.nn.Parameter(torch.linspace(-1, 2, n).to(dtype).reshape(s)) for n, s in ((12, (3, 4)), (5, (5,)))]
    groups = [{"params": [params[0]]}, {"params": [params[1]], "lr": 0.03}]
    optimizer = tw.LAMB(groups, lr=0.1, weight_decay=0.1, clip_norm=1.0, engine="cpu", store=store)
    for t in range(5):
        for i, p in enumerate(params):
            p.grad = torch.cos(torch.arange(p.numel()) + t + i).reshape(p.shape).to(dtype)
        optimizer.step()
        if planned:
            monkeypatch.setattr(optimizer, "_step_group", lambda *_: pytest.fail("took the general way"))
        else:
            optimizer._plans.clear()
    return params + [x for p in params for x in optimizer.state[p].values()]


@pytest.mark.parametrize("store", [tw.Store(), tw.Store(state=torch.bfloat16), tw.Store(kahan=True)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_what_is_handed_from_kernel_to_kernel_is_planned_too(dtype, store, monkeypatch):
    """What is rounded as it is kept goes on as it was, in memory of the step's own: the general way, bit by bit."""
    ours, general = (narrow_walk(dtype, store, monkeypatch, planned) for planned in (True, False))
    for a, b in zip(ours, general, strict=True):
        assert torch.equal(a, b)


def other_gradient(change):
    def changed(group, state):
        p = group["params"][1]
        p.grad = change(p.grad)

    return changed


def smaller(group, state):
    group["params"][1].grad.data = torch.ones(2, 2)


def double(group, state):
    group["params"][1].grad.data = torch.ones(2, 3, dtype=torch.float64)


def transposed(group, state):
    group["params"][1].data = group["params"][1].data.reshape(3, 2).t()


def moved(key):
    def changed(group, state):
        state[group["params"][1]][key].data = state[group["params"][1]][key].clone()

    return changed


def replaced(key):
    def changed(group, state):
        state[group["params"][1]][key] = state[group["params"][1]][key].clone()

    return changed


def counts_differ(group, state):
    state[group["params"][1]]["step"] += 1


UNFIT = {
    "no gradient": other_gradient(lambda g: None),
    "strided gradient": other_gradient(lambda g: g.t().contiguous().t()),
    "sparse gradient": other_gradient(lambda g: g.to_sparse()),
    "subclass": other_gradient(lambda g: torch.nn.Parameter(g)),
    "smaller gradient": smaller,
    "double gradient": double,
    "transposed parameter": transposed,
    "moved parameter": lambda group, state: setattr(group["params"][0], "data", group["params"][0].data.clone()),
    "moved slot": moved("m"),
    "replaced slot": replaced("m"),
    "moved count": moved("step"),
    "replaced count": replaced("step"),
    "counts differ": counts_differ,
    "no slot": lambda group, state: state[group["params"][0]].pop("v"),
    "another parameter's state": lambda group, state: state.update({torch.ones(1): {}}),
    "no state": lambda group, state: state.clear(),
    "other order": lambda group, state: group["params"].reverse(),
    "one more": lambda group, state: group["params"].append(torch.ones(1)),
    "flag": lambda group, state: group.update(flag="another"),
    "on and off": lambda group, state: group.update(lr=0.0),
    "no number": lambda group, state: group.update(eps="small"),
}


@pytest.mark.parametrize("change", UNFIT)
def test_a_plan_that_does_not_fit_says_no_and_changes_nothing(change):
    plan, group, state, made, _ = planned("adam")
    assert plan.ready(group, group["params"], state)
    plan.take()
    UNFIT[change](group, state)
    tensors = [c.p for c in made] + [x for kept in state.values() for x in kept.values()]
    before = [x.clone() for x in tensors]
    assert plan.ready(group, group["params"], state) is False
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))


LAYOUTS = {
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
    "spread out": lambda x: torch.stack([x, x], -1)[..., 0],
    "contiguous": lambda x: x,
}


@pytest.mark.parametrize("gradients", LAYOUTS)
@pytest.mark.parametrize("parameters", LAYOUTS)
@pytest.mark.parametrize("name", ["Adam", "RMSprop", "SGD"])
def test_every_layout_walks_torchs_path_and_is_planned_where_gradients_need_no_copy(name, parameters, gradients):
    ends = []
    for module in (tw, torch.optim):
        values = torch.linspace(-1, 2, 120, dtype=torch.float64).reshape(2, 3, 4, 5)
        p = LAYOUTS[parameters](values.clone()).requires_grad_()
        optimizer = getattr(module, name)([p], lr=0.01, **({"engine": "cpu"} if module is tw else {}))
        for t in range(5):
            p.grad = LAYOUTS[gradients](torch.cos(3 * p.detach().contiguous() + t))
            optimizer.step()
        ends.append(p)
        if module is tw:
            assert bool(optimizer._plans) == (parameters == gradients != "spread out")
            assert p.stride() == LAYOUTS[parameters](values).stride()
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["AdamW", "LAMB"])
def test_norms_are_those_of_a_tensor_in_any_order(name):
    ends = []
    for engine, layout in (("cpu", "channels_last"), ("cpu", "transposed"), ("eager", "contiguous")):
        p = torch.nn.Parameter(LAYOUTS[layout](torch.linspace(-1, 2, 120, dtype=torch.float64).reshape(2, 3, 4, 5)))
        optimizer = getattr(tw, name)([p], clip_norm=0.5, clip_tensor_norm=0.4, engine=engine)
        for t in range(3):
            p.grad = torch.cos(3 * p.detach() + t)
            optimizer.step()
        assert bool(optimizer._plans) == (engine != "eager")
        ends.append(p.detach())
    torch.testing.assert_close(ends[0], ends[2], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(ends[1], ends[2], rtol=1e-12, atol=1e-14)


def test_a_planned_step_follows_a_parameter_in_another_order():
    ends = []
    for module in (tw, torch.optim):
        p = torch.nn.Parameter(torch.linspace(-1, 2, 120, dtype=torch.float64).reshape(2, 3, 4, 5))
        optimizer = module.Adam([p], lr=0.01)
        for t in range(9):
            if t in (3, 6):
                kind = torch.channels_last if t == 3 else torch.contiguous_format
                p.data = p.data.contiguous(memory_format=kind)
            p.grad = torch.cos(3 * p.detach() + t)
            optimizer.step()
        ends.append(p)
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-14)


def test_a_gradient_whose_sign_is_still_to_come_is_resolved():
    """Autograd may give a conjugate's imaginary part: a view with a negative bit, contiguous if it is one number."""
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = tw.SGD([p], lr=1.0, engine="cpu")
    for t in range(6):
        p.grad = torch.view_as_complex(torch.tensor([0.0, -1.0])).conj().imag.reshape(1) if t % 2 else torch.ones(1)
        assert p.grad.is_neg() == bool(t % 2)
        assert p.grad.item() == 1.0
        optimizer.step()
        assert p.item() == -1.0 - t


def test_a_plan_reads_the_settings_anew():
    plan, group, state, *_ = planned("adam")
    other = planned("adam")
    for p, q in zip(group["params"], other[1]["params"], strict=True):
        assert torch.equal(p, q)
    assert plan.ready(group, group["params"], state)
    plan.take()
    group["lr"] = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert plan.ready(group, group["params"], state)
    plan.take()
    for lr in (1e-3, 0.5):
        cell = [c._replace(t=1 if lr == 1e-3 else 2) for c in other[3]]
        cpu.update(rules.find("adam"), cell, {**signature_of(rules.find("adam")).defaults, "lr": lr})
    for p, q in zip(group["params"], other[1]["params"], strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("start", [4, 6], ids=["overlapping", "side by side"])
def test_parameters_that_are_views_of_one_storage_walk_torchs_path(start):
    ends = []
    for cls, more in ((tw.Adam, {"engine": "cpu"}), (torch.optim.Adam, {"foreach": False})):
        whole = torch.linspace(-1, 1, 10, dtype=torch.float64)
        params = [torch.nn.Parameter(whole[:6]), torch.nn.Parameter(whole[start:])]
        optimizer = cls(params, lr=0.1, **more)
        for t in range(1, 5):
            for k, p in enumerate(params):
                p.grad = torch.full_like(p, (-1) ** k / t)
            optimizer.step()
        ends.append(whole)
    torch.testing.assert_close(*ends, rtol=1e-13, atol=1e-13)


def test_a_forked_process_steps_with_threads_of_its_own():
    code = (
        "import os, torch, thalweg as tw\n"
        "torch.set_num_threads(2)\n"
        "p = torch.nn.Parameter(torch.ones(1 << 19)); o = tw.SGD([p], lr=0.5)\n"
        "p.grad = torch.ones(1 << 19); o.step()\n"
        "child = os.fork()\n"
        "o.step()\n"
        "right = bool((p.detach().numpy() == 0).all())\n"  # torch's own threads do not survive a fork
        "if child == 0: os._exit(0 if right else 1)\n"
        "print(os.waitpid(child, 0)[1], right)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "0 True", done.stderr


def test_an_lr_that_autograd_follows_is_read_without_a_warning():
    lr = torch.tensor(0.5, requires_grad=True)
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = tw.SGD([p], lr=lr)
    for _ in range(3):
        p.grad = torch.ones(2)
        optimizer.step()
    assert p.tolist() == [-0.5, -0.5]


def test_autograd_notices_that_a_step_has_changed_a_parameter():
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = tw.Adam([p])
    for _ in range(3):
        loss = (p * p).sum()
        loss.backward(retain_graph=True)
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
