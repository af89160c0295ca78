"""Feature awareness: which genes a layer of the model knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import check_adata, check_model, door, one_of
from sivae._errors import SetupError
from sivae._space import read_space
from sivae._values import frame, has_values
from sivae.graph._awareness import Layer, awareness, basis
from sivae.graph._variance import explained
from sivae.stats._spectrum import principal_axes
from sivae.tl._cells import Groups, groups_of, positions
from sivae.tl._expression import Recorded, Standardised, standardised, training_cells

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._space import GeneSpace
    from sivae.tl._model import Explainer

    Array: TypeAlias = NDArray[np.float64]

LEAST_VARIANCE: Final = 1e-9
"""Genes that vary less over the cells asked for are constant there and have no share."""


@door
def feature_awareness(
    adata: AnnData,
    model: Explainer | None = None,
    *,
    groupby: str | None = None,
    cells: Literal["all", "train", "validation"] = "all",
    pca: bool = False,
    use_rep: str | None = None,
    cells_rep: str | None = None,
) -> pd.DataFrame:
    """How much better than its mean each layer reconstructs each gene, averaged over cells.

    For a layer with positions s of the cells and loadings f of the genes, on the standardised scale::

        awareness_g = (mean_c[x_cg ^ 2 - (x_cg - s_c.f_g) ^ 2],)

    with x and s taken without what an intercept and the covariates of the set-up say of them. Positive where the layer
    beats the mean. Values are read in blocks and standardised by the training cells, as for training. Without values it
    is what the model implies in closed form, v' S_zz v, and w' S_hh w more for the full model.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`, with the values that were modelled.
    model
        The model that annotated it, for the full model's awareness; without it that of the latent layer alone, unless
        there are no values.
    groupby
        Column of `obs`: averages within groups of cells. Needs values.
    cells
        Which cells to average over: all, or those marked "train" or "validation" in `obs["sivae_split"]`.
    pca
        Also the counterpart of principal components: as many as the map has axes, of the same values in training cells.
    use_rep
        Array of `varm`; the loadings of siVAE if None.
    cells_rep
        Array of `obsm` with the cells' positions on the same axes; siVAE's if None.

    Returns
    -------
    Frame with columns layer ("latent": z.v; "full": z.v + h.w; "pca"), group (with `groupby`), gene, awareness, share
    (of the gene's variance over the same cells: an R2; NaN for a gene that
    is constant there), and source ("values" or "closed form").

    Raises
    ------
    SetupError, OptionError
        If positions are missing, no cells are of the kind wanted, or groups or components are wanted without values.

    References
    ----------
    Choi, Li, Quon 2023, feature awareness, doi 10.1186/s13059-023-02850-y.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(300, 40, counts=False, n_factors=2)
    >>> table = sivae.tl.feature_awareness(adata, use_rep="planted_v", cells_rep="planted_z")
    >>> best = table.sort_values("awareness")["gene"].iloc[-1]
    >>> adata.var.loc[best, "module"] != "none"
    True
    """
    check_adata(adata)
    one_of("cells", cells, ("all", "train", "validation"))
    space, recorded = read_space(adata, use_rep), Recorded.of(adata)
    if not has_values(adata, recorded.layer or None):
        if groupby is not None or pca or cells != "all":
            raise SetupError("groupby, cells and pca need the values, and this AnnData has none. Pass one with X.")
        return _closed_form(space)
    groups = Groups(("",), np.zeros(adata.n_obs, np.intp)) if groupby is None else groups_of(adata, groupby)
    layers = {"latent": Layer(positions(adata, cells_rep, space.v_gk.shape[1]), space.v_gk)}
    if model is not None:
        layers["full"] = _full(adata, space, model)
    modelled = space.rows[space.modelled_g]
    x, design_nb = standardised(adata, space.rows, modelled), recorded.design(adata)
    if pca:
        layers["pca"] = principal(x, design_nb, training_cells(adata), space.v_gk.shape[1])
    rows = _wanted(adata, cells)
    chosen = {name: Layer(layer.cells_nk[rows], layer.loadings_gk) for name, layer in layers.items()}
    found, variance_mg = awareness(
        x.take(rows).blocks(), chosen, design_nb[rows], group_n=groups.group_n[rows], n_groups=len(groups.names)
    )
    table = pd.concat([_rows(name, a_mg, variance_mg, groups, space) for name, a_mg in found.items()])
    table["source"] = "values"
    return table.drop(columns=[] if groupby is not None else "group").reset_index(drop=True)


def _rows(name: str, awareness_mg: Array, variance_mg: Array, groups: Groups, space: GeneSpace) -> pd.DataFrame:
    m, g = awareness_mg.shape
    share = np.divide(awareness_mg, variance_mg, out=np.full((m, g), np.nan), where=variance_mg > LEAST_VARIANCE)
    return pd.DataFrame(
        {
            "layer": name,
            "group": np.repeat(np.array(groups.names, dtype=object), g),
            "gene": np.tile(np.array(space.names, dtype=object), m),
            "awareness": awareness_mg.ravel(),
            "share": share.ravel(),
        }
    )


def _full(adata: AnnData, space: GeneSpace, model: Explainer) -> Layer:
    """Positions and joint layer side by side; NaN loadings where the model does not know a gene."""
    check_model("model", model, "explain")
    explanation = model.explain(adata)
    z_nk, h_nd, v_gk, w_gd = explanation.layer()
    place = {name: position for position, name in enumerate(explanation.genes)}
    rows = np.array([place.get(name, -1) for name in space.names])
    loadings = np.concatenate([v_gk, w_gd], axis=1)[rows]
    loadings[rows < 0] = np.nan
    return Layer(np.concatenate([z_nk, h_nd], axis=1), loadings)


def principal(x: Standardised, design_nb: Array, training_n: NDArray[np.bool_], n: int) -> Layer:
    """Principal components of the training cells, without covariates, and the scores of all cells."""
    training = np.flatnonzero(training_n)
    fitted = x.take(training)
    basis_nb = basis(design_nb[training])
    slope_bg = sum((basis_nb[rows].T @ block for rows, block in fitted.blocks()), np.zeros((basis_nb.shape[1], 1)))

    def rows() -> Iterator[NDArray[np.float32]]:
        for at, block in fitted.blocks():
            yield (block - basis_nb[at] @ slope_bg).astype(np.float32)

    n = min(n, *fitted.shape)
    axes_gk = principal_axes(rows, fitted.shape, n).vectors_gq
    return Layer(np.concatenate([block @ axes_gk for _, block in x.blocks()]), axes_gk)


def _wanted(adata: AnnData, cells: str) -> NDArray[np.intp]:
    if cells == "all":
        return np.arange(adata.n_obs)
    obs = frame(adata.obs)
    kind = obs[_keys.SPLIT].astype(str).to_numpy() if _keys.SPLIT in obs else np.array([], dtype=str)
    rows = np.flatnonzero(kind == cells)
    if len(rows) == 0:
        raise SetupError(
            f"No cell is marked {cells!r} in obs[{_keys.SPLIT!r}]. Call model.annotate(adata) with the training "
            "AnnData, or use cells='all'."
        )
    return rows


def _closed_form(space: GeneSpace) -> pd.DataFrame:
    """What the model implies over its training cells; `share` is of signal and noise."""
    noise_g = np.zeros(len(space.names)) if space.noise_g is None else space.noise_g
    known = space.covariance_kk if space.covariance is None else space.covariance
    parts = explained(space.v_gk, space.w_gd, known, noise_g)
    values = {"latent": parts.linear_g}
    if space.w_gd is not None:
        values["full"] = parts.linear_g + parts.remainder_g
    total_g = np.where((parts.total_g > 0) & (space.noise_g is not None), parts.total_g, np.nan)
    tables = [
        pd.DataFrame({"layer": name, "gene": list(space.names), "awareness": value_g, "share": value_g / total_g})
        for name, value_g in values.items()
    ]
    return pd.concat(tables, ignore_index=True).assign(source="closed form")
