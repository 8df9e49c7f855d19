"""The effective learning rate of each parameter: how far one more unit of its gradient moves it in this step.

It is the derivative of the step with respect to the gradient, with every *size* held: a square, an absolute
value or a norm says how large something is, not where to go. So it is lr for gradient descent, lr / sqrt(s)
for Adagrad, and whatever the formula of any other rule says: it is read off the rule's graph.

    >>> from thalweg.rules.adagrad import adagrad
    >>> one = torch.ones(1, 2, dtype=torch.float64)
    >>> gains(adagrad, one, one, {"s": 3 * one}, torch.tensor([4.0]), lr=0.5, eps=0.0)
    tensor([[0.2500, 0.2500]], dtype=torch.float64)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from thalweg.engine.graph import Node, evaluate
from thalweg.engine.trace import trace
from thalweg.signature import Rule


def gains(rule: Rule, p: Tensor, g: Tensor, slots: Mapping[str, Tensor], t: Tensor, **hyper: Any) -> Tensor:
    """The effective learning rates in K steps at once.

    Args:
        rule: the formula. p, g: parameters and gradients before the steps, (K, ...).
        slots: by name, before the steps, (K, ...); (K,) for a slot of one number.
        t: the K step numbers. hyper: by the rule's own names, one number or K; flags one value for all.

    Returns:
        As many as there are elements of p, in its shape; 0 where the gradient only steers by its sign.
    """
    graph = trace(rule, **{name: hyper[name] for name in hyper if not _many(hyper[name])})
    many = {"t": t.double(), **{name: value for name, value in hyper.items() if _many(value)}}
    one = {name: value for name, value in hyper.items() if name in graph.inputs and name not in many}
    kept = {name: value for name, value in slots.items() if name in graph.inputs}

    def moved(g: Tensor, p: Tensor, kept: dict[str, Tensor], many: dict[str, Tensor]) -> Tensor:
        values = {"p": p, "g": g, **kept, **one, **many}
        known: dict[Node, Any] = {}
        for name, node in graph.inputs.items():
            known[node] = values[name] if name in values else graph.signature.defaults[name]
        for node in graph.nodes:
            if node not in known:
                known[node] = _held(node, evaluate(node, [known[arg] for arg in node.args]))
        return (p - known[graph.outputs["p"]]).flatten()

    def diagonal(*inputs: Any) -> Tensor:
        return torch.func.jacrev(moved)(*inputs).flatten(1).diagonal().reshape(inputs[0].shape)

    return torch.func.vmap(diagonal)(g, p, kept, many).detach()


def _many(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def _held(node: Node, value: Any) -> Any:
    """The value, cut off from the gradient where it is a size."""
    square = node.op == "mul" and node.args[0] is node.args[1]
    power = node.op == "pow" and node.args[1].op == "constant" and node.args[1].value in (2, 4)
    size = square or power or node.op in ("abs", "norm", "total")
    return value.detach() if size and isinstance(value, Tensor) else value
