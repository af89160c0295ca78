"""One training on wide data, or its axes by Lanczos iterations, in a process of its own, for `bench/wide.py`.

python -m bench._one_wide CELLS FEATURES default|Lanczos STEPS
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

import sivae
from bench import _peaks
from bench._one_fit import peak_mb
from bench._one_store import Clock, Timed
from sivae.model import _build, _fit, _sivae
from sivae.stats._spectrum import Spectrum, principal_axes
from sivae.train import _loop

LEADING, COMPARED = 20, 12
STAGES = {"axes": (_fit, "principal_axes"), "start": (_build, "build_module"), "finish": (_fit, "finish")}


class Enough(Exception):
    """The axes are found."""


def main(n_cells: int, n_features: int, method: str, steps: int) -> None:
    warnings.simplefilter("ignore")
    assert _sivae.SiVAE  # imports are not on the clock
    logging.getLogger("sivae").setLevel(logging.ERROR)
    adata = _peaks.peaks(n_cells, n_features)
    base, clock = peak_mb(), Clock()
    sivae.SiVAE.setup_anndata(adata)
    found: dict[str, Any] = {"base_mb": round(base), "set_up_s": clock.lap()}
    model = sivae.SiVAE(adata, likelihood="bernoulli")
    options = sivae.TrainOptions(max_steps=steps, checks=1)
    train = lambda: model.train(accelerator="cpu", progress=False, early_stopping=False, options=options)  # noqa: E731
    if method == "Lanczos":
        found |= by_lanczos(adata, train)
    else:
        found |= by_default(model, adata, train, clock, steps)
    print("FOUND " + json.dumps(found), flush=True)


def by_default(model: Any, adata: Any, train: Callable[[], Any], clock: Clock, steps: int) -> dict[str, Any]:
    """Seconds of every stage of the default path, its memory, and how near its axes are to the topics."""
    passes: list[int] = []
    timed = {name: Timed(getattr(module, attribute)) for name, (module, attribute) in STAGES.items()}
    timed["axes"].original = counted(passes)
    timed["loop"] = Timed(_loop.run)
    with ExitStack() as stack:
        for name, (module, attribute) in {**STAGES, "loop": (_loop, "run")}.items():
            stack.enter_context(mock.patch.object(module, attribute, timed[name].call))
        train()
    found = {f"{name}_s": round(timed[name].seconds, 2) for name in STAGES}
    clock.lap()
    model.annotate(adata)
    state = model._state
    found |= {"annotate_s": clock.lap(), "peak_mb": round(peak_mb()), "passes": len(passes)}
    found["step_ms"] = round(1000 * timed["loop"].seconds / steps, 1)
    found["planted"] = nearness(state.spectrum, _peaks.planted(adata, state.reader.scaling.sd_g))
    return found


def by_lanczos(adata: Any, train: Callable[[], Any]) -> dict[str, Any]:
    """The axes of the same cells by Lanczos iterations, and by the default to compare them with."""
    asked: list[Any] = []

    def stop(*arguments: Any, **named: Any) -> None:
        asked.extend([arguments, named])
        raise Enough

    with mock.patch.object(_fit, "principal_axes", stop):
        try:
            train()
        except Enough:
            pass
    (blocks, shape, rank), named = asked
    passes: list[int] = []
    clock = Clock()
    spectrum = lanczos(every(blocks, passes), shape, rank)
    found: dict[str, Any] = {"axes_s": clock.lap(), "passes": len(passes), "peak_mb": round(peak_mb())}
    other = principal_axes(blocks, shape, rank, **named)
    overlap = spectrum.vectors_gq[:, :COMPARED].T @ other.vectors_gq[:, :COMPARED]
    found["agree"] = float(np.linalg.svd(overlap, compute_uv=False).min())
    values = adata.X.copy()
    values.data[:] = 1.0
    found["planted"] = nearness(spectrum, _peaks.planted(adata, sd(values)))
    return found


def sd(values: Any) -> np.ndarray:
    """Standard deviation of open peaks, to scale planted directions by; the log1p scale differs by a factor."""
    share_g = np.asarray(values.mean(axis=0)).ravel()
    return np.sqrt(share_g * (1 - share_g))


def nearness(spectrum: Spectrum, planted_gm: np.ndarray) -> float:
    """Mean cosine of the principal angles between planted directions and the leading axes."""
    overlap = planted_gm.T @ spectrum.vectors_gq[:, :LEADING]
    return float(np.linalg.svd(overlap, compute_uv=False).mean())


def counted(passes: list[int]) -> Callable[..., Spectrum]:
    """`principal_axes` that notes every pass over the cells."""

    def axes(blocks: Any, shape: Any, rank: int, *, product: Any = None) -> Spectrum:
        def noted(matrix_gl: np.ndarray) -> np.ndarray:
            passes.append(1)
            return np.asarray(product(matrix_gl))

        return principal_axes(every(blocks, passes), shape, rank, product=None if product is None else noted)

    return axes


def every(blocks: Callable[[], Iterator[Any]], passes: list[int]) -> Callable[[], Iterator[Any]]:
    """The blocks, noting when they are asked for."""

    def noted() -> Iterator[Any]:
        passes.append(1)
        return blocks()

    return noted


def lanczos(blocks: Callable[[], Iterator[np.ndarray]], shape: tuple[int, int], rank: int) -> Spectrum:
    """Leading eigenvectors of X'X / N with a product of one vector in each pass."""
    n, g = shape

    def product(vector: np.ndarray) -> np.ndarray:
        vector = vector.ravel().astype(np.float32)
        return sum((block.T @ (block @ vector) for block in blocks()), np.zeros(g)) / n

    operator = LinearOperator((g, g), matvec=product, dtype=np.float64)
    values, vectors = eigsh(operator, k=rank, v0=np.random.default_rng(0).standard_normal(g), tol=1e-3)
    return Spectrum(values[::-1], vectors[:, ::-1], n)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
