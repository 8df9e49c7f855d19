"""Whether trials are trained together is decided by a few steps of both ways, and by the memory that is there."""

import re
import time

import torch
from torch import nn

from test_lab_stacked import task
from thalweg import schedule
from thalweg.lab import worker
from thalweg.lab.candidates import Candidate
from thalweg.lab.way import SHARE, SIZES, decide

WORK = 0.004  # CPU seconds


class Unbatched(torch.autograd.Function):
    """The identity, as an operation that a stack makes member by member, and with some work around each."""

    @staticmethod
    def forward(x):
        work(WORK)
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient

    @staticmethod
    def vmap(info, in_dims, x):
        work(1.5 * WORK * info.batch_size)
        return x.clone(), in_dims[0]


def work(seconds):
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        pass


class Slow(nn.Linear):
    def forward(self, input):
        return Unbatched.apply(super().forward(input))


def decided(build, jobs=1):
    configure = Candidate("adamw", "adamw").configure({"lr": 1e-3}, "constant")
    return decide(task(build), configure, schedule.find("constant"), 100, jobs=jobs)


def small():
    return nn.Linear(6, 1)


def test_a_stack_that_is_slower_is_not_taken():
    way = decided(lambda: Slow(6, 1))
    assert way.members == 1
    assert way.why.endswith(f" at once take {way.together / way.loop:.2f} of the time")
    assert 1.2 < way.together / way.loop < 2
    assert decided(small).members > 1  # without that operation it is


def test_where_memory_is_short_fewer_members_are_tried_or_none(monkeypatch):
    def large():
        return nn.Sequential(nn.Linear(6, 4000), nn.Linear(4000, 1))

    monkeypatch.setattr(worker, "available", lambda: 2**20)
    way = decided(large)
    assert (way.members, way.together) == (1, None)
    needed = int(re.fullmatch(rf"{SIZES[0]} members would need (\d+) MB", way.why)[1]) * 2**20
    monkeypatch.setattr(worker, "available", lambda: 1.5 * needed / SHARE)
    assert decided(large).why.startswith(f"{SIZES[0]} at once ")  # whether that is worth it or not
    assert decided(large, jobs=2).together is None  # each has its share
    monkeypatch.setattr(worker, "available", lambda: None)  # nobody can tell
    assert decided(large).together is not None
