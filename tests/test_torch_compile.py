"""Our steps inside a training step that torch.compile compiles: one break, nothing compiled again, the same numbers."""

import pytest
import torch
import torch._dynamo
from torch._dynamo.utils import counters

import thalweg as tw

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch asks itself
OURS = "thalweg's step is opaque"


@pytest.fixture(autouse=True)
def from_the_start():
    """What other tests compiled is forgotten, and what this one compiles."""
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def made(engine="auto", **settings):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    return model, tw.AdamW(model.parameters(), lr=0.01, engine=engine, **settings)


def train(model, optimizer, wrap=lambda step: step, steps=8):
    def step(x, y):
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    step = wrap(step)
    frames = []
    for t in range(steps):
        optimizer.param_groups[0]["lr"] = 0.01 / (1 + t)  # as a scheduler does
        optimizer.zero_grad()
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(t))
        step(x, x.sum(1, keepdim=True))
        frames.append(counters["frames"]["total"])
    return [p.detach().clone() for p in model.parameters()], frames


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_a_training_step_breaks_once_at_the_step_and_is_compiled_once(engine):
    plain, _ = train(*made(engine))
    compiled, frames = train(*made(engine), lambda step: torch.compile(step, backend="aot_eager"))
    for a, b in zip(plain, compiled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert counters["graph_break"], "torch has found another way to count"
    ours = {reason: count for reason, count in counters["graph_break"].items() if "backward" not in reason}
    assert len(ours) == 1, ours  # and torch's own at loss.backward()
    assert OURS in next(iter(ours))
    assert frames[-1] == frames[1]  # t and lr have changed; nothing was compiled again


def test_explain_names_the_one_break():
    model, optimizer = made()
    for p in model.parameters():
        p.grad = torch.ones_like(p)

    def step(x):
        y = 2 * x
        optimizer.step()
        return y + 1

    found = torch._dynamo.explain(step)(torch.ones(2))
    assert (found.graph_count, found.graph_break_count) == (2, 1), found.break_reasons
    assert optimizer.state[next(model.parameters())]["step"] == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_the_same_through_inductor():
    plain, _ = train(*made())
    compiled, frames = train(*made(), torch.compile)
    for a, b in zip(plain, compiled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert frames[-1] == frames[1]
