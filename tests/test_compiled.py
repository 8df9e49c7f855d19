"""torch.compile of a rule, and our steps inside a compiled training step: no recompilation, no cascade of breaks."""

import pytest
import torch

import thalweg as tw
from thalweg import rules
from thalweg.arguments import with_decay
from thalweg.engine import compiled, eager
from thalweg.engine.walk import STEPS, beginning, gradients, settings_of, walk
from thalweg.signature import signature_of


@pytest.fixture(autouse=True)
def from_the_start():
    """What other tests compiled is forgotten, and what this one compiles."""
    compiled.program.cache_clear()
    torch.compiler.reset()
    yield
    compiled.program.cache_clear()
    torch.compiler.reset()


@pytest.fixture
def graphs_only(monkeypatch):
    """torch.compile captures the graph and runs it as it is: quick, and all that recompilations depend on."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")


def agree(rule, hyper, dtype, steps):
    p, grads = beginning((3, 2), dtype), gradients((3, 2), steps, dtype)
    a, b = walk(rule, hyper, p, grads, fading=True)[-1], walk(rule, hyper, p, grads, compiled, fading=True)[-1]
    tolerance = 8 * steps * torch.finfo(dtype).eps
    for x, y in [(a.p, b.p), *((a.slots[n], b.slots[n]) for n in a.slots)]:
        assert x.dtype == y.dtype
        torch.testing.assert_close(y, x, rtol=tolerance, atol=tolerance * float(x.abs().max()))


QUICK = ("lamb", "nadam", "momentum")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in rules.names()]


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_is_one_graph_that_a_new_t_or_lr_does_not_compile_again(name, graphs_only):
    rule = with_decay(rules.find(name))
    hyper = {**signature_of(rule).defaults, **({"weight_decay": 0.1} if name != "lion" else {})}
    agree(rule, hyper, torch.float32, 1)
    with torch.compiler.set_stance("fail_on_recompile"):
        agree(rule, hyper, torch.float32, 4)


def test_what_has_no_dimensions_is_written_by_inductor_as_well(monkeypatch):
    """A parameter of one number, its slots, and NAdam's product of momenta."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")  # where torch loses them, without the compiler
    for name, shape in (("nadam", (3,)), ("momentum", ())):
        rule = rules.find(name)
        hyper, p, grads = signature_of(rule).defaults, beginning(shape), gradients(shape, 3)
        a, b = walk(rule, hyper, p, grads)[-1], walk(rule, hyper, p, grads, compiled)[-1]
        for slot in a.kept:
            torch.testing.assert_close(b.kept[slot], a.kept[slot], rtol=1e-14, atol=1e-14)


def test_groups_of_other_shapes_get_programs_of_their_own(graphs_only):
    sgd = rules.find("sgd")
    for n in range(1, 11):  # torch would give up after eight
        p, [g] = beginning((n,)), gradients((n,), 1)
        assert torch.equal(walk(sgd, {"lr": 0.1}, p, [g], compiled)[-1].p, walk(sgd, {"lr": 0.1}, p, [g])[-1].p)
    assert compiled.program.cache_info().currsize == 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", rules.names())
def test_inductor_agrees_with_eager_for_every_flag(name, dtype):
    for hyper in settings_of(rules.find(name)):
        agree(rules.find(name), hyper, dtype, STEPS)


def test_a_function_of_a_plain_number_is_one_when_it_is_compiled(graphs_only):
    adam = rules.find("adam")
    hyper = next(h for h in settings_of(adam) if not h["bias_correction"] and h["eps_hat"])  # the square root of 1
    agree(adam, hyper, torch.float64, 3)


def test_the_door_takes_compiled(graphs_only, monkeypatch):
    ends = []
    for engine in ("compiled", "eager"):
        monkeypatch.setenv("THALWEG_ENGINE", engine)
        params = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))]
        optimizer = tw.AdamW(params, lr=0.1)
        assert optimizer.engine == engine
        for t in range(1, 4):
            for p in params:
                p.grad = torch.full_like(p, t)
            optimizer.step()
        ends.append(params)
    for a, b in zip(*ends, strict=True):
        torch.testing.assert_close(a, b)


def test_an_engine_that_there_is_not():
    with pytest.raises(ValueError, match=r"^engine is 'tritn'; .* Did you mean 'triton'\?$"):
        tw.SGD([torch.nn.Parameter(torch.ones(1))], engine="tritn")
    assert eager is not compiled
