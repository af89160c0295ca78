"""Cells and genes from known factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from sivae._door import door
from sivae._errors import OptionError
from sivae._rng import numpy_generator

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

BLOCK: Final = 2**22
"""Cells times genes drawn at a time."""
N_SPLITTING: Final = 3
"""Factors that split the cells into groups: 2^3 groups."""
WITHIN_SD: Final = 0.4
"""Standard deviation of a splitting factor within a group; over all cells it is 1."""
WEAKEST: Final = 0.6
"""Strength of the last factor; the first has 1. Unequal, so that the axes are identified."""
LOADINGS: Final = (0.4, 0.9)
"""Range of a module gene's loading before the strength of its factor."""
MODULE: Final = 40
"""Genes of a module where there is room."""
HUB_SHARE: Final = 0.1
"""Share of a module's genes that are its hubs."""
DEPTH_SD: Final = 0.35
"""Standard deviation of the log sequencing depth."""
ABUNDANCE_SD: Final = 0.8
"""Standard deviation over genes of the log of a gene's abundance, whose mean is 1 count."""


@dataclass(frozen=True)
class _Truth:
    z_ck: NDArray[np.float64]
    v_gk: NDArray[np.float64]
    batch_c: NDArray[np.int64]
    batch_bg: NDArray[np.float64]
    depth_c: NDArray[np.float64]
    abundance_g: NDArray[np.float64]


@door
def planted(
    n_cells: int = 2000,
    n_genes: int = 500,
    *,
    n_factors: int = 5,
    genes_per_factor: int | None = None,
    counts: bool = True,
    signed: bool = False,
    n_batches: int = 1,
    batch_effect: float = 0.0,
    dispersion: float = 0.1,
    seed: int = 0,
) -> AnnData:
    """Make cells and genes from known, independent factors.

    Every factor z has mean 0 and variance 1 and moves one module of genes, with loadings v of its own; all other genes
    are independent of everything. The first factors (up to three) are two-peaked, and their signs are the cell groups::

        counts       y_cg ~ NB(mean mu_cg = depth_c abundance_g exp(z_c . v_g + batch_bg[batch_c]),
                               variance mu_cg + dispersion mu_cg^2)
        not counts   x_cg = z_c . v_g + batch_bg[batch_c] + sqrt(1 - |v_g|^2) e_cg, of variance 1 within a batch

    Loadings are 0.4 to 0.9 times the strength of the factor, which falls from 1 to 0.6. With all loadings positive a
    factor also moves the cell's total, so counts **divided by their sum** tie the null genes to the factors, weakly;
    they are independent given `obs["size_factor"]`, or with `signed`, where up and down cancel to first order.

    Parameters
    ----------
    n_cells
        Number of cells.
    n_genes
        Number of genes, null genes included.
    n_factors
        Number of factors and of modules.
    genes_per_factor
        Genes of a module; if not given 40, or fewer so that modules hold at most two fifths of the genes.
    counts
        Whole-number counts (sparse) instead of normal values (dense).
    signed
        Half of each module's counts come from genes with a negative loading, as nearly as its genes allow.
    n_batches
        Number of batches, of equal size and independent of everything else.
    batch_effect
        Standard deviation of a gene's shift in a batch, on the scale of the loadings.
    dispersion
        Overdispersion of the negative binomial; 0 is Poisson. Not used without counts.
    seed
        Same seed, same data.

    Returns
    -------
    AnnData, n_cells x n_genes: `X` CSR (counts) or dense, float32; `obs["group"]`, `obs["batch"]` (several batches),
    `obs["size_factor"]` (counts: depth, mean 1), `obsm["planted_z"]` (n_cells, n_factors), `varm["planted_v"]`
    (n_genes, n_factors), `varm["planted_batch"]` (n_genes, n_batches; several batches), `var["module"]` ("none" for
    null genes), `var["hub"]` (the tenth of each module with the largest loadings).

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50, n_factors=2)
    >>> adata.shape, adata.varm["planted_v"].shape
    ((200, 50), (50, 2))
    """
    if genes_per_factor is None:
        genes_per_factor = max(1, min(MODULE, 2 * n_genes // (5 * max(1, n_factors))))
    _check(n_cells, n_genes, n_factors=n_factors, genes_per_factor=genes_per_factor)
    _check_noise(n_batches, batch_effect, dispersion=dispersion)
    rng = numpy_generator(seed, "planted")
    abundance_g = np.exp(ABUNDANCE_SD * rng.standard_normal(n_genes) - ABUNDANCE_SD**2 / 2)
    v_gk = _loadings(rng, (n_genes, n_factors), genes_per_factor=genes_per_factor)
    if signed:
        v_gk *= _balanced_signs(v_gk, abundance_g)[:, None]
    z_ck, group_c = _factors(rng, n_cells, n_factors)
    batch_c = rng.permutation(np.arange(n_cells) % n_batches)
    batch_bg = batch_effect * rng.standard_normal((n_batches, n_genes))
    depth_c = np.exp(DEPTH_SD * rng.standard_normal(n_cells) - DEPTH_SD**2 / 2)
    truth = _Truth(z_ck, v_gk, batch_c, batch_bg, depth_c, abundance_g)
    adata = ad.AnnData(_counts(rng, truth, dispersion) if counts else _normal(rng, truth))
    _annotate(adata, truth, group_c)
    if counts:
        adata.obs["size_factor"] = depth_c
    return adata


def _loadings(rng: np.random.Generator, shape: tuple[int, int], *, genes_per_factor: int) -> NDArray[np.float64]:
    """Draw loadings, (genes, factors): the first genes are the first module, the last genes are null."""
    v_gk = np.zeros(shape)
    for k, strength in enumerate(np.linspace(1.0, WEAKEST, shape[1])):
        v_gk[k * genes_per_factor : (k + 1) * genes_per_factor, k] = strength * rng.uniform(*LOADINGS, genes_per_factor)
    return v_gk


def _balanced_signs(v_gk: NDArray[np.float64], abundance_g: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signs, (genes,), that leave a factor's first-order effect on the total near zero: the largest first, greedily."""
    sign_g = np.ones(len(v_gk))
    for v_g in v_gk.T:
        effect_g, total = v_g * abundance_g, 0.0
        for g in np.argsort(-effect_g, kind="stable")[: np.count_nonzero(v_g)]:
            sign_g[g] = -1.0 if total > 0 else 1.0
            total += sign_g[g] * effect_g[g]
    return sign_g


def _factors(rng: np.random.Generator, n_cells: int, n_factors: int) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Factors, (cells, factors), and the group of each cell: its peak, "+" or "-", on each splitting factor."""
    n_splitting = min(N_SPLITTING, n_factors)
    z_ck = rng.standard_normal((n_cells, n_factors))
    peak_cs = rng.choice([-1.0, 1.0], size=(n_cells, n_splitting))
    z_ck[:, :n_splitting] = np.sqrt(1 - WITHIN_SD**2) * peak_cs + WITHIN_SD * z_ck[:, :n_splitting]
    group_c = np.array(["".join("+" if peak > 0 else "-" for peak in peaks) for peaks in peak_cs])
    return z_ck, group_c


def _counts(rng: np.random.Generator, truth: _Truth, dispersion: float) -> sparse.csr_matrix:
    """Negative binomial counts, (cells, genes), drawn in blocks of cells."""
    n_cells, n_genes = len(truth.z_ck), len(truth.v_gk)
    step = max(1, BLOCK // n_genes)
    blocks = []
    for start in range(0, n_cells, step):
        c = slice(start, start + step)
        log_rate_cg = truth.z_ck[c] @ truth.v_gk.T + truth.batch_bg[truth.batch_c[c]]
        rate_cg = truth.depth_c[c, None] * truth.abundance_g * np.exp(log_rate_cg)
        if dispersion > 0:
            rate_cg *= rng.gamma(1 / dispersion, dispersion, size=rate_cg.shape)
        blocks.append(sparse.csr_matrix(rng.poisson(rate_cg).astype(np.float32)))
    return sparse.csr_matrix(sparse.vstack(blocks, format="csr"))


def _normal(rng: np.random.Generator, truth: _Truth) -> NDArray[np.float32]:
    """Draw normal values, (cells, genes), of variance 1 within a batch."""
    noise_g = np.sqrt(1 - (truth.v_gk**2).sum(axis=1))
    mean_cg = truth.z_ck @ truth.v_gk.T + truth.batch_bg[truth.batch_c]
    x_cg: NDArray[np.float32] = (mean_cg + noise_g * rng.standard_normal(mean_cg.shape)).astype(np.float32)
    return x_cg


def _annotate(adata: AnnData, truth: _Truth, group_c: NDArray[np.str_]) -> None:
    """Write the truth."""
    n_factors = truth.v_gk.shape[1]
    adata.obs_names = [f"cell_{c + 1}" for c in range(adata.n_obs)]
    adata.var_names = [f"gene_{g + 1}" for g in range(adata.n_vars)]
    adata.obs["group"] = pd.Categorical(group_c)
    adata.obsm["planted_z"], adata.varm["planted_v"] = truth.z_ck, truth.v_gk
    if len(truth.batch_bg) > 1:
        adata.obs["batch"] = pd.Categorical([f"batch_{b + 1}" for b in truth.batch_c])
        adata.varm["planted_batch"] = truth.batch_bg.T.copy()
    size_gk = np.abs(truth.v_gk)
    module_g = np.where(size_gk.any(axis=1), size_gk.argmax(axis=1), n_factors)
    adata.var["module"] = pd.Categorical(np.array([*(f"module_{k + 1}" for k in range(n_factors)), "none"])[module_g])
    hub_g = np.zeros(adata.n_vars, dtype=bool)
    for size_g in size_gk.T:
        n_hubs = max(1, round(HUB_SHARE * np.count_nonzero(size_g)))
        hub_g[np.argsort(-size_g, kind="stable")[:n_hubs]] = True
    adata.var["hub"] = hub_g


def _check(n_cells: int, n_genes: int, *, n_factors: int, genes_per_factor: int) -> None:
    if min(n_cells, n_genes, n_factors, genes_per_factor) < 1:
        raise OptionError(
            f"Found n_cells={n_cells}, n_genes={n_genes}, n_factors={n_factors}, genes_per_factor={genes_per_factor}, "
            "expected at least 1 of each. Raise the one that is not."
        )
    if n_factors * genes_per_factor > n_genes:
        raise OptionError(
            f"Found {n_factors} factors of {genes_per_factor} genes, expected at most n_genes={n_genes} in all. "
            f"Raise n_genes to {n_factors * genes_per_factor} or more, or lower genes_per_factor."
        )


def _check_noise(n_batches: int, batch_effect: float, *, dispersion: float) -> None:
    if n_batches < 1 or batch_effect < 0 or dispersion < 0:
        raise OptionError(
            f"Found n_batches={n_batches}, batch_effect={batch_effect}, dispersion={dispersion}, expected at least "
            "one batch and no negative number. Zero means no batch effect and Poisson counts."
        )
    if n_batches == 1 and batch_effect > 0:
        raise OptionError(f"Found batch_effect={batch_effect} with one batch, expected two or more. Set n_batches=2.")
