"""docs/comparison.md says no number that the benchmarks and the defaults do not."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "comparison.md"
if not PAGE.is_file():
    pytest.skip("docs/ is not part of this copy", allow_module_level=True)

SOURCES = ("docs/benchmarks.md", "docs/defaults.md", "README.md")
SHARE = re.compile(r"(?<![\w.])(\.\d{2,3})\b(?!\d)")
"""Accuracies, correlations and shares, as the page writes them."""


def shown():
    return "\n".join((ROOT / name).read_text() for name in SOURCES)


def test_every_share_is_in_a_table_of_the_package():
    numbers = SHARE.findall(PAGE.read_text())
    assert len(numbers) > 60
    text = shown()
    missing = [n for n in numbers if not re.search(rf"(?<![\d.])0?{re.escape(n)}", text)]
    assert missing == []


def test_a_number_of_no_table_would_be_seen():
    assert re.search(r"(?<![\d.])0?\.9871", shown()) is None
    assert SHARE.findall("labels .123 against .45 at 2.5 and 0.5") == [".123", ".45"]
