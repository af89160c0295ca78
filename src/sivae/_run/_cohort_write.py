"""What the folder of a run of many individuals holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sivae import __version__, _keys
from sivae._run import _cohort_tables
from sivae._run._cells import Cells
from sivae._run._files import COHORT, FIGURES, FORMAT, RECORD, REPORT, TABLES
from sivae._whole import write_sums

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

    from sivae._run._clock import Clock
    from sivae._run._cohort import CohortOptions
    from sivae._run._cohort_tables import Tables

SAMPLES: Final = "samples.h5ad"


def write(
    samples: AnnData, found: Tables, folder: Path, options: CohortOptions, *, source: dict[str, str], clock: Clock,
    notes: Sequence[str],
) -> None:  # fmt: skip
    """Write everything but the model into the temporary folder."""
    from sivae.report import _cohort, _cohort_figures

    _cohort_tables.write(found, folder / TABLES)
    Cells(samples).write_h5ad(folder / SAMPLES)
    parts = _cohort.Parts(
        association=found.association, edges=found.edges, modules=found.modules, edge_classes=found.edge_classes,
        central_genes=found.central_genes, gene_sets=found.gene_sets, map=found.map, notes=tuple(notes),
        options=_shown(options, source),
    )  # fmt: skip
    pictures = _cohort_figures.draw(samples, parts)
    (folder / FIGURES).mkdir()
    for name, data in pictures.items():
        (folder / FIGURES / f"{name}.png").write_bytes(data)
    _cohort.write(samples, folder / REPORT, parts=parts, pictures=pictures)
    clock.lap("writing")
    record = _record(samples, found, options, source=source, clock=clock)
    (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    write_sums(folder)


def _shown(options: CohortOptions, source: dict[str, str]) -> dict[str, str]:
    """Rows of the report's table of options."""
    given = {name.replace("_", " "): value for name, value in asdict(options).items()}
    given["n genes"] = "all" if options.n_genes is None else options.n_genes
    given["levels"] = ", ".join(options.levels) or None
    given["covariates"] = ", ".join(options.covariates) or "none"
    shown = {name: str(value) for name, value in given.items() if value is not None}
    return {"data": source["source"], "data sha256": source["sha256"], "genes": source["chosen"]} | shown


def _record(
    samples: AnnData, found: Tables, options: CohortOptions, *, source: dict[str, str], clock: Clock
) -> dict[str, Any]:
    record, table = dict(samples.uns[_keys.COHORT]), found.association
    verdicts = table["verdict"].value_counts()
    return {
        "format": FORMAT,
        "kind": COHORT,
        "package": "sivae-tools",
        "version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"name": source["source"], "sha256": source["sha256"]},
        "genes": {"modelled": samples.n_vars, "chosen": source["chosen"]},
        "individuals": {
            "analyzed": samples.n_obs,
            "tested": int(table.attrs["n_individuals"]),
            "cells": int(samples.obs[_keys.N_CELLS].sum()),
            "too_few_cells_or_failed": {str(who): str(why) for who, why in dict(record.get("failed", {})).items()},
            "without_phenotype_or_covariate": list(table.attrs["left_out"]),
        },
        "phenotype": {"name": str(table.attrs["phenotype"]), "kind": str(table.attrs["kind"]),
                      "levels": list(table.attrs["levels"])},
        "found": {str(name): int(count) for name, count in verdicts.items()},
        "options": asdict(options),
        "seconds": clock.seconds,
    }  # fmt: skip
