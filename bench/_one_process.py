"""One process of a training, for `bench/processes.py`: what it found, as JSON.

python -m bench._one_process FILE.h5ad CELLS_OF_A_BLOCK STEPS GENES SEED
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import anndata
import numpy as np

import sivae
from bench import _store
from sivae.train import _loop
from sivae.train._processes import Processes

UNSEEN, WARM_UP, CHECKS = 3_000, 5, 10


def main(path: str, batch_size: int, steps: int, n_genes: int, seed: int) -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("sivae").setLevel(logging.ERROR)
    adata = anndata.read_h5ad(path, backed="r")
    sivae.SiVAE.setup_anndata(adata)
    model = sivae.SiVAE(adata, seed=seed)
    step, exchange = Timed(_loop._Trainer.advance), Timed(Processes.average)
    options = sivae.TrainOptions(max_steps=steps, checks=CHECKS, spool="never")
    with (
        mock.patch.object(_loop._Trainer, "advance", step.call),
        mock.patch.object(Processes, "average", exchange.call),
    ):
        history = model.train(
            batch_size=batch_size, accelerator="cpu", progress=False, early_stopping=False, options=options
        )
    curve = history["validation_loss"].to_numpy()
    found: dict[str, Any] = {
        "step_ms": step.quantile(0.5), "fastest_ms": step.quantile(0.1), "cpu_ms": step.processor(),
        "exchange_ms": exchange.quantile(0.5),
        "exchanged_mb": sum(4 * p.numel() for p in model._module.parameters()) / 1e6,
        "fall": float(curve[0] - curve.min()), "curve": [round(float(curve[0] - value), 4) for value in curve],
    }  # fmt: skip
    found["held_out"] = model.get_reconstruction_error(_store.unseen(min(UNSEEN, 30 * n_genes), n_genes))
    print("FOUND " + json.dumps(found), flush=True)


class Timed:
    """A function whose calls are timed."""

    def __init__(self, original: Callable[..., Any]) -> None:
        self.original, self.wall, self.cpu = original, [], []

    @property
    def call(self) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return self.original(*args, **kwargs)
            finally:
                self.wall.append(time.perf_counter() - wall)
                self.cpu.append(time.process_time() - cpu)

        return wrapped

    def quantile(self, share: float) -> float:
        """Of the wall time of a call, ms."""
        return round(1000 * float(np.quantile(self.wall[WARM_UP:], share)), 3)

    def processor(self) -> float:
        """Processor time of a call, ms."""
        return round(1000 * float(np.mean(self.cpu[WARM_UP:])), 3)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
