"""What a run's folder holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sivae import __version__, _keys
from sivae._run import _gene_space, _machine, _results
from sivae._run._files import CELLS, EXPLORER, FIGURES, FORMAT, MODEL, RECORD, REPORT, TABLES
from sivae._spreadsheet import write_csv
from sivae._whole import write_sums

if TYPE_CHECKING:
    from sivae._run._cells import Cells
    from sivae._run._clock import Clock
    from sivae.model._sivae import SiVAE


def write(
    cells: Cells, model: SiVAE, folder: Path, *, options: dict[str, Any], clock: Clock, conditions: dict[str, Any]
) -> dict[str, str]:
    """Write everything into the temporary folder; hashes of the results are returned."""
    from sivae import explorer
    from sivae.pl._label import check_label
    from sivae.report import _build, _figures, _tables

    adata = cells.adata
    model.save(folder / MODEL)
    label = check_label(adata, options["label"])
    cells.write_h5ad(folder / CELLS)
    _tables.write(adata, folder / TABLES, label=label)
    gene_sets = options["gene_sets"]
    tables = _gene_space.tables(adata, gene_sets=None if gene_sets is None else Path(gene_sets))
    for name, table in tables.items():
        write_csv(table, folder / TABLES / f"{name}.csv")
    pictures = _figures.draw(adata, label=label)
    (folder / FIGURES).mkdir()
    for name, data in pictures.items():
        (folder / FIGURES / f"{name}.png").write_bytes(data)
    enrichment = {name: table for name, table in tables.items() if name.startswith(_gene_space.ENRICHMENT)}
    _build.write(adata, folder / REPORT, label=label, pictures=pictures, enrichment=_build.enrichment_rows(enrichment))
    explorer.build(adata, folder / EXPLORER, label=label, enrichment=enrichment)
    clock.lap("writing")
    results = _results.hashes(folder)
    run = dict(adata.uns[_keys.UNS]["run"])
    facts = dict(adata.uns[_keys.UNS]["facts"])
    columns = dict(adata.uns[_keys.UNS]["history"])
    record = {
        "format": FORMAT,
        "package": "sivae-tools",
        "version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"name": run["source"], "sha256": run["sha256"], "cells": adata.n_obs, "genes": adata.n_vars,
                 **{key: run[key] for key in ("gene_sets_sha256",) if key in run}},
        "genes": {"modelled": len(model.genes), "sha256": run["genes_sha256"], "chosen": run["chosen"]},
        "label": label,
        "options": options,
        "model": asdict(model.options),
        "training": {
            "best_step": int(facts["best_step"]),
            "stopped": str(facts["stopped"]),
            "resumed_at": int(facts["resumed_at"]) if "resumed_at" in facts else None,
            **_losses(columns, facts),
        },
        "versions": _machine.versions(),
        "conditions": conditions,
        "results": results,
        "seconds": clock.seconds,
    }  # fmt: skip
    (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    write_sums(folder)
    return results


def _losses(columns: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Validation losses at the start and of the weights kept; of a training in phases those of the last and of each."""
    from sivae.pl import _history

    phases = _history.phases(columns)
    if not phases:
        return {"start_validation_loss": _at(columns, 0), "best_validation_loss": _best(columns)}
    rows = [
        {
            "phase": phase.words,
            "steps": phase.steps,
            "seconds": float(seconds),
            "start_validation_loss": phase.start if phase.watched else None,
            "kept_validation_loss": phase.kept if phase.watched else None,
        }
        for phase, seconds in zip(phases, dict(facts["stage_seconds"]).values(), strict=True)
    ]
    last = rows[-1]
    return {
        "start_validation_loss": last["start_validation_loss"],
        "best_validation_loss": last["kept_validation_loss"],
        "phases": rows,
    }


def _at(columns: dict[str, Any], row: int) -> float | None:
    value = float(columns["validation_loss"][row]) if "validation_loss" in columns else float("nan")
    return value if value == value else None


def _best(columns: dict[str, Any]) -> float | None:
    marked = [row for row, best in enumerate(columns["best"]) if best > 0]
    return _at(columns, marked[-1]) if marked else None
