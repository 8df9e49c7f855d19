"""Steps of engine="cpu" beside "eager": run by tests/test_build.py in a process for each compiler."""

import torch

import thalweg as tw

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.02, torch.float16: 2e-3}
BF16 = {"store": tw.Store(torch.bfloat16, "stochastic", kahan=True)}
# Elementwise, with roots and divisions, by chance, with a sum over the model, with means of rows, with cuts.
CASES = [
    (tw.SGD, {"momentum": 0.9}),
    (tw.AdamW, {}),
    (tw.AdamW, BF16),
    (tw.AdamW, {"clip_norm": 0.5}),
    (tw.Lion, {"centralise": True}),
    (tw.LAMB, {}),
]


def walk(cls, dtype, engine, **settings):
    generator = torch.Generator().manual_seed(0)
    shapes = [(7, 13), (5,), (), (300,)]
    params = [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]
    optimizer = cls(params, lr=0.01, engine=engine, **settings)
    for _ in range(4):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator).to(dtype)
        optimizer.step()
    return params, optimizer


for cls, settings in CASES:
    for dtype, tolerance in TOLERANCES.items():
        if settings is BF16 and dtype is not torch.bfloat16:
            continue
        ours, optimizer = walk(cls, dtype, "cpu", **settings)
        theirs, _ = walk(cls, dtype, "eager", **settings)
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
        assert optimizer._plans or cls is tw.LAMB, "plan.cpp was not compiled"
print("done")
