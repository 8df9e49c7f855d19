"""Print a rule's kernels as C++: one function per kernel, all tensors of a group in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from thalweg import ops
from thalweg.engine.graph import SYMBOLS, Graph, Node
from thalweg.engine.layout import BOOLEAN, Layout, kernels_of, label, lay_out, needed
from thalweg.engine.store import STOCHASTIC

# Types as they are in memory; arithmetic is in float for everything narrower.
MEMORY = {"float64": "double", "float32": "float", "bfloat16": "bf16", "float16": "_Float16"}
MEMORY[STOCHASTIC] = "bf16"

HEAD = """\
// No headers: reading them would take longer than everything else that the compiler does.
typedef __INT64_TYPE__ int64_t;
typedef __UINT16_TYPE__ u16;
typedef __UINT32_TYPE__ u32;
#define IN_BOTH_TYPES(name) \\
    static inline float name(float x) { return __builtin_##name##f(x); } \\
    static inline double name(double x) { return __builtin_##name(x); }
namespace of {
IN_BOTH_TYPES(sqrt) IN_BOTH_TYPES(fabs) IN_BOTH_TYPES(exp) IN_BOTH_TYPES(log) IN_BOTH_TYPES(tanh)
static inline float pow(float x, float y) { return __builtin_powf(x, y); }
static inline double pow(double x, double y) { return __builtin_pow(x, y); }
}

struct bf16 { u16 bits; };

static inline float load(bf16 x) { u32 b = (u32)x.bits << 16; float f; __builtin_memcpy(&f, &b, 4); return f; }
static inline float load(_Float16 x) { return (float)x; }
static inline float load(float x) { return x; }
static inline double load(double x) { return x; }

static inline void keep(float* to, float x) { *to = x; }
static inline void keep(double* to, double x) { *to = x; }
static inline void keep(_Float16* to, float x) { *to = (_Float16)x; }
static inline void keep(bf16* to, float x) {  // to the nearest, ties to even; a NaN stays one
    u32 b; __builtin_memcpy(&b, &x, 4);
    u32 rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
    to->bits = x != x ? (u16)0x7fc0 : (u16)rounded;
}
static inline void keep(bf16* to, float x, u32 draw) {  // up or down by chance: as store.py says
    u32 b; __builtin_memcpy(&b, &x, 4);
    bool finite = (b & 0x7f800000u) != 0x7f800000u;
    bf16 nearest; keep(&nearest, x);
    to->bits = finite ? (u16)((b + (draw >> 16)) >> 16) : nearest.bits;
}
static inline float left(float x, float kept) { return __builtin_isfinite(kept) ? x - kept : 0.0f; }
static inline u32 mixed(u32 x) {
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x = (x ^ (x >> 15)) * 0x735a2d97u;
    return x ^ (x >> 15);
}

// What the processor's own prefetching does too late, above all where a page ends.
template <class T> static inline void fetch(const T* x) {
    for (unsigned line = 0; line < 64 * sizeof(T); line += 64) __builtin_prefetch((const char*)(x + 512) + line);
}

template <class T> static inline T sign_of(T x) { return x != x ? x : (T)((x > 0) - (x < 0)); }
template <class T> static inline T smaller(T a, T b) { T c = a < b ? a : b; return a != a ? a : c; }
template <class T> static inline T larger(T a, T b) { T c = a > b ? a : b; return a != a ? a : c; }
"""

# The widest vectors move data fastest; a division or a root in them is slower than in two of half the width.
WIDEST = """\
#if defined(__AVX512F__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=512")
#endif
"""

# Every element of a block adds to a sum of its own: only so are sums as fast as memory.
ADDED = """\
static inline double added(const double* lanes) {
    double sum = 0;
    #pragma omp simd reduction(+: sum)
    for (int i = 0; i < 64; ++i) sum += lanes[i];
    return sum;
}
"""

CALLS = {
    "sqrt": "of::sqrt({0})",
    "abs": "of::fabs({0})",
    "sign": "sign_of<real>({0})",
    "exp": "of::exp({0})",
    "log": "of::log({0})",
    "tanh": "of::tanh({0})",
    "where": "({0} ? {1} : {2})",
    "minimum": "smaller<real>({0}, {1})",
    "maximum": "larger<real>({0}, {1})",
    "equal": "({0} == {1})",
    "pow": "of::pow({0}, {1})",
    "neg": "(-{0})",
}


def print_kernels(
    graph: Graph, memory: Mapping[str, str], real: str, members: bool = False
) -> tuple[str, list[Layout]]:
    """The C++ of all kernels of a graph.

    Args:
        graph: a traced rule without matrix operations.
        memory: how ``p``, ``g`` and all that is kept lie in memory, as named by `Store.memory` and in `MEMORY`.
        real: the type of the arithmetic, ``float`` or ``double``.
        members: whether the tensors of a call may have settings of their own.

    Returns:
        The source text, and for each kernel what its arguments mean.
    """
    kernels = kernels_of(graph, memory)
    layouts = [lay_out(graph, kernel, f"kernel{i}", memory, members) for i, kernel in enumerate(kernels)]
    functions = [_kernel(layout, kernel.body, memory, real) for layout, kernel in zip(layouts, kernels, strict=True)]
    divides = any(
        n.op in ("div", "sqrt") and n.stage == "element" and not _divides_by_one_number(n) for n in graph.nodes
    )
    adds = any(layout.sums or layout.means for layout in layouts)
    head = [f"// {label(graph, memory)}", HEAD, *([] if divides else [WIDEST]), *([ADDED] if adds else [])]
    return "\n".join([*head, *functions]), layouts


def _kernel(layout: Layout, body: tuple[Node, ...], memory: Mapping[str, str], real: str) -> str:
    columns, scalars, numbers, cuts = layout.columns, layout.scalars, layout.numbers, layout.sums
    names = {n: f"s{i}" for i, n in enumerate(scalars)} | {n: f"n{i}" for i, n in enumerate(numbers)}

    def value(node: Node) -> str:
        return f"(real){float(node.value or 0)!r}" if node.op == "constant" else names[node]

    def elements(wanted: Iterable[Node], divided: str = "{multiplied}") -> list[str]:
        """The loads and the arithmetic that give these values of one element."""
        found, lines = needed(wanted), []
        for i, (node, where) in enumerate(layout.reads.items()):
            if node in found:
                names[node] = f"r{i}"
                whole = " + ".join(f"(real)load({part})" for part in _parts(layout, where))
                lines.append(f"const real r{i} = {whole};")
        for i, node in enumerate(body):
            if node in found and node.op not in ops.ROWS:
                names[node] = f"v{i}"
                result = operation(node, args := [value(a) for a in node.args])
                if _divides_by_one_number(node):
                    result = divided.format(multiplied=f"{args[0]} * by_{args[1]}", exact=result)
                lines.append(f"const {_type(node)} v{i} = {result};")
        return lines

    lines = [
        f'extern "C" void {layout.name}(int64_t begin, int64_t end, int64_t tensors, const int64_t* ends,',
        "void* const* table, const double* scalars, const double* numbers, double* sums) {",
        f"typedef {real} real;",
    ]
    lines += [f"const {_type(n)} s{i} = ({_type(n)})scalars[{i}];" for i, n in enumerate(scalars)]
    lines.append("const bool large = end - begin > 1 << 18;  // more than the caches hold")
    whole = not cuts and not layout.means  # no sums, which are kept for each place of a block
    if whole:  # nothing has to be fetched early from the caches, and blocks cost small tensors a tenth of their time
        lines.append("const int64_t size = large ? 64 : 1 << 18;")
    lines += [
        "for (int64_t k = 0; k < tensors; ++k) {",
        "int64_t from = k ? ends[k - 1] : 0;",
        "int64_t i0 = (begin > from ? begin : from) - from, i1 = (end < ends[k] ? end : ends[k]) - from;",
        "if (i0 >= i1) continue;",
    ]
    for c, where in enumerate(columns):
        kind = MEMORY[memory[where]] if where in memory else real
        lines.append(f"{kind}* __restrict x{c} = ({kind}*)table[k * {len(columns)} + {c}];")
    for i, n in enumerate(numbers):
        lines.append(f"const {_type(n)} n{i} = ({_type(n)})numbers[k * {layout.width} + {i}];")
    for j, where in enumerate(layout.draws):
        keys = f"(u32)scalars[{len(scalars) + j}] ^ (u32)numbers[k * {layout.width} + {layout.width - 1}]"
        lines.append(f"const u32 key{columns.index(where)} = {keys};")
    divisors = dict.fromkeys(names[n.args[1]] for n in body if _divides_by_one_number(n))
    if divisors:  # a division costs as much as the memory does; what is no normal number is divided by as it is
        lines += [f"const real by_{y} = 1 / {y};" for y in divisors]
        normal = " && ".join(f"__builtin_isnormal(by_{y})" for y in divisors)
        lines.append(f"const bool normal = {normal};")
    lines += [f"double sum{j}[64] = {{}};" for j in range(len(cuts))]
    begin, end = "i0", "i1"
    if layout.means:  # those that begin in this part; a tensor without rows goes as one, and its mean is 0
        lines += [
            f"const int64_t length = (int64_t)numbers[k * {layout.width} + {len(numbers)}];",
            "const int64_t stride = length ? length : i1 - i0;",
            "for (int64_t row = length ? (i0 + length - 1) / length * length : i0; row < i1; row += stride) {",
        ]
        begin, end = "row", "row + stride"
        for j, node in enumerate(layout.means):
            loop = [
                *elements(node.args, "normal ? {multiplied} : {exact}"),
                f"mean{j}[i - block] += {value(node.args[0])};",
            ]
            read = [where for input_node, where in layout.reads.items() if input_node in needed(node.args)]
            means = _blocks(begin, end, [columns.index(where) for where in read], [("", loop)])
            lines += [f"double mean{j}[64] = {{}};", "if (length) {", *means, "}"]
            lines += [f"const real m{j} = length ? (real)(added(mean{j}) / length) : (real)0;"]
            names[node] = f"m{j}"
    wanted = [*(arg for cut in cuts for arg in cut.args), *(node for _, node in layout.writes)]

    def each(divided: str) -> list[str]:
        """What is done with an element."""
        loop = elements(wanted, divided)
        for where, node in layout.writes:
            loop += _keep(layout, where, value(node))
        for j, cut in enumerate(cuts):
            x = value(cut.args[0])
            loop.append(f"sum{j}[i - block] += {f'(double){x} * {x}' if cut.op == 'norm' else f'(double){x}'};")
        return loop

    # With the question inside of the loop, compilers give up their vectors.
    ways = [("normal", each("{multiplied}")), ("", each("{exact}"))] if divisors else [("", each("{exact}"))]
    streams = 1 if layout.means or layout.writes else 4
    lines += _blocks(begin, end, range(len(columns)), ways, streams, "size" if whole else "64")
    lines += ["}"] if layout.means else []
    lines += [f"sums[k * {len(cuts)} + {j}] += added(sum{j});" for j in range(len(cuts))]
    return _indented([*lines, "}", "}"])


def _blocks(
    begin: str, end: str, columns: Iterable[int], ways: list[tuple[str, list[str]]], streams: int = 1, size: str = "64"
) -> list[str]:
    """The loop over elements, in blocks: 64 are four lines of memory of each float tensor.

    Args:
        begin, end, columns: the elements, and the tensors whose later blocks are to be on their way.
        ways: what is done with an element under a condition; the last one has none.
        streams: in how many places at once. One alone that is only read waits for memory most of the time.
        size: how many elements a block has; 64 where there are several streams.
    """
    if streams == 1:
        lines = [f"for (int64_t block = {begin}; block < {end}; block += {size}) {{"]
    else:
        lines = [
            f"const int64_t stream = ({end} - {begin}) / {64 * streams} * 64;",
            f"for (int64_t turn = 0; turn < {end} - {begin}; turn += 64) {{",
            f"const int64_t there = turn / 64 % {streams} * stream + turn / {64 * streams} * 64;",
            f"const int64_t block = {begin} + (turn < {streams} * stream ? there : turn);",
        ]
    lines += [f"const int64_t stop = smaller(block + {size}, {end});"]
    lines += [f"if (large) fetch(x{c} + block);" for c in columns]
    loop = "for (int64_t i = block; i < stop; ++i) {"
    for condition, body in ways[:-1]:
        lines += [f"if ({condition}) {{", loop, *body, "}", "} else {"]
    return [*lines, loop, *ways[-1][1], "}", *["}"] * (len(ways) - 1), "}"]


def _indented(lines: list[str]) -> str:
    """One text, with what stands in braces moved to the right."""
    depth, moved = 0, []
    for line in lines:
        depth -= line.startswith("}")
        moved.append("    " * depth + line)
        depth += line.endswith("{")
    return "\n".join(moved) + "\n"


def _parts(layout: Layout, where: str) -> list[str]:
    """One element of each tensor that holds a value: their sum is what the rule gets."""
    return [f"x{layout.columns.index(part)}[i]" for part in layout.parts(where)]


def _keep(layout: Layout, where: str, value: str) -> list[str]:
    """The lines that write a value into the tensors that hold it; the last one takes the last rounding."""
    first, *rest = _parts(layout, where)
    draw = f", mixed(mixed((u32)i) ^ key{layout.columns.index(where)})" if where in layout.draws else ""
    if not rest:
        return [f"keep(&{first}, {value}{draw});"]
    return [f"keep(&{first}, {value});", f"keep(&{rest[0]}, left({value}, load({first})){draw});"]


def _type(node: Node) -> str:
    return "bool" if node.op in BOOLEAN else "real"


def _divides_by_one_number(node: Node) -> bool:
    """Whether all elements are divided by the same number, which is not known when the kernel is printed."""
    return node.op == "div" and node.args[0].stage == "element" and node.args[1].stage != "element" and (
        node.args[1].op != "constant"
    )  # fmt: skip


def operation(node: Node, args: list[str]) -> str:
    """The C++ of one node, given that of its arguments."""
    if node.op in SYMBOLS and node.op != "pow":
        return f"{args[0]} {SYMBOLS[node.op]} {args[1]}"
    return CALLS[node.op].format(*args)
