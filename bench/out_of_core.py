"""Memory, seconds and quality of a training whose values stay on disk, as cells grow.

Stores of 2,000 genes at about 7 % density, resampled from simulated cells with Poisson noise (`bench/_store.py`). Each
training has a process of its own: the store is opened (backed, or read whole), set up, trained, and annotated. Those of
"default" steps are whole default trainings, early stopping included: what a user waits for is "wall", in minutes. The
others make 500 steps; equal seeds give equal models in memory and from the file, so their losses must agree to the last
digit. "peak" is that of the whole process; "before" is it before the store is opened. Seconds are those of the
processor, which other work on the machine does not stretch much; what waits for a disk is in "wall" alone. "file" is
the time in which values are written to the temporary file, "rest" what training needs beside that and its steps:
statistics, decomposition, start, and what is worked out at the end. "us / cell" is all but the steps, divided by the
cells. "unseen" is the negative log likelihood of 3,000 cells that are in no store.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import _common, _store

MODES = ("in memory", "temporary file")
STEPS = 500
DEFAULT = 0
CASES = (
    (1_000_000, "temporary file", DEFAULT),
    (100_000, "temporary file", DEFAULT),
    (100_000, "in memory", STEPS),
    (100_000, "temporary file", STEPS),
    (300_000, "temporary file", STEPS),
    (300_000, "temporary file", DEFAULT),
)


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("out_of_core", ("cells", "mode", "steps"), quick=settings.quick)
    cases, genes = CASES, _store.GENES
    if settings.quick:
        cases, genes = tuple((400, mode, 20) for mode in MODES), 100
    with tempfile.TemporaryDirectory(dir=os.environ.get("SIVAE_STORES")) as folder:
        for cells, mode, steps in cases:
            path = Path(folder) / f"{cells}.h5ad"
            key = {"cells": cells, "mode": mode, "steps": steps or "default"}
            if tuple(key.values()) not in rows.known and not path.exists():
                for old in Path(folder).glob("*.h5ad"):
                    old.unlink()
                _store.write(path, cells, genes)
            rows.find(lambda path=path, mode=mode, steps=steps: _run(path, mode, steps, genes), **key)
    rows.write(genes=genes)


def _run(path: Path, mode: str, steps: int, genes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench._one_store", str(path), mode, str(steps), str(genes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    if not found:
        raise RuntimeError(f"{path.name}, {mode}:\n{done.stderr[-2000:]}")
    store = {"store_mb": round(path.stat().st_size / 1e6)}
    return store | dict(json.loads(found[0].removeprefix("FOUND ")))


COLUMNS = (
    ("store_mb", "store, MB"), ("base_mb", "before, MB"), ("trained_mb", "peak of training, MB"),
    ("peak_mb", "peak, MB"),
    ("set_up_s", "set-up, s"), ("file_s", "file, s"), ("file_mb", "file, MB"), ("step_ms", "step, ms"),
    ("rest_s", "rest, s"), ("annotated_s", "annotate, s"), ("cell_us", "us / cell"), ("minutes", "wall, min"),
    ("held_out", "unseen"), ("load", "load"),
)  # fmt: skip


def table(result: dict[str, Any]) -> str:
    lines = []
    for row in sorted(result["rows"], key=lambda row: (row["steps"] != "default", row["cells"], row["mode"])):
        beside = sum(row[part] for part in ("set_up_s", "file_s", "rest_s", "annotated_s"))
        row |= {
            "held_out": f"{row['held_out']:.4f}", "minutes": round(row["wall_s"] / 60, 1),
            "cell_us": round(1e6 * beside / row["cells"]),
        }  # fmt: skip
        steps = f"{row['steps']} ({row['made']:,})" if row["steps"] == "default" else row["steps"]
        lines.append([f"{row['cells']:,}", row["mode"], steps, *(row[key] for key, _ in COLUMNS)])
    said = f"{_common.conditions(result)} {result['genes']:,} genes.\n\n"
    return said + _common.table(("cells", "values", "steps", *(words for _, words in COLUMNS)), lines)
