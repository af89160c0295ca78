"""From an annotated AnnData to one HTML file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sivae._checks import a_path
from sivae._door import door
from sivae._whole import check_place, write_text
from sivae.pl._label import check_label
from sivae.report import _axes, _caveats, _facts, _figures, _gene_space, _page, _published
from sivae.tl._enrich import check_tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData


WHAT: Final = "The report"


@door
def build(
    adata: AnnData,
    path: str | Path,
    *,
    label: str | None = None,
    enrichment: pd.DataFrame | dict[str, pd.DataFrame] | None = None,
) -> Path:
    """Write a report of a trained model as one HTML file that needs neither network nor model.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`, with the expression that was modelled.
    path
        The file to write; a file there is replaced.
    label
        Column of `obs` that names groups of cells; a column such as "cell_type" is looked for if not given.
    enrichment
        What `sivae.tl.enrich` returned, of axes, modules or hubs; one frame or a dict of several. Hubs and modules are
        told where `sivae.tl.hubs` and `sivae.tl.modules` have been called.

    Returns
    -------
    The path. The file is written under a temporary name and then moved, so it is whole or absent.

    Raises
    ------
    MissingExtraError
        If matplotlib or jinja2 is not installed (extra `report`).
    SetupError, OptionError
        If the AnnData is not annotated, has no such column, or `enrichment` is something else.
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
    >>> sivae.report.build(adata, "report.html", label="group").name
    'report.html'
    """
    label = check_label(adata, label)
    path = check_place(a_path("path", path), what=WHAT, example="report.html")
    rows = enrichment_rows(enrichment)
    return write(adata, path, label=label, pictures=_figures.draw(adata, label=label), enrichment=rows)


def enrichment_rows(enrichment: pd.DataFrame | dict[str, pd.DataFrame] | None) -> pd.DataFrame | None:
    """The rows of all tables together, None without any."""
    import pandas as pd

    tables = check_tables(enrichment)
    return pd.concat(tables, ignore_index=True) if tables else None


def write(
    adata: AnnData,
    path: Path,
    *,
    label: str | None,
    pictures: Mapping[str, bytes],
    enrichment: pd.DataFrame | None,
) -> Path:
    """Fill in the page and move it into place."""
    page = render(adata, label=label, pictures=pictures, enrichment=enrichment)
    return write_text(path, [page], what=WHAT)


def render(adata: AnnData, *, label: str | None, pictures: Mapping[str, bytes], enrichment: pd.DataFrame | None) -> str:
    """Return the page; every name and number is escaped by the template engine."""
    values = {
        "facts": _facts.collect(adata, label=label, recipe=_published.rows(adata)),
        "recipe": _published.describe(adata),
        "axes": _axes.describe(adata, label=label, enriched=enrichment),
        "space": _gene_space.describe(adata, label=label, enrichment=enrichment),
        "best": _axes.best_explained(adata),
        "caveats": _caveats.find(adata, label=label),
    }
    return _page.render("page.html", pictures=pictures, values=values)
