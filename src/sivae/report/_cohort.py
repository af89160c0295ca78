"""From individuals x genes and the tables of `sivae.cohort` to one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae import _keys
from sivae._checks import a_path
from sivae._door import door
from sivae._errors import SetupError
from sivae._values import frame
from sivae._whole import check_place, write_text
from sivae.cohort._samples import check_samples
from sivae.pl._tables import check_table
from sivae.report import _cohort_figures, _cohort_rows, _page
from sivae.report import _cohort_words as say

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

WHAT: Final = "The report"
ATTRS: Final = ("phenotype", "covariates", "fdr", "n_individuals", "left_out", "kind", "levels")
CALL: Final = "sivae.cohort.associate(samples, phenotype)"


@dataclass(frozen=True)
class Parts:
    """The tables that a report tells; None for what was not asked."""

    association: pd.DataFrame
    edges: pd.DataFrame | None = None
    modules: pd.DataFrame | None = None
    edge_classes: pd.DataFrame | None = None
    central_genes: pd.DataFrame | None = None
    gene_sets: pd.DataFrame | None = None
    map: pd.DataFrame | None = None
    notes: Sequence[str] = ()
    options: Mapping[str, object] = field(default_factory=dict)


@door
def build_cohort(
    samples: AnnData,
    path: str | Path,
    *,
    association: pd.DataFrame,
    edges: pd.DataFrame | None = None,
    modules: pd.DataFrame | None = None,
    edge_classes: pd.DataFrame | None = None,
    central_genes: pd.DataFrame | None = None,
    gene_sets: pd.DataFrame | None = None,
    map_association: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    options: Mapping[str, object] | None = None,
) -> Path:
    """Write a report over individuals as one HTML file: what was found, and whether it is something else.

    Parameters
    ----------
    samples
        Individuals x genes, as of `sivae.cohort.connectivity`; with a map (`sivae.cohort.individuals_map`) it is drawn.
    path
        The file to write; a file there is replaced.
    association
        What `sivae.cohort.associate` returned. It says what the phenotype is.
    edges, modules, edge_classes, central_genes, gene_sets, map_association
        What the functions of these names in `sivae.cohort` (`associate_map`) returned, of the same phenotype; sections
        are left out without.
    notes
        What a reader has to know beside, a sentence or two each, such as warnings on the way.
    options
        Names and values for the table at the end.

    Returns
    -------
    The path. The file is written under a temporary name and then moved, so it is whole or absent.

    Raises
    ------
    MissingExtraError
        If matplotlib or jinja2 is not installed (extra `report`).
    SetupError
        If this is not individuals x genes, or a table is another.
    ArtefactError
        If the file cannot be written.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted_cohort(n_individuals=8, n_cells=60)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=5)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> samples = sivae.cohort.connectivity(adata, "donor", model=model)
    >>> table = sivae.cohort.associate(samples, "severity", n_permutations=999)
    >>> sivae.report.build_cohort(samples, "report.html", association=table).name
    'report.html'
    """
    check_samples(samples)
    check_table(association, ["effect", "t", "p", "q", "verdict"], call=CALL)
    lost = [name for name in ATTRS if name not in association.attrs]
    if lost:
        raise SetupError(
            f"The table has no attrs[{lost[0]!r}], expected those that {CALL} writes. A table read from a file has "
            "lost them: call it again, or copy attrs."
        )
    for name, table in (("edges", edges), ("modules", modules), ("edge_classes", edge_classes)):
        if table is not None:
            check_table(table, ["mean", "effect", "p", "q"], call=f"sivae.cohort.{name}(samples, phenotype=...)")
    place = check_place(a_path("path", path), what=WHAT, example="report.html")
    parts = Parts(
        association=say.in_order(association), edges=edges, modules=modules, edge_classes=edge_classes,
        central_genes=central_genes, gene_sets=gene_sets, map=map_association, notes=tuple(notes),
        options=dict(options or {}),
    )  # fmt: skip
    return write(samples, place, parts=parts, pictures=_cohort_figures.draw(samples, parts))


def write(samples: AnnData, path: Path, *, parts: Parts, pictures: Mapping[str, bytes]) -> Path:
    """Fill in the page and move it into place."""
    return write_text(path, [render(samples, parts=parts, pictures=pictures)], what=WHAT)


def render(samples: AnnData, *, parts: Parts, pictures: Mapping[str, bytes]) -> str:
    """Return the page."""
    return _page.render("cohort.html", pictures=pictures, values=describe(samples, parts))


def describe(samples: AnnData, parts: Parts) -> dict[str, Any]:
    """Everything that the page says, as text."""
    table = parts.association
    attrs, record = dict(table.attrs), dict(samples.uns[_keys.COHORT])
    n_tested, fdr = int(np.isfinite(table["q"].astype(float)).sum()), float(attrs["fdr"])
    n_associated = int((table["verdict"] == say.ASSOCIATED).sum())
    tested = frame(samples.obs).drop(index=list(attrs["left_out"]), errors="ignore")
    cells = tested[_keys.N_CELLS].to_numpy() if _keys.N_CELLS in tested else None
    return {
        "phenotype": attrs["phenotype"],
        "source": str(dict(parts.options).get("data", "")),
        "n_individuals": f"{int(attrs['n_individuals']):,}",
        "n_genes": f"{samples.n_vars:,}",
        "n_cells": "" if cells is None else f"{int(cells.sum()):,}",
        "cells": "" if cells is None else f"{int(cells.min()):,} to {int(cells.max()):,}",
        "covariates": say.listed(attrs["covariates"]),
        "fdr": say.percent(fdr),
        "unit": say.unit(attrs),
        "numeric": attrs["kind"] != "binary",
        "mode": str(record.get("mode", "shared")),
        "n_latent": str(record.get("n_latent", "")),
        "cell_type_key": str(record.get("cell_type_key", "")),
        "matched_cells": str(record.get("matched_cells", "")),
        "found": say.found_words(table),
        "any": n_associated > 0,
        "n_associated": f"{n_associated:,}",
        "next": say.next_steps(table, has_sets=parts.gene_sets is not None),
        "power": say.power_words(table, n_tested),
        "first": _cohort_rows.first(table),
        "least": _cohort_rows.least(table),
        "controls": _cohort_rows.controls(table),
        "verdicts": _cohort_rows.verdicts(table),
        "drawn": list(_cohort_figures.alone(table).items()),
        "edges": _cohort_rows.edges(parts.edges),
        "modules": _cohort_rows.modules(parts.modules, samples, fdr),
        "edge_classes": _cohort_rows.edge_classes(parts.edge_classes, fdr),
        "gene_sets": _cohort_rows.gene_sets(parts.gene_sets, fdr),
        "central": _cohort_rows.central(parts.central_genes, table),
        "map": _cohort_rows.map_rows(parts.map),
        "individuals": _cohort_rows.individuals(samples, attrs),
        "left_out": _cohort_rows.left_out(samples, attrs),
        "caveats": say.caveats(
            table, cell_types=bool(record.get("cell_type_key")), mode=str(record.get("mode", "")), notes=parts.notes
        ),
        "options": [(str(name), str(value)) for name, value in parts.options.items()],
    }
