"""What only a GPU can show: kernels against the CPU's eager step, graph capture, streams, an lr on the device."""

import pytest
import torch

import thalweg as tw
from thalweg import rules
from thalweg.arguments import with_decay
from thalweg.engine import eager, triton
from thalweg.engine.error_bound import bounded_walk, furthest
from thalweg.engine.walk import beginning, gradients, settings_of, walk
from thalweg.ops import where

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
SHAPES = ((33,), (4, 5), (), (5000,))


def parameters(device="cuda"):
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(device)) for shape in SHAPES]


def give(params, t):
    generator = torch.Generator().manual_seed(t)
    for p in params:
        g = torch.randn(p.shape, generator=generator).to(p.device)
        if p.grad is None:
            p.grad = g
        else:
            p.grad.copy_(g)  # where it lies, as a captured graph needs it


def alike(ours, theirs):
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.detach().cpu(), q.detach().cpu(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", rules.names())
def test_every_rule_is_as_near_to_the_float64_walk_as_rounding_explains(name, dtype):
    """Within the derived bound of docs/engines.md: a parameter that is truncated to 16 bits, not rounded, leaves it."""
    rule = with_decay(rules.find(name))
    for hyper in settings_of(rule):
        p, grads = beginning((33, 5), dtype), gradients((33, 5), 8, dtype)
        wanted = list(bounded_walk(rule, hyper, p, grads))
        found = walk(rule, hyper, p.cuda(), [g.cuda() for g in grads], triton)
        shares = [furthest(cell.kept, bounds)[1] for cell, bounds in zip(found, wanted, strict=True)]
        assert max(shares) <= 1, hyper


def test_auto_takes_triton_for_parameters_on_a_gpu_and_the_cpus_kernels_for_the_rest():
    both = [torch.nn.Parameter(torch.ones(9, device="cuda")), torch.nn.Parameter(torch.ones(9))]
    optimizer = tw.Adam(both)
    for t in range(3):
        give(both, t)
        both[1].grad = both[0].grad.cpu()
        optimizer.step()
    alike(both[:1], both[1:])


@pytest.mark.parametrize("name", ["Adam", "NAdam", "RMSprop", "Adadelta"])
def test_a_captured_step_replays_with_new_gradients_and_a_new_lr(name):
    params, lr = parameters(), torch.tensor(0.01, device="cuda")
    optimizer = getattr(tw, name)(params, lr=lr, capturable=True)
    reference = parameters("cpu")
    theirs = getattr(torch.optim, name)(reference, lr=0.01)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for t in range(3):
            give(params, t)
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for t in range(8):
        if t >= 3:
            lr.fill_(0.01 / t)
            theirs.param_groups[0]["lr"] = 0.01 / t
            give(params, t)
            graph.replay()
        give(reference, t)
        theirs.step()
    alike(params, reference)
    give(params, 8)  # and a step outside of the graph afterwards
    optimizer.step()
    give(reference, 8)
    theirs.step()
    alike(params, reference)


def test_capture_without_capturable_is_refused():
    params = parameters()
    optimizer = tw.Adam(params)
    give(params, 0)
    optimizer.step()
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.zeros(1, device="cuda")  # torch warns of a graph of nothing
        with pytest.raises(RuntimeError, match="capturable=True"):
            optimizer.step()
    give(params, 1)
    optimizer.step()
    assert [int(optimizer.state[p]["step"]) for p in params] == [2] * len(params)


@pytest.mark.parametrize("name", ["SGD", "LAMB", "Lion"])
def test_an_optimizer_that_torch_cannot_capture_or_has_not(name):
    walks = []
    settings = {"momentum": 0.9} if name == "SGD" else {"capturable": True}
    for captured in (True, False):
        params = parameters()
        optimizer = getattr(tw, name)(params, lr=0.01, **settings)
        graph = torch.cuda.CUDAGraph()
        for t in range(6):
            give(params, t)
            if not captured or t < 2:
                optimizer.step()
            elif t == 2:
                with torch.cuda.graph(graph):
                    optimizer.step()
            if captured and t >= 2:
                graph.replay()
        walks.append(params)
    alike(*walks)


def test_images_in_channels_last_go_through_the_kernels():
    walks = []
    for engine in ("auto", "eager"):
        p = torch.nn.Parameter(torch.linspace(-1, 1, 120).reshape(2, 3, 4, 5).cuda())
        p.data = p.data.contiguous(memory_format=torch.channels_last)
        optimizer = tw.AdamW([p], clip_norm=1.0, engine=engine)
        for t in range(4):
            p.grad = torch.cos(p.detach() + t)
            optimizer.step()
        assert bool(optimizer._plans) == (engine == "auto")
        walks.append([p])
    alike(*walks)


def test_a_checkpoint_of_torchs_fused_step_counts_on_the_host():
    params = parameters()
    theirs = torch.optim.AdamW(params, fused=True)
    give(params, 0)
    theirs.step()
    ours = tw.AdamW(params)
    ours.load_state_dict(theirs.state_dict())
    for _ in range(2):
        ours.step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        ours.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert {ours.state[p]["step"].device.type for p in params} == {"cpu"}


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_one_norm_over_a_gpu_and_the_cpu(engine):
    params = [torch.nn.Parameter(torch.ones(9, device=device)) for device in ("cpu", "cuda", "cpu")]
    optimizer = tw.AdamW([{"params": params[:2]}, {"params": params[2:]}], clip_norm=0.1, engine=engine)
    for t in range(3):
        for p in params:
            p.grad = torch.full_like(p, t + 1.0)
        optimizer.step()
    alike(params[:2], params[1:])


def halting(p, g, v, *, t, lr=0.01):
    v = v + where(t > 1, 0.5, 1) * g
    return p - lr * where(t > 9, 0, 1) * v, v


@pytest.mark.parametrize("capturable", [True, False])
@pytest.mark.parametrize("make", [tw.AdamW, tw.NAdam, tw.optimizer(halting)], ids=["AdamW", "NAdam", "choices"])
def test_a_step_waits_for_nothing(make, capturable):
    params = parameters()
    optimizer = make(params, lr=torch.tensor(0.01, device="cuda"), capturable=capturable)
    give(params, 0)
    optimizer.step()
    optimizer.step()
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_another_stream():
    params, reference = parameters(), parameters("cpu")
    optimizer, theirs = tw.Adam(params), torch.optim.Adam(reference)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        stream.wait_stream(torch.cuda.default_stream())
        for t in range(4):
            give(params, t)
            optimizer.step()
    stream.synchronize()
    for t in range(4):
        give(reference, t)
        theirs.step()
    alike(params, reference)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_two_gpus_in_one_group():
    params = [torch.nn.Parameter(torch.ones(9, device=f"cuda:{i}")) for i in range(2)]
    optimizer = tw.LAMB(params, clip_norm=1.0)
    for t in range(3):
        give(params, t)
        params[1].grad.copy_(params[0].grad)
        optimizer.step()
    alike(params[:1], params[1:])


def test_odd_gradients_behave_as_in_eager():
    odd = torch.tensor([0.0, -0.0, 1e-30, 1e30, 1e-42, 3e38, torch.inf, -torch.inf, torch.nan, 1.0])
    for name in rules.names():
        rule = with_decay(rules.find(name))
        hyper = next(iter(settings_of(rule)))
        a = walk(rule, hyper, torch.linspace(-1, 1, 10), [odd, odd], eager)[-1]
        b = walk(rule, hyper, torch.linspace(-1, 1, 10).cuda(), [odd.cuda()] * 2, triton)[-1]
        torch.testing.assert_close(b.p.cpu(), a.p, rtol=1e-5, atol=0, equal_nan=True)
