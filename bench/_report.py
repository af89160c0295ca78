"""The page of results, docs/benchmarks.md, made from the JSON files in results/."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from bench import _figures
from bench._common import HERE, RESULTS

NAMES = (
    "cells", "images", "gammas", "sizes", "batches", "logic", "profiles", "recipe",
    "steps", "loss", "ldvae", "attribution", "null_hubs", "planted_hubs",
)  # fmt: skip
DOCS = HERE.parent / "docs"
PAGE, FIGURES = DOCS / "benchmarks.md", DOCS / "figures"
START, END = "<!-- results: written by python -m bench -->", "<!-- end of results -->"


def rewrite() -> None:
    """Put the question, the tables and the figures of every result there is between the two marks of the page."""
    sections = [_section(name) for name in NAMES]
    before, rest = PAGE.read_text().split(START)
    text = before + START + "\n\n" + "\n".join(sections) + "\n" + END + rest.split(END)[1]
    part = PAGE.with_suffix(".part")
    part.write_text(text)
    part.replace(PAGE)


def _section(name: str) -> str:
    module, path = import_module(f"bench.{name}"), RESULTS / f"{name}.json"
    said = (module.__doc__ or "").strip()
    parts = [f"## {name}\n", f"`python -m bench {name}`. {said}\n"]
    if not path.exists():
        return "\n".join([*parts, "Not run yet.\n"])
    result = json.loads(path.read_text())
    return "\n".join([*parts, *_drawn(module, result), module.table(result)])


def _drawn(module: Any, result: dict[str, Any]) -> list[str]:
    """The figures of a benchmark, written as SVG; the lines that show them."""
    if not hasattr(module, "figures"):
        return []
    FIGURES.mkdir(exist_ok=True)
    lines = []
    for name, figure in module.figures(result).items():
        _figures.save(figure, FIGURES / f"{name}.svg")
        lines.append(f"![{name}](figures/{name}.svg)\n")
    return lines
