"""Groups of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sivae._errors import OptionError, some
from sivae._values import frame
from sivae.pl import _points

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Groups:
    """Names of groups, and the group of each cell (-1 for none)."""

    names: tuple[str, ...]
    group_n: NDArray[np.intp]

    def means(self, values_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of columns over the cells of each group, (groups, m)."""
        return np.array([values_nm[self.group_n == group].mean(axis=0) for group in range(len(self.names))])


def groups_of(adata: AnnData, groupby: str) -> Groups:
    """Groups of cells by a column of `obs`, in the order of its categories.

    Raises
    ------
    OptionError
        If there is no such column, or no cell has a group.
    """
    obs = frame(adata.obs)
    if groupby not in obs:
        raise OptionError(
            f"Found groupby={groupby!r}, expected a column of obs: {some(obs.columns, 20) or 'it has none'}. "
            "Name one of these."
        )
    label = _points.categorical(obs[groupby])
    if not len(label.categories):
        raise OptionError(f"No cell has a group in obs[{groupby!r}]. Name another column.")
    return Groups(tuple(str(name) for name in label.categories), np.asarray(label.codes, dtype=np.intp))
