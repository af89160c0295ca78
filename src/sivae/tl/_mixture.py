"""Which genes or cells lie where most others are, and which lie alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import check_adata, check_names, one_of
from sivae._door import door
from sivae._errors import SetupError, some
from sivae._space import read_space
from sivae.stats._mixture import mixture_log_density

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]


@door
def mixture_likelihood(
    adata: AnnData,
    *,
    of: Literal["genes", "cells"] = "genes",
    use_rep: str | None = None,
    variance_rep: str | None = None,
) -> pd.DataFrame:
    """Rank genes or cells by their likelihood under the mixture of all posteriors: those in dense places come first.

    Every item is a Gaussian around its position, with its variance on each axis; all have one weight. The likelihood
    of an item is the density of their mixture at its position::

        p(x_i) = 1/n sum_j prod_k N(x_ik | m_jk, s_jk^2)

    The last ranks lie alone. Most genes follow little and lie at the origin, so of genes the last are those farthest
    out. Time grows with the square of the number of items.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`; neither X nor a model is needed.
    of
        "genes" or "cells".
    use_rep
        Array of positions in `varm` or `obsm`; siVAE's if None.
    variance_rep
        Array of variances in `varm` or `obsm`, of the shape of the positions. If None: of genes
        `varm["X_sivae_var"]`; of cells the mean posterior variance of each axis, which `annotate` keeps. The variances
        of single cells are the second of ``model.get_latent_representation(return_dist=True)``.

    Returns
    -------
    Frame, likeliest first, with columns gene or cell, rank, log_likelihood, and log_likelihood_others (of the mixture
    without the item's own posterior: an item with a narrow one is likely by itself). Items without a position are left
    out.

    Raises
    ------
    SetupError, OptionError
        If there are no positions or variances, they do not fit together, or a variance is not above 0.

    References
    ----------
    Choi, Li, Quon 2023, doi 10.1186/s13059-023-02850-y (code).

    Examples
    --------
    >>> import numpy as np
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.varm["sd"] = np.full(adata.varm["planted_v"].shape, 0.01)
    >>> table = sivae.tl.mixture_likelihood(adata, use_rep="planted_v", variance_rep="sd")
    >>> adata.var.loc[table["gene"].iloc[0], "module"], adata.var.loc[table["gene"].iloc[-1], "module"] != "none"
    ('none', True)
    """
    check_adata(adata)
    one_of("of", of, ("genes", "cells"))
    read = _genes if of == "genes" else _cells
    names, mean_nk, variance_nk = read(adata, use_rep, variance_rep)
    known = np.isfinite(mean_nk).all(axis=1) & np.isfinite(variance_nk).all(axis=1)
    if not known.any() or not (variance_nk[known] > 0).all():
        least = variance_nk[known].min(initial=np.inf)
        raise SetupError(
            f"{int(known.sum())} {of} have a position and variances, and the least variance is {least:.3g}; expected "
            "some, and variances above 0. Name another array as variance_rep."
        )
    whole_n, others_n = mixture_log_density(mean_nk[known], variance_nk[known])
    names = names[known]
    order = np.lexsort((names, -whole_n))
    columns = {
        of[:-1]: names[order],
        "rank": np.arange(1, len(order) + 1),
        "log_likelihood": whole_n[order],
        "log_likelihood_others": others_n[order],
    }
    return pd.DataFrame(columns)


def _genes(adata: AnnData, use_rep: str | None, variance_rep: str | None) -> tuple[NDArray[np.object_], Array, Array]:
    space = read_space(adata, use_rep)
    key = _keys.GENES_VAR if variance_rep is None else variance_rep
    if variance_rep is None and use_rep is not None:
        raise SetupError(f"Found use_rep={use_rep!r} without variances, expected some. Name an array as variance_rep.")
    variance = _array(adata.varm, "varm", key, (adata.n_vars, space.v_gk.shape[1]))
    return np.array(space.names, dtype=object), space.v_gk, variance[space.rows]


def _cells(adata: AnnData, use_rep: str | None, variance_rep: str | None) -> tuple[NDArray[np.object_], Array, Array]:
    check_names(adata, "obs_names")
    key = _keys.CELLS if use_rep is None else use_rep
    mean_nk = _array(adata.obsm, "obsm", key, (adata.n_obs, None))
    if variance_rep is not None:
        return adata.obs_names.to_numpy(object), mean_nk, _array(adata.obsm, "obsm", variance_rep, mean_nk.shape)
    record = dict(adata.uns.get(_keys.UNS, {}))
    if use_rep is not None or "position_variance" not in record:
        raise SetupError(
            f"Found no variances of the positions in obsm[{key!r}], expected some. Name an array as variance_rep, or "
            "call model.annotate(adata)."
        )
    spread_k = np.asarray(record["position_variance"], np.float64)
    return adata.obs_names.to_numpy(object), mean_nk, np.broadcast_to(spread_k, mean_nk.shape)


def _array(arrays: object, where: str, key: str, shape: tuple[int, int | None]) -> Array:
    held = dict(arrays)  # type: ignore[call-overload]
    if key not in held:
        raise SetupError(
            f"Found no {where}[{key!r}]; it has: {some(held) or 'nothing'}. Call model.annotate(adata), or name one of "
            "these."
        )
    values: Array = np.asarray(held[key], np.float64)
    if values.ndim != 2 or (shape[1] is not None and values.shape != shape):
        raise SetupError(
            f"{where}[{key!r}] has shape {values.shape}, expected {shape}. Name arrays that belong together."
        )
    return values
