"""Do long trainings stay finite, and in the memory that they began with?

100,000 steps on 60 simulated cells x 20 genes, small networks, in one thread: log-normalised values under the Normal,
and counts under the negative binomial. Resident memory of the process is noted every 1,000 steps. "at 10,000" and "at
the end" are in MB; "slope" is that of a line through the notes after step 10,000, in kB for 1,000 steps. "finite":
every loss that was noted, and the positions of all cells and genes at the end.
"""

from __future__ import annotations

import gc
import time
from typing import Any

import numpy as np
import psutil
from torch.optim.optimizer import register_optimizer_step_post_hook

import sivae
from bench import _common
from sivae import Architecture, TrainOptions

STEPS, QUICK_STEPS, EVERY, WARM = 100_000, 300, 1000, 10_000
SMALL = Architecture(cell_encoder=(16,), feature_encoder=(16,), cell_decoder=(16,), feature_decoder=(16,), n_joint=6)


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("long", ("likelihood",), quick=settings.quick)
    for likelihood in ("normal", "nb"):
        rows.find(lambda a=likelihood: trained(a, QUICK_STEPS if settings.quick else STEPS), likelihood=likelihood)
    rows.write()


def trained(likelihood: str, n_steps: int, *, every: int | None = None) -> dict[str, Any]:
    """One training, and what it took."""
    adata = sivae.datasets.planted(60, 20, n_factors=2, genes_per_factor=6, seed=1)
    adata.X = adata.X.toarray() + (np.arange(20) == 0)  # no cell is empty
    sivae.SiVAE.setup_anndata(adata)
    model = sivae.SiVAE(adata, n_latent=2, likelihood=likelihood, architecture=SMALL)
    every = every or min(EVERY, n_steps // 10)
    notes: list[tuple[int, int]] = []
    steps, process, start = 0, psutil.Process(), time.perf_counter()

    def note(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps % every == 0:
            gc.collect()
            notes.append((steps, process.memory_info().rss))

    watching = register_optimizer_step_post_hook(note)
    try:
        history = model.train(
            batch_size=64, feature_batch_size=32, early_stopping=False, accelerator="cpu", progress=False,
            options=TrainOptions(max_steps=n_steps),
        )  # fmt: skip
    finally:
        watching.remove()
    ends = [history["loss"].to_numpy()[1:], model.get_latent_representation(), model.get_feature_representation()]
    return record(np.array(notes, float), n_steps) | {
        "steps": steps,
        "ms_per_step": round(1000 * (time.perf_counter() - start) / n_steps, 2),
        "finite": all(bool(np.isfinite(np.asarray(end)).all()) for end in ends),
    }


def record(notes_m2: np.ndarray, n_steps: int) -> dict[str, Any]:
    """Memory after the first tenth: where it began, where it ended, and the slope."""
    late_m2 = notes_m2[notes_m2[:, 0] >= min(WARM, n_steps / 10)]
    slope = np.polyfit(late_m2[:, 0], late_m2[:, 1], 1)[0]
    return {
        "start_mb": round(late_m2[0, 1] / 1e6, 1),
        "end_mb": round(late_m2[-1, 1] / 1e6, 1),
        "slope_kb": round(1000 * slope / 1e3, 2),
    }


def table(result: dict[str, Any]) -> str:
    names = ("likelihood", "steps", "ms a step", "at 10,000 (MB)", "at the end (MB)", "slope (kB)", "finite")
    keys = ("likelihood", "steps", "ms_per_step", "start_mb", "end_mb", "slope_kb", "finite")
    return _common.table(names, [[str(row[key]) for key in keys] for row in result["rows"]])
