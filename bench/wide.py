"""Seconds and memory of the default path as features grow, and its principal axes against Lanczos iterations.

Simulated open chromatin (`bench/_peaks.py`): 12 topics, 2 % of the values not zero, likelihood Bernoulli, 10 axes. Each
row has a process of its own; seconds are those of the processor at one thread, which other work on the machine does not
stretch much. "axes" is the decomposition, with the number of its passes over the cells, "start" the spectral start,
"step" one step with its share of two looks at the validation loss in 20 steps, "finish" what is worked out when
training ends (widths, what is explained, evidence). "peak" is that of the process, and
"before" it when the data are at hand. "planted" is the mean cosine of the angles between the directions in which topics
differ and the leading 20 axes: with few cells for many features noise turns them, whoever finds them. The row "Lanczos"
has the axes alone, by the iterations that the package used before beyond 4,000 cells and features, and by how much its
12 leading axes are those of the default (cosine of the largest angle); 2,000 features are decomposed exactly.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from bench import _common

CELLS, STEPS = 5_000, 20
CASES = (
    (2_000, "default"),
    (20_000, "default"),
    (20_000, "Lanczos"),
    (100_000, "default"),
)


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("wide", ("features", "method"), quick=settings.quick)
    cells, cases = CELLS, CASES
    if settings.quick:
        cells, cases = 300, ((200, "default"), (200, "Lanczos"))
    for features, method in cases:
        rows.find(
            lambda features=features, method=method: _run(cells, features, method), features=features, method=method
        )
    rows.write(cells=cells, steps=STEPS)


def _run(cells: int, features: int, method: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench._one_wide", str(cells), str(features), method, str(STEPS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    if not found:
        raise RuntimeError(f"{features} features, {method}:\n{done.stderr[-2000:]}")
    return dict(json.loads(found[0].removeprefix("FOUND ")))


COLUMNS = (
    ("set_up_s", "set-up, s"), ("axes_s", "axes, s"), ("passes", "passes"), ("start_s", "start, s"),
    ("step_ms", "step, ms"), ("finish_s", "finish, s"), ("annotate_s", "annotate, s"), ("base_mb", "before, MB"),
    ("peak_mb", "peak, MB"), ("planted", "planted"), ("agree", "as default"), ("load", "load"),
)  # fmt: skip


def table(result: dict[str, Any]) -> str:
    lines = [[f"{row['features']:,}", row["method"], *(row.get(key) for key, _ in COLUMNS)] for row in result["rows"]]
    said = f"{_common.conditions(result)} {result['cells']:,} cells, {result['steps']:,} steps.\n\n"
    return said + _common.table(("features", "method", *(words for _, words in COLUMNS)), lines)
