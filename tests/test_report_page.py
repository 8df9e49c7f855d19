"""The report's page: all sections, whole and safe, with nothing from outside, and drawn alike each time."""

import copy
import html
import json
import re

import pytest

from report_cases import SECTIONS, Page, synthetic_result
from thalweg.lab.report import render, write_report
from thalweg.lab.report.drawings import pictures
from thalweg.lab.report.words import code

pytest_plugins = ["report_fixtures"]


def test_the_verdict_the_code_and_every_section_are_there(result, page):
    assert result["verdict"] in page.text
    assert "Recommended settings" in page.text
    assert code(result) in page.text
    assert [id for id in page.ids() if id in SECTIONS] == list(SECTIONS)
    assert {f"#{name}" for name in SECTIONS} <= {attrs.get("href") for tag, attrs in page.tags if tag == "a"}
    assert set(pictures(result)) == {"quality", "differences", "curves", "seconds", "lr", "tuning", "cost"}


def test_ids_are_unique_and_every_reference_hits_one(source, page):
    ids = page.ids()
    assert len(ids) == len(set(ids))
    used = {a or b for a, b in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', source)}
    used |= {id for _, attrs in page.tags for id in (attrs.get("aria-labelledby") or "").split()}
    assert set(SECTIONS) < used <= set(ids)


def test_the_file_is_self_contained_and_small(source, page):
    for tag, attrs in page.tags:
        assert tag not in {"script", "link", "img", "iframe"}
        for key in ("src", "href", "xlink:href"):
            assert attrs.get(key, "#").startswith("#")
    assert "@import" not in source
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", source))
    assert len(source.encode()) < 1_000_000


def test_pictures_say_what_they_are(page):
    drawn = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(drawn) == 7
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] for attrs in drawn)
    assert [tag for tag, _ in page.tags].count("desc") == 7


def test_the_same_data_give_the_same_bytes(result, source):
    assert render(copy.deepcopy(result)) == source


def test_what_comes_from_the_user_is_escaped():
    nasty = "<script>alert('x')</script> & $x$"
    data = synthetic_result()
    data["task"].update(name=nasty, metric=nasty, description=nasty)
    data["verdict"] = f"Undecided: {nasty}"
    data["decision"]["notes"] = [nasty]
    data["runs"][0].update(diverged=True, final=None, why=nasty)
    data = json.loads(json.dumps(data).replace('"RMSprop"', json.dumps(nasty)))
    source = render(data)
    assert "<script" not in source
    assert html.escape(nasty, quote=False).split("alert")[0] in source
    Page(source)


def test_the_files_are_replaced_as_a_whole(tmp_path, result, source):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(KeyError):
        write_report(result | {"task": {"name": "broken"}}, tmp_path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    write_report(result, tmp_path)
    assert path.read_text(encoding="utf-8") == source
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    papers = {f"paper/{name}" for name in ("figure.pdf", "figure.svg", "table.tex")}
    assert written == {"report.html", "report.md"} | papers


def test_a_screen_reader_is_told_the_name_of_every_part(result, page):
    ids = set(page.ids())
    named = [attrs for tag, attrs in page.tags if tag in ("section", "nav") or attrs.get("role")]
    assert len(named) >= 20
    for attrs in named:
        assert attrs.get("aria-label") or {*attrs.get("aria-labelledby", "missing").split()} <= ids, attrs
    drawn = {attrs.get("aria-label") for _, attrs in page.tags if attrs.get("class") == "drawing"}
    assert drawn == {f"{name}: picture, scrolls sideways" for name in pictures(result)}
    assert ("nav", {"aria-label": "Sections"}) in page.tags
    symbols = [attrs for tag, attrs in page.tags if tag == "span" and "color" in attrs.get("style", "")]
    assert len(symbols) == len(result["optimizers"])
    assert all(attrs["aria-hidden"] == "true" for attrs in symbols)


def test_what_scrolls_can_be_reached_by_the_keyboard(page):
    scrolling = [attrs for tag, attrs in page.tags if attrs.get("class") in ("wide", "drawing")]
    assert len(scrolling) >= 10
    assert all(attrs.get("tabindex") == "0" and attrs.get("role") for attrs in scrolling)
    assert ("a", {"class": "skip", "href": "#results"}) in page.tags
