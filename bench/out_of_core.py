"""Memory and seconds of a training whose values stay on disk, as cells grow, against one that holds them.

Stores of 2,000 genes at about 7 % density, resampled from simulated cells with Poisson noise (`bench/_store.py`). Each
training has a process of its own: the store is opened (backed, or read whole), set up, trained for the same number of
steps of 256 cells, and annotated. "peak" is that of the whole process; "before" is it before the store is opened.
Seconds are those of the processor, at one thread, which other work on the machine does not stretch much; what waits for
a disk is in "wall" alone. "file" is the time in which values are written to the temporary file, "rest" what training
needs beside that and its steps: statistics, decomposition, start, and what is worked out at the end. "unseen" is the
negative log likelihood of 3,000 cells that are in no store. Equal seeds give equal models in memory and from the file,
so the losses of these must agree to the last digit.
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
CASES = (
    (100_000, "in memory"),
    (100_000, "temporary file"),
    (300_000, "temporary file"),
    (1_000_000, "temporary file"),
)
STEPS = 500


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("out_of_core", ("cells", "mode"), quick=settings.quick)
    cases, genes, steps = CASES, _store.GENES, STEPS
    if settings.quick:
        cases, genes, steps = tuple((400, mode) for mode in MODES), 100, 20
    with tempfile.TemporaryDirectory(dir=os.environ.get("SIVAE_STORES")) as folder:
        for cells, mode in cases:
            path = Path(folder) / f"{cells}.h5ad"
            if (cells, mode) not in rows.known and not path.exists():
                for old in Path(folder).glob("*.h5ad"):
                    old.unlink()
                _store.write(path, cells, genes)
            rows.find(
                lambda path=path, mode=mode: (
                    {"store_mb": round(path.stat().st_size / 1e6)} | _run(path, mode, steps, genes)
                ),
                cells=cells,
                mode=mode,
            )
    rows.write(genes=genes, steps=steps)


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
    ("rest_s", "rest, s"), ("annotated_s", "annotate, s"), ("wall_s", "wall, s"),
    ("held_out", "unseen"), ("load", "load"),
)  # fmt: skip


def table(result: dict[str, Any]) -> str:
    rows = [row | {"held_out": f"{row['held_out']:.4f}"} for row in result["rows"]]
    lines = [[f"{row['cells']:,}", row["mode"], *(row[key] for key, _ in COLUMNS)] for row in rows]
    said = f"{_common.conditions(result)} {result['genes']:,} genes, {result['steps']:,} steps.\n\n"
    return said + _common.table(("cells", "values", *(words for _, words in COLUMNS)), lines)
