"""The report as Markdown, and as a table and a figure for a paper."""

import copy

import pytest

from report_cases import bare_stop, synthetic_stop
from thalweg.lab.report import markdown, paper
from thalweg.lab.report.paper import table
from thalweg.lab.report.words import code
from thalweg.pictures.style import short

pytest_plugins = ["report_fixtures"]


def test_the_markdown_says_what_the_page_says(result):
    text = markdown(result)
    assert f"**{result['verdict']}**" in text
    assert code(result) in text
    known = result["optimizers"]["AdamW"]["confirmed"]
    row = next(line for line in text.splitlines() if line.startswith("| AdamW (recommended)"))
    assert f"| {known['mean']:.4f} | {known['low']:.4f} to {known['high']:.4f} |" in row
    tables = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert {13 + 1, 8 + 1, 7 + 1, 5 + 1, 6 + 1} == set(tables)
    assert "None" not in text


@pytest.mark.parametrize("make", [synthetic_stop, bare_stop])
def test_markdown_and_paper_of_a_stopped_comparison(make):
    data = make()
    assert "No settings are recommended" in markdown(data)
    assert set(paper(data)) == {"table.tex"}


def test_the_latex_table_holds_the_numbers_and_escapes_the_rest(result):
    nasty = copy.deepcopy(result)
    nasty["task"]["metric"] = "cost in $ & 5 %"
    text = table(nasty)
    assert r"cost in \$ \& 5 \%" in text
    known = result["optimizers"]["AdamW"]["confirmed"]
    assert rf"\textbf{{AdamW}} & lr={short(result['optimizers']['AdamW']['chosen']['lr'])}" in text
    assert f"{known['mean']:.4f} [{known['low']:.4f}, {known['high']:.4f}] & leader & 5" in text
    assert "0.0034 [0.0011, 0.0057]" in text
    assert text.count(r"\\") == 1 + len(result["optimizers"])  # one end of line for the head and for each row


def test_the_paper_figure_is_the_same_bytes_for_the_same_data(result):
    first, second = paper(result), paper(copy.deepcopy(result))
    assert first == second
    assert first["figure.pdf"].startswith(b"%PDF")
    assert b"<svg" in first["figure.svg"]
