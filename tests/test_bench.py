"""Every benchmark runs, small: its rows are made and its table is written from the result that is committed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
if not (ROOT / "bench").is_dir():
    pytest.skip("bench/ is not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from bench import _common, _report  # noqa: E402

NEEDS = {"ldvae": "scvi"}
"""Benchmarks that are nothing without a package that the tests do not install."""


@pytest.mark.slow
@pytest.mark.parametrize("name", _report.NAMES)
def test_runs_small(name, tmp_path):
    needed = NEEDS.get(name)
    if needed is not None and find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    before = {path: path.stat().st_mtime_ns for path in (ROOT / "bench").rglob("*.json")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench", name, "--quick"],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"SIVAE_DATA": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) > 1, "nothing was measured"
    assert before == {path: path.stat().st_mtime_ns for path in (ROOT / "bench").rglob("*.json")}


@pytest.mark.slow
def test_the_page_the_readme_and_the_figures_are_what_the_results_make_of_them(tmp_path):
    for path, text in _report.written(tmp_path).items():
        assert path.read_text() == text, f"{path.name} is not up to date: python -m bench table"
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn
    assert drawn == {path.name: path.read_bytes() for path in _report.FIGURES.iterdir()}


@pytest.mark.parametrize("name", _report.NAMES)
def test_the_page_shows_the_result(name):
    """docs/benchmarks.md has its table, and a link to it at the top."""
    page = _report.PAGE.read_text()
    top = page.split(_report.START)[0]
    assert f"[{name}](#{name})" in top
    path = _common.RESULTS / f"{name}.json"
    if not path.exists():
        assert f"## {name}\n" in page
        return
    module = _report.module(name)
    assert module.table(json.loads(path.read_text())).strip() in page


def test_rows_go_on_where_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(_common, "RESULTS", tmp_path)
    rows = _common.Rows("some", ("a",), quick=False)
    assert rows.find(lambda: {"x": 1}, a=1)["x"] == 1
    again = _common.Rows("some", ("a",), quick=False)
    assert again.find(lambda: {"x": 2}, a=1)["x"] == 1  # not worked out again
    again.find(lambda: {"x": 3}, a=2)
    again.write(fact="so")
    written = json.loads((tmp_path / "some.json").read_text())
    assert [row["x"] for row in written["rows"]] == [1, 3]
    assert written["fact"] == "so"
    assert not (tmp_path / "some.rows").exists()


def test_quick_rows_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(_common, "RESULTS", tmp_path)
    rows = _common.Rows("some", ("a",), quick=True)
    rows.find(lambda: {"x": 1}, a=1)
    rows.write()
    assert list(tmp_path.iterdir()) == []


def test_a_table_shows_numbers_and_gaps():
    made = _common.table(("a", "b"), [["x", 0.12345], [None, float("nan")], ["y", 1234.5]])
    assert made.splitlines() == ["| a | b |", "| --- | --- |", "| x | 0.123 |", "|  |  |", "| y | 1234 |"]
