"""Ours and its peers: one optimizer class of each library with the same settings on the same tensors."""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

import thalweg as tw
from thalweg import rules
from thalweg.signature import did_you_mean

TORCHS = ("SGD", "Adagrad", "Adam", "AdamW", "RMSprop", "Adadelta", "NAdam")
OPTIMIZERS: dict[str, dict[str, Any]] = {**{name: {} for name in TORCHS}, "SGD": {"momentum": 0.9}}
FUSED = ("SGD", "Adagrad", "Adam", "AdamW")
OTHERS = ("heavyball", "pytorch_optimizer")


def optimizers() -> dict[str, type[Any]]:
    """Our classes with one kernel and no cut: torch's namesakes, then the other rules, found by discovery."""
    found = {name: getattr(tw, name) for name in TORCHS}
    for name in rules.names():
        cls = tw.optimizer(rules.find(name))
        if tw.trace(cls.rule).elementwise:
            found.setdefault(cls.__name__, cls)
    return found


def listed(known: Iterable[str]) -> Callable[[str], list[str]]:
    """For argparse: a comma-separated list of known names, however they are capitalised."""
    names = {name.lower(): name for name in known}

    def read(text: str) -> list[str]:
        for word in text.split(","):
            if word.lower() not in names:
                allowed = f"it must be one of {', '.join(names.values())}.{did_you_mean(word, names)}"
                raise argparse.ArgumentTypeError(f"{word!r} is not known; {allowed}")
        return list(dict.fromkeys(names[word.lower()] for word in text.split(",")))

    return read


def shaped(shapes: list[tuple[int, ...]], device: str = "cpu") -> list[torch.nn.Parameter]:
    """Parameters with gradients, the same for everybody."""
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape, generator=generator).to(device)) for shape in shapes]
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(device)
    return params


def peers(name: str, shapes: list[tuple[int, ...]], compiled: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each peer's name and its step, after three steps."""
    settings = OPTIMIZERS.get(name, {})
    made = {"ours": (optimizers()[name], {"engine": "cpu"})}
    if name in TORCHS:
        theirs = getattr(torch.optim, name)
        made |= {"single": (theirs, {"foreach": False}), "foreach": (theirs, {"foreach": True})}
        if name in FUSED:
            made["fused"] = theirs, {"fused": True}
        if compiled:
            made["compiled"] = theirs, {}
    for library in OTHERS if not compiled else ():
        cls = _of(library, name)
        if cls is not None:
            made[library] = cls, {}
    for peer, (cls, extra) in made.items():
        optimizer = cls(shaped(shapes), **_known(cls, settings), **extra)
        step = torch.compile(optimizer.step) if peer == "compiled" else _keeping_gradients(peer, optimizer)
        for _ in range(3):
            step()
        yield peer, step


def _of(library: str, name: str) -> type[Any] | None:
    """The library's own class of that name; what it takes over from torch is measured already."""
    try:
        cls = getattr(importlib.import_module(library), name, None)
    except ImportError:
        return None
    if library == "heavyball":  # its steps are compiled by default, for minutes; see --compile for torch's
        importlib.import_module("heavyball.utils").compile_mode = None
    return None if cls is None or cls.__module__.startswith("torch.") else cls


def missing() -> list[str]:
    """A sentence for each peer that is not installed."""
    return [f"{name} is not installed and left out." for name in OTHERS if importlib.util.find_spec(name) is None]


def _known(cls: type[Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that the class has; HeavyBall's SGD calls its momentum beta."""
    names = inspect.signature(cls.__init__).parameters
    spelled = {"beta" if name == "momentum" and "momentum" not in names else name: v for name, v in settings.items()}
    return {name: value for name, value in spelled.items() if name in names}


def _keeping_gradients(peer: str, optimizer: Any) -> Callable[[], Any]:
    """HeavyBall takes the gradients away after a step: put them back, which costs less than a microsecond."""
    if peer != "heavyball":
        return optimizer.step
    params = [p for group in optimizer.param_groups for p in group["params"]]
    kept = [p.grad for p in params]

    def step() -> None:
        for p, g in zip(params, kept, strict=True):
            p.grad = g
        optimizer.step()

    return step
