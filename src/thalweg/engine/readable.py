"""A graph in words, for people: ``print(thalweg.trace(rule))``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from thalweg.engine.graph import CUTS, PRECEDENCE, SYMBOLS, Graph, Node


def readable(graph: Graph) -> str:
    """The rule's slots, what is computed once per step, and each kernel line by line."""
    names = _names(graph)
    uses = Counter(arg for node in graph.nodes for arg in node.args)
    kept = ", ".join(graph.slots) or "none"
    flags = ", ".join(f"{name}={value!r}" for name, value in graph.settings.items())
    lines = [f"{graph.signature.name}   slots: {kept}" + (f"   flags: {flags}" if flags else "")]
    if graph.host:
        lines.append("once per step, on the host in float64")
        lines += _lines(graph.host, names, uses, _crossing(graph))
    number = 0
    for kernel in graph.passes:
        reads, writes = (" ".join(names[n] for n in nodes) or "nothing" for nodes in (kernel.reads, kernel.writes))
        if not kernel.idle:
            number += 1
            lines.append(f"kernel {number} of {len(graph.kernels)}   reads {reads}   writes {writes}")
        shown = set(kernel.writes) | {arg for n in kernel.cuts for arg in n.args} | _crossing(graph)
        lines += _lines((*kernel.numbers, *kernel.body), names, uses, shown)
        lines += [f"    cut: {names[n]} = {_expression(n, names, uses, shown, top=True)}" for n in kernel.cuts]
    return "\n".join(lines)


def _names(graph: Graph) -> dict[Node, str]:
    """The rule's own names; a new value of p or a slot is primed, what has no name is numbered."""
    names = {node: name for name, node in graph.inputs.items()}
    names |= {node: f"{name}'" for name, node in graph.outputs.items() if node not in names}
    taken = set(names.values())
    uses = Counter(arg for node in graph.nodes for arg in node.args)
    crossing = _crossing(graph)
    for node in graph.nodes:
        if node in names or not node.args or not (node.name or uses[node] > 1 or node in crossing):
            continue
        name = node.name or ("h" if node.stage == "host" else "x")
        if not node.name or name in taken:
            primed = f"{name}'"
            if node.name and primed not in taken:
                name = primed
            else:
                name = next(f"{name}{i}" for i in range(1, len(graph.nodes) + 2) if f"{name}{i}" not in taken)
        names[node] = name
        taken.add(name)
    return names


def _crossing(graph: Graph) -> set[Node]:
    """What is computed in one place and used in another: the host's numbers that a kernel takes, say."""
    outputs = {*graph.outputs.values(), *(n for n in graph.nodes if n.op in CUTS)}
    return outputs | {arg for n in graph.nodes for arg in n.args if (arg.stage, arg.level) != (n.stage, n.level)}


def _lines(nodes: Iterable[Node], names: dict[Node, str], uses: Counter[Node], shown: set[Node]) -> list[str]:
    return [
        f"    {names[n]} = {_expression(n, names, uses, shown, top=True)}"
        for n in nodes
        if n in shown or n.name or uses[n] > 1
    ]


def _expression(node: Node, names: dict[Node, str], uses: Counter[Node], shown: set[Node], top: bool = False) -> str:
    if node.op == "constant":
        return f"{node.value:g}" if isinstance(node.value, float) else str(node.value)
    inline = not node.name and uses[node] == 1 and node not in shown
    if not top and (not inline or node.op == "input"):
        return names[node]

    def operand(n: Node, stronger: bool) -> str:
        text = _expression(n, names, uses, shown)
        bare = text == names.get(n, "") or n.op not in PRECEDENCE
        weak = not bare and (
            PRECEDENCE[n.op] < PRECEDENCE[node.op] or (stronger and PRECEDENCE[n.op] == PRECEDENCE[node.op])
        )
        return f"({text})" if weak else text

    if node.op == "neg":
        return f"-{operand(node.args[0], True)}"
    if node.op in SYMBOLS:
        left, right = node.args
        return f"{operand(left, node.op == 'pow')} {SYMBOLS[node.op]} {operand(right, node.op != 'pow')}"
    if node.op == "item":
        return f"{_expression(node.args[0], names, uses, shown)}[{node.value}]"
    return f"{node.op}({', '.join(_expression(arg, names, uses, shown) for arg in node.args)})"
