"""The reference: the rule itself, called on torch tensors, one tensor after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from thalweg.engine.cell import Cell, arguments, stored
from thalweg.signature import Rule, signature_of


def step(
    rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]
) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """The new parameter and slots of every cell; nothing is changed in place.

    Args:
        rule: the formula.
        cells: parameters with gradients of the same shape, their slots and step numbers.
        hyper: the rule's hyper-parameters by name: Python numbers or tensors of one element.

    16-bit parameters, gradients and slots are widened to float32 first and rounded once at the end.
    """
    signature = signature_of(rule)
    return [stored(signature, cell, rule(*arguments(signature, cell), t=cell.t, **hyper)) for cell in cells]
