"""The report of a whole comparison, made once for each file of tests: `pytest_plugins = ["report_fixtures"]`."""

import pytest

from report_cases import Page, synthetic_result
from thalweg.lab.report import render


@pytest.fixture(scope="module")
def result():
    return synthetic_result()


@pytest.fixture(scope="module")
def source(result):
    return render(result)


@pytest.fixture(scope="module")
def page(source):
    return Page(source)
