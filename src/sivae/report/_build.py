"""From an annotated AnnData to one HTML file."""

from __future__ import annotations

import base64
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from sivae import __version__, _keys
from sivae._checks import a_path, check_adata
from sivae._errors import ArtefactError, OptionError, some
from sivae._extras import require
from sivae.report import _axes, _caveats, _facts, _figures, _gene_space, _published

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData

    from sivae.tl._gene_sets import GeneSets


def build(adata: AnnData, path: str | Path, *, label: str | None = None, gene_sets: GeneSets | None = None) -> Path:
    """Write a report of a trained model as one HTML file that needs neither network nor model.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`, with the expression that was modelled.
    path
        The file to write; a file there is replaced.
    label
        Column of `obs` that names groups of cells; a column such as "cell_type" is looked for if not given.
    gene_sets
        Mapping from names to genes, or the path of a GMT file: the sets enriched among axes, modules and hubs are
        named. Hubs and modules are told where `sivae.tl.hubs` and `sivae.tl.modules` have been called.

    Returns
    -------
    The path. The file is written under a temporary name and then moved, so it is whole or absent.

    Raises
    ------
    MissingExtraError
        If matplotlib or jinja2 is not installed (extra `report`).
    SetupError, OptionError
        If the AnnData is not annotated, or has no such column.
    GeneMismatchError
        If no gene set holds a modelled gene.
    ArtefactError
        If the file cannot be written.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(200, 60, n_factors=2, genes_per_factor=20)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=2)
    >>> history = model.train(max_epochs=1, progress=False)
    >>> model.annotate(adata)
    >>> sivae.report.build(adata, "report.html", label="group")  # doctest: +SKIP
    """
    label, path = check_label(adata, label), check_place(a_path("path", path))
    enrichment = {} if gene_sets is None else enriched(adata, gene_sets)
    return write(adata, path, label=label, pictures=_figures.draw(adata, label=label), enrichment=enrichment)


def enriched(adata: AnnData, gene_sets: GeneSets) -> dict[str, pd.DataFrame]:
    """Gene sets of axes, and of modules and hubs where these were worked out."""
    from sivae import tl

    found = {"axes": tl.enrich(adata, gene_sets, method="ora")}
    if _keys.MODULE in adata.var and adata.var[_keys.MODULE].astype(str).str.startswith("module").any():
        found["modules"] = tl.enrich(adata, gene_sets, of="modules")
    if _keys.HUB in adata.var and adata.var[_keys.HUB].any():
        found["hubs"] = tl.enrich(adata, gene_sets, of="hubs")
    return found


def check_place(path: Path) -> Path:
    """Refuse a place where no file can be written, before anything is drawn."""
    if path.is_dir():
        raise ArtefactError(f"{path} is a folder, expected a file to write. Name one in it: {path / 'report.html'}")
    if not path.parent.is_dir():
        raise ArtefactError(
            f"The report could not be written to {path}: there is no folder {path.parent}, expected one. Make it first."
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ArtefactError(
            f"The report could not be written to {path}: expected a folder that can be written. Choose another."
        )
    return path


def check_label(adata: AnnData, label: str | None) -> str | None:
    """Return the column that names groups of cells: the one given, or else the likeliest, or None."""
    check_adata(adata)
    if label is not None and label not in adata.obs:
        raise OptionError(
            f"Found no column {label!r} in obs, expected one of: {some(adata.obs.columns, 20) or 'none are there'}. "
            "Name one of these as label, or leave it out."
        )
    return label if label is not None else _facts.find_label(adata)


def write(
    adata: AnnData,
    path: Path,
    *,
    label: str | None,
    pictures: Mapping[str, bytes],
    enrichment: Mapping[str, pd.DataFrame],
) -> Path:
    """Fill in the page and move it into place."""
    page = render(adata, label=label, pictures=pictures, enrichment=enrichment)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(page)
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ArtefactError(f"The report could not be written to {path}: {error}. Choose another place.") from error
    return path


def render(
    adata: AnnData, *, label: str | None, pictures: Mapping[str, bytes], enrichment: Mapping[str, pd.DataFrame]
) -> str:
    """Return the page; every name and number is escaped by the template engine."""
    jinja2 = require("jinja2", extra="report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        resources.files("sivae.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    text: str = template.render(
        facts=_facts.collect(adata, label=label, recipe=_published.rows(adata)),
        recipe=_published.describe(adata),
        axes=_axes.describe(adata, label=label, enriched=enrichment.get("axes")),
        space=_gene_space.describe(adata, label=label, enrichment=enrichment),
        best=_axes.best_explained(adata),
        caveats=_caveats.find(adata, label=label),
        pictures={name: base64.b64encode(data).decode("ascii") for name, data in pictures.items()},
        version=__version__,
    )
    return text
