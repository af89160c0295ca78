"""Which genes to model: those that vary beyond counting noise, in as many batches as possible."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from sivae._checks import a_name, whole_number
from sivae._door import door
from sivae._errors import SetupError, some
from sivae._values import first, frame, refuse_view, values_of
from sivae.stats import pearson_residual_variance, totals, value_variance

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._values import Values
    from sivae.stats import Totals

logger = logging.getLogger("sivae")


@door
def select_genes(
    adata: AnnData,
    n_genes: int = 2000,
    *,
    layer: str | None = None,
    batch_key: str | None = None,
    min_cells: int = 10,
    key_added: str = "highly_variable",
) -> None:
    """Choose the genes that vary most beyond counting noise.

    Whole-number data are taken as counts and ranked by the variance of analytic Pearson residuals (theta = 100, clipped
    at the square root of the cells); other data by the variance of their values. With batches, genes are ranked
    within each batch and ordered by the number of batches that choose them, then by their median rank in those, then by
    name. A gene that is constant in a batch is not chosen by it. Data are read in blocks, also from a backed file.

    Parameters
    ----------
    adata
        Cells x genes; `X` or the layer is dense, CSR or CSC, in memory, on disk or a Dask array.
    n_genes
        How many genes to choose; all that qualify where there are fewer.
    layer
        Layer with the values; `X` if not given.
    batch_key
        Column of `obs` with the batch of each cell; one batch if not given.
    min_cells
        Genes that are not zero in fewer cells are never chosen.
    key_added
        Name of the column of `var` with the choice, and prefix of those with the rank and the number of batches.

    Returns
    -------
    Nothing. Writes

    `var[key_added]`
        Whether the gene is chosen.
    `var[f"{key_added}_rank"]`
        Rank of the gene, 0 the most variable: the median over the batches that choose it. NaN if none does.
    `var[f"{key_added}_nbatches"]`
        Number of batches that choose it, with `batch_key`.
    `var["residual_variance"]`
        Residual variance, or variance of the values where they are not counts; the mean over batches.

    References
    ----------
    Lause, Berens, Kobak, Genome Biology 22:258 (2021), doi 10.1186/s13059-021-02451-7.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
    >>> sivae.pp.select_genes(adata, 20)
    >>> int(adata.var["highly_variable"].sum())
    20
    """
    _check_options(n_genes, min_cells=min_cells)
    refuse_view(adata, "select_genes")
    layer, batch_key = a_name("layer", layer, "layer"), a_name("batch_key", batch_key, "column of obs")
    key_added = a_name("key_added", key_added, "column of var, to be written") or "highly_variable"
    x_cg = values_of(adata, layer)
    groups_c = _batches(adata, batch_key)
    sums = totals(x_cg, groups_c=groups_c)
    where = x_cg.where
    _check_values(sums, x_cg, adata)
    variance_of = pearson_residual_variance if sums.whole else value_variance
    variance_bg = variance_of(x_cg, groups_c=groups_c, known=sums)
    allowed_g = sums.seen_g >= min_cells
    names_g = np.asarray(adata.var_names, dtype=str)
    chosen_g, rank_g, n_batches_g = _choose(variance_bg, allowed_g, names_g, n_genes=n_genes)
    if not chosen_g.any():
        raise SetupError(
            f"Found no gene in {where} that varies and is seen in at least {min_cells} of {adata.n_obs} cells, "
            "expected some. Lower min_cells, or check that the matrix holds cells x genes."
        )
    adata.var[key_added] = chosen_g
    adata.var[f"{key_added}_rank"] = rank_g
    if batch_key is not None:
        adata.var[f"{key_added}_nbatches"] = n_batches_g
    adata.var["residual_variance"] = variance_bg.mean(axis=0)
    _log(int(chosen_g.sum()), sums, where=where, n_wanted=n_genes, key_added=key_added)


def _choose(
    variance_bg: NDArray[np.float64], allowed_g: NDArray[np.bool_], names_g: NDArray[np.str_], *, n_genes: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
    """Choose genes by the number of batches that choose them, then median rank, then name.

    Returns
    -------
    The choice, the median rank over the batches that choose the gene, and their number, (genes,) each.
    """
    rank_bg = np.full(variance_bg.shape, np.nan)
    for rank_g, variance_g in zip(rank_bg, _significant(variance_bg), strict=True):
        ranked = np.flatnonzero(allowed_g & (variance_g > 0))
        top = ranked[np.lexsort((names_g[ranked], -variance_g[ranked]))][:n_genes]
        rank_g[top] = np.arange(len(top))
    n_batches_g = np.isfinite(rank_bg).sum(axis=0)
    candidate = np.flatnonzero(n_batches_g)
    median_g = np.full(variance_bg.shape[1], np.nan)
    median_g[candidate] = np.nanmedian(rank_bg[:, candidate], axis=0)
    order = np.lexsort((names_g[candidate], median_g[candidate], -n_batches_g[candidate]))
    chosen_g = np.zeros(variance_bg.shape[1], dtype=bool)
    chosen_g[candidate[order][:n_genes]] = True
    return chosen_g, median_g, n_batches_g


def _significant(value: NDArray[np.float64], digits: int = 10) -> NDArray[np.float64]:
    """Round to significant digits, so that the order of summation decides no rank."""
    unit = np.where(value > 0, 10.0 ** (np.floor(np.log10(np.where(value > 0, value, 1.0))) - digits + 1), 1.0)
    return np.rint(value / unit) * unit


def _batches(adata: AnnData, batch_key: str | None) -> NDArray[np.int64]:
    """Return the number of each cell's batch, (cells,)."""
    if batch_key is None:
        return np.zeros(adata.n_obs, dtype=np.int64)
    obs = frame(adata.obs)
    if batch_key not in obs:
        raise SetupError(
            f"Found no column {batch_key!r} in obs, expected one of: {some(obs.columns) or 'none are there'}. "
            "Name one of these, or leave batch_key out."
        )
    batch = obs[batch_key]
    if batch.isna().any():
        raise SetupError(
            f"Found {int(batch.isna().sum())} cells without a value in obs[{batch_key!r}], expected a batch for "
            "every cell. Fill the missing values or drop these cells."
        )
    return np.unique(batch.astype(str).to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64)


def _check_options(n_genes: int, *, min_cells: int) -> None:
    whole_number("n_genes", n_genes, least=1, hint="2000 is a common choice.")
    whole_number("min_cells", min_cells, least=0, hint="0 lets every gene be chosen.")


def _check_values(sums: Totals, x_cg: Values, adata: AnnData) -> None:
    if not sums.finite:
        raise SetupError(
            f"Found NaN or infinite values in {x_cg.where}, expected numbers. Drop the cells or genes that hold them, "
            f"or fill them. {first(adata, x_cg, lambda values: ~np.isfinite(values))}."
        )
    if sums.whole and sums.smallest < 0:
        raise SetupError(
            f"Found negative whole numbers in {x_cg.where} (smallest: {sums.smallest:g}), expected counts of zero or "
            "more. Name the layer that holds raw counts. "
            f"{first(adata, x_cg, lambda values: values < 0)}."
        )


def _log(n_chosen: int, sums: Totals, *, where: str, n_wanted: int, key_added: str) -> None:
    measure = "variance of analytic Pearson residuals" if sums.whole else "variance of the values"
    batches = f" in {len(sums.n_cells_b)} batches" if len(sums.n_cells_b) > 1 else ""
    fewer = f" (fewer than the {n_wanted} asked for qualify)" if n_chosen < n_wanted else ""
    logger.info(
        "chose %d of %d genes by %s of %s%s%s; wrote var[%r]",
        n_chosen, len(sums.seen_g), measure, where, batches, fewer, key_added,
    )  # fmt: skip
