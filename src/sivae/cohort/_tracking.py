"""Genes whose mean expression goes with a phenotype, to be left out of what should be about connectivity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata
from scipy.stats import t as student

from sivae import _keys
from sivae._checks import check_adata, check_names, number
from sivae._door import door
from sivae._errors import SetupError, warn
from sivae.cohort._phenotype import read_design

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@door
def expression_tracking(samples: AnnData, phenotype: str, *, alpha: float | None = None) -> list[str]:
    """List the genes whose mean expression goes with a phenotype, by Spearman correlation.

    The paper leaves them out before it compares graphs, so that individuals are not alike by expression alone:
    `similarity(samples, leave_out=expression_tracking(samples, phenotype))`.

    Parameters
    ----------
    samples
        Individuals x genes, with `layers["mean_expression"]`.
    phenotype
        Column of `obs`: numbers, two categories, or ordered categories.
    alpha
        Genes with a p-value below this; 0.05 over the number of genes if not given, as in the paper.

    Returns
    -------
    Their names, in the order of `var`. A gene whose mean expression is constant or not known goes with nothing.

    Raises
    ------
    OptionError
        If `alpha` is not between 0 and 1.
    SetupError
        If there is no such column or layer, or the phenotype cannot be read.

    Notes
    -----
    The p-value is two-sided, of rho by Student's t with two degrees of freedom less than individuals. Choi, Li and
    Quon 2023 (doi 10.1186/s13059-023-02850-y).

    Examples
    --------
    >>> import anndata, numpy as np, sivae
    >>> samples = anndata.AnnData(np.zeros((8, 2)))
    >>> samples.obs["age"] = np.arange(8.0)
    >>> samples.layers["mean_expression"] = np.array([[0, 1, 2, 3, 4, 5, 6, 7.5], [3, 1, 2, 5, 4, 0, 7, 2]]).T
    >>> sivae.cohort.expression_tracking(samples, "age")
    ['0']
    """
    check_adata(samples)
    check_names(samples, "var_names")
    if alpha is not None:
        number("alpha", alpha, allowed=lambda a: 0 < a < 1, expected="a number between 0 and 1", hint="Try 0.05.")
    if _keys.MEAN_EXPRESSION not in samples.layers:
        raise SetupError(
            f"layers has no {_keys.MEAN_EXPRESSION!r}; expected the mean expression of genes in individuals. Make it "
            "with cohort.connectivity."
        )
    design = read_design(samples, phenotype)
    for note in design.notes:
        warn(note)
    rho_g, n_s = _spearman(np.asarray(samples.layers[_keys.MEAN_EXPRESSION], np.float64)[design.rows], design.x_s)
    with np.errstate(divide="ignore"):
        t_g = rho_g * np.sqrt((n_s - 2) / np.maximum(1 - rho_g**2, 0.0))
    p_g = 2 * student.sf(np.abs(t_g), n_s - 2)
    cut = 0.05 / max(samples.n_vars, 1) if alpha is None else alpha
    return [str(name) for name in samples.var_names[p_g < cut]]


def _spearman(values_sg: Array, x_s: Array) -> tuple[Array, int]:
    """Spearman correlation of each gene, (g,), NaN where it is not known, and the number of individuals."""
    rank_sg = rankdata(values_sg, axis=0, nan_policy="propagate")
    rank_sg, rank_s = rank_sg - rank_sg.mean(axis=0), rankdata(x_s) - (len(x_s) + 1) / 2
    size_g = np.sqrt((rank_sg**2).sum(axis=0) * (rank_s**2).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(np.where(size_g > 0, rank_s @ rank_sg / size_g, np.nan), -1, 1), len(x_s)
