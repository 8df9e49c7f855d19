"""Print a rule's kernels as C++: one function per kernel, all tensors of a group in one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thalweg.engine.graph import SYMBOLS, Graph, Kernel, Node

# Types as they are in memory; arithmetic is in float for everything narrower.
MEMORY = {"float64": "double", "float32": "float", "bfloat16": "bf16", "float16": "_Float16"}

HEAD = """\
#include <cmath>
#include <cstdint>
#include <cstring>

typedef __UINT16_TYPE__ u16;
typedef __UINT32_TYPE__ u32;
struct bf16 { u16 bits; };

static inline float load(bf16 x) { u32 b = (u32)x.bits << 16; float f; std::memcpy(&f, &b, 4); return f; }
static inline float load(_Float16 x) { return (float)x; }
static inline float load(float x) { return x; }
static inline double load(double x) { return x; }

static inline void keep(float* to, float x) { *to = x; }
static inline void keep(double* to, double x) { *to = x; }
static inline void keep(_Float16* to, float x) { *to = (_Float16)x; }
static inline void keep(bf16* to, float x) {  // to the nearest, ties to even; a NaN stays one
    u32 b; std::memcpy(&b, &x, 4);
    u32 rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
    to->bits = x != x ? (u16)0x7fc0 : (u16)rounded;
}

template <class T> static inline T sign_of(T x) { return x != x ? x : (T)((x > 0) - (x < 0)); }
template <class T> static inline T smaller(T a, T b) { return a != a || a < b ? a : b; }
template <class T> static inline T larger(T a, T b) { return a != a || a > b ? a : b; }
"""

CALLS = {
    "sqrt": "std::sqrt({0})",
    "abs": "std::fabs({0})",
    "sign": "sign_of<real>({0})",
    "exp": "std::exp({0})",
    "log": "std::log({0})",
    "tanh": "std::tanh({0})",
    "where": "({0} ? {1} : {2})",
    "minimum": "smaller<real>({0}, {1})",
    "maximum": "larger<real>({0}, {1})",
    "equal": "({0} == {1})",
    "pow": "std::pow({0}, {1})",
    "neg": "(-{0})",
}
BOOLEAN = ("lt", "le", "gt", "ge", "equal")


@dataclass(frozen=True)
class Printed:
    """A kernel's function: its text, and what its columns, scalars and sums stand for."""

    name: str
    source: str
    columns: tuple[Node, ...]  # tensors, in the order of the pointer table
    scalars: tuple[Node, ...]  # the same for all tensors of a call
    numbers: tuple[Node, ...]  # one per tensor
    sums: tuple[Node, ...]  # the cuts whose partial sums it returns


def print_kernels(graph: Graph, memory: Mapping[str, str], real: str) -> tuple[str, list[Printed]]:
    """The C++ of all kernels of a graph.

    Args:
        graph: a traced rule without matrix operations.
        memory: the memory type of ``p``, ``g`` and each kept slot, as named in `MEMORY`.
        real: the type of the arithmetic, ``float`` or ``double``.

    Returns:
        The source text, and for each kernel what its arguments mean.
    """
    printed = [_kernel(graph, kernel, f"kernel{i}", memory, real) for i, kernel in enumerate(graph.kernels)]
    return HEAD + "\n" + "\n".join(function.source for function in printed), printed


def _kernel(graph: Graph, kernel: Kernel, name: str, memory: Mapping[str, str], real: str) -> Printed:
    home = {graph.inputs[slot]: slot for slot in ("p", "g", *graph.slots)}
    written = {node: slot for slot, node in graph.outputs.items() if node in kernel.writes}
    columns: dict[str, int] = {}  # memory is a slot's, whether its old value is read or its new one written
    nodes: list[Node] = []
    stored = {**home, **{node: slot for slot, node in graph.outputs.items() if node not in home}}
    for node in (*kernel.reads, *kernel.writes):
        place = stored.get(node) or f"temporary{id(node)}"
        if place not in columns:
            columns[place] = len(columns)
            nodes.append(node)
    outside = [arg for n in (*kernel.body, *kernel.cuts) for arg in n.args if arg.stage != "element"]
    outside += [n for n in kernel.writes if n.stage != "element"]
    scalars = list(dict.fromkeys(n for n in outside if n.stage == "host" and n.op != "constant"))
    numbers = list(dict.fromkeys(n for n in outside if n.stage == "number"))
    names = {n: f"s{i}" for i, n in enumerate(scalars)} | {n: f"n{i}" for i, n in enumerate(numbers)}

    def type_of(node: Node) -> str:
        return MEMORY[memory[stored[node]]] if node in stored else real

    def column(node: Node) -> int:
        return columns[stored.get(node) or f"temporary{id(node)}"]

    def value(node: Node) -> str:
        if node.op == "constant":
            return f"(real){float(node.value or 0)!r}" if node.value is not None else "(real)0"
        return names[node]

    lines = [
        f'extern "C" void {name}(int64_t begin, int64_t end, int64_t tensors, const int64_t* ends,',
        "        void* const* table, const double* scalars, const double* numbers, double* sums) {",
        f"    typedef {real} real;",
    ]
    lines += [f"    const {_scalar_type(n)} s{i} = ({_scalar_type(n)})scalars[{i}];" for i, n in enumerate(scalars)]
    lines += [
        "    for (int64_t k = 0; k < tensors; ++k) {",
        "        int64_t from = k ? ends[k - 1] : 0;",
        "        int64_t i0 = (begin > from ? begin : from) - from, i1 = (end < ends[k] ? end : ends[k]) - from;",
        "        if (i0 >= i1) continue;",
    ]
    for node in nodes:
        c = column(node)
        lines.append(f"        {type_of(node)}* __restrict x{c} = ({type_of(node)}*)table[k * {len(columns)} + {c}];")
    lines += [f"        const real n{i} = (real)numbers[k * {len(numbers)} + {i}];" for i in range(len(numbers))]
    lines += [f"        double sum{j} = 0;" for j in range(len(kernel.cuts))]
    lines.append("        for (int64_t i = i0; i < i1; ++i) {")
    for node in kernel.reads:
        names[node] = f"r{len(names)}"
        lines.append(f"            const real {names[node]} = (real)load(x{column(node)}[i]);")
    for node in kernel.body:
        names[node] = f"v{len(names)}"
        kind = "bool" if node.op in BOOLEAN else "real"
        lines.append(f"            const {kind} {names[node]} = {_operation(node, [value(a) for a in node.args])};")
    for node in kernel.writes:
        lines.append(f"            keep(&x{column(node)}[i], {value(node)});")
    for j, cut in enumerate(kernel.cuts):
        x = value(cut.args[0])
        lines.append(f"            sum{j} += {f'(double){x} * {x}' if cut.op == 'norm' else f'(double){x}'};")
    lines.append("        }")
    lines += [f"        sums[k * {len(kernel.cuts)} + {j}] += sum{j};" for j in range(len(kernel.cuts))]
    lines += ["    }", "}"]
    assert set(written.values()) <= set(columns)
    return Printed(name, "\n".join(lines) + "\n", tuple(nodes), tuple(scalars), tuple(numbers), kernel.cuts)


def _scalar_type(node: Node) -> str:
    return "bool" if node.op in BOOLEAN else "real"


def _operation(node: Node, args: list[str]) -> str:
    if node.op in SYMBOLS and node.op != "pow":
        return f"{args[0]} {SYMBOLS[node.op]} {args[1]}"
    return CALLS[node.op].format(*args)
