"""From an annotated AnnData to one HTML file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sivae._checks import a_path, whole_number
from sivae._door import door
from sivae._whole import check_place, write_text
from sivae.explorer import _page, _payload
from sivae.pl._label import check_label
from sivae.tl._enrich import check_tables

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

WHAT: Final = "The explorer"
MAX_CELLS, MAX_GENES = 50_000, 5_000


@door
def build(
    adata: AnnData,
    path: str | Path,
    *,
    label: str | None = None,
    enrichment: pd.DataFrame | dict[str, pd.DataFrame] | None = None,
    max_cells: int = MAX_CELLS,
    max_genes: int = MAX_GENES,
) -> Path:
    """Write an explorer of a trained model: one HTML file that needs neither network nor Python.

    Cells lie on the left, genes on the right. A gene colors the cells; cells that are encircled rank the genes by

        mean over them of x_cg - mean over the other cells,

    x standardised as in training, and the axes by how far their mean position lies from that of the others.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`. What `sivae.tl.gene_neighbors`, `hubs`, `modules`, `module_scores` and
        `gene_set_scores` wrote is shown; the page says what is missing. Expression is read from where the set-up says;
        without it genes color cells by the linear prediction z.v.
    path
        The file to write; a file there is replaced.
    label
        Column of `obs` that colors the cells at first; a column such as "cell_type" is looked for if not given.
    enrichment
        What `sivae.tl.enrich` returned, of axes, modules or hubs; one frame or a dict of several.
    max_cells, max_genes
        More are thinned, and the page says so: cells by a hash of their names, genes to the modelled ones farthest from
        the origin. Cells are also thinned where the file would be above 60 MB.

    Returns
    -------
    The path. The file is written under a temporary name and then moved, so it is whole or absent. Expression is kept in
    255 levels per gene, from the smallest to the largest value that is not zero.

    Raises
    ------
    SetupError, OptionError
        If the AnnData is not annotated, has no such column, or an option cannot work.
    ArtefactError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile, sivae
    >>> adata = sivae.datasets.planted(200, 40)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=2)
    >>> history = model.train(max_epochs=1, progress=False)
    >>> model.annotate(adata)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sivae.explorer.build(adata, pathlib.Path(folder) / "explorer.html", label="group").name
    'explorer.html'
    """
    label = check_label(adata, label)
    place = check_place(a_path("path", path), what=WHAT, example="explorer.html")
    tables = check_tables(enrichment)
    payload = _payload.collect(
        adata,
        label=label,
        enrichment=tables,
        max_cells=whole_number("max_cells", max_cells, least=2, hint=f"{MAX_CELLS:,} is the default."),
        max_genes=whole_number("max_genes", max_genes, least=1, hint=f"{MAX_GENES:,} is the default."),
    )
    return write_text(place, _page.parts(payload), what=WHAT)
