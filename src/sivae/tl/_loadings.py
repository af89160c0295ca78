"""Loadings as tables: the genes at the ends of each axis, directions within groups, loadings found from predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sivae._checks import check_adata, check_model, number, whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError, some
from sivae._space import read_space
from sivae._values import part_of
from sivae.graph._loadings import directions, ends, interval, least_squares, slopes_along, used_axes
from sivae.stats._sign import lfsr
from sivae.tl._cells import groups_of, positions

if TYPE_CHECKING:
    from anndata import AnnData

    from sivae._space import GeneSpace
    from sivae.tl._model import Explainer


@door
def rank_loadings(
    adata: AnnData,
    *,
    n_genes: int | None = 20,
    use_rep: str | None = None,
    level: float = 0.9,
    projected: bool = False,
) -> pd.DataFrame:
    """Genes at both ends of each axis, with the uncertainty of each loading.

    A loading is the change of a gene, on its standardised scale, when a cell moves by one along the axis. Its interval
    is ``loading +- q sd`` with q the normal quantile of `level`; its lfsr is ``Phi(-|loading| / sd)``, the chance that
    the sign is the other one.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`; neither X nor a model is needed.
    n_genes
        Genes at each end, fewer where fewer have that sign; None for all genes.
    use_rep
        Array of `varm`, genes x axes; the loadings of siVAE if None. Another array has no sd: sd, lower, upper and lfsr
        are NaN.
    level
        Share of the central interval, between 0 and 1.
    projected
        Also rank genes that the model was not trained on but that have a position.

    Returns
    -------
    Frame with columns axis ("axis1", ...), end ("high", "low"; "none" for zeros when all genes are wanted), rank (1 is
    the farthest out), gene, loading, sd, lower, upper, lfsr. Axes that nothing uses (all loadings zero, or cells whose
    positions have a variance below 0.01) are left out and named in `attrs["unused"]`.

    Raises
    ------
    SetupError, OptionError
        If there is no such embedding, or an option is out of range.

    References
    ----------
    Choi, Li, Quon 2023, siVAE loadings, doi 10.1186/s13059-023-02850-y. Stephens 2017, lfsr, doi
    10.1093/biostatistics/kxw041.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(200, 40)
    >>> table = sivae.tl.rank_loadings(adata, use_rep="planted_v", n_genes=2)
    >>> table["end"].tolist()[:2]
    ['high', 'high']
    """
    check_adata(adata)
    n_genes = None if n_genes is None else whole_number("n_genes", n_genes, least=1, hint="20 is the default.")
    level = number("level", level, allowed=lambda x: 0 < x < 1, expected="more than 0 and less than 1")
    space = read_space(adata, use_rep)
    space = space if projected else space.take(space.modelled_g)
    sd_gk = np.full_like(space.v_gk, np.nan) if space.variance_gk is None else np.sqrt(space.variance_gk)
    used_k, names = used_axes(space.v_gk, space.covariance_kk), np.array(space.names)
    parts = [
        _ranked(space, sd_gk, axis, end, at, level)
        for axis in np.flatnonzero(used_k).tolist()
        for end, at in ends(space.v_gk[:, axis], names, n_genes).items()
    ]
    columns = ["axis", "end", "rank", "gene", "loading", "sd", "lower", "upper", "lfsr"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    table.attrs["unused"] = [space.axes[axis] for axis in np.flatnonzero(~used_k)]
    return table


def _ranked(space: GeneSpace, sd_gk: Any, axis: int, end: str, at: Any, level: float) -> pd.DataFrame:
    loading_f, sd_f = space.v_gk[at, axis], sd_gk[at, axis]
    lower_f, upper_f = interval(loading_f, sd_f, level)
    columns = {
        "axis": space.axes[axis],
        "end": end,
        "rank": np.arange(1, len(at) + 1),
        "gene": [space.names[g] for g in at],
        "loading": loading_f,
        "sd": sd_f,
        "lower": lower_f,
        "upper": upper_f,
        "lfsr": lfsr(loading_f, sd_f**2),
    }
    return pd.DataFrame(columns)


@door
def recoded_loadings(
    adata: AnnData,
    groupby: str,
    *,
    n_components: int = 3,
    use_rep: str | None = None,
    cells_rep: str | None = None,
) -> pd.DataFrame:
    """Directions in which the cells of each group differ, in genes.

    Within a group the positions of its cells have principal axes u_m with variances l_m; in genes such an axis is::

        r_gm = sum_k v_gk u_km sqrt(l_m),

    the change of gene g when a cell of the group moves by one standard deviation along it. It does not depend on how
    the axes of the map are turned.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`; neither X nor a model is needed.
    groupby
        Column of `obs` with the group of each cell. Cells without one and groups of fewer than 3 cells are left out.
    n_components
        Principal axes of each group, fewer where the map has fewer.
    use_rep
        Array of `varm`; the loadings of siVAE if None.
    cells_rep
        Array of `obsm` with the cells' positions on the same axes; siVAE's if None.

    Returns
    -------
    Frame with columns group, component (1 has the largest variance), gene, loading, and share (of the variance of the
    group's positions). Each component is signed so that the sum of its cubed loadings is positive.

    Raises
    ------
    SetupError, OptionError
        If there is no such embedding or column, or no group has 3 cells.

    References
    ----------
    Choi, Li, Quon 2023, recoded embeddings, doi 10.1186/s13059-023-02850-y.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(200, 40)
    >>> table = sivae.tl.recoded_loadings(adata, "group", n_components=1, use_rep="planted_v", cells_rep="planted_z")
    >>> len(table) == 40 * adata.obs["group"].nunique()
    True
    """
    check_adata(adata)
    n_components = whole_number("n_components", n_components, least=1)
    space, groups = read_space(adata, use_rep), groups_of(adata, groupby)
    z_nk = positions(adata, cells_rep, space.v_gk.shape[1])
    parts = []
    for group, name in enumerate(groups.names):
        rows = groups.members(group)
        if len(rows) >= 3:
            recoded_gm, share_m = directions(z_nk[rows], space.v_gk, n_components)
            m = recoded_gm.shape[1]
            columns = {
                "group": name,
                "component": np.repeat(np.arange(1, m + 1), len(recoded_gm)),
                "gene": np.tile(np.array(space.names, dtype=object), m),
                "loading": recoded_gm.T.ravel(),
                "share": np.repeat(share_m, len(recoded_gm)),
            }
            parts.append(pd.DataFrame(columns))
    if not parts:
        raise OptionError(
            f"No group of obs[{groupby!r}] has 3 cells ({some(groups.names)}), which is the least. Name another column."
        )
    return pd.concat(parts, ignore_index=True)


@door
def inferred_loadings(adata: AnnData, model: Explainer | None = None, *, n_points: int = 21) -> pd.DataFrame:
    """Loadings found from what the model predicts, beside those that it has.

    By least squares of the model's reconstruction z.v + h.w on z, in closed form from the covariance S of (z, h) over
    the training cells, b_g = v_g + S_zz^+ S_zh w_g. The linear part of h was moved into v when training ended, so this
    is v again. With a model also by finite differences along each axis: `n_points` from the 5 % to the 95 % quantile of
    the cells' positions, the other axes and the covariates at their mean.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`.
    model
        The model that annotated it, turned as it was then; needed for finite differences alone.
    n_points
        Points of the grid along each axis.

    Returns
    -------
    Frame with columns gene, axis, loading, least_squares, and with a model finite_difference (the mean slope along the
    grid) and slope_sd (its standard deviation along the grid; 0 where the prediction is a straight line). Finite
    differences are known for modelled genes alone.

    Raises
    ------
    SetupError
        If the joint covariance or the joint layer is not there, or the model has other axes.

    References
    ----------
    Choi, Li, Quon 2023, inferred loadings, doi 10.1186/s13059-023-02850-y.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(200, 40)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=2)
    >>> history = model.train(max_epochs=1, progress=False)
    >>> model.annotate(adata)
    >>> table = sivae.tl.inferred_loadings(adata)
    >>> bool(abs(table["loading"] - table["least_squares"]).max() < 1e-3)
    True
    """
    check_adata(adata)
    n_points = whole_number("n_points", n_points, least=3, hint="21 is the default.")
    space = read_space(adata)
    if space.covariance is None or space.w_gd is None:
        raise SetupError("The joint layer or its covariance is not in this AnnData. Call model.annotate(adata) again.")
    g, k = space.v_gk.shape
    table = pd.DataFrame(
        {
            "gene": np.repeat(np.array(space.names, dtype=object), k),
            "axis": list(space.axes) * g,
            "loading": space.v_gk.ravel(),
            "least_squares": least_squares(space.v_gk, space.w_gd, space.covariance).ravel(),
        }
    )
    if model is not None:
        slope_gk, sd_gk = _finite_differences(adata, space, model, n_points)
        table["finite_difference"], table["slope_sd"] = slope_gk.ravel(), sd_gk.ravel()
    return table


def _finite_differences(adata: AnnData, space: GeneSpace, model: Explainer, n_points: int) -> tuple[Any, Any]:
    check_model("model", model, "explain")
    explanation, k = model.explain(part_of(adata, slice(0, 1))), space.v_gk.shape[1]
    if len(explanation.axes) != k:
        raise SetupError(
            f"The model has {len(explanation.axes)} axes and this AnnData {k}. Pass the one that wrote it."
        )
    z_nk = positions(adata, None, k)
    low_k, high_k = np.quantile(z_nk, [0.05, 0.95], axis=0)
    place = {name: position for position, name in enumerate(space.names)}
    rows = np.array([place.get(name, -1) for name in explanation.genes])
    slope_gk, sd_gk = np.full(space.v_gk.shape, np.nan), np.full(space.v_gk.shape, np.nan)
    for axis in range(k):
        grid_mk = np.tile(z_nk.mean(axis=0), (n_points, 1))
        grid_mk[:, axis] = at_m = np.linspace(low_k[axis], high_k[axis], n_points)
        if at_m[-1] - at_m[0] < 1e-6:  # no cell moves along it
            at_m = grid_mk[:, axis] = np.linspace(-1e-3, 1e-3, n_points)
        slope_f, sd_f = slopes_along(explanation.decode(grid_mk), at_m)
        slope_gk[rows[rows >= 0], axis], sd_gk[rows[rows >= 0], axis] = slope_f[rows >= 0], sd_f[rows >= 0]
    return slope_gk, sd_gk
