"""The documents are true: their code runs, their links and paths exist, what is generated is fresh."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import thalweg as tw
from thalweg import rules
from thalweg.lab import ranges
from thalweg.signature import signature_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN_AT_MOST = 3
MODULES = ["thalweg", *(m.name for m in pkgutil.walk_packages(tw.__path__, "thalweg.") if "__main__" not in m.name)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fences(page: Path) -> Iterator[tuple[str, int, str]]:
    """Each fence's words after the backticks, the line its code begins on, and the code."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        yield found["info"].strip(), text.count("\n", 0, found.start("code")), found["code"]


def prose(page: Path) -> str:
    """The page without its fences."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


# ---- code


@pytest.mark.parametrize("page", [p for p in PAGES if any(i == "python" for i, *_ in fences(p))], ids=name)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what an example writes belongs nowhere
    torch.manual_seed(0)
    namespace = {"__name__": "__page__"}
    for info, line, code in fences(page):
        if info == "python":  # padded, so that a failure names the page's own line
            exec(compile("\n" * line + code, str(page), "exec"), namespace)


def test_few_fences_are_not_run():
    skipped = [name(page) for page in PAGES for info, *_ in fences(page) if info == "python no-run"]
    assert len(skipped) <= NOT_RUN_AT_MOST, skipped


def test_every_file_of_ranges_can_be_read(tmp_path):
    shown = [code for page in PAGES for info, _, code in fences(page) if info == "toml"]
    assert shown
    for code in shown:
        (tmp_path / "my.toml").write_text(code)
        known = {rule: list(signature_of(rules.find(rule)).numbers) for rule in rules.names()}
        found, _ = ranges.read(tmp_path / "my.toml", known)
        assert found


def test_every_fence_of_python_is_one_that_is_run_or_says_that_it_is_not():
    known = {"python", "python no-run", "toml", "sh", "text", "console", ""}
    odd = [(name(page), line, info) for page in PAGES for info, line, _ in fences(page) if info not in known]
    assert not odd


def calls(page: Path) -> list[str]:
    return sorted(set(re.findall(r"`(tw\.\w+\(params[^`]*\))`", prose(page))))


@pytest.mark.parametrize(
    ("page", "call"), [(p, c) for p in PAGES for c in calls(p)], ids=lambda x: name(x) if isinstance(x, Path) else x
)
def test_every_call_in_the_prose_makes_an_optimizer(page, call):
    made = eval(call, {"tw": tw, "params": [torch.nn.Parameter(torch.ones(2))]})
    assert isinstance(made, torch.optim.Optimizer)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_the_docstrings(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        found = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert found.failed == 0


# ---- what the pages point at


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)", prose(page)):
        link = "".join(target)
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{name(page)} links to {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{name(page)} links to {link}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent.name == "docs" or p.name == "CONTRIBUTING.md"], ids=name)
def test_paths_named_in_the_pages_exist(page):
    folders = r"(?:src|tests|scripts|docs|examples|benchmarks|\.ci)/[\w./*-]*"
    paths = re.findall(rf"`({folders})`", prose(page))
    missing = [path for path in paths if "NAME" not in path and not any(ROOT.glob(path.rstrip("/")))]
    assert not missing


def test_the_map_shows_every_part_of_the_package():
    shown = (ROOT / "docs/map.md").read_text(encoding="utf-8")
    package = ROOT / "src/thalweg"
    parts = [p for p in package.iterdir() if p.name[0] not in "_." and (p.suffix == ".py" or any(p.glob("*.py")))]
    assert [p.name for p in parts if f"`src/thalweg/{p.name}" not in shown] == []


# ---- what they promise


def files_on_the_way(make, rule: str) -> list[str]:
    """The files that a debugger walks through from `step` to the formula, in order, each once."""
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    optimizer = make([p])
    way: list[str] = []

    def look(frame, event, _):
        if event == "call" and frame.f_code.co_name == rule and not way:
            while frame is not None:
                path = Path(frame.f_code.co_filename)
                if path.is_relative_to(ROOT / "src/thalweg"):
                    way.insert(0, path.relative_to(ROOT / "src/thalweg").as_posix())
                frame = frame.f_back

    for _ in range(2):  # the first step also traces the rule
        way.clear()
        sys.setprofile(look)
        try:
            optimizer.step()
        finally:
            sys.setprofile(None)
    return list(dict.fromkeys(way))


def test_from_step_to_the_formula_as_the_map_says():
    way = files_on_the_way(lambda p: tw.AdamW(p, engine="eager"), "adamw")
    assert way == ["optimizer.py", "engine/eager.py", "rules/adamw.py"]
    lists = files_on_the_way(lambda p: tw.AdamW(p, foreach=True, engine="eager"), "adamw")
    assert lists == ["optimizer.py", "engine/model_wide.py", "engine/foreach.py", "rules/adamw.py"]
    decayed = files_on_the_way(lambda p: tw.Adam(p, engine="eager"), "adam")
    assert decayed == ["optimizer.py", "engine/eager.py", "engine/compose.py", "rules/adam.py"]
    assert "formula = staticmethod(adamw.adamw)" in (ROOT / "src/thalweg/optimizers.py").read_text(encoding="utf-8")


def test_readme_holds_the_two_commands():
    lines = [line.strip() for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    assert "pip install -c constraints.txt '.[lab]' && thalweg compare digits" in lines
    assert "pip install -c constraints.txt -e '.[lab,dev]' && pytest" in lines


def test_generated_files_are_fresh():
    script = [sys.executable, str(ROOT / "scripts/generate.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_convention_of_every_card_is_on_its_page():
    page = (ROOT / "docs/conventions.md").read_text(encoding="utf-8")
    for rule in rules.names():
        card = tw.optimizer(rules.find(rule)).card
        assert card is not None
        section = page.partition(f"## {card.title}\n")[2].partition("\n## ")[0]
        assert section.count("| `tw.") == len(card.conventions), rule


def test_contributing_gives_a_reason_for_every_dependency_and_for_no_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {"core": project["dependencies"], **project["optional-dependencies"]}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("\n## Dependencies\n")[2]
    text = text.partition("\n## ")[0]
    for group, wanted in declared.items():
        section = text.partition(f"\n### {group}\n")[2].partition("\n### ")[0]
        given = re.findall(r"^- `([\w.-]+)`: \S", section, re.MULTILINE)
        assert given == [re.split(r"[<>=!~ \[;]", requirement)[0] for requirement in wanted], group


def test_the_changelog_tells_of_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{tw.__version__}]" in changelog
