"""What is done with a run once it is there: read its record, make its pages again, place new cells and genes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from sivae import _keys
from sivae._errors import ArtefactError, OptionError, some
from sivae._run._cells import open_cells
from sivae._run._files import (
    CELLS,
    COHORT,
    EXPLORER,
    FORMAT,
    MODEL,
    RECORD,
    REPORT,
    TABLES,
    file_hash,
    refuse_existing,
    whole_file,
)
from sivae._spreadsheet import read_csv
from sivae._whole import SUMS, read_sums, renew_sums

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

PARTS = ("data", "genes", "model", "training", "seconds", "created", "version")
"""What a record holds at least."""
COHORT_PARTS = ("data", "genes", "individuals", "phenotype", "found", "options", "seconds", "created", "version")
"""The same of a run over individuals."""


def read_record(run: Path) -> dict[str, Any]:
    """Read `run.json` of a run that `sivae fit` made.

    Raises
    ------
    ArtefactError
        If the folder is not such a run, or its record cannot be read.
    """
    record = read_any_record(run)
    if record.get("kind") == COHORT:
        raise ArtefactError(
            f"{run} is a run of sivae cohort, over individuals; expected one of sivae fit. Read its {REPORT} and "
            f"{TABLES}; its model is in {run / MODEL} where one was trained there."
        )
    return record


def read_any_record(run: Path) -> dict[str, Any]:
    """Read `run.json`, whichever command made it.

    Raises
    ------
    ArtefactError
        If the folder is not a run, or its record cannot be read.
    """
    if not (run / RECORD).is_file():
        raise ArtefactError(
            f"Found no {RECORD} in {run}, expected the folder of a run. Make one: sivae fit DATA -o {run}"
        )
    check_record(run)
    try:
        record = json.loads((run / RECORD).read_text(encoding="utf-8"))
        known = int(record["format"]) <= FORMAT
        parts = COHORT_PARTS if record.get("kind") == COHORT else PARTS
        gone = [] if not known else [part for part in parts if part not in record]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtefactError(
            f"{run / RECORD} cannot be read: {error}. The run is damaged: copy or make it again."
        ) from error
    if not known:
        raise ArtefactError(f"{run} has format {record['format']}, expected up to {FORMAT}. Update sivae-tools.")
    if gone:
        raise ArtefactError(
            f"{run / RECORD} lacks {some(gone)}, expected {some(parts, 20)}. The run is damaged: copy or make it again."
        )
    return dict(record)


def check_record(run: Path) -> None:
    """Refuse a run whose `run.json` is not as it was written, where there are checksums.

    Raises
    ------
    ArtefactError
        If so, or the checksums are damaged.
    """
    if os.path.lexists(run / SUMS) and read_sums(run).get(RECORD) != file_hash(run / RECORD):
        raise ArtefactError(
            f"{run / RECORD} is not as it was written: its SHA-256 is not that in {SUMS}. The run is damaged: copy or "
            "make it again."
        )


def rebuild_report(run: Path) -> Path:
    """Make the report of a run again, from its annotated cells and its tables of gene sets."""
    from sivae.report import build

    record = read_record(run)
    with open_cells(run / CELLS) as cells:
        made = build(cells.adata, run / REPORT, label=record.get("label"), enrichment=_enrichment(run))
    renew_sums(run, [REPORT])
    return made


def rebuild_explorer(run: Path, *, out: Path | None, label: str | None) -> Path:
    """Make the explorer of a run again, from its annotated cells and its tables of gene sets."""
    from sivae.explorer import build

    record = read_record(run)
    if out is not None:
        refuse_existing(out)
    place = run / EXPLORER if out is None else out
    with open_cells(run / CELLS) as cells:
        label = record.get("label") if label is None else label
        made = build(cells.adata, place, label=label, enrichment=_enrichment(run))
    if out is None:
        renew_sums(run, [EXPLORER])
    return made


def _enrichment(run: Path) -> dict[str, pd.DataFrame]:
    found = {}
    for path in sorted((run / TABLES).glob("enrichment_*.csv")):
        try:
            found[path.stem] = read_csv(path, numbers=("effect", "p", "q"))
        except (OSError, ValueError) as error:
            raise ArtefactError(
                f"{path} cannot be read: {error}. The run is damaged: copy or make it again."
            ) from error
    return found


def embed_cells(run: Path, data: Path, out: Path) -> AnnData:
    """Place new cells with the model of a run: DATA with `obsm["X_sivae"]`, written to `out`, and returned."""
    from sivae.model._sivae import SiVAE

    _check_embed(run, out)
    with whole_file(out) as temporary, open_cells(data) as cells:
        model = SiVAE.load(run / MODEL)
        cells.adata.obsm[_keys.CELLS] = model.get_latent_representation(cells.adata)
        cells.write_h5ad(temporary)
        return cells.adata


def embed_genes(run: Path, data: Path, out: Path) -> AnnData:
    """Place every gene of DATA, which holds the training cells: `varm["X_sivae"]`, `varm["X_sivae_var"]`."""
    import numpy as np

    from sivae.model._sivae import SiVAE

    _check_embed(run, out)
    with whole_file(out) as temporary, open_cells(data) as cells, open_cells(run / CELLS) as trained:
        adata, known = cells.adata, trained.adata
        if _keys.MODELLED not in known.var:
            raise ArtefactError(
                f"{run / CELLS} has no var[{_keys.MODELLED!r}], expected the cells of the run as it was written. The "
                "run is damaged: copy or make it again."
            )
        modelled = np.asarray(known.var[_keys.MODELLED], dtype=bool)
        model = SiVAE.load(run / MODEL, known[:, modelled])
        mean, variance = model.get_feature_representation(adata, return_dist=True)
        adata.varm[_keys.GENES], adata.varm[_keys.GENES_VAR] = np.asarray(mean), np.asarray(variance)
        adata.var[_keys.MODELLED] = adata.var_names.isin(model.genes)
        cells.write_h5ad(temporary)
        return adata


def _check_embed(run: Path, out: Path) -> None:
    read_record(run)
    refuse_existing(out)
    if out.suffix != ".h5ad":
        raise OptionError(f"Found {out.name}, expected a name that ends in .h5ad. Give one with -o.")
