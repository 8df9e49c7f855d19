"""A task: a model, its data, a loss and a metric; all that the lab needs to know about a user's problem.

`Task` holds the functions, and `Task.check` explains mistakes before any budget is spent.
"""

from __future__ import annotations

import inspect
import itertools
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Subset

from thalweg.lab.batches import Batches, in_process
from thalweg.lab.randomness import undisturbed
from thalweg.signature import did_you_mean

RAISED = (Exception, SystemExit)  # what the code of a task may end with; Ctrl-C is not its own


class TaskError(ValueError):
    """A task is not what the lab can run; the sentence says which part, and what would be."""


@dataclass(frozen=True, eq=False)
class Task:
    """A training problem on which optimizers are compared.

    Parameters (all by keyword):

    - `model`: `seed -> torch.nn.Module`, a fresh module with its own start for every seed. torch's random
      stream is seeded by the seed before the call, so a module that draws its weights from torch needs
      nothing more.
    - `train`: `(step, seed) -> batch`, `step` counting from 0, the same batch for the same arguments; or a
      `torch.utils.data.DataLoader`, whose order the seed then decides, and which starts no workers (unless it has a
      `worker_init_fn`).
    - `loss`: `(model, batch) -> ` scalar tensor, to be minimised; called in train mode.
    - `validation`: a tensor or array; a tuple, list or dict of them with equal first dimension; a `Dataset`
      with a length; a `DataLoader` over one; or a list of batches. At least two items.
    - `metric`: `(model, data) -> float` on data of the form of `validation`; called in eval mode, without
      gradients.
    - `mode`: "min" or "max", which way the metric is better.
    - `steps`: number of training steps of a full run.
    - `name`, `metric_name`, `description`, `licence`, `source`: words for the report.

    A wrong type raises `TaskError` at once; what only a call can show is found by `check`.

        >>> import torch
        >>> def rows(n, number):
        ...     x = torch.randn(n, 4, generator=torch.Generator().manual_seed(number))
        ...     return x, x.sum(1, keepdim=True).sin()
        >>> def mse(model, batch):
        ...     return torch.nn.functional.mse_loss(model(batch[0]), batch[1])
        >>> task = Task(model=lambda seed: torch.nn.Linear(4, 1),
        ...             train=lambda step, seed: rows(32, 10_000 * seed + step),
        ...             loss=mse, validation=rows(100, -1), metric=mse, mode="min", steps=200)
        >>> task.check()
        >>> [len(x) for x in task.selects]
        [50, 50]
    """

    _: KW_ONLY
    model: Callable[[int], nn.Module]
    train: Callable[[int, int], Any] | DataLoader
    loss: Callable[[nn.Module, Any], Tensor]
    validation: Any = field(repr=False)
    metric: Callable[[nn.Module, Any], float | Tensor]
    mode: Literal["min", "max"]
    steps: int
    name: str = "task"
    metric_name: str = "metric"
    description: str = ""
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for key in ("name", "metric_name", "description", "licence", "source"):
            if not isinstance(getattr(self, key), str):
                self._refuse(key, "a string")
        if isinstance(self.model, nn.Module) or not callable(self.model):
            self._refuse("model", "a function of a seed that builds a module, as in lambda seed: Net()")
        if not callable(self.train) and not isinstance(self.train, DataLoader):
            self._refuse("train", "a function (step, seed) -> batch or a torch DataLoader")
        if not callable(self.loss):
            self._refuse("loss", "a function (model, batch) -> scalar tensor")
        if not callable(self.metric):
            self._refuse("metric", "a function (model, data) -> float")
        if self.mode not in ("min", "max"):
            near = did_you_mean(str(self.mode), ["min", "max"])
            self._refuse("mode", f"'min' or 'max'.{near}" if near else "'min' or 'max'")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            self._refuse("steps", "a whole number of training steps, at least 1")

    def _refuse(self, key: str, allowed: str) -> None:
        value = " ".join(repr(getattr(self, key)).split())
        shown = value if len(value) <= 60 else f"{value[:57]}..."
        raise self._wrong(f"{key} is {shown}; it must be {allowed}")

    def _wrong(self, sentence: str) -> TaskError:
        return TaskError(f"task {self.name!r}: {sentence}")

    # ---- what a run asks for

    def build(self, seed: int) -> nn.Module:
        """The module of a run: seeds torch's random stream with `seed`, then calls `model(seed)`.

        The stream is left where the building ended, so dropout of a run that follows depends on the seed too.
        """
        torch.manual_seed(seed)
        return self.model(seed)

    def batches(self, seed: int, position: Any = None) -> Batches:
        """The endless batches of a run, decided by the seed alone: the data order is part of the seed.

        `position` is where to begin, as `Batches.position` gave it. Default: at the first batch.
        """
        return Batches(self.train, seed, position, lambda: self._wrong("the DataLoader in train gives no batch"))

    @cached_property
    def _halves(self) -> tuple[Any, Any]:
        n, take = self._items()
        if n < 2:
            raise self._wrong(f"validation holds {n} item{'s' * (n != 1)}; it needs 2 or more, to select and to report")
        # A fixed seed: every run of every optimizer selects on the same half and reports on the other.
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()
        return take(sorted(order[: n // 2])), take(sorted(order[n // 2 :]))

    @property
    def selects(self) -> Any:
        """The half of `validation` that chooses settings, in the form of `validation`, rows in their order.

        Chosen once by a fixed permutation that no run's seed touches; `reports` is the rest (one item more
        where the number is odd).
        """
        return self._halves[0]

    @property
    def reports(self) -> Any:
        """The half of `validation` that final numbers are read from, never used to choose anything."""
        return self._halves[1]

    def _items(self) -> tuple[int, Callable[[list[int]], Any]]:
        """How many items `validation` has, and how to take some of them."""
        data = self.validation
        if _is_array(data) and data.ndim:
            return len(data), lambda rows: data[rows]
        if isinstance(data, Mapping) and (n := _rows(list(data.values()))) is not None:
            return n, lambda rows: {key: column[rows] for key, column in data.items()}
        if isinstance(data, tuple | list) and (n := _rows(data)) is not None:
            make = getattr(data, "_make", type(data))  # named tuples keep their names
            return n, lambda rows: make([column[rows] for column in data])
        if isinstance(data, DataLoader) and _is_indexed(data.dataset):
            kept = _sampled(data)
            return len(kept), lambda rows: self._narrowed(data, [kept[i] for i in rows])
        if isinstance(data, Dataset) and _is_indexed(data):
            return len(data), lambda rows: Subset(data, rows)  # type: ignore[arg-type]
        if isinstance(data, list):
            return len(data), lambda rows: [data[i] for i in rows]
        raise self._wrong(
            f"validation is a {type(data).__name__} that cannot be split in two; it must be a tensor, "
            "a tuple, list or dict of tensors with equal first dimension, a Dataset with a length, "
            "a DataLoader over one, or a list of batches"
        )

    def _narrowed(self, loader: DataLoader, rows: list[Any]) -> DataLoader:
        size = loader.batch_size
        if loader.batch_sampler is not None and size is None:  # a batch sampler of the user's own
            size = getattr(loader.batch_sampler, "batch_size", None)
            if size is None:
                raise self._wrong(
                    "the DataLoader in validation has a batch sampler without a batch_size; "
                    "give the DataLoader a batch_size instead"
                )
        return DataLoader(
            Subset(loader.dataset, rows),
            batch_size=size,
            collate_fn=loader.collate_fn,
            num_workers=in_process(loader).num_workers,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
        )

    # ---- mistakes, explained before they cost anything

    def check(self) -> None:
        """Try every function once and raise `TaskError`, in one sentence, at the first mistake.

        Builds three models, takes two batches, one loss with its gradients and one metric (on `selects`).
        Random streams (torch, NumPy, random) are as before afterwards, and nothing else is kept.
        """
        with undisturbed(), torch.random.fork_rng(_devices()), torch.enable_grad():
            model = self._checked_model()
            self._check_loss(model, self._checked_batch())
            self._check_metric(model)

    def _call(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except TaskError:
            raise
        except RAISED as error:
            raise self._wrong(f"{what} raised {type(error).__name__}: {error}") from error

    def _checked_model(self) -> nn.Module:
        if not accepts(self.model, 1):
            raise self._wrong("model does not accept a seed; write it as a function of one, lambda seed: Net()")
        model = self._call("model(0)", self.build, 0)
        if not isinstance(model, nn.Module):
            raise self._wrong(f"model(0) returned a {type(model).__name__}; it must return a torch.nn.Module")
        if any(isinstance(p, nn.UninitializedParameter) for p in model.parameters()):
            raise self._wrong("model(0) has lazy parameters without a shape; run a batch through it in model")
        if not any(p.requires_grad for p in model.parameters()):
            raise self._wrong("model(0) has no trainable parameters")
        again, other = self._call("model(0)", self.build, 0), self._call("model(1)", self.build, 1)
        if again is model:
            raise self._wrong("model returned the same module twice; it must build a new one at every call")
        if not _same(model.state_dict(), again.state_dict()):
            raise self._wrong(
                "model(0) started differently the second time; its start must depend on the seed only "
                "(torch is seeded for you, other sources of random numbers are not)"
            )
        if _same(model.state_dict(), other.state_dict()):
            raise self._wrong(
                "model(0) and model(1) start identically: the model ignores its seed, so all runs would be the same"
            )
        return model

    def _checked_batch(self) -> Any:
        if isinstance(self.train, DataLoader):
            what, take = "the DataLoader in train", lambda: next(self.batches(0))
        else:
            what, take = "train(0, 0)", lambda: next(self.batches(0))
        batch, again = self._call(what, take), self._call(what, take)
        if _is_empty(batch):
            raise self._wrong(f"{what} gave nothing: {batch!r}")
        if not _same(batch, again):
            raise self._wrong(
                f"{what} gave a different batch the second time; a batch must depend on step and seed only "
                "(torch.Generator().manual_seed(...) gives a stream of its own)"
            )
        return batch

    def _check_loss(self, model: nn.Module, batch: Any) -> None:
        loss = self._call("loss(model, batch)", self.loss, model.train(), batch)
        if not isinstance(loss, Tensor):
            several = isinstance(loss, tuple | list | Mapping)
            cure = "; one optimizer minimises one loss, so return their sum" if several else ", not .item()"
            kind = type(loss).__name__
            raise self._wrong(f"loss(model, batch) returned a {kind}; it must be a scalar tensor{cure}")
        if loss.ndim:
            cure = ".mean()" if loss.numel() > 1 else ".squeeze()"
            raise self._wrong(f"loss(model, batch) has shape {tuple(loss.shape)}, not (); add {cure}")
        if not torch.isfinite(loss):
            raise self._wrong(f"loss(model, batch) is {loss.item()} before the first step; it must be finite")
        reached = loss.requires_grad
        if reached:
            self._call("the gradient of loss(model, batch)", loss.backward)
            reached = any(p.grad is not None for p in model.parameters())
        if not reached:
            raise self._wrong(
                "loss(model, batch) has no gradient: it reaches no parameter of the model "
                "(is there a .detach(), .item() or no_grad on the way?)"
            )

    def _check_metric(self, model: nn.Module) -> None:
        data = self._call("splitting validation", lambda: self.selects)
        with torch.no_grad():
            value = self._call("metric(model, data)", self.metric, model.eval(), data)
        if isinstance(value, Tensor | np.ndarray):
            if value.ndim:
                raise self._wrong(f"metric(model, data) has shape {tuple(value.shape)}; it must be one number")
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise self._wrong(f"metric(model, data) returned a {type(value).__name__}; it must be one number")
        if not math.isfinite(value):
            raise self._wrong(f"metric(model, data) is {value} before the first step; it must be finite")


def _devices() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []


# ---- looking at data of any form


def _is_array(data: Any) -> bool:
    return isinstance(data, Tensor | np.ndarray)


def _rows(columns: list[Any] | tuple[Any, ...]) -> int | None:
    """The first dimension that all columns share, or None where they are not such columns."""
    if not columns or not all(_is_array(column) and column.ndim for column in columns):
        return None
    lengths = {len(column) for column in columns}
    return lengths.pop() if len(lengths) == 1 else None


def _is_indexed(dataset: Any) -> bool:
    return hasattr(dataset, "__len__") and not isinstance(dataset, IterableDataset)


def _sampled(loader: DataLoader) -> list[Any]:
    """The items that a loader visits: a sampler over a part of the data set stays within that part."""
    own = loader.batch_sampler if type(loader.batch_sampler) not in (BatchSampler, type(None)) else None
    with undisturbed(*[g for g in [getattr(loader.sampler, "generator", None)] if g is not None]):
        return sorted(set(itertools.chain.from_iterable(own) if own is not None else loader.sampler))


def _same(a: Any, b: Any) -> bool:
    """Equal as far as can be seen: arrays, containers and plain values are compared, the rest passes."""
    if _is_array(a) and _is_array(b):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return bool(((a == b) | ((a != a) & (b != b))).all())  # NaN equals NaN here
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, str | bytes | numbers.Number) and isinstance(b, str | bytes | numbers.Number):
        return a == b or (a != a and b != b)
    return type(a) is type(b)


def _is_empty(batch: Any) -> bool:
    if _is_array(batch):
        return 0 in batch.shape
    if isinstance(batch, Mapping):
        return all(map(_is_empty, batch.values()))
    if isinstance(batch, list | tuple):
        return all(map(_is_empty, batch))
    return batch is None


def accepts(function: Callable[..., Any], arguments: int) -> bool:
    """Whether a function can be called with so many positional arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-ins have none
        return True
    try:
        signature.bind(*[0] * arguments)
    except TypeError:
        return False
    return True
