"""Shared by all tests: one thread each (pytest runs them on several processes), and float64 on request."""

import os

import pytest
import torch

if not torch.cuda.is_available():  # before triton is imported: its interpreter then runs the kernels on the CPU
    os.environ.setdefault("TRITON_INTERPRET", "1")

torch.set_num_threads(1)
torch.sparse.check_sparse_tensor_invariants.enable()  # torch warns, once, of whoever has not decided


@pytest.fixture
def float64():
    """torch's default dtype is float64 during this test: torch then keeps NAdam's scalars in it, too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def unreported(monkeypatch):
    """Comparisons leave no report in their folder: its pictures take longer than all runs of a toy."""
    monkeypatch.setattr("thalweg.lab.report.write_report", lambda data, folder: None)


@pytest.fixture(params=["eager", "auto"])
def engine(request, monkeypatch):
    """The test runs twice: with the rules themselves, and with compiled kernels wherever they fit."""
    if request.param == "auto":
        monkeypatch.delenv("THALWEG_ENGINE", raising=False)
    else:
        monkeypatch.setenv("THALWEG_ENGINE", request.param)
    return request.param
