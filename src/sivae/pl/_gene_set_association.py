"""Gene sets at either end of a ranking of genes by a phenotype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sivae._checks import number, whole_number
from sivae._door import door
from sivae._errors import SetupError
from sivae.pl import _labels, _style
from sivae.pl._tables import check_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

CALL: Final = "sivae.cohort.gene_sets(samples, phenotype, gene_sets)"
NUMBER: Final = 0.42
"""Inches for a q beside a bar."""


@door
def gene_set_association(table: pd.DataFrame, *, n_sets: int = 15, fdr: float = 0.05, ax: Axes | None = None) -> Axes:
    """Draw the gene sets whose connectivity goes with a phenotype, ranked by their normalized enrichment score.

    Parameters
    ----------
    table
        What `sivae.cohort.gene_sets` returns: a row for each set, with its name in the column `set` or the index, and
        the number of its genes in `n` or `n_genes`.
    n_sets
        Sets at most, those with the least p (the largest score among equals).
    fdr
        Sets with a q at most this are in full color: blue where the score is positive, orange where it is negative.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: a bar for each set, the highest score at the top, with its q.

    Raises
    ------
    SetupError, OptionError
        If the table is another, or no set was tested.

    Examples
    --------
    >>> import pandas as pd
    >>> import sivae
    >>> table = pd.DataFrame({"set": ["a", "b"], "n": [9, 8], "nes": [-1.9, 1.2], "p": [0.001, 0.2], "q": [0.002, 0.2]})
    >>> [float(bar.get_width()) for bar in sivae.pl.gene_set_association(table).patches]
    [1.2, -1.9]
    """
    n_sets = whole_number("n_sets", n_sets, least=1)
    fdr = number("fdr", fdr, allowed=lambda x: 0 < x <= 1, expected="more than 0 and at most 1")
    check_table(table, ["nes", "p", "q"], call=CALL)
    table = _named(table)
    check_table(table, ["set", "n"], call=CALL)
    rows = table[np.isfinite(table["nes"].to_numpy(dtype=np.float64))]
    if not len(rows):
        raise SetupError(f"Found no set with a finite nes, expected one or more. Pass what {CALL} returns.")
    p, nes = (rows[name].to_numpy(dtype=np.float64) for name in ("p", "nes"))
    rows = rows.iloc[np.lexsort((rows["set"].astype(str), -np.abs(nes), p))[:n_sets]]
    rows = rows.sort_values(["nes", "set"], ascending=[False, True], kind="stable")
    score, q = (rows[name].to_numpy(dtype=np.float64) for name in ("nes", "q"))
    side = np.where(score > 0, _style.HIGH, _style.LOW)
    ax = _style.new_axes(ax, (4.8, 0.8 + 0.21 * max(5, len(rows))))
    bars = ax.barh(np.arange(len(rows)), score, color=side, height=0.75)
    for bar, sure in zip(bars, q <= fdr, strict=True):
        bar.set_alpha(1.0 if sure else 0.35)
    limit = 24 if _style.slot_width(ax) >= _style.NARROW else 17
    names = [f"{_style.short(s, limit)} ({n})" for s, n in zip(rows["set"], rows["n"], strict=True)]
    _style.name_ticks(ax, "y", range(len(rows)), names, limit=limit + 8)
    size = min(6.5, 72 * ax.bbox.height / ax.figure.dpi / len(rows) * 0.8)
    for place, (x, value) in enumerate(zip(score, q, strict=True)):
        ax.annotate(
            f"{value:.2g}", (x, place), xytext=(3 if x > 0 else -3, 0), textcoords="offset points", va="center",
            ha="left" if x > 0 else "right", fontsize=size, color=_style.INK,
        )  # fmt: skip
    ax.axvline(0, color=_style.FAINT, linewidth=0.8)
    ax.invert_yaxis()
    _labels.outer(ax).draw_without_rendering()
    _room(ax, score)
    words = f"normalized enrichment score (with q; faint: above {fdr:g})"
    _style.label_axes(ax, _style.wrap(ax, words), "")
    return ax


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with names and sizes of the sets as columns `set` and `n`."""
    if "set" not in table.columns:
        table = table.rename_axis("set").reset_index()
    return table if "n" in table.columns else table.rename(columns={"n_genes": "n"})


def _room(ax: Axes, score: NDArray[np.float64]) -> None:
    """Leave room for a number at either end."""
    low, high = min(0.0, float(score.min())), max(0.0, float(score.max()))
    ends = (low < 0) + (high > 0)
    share = min(NUMBER / (ax.bbox.width / ax.figure.dpi), 0.3)
    room = share * (high - low) / (1 - ends * share) if high > low else 1.0
    ax.set_xlim(low - room * (low < 0), high + room * (high > 0))
