"""One training in a process of its own, for `bench/growth.py`: prints seconds and peak memory as JSON.

python -m bench._one_fit METHOD FILE.h5ad K STEPS
"""

from __future__ import annotations

import json
import re
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import anndata

BATCH = 128
"""Cells of a step, all methods: the published number."""


def main(method: str, path: str, k: int, *steps: int) -> None:
    warnings.simplefilter("ignore")
    adata = anndata.read_h5ad(path)
    prepare = {"siVAE": ours, "published": published, "scVI": scvi_tools, "LDVAE": scvi_tools}[method]
    found: list[dict[str, Any]] = []
    for number in steps:
        train = prepare(adata, k, number, method)
        before, started = peak_mb(), time.perf_counter()
        stages = train()
        found.append({"seconds": time.perf_counter() - started, "stages": stages, "peak_mb": peak_mb() - before})
    print("FOUND " + json.dumps(found), flush=True)


def peak_mb() -> float:
    """Peak of this program alone; `getrusage` would begin with that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024  # type: ignore[union-attr]


def ours(adata: Any, k: int, steps: int, _: str) -> Any:
    import sivae

    sivae.SiVAE.setup_anndata(adata)

    def train() -> dict[str, float]:
        model = sivae.SiVAE(adata, n_latent=k)
        options = sivae.TrainOptions(max_steps=steps, checks=1)
        history = model.train(
            batch_size=BATCH, accelerator="cpu", progress=False, early_stopping=False, options=options
        )
        return {"loop": float(history["seconds"].iloc[-1])}  # without the start, which takes longer than some steps

    return train


def published(adata: Any, k: int, steps: int, _: str) -> Any:
    import sivae

    sivae.SiVAE.setup_anndata(adata)

    def train() -> dict[str, float]:
        options = sivae.PublishedOptions(iterations=steps, batch_size=BATCH, kl_warmup=max(1, steps // 2))
        model = sivae.SiVAE(adata, n_latent=k, recipe="choi2023", published=options)
        free = sivae.TrainOptions(validation_fraction=0.0, checks=1)
        history = model.train(accelerator="cpu", progress=False, early_stopping=False, options=free)
        return dict(history.attrs["stage_seconds"])

    return train


def scvi_tools(adata: Any, k: int, steps: int, name: str) -> Any:
    import logging

    import scvi

    for logger in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    scvi.settings.verbosity = logging.ERROR
    kind = scvi.model.LinearSCVI if name == "LDVAE" else scvi.model.SCVI
    kind.setup_anndata(adata)

    def train() -> dict[str, float]:
        model = kind(adata, n_latent=k)
        model.train(
            max_epochs=1_000_000, max_steps=steps, accelerator="cpu", batch_size=BATCH, enable_progress_bar=False
        )
        return {}

    return train


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
