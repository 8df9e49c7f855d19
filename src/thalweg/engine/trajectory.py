"""What happened on the way, as data: named quantities, step by step.

A *trace* is the graph of a rule; a *trajectory* is what a run of it went through. Pictures, tables and the
worked example are drawn from this.

    >>> walk = Trajectory(steps=[0, 1], values={"p": [1.0, 0.9], "g": [1.0, None]})
    >>> walk["p"], walk.at(1)
    ([1.0, 0.9], {'p': 0.9, 'g': None})
    >>> walk.json()
    '{"steps": [0, 1], "values": {"p": [1.0, 0.9], "g": [1.0, null]}}'
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Trajectory:
    """Named quantities, one value per step.

    Args:
        steps: the step numbers, in order. What stands at step 0 is from before the first step.
        values: by name, as many values as there are steps: numbers, lists of numbers, arrays or tensors; None
            where there is none.

    Raises:
        ValueError: a quantity has more or fewer values than there are steps.
    """

    steps: list[int]
    values: Mapping[str, list[Any]]

    def __post_init__(self) -> None:
        for name, values in self.values.items():
            if len(values) != len(self.steps):
                raise ValueError(f"{name} has {len(values)} values; it must have {len(self.steps)}, one per step.")

    def __getitem__(self, name: str) -> list[Any]:
        return self.values[name]

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, step: int) -> dict[str, Any]:
        """Every quantity at that step."""
        i = self.steps.index(step)
        return {name: values[i] for name, values in self.values.items()}

    def data(self) -> dict[str, Any]:
        """Plain lists and numbers, as JSON can hold them: what is not finite is None."""
        return {"steps": list(self.steps), "values": {name: plain(values) for name, values in self.values.items()}}

    def json(self) -> str:
        """The same as strict JSON."""
        return json.dumps(self.data(), allow_nan=False)


def plain(value: Any) -> Any:
    """The value in lists, dicts, numbers and strings; an infinity or NaN is None, which strict JSON has.

    >>> plain({"loss": [1.5, float("inf")]})
    {'loss': [1.5, None]}
    """
    if hasattr(value, "tolist"):  # a tensor, an array or one of their numbers
        value = value.detach().tolist() if hasattr(value, "detach") else value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
