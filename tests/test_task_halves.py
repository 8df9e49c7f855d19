"""Validation data in two halves, whatever form they have."""

from collections import namedtuple

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from task_cases import make
from thalweg.lab.task import TaskError


def numbers(data):
    """The rows of any form of validation, each marked by its number."""
    if isinstance(data, DataLoader):
        return [n for x, _ in data for n in x.flatten().tolist()]
    if isinstance(data, torch.utils.data.Dataset):
        return [int(data[i][0]) for i in range(len(data))]
    if isinstance(data, dict):
        return numbers(data["x"])
    if isinstance(data, tuple):
        assert torch.equal(torch.as_tensor(data[0]) * 2, torch.as_tensor(data[1]))  # columns stay together
        return numbers(data[0])
    if isinstance(data, list):
        return [n for batch in data for n in numbers(batch)]
    return [int(n) for n in data]


X = torch.arange(21)

PAIRS = TensorDataset(X, 2 * X)

Named = namedtuple("Named", "x y")


@pytest.mark.parametrize(
    "validation",
    [
        X,
        X.numpy(),
        (X, 2 * X),
        (X.numpy(), 2 * X.numpy()),
        Named(X, 2 * X),
        {"x": X, "y": 2 * X},
        PAIRS,
        DataLoader(PAIRS, batch_size=4),
        DataLoader(PAIRS, batch_size=4, shuffle=True, drop_last=True),
        DataLoader(PAIRS, batch_sampler=BatchSampler(SequentialSampler(PAIRS), 4, False)),
        DataLoader(PAIRS, batch_size=None),
        [(X[i : i + 2], 2 * X[i : i + 2]) for i in range(0, 21, 2)],
        [{"x": X[:5]}, {"x": X[5:]}],
    ],
    ids=[
        *("tensor", "array", "tuple", "arrays", "named", "dict", "dataset", "loader", "shuffled", "sampler"),
        *("unbatched", "batches", "dicts"),
    ],
)
def test_halves_are_disjoint_and_cover_everything(validation):
    task = make(validation=validation)
    selects, reports = numbers(task.selects), numbers(task.reports)
    assert sorted(selects + reports) == list(range(21))
    assert type(task.selects) is type(validation) or validation is PAIRS
    if not isinstance(validation, list):
        assert len(selects) == 10
        assert selects == sorted(selects)  # rows keep their order
        assert selects != list(range(10))  # but are not the first ones
    again = make(validation=validation)
    torch.manual_seed(1)
    assert numbers(again.selects) == selects  # no run's seed touches the split
    assert task.selects is task.selects


def test_list_of_tensors_is_columns_or_batches():
    assert [len(x) for x in make(validation=[X, 2 * X]).selects] == [10, 10]
    assert len(make(validation=[X[:5], X[5:]]).selects) == 1


def test_a_loader_keeps_its_batch_size_and_its_part_of_the_data():
    part = [1, 3, 5, 7, 9, 11]
    generator = torch.Generator().manual_seed(5)
    state = generator.get_state()
    loader = DataLoader(PAIRS, batch_size=2, sampler=SubsetRandomSampler(part, generator=generator))
    task = make(validation=loader)
    assert sorted(numbers(task.selects) + numbers(task.reports)) == part
    assert task.selects.batch_size == 2
    assert torch.equal(generator.get_state(), state)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(range(3))

    def __len__(self):
        return 3


class Strange(BatchSampler):
    def __init__(self):
        pass

    def __iter__(self):
        return iter([[0, 1], [2]])

    def __len__(self):
        return 2


@pytest.mark.parametrize(
    ("validation", "sentence"),
    [
        (None, r"validation is a NoneType that cannot be split in two; it must be a tensor, a tuple"),
        (torch.tensor(1.0), r"validation is a Tensor"),
        ((torch.ones(3), torch.ones(4)), r"validation is a tuple"),
        ({"x": torch.ones(3), "y": 4}, r"validation is a dict"),
        (Endless(), r"validation is a Endless"),
        (DataLoader(Endless()), r"validation is a DataLoader"),
        (DataLoader(PAIRS, batch_sampler=Strange()), r"batch sampler without a batch_size"),
        (torch.ones(1, 5), r"validation holds 1 item; it needs 2 or more"),
        ([], r"validation holds 0 items"),
    ],
)
def test_validation_that_cannot_be_halved(validation, sentence):
    with pytest.raises(TaskError, match=sentence):
        _ = make(validation=validation).selects
