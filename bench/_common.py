"""What the benchmarks share: data, machine, results, and a look at the module at every check of its training."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from anndata import AnnData
from scipy import sparse

import sivae
from sivae.nn._module import SiVAEModule
from sivae.train import _loop
from sivae.train._options import TrainOptions

HERE = Path(__file__).parent
RESULTS = HERE / "results"


@dataclass(frozen=True)
class Settings:
    """What the command line says: `quick` writes no result; None leaves the choice to the benchmark."""

    quick: bool = False
    data: tuple[str, ...] | None = None
    seeds: int | None = None


def counts(n_cells: int, n_genes: int, *, kept: float, seed: int = 0) -> AnnData:
    """Planted counts, ten factors over four fifths of the genes, thinned binomially (still negative binomial)."""
    adata = sivae.datasets.planted(n_cells, n_genes, n_factors=10, genes_per_factor=2 * n_genes // 25, seed=seed)
    return thinned(adata, kept=kept, seed=seed)


def thinned(adata: AnnData, *, kept: float, seed: int = 0) -> AnnData:
    """Keep each molecule with this probability; cells without any are left out."""
    counts_ng = sparse.csr_matrix(adata.X)
    rng = np.random.default_rng(seed)
    counts_ng.data = rng.binomial(counts_ng.data.astype(np.int64), kept).astype(np.float32)
    counts_ng.eliminate_zeros()
    adata.X = counts_ng
    return adata[np.asarray(counts_ng.sum(axis=1)).ravel() > 0].copy()


def split(adata: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training and of the validation cells, as the model itself says after one step; also a warm-up."""
    copy = adata.copy()
    sivae.SiVAE.setup_anndata(copy)
    model = sivae.SiVAE(copy, n_latent=2)
    model.train(accelerator="cpu", progress=False, options=TrainOptions(max_steps=1))
    model.annotate(copy)
    held = (copy.obs["sivae_split"] == "validation").to_numpy()
    return np.flatnonzero(~held), np.flatnonzero(held)


def describe(adata: AnnData) -> dict[str, Any]:
    return {
        "cells": adata.n_obs,
        "genes": adata.n_vars,
        "density": round(adata.X.nnz / (adata.n_obs * adata.n_vars), 4),
        "counts_per_cell": round(float(adata.X.sum() / adata.n_obs), 1),
    }


def machine() -> dict[str, Any]:
    """Cores, versions, threads, and the load before the benchmark starts."""
    cpu = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*:\s*(.*)", cpu.read_text()) if cpu.exists() else []
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_at_start": [round(x, 2) for x in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def write(name: str, result: dict[str, Any]) -> Path:
    """Write a result so that the file is the old one or the new one, never part of one."""
    result = result | {
        "load_at_end": [round(x, 2) for x in os.getloadavg()],
        "written": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    part = path.with_suffix(".part")
    part.write_text(_text(result))
    part.replace(path)
    return path


class Rows:
    """Rows of a result, kept on disk as they are found, so that a benchmark that was stopped goes on where it was.

    `keys` name a row. With `quick` nothing is read or written.
    """

    def __init__(self, name: str, keys: tuple[str, ...], *, quick: bool) -> None:
        self.name, self.keys, self.quick = name, keys, quick
        self.path = RESULTS / f"{name}.rows"
        old = [] if quick or not self.path.exists() else self.path.read_text().splitlines()
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in old]
        self.known = {tuple(row[key] for key in keys) for row in self.rows}

    def find(self, work: Callable[[], dict[str, Any]], **key: Any) -> dict[str, Any]:
        """The row of this key: the one there is, or what `work` gives."""
        at = tuple(key[name] for name in self.keys)
        if at not in self.known:
            load = round(os.getloadavg()[0], 2)
            row = key | work() | {"load": load}
            self.rows.append(row)
            self.known.add(at)
            print(json.dumps(row), flush=True)
            if not self.quick:
                RESULTS.mkdir(exist_ok=True)
                with self.path.open("a") as handle:
                    handle.write(json.dumps(row) + "\n")
        return next(row for row in self.rows if tuple(row[name] for name in self.keys) == at)

    def write(self, *, done: bool = True, **facts: Any) -> None:
        """Write the result so far; if `done`, drop the rows kept on the way."""
        if not self.quick:
            write(self.name, {"machine": machine(), **facts, "rows": self.rows})
            if done:
                self.path.unlink(missing_ok=True)


def _text(result: dict[str, Any]) -> str:
    """JSON with a line for each row, so that results of thousands of rows stay small and can be compared."""
    rows = result.get("rows")
    if not isinstance(rows, list):
        return json.dumps(result, indent=2) + "\n"
    head = json.dumps({key: value for key, value in result.items() if key != "rows"}, indent=2)
    lines = ",\n".join(json.dumps(row) for row in rows)
    return head.removesuffix("\n}") + ',\n  "rows": [\n' + lines + "\n]\n}\n"


def table(head: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; numbers with three decimals or digits, None as nothing."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
    return str(value)


def mean(rows: Iterable[dict[str, Any]], key: str) -> float:
    """Mean over rows that have it; NaN where none has."""
    values = [row[key] for row in rows if row.get(key) is not None]
    return float(np.mean(values)) if values else float("nan")


def spread(rows: Iterable[dict[str, Any]], key: str) -> str:
    """Mean (standard deviation) over rows that have it."""
    values = [row[key] for row in rows if row.get(key) is not None]
    if not values:
        return ""
    return f"{np.mean(values):.3f}" + (f" ({np.std(values, ddof=1):.3f})" if len(values) > 1 else "")


def conditions(result: dict[str, Any]) -> str:
    """Machine, versions, threads, load and day, in a line."""
    m = result["machine"]
    return (
        f"{m['cpu']}, {m['cores']} cores, {m['threads']} thread(s), torch {m['torch']}, Python {m['python']}; "
        f"load average {result['load_at_end'][0]} at the end; {result['written']}."
    )


def sized(result: dict[str, Any]) -> str:
    """The size of the data, the number of axes, and the conditions, in a line."""
    m, d = result["machine"], result["data"]
    return (
        f"{d['cells']} cells x {d['genes']} genes, {d['density']:.1%} non-zero, "
        f"{d['counts_per_cell']:.0f} counts per cell, {result['n_latent']} axes. {m['cpu']}, {m['cores']} cores, "
        f"{m['threads']} thread(s) for torch, torch {m['torch']}, Python {m['python']}; load average "
        f"{m['load_at_start'][0]} at the start and {result['load_at_end'][0]} at the end on {m['cores']} "
        f"cores; {result['written']}.\n"
    )


class Clock:
    """Wall time and processor time since it was made, less what was spent in `paused` blocks."""

    def __init__(self) -> None:
        self.started, self.away, self.stopped = time.perf_counter(), 0.0, 0.0
        self.cpu_started, self.cpu_away, self.cpu_stopped = time.process_time(), 0.0, 0.0

    @property
    def seconds(self) -> float:
        return (self.stopped or time.perf_counter()) - self.started - self.away

    @property
    def cpu(self) -> float:
        """Processor seconds of this process, all threads: what a busy machine does not stretch (much)."""
        return (self.cpu_stopped or time.process_time()) - self.cpu_started - self.cpu_away

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.stopped, self.cpu_stopped = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.away += time.perf_counter() - self.stopped
            self.cpu_away += time.process_time() - self.cpu_stopped
            self.stopped = self.cpu_stopped = 0.0


@contextmanager
def at_checks(probe: Callable[[SiVAEModule, Any], None]) -> Iterator[None]:
    """Call `probe` with the weights and the cells that every check of the validation loss looks at."""
    original = _loop.evaluate

    def wrapped(module: SiVAEModule, expression: Any, *args: Any, **options: Any) -> Any:
        result = original(module, expression, *args, **options)
        probe(module, expression)
        return result

    with mock.patch.object(_loop, "evaluate", wrapped):
        yield


@torch.no_grad()
def predictions(module: SiVAEModule, expression: Any, cells: np.ndarray) -> np.ndarray:
    """The predictor of some cells and every gene at posterior means, (cells, genes)."""
    was_training = module.training
    module.eval()
    every = np.arange(expression.shape[1])
    v_gk = module.encode_features(module.profile_gq).mean_rk
    rows = []
    for part in np.array_split(cells, max(1, len(cells) // 512)):
        x_cg = torch.from_numpy(expression.standardised(part))
        design_cb = torch.from_numpy(expression.design_nb[part])
        z_ck = module.encode_cells(x_cg, design_cb).mean_rk
        rows.append(module.predict(z_ck, v_gk, design_cb, torch.from_numpy(every))[0].numpy())
    module.train(was_training)
    return np.concatenate(rows)
