"""Packages that may be missing: which command installs them."""

import doctest
import sys

import pytest

from thalweg import extras


def test_require():
    assert extras.require("json.decoder").__name__ == "json.decoder"
    with pytest.raises(extras.MissingExtra, match=r"^nothing_here is not installed: pip install 'thalweg\[lab\]'$"):
        extras.require("nothing_here.part")
    with pytest.raises(ImportError, match=r"'thalweg\[dev\]'"):
        extras.require("nothing_here", "dev")


def test_require_uses_the_name_that_pip_knows(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)  # as if it were not installed
    with pytest.raises(extras.MissingExtra, match=r"^scikit-learn is not installed"):
        extras.require("sklearn.datasets")


def test_require_does_not_hide_a_broken_package(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import something_else_missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="something_else_missing") as caught:
        extras.require("broken_package")
    assert not isinstance(caught.value, extras.MissingExtra)


def test_locate():
    assert (extras.locate("json") / "decoder.py").is_file()
    with pytest.raises(extras.MissingExtra, match=r"nothing_here is not installed"):
        extras.locate("nothing_here")


@pytest.mark.parametrize("module", ["thalweg.extras", "thalweg.lab.task", "thalweg.workloads"])
def test_examples(module):
    found = doctest.testmod(extras.require(module))
    assert found.attempted
    assert not found.failed
