"""Which genes change their connectivity with a phenotype, and which only follow something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sivae._checks import number, one_of, whole_number
from sivae._door import door
from sivae._errors import SetupError
from sivae.pl import _labels, _points, _style
from sivae.pl._tables import check_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

CALL: Final = "sivae.cohort.associate(samples, phenotype)"
ASSOCIATED: Final = "associated"
KINDS: Final = {
    "not associated": ("#BFBFBF", "o"),
    "follows mean expression": (_style.OKABE_ITO[1], "^"),
    "follows detection": (_style.OKABE_ITO[2], "v"),
    "follows depth": (_style.OKABE_ITO[4], "s"),
    "follows number of cells": (_style.OKABE_ITO[5], "P"),
    "follows composition": (_style.OKABE_ITO[7], "X"),
    "not with equal numbers of cells": (_style.HIGH, "o"),
    ASSOCIATED: (_style.LOW, "D"),
}
"""Color and marker of each verdict, in the order in which they are drawn."""
LONGEST: Final = 40
"""Letters of a verdict and its number."""
LEAST_P: Final = 1e-50
"""Smaller p-values are drawn here."""


@door
def association(
    table: pd.DataFrame, *, effect: str = "effect", fdr: float | None = None, n_labels: int = 12, ax: Axes | None = None
) -> Axes:
    """Draw how much the connectivity of each gene changes with a phenotype, against the evidence for it.

    Parameters
    ----------
    table
        What `sivae.cohort.associate` returns: a row for each gene.
    effect
        The column to draw: "effect", or "relative_effect" (as a share of the gene's mean connectivity).
    fdr
        False discovery rate of the line; that of the table if not given.
    n_labels
        How many genes to name, the associated ones first (then those with the least p); names for which there is no
        room are left out.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: the effect against -log10 p (at most 50), in the colors of the verdicts, whose numbers are in the
    legend. The dashed line lies at the largest p whose q is at most `fdr`; there is none where there is no such gene.
    Genes that were not tested are left out.

    Raises
    ------
    SetupError, OptionError
        If the table is another, or no gene was tested.

    Examples
    --------
    >>> import pandas as pd
    >>> import sivae
    >>> verdict = ["associated", "not associated"]
    >>> table = pd.DataFrame(
    ...     {"effect": [-0.8, 0.1], "p": [1e-4, 0.6], "q": [2e-4, 0.6], "verdict": verdict}, ["A", "B"]
    ... )
    >>> table.attrs = {"phenotype": "age", "kind": "numeric"}
    >>> sivae.pl.association(table).get_xlabel()
    'change of connectivity per unit of age'
    """
    one_of("effect", effect, ("effect", "relative_effect"))
    n_labels = whole_number("n_labels", n_labels, least=0)
    check_table(table, [effect, "p", "q", "verdict"], call=CALL)
    rate = number(
        "fdr", table.attrs.get("fdr", 0.05) if fdr is None else fdr, allowed=lambda x: 0 < x <= 1,
        expected="more than 0 and at most 1",
    )  # fmt: skip
    p_g, q_g, effect_g = (table[name].to_numpy(dtype=np.float64) for name in ("p", "q", effect))
    known_g = np.isfinite(p_g) & np.isfinite(effect_g)
    if not known_g.any():
        raise SetupError(
            f"Found no gene with a finite {effect} and p, expected one or more. Look at the column verdict; pass what "
            f"{CALL} returns."
        )
    xy_g2 = np.column_stack([effect_g, -np.log10(np.maximum(p_g, LEAST_P))])
    verdict_g = table["verdict"].astype(str).to_numpy()
    ax = _style.new_axes(ax, (5.4, 3.4))
    handles = _verdicts(ax, xy_g2, np.where(known_g, verdict_g, ""))
    _lines(ax, p_g[known_g & (q_g <= rate)], rate)
    ax.margins(x=0.08, y=0.14)
    _labels.outer(ax).draw_without_rendering()
    words = _style.wrap(ax, effect_name(table, relative=effect != "effect"))
    _style.label_axes(ax, words, "evidence, -log10 p")
    lower = 11.0 * words.count("\n")
    _style.legend(ax, list(handles.values()), list(handles), title="verdict (genes)", limit=LONGEST, lower=lower)
    wanted = np.lexsort((np.asarray(table.index, dtype=str), -np.abs(effect_g), p_g, verdict_g != ASSOCIATED))
    wanted = wanted[known_g[wanted]][:n_labels]
    _labels.place(ax, xy_g2[wanted], [str(table.index[row]) for row in wanted.tolist()], others_n2=xy_g2[known_g])
    return ax


def _verdicts(ax: Axes, xy_g2: NDArray[np.float64], verdict_g: NDArray[np.str_]) -> dict[str, object]:
    """Draw the genes of each verdict; the handle of each with its number, associated first."""
    handles = {}
    others = [name for name in dict.fromkeys(verdict_g.tolist()) if name and name not in KINDS]
    for name in [*others, *KINDS]:
        color, marker = KINDS.get(name, KINDS["not associated"])
        rows = verdict_g == name
        if rows.any():
            size = _style.point_size(len(xy_g2)) * (1.5 if name == ASSOCIATED else 1.0)
            look = _points.Look(marker, label=name, zorder=3 if name == ASSOCIATED else 2)
            handles[f"{name} ({rows.sum()})"] = _points.scatter(ax, xy_g2[rows], size=size, color=color, look=look)
    return dict(reversed(handles.items()))


def _lines(ax: Axes, found_p: NDArray[np.float64], rate: float) -> None:
    ax.axvline(0, color="#DDDDDD", linewidth=0.8, zorder=0)
    if len(found_p):
        height = -np.log10(max(float(found_p.max()), LEAST_P))
        ax.axhline(height, color=_style.FAINT, linewidth=0.9, linestyle="--", zorder=0, gid="fdr")
        _style.head(ax, f"dashed: false discovery rate {100 * rate:g} %")
    else:
        _style.head(ax, f"none at a false discovery rate of {100 * rate:g} %")


def effect_name(table: pd.DataFrame, *, relative: bool = False) -> str:
    """What an effect is a change of, and over what: "change of connectivity, case - control"."""
    phenotype = _style.short(table.attrs.get("phenotype", "the phenotype"))
    kind, levels = table.attrs.get("kind", "numeric"), [str(name) for name in table.attrs.get("levels", ())]
    what = "relative change of connectivity" if relative else "change of connectivity"
    if kind == "binary" and len(levels) == 2:
        return f"{what}, {_style.short(levels[1], _style.TICK_LIMIT)} - {_style.short(levels[0], _style.TICK_LIMIT)}"
    return f"{what} per {'step' if kind == 'ordered' else 'unit'} of {phenotype}"
