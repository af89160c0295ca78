"""One training from a store, in a process of its own, for `bench/out_of_core.py`: processor seconds and memory as JSON.

python -m bench._one_store FILE.h5ad "in memory"|"temporary file" STEPS GENES; 0 steps are a whole default training.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import anndata

import sivae
from bench import _store
from bench._one_fit import peak_mb
from sivae.data import _rows, _spool
from sivae.model import _sivae
from sivae.train import _loop

UNSEEN = 3_000


def main(path: str, mode: str, steps: int, n_genes: int) -> None:
    warnings.simplefilter("ignore")
    assert _sivae.SiVAE  # imports are not on the clock
    logging.getLogger("sivae").setLevel(logging.ERROR)
    unseen = _store.unseen(min(UNSEEN, 30 * n_genes), n_genes)
    outside = mode == "temporary file"
    base, started, clock = peak_mb(), time.perf_counter(), Clock()
    file, loop = Timed(_spool.Spool.__init__), Timed(_loop.run)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(_rows, "SHARE", 0.0 if outside else 1e9):
        adata = anndata.read_h5ad(path, backed="r" if outside else None)
        found: dict[str, Any] = {"opened_s": clock.lap(), "base_mb": round(base), "opened_mb": round(peak_mb())}
        sivae.SiVAE.setup_anndata(adata)
        found["set_up_s"] = clock.lap()
        model = sivae.SiVAE(adata)
        options = sivae.TrainOptions(spool_folder=folder)
        if steps:
            options = replace(options, max_steps=steps, checks=5)
        with mock.patch.object(_spool.Spool, "__init__", file.call), mock.patch.object(_loop, "run", loop.call):
            history = model.train(accelerator="cpu", progress=False, early_stopping=not steps, options=options)
        found |= {
            "file_s": round(file.seconds, 2), "file_mb": round(file.arguments[0].n_bytes / 1e6) if outside else 0,
            "made": int(history["step"].iloc[-1]),
            "step_ms": round(1000 * loop.seconds / int(history["step"].iloc[-1]), 2),
            "rest_s": round(clock.lap() - loop.seconds - file.seconds, 2), "trained_mb": round(peak_mb()),
        }  # fmt: skip
        model.annotate(adata)
        found |= {"annotated_s": clock.lap(), "peak_mb": round(peak_mb())}
    found["wall_s"] = round(time.perf_counter() - started, 1)
    found["validation_loss"] = float(history["validation_loss"].min())
    found["held_out"] = model.get_reconstruction_error(unseen)
    print("FOUND " + json.dumps(found), flush=True)


class Clock:
    """Processor seconds from lap to lap."""

    def __init__(self) -> None:
        self.at = time.process_time()

    def lap(self) -> float:
        before, self.at = self.at, time.process_time()
        return round(self.at - before, 2)


class Timed:
    """A function that counts its processor seconds and keeps what it was last given."""

    def __init__(self, original: Callable[..., Any]) -> None:
        self.original, self.seconds, self.arguments = original, 0.0, ()

    @property
    def call(self) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.arguments, started = args, time.process_time()
            try:
                return self.original(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - started

        return wrapped


if __name__ == "__main__":
    main(str(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
