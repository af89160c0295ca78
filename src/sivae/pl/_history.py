"""What training went through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae import _keys
from sivae._checks import check_adata
from sivae._door import door
from sivae._errors import SetupError
from sivae.pl import _read, _style

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


PHASES: Final = {1: "cell tower", 2: "gene tower", 3: "both towers"}
"""What is trained in each phase of the published recipe."""


@dataclass(frozen=True)
class Phase:
    """One phase of a training: its rows, and the validation loss at its start, of the weights kept, and at its best."""

    number: int
    first_step: int
    last_step: int
    start: float
    kept: float
    kept_step: int
    lowest: float
    lowest_step: int

    @property
    def words(self) -> str:
        """Number and what is trained, such as "1 (cell tower)"."""
        return f"{self.number} ({PHASES[self.number]})"

    @property
    def steps(self) -> int:
        """Steps that were done."""
        return self.last_step - self.first_step

    @property
    def watched(self) -> bool:
        """Whether there was a validation loss; the gene tower alone has none."""
        return bool(np.isfinite(self.start))


@door
def history(adata_or_frame: AnnData | pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the training and the validation loss by step, with the start and the best step.

    Parameters
    ----------
    adata_or_frame
        Annotated by `SiVAE.annotate`, or the frame that `SiVAE.train` returns.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. From an AnnData the training loss is drawn without the genes' divergence, which the validation loss does
    not have either, so that the two can be compared; a frame does not hold the weights for that. Of a training in
    phases (recipe "choi2023") both losses are drawn with every term, from an AnnData at the weights after the warm-up;
    the phase of the gene tower, whose loss is that of a regression, is left blank.

    Raises
    ------
    SetupError
        If there is no history.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=3)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> sivae.pl.history(history).get_xlabel()
    'step'
    """
    columns = read_history(adata_or_frame)
    training, words = _training(adata_or_frame, columns)
    step, validation = columns["step"], columns.get("validation_loss", np.full(len(columns["step"]), np.nan))
    ax = _style.new_axes(ax, (4.6, 3.0))
    ax.plot(step, training, color=_style.FAINT, linewidth=1.6, label=words)
    if np.isfinite(validation).any():
        ax.plot(step, validation, color=_style.HIGH, linewidth=1.6, label="validation cells")
        found = phases(columns)
        if found:
            _mark_phases(ax, found)
        else:
            best = best_row(columns)
            _mark(ax, (step[0], validation[0]), (step[best], validation[best]), ("start", "best"))
    blank = np.isin(2, columns.get("stage", ()))
    ax.legend(frameon=False, fontsize=7.5, loc="upper center" if blank else "best")
    _style.label_axes(ax, "step", "loss per cell (lower is better)")
    return ax


def read_history(source: AnnData | pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return the columns of a history, from a frame or from `uns["sivae"]["history"]`."""
    table: Mapping[str, object] | None
    if not hasattr(source, "columns"):
        check_adata(source)
    if hasattr(source, "uns"):
        table = dict(source.uns.get(_keys.UNS, {})).get("history")
    else:
        table = {str(name): source[name] for name in source.columns}
    if not table or "step" not in table:
        raise SetupError(
            "Found no training history, expected uns['sivae']['history'] or the frame that train() returns. "
            "Call model.annotate(adata) after training."
        )
    return {name: np.asarray(values, dtype=np.float64) for name, values in table.items()}


def best_row(columns: Mapping[str, NDArray[np.float64]]) -> int:
    """Return the row whose weights were kept: the last that was marked as the best."""
    marked = np.flatnonzero(columns["best"] > 0) if "best" in columns else np.array([], dtype=int)
    return int(marked[-1]) if len(marked) else int(np.nanargmin(columns["validation_loss"]))


def phases(columns: Mapping[str, NDArray[np.float64]]) -> list[Phase]:
    """Return the phases of a training, in order; none where there are no phases."""
    stage = np.asarray(columns.get("stage", np.array([])), dtype=np.float64)
    return [_phase(columns, np.flatnonzero(stage == number)) for number in np.unique(stage[np.isfinite(stage)])]


def _phase(columns: Mapping[str, NDArray[np.float64]], rows: NDArray[np.intp]) -> Phase:
    step = np.asarray(columns["step"])[rows]
    loss = np.asarray(columns["validation_loss"])[rows] if "validation_loss" in columns else np.full(len(rows), np.nan)
    kept = np.flatnonzero(np.asarray(columns["best"])[rows] > 0)[-1]
    lowest = int(np.nanargmin(loss)) if np.isfinite(loss).any() else 0
    return Phase(
        int(columns["stage"][rows[0]]), int(step[0]), int(step[-1]), float(loss[0]), float(loss[kept]),
        int(step[kept]), float(loss[lowest]), int(step[lowest]),
    )  # fmt: skip


def _mark(ax: Axes, start: tuple[float, float], end: tuple[float, float], words: tuple[str, str]) -> None:
    """Mark the loss at the start and that of the weights kept."""
    ax.plot(*start, "o", color=_style.INK, markersize=5, label=f"{words[0]}: {start[1]:.2f}")
    ax.plot(
        *end, "D", color=_style.LOW, markersize=5, label=f"{words[1]}, step {end[0]:.0f}: {end[1]:.2f}"
    )  # fmt: skip


def _mark_phases(ax: Axes, found: list[Phase]) -> None:
    """Mark start and end of each phase that has a validation loss, and where phases meet."""
    for phase in found:
        if phase.watched:
            start, end = (phase.first_step, phase.start), (phase.kept_step, phase.kept)
            _mark(ax, start, end, (f"phase {phase.number}, start", "kept"))
        middle = (phase.first_step + phase.last_step) / 2
        ax.annotate(
            f"{phase.number} {PHASES[phase.number]}", (middle, 1.01), xycoords=("data", "axes fraction"),
            ha="center", va="bottom", fontsize=7.5, color=_style.INK,
        )  # fmt: skip
    for phase in found[1:]:
        ax.axvline(phase.first_step, color=_style.FAINT, linewidth=0.8, linestyle=":")


def _training(
    source: AnnData | pd.DataFrame, columns: Mapping[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float64], str]:
    """Return the training loss by step and what it is."""
    uns = dict(source.uns.get(_keys.UNS, {})) if hasattr(source, "uns") else {}
    options = dict(uns.get("options", {}))
    staged = "stage" in columns
    if "gamma" not in options or "nll" not in columns or "kl_cells" not in columns:
        words = "training cells" if staged else "training cells (with the genes' divergence)"
        return _blank_genes(columns["loss"], columns), words
    gamma = float(options["gamma"])
    linear = gamma * columns["nll_linear"] if gamma > 0 and "nll_linear" in columns else 0.0
    if staged:
        return _blank_genes(
            linear + _published_terms(uns, columns, int(_read.modelled(source).sum())), columns
        ), "training cells"
    return columns["nll"] + columns["kl_cells"] + linear, "training cells"


def _published_terms(
    uns: Mapping[str, Any], columns: Mapping[str, NDArray[np.float64]], n_genes: int
) -> NDArray[np.float64]:
    """Return all terms but the interpretability term, at the weights after the warm-up, as validation has them."""
    published = dict(uns["options"]["published"])
    bound = str(uns["options"]["kl_scale"]) == "bound"
    scale = n_genes / int(uns["facts"]["n_training_cells"]) if bound else 1.0
    weights = {
        "nll": 1.0, "kl_cells": float(published["beta"]), "kl_features": float(published["feature_beta"]) * scale,
        "nll_hidden": float(published["hidden_gamma"]), "penalty": 1.0,
    }  # fmt: skip
    total: NDArray[np.float64] = np.sum([weight * columns[name] for name, weight in weights.items() if weight], axis=0)
    return total


def _blank_genes(loss: NDArray[np.float64], columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the loss without the phase in which it is not that of cells."""
    return np.where(columns["stage"] == 2, np.nan, loss) if "stage" in columns else loss  # noqa: PLR2004
