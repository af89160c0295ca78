"""From an annotated AnnData to one HTML file."""

from __future__ import annotations

import base64
from importlib import resources
from typing import TYPE_CHECKING, Final

from sivae import __version__
from sivae._checks import a_path
from sivae._extras import require
from sivae._whole import check_place, write_text
from sivae.pl._label import check_label
from sivae.report import _axes, _caveats, _facts, _figures

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData

WHAT: Final = "The report"


def build(adata: AnnData, path: str | Path, *, label: str | None = None) -> Path:
    """Write a report of a trained model as one HTML file that needs neither network nor model.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`, with the expression that was modelled.
    path
        The file to write; a file there is replaced.
    label
        Column of `obs` that names groups of cells; a column such as "cell_type" is looked for if not given.

    Returns
    -------
    The path. The file is written under a temporary name and then moved, so it is whole or absent.

    Raises
    ------
    MissingExtraError
        If matplotlib or jinja2 is not installed (extra `report`).
    SetupError, OptionError
        If the AnnData is not annotated, or has no such column.
    ArtefactError
        If the file cannot be written.
    """
    label = check_label(adata, label)
    path = check_place(a_path("path", path), what=WHAT, example="report.html")
    return write(adata, path, label=label, pictures=_figures.draw(adata, label=label))


def write(adata: AnnData, path: Path, *, label: str | None, pictures: Mapping[str, bytes]) -> Path:
    """Fill in the page and move it into place."""
    return write_text(path, [render(adata, label=label, pictures=pictures)], what=WHAT)


def render(adata: AnnData, *, label: str | None, pictures: Mapping[str, bytes]) -> str:
    """Return the page; every name and number is escaped by the template engine."""
    jinja2 = require("jinja2", extra="report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        resources.files("sivae.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    text: str = template.render(
        facts=_facts.collect(adata, label=label),
        axes=_axes.describe(adata, label=label),
        best=_axes.best_explained(adata),
        caveats=_caveats.find(adata, label=label),
        pictures={name: base64.b64encode(data).decode("ascii") for name, data in pictures.items()},
        version=__version__,
    )
    return text
