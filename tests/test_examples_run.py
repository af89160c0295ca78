"""Every public callable has an example in its docstring, which runs as it is written and prints what it says."""

from __future__ import annotations

import doctest
import inspect

import pytest
from test_package import CALLABLES

from sivae.model._contributions import Explanation

# What `SiVAE.explain` returns is described in docs/api.md; its methods are shown by the example of the class.
SHOWN = {**CALLABLES, "SiVAE.explain().decode": Explanation}
HOW = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
every_callable = pytest.mark.parametrize("name", SHOWN)


def example_of(name: str) -> doctest.DocTest:
    """Parse the example of a public callable. It starts from nothing, as a reader does who pastes it."""
    text = inspect.getdoc(SHOWN[name]) or ""
    _, _, section = text.partition("\nExamples\n--------\n")
    return doctest.DocTestParser().get_doctest(section, {"__name__": "__main__"}, name, None, 0)


@every_callable
def test_there_is_an_example(name):
    lines = example_of(name).examples
    assert lines, f"{name} has no section Examples with lines that begin with >>>"
    assert any("import sivae" in line.source or ", sivae" in line.source for line in lines), "does not import sivae"
    called = name.rsplit(".", 1)[-1]
    assert any(called in line.source for line in lines), f"does not use {called}"
    skipped = [line.source for line in lines if line.options.get(doctest.SKIP)]
    assert not skipped, f"leaves out {skipped}"


def with_marks(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.slow) if name.startswith("report.") else name


@pytest.mark.parametrize("name", [with_marks(name) for name in SHOWN])
def test_the_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    failed, tried = doctest.DocTestRunner(optionflags=HOW, verbose=False).run(example_of(name), out=said.append)
    assert tried
    assert not failed, "".join(said)
