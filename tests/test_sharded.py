"""Parameters that are wrappers around a shard (DTensor, as fully_shard makes them): updated by the rule itself."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, init_device_mesh

import thalweg as tw

HOUSE = ["SGD", "Adam", "AdamW", "Lion", "LAMB"]


@pytest.fixture(scope="module")
def mesh():
    """A process group of one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def walk(name, settings, place):
    params = [torch.nn.Parameter(place(torch.linspace(-1, 2, n))) for n in (12, 5)]
    optimizer = getattr(tw, name)(params, lr=0.1, **settings)
    for t in range(4):
        for p in params:
            p.grad = place(torch.cos(torch.arange(float(p.numel())) + t))
        optimizer.step()
    return params


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.5}], ids=["plain", "clipped"])
@pytest.mark.parametrize("name", HOUSE)
def test_a_sharded_parameter_walks_as_a_whole_one(name, settings, mesh):
    sharded = walk(name, settings, lambda x: distribute_tensor(x, mesh, [Shard(0)]))
    for p, q in zip(sharded, walk(name, settings, lambda x: x), strict=True):
        assert isinstance(p, DTensor)
        torch.testing.assert_close(p.full_tensor(), q, rtol=1e-5, atol=1e-6)
