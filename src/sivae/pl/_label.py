"""Which column of `obs` names groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sivae import _keys
from sivae._checks import check_adata
from sivae._errors import OptionError, some
from sivae._values import frame

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

LIKELY: Final = (
    "cell_type", "celltype", "cell_types", "annotation", "label", "labels", "cluster", "clusters",
    "leiden", "louvain", "group", "groups", "condition",
)  # fmt: skip
"""Names of columns of `obs` that most likely hold groups of cells, the likeliest first."""
GROUPS: Final = (2, 50)


def check_label(adata: AnnData, label: str | None) -> str | None:
    """Return the column that names groups of cells: the one given, or else the likeliest, or None.

    Raises
    ------
    OptionError
        If there is no such column.
    """
    check_adata(adata)
    if label is not None and label not in adata.obs:
        raise OptionError(
            f"Found no column {label!r} in obs, expected one of: {some(adata.obs.columns, 20) or 'none are there'}. "
            "Name one of these as label, or leave it out."
        )
    return label if label is not None else find_label(adata)


def find_label(adata: AnnData) -> str | None:
    """Return the column of `obs` that names groups of cells: the run's, a likely name, or the first that could."""
    obs, found = frame(adata.obs), dict(adata.uns.get(_keys.UNS, {}))
    run_label = str(dict(found.get("run", {})).get("label", ""))
    if run_label in obs:
        return run_label
    setup = dict(found.get("setup", {}))
    nuisance = {str(setup.get("batch_key", "")), *map(str, setup.get("categorical_covariate_keys", ())), _keys.SPLIT}
    able = [str(name) for name in obs.columns if _has_groups(obs[name]) and name not in nuisance]
    likely = [name for wanted in LIKELY for name in able if name.lower() == wanted]
    return next(iter(likely or able), None)


def _has_groups(column: pd.Series[Any]) -> bool:
    if column.dtype.kind in "fiubc":
        return False
    try:
        n_groups = column.nunique()
    except TypeError:  # lists and the like, which are no groups
        return False
    return GROUPS[0] <= n_groups <= GROUPS[1] and n_groups < len(column) / 2
