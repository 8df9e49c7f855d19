"""The report of a comparison that was stopped: what is known, and what is missing."""

import pytest

from report_cases import SECTIONS, Page, bare_stop, synthetic_result, synthetic_stop
from thalweg.lab.report import markdown, render


@pytest.mark.parametrize("make", [synthetic_stop, bare_stop])
def test_a_stopped_comparison_reports_what_is_known(make):
    data = make()
    page = Page(render(data))
    assert data["verdict"] in page.text
    assert "Interrupted." in page.text
    assert "No settings are recommended" in page.text
    assert [id for id in page.ids() if id in SECTIONS] == list(SECTIONS)
    assert "None" not in page.text


def test_a_stopped_comparison_says_what_is_missing():
    text = Page(render(synthetic_stop())).text
    assert "The search is not done: AdamW 0 of 10, SGD 0 of 10" in text
    assert "No settings were confirmed on fresh seeds" in text
    assert "thalweg resume goes on" in text
    later = synthetic_result() | {"interrupted": True}
    later["budget"]["looks"] = [5, 10]
    later["optimizers"]["RMSprop"]["confirmed"]["n"] = 2
    assert "Not all fresh seeds were run: AdamW 5, Nesterov 5, RMSprop 2 of 5." in markdown(later)
