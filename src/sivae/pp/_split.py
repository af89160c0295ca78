"""Which cells to hold out: a share of each label, or folds. Names in, names out, so that a split can be used again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sivae._checks import check_adata, check_names, number, whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError, some
from sivae._rng import numpy_generator
from sivae._values import frame

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


@door
def split_cells(adata: AnnData, fraction: float = 0.2, *, label_key: str | None = None, seed: int = 0) -> list[str]:
    """Choose cells to hold out, the same share of each label.

    Parameters
    ----------
    adata
        Cells x genes; neither read nor changed but for `obs`.
    fraction
        Share of the cells.
    label_key
        Column of `obs`: each of its values keeps its share, to one cell. Cells without a value are a label of their
        own.
    seed
        Which cells: a function of the seed and the cells' names, not of their order.

    Returns
    -------
    Names of the cells held out, sorted; for `TrainOptions(validation_cells=...)`.

    Raises
    ------
    OptionError, SetupError
        If the fraction is not between 0 and 1, or there is no such column.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 20)
    >>> len(sivae.pp.split_cells(adata, 0.2))
    20
    """
    number("fraction", fraction, allowed=lambda f: 0 < f < 1, expected="more than 0 and less than 1", hint="Try 0.2.")
    names, order = _dealt(adata, label_key, seed)
    n_held = max(1, round(fraction * len(names)))
    # Every place in the dealt order that completes another whole cell of the share.
    places = np.floor((np.arange(n_held) + 0.5) * len(names) / n_held).astype(np.intp)
    return sorted(names[order[places]].tolist())


@door
def k_folds(adata: AnnData, k: int = 5, *, label_key: str | None = None, seed: int = 0) -> list[list[str]]:
    """Deal all cells into k folds of equal size and equal shares of each label (both to one cell).

    Parameters
    ----------
    adata
        Cells x genes; neither read nor changed but for `obs`.
    k
        Folds, 2 or more. Two or more folds are also disjoint subsets of equal size.
    label_key, seed
        As for `split_cells`.

    Returns
    -------
    Names of the cells of each fold, sorted; each in turn is for `TrainOptions(validation_cells=...)`.

    Raises
    ------
    OptionError, SetupError
        If there are fewer cells than folds, or there is no such column.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 20)
    >>> [len(fold) for fold in sivae.pp.k_folds(adata, 5)]
    [20, 20, 20, 20, 20]
    """
    whole_number("k", k, least=2, hint="5 is the default.")
    names, order = _dealt(adata, label_key, seed)
    if k > len(names):
        raise OptionError(f"k is {k}; expected at most {len(names)}, the number of cells. Ask for fewer folds.")
    return [sorted(names[order[fold::k]].tolist()) for fold in range(k)]


def _dealt(adata: AnnData, label_key: str | None, seed: int) -> tuple[NDArray[np.str_], NDArray[np.intp]]:
    """Names, and an order of the cells that is random within each label, one label after the other."""
    check_adata(adata)
    check_names(adata, "obs_names")
    whole_number("seed", seed, least=0, hint="0 is the default.")
    names = np.asarray(adata.obs_names, dtype=str)
    if len(names) == 0:
        raise SetupError("The AnnData has no cells; expected at least one. Check the filters before it.")
    labels = np.zeros(len(names), np.intp)
    if label_key is not None:
        obs = frame(adata.obs)
        if label_key not in obs:
            raise SetupError(
                f"obs has no column {label_key!r}, expected one with labels; it has: {some(obs, 20) or 'none'}. "
                "Name one of these."
            )
        labels = np.asarray(pd.factorize(obs[label_key].astype(str), sort=True)[0], np.intp)
    by_name = np.argsort(names, kind="stable")
    random = np.empty(len(names))
    random[by_name] = numpy_generator(seed, "split").random(len(names))
    return names, np.lexsort((random, labels))
