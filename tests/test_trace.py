"""The graph of a rule: its stages, its kernels, its words."""

import cProfile
import sys

import pytest
import torch

import thalweg as tw
from thalweg import rules
from thalweg.engine.graph import CUTS
from thalweg.engine.trace import trace
from thalweg.ops import eigh, matmul, norm, ratio, sqrt, total, transpose
from thalweg.signature import Slot


def lamb_like(p, g, m, v, *, t, lr=0.1, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.1):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    r = m / (sqrt(v) + eps) + weight_decay * p
    p = p - lr * ratio(norm(p), norm(r)) * r
    return p, m, v


def clipped(p, g, *, t, lr=0.1, weight_decay=0.1, limit=1.0):
    g = g + weight_decay * p
    return p - lr * g * ratio(limit, sqrt(total(g * g)))


def muon_like(p, g, m, *, t, lr=0.1, momentum=0.9):
    m = momentum * m + g
    x = m / norm(m)
    gram = matmul(x, transpose(x))
    x = 1.5 * x - 0.5 * matmul(gram, x)
    return p - lr * x, m


def rotated(p, g, q=Slot(start="p"), *, t, lr=0.1):
    values, vectors = eigh(matmul(g, transpose(g)))
    return p - lr * matmul(vectors, g) / sqrt(values), q


def distance(p, g, d=Slot(start=1.0, shape="number"), count=Slot(shape="number"), *, t, lr=0.1):
    d = d + norm(g)
    count = count + 1
    return p - lr / count * g / d, d, count


def needs_the_old_slot_later(p, g, m, *, t, lr=0.1):
    d = g - m
    return p - lr * d / norm(d), m + 0.5 * g


def names(nodes):
    return {node.name for node in nodes}


def test_adam_prints_as_the_algorithm_box():
    assert str(tw.trace(rules.find("adam"))) == (
        "adam   slots: m, v   flags: amsgrad=False, bias_correction=True, eps_hat=False, max_of_corrected=False\n"
        "once per step, on the host in float64\n"
        "    h1 = 1 - beta1\n"
        "    h2 = 1 - beta2\n"
        "    full_m = 1 - beta1 ** t\n"
        "    full_v = 1 - beta2 ** t\n"
        "kernel 1 of 1   reads p g m v   writes p' m' v'\n"
        "    m' = beta1 * m + h1 * g\n"
        "    m_hat = m' / full_m\n"
        "    v' = beta2 * v + h2 * (g * g)\n"
        "    v_hat = v' / full_v\n"
        "    p' = p - lr * m_hat / (sqrt(v_hat + eps_root) + eps)"
    )


def test_stages():
    graph = trace(rules.find("adam"))
    assert {"full_m", "full_v"} <= names(graph.host)
    assert all(node.stage == "host" for node in graph.host)
    assert graph.inputs["p"].stage == graph.inputs["m"].stage == "element"
    assert graph.inputs["t"].stage == graph.inputs["lr"].stage == "host"
    assert graph.elementwise
    assert graph.uses_t
    assert not trace(rules.find("sgd")).uses_t


@pytest.mark.parametrize(
    ("rule", "kernels", "elementwise", "model_wide"),
    [
        (lamb_like, 2, False, False),
        (clipped, 2, False, True),
        (muon_like, 3, False, False),
        (distance, 2, False, False),
    ],
)
def test_cuts(rule, kernels, elementwise, model_wide):
    graph = trace(rule)
    assert (len(graph.kernels), graph.elementwise, graph.model_wide) == (kernels, elementwise, model_wide)


def test_lamb_recomputes_its_direction_instead_of_storing_it():
    first, second = trace(lamb_like).kernels
    assert names(first.reads) == {"p", "g", "m", "v"}
    assert len(first.writes) == 2
    assert [node.op for node in first.cuts] == ["norm", "norm"]
    assert set(second.reads) == {trace(lamb_like).inputs["p"], *first.writes}
    assert second.writes == (trace(lamb_like).outputs["p"],)


def test_a_clip_costs_one_more_read_and_no_more_writes():
    first, second = trace(clipped).kernels
    assert first.writes == ()
    assert names(second.reads) == {"p", "g"}


def test_what_a_matrix_operation_takes_is_in_memory():
    graph = trace(muon_like)
    written = {node for kernel in graph.passes for node in kernel.writes}
    for node in graph.nodes:
        if node.op == "matmul":
            for arg in node.args:
                assert arg in written or arg.op in (*CUTS, "input")


def test_every_value_is_computed_before_it_is_used():
    house = map(rules.find, rules.names())
    for rule in (lamb_like, clipped, muon_like, rotated, distance, needs_the_old_slot_later, *house):
        graph = trace(rule)
        in_memory = set(graph.inputs.values())
        for kernel in graph.passes:
            assert set(kernel.reads) <= in_memory
            known = {*kernel.reads, *kernel.numbers, *graph.host, *in_memory}
            known |= {n for n in graph.nodes if n.op == "constant" or (n.op in CUTS and n.stage == "number")}
            for node in kernel.body:
                assert set(node.args) <= known, (graph.signature.name, node)
                known.add(node)
            assert set(kernel.writes) <= known
            in_memory |= {*kernel.writes, *kernel.cuts}
            in_memory |= {n for n in graph.nodes if n.op == "item" and n.args[0] in in_memory}
            for name, node in graph.outputs.items():  # an overwritten slot's old value is gone
                if node in kernel.writes and node is not graph.inputs[name]:
                    in_memory.discard(graph.inputs[name])
        assert {n for n in graph.outputs.values() if n.stage == "element"} <= in_memory


def test_what_cannot_be_computed_again_is_kept():
    first, second = trace(needs_the_old_slot_later).kernels
    assert len(first.writes) == 2  # the new m, and the direction made of the old one
    assert set(second.reads) - {trace(needs_the_old_slot_later).inputs["p"]} < set(first.writes)


def test_one_number_slots_live_on_the_host_unless_a_cut_feeds_them():
    graph = trace(distance)
    assert graph.outputs["count"].stage == "host"
    assert graph.outputs["d"].stage == "number"
    assert trace(rules.find("nadam")).outputs["mu_product"].stage == "host"


@pytest.mark.parametrize("rule", [lamb_like, clipped, rotated, muon_like])
def test_the_graph_of_a_rule_with_cuts_gives_its_numbers(rule):
    generator = torch.Generator().manual_seed(0)
    x = [torch.randn(3, 3, generator=generator, dtype=torch.float64) for _ in range(4)]
    graph = trace(rule)
    inputs = dict(zip(("p", "g", *graph.slots), [x[0], x[1], x[2], x[3] ** 2], strict=False))
    direct = rule(*inputs.values(), t=1)
    direct = direct if isinstance(direct, tuple) else (direct,)
    for value, (name, other) in zip(direct, graph.run(**inputs, t=1).items(), strict=True):
        torch.testing.assert_close(other, value, rtol=1e-14, atol=0, msg=name)


def test_the_same_value_is_one_node():
    def twice(p, g, *, t, lr=0.1):
        return p - lr * (g * g) - lr * (g * g)

    assert sum(node.op == "mul" for node in trace(twice).nodes) == 2


def test_slots_depend_on_what_is_switched_on():
    rmsprop = rules.find("rmsprop")
    assert trace(rmsprop).slots == ("v",)
    assert trace(rmsprop, centered=True, momentum=0.9).slots == ("v", "mean", "u")
    assert trace(rmsprop, momentum=0.9) is trace(rmsprop, momentum=0.5)  # numbers stay symbols: nothing is retraced


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda p, g, *, t, lr=0.1: p - lr * g if g > 0 else p, "may not ask 'if'"),
        (lambda p, g, *, t, lr=0.1: p - float(lr) * g, "turn a value into a Python number"),
        (lambda p, g, *, t, lr=0.1: p - lr * torch.ones(2) * g, "holds its own arguments"),
        (lambda p, g, *, t, lr=0.1: (p - lr * g, g), "returned 2 values"),
        (lambda p, g, m, *, t, lr=0.1: p - lr * g, "returned 1 values"),
        (lambda p, g, *, t, lr=0.1: norm(p) * lr, "its new p is one number; it must be a value for each element"),
        (lambda p, g, *, t, lr=0.1: 0.5, "its new p is one number"),
        (lambda p, g, m, *, t, lr=0.1: (p - lr * g, t), "its new m is one number"),
        (
            lambda p, g, m=Slot(shape="number"), *, t, lr=0.1: (p - lr * g, m + g),
            "its new m is a value for each element; it must be one number",
        ),
        (lambda p, g, *, t, lr=0.1: p - lr * torch.sign(g), "may not use torch's sign: .* Did you mean 'sign'"),
        (lambda p, g, *, t, lr=0.1: p - torch.ones(2) * g, "holds its own arguments"),
        (lambda p, g, *, t, lr=0.1: p - lr * abs(g), "may not use Python's abs: .* Did you mean 'abs'"),
    ],
)
def test_what_a_formula_may_not_do(rule, words):
    with pytest.raises(TypeError, match=words):
        trace(rule)


def test_a_method_of_tensors_is_no_word_of_a_formula():
    with pytest.raises(AttributeError, match=r"may not use \.sqrt: .* words of thalweg.ops. Did you mean 'sqrt'"):
        trace(lambda p, g, *, t, lr=0.1: p - lr * g.sqrt())


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda x, g, *, t: x, "must begin with"),
        (lambda p, g, *, lr=0.1, t=0: p, "needs '\\*, t'"),
        (lambda p, g, *, t, lr: p, "lr needs a default"),
        (lambda p, g, *, t, lr="fast": p, "a hyper-parameter is a number"),
        (lambda p, g, m=0, *, t: p, "slot m must be a Slot"),
        (lambda p, g, m=Slot("p", "number"), *, t: p, "slot m is one number; it cannot start as a copy of p"),
        (lambda p, g, m=Slot(when="amsgrd"), *, t, amsgrad=False: p, "refers to amsgrd"),
        (3, "a rule is a function"),
    ],
)
def test_what_is_no_rule(rule, words):
    with pytest.raises(TypeError, match=words):
        trace(rule)


def test_unknown_settings_are_refused():
    with pytest.raises(TypeError, match=r"no argument amsgrd\. Did you mean 'amsgrad'"):
        trace(rules.find("adam"), amsgrd=True)
    with pytest.raises(ValueError, match="amsgrad is 3; it must be one of False, True"):
        trace(rules.find("adam"), amsgrad=3)


def test_a_profiler_goes_on_while_a_rule_is_traced():
    def heavy(p, g, m, *, t, lr=0.1):  # not traced before
        m = m + g
        return p - lr * m, m

    profile = cProfile.Profile()
    profile.enable()
    graph = trace(heavy)
    kept = sys.getprofile()
    profile.disable()
    assert kept is profile
    assert graph.outputs["m"].name == "m"
