"""Print what a step computes on the host as one function: in Python, or in C++ beside the kernels.

Asking for it costs a microsecond in Python, a tenth of that in C++.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from thalweg import ops
from thalweg.engine.cpp import operation
from thalweg.engine.graph import SYMBOLS, Graph, Node


@functools.lru_cache(maxsize=512)
def host_function(graph: Graph, wanted: tuple[Node, ...]) -> Callable[..., tuple[float, ...]]:
    """The function from the graph's host inputs, by name, to the wanted host values.

    Its body is printed from the graph; it takes ``t`` and the hyper-parameters as keywords and ignores
    those it does not need.
    """
    names = {node: name for name, node in graph.inputs.items() if node.stage == "host"}
    needed: dict[Node, None] = {}
    _collect(wanted, needed)
    lines = []
    for i, node in enumerate(needed):
        if node.op not in ("input", "constant"):
            lines.append(f"    v{i} = {_expression(node, [_name(a, names, needed) for a in node.args])}")
    inputs = [name for node, name in names.items() if node in needed]
    result = "".join(f"{_name(node, names, needed)}, " for node in wanted)
    source = f"def host({', '.join([*inputs, '**_'])}):\n" + "\n".join([*lines, f"    return ({result})"])
    space = {name: getattr(ops, name) for name in ops.ELEMENTWISE}
    exec(source, space)
    return space["host"]


def _collect(nodes: Sequence[Node], needed: dict[Node, None]) -> None:
    for node in nodes:
        if node not in needed:
            _collect(node.args, needed)
            needed[node] = None


def _name(node: Node, names: dict[Node, str], needed: dict[Node, None]) -> str:
    if node.op == "constant":
        return repr(node.value)
    return names[node] if node.op == "input" else f"v{list(needed).index(node)}"


def _expression(node: Node, args: list[str]) -> str:
    if node.op in SYMBOLS:
        return f"{args[0]} {SYMBOLS[node.op]} {args[1]}"
    if node.op == "neg":
        return f"-{args[0]}"
    if node.op == "where":
        return f"{args[1]} if {args[0]} else {args[2]}"
    return f"{node.op}({', '.join(args)})"


def host_inputs(graph: Graph) -> tuple[str, ...]:
    """What the C++ function takes, in order: t, the rule's own one-number slots, its hyper-parameters."""
    own = [name for name in graph.slots if graph.inputs[name].stage == "host"]
    return ("t", *own, *graph.signature.numbers)


def host_source(graph: Graph, wanted: Sequence[Node]) -> str:
    """The same function in C++: ``host(inputs, outputs)``, numbers in float64, for the helpers of `cpp.HEAD`."""
    names = {graph.inputs[name]: f"in[{i}]" for i, name in enumerate(host_inputs(graph))}
    needed: dict[Node, None] = {}
    _collect(wanted, needed)
    lines = ['extern "C" void host(const double* in, double* out) {', "    typedef double real;"]
    for node in needed:
        if node.op == "constant":
            names[node] = f"(real){float(node.value or 0)!r}"
        elif node.op != "input":
            lines.append(f"    const real h{len(lines)} = {operation(node, [names[a] for a in node.args])};")
            names[node] = f"h{len(lines) - 1}"
    lines += [f"    out[{i}] = {names[node]};" for i, node in enumerate(wanted)]
    return "\n".join([*lines, "}"]) + "\n"
