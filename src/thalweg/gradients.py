"""What a step reads of a gradient, of a sparse one the rows that it has, and how it writes to these rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from thalweg.engine.cell import check_alike

Rows = tuple[torch.Tensor, ...]
Gradient = tuple[torch.Tensor, Rows | None]  # dense; where its rows are, if it has not all of them


def gradient_of(p: torch.Tensor, group: Mapping[str, Any], *, rule: str, by_element: Callable[[], bool]) -> Gradient:
    """A parameter's gradient for its group's step: nothing is changed by reading it.

    Args:
        p: a parameter that has one.
        group: whose ``centralise`` needs all of it.
        rule: the optimizer's name.
        by_element: says whether its rule treats every element for itself, and so may see some rows only.

    Raises:
        ValueError: it has not the parameter's shape, or a layout that the rule cannot take.

    Example:
        >>> p = torch.nn.Parameter(torch.ones(2))
        >>> p.grad = torch.ones(2)
        >>> gradient_of(p, {}, rule="SGD", by_element=lambda: True)
        (tensor([1., 1.]), None)
    """
    g, rows = p.grad, None
    assert g is not None
    check_alike("a gradient", g, p)
    if g.layout is torch.sparse_coo:
        if not by_element():
            raise ValueError(f"{rule} cannot take sparse gradients: its rule needs the whole tensor.")
        if group.get("centralise"):
            raise ValueError("centralise is True, and a gradient is sparse; it has the means of whole rows only.")
        g = g.coalesce()
        rows, g = tuple(g.indices()), g.values()
    elif g.layout is not torch.strided:
        raise ValueError(f"the gradient's layout is {g.layout}; it must be dense or sparse_coo.")
    if group.get("centralise") and p.is_complex():
        raise ValueError("centralise is True, and a parameter is complex; only real ones have means of rows here.")
    return g.resolve_conj().resolve_neg(), rows  # kernels read memory as it lies


def write(target: torch.Tensor, rows: Rows | None, value: torch.Tensor) -> None:
    """Put a new value, complex numbers as pairs, into all of the target or into its rows."""
    if target.is_complex():
        value = torch.view_as_complex(value.contiguous())
    if rows is None:
        target.copy_(value)
    else:
        target[rows] = value
