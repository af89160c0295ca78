"""Attribution methods beside the loadings: what they say of each gene and axis, whether they agree, what they cost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import pandas as pd

from sivae._checks import check_adata, check_model, frames
from sivae._door import door
from sivae._errors import GeneMismatchError, SetupError, some
from sivae._space import read_space
from sivae.graph._attribution import attribution_loading, axis_agreement
from sivae.tl._sample import sample_cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

Side: TypeAlias = Literal["encoder", "decoder"]
Method: TypeAlias = Literal[
    "gradient", "saliency", "gradient_x_input", "integrated_gradients", "deeplift", "shapley", "occlusion", "lrp"
]
Baseline: TypeAlias = Literal["auto", "zero", "minimum"]
OWN = "sivae"
"""Name of the loadings among the methods."""


class Attributing(Protocol):
    """What is asked of a model here (`sivae.SiVAE` has it)."""

    def get_attributions(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        *,
        side: Side = "encoder",
        method: Method = "integrated_gradients",
        baseline: Baseline = "auto",
        n_steps: int = 100,
        n_permutations: int = 5,
        seed: int = 0,
    ) -> Iterator[tuple[str, pd.DataFrame]]:
        """Name of each axis and a frame cells x genes."""
        ...


@door
def attributions(
    adata: AnnData,
    model: Attributing,
    *,
    side: Side = "encoder",
    method: Method = "integrated_gradients",
    n_cells: int | None = 100,
    groupby: str | None = None,
    center: bool = True,
    baseline: Baseline = "auto",
    n_steps: int = 100,
    n_permutations: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Loadings of genes by an attribution method, to compare with siVAE's own, which cost nothing.

    In each cell of a sample the method says how much each gene does to each axis (encoder) or each axis to each gene
    (decoder). Per axis, the table cells x genes becomes one number per gene: its first principal component times the
    square root of the variance explained, or the common row where all cells agree (Choi, Li, Quon 2023,
    doi 10.1186/s13059-023-02850-y, and its code).

    Parameters
    ----------
    adata
        Cells with the modelled genes and their values.
    model
        The trained model.
    side, method, baseline, n_steps, n_permutations
        See `SiVAE.get_attributions`. Some methods need the extra `attribution`.
    n_cells
        Cells to attribute in, chosen by hash of their names; all if None.
    groupby
        Column of `obs`; each of its groups has its share of the cells.
    center
        Take the mean over cells off before the principal component, as the paper does. Where cells nearly agree, as for
        derivatives of a nearly linear model, what is left is how they differ; False keeps what they share.
    seed
        Seed of the choice of cells and of the orders of Shapley values.

    Returns
    -------
    Frame genes x axes in the model's order of genes, signed like the mean over cells. `attrs` has "side", "method",
    "signed" (False for "saliency"), "n_cells", and "seconds" that it took.

    Raises
    ------
    SetupError, OptionError
        If `groupby` is no column of `obs`, or an option is not one of those named.
    MissingExtraError
        If captum is needed and not installed.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=3)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> found = sivae.tl.attributions(adata, model, side="decoder", method="gradient_x_input")
    >>> found.shape, found.attrs["n_cells"]
    ((50, 3), 100)
    """
    check_adata(adata)
    check_model("model", model, "get_attributions")
    rows = sample_cells(adata, n_cells, groupby=groupby, seed=seed)
    started = time.perf_counter()
    each = model.get_attributions(
        adata, rows.tolist(), side=side, method=method, baseline=baseline, n_steps=n_steps,
        n_permutations=n_permutations, seed=seed,
    )  # fmt: skip
    columns: dict[str, pd.Series[float]] = {}
    for axis, table in each:
        columns[axis] = pd.Series(attribution_loading(table.to_numpy(), center=center), index=table.columns)
    found = pd.DataFrame(columns)
    found.attrs = {
        "side": side, "method": method, "signed": method != "saliency", "n_cells": len(rows),
        "seconds": time.perf_counter() - started,
    }  # fmt: skip
    return found


@door
def attribution_agreement(
    adata: AnnData, found: Mapping[str, pd.DataFrame], *, use_rep: str | None = None
) -> pd.DataFrame:
    """How well each method agrees with the loadings, and the time that it took.

    Parameters
    ----------
    adata
        Annotated AnnData.
    found
        Frames genes x axes by name, as `attributions` and `gene_relevance` make them, or anything else of that form.
        They are matched by gene, over the genes that all of them and the loadings have.
    use_rep
        Array of `varm` to compare with; siVAE's loadings if None.

    Returns
    -------
    Frame with a row per method: absolute rank correlation (Spearman) over genes on each axis (NaN where one of the two
    is constant), "mean" over axes, and "seconds" (NaN where the frame does not say). An unsigned method ("saliency") is
    compared with absolute loadings.

    Raises
    ------
    SetupError
        If a frame has another number of axes than the loadings.
    GeneMismatchError
        If fewer than three genes are in all.

    Notes
    -----
    Agreement as in Choi, Li, Quon 2023, doi 10.1186/s13059-023-02850-y.

    Examples
    --------
    >>> import pandas as pd
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=50, n_genes=20, n_factors=2)
    >>> twice = pd.DataFrame(2 * adata.varm["planted_v"], index=adata.var_names)
    >>> sivae.tl.attribution_agreement(adata, {"twice": twice}, use_rep="planted_v")["mean"].round(3).to_dict()
    {'twice': 1.0}
    """
    space, found = read_space(adata, use_rep), frames("found", found, of="sivae.tl.attributions")
    own = pd.DataFrame(space.v_gk, index=list(space.names), columns=list(space.axes))
    tables = _matched({OWN: own, **found})
    rows = {name: _row(tables[OWN], table, found[name].attrs) for name, table in tables.items() if name != OWN}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*space.axes, "mean", "seconds"])


@door
def attribution_similarity(
    adata: AnnData, found: Mapping[str, pd.DataFrame], *, use_rep: str | None = None
) -> pd.DataFrame:
    """Agreement of all methods and the loadings with each other, for a heat map, a dendrogram or a map of methods.

    Parameters
    ----------
    adata, found, use_rep
        As in `attribution_agreement`.

    Returns
    -------
    Square frame, the loadings first ("sivae"): absolute rank correlation averaged over axes, 1 on the diagonal.
    One minus it is a distance, for example for `scipy.cluster.hierarchy.linkage(method="ward")`.

    Raises
    ------
    SetupError, GeneMismatchError
        As in `attribution_agreement`.

    Examples
    --------
    >>> import pandas as pd
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=50, n_genes=20, n_factors=2)
    >>> twice = pd.DataFrame(2 * adata.varm["planted_v"], index=adata.var_names)
    >>> sivae.tl.attribution_similarity(adata, {"twice": twice}, use_rep="planted_v").shape
    (2, 2)
    """
    space, found = read_space(adata, use_rep), frames("found", found, of="sivae.tl.attributions")
    own = pd.DataFrame(space.v_gk, index=list(space.names))
    tables = _matched({OWN: own, **found})
    signed = {name: bool(frame.attrs.get("signed", True)) for name, frame in found.items()} | {OWN: True}
    result = np.eye(len(tables))
    for i, (first, a) in enumerate(tables.items()):
        for j, (second, b) in enumerate(tables.items()):
            if i < j:
                result[i, j] = result[j, i] = _mean(_agreement(a, b, signed=signed[first] and signed[second]))
    return pd.DataFrame(result, index=list(tables), columns=list(tables))


def _matched(tables: Mapping[str, pd.DataFrame]) -> dict[str, NDArray[Any]]:
    """Arrays over the genes that all have, in one order."""
    k, genes = tables[OWN].shape[1], tables[OWN].index
    for name, table in tables.items():
        if table.shape[1] != k:
            raise SetupError(
                f"{name!r} has {table.shape[1]} axes, expected {k} like the loadings. Use the same map for both."
            )
        genes = genes.intersection(table.index, sort=False)
    if len(genes) < 3:
        raise GeneMismatchError(
            f"Found {len(genes)} genes in all of {some(tables)}, expected three or more. Check how genes are named."
        )
    return {name: table.loc[genes].to_numpy(np.float64) for name, table in tables.items()}


def _row(own_gk: NDArray[Any], other_gk: NDArray[Any], attrs: Mapping[Any, Any]) -> list[float]:
    agreement_k = _agreement(own_gk, other_gk, signed=bool(attrs.get("signed", True)))
    return [*agreement_k, _mean(agreement_k), float(attrs.get("seconds", np.nan))]


def _agreement(first_gk: NDArray[Any], second_gk: NDArray[Any], *, signed: bool) -> NDArray[np.float64]:
    return axis_agreement(first_gk, second_gk) if signed else axis_agreement(np.abs(first_gk), np.abs(second_gk))


def _mean(values_k: NDArray[np.float64]) -> float:
    known = values_k[np.isfinite(values_k)]
    return float(known.mean()) if len(known) else float("nan")
