"""Feature awareness: which genes a layer of the model knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import check_adata, check_model, one_of
from sivae._door import door
from sivae._errors import OptionError, SetupError
from sivae._space import read_space
from sivae._values import frame, has_values
from sivae.graph._awareness import Layer, awareness, basis, regressed
from sivae.graph._variance import explained
from sivae.stats._spectrum import principal_axes
from sivae.tl._cells import Groups, groups_of, positions
from sivae.tl._expression import Recorded, Standardised, standardised, training_cells

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._space import GeneSpace
    from sivae.tl._model import Explained, Explainer

    Array: TypeAlias = NDArray[np.float64]
    Positions: TypeAlias = NDArray[np.intp]

LEAST_VARIANCE: Final = 1e-9
"""Genes that vary less over the cells asked for are constant there and have no share."""
RIDGE: Final = 10.0
"""Penalty, in cells, of the regression of genes on a layer; as of neighbors (`neighbor_r2`)."""


@door
def feature_awareness(
    adata: AnnData,
    model: Explainer | None = None,
    *,
    groupby: str | None = None,
    cells: Literal["all", "train", "validation"] = "all",
    pca: bool = False,
    hidden: Literal["product", "regression"] | None = None,
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
    hidden
        Also every layer of the decoders, which needs the model. "product": the layer of the cells times that of the
        genes, as published. Only recipe "choi2023" with `hidden_gamma` above 0 trains hidden layers to reconstruct so;
        of others these products say nothing. "regression": the best that lines on the layer of the cells do, with
        loadings by ridge regression on the training cells. A wide layer follows their noise: look at
        `cells="validation"`.
    use_rep
        Array of `varm`; the loadings of siVAE if None.
    cells_rep
        Array of `obsm` with the cells' positions on the same axes; siVAE's if None.

    Returns
    -------
    Frame with columns layer ("latent": z.v; "hidden1", "hidden2", ... and "joint", the last, from the latent layer on;
    "full": z.v + h.w; "pca"), group (with `groupby`), gene, awareness, share
    (of the gene's variance over the same cells: an R2; NaN for a gene that
    is constant there), and source ("values" or "closed form").

    Raises
    ------
    SetupError, OptionError
        If positions are missing, no cells are of the kind wanted, or groups, components or hidden layers are wanted
        without values; if hidden layers are wanted without a model, or products of layers of different widths.

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
    _check_hidden(hidden, model)
    space, recorded = read_space(adata, use_rep), Recorded.of(adata)
    if not has_values(adata, recorded.layer or None):
        if groupby is not None or pca or cells != "all" or hidden:
            raise SetupError(
                "groupby, cells, pca and hidden need the values, and this AnnData has none. Pass one with X."
            )
        return _closed_form(space)
    groups = Groups(("",), np.zeros(adata.n_obs, np.intp)) if groupby is None else groups_of(adata, groupby)
    layers = {"latent": Layer(positions(adata, cells_rep, space.v_gk.shape[1]), space.v_gk)}
    x, design_nb = standardised(adata, space.rows, space.rows[space.modelled_g]), recorded.design(adata)
    if model is not None:
        check_model("model", model, "explain")
        explanation = model.explain(adata)
        at_g = _places(space, explanation)
        if hidden == "product":
            layers |= _products(explanation, at_g)
        elif hidden == "regression":
            layers |= _regressions(explanation, x, design_nb, training_cells(adata))
        layers["full"] = _full(explanation, at_g)
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


def _check_hidden(hidden: str | None, model: Explainer | None) -> None:
    if hidden is None:
        return
    one_of("hidden", hidden, ("product", "regression"))
    if model is None:
        raise OptionError(f"Found hidden={hidden!r} without a model, expected the one that annotated. Pass it.")


def _places(space: GeneSpace, explanation: Explained) -> Positions:
    """Where the genes of the space are among those of the model, -1 for those that it does not know."""
    place = {name: position for position, name in enumerate(explanation.genes)}
    return np.array([place.get(name, -1) for name in space.names])


def _full(explanation: Explained, at_g: Positions) -> Layer:
    """Positions and joint layer side by side."""
    z_nk, h_nd, v_gk, w_gd = explanation.layer()
    return Layer(np.concatenate([z_nk, h_nd], axis=1), _known(np.concatenate([v_gk, w_gd], axis=1), at_g))


def _known(loading_gk: Array, at_g: Positions) -> Array:
    """Loadings of the genes of the space; NaN where the model does not know a gene."""
    return np.where((at_g >= 0)[:, None], loading_gk[at_g], np.nan)


def _products(explanation: Explained, at_g: Positions) -> dict[str, Layer]:
    """Layers of the cells with those of the genes as their loadings."""
    cells, genes = explanation.widths["cells"], explanation.widths["genes"]
    if cells != genes:
        raise OptionError(
            f"The decoders have layers of widths {cells} (cells) and {genes} (genes), expected the same, so that they "
            "can be multiplied. Use hidden='regression'."
        )
    return {
        name: Layer(explanation.cell_layer(number), _known(explanation.gene_layer(number), at_g))
        for number, name in enumerate(_names(len(cells)), start=1)
    }


def _regressions(
    explanation: Explained, x: Standardised, design_nb: Array, training_n: NDArray[np.bool_]
) -> dict[str, Layer]:
    """Layers of the cells with the loadings that predict best from them."""
    training, layers = x.take(np.flatnonzero(training_n)), {}
    for number, name in enumerate(_names(len(explanation.widths["cells"])), start=1):
        h_nd = explanation.cell_layer(number)
        layers[name] = regressed(training.blocks(), h_nd, design_nb, training_n=training_n, ridge=RIDGE)
    return layers


def _names(n: int) -> list[str]:
    """Names of the layers of a decoder."""
    return [*(f"hidden{number}" for number in range(1, n)), "joint"]


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
