"""What training went through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sivae import _keys
from sivae._checks import check_adata
from sivae._errors import SetupError
from sivae.pl import _style

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


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
    not have either, so that the two can be compared; a frame does not hold the weights for that.

    Raises
    ------
    SetupError
        If there is no history.
    """
    columns = read_history(adata_or_frame)
    training, words = _training(adata_or_frame, columns)
    step, validation = columns["step"], columns.get("validation_loss", np.full(len(columns["step"]), np.nan))
    ax = _style.new_axes(ax, (4.6, 3.0))
    ax.plot(step, training, color=_style.FAINT, linewidth=1.6, label=words)
    if np.isfinite(validation).any():
        ax.plot(step, validation, color=_style.HIGH, linewidth=1.6, label="validation cells")
        best = best_row(columns)
        ax.plot(step[0], validation[0], "o", color=_style.INK, markersize=5, label=f"start: {validation[0]:.2f}")
        ax.plot(
            step[best], validation[best], "D", color=_style.LOW, markersize=5,
            label=f"best, step {step[best]:.0f}: {validation[best]:.2f}",
        )  # fmt: skip
    ax.legend(frameon=False, fontsize=7.5)
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


def _training(
    source: AnnData | pd.DataFrame, columns: Mapping[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float64], str]:
    """Return the training loss by step and what it is."""
    options = dict(dict(source.uns.get(_keys.UNS, {})).get("options", {})) if hasattr(source, "uns") else {}
    if "gamma" not in options or "nll" not in columns or "kl_cells" not in columns:
        return columns["loss"], "training cells (with the genes' divergence)"
    gamma = float(options["gamma"])
    linear = gamma * columns["nll_linear"] if gamma > 0 and "nll_linear" in columns else 0.0
    return columns["nll"] + columns["kl_cells"] + linear, "training cells"
