"""Seconds and memory as cells, genes and axes grow: the published design, the default, scvi-tools' LDVAE and scVI.

Each method runs in a process of its own: a training with few steps to warm up, the same again, and one with more; the
difference of these is the time of a step, the rest is what comes before (reading, decomposition, start) and after.
"training" is that plus the steps that each prescribes, none left out by early stopping: ours 2,500 (or a quarter of the
cells), published 2,000 in each of three phases, scvi-tools its 400 epochs (8 million cells, if fewer). The published
gene encoder reads at most 10,000 cells, as in its runs. All take 128 cells a step. Memory is the peak of the process
above that before the model is made. Cells are resampled from 3,000 simulated ones, and thinned. The exponent is the
slope of the logarithm over that of the size between the last two sizes, because small ones are all overhead.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import anndata
import numpy as np

from bench import _common, _figures
from bench._methods import BY_NAME
from bench._one_fit import BATCH
from sivae.train._options import default_steps

CELLS, GENES, AXES = (1_000, 10_000, 100_000), (500, 2_000, 20_000), (2, 50)
BASE = {"cells": 3_000, "genes": 2_000, "axes": 10}
METHODS = ("siVAE", "published", "LDVAE", "scVI")
FEW = {"siVAE": (20, 200), "published": (1, 3), "LDVAE": (20, 100), "scVI": (20, 100)}
PUBLISHED_PHASE, SCVI_CELLS, SCVI_EPOCHS = 2_000, 8_000_000, 400


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("growth", ("along", "cells", "genes", "axes", "method"), quick=settings.quick)
    sweeps = {"cells": CELLS, "genes": GENES, "axes": AXES}
    base = dict(BASE)
    if settings.quick:
        sweeps, base = {"cells": (300,)}, {"cells": 300, "genes": 100, "axes": 2}
    with tempfile.TemporaryDirectory() as folder:
        for along, sizes in sweeps.items():
            for size in sizes:
                case = base | {along: size}
                path = _store(Path(folder), case)
                for name in ("siVAE",) if settings.quick else METHODS:
                    if BY_NAME[name].at_hand():
                        rows.find(
                            lambda case=case, name=name, path=path: measure(case, name, path),
                            along=along, method=name, **case,
                        )  # fmt: skip
    rows.write(batch=BATCH)


def _store(folder: Path, case: dict[str, int]) -> Path:
    """An h5ad of so many cells and genes, made once for each size; the one before is removed."""
    path = folder / f"{case['cells']}x{case['genes']}.h5ad"
    if not path.exists():
        for old in folder.glob("*.h5ad"):
            old.unlink()
        adata = _common.counts(3_000, case["genes"], kept=0.12)
        drawn = np.random.default_rng(0).integers(0, adata.n_obs, case["cells"])
        adata = anndata.AnnData(adata.X[drawn], var=adata.var)
        adata.obs_names = [f"cell_{n}" for n in range(adata.n_obs)]
        _common.thinned(adata, kept=0.9).write_h5ad(path)
    return path


def measure(case: dict[str, int], name: str, path: Path) -> dict[str, Any]:
    few, more = FEW[name]
    warm, first, second = _run(name, path, case["axes"], few, few, more)
    row: dict[str, Any] = {"peak_mb": round(warm["peak_mb"])}
    if name == "published":
        phase = {p: (second["stages"][p] - first["stages"][p]) / (more - few) for p in second["stages"]}
        steps, step = 3 * PUBLISHED_PHASE, sum(phase.values()) / 3
        row["step_ms"] = round(1000 * list(phase.values())[-1], 2)
    else:
        spent = [run["stages"].get("loop", run["seconds"]) for run in (first, second)]
        step = (spent[1] - spent[0]) / (more - few)
        row["step_ms"] = round(1000 * step, 2)
        per_epoch = 0.9 * case["cells"] / BATCH
        epochs = min(SCVI_EPOCHS, round(SCVI_CELLS / case["cells"]))
        steps = default_steps(case["cells"]) if name == "siVAE" else int(epochs * per_epoch)
    before = max(0.0, first["seconds"] - few * (3 if name == "published" else 1) * step)
    return row | {"before_s": round(before, 2), "steps": steps, "training_s": round(before + steps * step, 1)}


def _run(name: str, path: Path, axes: int, *steps: int) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "bench._one_fit", name, str(path), str(axes), *map(str, steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    if not found:
        raise RuntimeError(f"{name} on {path.name}, {axes} axes, {steps} steps:\n{done.stderr[-2000:]}")
    return list(json.loads(found[0].removeprefix("FOUND ")))


def exponent(rows: list[dict[str, Any]], along: str, key: str) -> float | None:
    """Slope of log(value) over log(size) between the two largest sizes."""
    last = sorted((row for row in rows if row[key] is not None), key=lambda row: row[along])[-2:]
    if len(last) < 2 or min(row[key] for row in last) <= 0:
        return None
    (a, b), (x, y) = ([row[name] for row in last] for name in (key, along))
    return float(np.log(b / a) / np.log(y / x))


def table(result: dict[str, Any]) -> str:
    parts = [_common.conditions(result) + " " + result.get("said", "") + "\n"]
    for along in ("cells", "genes", "axes"):
        rows = [row for row in result["rows"] if row["along"] == along]
        fixed = ", ".join(f"{size:,} {name}" for name, size in BASE.items() if name != along)
        sizes = sorted({row[along] for row in rows})
        for key, words in (
            ("step_ms", "milliseconds of a step (published: of the third phase)"),
            ("training_s", "seconds of a training"),
            ("peak_mb", "peak memory, MB"),
        ):
            if not any(row[key] is not None for row in rows):
                continue
            lines = []
            for name in METHODS:
                own = [row for row in rows if row["method"] == name]
                values = [next((row[key] for row in own if row[along] == size), None) for size in sizes]
                lines.append([name, *values, exponent(own, along, key) if own else None])
            parts.append(f"**{along}**, {words}; {fixed}\n")
            parts.append(_common.table(("method", *(f"{size:,}" for size in sizes), "exponent"), lines))
    return "\n".join(parts)


def figures(result: dict[str, Any]) -> dict[str, Any]:
    rows = [row | {"size": row[row["along"]]} for row in result["rows"]]
    return {
        "growth": _figures.lines(
            rows, panels="along", x="size", value="training_s", hue="method",
            words=("size", "seconds of a training"), log="xy",
        )
    }  # fmt: skip
