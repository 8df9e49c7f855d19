"""What one kernel of a graph takes and gives, whatever language it is printed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from thalweg import ops
from thalweg.engine.graph import Graph, Kernel, Node
from thalweg.engine.store import COMPENSATION, STOCHASTIC

BOOLEAN = ("lt", "le", "gt", "ge", "equal")


@dataclass(frozen=True)
class Layout:
    """A kernel's arguments, and what they stand for.

    Attributes:
        name: of its function.
        columns: p, g, slots and temporaries, in the order of the table of pointers.
        reads: where each value lies that it reads. `writes`: what goes where, in order.
        scalars: the same for all tensors of a call. `numbers`: one per tensor.
        sums: the cuts whose partial sums it returns.
        draws: the values that are rounded by chance, and their places in the rule: the keys of their random bits
            for this step follow the scalars, and the tensor's own key follows the numbers.
        compensated: whether p lies in two tensors, the second with what the first cannot hold.
        means: the means of a row that are taken, in order. Where there are any, a tensor's rows have a length
            (0: it has none), and a row is read twice: for its mean, with what it is the mean of, and for the rest.
    """

    name: str
    columns: tuple[str, ...]
    reads: dict[Node, str]
    writes: tuple[tuple[str, Node], ...]
    scalars: tuple[Node, ...]
    numbers: tuple[Node, ...]
    sums: tuple[Node, ...]
    draws: dict[str, int]
    compensated: bool
    means: tuple[Node, ...]

    @property
    def temporaries(self) -> list[str]:
        """The columns of memory that lives between two kernels only."""
        return [where for where in self.columns if where.startswith("temporary")]

    @property
    def width(self) -> int:
        """How many numbers there are per tensor, with the length of its rows and its key."""
        return len(self.numbers) + bool(self.means) + bool(self.draws)

    def parts(self, where: str) -> list[str]:
        """The tensors that hold a value: their sum is what the rule gets."""
        return ["p", COMPENSATION] if where == "p" and self.compensated else [where]


def lay_out(
    graph: Graph, kernel: Kernel, name: str, memory: Mapping[str, str] = MappingProxyType({}), members: bool = False
) -> Layout:
    """The layout of a kernel without matrix operations.

    Args:
        graph, kernel, name: what it computes, and the name of its function.
        memory: how ``p``, ``g`` and all that is kept lie in memory, as `Store.memory` names it.
        members: whether the tensors of a call may have settings of their own: then all its scalars are numbers.
    """
    reads = {n: _temporary(graph, n) if n in kernel.spilled else place(graph, n) for n in kernel.reads}
    writes = _writes(graph, kernel)
    columns = dict.fromkeys([*reads.values(), *(where for where, _ in writes)])
    outside = [arg for n in (*kernel.body, *kernel.cuts) for arg in n.args] + [n for _, n in writes]
    scalars = dict.fromkeys(n for n in outside if n.stage == "host" and n.op != "constant")
    numbers = dict.fromkeys(n for n in outside if n.stage == "number")
    if members:
        scalars, numbers = {}, {**scalars, **numbers}
    compensated = "p" in columns and COMPENSATION in memory
    if compensated:
        columns[COMPENSATION] = None
    last = {where: COMPENSATION if where == "p" and compensated else where for where, _ in writes}
    order = ("p", *graph.signature.slots)
    draws = {where: order.index(where) for where in last if memory.get(last[where]) == STOCHASTIC}
    means = tuple(n for n in kernel.body if n.op in ops.ROWS)
    return Layout(
        name, tuple(columns), reads, tuple(writes), tuple(scalars), tuple(numbers), kernel.cuts, draws, compensated,
        means,
    )  # fmt: skip


def kernels_of(graph: Graph, memory: Mapping[str, str]) -> tuple[Kernel, ...]:
    """The kernels of a graph whose values lie in memory like that."""
    exact = ("float64",) if memory["p"] == "float64" else ("float32", "float64")
    return graph.kernels_where([name for name in graph.outputs if memory.get(name, "float64") not in exact])


def needed(wanted: Iterable[Node]) -> set[Node]:
    """What these values of one element are made of; the mean of a row is known before."""
    found: set[Node] = set()
    waiting = list(wanted)
    while waiting:
        node = waiting.pop()
        if node not in found and node.op not in ops.ROWS:
            found.add(node)
            waiting += node.args
    return found


def place(graph: Graph, node: Node) -> str:
    """Where a value lies in memory: in p, g or a slot (old or new), or in a temporary."""
    for name in ("p", "g", *graph.slots):
        if node is graph.inputs[name]:
            return name
    for name, output in graph.outputs.items():
        if node is output:
            return name
    return _temporary(graph, node)


def _temporary(graph: Graph, node: Node) -> str:
    return f"temporary {graph.nodes.index(node)}"


def _writes(graph: Graph, kernel: Kernel) -> list[tuple[str, Node]]:
    """What goes where: new values into p and the slots (one may go into several), the rest into temporaries."""
    writes = []
    for node in kernel.writes:
        slots = [name for name, output in graph.outputs.items() if output is node]
        spilled = [_temporary(graph, node)] if node in kernel.spilled else []
        writes += [(where, node) for where in [*slots, *spilled] or [place(graph, node)]]
    return writes


def label(graph: Graph, memory: Mapping[str, str]) -> str:
    """What a printed source is of: the rule with its flags and what acts in front of it, and the types in memory."""
    flags = "".join(f" {name}={value!r}" for name, value in graph.settings.items())
    before = [name for name in graph.signature.before if not name.endswith("_decay")]  # which nearly all have
    after = f" after {', '.join(before)}" if before else ""
    return f"{graph.signature.name}{after}{flags} | {' '.join(f'{slot} {kind}' for slot, kind in memory.items())}"
