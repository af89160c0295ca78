"""Genes whose connectivity goes with a phenotype, with the controls beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import check_names, number, one_of, whole_number
from sivae._door import door
from sivae._errors import warn
from sivae.cohort._controls import CONTROLS, NOMINAL, read_controls, read_draws, verdicts
from sivae.cohort._phenotype import dense, read_design, read_layer
from sivae.cohort._tables import design_attrs
from sivae.cohort._tested import Work, tested
from sivae.stats._fdr import adjust
from sivae.stats._given import Given
from sivae.stats._orders import few_orders

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.cohort._phenotype import Design
    from sivae.cohort._tested import Columns

    Array: TypeAlias = NDArray[np.float64]

Method = Literal["regression", "rank"]
Weights = Literal["precision", "none"]

SHOWN: Final = (
    ["effect", "se", "low", "high", "relative_effect", "rho", "p_rank", "t", "p", "q", "mean_connectivity"]
    + ["expression_effect", "expression_p", "detection_p"]
    + [f"p_given_{name}" for name in CONTROLS]
    + ["effect_matched", "p_matched", "verdict"]
)


@door
def associate(
    samples: AnnData,
    phenotype: str,
    *,
    covariates: Iterable[str] = (),
    layer: str | None = None,
    method: Method = "regression",
    weights: Weights = "precision",
    controls: bool = True,
    fdr: float = 0.05,
    n_permutations: int = 100_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Table of genes: whether connectivity goes with a phenotype over individuals, and whether something else does.

    For each gene, with c_s its connectivity in individual s and x_s the phenotype,

        c_s = a + effect x_s + covariates_s . b + noise

    by least squares, weighted by precision; p by permuting residuals, with their weights, over individuals. The
    individual is the unit of evidence, however many cells it has.

    The verdict is the first of these that holds. `"untested"`: too few individuals have a finite value.
    `"not associated"`: q above `fdr`. `"follows ..."`: with this control among the covariates, the effect is less than
    half of what it was; or the control itself goes with the phenotype (p below 0.01) and the effect is no longer
    nominally significant (p above 0.05). The first of the controls in the order of the columns is named.
    `"not with equal numbers of cells"`: with equally many cells drawn from every individual, the effect is less than
    half of what it was, and p above 0.05. `"associated"`: none of these.

    So a control that goes with the phenotype by chance, as one of few individuals may, does not turn true genes away by
    the power that it costs. Where gene and control both go with the phenotype so closely that the data cannot tell, the
    gene is said to follow. What this cannot see: a control that is measured with much error takes too little.

    Parameters
    ----------
    samples
        Individuals x genes, of `sivae.cohort.connectivity`.
    phenotype
        Column of `obs`: numbers, True and False, two categories, or ordered categories (which count as 0, 1, 2, ...).
        Individuals without a value are left out, with a warning.
    covariates
        Columns of `obs`; categories become indicators.
    layer
        Which connectivity; `"projection"` if not given.
    method
        Where `p` comes from. `"regression"`: the t of the fit above. `"rank"`: partial Spearman correlation, without
        weights; it asks less of the distribution and finds less. Effects come from the regression either way.
    weights
        `"precision"`: 1 / (variance between individuals + squared standard error), from layer `<layer>_se`, where it is
        there. `"none"`: every individual counts the same.
    controls
        Whether to test the controls; without, there are no such columns and the verdict knows q alone.
    fdr
        False discovery rate of the verdict.
    n_permutations
        At most, where not all arrangements are looked at.
    seed
        Of the permutations, which are the same for all genes and go by the names of individuals.

    Returns
    -------
    Frame indexed by gene, in the order of `samples`:

    `effect`, `se`, `low`, `high`
        Change of connectivity per unit of the phenotype, its standard error and 95 % interval by t.
    `relative_effect`
        Effect divided by `mean_connectivity`; NaN where that is not above 0.
    `rho`, `p_rank`
        Partial Spearman correlation with the phenotype and its p.
    `t`, `p`, `q`
        t of the regression; two-sided p by permutation, by `method`; Benjamini-Hochberg q-value.
    `mean_connectivity`
        Mean over individuals.
    `expression_effect`, `expression_p`, `detection_p`
        The same regression of the gene's mean expression, and of its detection.
    `p_given_expression`, `p_given_detection`, `p_given_depth`, `p_given_cells`, `p_given_composition`
        p of the phenotype with the control among the covariates, by t, because every gene has its own design; depth and
        number of cells as logarithms, composition as one or two principal components of centered log ratios. NaN
        without the control, or where it leaves no degree of freedom.
    `effect_matched`, `p_matched`
        Mean effect and median p over draws of equally many cells, without weights; NaN for other layers than
        `"projection"`.
    `verdict`
        As above.

    `attrs` holds `phenotype`, `covariates`, `layer`, `method`, `fdr`, `n_individuals`, `left_out` (names), `kind`
    ("numeric", "binary" or "ordered"), `levels` (what 0, 1, ... stand for) and `exact` (all arrangements were looked
    at).

    Raises
    ------
    SetupError
        If a column or the layer is missing, fewer than 4 individuals remain, the phenotype is constant or has more than
        two levels without an order, a covariate determines it, or there are too many covariates.
    OptionError
        If an option has a value that cannot work.

    References
    ----------
    Freedman and Lane 1983, permutation, doi 10.1080/07350015.1983.10509354. DerSimonian and Laird 1986, variance
    between individuals, doi 10.1016/0197-2456(86)90046-2. Choi, Li and Quon 2023 correlate centralities with
    phenotypes, doi 10.1186/s13059-023-02850-y.

    Examples
    --------
    >>> import anndata, numpy as np, pandas as pd, sivae
    >>> names = [f"donor{number}" for number in range(9)]
    >>> obs = pd.DataFrame({"severity": np.linspace(0, 1, 9)}, index=names)
    >>> connectivity = np.column_stack([2 - obs["severity"], np.cos(5 * np.arange(9))])
    >>> connectivity[:, 0] += 0.05 * np.sin(np.arange(9))
    >>> samples = anndata.AnnData(connectivity, obs=obs, var=pd.DataFrame(index=["HUB", "OTHER"]))
    >>> samples.layers["projection"] = connectivity
    >>> table = sivae.cohort.associate(samples, "severity")
    >>> table["verdict"].tolist()
    ['associated', 'not associated']
    >>> table["effect"].round(1).tolist()[0]
    -1.0
    """
    covariates = covariates if isinstance(covariates, str) else list(covariates)
    one_of("method", method, ("regression", "rank"))
    one_of("weights", weights, ("precision", "none"))
    fdr = number("fdr", fdr, allowed=lambda x: 0 < x < 1, expected="a number between 0 and 1", hint="0.05 is usual.")
    n_permutations = whole_number("n_permutations", n_permutations, least=99, hint="100000 is the default.")
    seed = whole_number("seed", seed, least=0)
    name, values_sg = read_layer(samples, layer)
    check_names(samples, "var_names")
    design = read_design(samples, phenotype, covariates, lacking_s=np.asarray(~np.isfinite(values_sg).any(axis=1)))
    work = Work(
        design=design,
        values_sg=values_sg[design.rows],
        se_sg=_standard_errors(samples, name, design.rows) if weights == "precision" else None,
        controls=read_controls(samples, design.rows) if controls else {},
        matched_sgr=read_draws(samples, design.rows) if controls and name == _keys.PROJECTION else None,
        n_permutations=n_permutations,
        seed=seed,
    )
    columns, exact = tested(work)
    table = _table(columns, method=method, fdr=fdr, controls=controls)
    table.index = pd.Index(np.asarray(samples.var_names, str), name="gene")
    table.attrs.update(design_attrs(design) | {"exact": exact, "layer": name, "method": method, "fdr": fdr})
    for note in design.notes + _too_few(design):
        warn(note)
    return table


# -------------------------------------------------------------------------------------------------------- what is read


def _standard_errors(samples: AnnData, layer: str, rows: NDArray[np.intp]) -> Array | None:
    key = layer + _keys.SE_SUFFIX
    return dense(samples.layers[key])[rows] if key in samples.layers else None


def _too_few(design: Design) -> list[str]:
    """Words where no p-value can be small."""
    few = few_orders(design.x_s, plain=design.covariates_sc is None)
    if few is None:
        return []
    least = (2 if _symmetric(design.x_s) else 1) / len(few)
    if least <= NOMINAL:
        return []
    return [
        f"With these {len(design.rows)} individuals no p-value can be below {least:.2g}: there are {len(few)} "
        f"arrangements of {design.phenotype!r}. Nothing can be found by so few. Add individuals."
    ]


def _symmetric(x_s: Array) -> bool:
    """Whether turning the phenotype round gives an arrangement of it, so that every t comes with both signs."""
    centered_s = np.sort(x_s - x_s.mean())
    return bool(np.allclose(centered_s, -centered_s[::-1]))


# ----------------------------------------------------------------------------------------------------------- the table


def _table(columns: Columns, *, method: Method, fdr: float, controls: bool) -> pd.DataFrame:
    n_genes = len(columns["effect"])
    missing_g = np.full(n_genes, np.nan)
    mean_g = columns["mean_connectivity"]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns["relative_effect"] = np.where(mean_g > 0, columns["effect"] / mean_g, np.nan)
    columns["p"] = columns["p_rank" if method == "rank" else "p_regression"]
    columns["q"] = adjust(columns["p"])
    left = {
        name: Given(*(columns[f"{what}_given_{name}"] for what in ("effect", "p", "control_p")))
        for name in CONTROLS
        if f"p_given_{name}" in columns
    }
    verdict_g = verdicts(
        columns["effect"],
        columns["q"],
        fdr=fdr,
        given=left,
        matched=(columns["effect_matched"], columns["p_matched"]) if "p_matched" in columns else None,
    )
    last = SHOWN.index("mean_connectivity")
    shown = [name for name in SHOWN[:-1] if controls or SHOWN.index(name) <= last]
    table = pd.DataFrame({name: columns.get(name, missing_g) for name in shown})
    return table.assign(verdict=verdict_g)
