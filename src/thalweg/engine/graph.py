"""A rule's graph as data: what is computed on the host, and the kernels between the cuts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from thalweg import ops
from thalweg.signature import Signature

Stage = Literal["host", "number", "element"]
SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
PRECEDENCE = {"lt": 0, "le": 0, "gt": 0, "ge": 0, "add": 1, "sub": 1, "mul": 2, "div": 2, "neg": 3, "pow": 4}
CUTS = (*ops.REDUCTIONS, *ops.MATRIX)


@dataclass(eq=False)
class Node:
    """One value of the graph.

    `op` is a word of `thalweg.ops`, an operator's name (``add``, ``neg``, ``lt`` ...), ``input``,
    ``constant`` (then `value` holds it) or ``item`` (one of several results: `value` is its index).
    `stage` says where it is computed: on the host once per step, once per tensor, or for every element;
    `level`, how many cuts lie before it.
    """

    op: str
    args: tuple[Node, ...] = ()
    value: float | int | bool | None = None
    name: str = ""
    stage: Stage = "host"
    level: int = 0

    def __repr__(self) -> str:
        return f"<{self.name or self.op}>"


@dataclass(frozen=True)
class Kernel:
    """What happens between two cuts, in one pass over memory.

    `numbers` are computed first, once per tensor; `reads` and `writes` are whole tensors: parameter,
    gradient, slots, and temporaries that a later kernel needs and cannot recompute; `body` is in order.
    `cuts` are the norms, totals and matrix operations that take this kernel's values; between two matrix
    operations there may be nothing else to do.
    """

    numbers: tuple[Node, ...]
    reads: tuple[Node, ...]
    body: tuple[Node, ...]
    writes: tuple[Node, ...]
    cuts: tuple[Node, ...]

    @property
    def idle(self) -> bool:
        """Whether nothing is computed here: the cuts take what is in memory already."""
        return not self.writes and not any(n.op in ops.REDUCTIONS for n in self.cuts)


@dataclass(frozen=True, eq=False)
class Graph:
    """A traced rule.

    Attributes:
        signature: the rule's declaration. `settings`: the flags it was traced with.
        inputs: the nodes of ``p``, ``g``, the kept slots, ``t`` and the hyper-parameters by name.
        outputs: the node of the new ``p`` and of each kept slot's new value.
        nodes: every node, each after its arguments.
    """

    signature: Signature
    settings: Mapping[str, Any]
    inputs: Mapping[str, Node]
    outputs: Mapping[str, Node]
    nodes: tuple[Node, ...] = field(repr=False)

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the slots that are kept under these settings."""
        return tuple(name for name in self.outputs if name != "p")

    @cached_property
    def host(self) -> tuple[Node, ...]:
        """What depends on hyper-parameters, t and one-number slots alone: once per step, in float64."""
        return tuple(n for n in self.nodes if n.stage == "host" and n.args)

    @property
    def elementwise(self) -> bool:
        """Whether every element of the parameter goes its own way: no cut anywhere."""
        return not any(n.op in CUTS for n in self.nodes)

    @property
    def model_wide(self) -> bool:
        """Whether a `total` ties all tensors of the model together."""
        return any(n.op == "total" for n in self.nodes)

    @cached_property
    def uses_t(self) -> bool:
        """Whether the step number enters the formula."""
        return any(self.inputs["t"] in n.args for n in self.nodes)

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels in order; the last one writes what the cuts decide."""
        return tuple(kernel for kernel in self.passes if not kernel.idle)

    @cached_property
    def passes(self) -> tuple[Kernel, ...]:
        """The kernels, and the idle places between one matrix operation and the next."""
        return tuple(_cut(self))

    def run(self, **values: Any) -> dict[str, Any]:
        """Evaluate the graph on any values that `thalweg.ops` understands: the outputs by name."""
        known: dict[Node, Any] = {node: values[name] for name, node in self.inputs.items() if name in values}
        for name, node in self.inputs.items():
            if node not in known:
                known[node] = self.signature.defaults[name]
        for node in self.nodes:
            if node not in known:
                known[node] = evaluate(node, [known[arg] for arg in node.args])
        return {name: known[node] for name, node in self.outputs.items()}

    def __str__(self) -> str:
        from thalweg.engine.readable import readable

        return readable(self)


def evaluate(node: Node, args: list[Any]) -> Any:
    """The value of one node, given those of its arguments."""
    match node.op:
        case "constant":
            return node.value
        case "item":
            return args[0][node.value]
        case "add":
            return args[0] + args[1]
        case "sub":
            return args[0] - args[1]
        case "mul":
            return args[0] * args[1]
        case "div":
            return args[0] / args[1]
        case "pow":
            return args[0] ** args[1]
        case "neg":
            return -args[0]
        case "lt":
            return args[0] < args[1]
        case "le":
            return args[0] <= args[1]
        case "gt":
            return args[0] > args[1]
        case "ge":
            return args[0] >= args[1]
        case op:
            return getattr(ops, op)(*args)


def _cut(graph: Graph) -> Iterator[Kernel]:
    last = max((n.level for n in graph.nodes), default=0)
    outputs = {node: name for name, node in graph.outputs.items() if node.stage == "element"}
    old = {graph.inputs[name]: graph.outputs[name] for name in ("p", *graph.slots)}
    temporaries: set[Node] = set()
    plans: list[tuple[list[Node], dict[Node, None], list[Node]]] = []
    for level in range(last + 1):
        cuts = [n for n in graph.nodes if n.op in CUTS and max(a.level for a in n.args) == level]
        targets = [a for n in cuts for a in n.args] + [n for n in outputs if n.level == level]
        kept = [a for n in cuts if n.op in ops.MATRIX for a in n.args if a.op != "input"]
        temporaries.update(a for a in kept if a.level == level and a not in outputs and a.op not in CUTS)
        reads: dict[Node, None] = {}
        body: list[Node] = []
        _need(targets, level, graph, outputs, old, temporaries, reads, body)
        plans.append((cuts, reads, body))
    for level, (cuts, reads, body) in enumerate(plans):
        numbers = [n for n in graph.nodes if n.stage == "number" and n.level == level and n.op not in CUTS and n.args]
        writes = [n for n in body if n in temporaries and n.level == level]
        writes += [n for n in outputs if n.level == level and n not in writes]
        if body or writes or cuts:
            ordered = sorted(reads, key=graph.nodes.index)
            yield Kernel(tuple(numbers), tuple(ordered), tuple(body), tuple(writes), tuple(cuts))


def _need(
    targets: list[Node],
    level: int,
    graph: Graph,
    outputs: Mapping[Node, str],
    old: Mapping[Node, Node],
    temporaries: set[Node],
    reads: dict[Node, None],
    body: list[Node],
) -> None:
    """Fill `reads` and `body` with what a kernel needs; what an earlier one must keep is a temporary."""

    def in_memory(n: Node) -> bool:
        if n.op == "input":  # the old value is there until a kernel before this one writes the new
            return n not in old or old[n] is n or old[n].level >= level
        if n.op in CUTS or n.op == "item":
            return True
        return n.level < level and (n in outputs or n in temporaries)

    def reachable(n: Node) -> bool:
        return n.stage != "element" or in_memory(n) or (n.op != "input" and all(reachable(a) for a in n.args))

    def visit(n: Node) -> None:
        if n.stage != "element" or n in reads or n in body:
            return
        if in_memory(n):
            reads[n] = None
        elif n.level < level and not reachable(n):
            temporaries.add(n)
            reads[n] = None
        else:
            for arg in n.args:
                visit(arg)
            body.append(n)

    for target in targets:
        visit(target)
