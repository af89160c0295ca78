"""The page on plots has every plot, and its calls are ones that can be made."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import sivae
from sivae import pl

PAGE = (Path(__file__).parents[2] / "docs" / "plots.md").read_text(encoding="utf-8")
CALLS = sorted({found for found in re.findall(r"`(sivae\.pl\.[^`]*\))`", PAGE)})


@pytest.mark.parametrize("name", pl.__all__)
def test_every_plot_is_there(name):
    assert f"sivae.pl.{name}(" in PAGE


@pytest.mark.parametrize("written", CALLS)
def test_calls_can_be_made(written):
    for call in (node for node in ast.walk(ast.parse(written)) if isinstance(node, ast.Call)):
        parts = ast.unparse(call.func).split(".")
        function = sivae
        for part in parts[1:]:
            function = getattr(function, part)
        inspect.signature(function).bind(*call.args, **{word.arg: word.value for word in call.keywords})
