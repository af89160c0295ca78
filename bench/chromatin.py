"""Open chromatin in place of SNARE-seq, which is not at hand: seconds of training and of attributions, kinds of cells.

The publication timed two axes on SNARE-seq of mouse cortex (GSE126074; Chen, Lake, Zhang 2019, doi
10.1038/s41587-019-0290-0) with up to 30,000 features. Those data are not available here. These cells are simulated
(`bench/_peaks.py`): 12 topics with peaks of their own, 2 % of the values not zero, depth that varies. What a simulation
cannot show is whether the map of real chromatin means anything.

Likelihood Bernoulli. "train" is everything from the model to its end; attributions are of the decoder side, of all
peaks, in 100 cells ("deeplift" needs captum). Seconds are those of the processor at one thread. "kinds" is the accuracy
of the topic that a cell holds most of, from its 15 nearest cells in five folds; "PCA" is that of as many principal
components of the standardised peaks, where the model starts.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any

import anndata
import numpy as np

import sivae
from bench import _common, _measures, _peaks

SIZES, AXES = (5_000, 20_000), (2, 11)
CELLS, STEPS, ATTRIBUTED = 2_000, 150, 100
METHODS = ("saliency", "gradient_x_input", "deeplift")


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("chromatin", ("peaks", "k"), quick=settings.quick)
    cells, sizes, steps = (300, (200,), 10) if settings.quick else (CELLS, SIZES, STEPS)
    for n_peaks in sizes:
        adata = _peaks.peaks(cells, n_peaks)
        for k in AXES:
            rows.find(lambda adata=adata, k=k: _run(adata, k, steps), peaks=n_peaks, k=k)
    rows.write(cells=cells, steps=steps)


def _run(adata: anndata.AnnData, k: int, steps: int) -> dict[str, Any]:
    sivae.SiVAE.setup_anndata(adata)
    model, started = sivae.SiVAE(adata, n_latent=k, likelihood="bernoulli"), time.process_time()
    model.train(accelerator="cpu", progress=False, options=sivae.TrainOptions(max_steps=steps))
    found: dict[str, Any] = {"train_s": round(time.process_time() - started, 1)}
    for method in METHODS:
        if method != "deeplift" or find_spec("captum"):
            started = time.process_time()
            sivae.tl.attributions(adata, model, side="decoder", method=method, n_cells=ATTRIBUTED)
            found[f"{method}_s"] = round(time.process_time() - started, 2)
    kind = adata.obs["topic"].to_numpy()
    model.annotate(adata)
    found["kinds"] = round(_measures.knn(np.asarray(adata.obsm["X_sivae"]), kind), 4)
    found["pca"] = round(_measures.knn(_scores(model, adata, k), kind), 4)
    return found


def _scores(model: sivae.SiVAE, adata: anndata.AnnData, k: int) -> np.ndarray:
    """Scores of all cells on the principal components of the training cells."""
    state = model._state
    return np.asarray(state.reader.read(adata).standardised(slice(None)) @ state.spectrum.vectors_gq[:, :k])


COLUMNS = (
    ("train_s", "train, s"), ("saliency_s", "saliency, s"), ("gradient_x_input_s", "gradient x input, s"),
    ("deeplift_s", "DeepLIFT, s"), ("kinds", "kinds"), ("pca", "kinds, PCA"),
)  # fmt: skip


def table(result: dict[str, Any]) -> str:
    lines = [[f"{row['peaks']:,}", row["k"], *(row.get(key) for key, _ in COLUMNS)] for row in result["rows"]]
    said = f"{_common.conditions(result)} {result['cells']:,} cells, at most {result['steps']:,} steps.\n\n"
    return said + _common.table(("peaks", "axes", *(words for _, words in COLUMNS)), lines)
