"""Genes whose connectivity goes with a phenotype, with the controls beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import check_names, number, one_of, whole_number
from sivae._errors import warn
from sivae._rng import numpy_generator
from sivae.cohort._controls import CONTROLS, NOMINAL, read_controls, read_draws, verdicts
from sivae.cohort._phenotype import LEAST_FREEDOM, dense, read_design, read_layer, told
from sivae.stats._association import associate as association
from sivae.stats._fdr import adjust
from sivae.stats._given import Given, given
from sivae.stats._orders import few_orders
from sivae.stats._precision import precision_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.cohort._phenotype import Design
    from sivae.stats._association import Association

    Array: TypeAlias = NDArray[np.float64]
    Columns: TypeAlias = dict[str, Array]

Method = Literal["regression", "rank"]
Weights = Literal["precision", "none"]

CONTROL_PERMUTATIONS: Final = 9_999
DRAW_PERMUTATIONS: Final = 999
ALWAYS: Final = ("effect", "se", "low", "high", "t", "p_regression", "rho", "p_rank", "mean_connectivity")
SHOWN: Final = (
    ["effect", "se", "low", "high", "relative_effect", "rho", "p_rank", "t", "p", "q", "mean_connectivity"]
    + ["expression_effect", "expression_p", "detection_p"]
    + [f"p_given_{name}" for name in CONTROLS]
    + ["effect_matched", "p_matched", "verdict"]
)


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
    work = _Work(
        design=design,
        values_sg=values_sg[design.rows],
        se_sg=_standard_errors(samples, name, design.rows) if weights == "precision" else None,
        controls=read_controls(samples, design.rows) if controls else {},
        matched_sgr=read_draws(samples, design.rows) if controls and name == _keys.PROJECTION else None,
        n_permutations=n_permutations,
        seed=seed,
    )
    columns, exact = _tested(work)
    table = _table(columns, method=method, fdr=fdr, controls=controls)
    table.index = pd.Index(np.asarray(samples.var_names, str), name="gene")
    table.attrs.update(_attrs(design, exact=exact) | {"layer": name, "method": method, "fdr": fdr})
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


# ------------------------------------------------------------------------------------------------------------ the work


@final
@dataclass(frozen=True)
class _Work:
    """What the tests take, for individuals by name."""

    design: Design
    values_sg: Array
    se_sg: Array | None
    controls: dict[str, Array]
    matched_sgr: NDArray[np.floating] | None
    n_permutations: int
    seed: int

    def part(self, rows: NDArray[np.bool_], genes: NDArray[np.intp]) -> _Work:
        """Some individuals and some genes."""
        covariates_sc = self.design.covariates_sc
        design = replace(
            self.design,
            rows=self.design.rows[rows],
            x_s=self.design.x_s[rows],
            covariates_sc=None if covariates_sc is None else covariates_sc[rows],
        )
        controls = {
            name: values[rows][:, genes] if values.shape[1] > 1 else values[rows]
            for name, values in self.controls.items()
        }
        return replace(
            self,
            design=design,
            values_sg=self.values_sg[rows][:, genes],
            se_sg=None if self.se_sg is None else self.se_sg[rows][:, genes],
            controls=controls,
            matched_sgr=None if self.matched_sgr is None else self.matched_sgr[rows][:, genes],
        )

    def test(self, y_sg: Array, *, purpose: str, n: int, weights_sg: Array | None = None, ranks: bool) -> Association:
        """One association; the permutations depend on seed and purpose alone."""
        return association(
            y_sg,
            self.design.x_s,
            covariates_sc=self.design.covariates_sc,
            weights_sg=weights_sg,
            ranks=ranks,
            n_permutations=min(n, self.n_permutations),
            generator=numpy_generator(self.seed, f"associate {purpose}"),
        )


def _tested(work: _Work) -> tuple[Columns, bool]:
    """All numbers of all genes, NaN where there are none, and whether all arrangements were looked at."""
    n_genes = work.values_sg.shape[1]
    columns: Columns = {name: np.full(n_genes, np.nan) for name in ALWAYS}
    exact = True
    for rows, genes in _alike(np.isfinite(work.values_sg)):
        part = work.part(rows, genes)
        if not _testable(part.design):
            continue
        found, all_looked_at = _numbers(part)
        exact &= all_looked_at
        for name, values_g in found.items():
            columns.setdefault(name, np.full(n_genes, np.nan))[genes] = values_g
    return columns, exact


def _alike(known_sg: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """Genes that have values in the same individuals: these individuals, and the genes."""
    if not known_sg.size:
        return
    patterns, which_g = np.unique(known_sg.T, axis=0, return_inverse=True)
    for number_of, rows in enumerate(patterns):
        yield rows, np.flatnonzero(which_g.ravel() == number_of)


def _testable(design: Design) -> bool:
    """Whether the individuals that a gene has are enough, and differ in what is asked."""
    n = len(design.x_s)
    if n < LEAST_FREEDOM + 2 or np.ptp(design.x_s) == 0:
        return False
    if design.covariates_sc is None:
        return True
    share, rank = told(design.x_s, design.covariates_sc)
    return share < 1 - 1e-9 and n - 2 - rank >= LEAST_FREEDOM


def _numbers(work: _Work) -> tuple[Columns, bool]:
    y_sg, design = work.values_sg, work.design
    weights_sg = None
    if work.se_sg is not None:
        weights_sg = precision_weights(y_sg, work.se_sg, design.x_s, design.covariates_sc)
        weights_sg = None if np.allclose(weights_sg, 1) else weights_sg
    fit = work.test(y_sg, purpose="fit", n=work.n_permutations, weights_sg=weights_sg, ranks=False)
    ranked = work.test(y_sg, purpose="rank", n=work.n_permutations, ranks=True)
    columns = {"effect": fit.effect_g, "se": fit.se_g, "low": fit.low_g, "high": fit.high_g, "t": fit.t_g}
    columns |= {"p_regression": fit.p_g, "rho": ranked.rho_g, "p_rank": ranked.p_g}
    columns["mean_connectivity"] = y_sg.mean(axis=0)
    for name, control in work.controls.items():
        columns |= _given(work, name, control, weights_sg=weights_sg)
    for name in ("expression", "detection"):
        if name in work.controls:
            columns |= _control_itself(work, name)
    if work.matched_sgr is not None:
        columns |= _over_draws(work, work.matched_sgr)
    return columns, fit.exact


def _given(work: _Work, name: str, control_sgm: Array, *, weights_sg: Array | None) -> Columns:
    """Effect and p given a control; NaN where it is not known in all the individuals."""
    n_genes = work.values_sg.shape[1]
    known_g = np.broadcast_to(np.isfinite(control_sgm).all(axis=(0, 2)), n_genes)
    columns = {f"{what}_given_{name}": np.full(n_genes, np.nan) for what in ("effect", "p", "control_p")}
    if known_g.any():
        left = given(
            work.values_sg[:, known_g],
            work.design.x_s,
            control_sgm[:, known_g] if control_sgm.shape[1] == n_genes else control_sgm,
            covariates_sc=work.design.covariates_sc,
            weights_sg=None if weights_sg is None else weights_sg[:, known_g],
        )
        for column, values_g in zip(columns.values(), (left.effect_g, left.p_g, left.control_p_g), strict=True):
            column[known_g] = values_g
    return columns


def _control_itself(work: _Work, name: str) -> Columns:
    """The phenotype's effect on a control of genes, and its p."""
    control_sg = work.controls[name][:, :, 0]
    effect_g, p_g = np.full(control_sg.shape[1], np.nan), np.full(control_sg.shape[1], np.nan)
    known_g = np.isfinite(control_sg).all(axis=0)
    if known_g.any():
        fit = work.test(control_sg[:, known_g], purpose=name, n=CONTROL_PERMUTATIONS, ranks=False)
        effect_g[known_g], p_g[known_g] = fit.effect_g, fit.p_g
    return {f"{name}_effect": effect_g, f"{name}_p": p_g}


def _over_draws(work: _Work, matched_sgr: NDArray[np.floating]) -> Columns:
    """Mean effect and median p over draws of equally many cells."""
    n_genes, n_draws = matched_sgr.shape[1:]
    effect_rg, p_rg = np.full((n_draws, n_genes), np.nan), np.full((n_draws, n_genes), np.nan)
    known_g = np.isfinite(matched_sgr).all(axis=(0, 2))
    if known_g.any():
        for draw in range(n_draws):
            y_sg = np.asarray(matched_sgr[:, known_g, draw], np.float64)
            fit = work.test(y_sg, purpose="matched", n=DRAW_PERMUTATIONS, ranks=False)
            effect_rg[draw, known_g], p_rg[draw, known_g] = fit.effect_g, fit.p_g
    return {"effect_matched": effect_rg.mean(axis=0), "p_matched": np.median(p_rg, axis=0)}


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


def _attrs(design: Design, *, exact: bool) -> dict[str, Any]:
    return {
        "phenotype": design.phenotype,
        "covariates": list(design.covariates),
        "n_individuals": len(design.rows),
        "left_out": list(design.left_out),
        "kind": design.kind,
        "levels": list(design.levels),
        "exact": exact,
    }
