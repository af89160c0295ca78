"""The page of results, docs/benchmarks.md, made from the JSON files in results/."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from bench import _figures
from bench._common import HERE, RESULTS, table

NAMES = (
    "cells", "hidden", "sizes", "gammas", "recipe", "profiles", "neighborhoods", "queries", "hubs", "gene_space",
    "attribution", "images", "logic", "batches", "null_hubs", "planted_hubs", "steps", "loss", "ldvae", "growth",
    "step_limits", "out_of_core", "processes", "kills", "wide", "chromatin", "long",
    "individuals", "null_individuals", "individuals_time", "individuals_blood",
)  # fmt: skip
DOCS = HERE.parent / "docs"
PAGE, FIGURES, README = DOCS / "benchmarks.md", DOCS / "figures", HERE.parent / "README.md"
START, END = "<!-- results: written by python -m bench -->", "<!-- end of results -->"


def rewrite() -> None:
    """Put questions, tables and figures of every result there is on the page, and the headlines in README.md."""
    for path, text in written().items():
        part = path.with_suffix(".part")
        part.write_text(text)
        part.replace(path)


def written(figures: Path = FIGURES) -> dict[Path, str]:
    """What the results make of the page and of README.md today; the figures are drawn into their folder."""
    sections = "\n".join(_section(name, figures) for name in NAMES)
    return {
        PAGE: _between(PAGE, START, END, sections),
        README: _between(README, "<!-- headlines -->", "<!-- end of headlines -->", headlines()),
    }


def headlines() -> str:
    """The table of README.md: what each benchmark says in a line or two."""
    rows = []
    for name in NAMES:
        made, path = module(name), RESULTS / f"{name}.json"
        if path.exists() and hasattr(made, "headlines"):
            rows += made.headlines(json.loads(path.read_text()))
    return table(("question", "other", "siVAE", "ratio"), rows)


def _between(path: Path, start: str, end: str, text: str) -> str:
    """A file with another text between two marks."""
    before, rest = path.read_text().split(start)
    return before + start + "\n\n" + text + "\n" + end + rest.split(end)[1]


def _section(name: str, figures: Path) -> str:
    made, path = module(name), RESULTS / f"{name}.json"
    said = (made.__doc__ or "").strip()
    parts = [f"## {name}\n", f"`python -m bench {name}`. {said}\n"]
    if not path.exists():
        return "\n".join([*parts, "Not run yet.\n"])
    result = json.loads(path.read_text())
    return "\n".join([*parts, *_drawn(made, result, figures), made.table(result)])


def module(name: str) -> Any:
    """The benchmark of this name."""
    return import_module(f"bench.{name}")


def _drawn(made: Any, result: dict[str, Any], folder: Path) -> list[str]:
    """The figures of a benchmark, written as SVG; the lines that show them."""
    if not hasattr(made, "figures"):
        return []
    folder.mkdir(exist_ok=True)
    lines = []
    for name, figure in made.figures(result).items():
        _figures.save(figure, folder / f"{name}.svg")
        lines.append(f"![{name}](figures/{name}.svg)\n")
    return lines
