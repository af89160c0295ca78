"""One model trained by two processes, against one process with twice the block: quality, and time of a step.

A store of 10,000 cells x 1,000 genes (`bench/_store.py`); a step sees 512 cells in all, and the same 512 genes. "1 x 1"
is one process with one thread, "1 x 2" one with two threads, "2 x 1" two processes (gloo, one machine) with one thread
and 256 cells of their own shares each. "fall" is how far the validation loss came down from the start; "unseen" is the
negative log likelihood of 3,000 cells that are in no store. Seeds differ in blocks, noise and the start of the
perceptrons, so what they differ by is what two ways of training may differ by. "step" is the median of wall time, and
"fastest" its lowest tenth; "exchange" is what of the median is spent in averaging gradients and waiting for the slower
process; "processor" is the processor time of a step of all processes together. Cases take turns. Other work on the
machine stretches wall time, and most where two processes or threads wait for each other: look at the load.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench import _common, _store

CASES = ((1, 1), (1, 2), (2, 1))
TIMES = ("step_ms", "fastest_ms", "exchange_ms", "cpu_ms")
CELLS, GENES, BLOCK, STEPS, SEEDS = 10_000, 1_000, 512, 300, 3


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("processes", ("seed", "processes", "threads"), quick=settings.quick)
    cells, genes, block, steps, seeds = CELLS, GENES, BLOCK, STEPS, settings.seeds or SEEDS
    cases = CASES
    if settings.quick:
        cells, genes, block, steps, seeds, cases = 400, 100, 64, 10, 1, ((1, 1), (2, 1))
    with tempfile.TemporaryDirectory(dir=os.environ.get("SIVAE_STORES")) as folder:
        path = Path(folder) / "cells.h5ad"
        _store.write(path, cells, genes)
        for seed in range(seeds):
            for processes, threads in cases:
                rows.find(
                    lambda seed=seed, processes=processes, threads=threads: _run(
                        path, (processes, threads), (block, steps, genes, seed)
                    ),
                    seed=seed, processes=processes, threads=threads,
                )  # fmt: skip
    rows.write(cells=cells, genes=genes, block=block, steps=steps)


def _run(path: Path, case: tuple[int, int], numbers: tuple[int, int, int, int]) -> dict[str, Any]:
    world, threads = case
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    block, *rest = numbers
    command = [sys.executable, "-W", "ignore", "-m", "bench._one_process", str(path), str(block // world)]
    command += [str(number) for number in rest]
    started = []
    for rank in range(world):
        env = os.environ | {"OMP_NUM_THREADS": str(threads)}
        if world > 1:
            env |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            }  # fmt: skip
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env))
    found = []
    for process in started:
        out, err = process.communicate()
        lines = [line for line in out.splitlines() if line.startswith("FOUND ")]
        if not lines:
            raise RuntimeError(f"{case}:\n{err[-2000:]}")
        found.append(json.loads(lines[0].removeprefix("FOUND ")))
    return found[0] | {"cpu_ms": round(sum(one["cpu_ms"] for one in found), 2)}


def table(result: dict[str, Any]) -> str:
    lines = []
    for processes, threads in CASES:
        rows = [row for row in result["rows"] if (row["processes"], row["threads"]) == (processes, threads)]
        if rows:
            unseen, fall = ([row[key] for row in rows] for key in ("held_out", "fall"))
            lines.append(
                [f"{processes} x {threads}", _spread(fall), _spread(unseen)]
                + [float(np.median([row[key] for row in rows])) for key in TIMES]
            )
    load = f"{min(row['load'] for row in result['rows'])} to {max(row['load'] for row in result['rows'])}"
    said = (
        f"{_common.conditions(result)} {result['cells']:,} cells x {result['genes']:,} genes, {result['steps']:,} "
        f"steps of {result['block']} cells, {len({row['seed'] for row in result['rows']})} seeds (mean and standard "
        f"deviation; times are medians over seeds); load {load} while it ran. The exchange is "
        f"{result['rows'][-1]['exchanged_mb']:.2f} MB a step.\n\n"
    )
    head = ("processes x threads", "fall", "unseen", "step, ms", "fastest, ms", "exchange, ms", "processor, ms")
    return said + _common.table(head, lines) + "\n" + _common.table(("share of steps", *_names()), _curves(result))


def _names() -> list[str]:
    return [f"fall, {processes} x {threads}" for processes, threads in CASES]


def _curves(result: dict[str, Any]) -> list[list[Any]]:
    """Mean fall over seeds at every check."""
    curves = []
    for case in CASES:
        rows = [row for row in result["rows"] if (row["processes"], row["threads"]) == case]
        curves.append(np.mean([row["curve"] for row in rows], axis=0) if rows else None)
    n = len(result["rows"][0]["curve"])
    return [[f"{at / (n - 1):.0%}", *(None if c is None else f"{c[at]:.3f}" for c in curves)] for at in range(1, n)]


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ({np.std(values, ddof=1):.3f})" if len(values) > 1 else f"{values[0]:.3f}"
