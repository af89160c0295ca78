"""Keep a run of the present formats for the tests of all later ones: tests/archive/NAME.zip, and what it gives.

    python scripts/archive.py tests/archive/model-4-run-2

The run holds a saved model. Its data are simulated and small, its network is small and its pictures are coarse, so that
the archive stays small. NAME.json holds the positions of cells and genes as the code that wrote the run gives them. It
runs with the code of older commits as well: PYTHONPATH=COMMIT/src python scripts/archive.py ...
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib.figure import Figure  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

import sivae  # noqa: E402
from sivae import cli  # noqa: E402
from sivae.datasets import planted  # noqa: E402

OPTIONS = (
    "--n-latent", "2", "--max-epochs", "40", "--n-genes", "16", "--accelerator", "cpu", "--label", "group",
    "--batch-key", "batch", "--project-rest", "--seed", "3",
)  # fmt: skip
SMALL = sivae.Architecture(cell_encoder=(8,), feature_encoder=(8,), cell_decoder=(8,), feature_decoder=(8,), n_joint=4)
DPI = 8


def main() -> None:
    """Make a run, and keep it with what it gives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("place", type=Path, help="tests/archive/NAME")
    parser.add_argument("--without-pages", action="store_true", help="Leave report, explorer and figures out.")
    arguments = parser.parse_args()
    place: Path = arguments.place
    with tempfile.TemporaryDirectory() as name, _small():
        folder = Path(name)
        planted(90, 20, n_factors=2, genes_per_factor=8, n_batches=2, signed=True, dispersion=0.02, seed=4).write_h5ad(
            folder / "cells.h5ad"
        )
        done = CliRunner().invoke(cli.app, ["fit", str(folder / "cells.h5ad"), "-o", str(folder / "run"), *OPTIONS])
        if done.exit_code:
            raise SystemExit(done.output)
        place.with_suffix(".json").write_text(json.dumps(_answers(folder / "run")) + "\n", encoding="utf-8")
        if arguments.without_pages:
            for path in (*(folder / "run").glob("*.html"), *(folder / "run").glob("figures/*")):
                path.unlink()
        _pack(folder / "run", place.with_suffix(".zip"))


@contextlib.contextmanager
def _small() -> Any:
    """Make networks small and pictures coarse."""
    made, save = sivae.SiVAE.__init__, Figure.savefig
    sivae.SiVAE.__init__ = lambda self, *words, **named: made(self, *words, **{"architecture": SMALL} | named)  # type: ignore[method-assign]
    Figure.savefig = lambda self, *words, **named: save(self, *words, **named | {"dpi": DPI})  # type: ignore[method-assign]
    yield
    sivae.SiVAE.__init__, Figure.savefig = made, save  # type: ignore[method-assign]


def _answers(run: Path) -> dict[str, Any]:
    """Where the saved model places the cells and the genes of the run."""
    import anndata

    model = sivae.SiVAE.load(run / "model")
    adata = anndata.read_h5ad(run / "adata.h5ad")
    mean, variance = model.get_feature_representation(return_dist=True)
    return {
        "config": json.loads((run / "model" / "config.json").read_text(encoding="utf-8"))["format"],
        "run": json.loads((run / "run.json").read_text(encoding="utf-8"))["format"],
        "cells": model.get_latent_representation(adata).round(5).tolist(),
        "genes": list(mean.index),
        "loadings": np.asarray(mean).round(5).tolist(),
        "variances": np.asarray(variance).round(5).tolist(),
        "expression": np.asarray(model.get_normalized_expression(adata))[:5].round(5).tolist(),
    }


def _pack(run: Path, place: Path) -> None:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_LZMA) as packed:
        for path in sorted(run.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(run).as_posix(), (2026, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_LZMA
                packed.writestr(entry, path.read_bytes())


if __name__ == "__main__":
    main()
