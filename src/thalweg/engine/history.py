"""How much the past counts in a rule: measured by differentiating and running it.

Three questions, none answered by a formula of its own:

- *step*: how much does each past gradient count in today's step? The derivative of the step, with the sizes
  that gradients are measured in (squares and absolute values) held as they are.
- *slots*: how much of each past gradient does a slot remember? The derivative of the slot.
- *rate*: how far does one step go under a constant gradient, in units of lr?

    >>> from thalweg.rules.momentum import momentum
    >>> past = history(momentum, steps=4, momentum=0.5)
    >>> past.memories["step"].shares, past.rates[-1]
    ([1.0, 0.5, 0.25, 0.125], 1.875)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from thalweg.engine.cell import start
from thalweg.engine.graph import Graph, Node, evaluate
from thalweg.engine.trace import trace
from thalweg.engine.trajectory import plain
from thalweg.signature import Rule, signature_of

_COLUMN = 22
_EVEN = 1e-6  # shares that fall by the same factor, to this relative difference, go on falling by it


@dataclass(frozen=True)
class Memory:
    """How much past gradients count in one quantity.

    Args:
        weights: the derivatives: with respect to the newest gradient, the one before, and so on.
    """

    weights: list[float]

    @property
    def shares(self) -> list[float]:
        """The weights in units of the newest gradient's; NaN where that does not count at all."""
        newest = self.weights[0]
        return [w / newest + 0.0 if newest else math.nan for w in self.weights]

    @property
    def factor(self) -> float | None:
        """What the shares are multiplied by per step in the end; None where they do not settle."""
        tail = self.shares[len(self.weights) // 2 :]
        if len(tail) < 3 or not all(s > 0 for s in tail):
            return None
        factors = [b / a for a, b in itertools.pairwise(tail)]
        return factors[-1] if max(factors) - min(factors) < _EVEN * factors[-1] else None

    @property
    def half_life(self) -> float | None:
        """After how many steps a gradient counts half; infinity where it never does, None where that is unknown."""
        shares, factor = self.shares, self.factor
        for k, (a, b) in enumerate(itertools.pairwise(shares)):
            if a >= 0.5 > b:
                return k + math.log(0.5 / a) / math.log(b / a) if b > 0 else None
        if factor is None or shares[-1] < 0.5:
            return None
        return len(shares) - 1 + math.log(0.5 / shares[-1]) / math.log(factor) if factor < 1 - _EVEN else math.inf

    @property
    def window(self) -> float | None:
        """How many gradients like the newest all of them together make up; infinity where the sum has no end."""
        shares, factor = self.shares, self.factor
        if factor is not None:
            return sum(shares) + shares[-1] * factor / (1 - factor) if factor < 1 - _EVEN else math.inf
        return sum(shares) if abs(shares[-1]) < _EVEN else None  # NaN is never below

    def data(self) -> dict[str, Any]:
        """Everything as JSON can hold it; what never ends is None, and `forgets` says so."""
        forgets = None if self.half_life is None else math.isfinite(self.half_life)
        known = {"weights": self.weights, "shares": self.shares, "half_life": self.half_life, "window": self.window}
        return plain({**known, "forgets": forgets})


@dataclass(frozen=True)
class History:
    """How much the past counts.

    Args:
        name: the rule's. settings: those that differ from its defaults.
        memories: by name: ``step``, and every slot that gradients go into.
        rates: the length of step 1, 2, ... under a constant gradient, in units of lr.
        held: whether there are sizes, squares of gradients say, that ``step`` holds as they are.
    """

    name: str
    settings: Mapping[str, Any]
    memories: Mapping[str, Memory]
    rates: list[float]
    held: bool = False

    @property
    def trend(self) -> float | None:
        """The power of t with which the rates go in the end: -0.5 is 1 / sqrt(t); None where it is no power."""
        t = len(self.rates)
        ends = [self.rates[t // 4 - 1], self.rates[t // 2 - 1], self.rates[t - 1]] if t >= 8 else []
        if not ends or min(ends) <= 0:
            return None
        before = math.log(ends[1] / ends[0]) / math.log((t // 2) / (t // 4))
        power = math.log(ends[2] / ends[1]) / math.log(t / (t // 2))
        return power if abs(power - before) < 0.01 else None

    def shown(self) -> tuple[list[int], list[int]]:
        """Which gradients (0: the newest) and which steps are worth a line: the near ones, then by doubling."""
        last = len(self.rates) - 1
        back = [k for k in range(last + 1) if k < 8 or k == last or (k & (k - 1)) == 0]
        return back, [t for t in range(1, last + 2) if t in (1, 2, 3, last + 1) or (t & (t - 1)) == 0]

    def __str__(self) -> str:
        back, steps = self.shown()
        names = list(self.memories)
        lines = [f"How much each past gradient counts in step {len(self.rates)} of {self.name}, the newest as 100 %"]
        lines.append("  gradient   " + "".join(f"{name:<{_COLUMN}}" for name in names))
        for k in back:
            cells = [f"{percent(m.shares[k]):>7} {bar(m.shares[k]):<{_COLUMN - 8}}" for m in self.memories.values()]
            lines.append(f"  {before(k):<11}" + "".join(cells))
        for what in ("half-life", "window"):
            lines.append(f"  {what:<11}" + "".join(f"{f' {x}':<{_COLUMN}}" for x in self.spans(what)))
        lines += ["  (step: with the sizes that it is measured in, squares of gradients, held)"] if self.held else []
        lines += ["", "How far a step goes under a constant gradient, in units of lr"]
        most = max(self.rates)
        lines += [f"  step {t:<6}{self.rates[t - 1]:>7.4g} {bar(self.rates[t - 1] / most)}" for t in steps]
        if self.trend is not None:
            lines.append(f"  {self.course}")
        return "\n".join(line.rstrip() for line in lines)

    def spans(self, what: str) -> list[str]:
        """The half-life or window of every memory, in words."""
        found = [m.half_life if what == "half-life" else m.window for m in self.memories.values()]
        alone = ["the newest only" if m.weights[0] else "none" for m in self.memories.values()]
        past = [any(m.weights[1:]) for m in self.memories.values()]
        return [_count(x) if some else one for x, some, one in zip(found, past, alone, strict=True)]

    @property
    def course(self) -> str:
        """The trend in words."""
        power = round(self.trend or 0.0, 2)
        return "stays the same" if power == 0 else f"{'grows' if power > 0 else 'shrinks'} as t^{power:g}"

    def data(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        memories = {name: memory.data() for name, memory in self.memories.items()}
        known = {"name": self.name, "settings": dict(self.settings), "memories": memories}
        return plain({**known, "held": self.held, "rates": self.rates, "trend": self.trend})


def _count(steps: float | None) -> str:
    if steps is None:
        return "not settled"
    shown = f"{steps:.3g}" if steps < 100 else f"{steps:.0f}"
    return "for ever" if steps == math.inf else f"{shown} step{'s' if shown != '1' else ''}"


def before(k: int) -> str:
    """Which gradient."""
    return "newest" if k == 0 else f"{k} before"


def percent(share: float) -> str:
    """A share in per cent, with three digits."""
    if math.isnan(share):
        return "none"
    return "<0.01 %" if 0 < share < 1e-4 else f"{100 * share:.3g} %"


def bar(share: float, width: int = 12) -> str:
    """A bar as long as the share, to an eighth of a character."""
    if not share > 0:
        return ""
    eighths = round(8 * width * min(share, 1.0))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def history(rule: Rule, steps: int = 16, gradients: Sequence[float] | None = None, **settings: Any) -> History:
    """Run the rule over some gradients and differentiate what comes out at the end.

    Args:
        rule: any rule.
        steps: how many gradients it has seen. Default 16.
        gradients: which, the oldest first. Default: all are 1.
        settings: hyper-parameters that differ from their defaults.

    Raises:
        ValueError: steps is below 1, or not as many as there are gradients. TypeError: as for `trace`.
    """
    gradients = [1.0] * steps if gradients is None else gradients
    if steps < 1 or len(gradients) != steps:
        raise ValueError(f"steps is {steps} with {len(gradients)} gradients; it must be their number, 1 or more.")
    signature = signature_of(rule)
    hyper = {**signature.defaults, **settings}
    graph = trace(rule, **settings)
    g = [torch.tensor([[x]], dtype=torch.float64, requires_grad=True) for x in gradients]
    places, slots = _run(graph, g, hyper, sizes_held=False)
    held, _ = _run(graph, g, hyper, sizes_held=True)
    taken = {"step": held[-2].detach() - held[-1], **slots}
    memories = {name: _memory(value, g) for name, value in taken.items()}
    lengths = [(a - b).item() / hyper.get("lr", 1.0) for a, b in itertools.pairwise(places)]
    seen = {name: m for name, m in memories.items() if name == "step" or any(m.weights)}
    return History(signature.name, dict(settings), seen, lengths, any(map(_is_size, graph.nodes)))


def _run(
    graph: Graph, g: Sequence[torch.Tensor], hyper: Mapping[str, Any], sizes_held: bool
) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Every place, and the slots in the end; the parameter begins at 0.

    Places are given, as gradients are: only what the slots carry ties a step to the past.
    """
    places = [torch.zeros(1, 1, dtype=torch.float64)]
    slots = {name: start(graph.signature.slots[name], places[0], dict(hyper)) for name in graph.slots}
    numbers = {name: hyper[name] for name in graph.signature.numbers}
    for t, gradient in enumerate(g, 1):
        known: dict[Node, Any] = {graph.inputs[name]: x for name, x in {**slots, **numbers}.items()}
        known |= {graph.inputs["p"]: places[-1].detach(), graph.inputs["g"]: gradient, graph.inputs["t"]: t}
        for node in graph.nodes:
            if node not in known:
                result = evaluate(node, [known[arg] for arg in node.args])
                held = sizes_held and _is_size(node) and isinstance(result, torch.Tensor)
                known[node] = result.detach() if held else result
        places.append(known[graph.outputs["p"]])
        slots = {name: known[graph.outputs[name]] for name in graph.slots}
    return places, slots


def _is_size(node: Node) -> bool:
    """Whether a value says how large something is, whatever its direction."""
    square = node.op == "mul" and node.args[0] is node.args[1]
    squared = node.op == "pow" and node.args[1].value == 2
    return square or squared or node.op in ("abs", "norm")


def _memory(value: Any, g: Sequence[torch.Tensor]) -> Memory:
    if not isinstance(value, torch.Tensor) or not value.requires_grad:
        return Memory([0.0] * len(g))
    weights = torch.autograd.grad(value.sum(), g, allow_unused=True, retain_graph=True)
    return Memory([0.0 if w is None else float(w) for w in reversed(weights)])
