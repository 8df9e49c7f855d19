"""Check that every import in src/thalweg points down: `python scripts/layers.py`.

The floors, from the ground up, and the rules that hold between them stand below as data; the sentences
that this script prints say which rule an import breaks, and where. Exit 0: all well. Exit 1: it is not.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "thalweg"
# Each floor with the modules (or whole packages) that live on it. The longest name that fits decides, so
# `minimize.search` may live on another floor than `minimize`. "" is the package's own __init__.
FLOORS: dict[str, tuple[str, ...]] = {
    "ground": ("ops", "signature", "card", "extras", "landscape", "typed", "minimize.arrays", "minimize.card"),
    "formulas": ("rules", "transforms", "landscapes", "minimize.direction", "minimize.search"),
    "machinery": ("engine", "printing", "claims", "minimize.loop"),
    "doors": (
        "",
        "arguments",
        "gradients",
        "optimizer",
        "optimizers",
        "rule_class",
        "namesakes",
        "schedule",
        "together",
        "explanation",
        "wrappers",
        "partition",
        "minimize",
        "contract",
    ),
    "lab": ("lab", "workloads", "racing", "pictures"),
    "street": ("cli", "__main__", "playground"),
}
HEIGHT = {floor: height for height, floor in enumerate(FLOORS)}
CORE = {"torch", "numpy", "platformdirs", PACKAGE}  # what a bare installation has, besides Python itself
# Loops that are closed by an import inside a function, on purpose: (importer, imported) and why.
KNOWN_LOOPS: dict[tuple[str, str], str] = {
    ("engine.graph", "engine.readable"): "print(graph) calls its printer, which needs the graph's words",
}


@dataclass(frozen=True)
class Import:
    """One import: `importer` and `imported` without the package's name where they are ours.

    `when` is "now" (it runs with the module), "later" (inside a function) or "never" (for the type checker).
    """

    importer: str
    imported: str
    ours: bool
    when: str
    place: str


def modules(root: Path) -> dict[str, Path]:
    """Every module below `root` (the package's folder), by its name without the package's."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def floor_of(module: str) -> str | None:
    """The floor of a module, or None where the table above has no place for it."""
    best: tuple[int, str] | None = None
    for floor, names in FLOORS.items():
        for name in names:
            fits = module == name or (name and module.startswith(f"{name}."))
            if fits and (best is None or len(name) > best[0]):
                best = (len(name), floor)
    return best[1] if best else None


def imports(root: Path) -> list[Import]:
    """Every import in the tree, also inside functions and by `import_module("...")` or `require("...")`."""
    known = modules(root)
    found = []
    for module, path in known.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node, when in _walk(ast.parse(path.read_text(encoding="utf-8")), "now"):
            for target in _targets(node, package, known):
                ours = target == PACKAGE or target.startswith(f"{PACKAGE}.")
                name = target[len(PACKAGE) + 1 :] if ours else target.partition(".")[0]
                while ours and name not in known and name:  # a name in a module: the module is what is imported
                    name = name.rpartition(".")[0]
                place = f"{path.relative_to(root.parent)}:{getattr(node, 'lineno', 0)}"
                found.append(Import(module, name, ours, when, place))
    return found


def _walk(node: ast.AST, when: str) -> Iterator[tuple[ast.AST, str]]:
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for child in node.body:
            yield from _walk(child, "never")
        for child in node.orelse:
            yield from _walk(child, when)
        return
    yield node, when
    inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and when == "now"
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, "later" if inside else when)


def _targets(node: ast.AST, package: str, known: Mapping[str, Path]) -> list[str]:
    """The full names of the modules that a node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = [PACKAGE, *(package.split(".") if package else [])]
            base = ".".join([*above[: len(above) - node.level + 1], *([base] if base else [])])
        if base.partition(".")[0] != PACKAGE:
            return [base]
        return [f"{base}.{alias.name}" if alias.name != "*" else base for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in ("import_module", "require") and isinstance(node.args[0].value, str):
            return [node.args[0].value]
    return []


def offences(root: Path, known_loops: Mapping[tuple[str, str], str] = KNOWN_LOOPS) -> list[str]:
    """One sentence for every rule that is broken in the tree, with its file and line."""
    said = []
    known = modules(root)
    for module, path in known.items():
        if floor_of(module) is None:
            where = path.relative_to(root.parent)
            said.append(f"{where}:1: {module} has no floor; give it one in FLOORS of scripts/layers.py.")
    found = imports(root)
    for one in found:
        sentence = _arrow(one) if one.ours else _extra(one)
        if sentence:
            said.append(f"{one.place}: {sentence}")
    return [*dict.fromkeys(said), *_loops(found, known_loops)]


def _arrow(one: Import) -> str | None:
    here, there = floor_of(one.importer), floor_of(one.imported)
    if here is None or there is None:
        return None
    importer, imported = _shown(one.importer), _shown(one.imported)
    if {here, there} == {"formulas", "machinery"}:
        said = "machinery may not import a formula" if here == "machinery" else "a formula may not import machinery"
        return f"{importer} imports {imported}: {said}; they meet at the doors."
    if one.importer == "" and one.when == "never":
        return None  # the front door names what it hands out later
    if HEIGHT[there] > HEIGHT[here]:
        return f"{importer} ({here}) imports {imported} ({there}): an import may only point down."
    return None


def _extra(one: Import) -> str | None:
    here = floor_of(one.importer)
    if here is None or HEIGHT[here] >= HEIGHT["lab"] or one.when != "now":
        return None
    if one.imported in CORE or one.imported in sys.stdlib_module_names:
        return None
    return (
        f"{_shown(one.importer)} ({here}) imports {one.imported} as it loads: below the lab there is only "
        "torch, numpy and platformdirs."
    )


def _loops(found: list[Import], known_loops: Mapping[tuple[str, str], str]) -> list[str]:
    """Import cycles between modules of one floor (between floors there are none if no arrow points up)."""
    places: dict[tuple[str, str], str] = {}
    for one in found:
        same = floor_of(one.importer) == floor_of(one.imported) is not None
        if one.ours and one.when != "never" and same and one.importer != one.imported:
            places.setdefault((one.importer, one.imported), one.place)
    said = [
        f"scripts/layers.py: KNOWN_LOOPS names {_shown(a)} -> {_shown(b)}, and there is no such loop any more."
        for a, b in known_loops
        if _path(b, a, places) is None or (a, b) not in places
    ]
    edges = {edge: place for edge, place in places.items() if edge not in known_loops}
    seen: set[frozenset[str]] = set()
    for (a, b), place in edges.items():
        back = _path(b, a, edges)
        if back is not None and frozenset(back) not in seen:
            seen.add(frozenset(back))
            said.append(f"{place}: these import each other: {' -> '.join(map(_shown, [a, *back]))}.")
    return said


def _path(start: str, end: str, edges: Mapping[tuple[str, str], str]) -> list[str] | None:
    """The shortest way along the imports, both ends included."""
    ways = [[start]]
    seen = {start}
    for way in ways:
        if way[-1] == end:
            return way
        for a, b in edges:
            if a == way[-1] and b not in seen:
                seen.add(b)
                ways.append([*way, b])
    return None


def _shown(module: str) -> str:
    return f"{PACKAGE}.{module}" if module else PACKAGE


def main() -> int:
    root = Path(__file__).resolve().parent.parent / "src" / PACKAGE
    said = offences(root)
    print("\n".join(said) or f"{len(modules(root))} modules, {len(imports(root))} imports: none points up")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
