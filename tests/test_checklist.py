"""The checklist has every row once, and names nothing that is not there."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import sivae

TEXT = (Path(__file__).parents[1] / "docs" / "checklist.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in TEXT.splitlines() if re.match(r"\| \d+ \|", line)]


def test_every_row_is_there_once():
    assert [int(row[0].strip("| ")) for row in ROWS] == list(range(1, 111))
    assert {row[1] for row in ROWS} == set("MTDAVEU")
    assert all(len(row[3].strip(" |")) > 3 for row in ROWS)


def test_no_row_is_open():
    assert not [row[0] for row in ROWS if re.search(r"\bopen\b(?! chromatin)", row[3])]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`python -m bench (\w+)", TEXT))))
def test_benchmarks_that_are_named_are_there(name):
    folder = Path(__file__).parents[1] / "bench"
    if not folder.is_dir():
        pytest.skip("bench/ is not part of this copy")
    assert (folder / f"{name}.py").is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`sivae\.(\w+(?:\.\w+)?)", TEXT))))
def test_what_is_named_is_there(name):
    found = sivae
    for part in name.split("."):
        found = getattr(found, part)


def arguments(call):
    """Names of the arguments in a call as it is written."""
    return re.findall(r"(\w+)=", call)


@pytest.mark.parametrize("written", sorted(set(re.findall(r"`P\(([^`]*)\)`", TEXT))))
def test_settings_are_there(written):
    known = {field.name for field in dataclasses.fields(sivae.PublishedOptions)}
    assert set(arguments(written)) <= known


@pytest.mark.parametrize("call", sorted(set(re.findall(r"`sivae\.([\w.]+)\(([^`]*)\)`", TEXT))))
def test_arguments_of_functions_are_there(call):
    name, written = call
    found = sivae
    for part in name.split("."):
        found = getattr(found, part)
    assert set(arguments(written)) <= set(inspect.signature(found).parameters), name


@pytest.mark.parametrize("call", sorted(set(re.findall(r"`(?:SiVAE\.)?(\w+)\(([^`]*)\)", TEXT))))
def test_arguments_of_methods_are_there(call):
    name, written = call
    for holder in (sivae.SiVAE, sivae, sivae.tl, sivae.pl, sivae.pp):
        if hasattr(holder, name):
            known = set(inspect.signature(getattr(holder, name)).parameters)
            assert set(arguments(written)) <= known, name
            return
    assert name in ("P", "SiVAE", "explain"), name
