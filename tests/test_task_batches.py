"""The model and the batches that a seed gives: the order of the data depends on nothing else."""

import os
import random

import cloudpickle
import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    SubsetRandomSampler,
    TensorDataset,
)

from task_cases import make, rows, streams
from thalweg.lab.randomness import undisturbed


def test_build_seeds_torch():
    task = make()
    torch.manual_seed(99)
    a = task.build(4).weight
    torch.manual_seed(98)
    assert torch.equal(task.build(4).weight, a)
    assert not torch.equal(task.build(5).weight, a)


def test_batches_of_a_function_count_from_zero():
    batches = make(train=lambda step, seed: (step, seed)).batches(6)
    assert [next(batches) for _ in range(3)] == [(0, 6), (1, 6), (2, 6)]


class Augmented(torch.utils.data.Dataset):
    """Every item carries draws from the three streams, as augmentation does."""

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return torch.tensor([i, random.random(), np.random.rand(), torch.rand(()).item()])


def loaders():
    return {
        "shuffled": DataLoader(Augmented(), batch_size=4, shuffle=True),
        "generator": DataLoader(Augmented(), batch_size=4, shuffle=True, generator=torch.Generator()),
        "sampler": DataLoader(
            Augmented(), batch_size=4, sampler=SubsetRandomSampler(range(10), generator=torch.Generator())
        ),
    }


def taken(task, seed, n=7):
    batches = task.batches(seed)
    return torch.cat([next(batches) for _ in range(n)])


@pytest.mark.parametrize("kind", loaders())
def test_the_order_of_a_loader_depends_on_the_seed_alone(kind):
    task = make(train=loaders()[kind])
    first = taken(task, 3)
    torch.manual_seed(1234)
    random.seed(5)
    np.random.seed(6)
    assert torch.equal(taken(task, 3), first)  # again, from another state of the world
    assert torch.equal(taken(make(train=loaders()[kind]), 3), first)  # by another loader
    assert not torch.equal(taken(task, 4), first)
    assert sorted(first[:10, 0].tolist()) == list(range(10))  # an epoch is the whole data set
    assert first[:10, 0].tolist() != first[10:20, 0].tolist()  # and the next one has another order


@pytest.mark.parametrize("kind", loaders())
def test_runs_with_one_loader_do_not_disturb_each_other(kind):
    task = make(train=loaders()[kind])
    alone = [taken(task, 3), taken(task, 4)]
    one, two = task.batches(3), task.batches(4)
    mixed = []
    for _ in range(7):
        mixed.append((next(one), next(two)))
        torch.rand(3)  # dropout, say
    for i in range(2):
        assert torch.equal(torch.cat([pair[i] for pair in mixed]), alone[i])


@pytest.mark.parametrize("kind", loaders())
def test_a_loader_leaves_the_random_streams_alone(kind):
    loader = loaders()[kind]
    given = loader.generator or getattr(loader.sampler, "generator", None)
    before = streams(given)
    taken(make(train=loader), 3)
    assert streams(given) == before


class Where(Augmented):
    def __getitem__(self, i):
        return torch.tensor([i, os.getpid()])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_a_loader_starts_no_workers_unless_it_prepares_them():
    def processes(**others):
        loader = DataLoader(Where(), batch_size=5, num_workers=1, persistent_workers=True, timeout=60, **others)
        task = make(train=loader, validation=loader)
        return {int(row[1]) for data in (taken(task, 0, n=2), *task.selects) for row in data}

    assert processes() == {os.getpid()}
    assert os.getpid() not in processes(worker_init_fn=id)
    plain, working = (make(train=DataLoader(Augmented(), 4, shuffle=True, num_workers=n)) for n in (0, 2))
    assert torch.equal(taken(plain, 3), taken(working, 3))


def test_undisturbed_restores_after_an_error():
    def draw():
        return torch.rand(1) + np.random.rand() + random.random() / 0

    before = streams()
    with pytest.raises(ZeroDivisionError), undisturbed():
        draw()
    assert streams() == before


def test_cloudpickle_with_a_loader():
    task = make(train=DataLoader(TensorDataset(*rows(9, 0)), batch_size=4, shuffle=True))
    copy = cloudpickle.loads(cloudpickle.dumps(task))
    a, b = task.batches(1), copy.batches(1)
    for _ in range(4):
        assert torch.equal(next(a)[0], next(b)[0])
