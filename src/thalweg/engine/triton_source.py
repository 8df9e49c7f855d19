"""Print a rule's kernels as Triton: one launch per kernel for all tensors of a group.

A launch gets a table of addresses, one column for each of p, g and the slots, and a map from its blocks to
(tensor, chunk). What a norm or a total needs is summed block by block, then by one small launch in a fixed
order, so the same numbers come out every time. The mean of a row is a launch of its own, one program for each row.

Numbers equal eager's: division and square root are rounded as IEEE 754 says (Triton's own ``/`` is not), NaN passes
through minimum and maximum, and whoever launches turns off the fusing of products into sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from thalweg import ops
from thalweg.engine.graph import SYMBOLS, Graph, Node
from thalweg.engine.layout import BOOLEAN, Layout, kernels_of, label, lay_out, needed
from thalweg.engine.store import STOCHASTIC
from thalweg.engine.triton_head import HEAD

MEMORY = {"float64": "tl.float64", "float32": "tl.float32", "bfloat16": "tl.bfloat16", "float16": "tl.float16"}
MEMORY[STOCHASTIC] = "tl.bfloat16"
TENSOR_KEY = "tensor key"  # the column of the tensors' own keys of random bits
LANES = 128  # partial sums that are added at a time

CALLS = {
    "abs": "tl.abs({0})",
    "sign": "sign({0})",
    "exp": "exp({0})",
    "log": "log({0})",
    "tanh": "tanh({0})",
    "where": "tl.where({0}, {1}, {2})",
    "minimum": "smaller({0}, {1})",
    "maximum": "larger({0}, {1})",
    "equal": "{0} == {1}",
    "pow": "pow({0}, {1})",
    "neg": "-{0}",
}
ROUNDED = {  # correctly, in each type of arithmetic
    "tl.float32": {"div": "tl.div_rn({0}, {1})", "sqrt": "tl.sqrt_rn({0})"},
    "tl.float64": {"div": "{0} / {1}", "sqrt": "tl.sqrt({0})"},
}


@dataclass(frozen=True)
class Printed:
    """The source of a graph's kernels, and what the launches' arguments stand for.

    Attributes:
        source: a Python module with ``kernel0``, ``kernel1`` ... and between them ``numbers0`` ...
        columns: of the table: p, slots and one-number slots, then what changes from step to step: temporaries and g.
        scalars: computed on the host, or on the device where something there decides them.
        draws: the places in the rule of values that are rounded by chance; their keys follow the scalars.
        numbers: one for each tensor, computed on the device.
        layouts: of the kernels, in order. `between`: the names of the launches that compute numbers, by the kernel
            that they come before; len(layouts) stands for the end.
    """

    source: str
    columns: tuple[str, ...]
    scalars: tuple[Node, ...]
    draws: tuple[int, ...]
    numbers: tuple[Node, ...]
    layouts: tuple[Layout, ...]
    between: dict[int, str]

    @property
    def fixed(self) -> list[str]:
        """The columns that stay from step to step."""
        return [c for c in self.columns if c != "g" and not c.startswith("temporary")]


def print_kernels(graph: Graph, memory: Mapping[str, str]) -> Printed:
    """The Triton source of all kernels of a graph.

    Args:
        graph: a traced rule without matrix operations.
        memory: how ``p``, ``g`` and all that is kept lie in memory, as named by `Store.memory` and in `MEMORY`;
            without the slots that the host knows.
    """
    kernels = kernels_of(graph, memory)
    layouts = tuple(lay_out(graph, kernel, f"kernel{i}", memory) for i, kernel in enumerate(kernels))
    stages = list(_stages(graph, layouts))
    used = [n for layout in layouts for n in layout.scalars]
    used += [a for _, nodes in stages for n in nodes for a in n.args if a.stage == "host" and a.op != "constant"]
    scalars = tuple(dict.fromkeys(used))
    numbers = tuple(dict.fromkeys(n for cuts, nodes in stages for n in (*cuts, *nodes)))
    places = dict.fromkeys(where for layout in layouts for where in layout.columns)
    places |= dict.fromkeys(name for name in graph.slots if graph.inputs[name].stage == "number")
    draws = tuple(dict.fromkeys(place for layout in layouts for place in layout.draws.values()))
    places |= {TENSOR_KEY: None} if draws else {}
    columns = tuple(sorted(places, key=lambda where: (where == "g", where.startswith("temporary"))))
    page = _Page(graph, memory, columns, scalars, draws, numbers)
    parts = [f"# {label(graph, memory)}", HEAD]
    between = {}
    for i, (cuts, nodes) in enumerate(stages):
        if cuts or nodes:
            between[i] = f"numbers{i}"
            parts.append(page.numbers_between(between[i], cuts, nodes))
        if i < len(layouts):
            parts += [page.mean(layouts[i], kernels[i].body, j) for j in range(len(layouts[i].means))]
            parts += page.kernel(layouts[i], kernels[i].body)
    return Printed("\n\n".join(parts), columns, scalars, draws, numbers, layouts, between)


def _stages(graph: Graph, layouts: tuple[Layout, ...]) -> Iterator[tuple[tuple[Node, ...], list[Node]]]:
    """Before each kernel, and at the end: the cuts whose sums are complete, and the numbers known with them."""
    known = {n for n in graph.nodes if n.stage == "host"}
    for cuts in ((), *(layout.sums for layout in layouts)):
        known |= set(cuts)
        nodes = []
        for n in graph.nodes:
            reduces = n.op in ("norm", "total")
            if n.stage == "number" and n not in known and not reduces and all(a in known for a in n.args):
                known.add(n)
                nodes.append(n)
        yield cuts, nodes


@dataclass
class _Page:
    graph: Graph
    memory: Mapping[str, str]
    columns: tuple[str, ...]
    scalars: tuple[Node, ...]
    draws: tuple[int, ...]
    numbers: tuple[Node, ...]

    def __post_init__(self) -> None:
        self.real = "tl.float64" if self.memory["p"] == "float64" else "tl.float32"

    def kind(self, where: str) -> str:
        """The type in memory; temporaries are as wide as the arithmetic."""
        return MEMORY[self.memory[where]] if where in self.memory else self.real

    def constants(self, nodes: Iterable[Node], names: dict[Node, str], real: str) -> list[str]:
        """Constants of the arithmetic's own type: a bare number in Triton would be a float32."""
        lines = []
        for node in dict.fromkeys(n for n in nodes if n.op == "constant"):
            names[node] = f"c{len(lines)}"
            value = repr(float(node.value or 0))
            value = value if value not in ("inf", "-inf", "nan") else f'float("{value}")'
            lines.append(f"    {names[node]} = tl.full((), {value}, {real})")
        return lines

    def given(self, node: Node, name: str, index: int, table: str, real: str) -> str:
        """The line that loads a scalar or a number."""
        load = f"tl.load({table} + {index})"
        return f"    {name} = {load}{' != 0' if node.op in BOOLEAN else f'.to({real})'}"

    def own_rows(self) -> list[str]:
        """The lines that turn to the tensor's own addresses, scalars and numbers."""
        lines = ["    table += k"]
        lines += ["    scalars += k * stride"] if self.scalars or self.draws else []
        return lines + ([f"    numbers += k * {len(self.numbers)}"] if self.numbers else [])

    def names(self, layout: Layout) -> dict[Node, str]:
        """What is known before the first element is read."""
        groups = {"s": layout.scalars, "n": layout.numbers, "m": layout.means}
        return {node: f"{letter}{i}" for letter, group in groups.items() for i, node in enumerate(group)}

    def elements(self, layout: Layout, body: tuple[Node, ...], wanted: list[Node], names: dict[Node, str]) -> list[str]:
        """The lines that load and compute these values of the elements ``i``; their names are added."""
        found = needed(wanted)
        used = [a for n in body if n in found for a in n.args]
        lines = self.constants([*used, *wanted], names, self.real)
        for i, (node, where) in enumerate(layout.reads.items()):
            if node in found:
                names[node] = f"r{i}"
                lines.append(f"    r{i} = {' + '.join(self.load(layout, part) for part in layout.parts(where))}")
        for i, node in enumerate(body):
            if node in found and node.op not in ops.ROWS:
                names[node] = f"v{i}"
                lines.append(f"    v{i} = {_operation(node, [names[a] for a in node.args], self.real)}")
        return lines

    def owned(self, layout: Layout) -> list[str]:
        """The lines that find the tensor's memory, and load its scalars and numbers."""
        lines = []
        for i, where in enumerate(layout.columns):
            column = self.columns.index(where)
            lines.append(f"    x{i} = tl.load(table + tensors * {column}).to(tl.pointer_type({self.kind(where)}))")
        for i, node in enumerate(layout.scalars):
            lines.append(self.given(node, f"s{i}", self.scalars.index(node), "scalars", self.real))
        for i, node in enumerate(layout.numbers):
            lines.append(self.given(node, f"n{i}", self.numbers.index(node), "numbers", self.real))
        return lines

    def mean(self, layout: Layout, body: tuple[Node, ...], j: int) -> str:
        """The function that takes a mean of every row, in float64."""
        names, (of,) = self.names(layout), layout.means[j].args
        lines = self.elements(layout, body, [of], names)
        at = f"means + row * {len(layout.means)}"
        return "\n".join([
            '@triton.jit(do_not_specialize=["tensors", "stride"])',
            f"def {layout.name}_mean{j}(",
            "    table, tensors, scalars, stride, numbers, means, owners, begins, lengths, BLOCK: tl.constexpr",
            "):",
            "    row = tl.program_id(0)",
            "    k = tl.load(owners + row)",
            *self.own_rows(),
            "    length = tl.load(lengths + k)",
            "    at = tl.load(begins + row)",
            "    end = at + length",
            *self.owned(layout),
            *(f"    m{earlier} = tl.load({at} + {earlier}).to({self.real})" for earlier in range(j)),
            "    all = tl.zeros([BLOCK], tl.float64)",
            "    while at < end:",
            "        i = at + tl.arange(0, BLOCK)",
            "        inside = i < end",
            *(f"    {line}" for line in lines),
            f"        all += only({names[of]}, inside).to(tl.float64)",
            "        at += BLOCK",
            f"    tl.store({at} + {j}, tl.sum(all) / length)",
        ]) + "\n"  # fmt: skip

    def kernel(self, layout: Layout, body: tuple[Node, ...]) -> list[str]:
        """The function of one kernel, and the one that it calls on a chunk."""
        names = self.names(layout)
        given = [
            *(names[n] for n in (*layout.scalars, *layout.numbers)),
            *(["means", "row", "has"] if layout.means else []),
        ]
        given += [f"key{layout.columns.index(where)}" for where in layout.draws]
        wanted = [*(cut.args[0] for cut in layout.sums), *(node for _, node in layout.writes)]
        lines = [
            f"    m{j} = tl.load(means + row * {len(layout.means)} + {j}, mask=has, other=0.0).to({self.real})"
            for j in range(len(layout.means))
        ]
        lines += self.elements(layout, body, wanted, names)
        for where, node in layout.writes:
            lines += self.keep(layout, where, names[node])
        for j, cut in enumerate(layout.sums):
            lines.append(f"    y = only({names[cut.args[0]]}, inside).to(tl.float64)")
            lines.append(f"    tl.store(sums + {j}, tl.sum({'y * y' if cut.op == 'norm' else 'y'}))")
        columns = [f"x{i}" for i in range(len(layout.columns))]
        arguments = ", ".join(["i", "inside", "sums", *columns, *given])
        chunk = [f"@triton.jit\ndef {layout.name}_chunk({arguments}):", *lines]
        rows = " means, lengths, rows," if layout.means else ""
        whole = [
            '@triton.jit(do_not_specialize=["tensors", "stride"])',
            f"def {layout.name}(",
            f"    table, tensors, scalars, stride, numbers, sums, sizes, owners, chunks,{rows}",
            "    BLOCK: tl.constexpr, ALIGNED: tl.constexpr,",
            "):",
            "    block = tl.program_id(0)",
            "    k = tl.load(owners + block)",
            *self.own_rows(),
            "    size = tl.load(sizes + k)",
            "    begin = tl.load(chunks + block).to(tl.int64) * BLOCK",
            "    i = begin + tl.arange(0, BLOCK)",
            *self.owned(layout),
            "    if ALIGNED:",
            *(f"        {x} = tl.multiple_of({x}, 16)" for x in columns),
        ]
        if layout.means:  # where a tensor has no rows their length is 0, and so is their mean
            whole += [
                "    length = tl.load(lengths + k)",
                "    row = tl.load(rows + k) + i // tl.maximum(length, 1)",
                "    has = (length > 0) & (i < size)",
            ]
        for where, place in layout.draws.items():
            step = f"tl.load(scalars + {len(self.scalars) + self.draws.index(place)}).to(tl.int64)"
            own = f"tl.load(table + tensors * {self.columns.index(TENSOR_KEY)})"
            whole.append(f"    key{layout.columns.index(where)} = ({step} ^ {own}).to(tl.uint32)")
        sums = f"sums + block * {len(layout.sums)}" if layout.sums else "None"
        call = ", ".join(["i", "{}", sums, *columns, *given])
        whole += [
            "    if begin + BLOCK <= size:  # without a mask memory is read in the widest words",
            f"        {layout.name}_chunk({call.format('None')})",
            "    else:",
            f"        {layout.name}_chunk({call.format('i < size')})",
        ]
        return ["\n".join(chunk) + "\n", "\n".join(whole) + "\n"]

    def load(self, layout: Layout, where: str) -> str:
        """What is read from a tensor, as wide as the arithmetic."""
        return f"wide(tl.load(x{layout.columns.index(where)} + i, mask=inside), {self.real})"

    def keep(self, layout: Layout, where: str, value: str) -> list[str]:
        """The lines that write a value into the tensors that hold it; the last of them is rounded by chance."""
        lines = []
        parts = layout.parts(where)
        for part in parts:
            if part == parts[-1] and where in layout.draws:
                key = f"key{layout.columns.index(where)}"
                value = f"by_chance({value}, mixed(mixed(i.to(tl.uint32)) ^ {key}))"
            x = layout.columns.index(part)
            lines.append(f"    k{x} = narrow({value}, {self.kind(part)})")
            lines.append(f"    tl.store(x{x} + i, k{x}, mask=inside)")
            value = f"rest({value}, wide(k{x}, {self.real}))"
        return lines

    def numbers_between(self, name: str, cuts: tuple[Node, ...], nodes: list[Node]) -> str:
        """The function that adds up the blocks' sums and computes what follows, once per tensor, in float64."""
        names: dict[Node, str] = {}
        lines = [
            '@triton.jit(do_not_specialize=["tensors", "stride"])',
            f"def {name}(table, tensors, scalars, stride, numbers, sums, firsts, wholes, LANES: tl.constexpr):",
            "    k = tl.program_id(0)",
            *self.own_rows(),
            *self.constants((a for n in nodes for a in n.args), names, "tl.float64"),
        ]
        for i, node in enumerate(cuts):
            names[node] = f"w{i}"
            own = f"added(sums + {i}, tl.load(firsts + k), tl.load(firsts + k + 1), {len(cuts)}, LANES)"
            lines.append(f"    w{i} = {f'tl.sqrt({own})' if node.op == 'norm' else f'tl.load(wholes + {i})'}")
        outside = dict.fromkeys(a for n in nodes for a in n.args if a not in nodes and a not in names)
        for i, node in enumerate(outside):
            names[node] = f"u{i}"
            table, found = ("scalars", self.scalars) if node.stage == "host" else ("numbers", self.numbers)
            lines.append(self.given(node, f"u{i}", found.index(node), table, "tl.float64"))
        slots = {self.graph.inputs[slot]: slot for slot in self.graph.slots}
        for i, node in enumerate(nodes):
            names[node] = f"v{i}"
            if node in slots:
                lines.append(f"    v{i} = tl.load({self.slot(slots[node])}).to(tl.float64)")
            else:
                lines.append(f"    v{i} = {_operation(node, [names[a] for a in node.args], 'tl.float64')}")
        for node in (*cuts, *nodes):
            at = f"numbers + {self.numbers.index(node)}"
            lines.append(f"    tl.store({at}, {names[node]}.to(tl.float64))")
            for slot in self.graph.slots:
                if self.graph.outputs[slot] is node and self.graph.inputs[slot].stage == "number":
                    kind = self.kind(slot)
                    lines.append(f"    tl.store({self.slot(slot)}, {names[node]}.to({kind}))")
        return "\n".join(lines) + "\n"

    def slot(self, name: str) -> str:
        """The address of a one-number slot."""
        at = f"table + tensors * {self.columns.index(name)}"
        return f"tl.load({at}).to(tl.pointer_type({self.kind(name)}))"


def _operation(node: Node, args: list[str], real: str) -> str:
    if node.op == "pow" and node.args[1].value in (2, 3):  # as torch does
        return " * ".join([args[0]] * int(node.args[1].value or 0))
    if node.op in ROUNDED[real]:
        return ROUNDED[real][node.op].format(*args)
    if node.op in SYMBOLS and node.op != "pow":
        return f"{args[0]} {SYMBOLS[node.op]} {args[1]}"
    return CALLS[node.op].format(*args)
