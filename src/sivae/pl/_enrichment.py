"""Gene sets that are enriched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sivae._checks import number, whole_number
from sivae._door import door
from sivae._errors import OptionError, some
from sivae.pl import _style
from sivae.pl._tables import check_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CALL: Final = "sivae.tl.enrich"
LEAST_P: Final = 1e-50


@door
def enrichment(
    table: pd.DataFrame, group: str | None = None, *, n_sets: int = 10, fdr: float = 0.05, ax: Axes | None = None
) -> Axes:
    """Draw the most significant gene sets as bars.

    Parameters
    ----------
    table
        What `sivae.tl.enrich` returns.
    group
        Axis, module, or other group of the table; all together, named by set and group, if not given.
    n_sets
        Sets at most, the most significant first.
    fdr
        Bars of sets with a larger q are grey.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes: -log10 p (at most 50), and at each bar the genes chosen in the set of those in the background.

    Raises
    ------
    SetupError, OptionError
        If the table is another, is empty, or has no such group.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> sets = {"first": adata.var_names[:15], "others": adata.var_names[45:]}
    >>> table = sivae.tl.enrich(adata, sets, use_rep="planted_v")
    >>> sivae.pl.enrichment(table, "axis1").get_yticklabels()[0].get_text()
    'first'
    """
    n_sets = whole_number("n_sets", n_sets, least=1)
    fdr = number("fdr", fdr, allowed=lambda x: 0 < x <= 1, expected="more than 0 and at most 1")
    check_table(table, ["group", "set", "n_overlap", "n_set", "p", "q"], call=CALL)
    groups = [str(name) for name in dict.fromkeys(table["group"])]
    if not groups or (group is not None and group not in groups):
        raise OptionError(f"Found group={group!r}, expected one of {some(groups, 20) or 'those of a table with rows'}.")
    rows = table if group is None else table[table["group"].astype(str) == group]
    rows = rows.sort_values("p", kind="stable").head(n_sets)
    names = [str(name) for name in rows["set"]]
    if group is None and len(groups) > 1:
        names = [f"{_style.short(s, 20)}, {_style.short(g, 9)}" for s, g in zip(names, rows["group"], strict=True)]
    size = -np.log10(np.maximum(rows["p"].to_numpy(dtype=np.float64), LEAST_P))
    sure = rows["q"].to_numpy(dtype=np.float64) <= fdr
    ax = _style.new_axes(ax, (4.4, 0.8 + 0.21 * max(5, len(rows))))
    ax.barh(np.arange(len(rows)), size, color=[_style.HIGH if s else _style.FAINT for s in sure], height=0.75)
    _style.name_ticks(ax, "y", range(len(rows)), names, limit=31)
    for place, (x, overlap, n) in enumerate(zip(size, rows["n_overlap"], rows["n_set"], strict=True)):
        words = f"{overlap}/{n}" if overlap != n else f"{n}"
        ax.annotate(words, (x, place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=6.5)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    _style.label_axes(ax, f"-log10 p (blue: q at most {fdr:g})", "")
    if group is not None:
        _style.head(ax, group)
    return ax
