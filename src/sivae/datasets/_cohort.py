"""Cells of many individuals, in some of whom known regulators lose their targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from sivae._checks import number, one_of, whole_number
from sivae._door import door
from sivae._errors import OptionError
from sivae._rng import numpy_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

DEPTH: Final = 1500.0
"""Counts a cell, median."""
CELL_DEPTH_SD: Final = 0.3
"""Standard deviation of the log depth between cells of one individual."""
ABUNDANCE_SD: Final = 0.8
"""Standard deviation over genes of the log of a gene's abundance."""
TYPE_SD: Final = 0.4
"""Standard deviation of a gene's log rate between cell types."""
DISPERSION: Final = 0.1
"""Overdispersion of counts: the gene's own noise."""
REGULATOR: Final = 0.8
"""Loading of a regulator on its own factor."""
LOADINGS: Final = (0.4, 0.8)
"""Range of the absolute loading of a target; half of a regulator's targets have a negative one."""
MILDEST: Final = 0.35
"""Severity of the mildest case; the most severe has 1."""
FOLD: Final = 2.0
"""Factor by which the mean of a gene that changes in expression alone goes up or down at severity 1."""
CELLS_FALL, DEPTH_FALL, ODDS_RISE = 4.0, 3.0, 4.0
"""Null worlds at severity 1: cells and depth are divided by this, the odds of the first type are multiplied by it."""
FEWEST: Final = 5
"""Cells of the smallest individual."""

World = Literal["cells", "depth", "composition", "mean"]
WORLDS: Final = ("cells", "depth", "composition", "mean")


@dataclass(frozen=True)
class _Genes:
    """What holds for every individual: regulators first, then their targets, then genes that nothing moves."""

    rate_gt: NDArray[np.float64]
    loading_gr: NDArray[np.float64]
    rewired_target_g: NDArray[np.bool_]
    rewired_r: NDArray[np.bool_]
    log_fold_g: NDArray[np.float64]


@dataclass(frozen=True)
class _Person:
    severity: float
    n_cells: int
    depth: float
    share_t: NDArray[np.float64]


@door
def planted_cohort(
    n_individuals: int = 16,
    n_cells: int = 300,
    n_genes: int = 200,
    *,
    n_types: int = 3,
    n_regulators: int = 10,
    targets: int = 15,
    n_rewired: int = 2,
    n_expression: int = 10,
    effect: float = 1.0,
    cells_sd: float = 0.0,
    depth_sd: float = 0.0,
    composition: float = 30.0,
    follows: World | None = None,
    severity: Sequence[float] | None = None,
    seed: int = 0,
) -> AnnData:
    """Make counts of many individuals, in whom a few regulators lose their targets as severity rises.

    With x the severity of the individual, t the type of the cell, f_cr the activity of regulator r in the cell and
    e_cg a gene's own share, all standard normal and independent::

        y_cg ~ NB(mean d_c a_g exp(type_gt + b_gr u_cg + change_g x), dispersion 0.1)
        u_cg = w f_cr + sqrt(1 - w^2) e_cg,    w = 1 - effect x for targets of a rewired regulator, 1 for all others

    A rewired target therefore has the same distribution in every individual, and its correlation with its regulator
    (of log rates, within a type) falls by the factor w: connectivity changes, expression does not. Of `n_expression`
    other genes the mean changes (change = log 2 for half of them, -log 2 for the rest) and connectivity does not; half
    of these are targets of regulators that keep them, half follow nothing. A gene has one regulator at most, and half
    of a regulator's targets have a negative loading b.

    Parameters
    ----------
    n_individuals
        Number of individuals; the first half (rounded down) are controls.
    n_cells
        Cells of an individual, median.
    n_genes
        Number of genes: regulators, targets, and genes that follow nothing.
    n_types
        Number of cell types, equally frequent in the mean.
    n_regulators, targets
        Number of regulators, and of targets of each.
    n_rewired
        Number of regulators that lose their targets.
    n_expression
        Number of genes of which the mean alone changes.
    effect
        Share of a rewired target's weight that is lost at severity 1, from 0 to 1.
    cells_sd, depth_sd
        Standard deviation between individuals of the log of the number of cells, and of the depth.
    composition
        Concentration of the Dirichlet distribution of an individual's cell types; large is the same for all.
    follows
        A null world: no connectivity changes (`effect` is not used) and only this goes with severity: "cells" (a
        quarter at severity 1), "depth" (a third), "composition" (the odds of the first type, four times), "mean" (of
        the `n_expression` genes). Otherwise None.
    severity
        Severity of each individual, from 0 to 1; cases are those above 0. If None, 0 for controls, and 0.35 to 1 in
        equal steps for cases.
    seed
        Same seed, same data.

    Returns
    -------
    AnnData, cells x n_genes: `X` counts (CSR, float32); `obs["donor"]`, `["phenotype"]` ("control" or "case"),
    `["severity"]`, `["sex"]` (balanced in cases and in controls), `["cell_type"]`; `var["regulator"]`,
    `["rewired_hub"]`, `["rewired_target"]`, `["expression_only"]`; `varm["planted_loadings"]` (n_genes, n_regulators);
    `uns["planted_edges"]`, a frame with columns `regulator`, `target`, `rewired`.

    Raises
    ------
    OptionError
        If a number cannot work, or there are too few genes for what is asked of them.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted_cohort(n_individuals=6, n_cells=50)
    >>> adata.shape
    (300, 200)
    >>> list(adata.var_names[adata.var["rewired_hub"]])
    ['gene_1', 'gene_2']
    """
    _check_counts(n_individuals, n_cells, n_types, n_regulators, targets)
    _check_amounts(effect, cells_sd, depth_sd, composition, follows)
    rewired, changed = (n_rewired if follows is None else 0), (n_expression if follows in (None, "mean") else 0)
    _check_genes(n_genes, n_regulators, targets, n_rewired=rewired, n_expression=changed)
    severity_s = _severity(n_individuals, severity)
    rng = numpy_generator(seed, "planted_cohort")
    genes = _genes(rng, (n_genes, n_types, n_regulators), targets=targets, n_rewired=rewired, n_expression=changed)
    sex_s = _sex(rng, severity_s > 0)
    people = [
        _person(
            numpy_generator(seed, "planted_cohort_person", index=s), x, n_types, n_cells=n_cells, cells_sd=cells_sd,
            depth_sd=depth_sd, composition=composition, follows=follows,
        )
        for s, x in enumerate(severity_s)
    ]  # fmt: skip
    drawn = [
        _cells(numpy_generator(seed, "planted_cohort_cells", index=s), genes, person, effect)
        for s, person in enumerate(people)
    ]
    adata = ad.AnnData(sparse.csr_matrix(sparse.vstack([y_cg for y_cg, _ in drawn], format="csr")))
    _annotate_cells(adata, people, [type_c for _, type_c in drawn], sex_s)
    _annotate_genes(adata, genes)
    return adata


def _severity(n_individuals: int, severity: Sequence[float] | None) -> NDArray[np.float64]:
    if severity is None:
        n_controls = n_individuals // 2
        severity_s: NDArray[np.float64] = np.r_[
            np.zeros(n_controls), np.linspace(MILDEST, 1.0, n_individuals - n_controls)
        ]
        return severity_s
    severity_s = np.asarray(severity, np.float64)
    if severity_s.shape != (n_individuals,) or not ((severity_s >= 0) & (severity_s <= 1)).all():
        raise OptionError(
            f"Found severity of shape {severity_s.shape}, expected one number from 0 to 1 for each of the "
            f"{n_individuals} individuals. Give as many, or leave it out."
        )
    return severity_s


def _genes(
    rng: np.random.Generator, shape: tuple[int, int, int], *, targets: int, n_rewired: int, n_expression: int
) -> _Genes:
    """Draw what all individuals share; `shape` is (genes, types, regulators)."""
    n_genes, n_types, n_regulators = shape
    log_abundance_g = ABUNDANCE_SD * rng.standard_normal(n_genes)
    share_g = np.exp(log_abundance_g) / np.exp(log_abundance_g).sum()
    rate_gt = share_g[:, None] * np.exp(TYPE_SD * rng.standard_normal((n_genes, n_types)) - TYPE_SD**2 / 2)
    loading_gr = np.zeros((n_genes, n_regulators))
    loading_gr[np.arange(n_regulators), np.arange(n_regulators)] = REGULATOR
    regulated = np.arange(n_regulators, n_regulators * (targets + 1)).reshape(n_regulators, targets)
    for r, rows in enumerate(regulated):
        signs = rng.permutation(np.where(np.arange(targets) % 2, -1.0, 1.0))
        loading_gr[rows, r] = signs * rng.uniform(*LOADINGS, targets)
    rewired_target_g = np.zeros(n_genes, bool)
    rewired_target_g[regulated[:n_rewired].ravel()] = True
    kept, free = regulated[n_rewired:].ravel(), np.arange(n_regulators * (targets + 1), n_genes)
    n_free = min(len(free), max(n_expression // 2, n_expression - len(kept)))
    log_fold_g = np.zeros(n_genes)
    changed = np.r_[rng.choice(free, n_free, replace=False), rng.choice(kept, n_expression - n_free, replace=False)]
    # Up and down in turn within each kind.
    log_fold_g[changed] = np.log(FOLD) * np.where(np.arange(n_expression) % 2, -1.0, 1.0)
    return _Genes(rate_gt, loading_gr, rewired_target_g, np.arange(n_regulators) < n_rewired, log_fold_g)


def _sex(rng: np.random.Generator, case_s: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Sex of each individual, balanced within cases and within controls."""
    sex_s = np.empty(len(case_s), dtype="<U6")
    for members in (np.flatnonzero(case_s), np.flatnonzero(~case_s)):
        sex_s[rng.permutation(members)] = np.where(np.arange(len(members)) % 2, "male", "female")
    return sex_s


def _person(
    rng: np.random.Generator, severity: float, n_types: int, *, n_cells: int, cells_sd: float, depth_sd: float,
    composition: float, follows: World | None,
) -> _Person:  # fmt: skip
    share_t = np.ones(n_types) / n_types
    if follows == "composition":
        share_t[0] *= ODDS_RISE**severity
        share_t /= share_t.sum()
    cells = n_cells * np.exp(cells_sd * rng.standard_normal()) / (CELLS_FALL if follows == "cells" else 1.0) ** severity
    depth = DEPTH * np.exp(depth_sd * rng.standard_normal()) / (DEPTH_FALL if follows == "depth" else 1.0) ** severity
    return _Person(float(severity), max(FEWEST, round(cells)), float(depth), rng.dirichlet(composition * share_t))


def _cells(
    rng: np.random.Generator, genes: _Genes, person: _Person, effect: float
) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
    """Counts of one individual's cells, (cells, genes), and their types."""
    shape_cg = (person.n_cells, len(genes.rate_gt))
    type_c = rng.choice(len(person.share_t), size=person.n_cells, p=person.share_t)
    signal_cg = rng.standard_normal((person.n_cells, genes.loading_gr.shape[1])) @ genes.loading_gr.T
    weight = 1 - effect * person.severity
    own_cg = rng.standard_normal((person.n_cells, int(genes.rewired_target_g.sum())))
    own_cg *= genes.loading_gr[genes.rewired_target_g].sum(axis=1)
    signal_cg[:, genes.rewired_target_g] *= weight
    signal_cg[:, genes.rewired_target_g] += np.sqrt(max(0.0, 1 - weight**2)) * own_cg
    depth_c = person.depth * np.exp(CELL_DEPTH_SD * rng.standard_normal(person.n_cells))
    log_mean_g = genes.log_fold_g * person.severity - (genes.loading_gr**2).sum(axis=1) / 2
    rate_cg = depth_c[:, None] * genes.rate_gt.T[type_c] * np.exp(signal_cg + log_mean_g)
    rate_cg *= rng.gamma(1 / DISPERSION, DISPERSION, size=shape_cg)
    return sparse.csr_matrix(rng.poisson(rate_cg).astype(np.float32)), type_c


def _annotate_cells(
    adata: AnnData, people: list[_Person], types: list[NDArray[np.int64]], sex_s: NDArray[np.str_]
) -> None:
    width = len(str(len(people)))
    donors = [f"donor_{s + 1:0{width}d}" for s in range(len(people))]
    s_c = np.repeat(np.arange(len(people)), [person.n_cells for person in people])
    n_types = len(people[0].share_t)
    severity_s = np.array([person.severity for person in people])
    adata.obs_names = [f"{donors[s]}_cell_{c + 1}" for s, person in enumerate(people) for c in range(person.n_cells)]
    case_c = severity_s[s_c] > 0
    type_c = np.concatenate(types)
    adata.obs["donor"] = pd.Categorical(np.array(donors)[s_c], categories=donors)
    adata.obs["phenotype"] = pd.Categorical(np.where(case_c, "case", "control"), categories=["control", "case"])
    adata.obs["severity"] = severity_s[s_c]
    adata.obs["sex"] = pd.Categorical(sex_s[s_c], categories=["female", "male"])
    names = [f"type_{t + 1}" for t in range(n_types)]
    adata.obs["cell_type"] = pd.Categorical(np.array(names)[type_c], categories=names)


def _annotate_genes(adata: AnnData, genes: _Genes) -> None:
    n_regulators = len(genes.rewired_r)
    adata.var_names = names = pd.Index([f"gene_{g + 1}" for g in range(adata.n_vars)])
    adata.var["regulator"] = np.arange(adata.n_vars) < n_regulators
    adata.var["rewired_hub"] = np.r_[genes.rewired_r, np.zeros(adata.n_vars - n_regulators, bool)]
    adata.var["rewired_target"] = genes.rewired_target_g
    adata.var["expression_only"] = genes.log_fold_g != 0
    adata.varm["planted_loadings"] = genes.loading_gr
    target, regulator = np.nonzero(genes.loading_gr)
    target, regulator = target[target != regulator], regulator[target != regulator]
    adata.uns["planted_edges"] = pd.DataFrame(
        {"regulator": names[regulator], "target": names[target], "rewired": genes.rewired_r[regulator]},
        index=[str(e) for e in range(len(target))],
    )


def _check_counts(n_individuals: int, n_cells: int, n_types: int, n_regulators: int, targets: int) -> None:
    whole_number("n_individuals", n_individuals, least=1)
    whole_number("n_cells", n_cells, least=FEWEST)
    whole_number("n_types", n_types, least=1)
    whole_number("n_regulators", n_regulators, least=1)
    whole_number("targets", targets, least=1)


def _check_amounts(effect: float, cells_sd: float, depth_sd: float, composition: float, follows: World | None) -> None:
    number("effect", effect, allowed=lambda value: 0 <= value <= 1, expected="a number from 0 to 1")
    for name, value in (("cells_sd", cells_sd), ("depth_sd", depth_sd)):
        number(name, value, allowed=lambda value: 0 <= value < np.inf, expected="a number of at least 0")
    number("composition", composition, allowed=lambda value: 0 < value < np.inf, expected="a number above 0")
    if follows is not None:
        one_of("follows", follows, WORLDS)


def _check_genes(n_genes: int, n_regulators: int, targets: int, *, n_rewired: int, n_expression: int) -> None:
    whole_number("n_genes", n_genes, least=1)
    whole_number("n_rewired", n_rewired, least=0)
    whole_number("n_expression", n_expression, least=0)
    needed = n_regulators * (targets + 1)
    if n_rewired > n_regulators:
        raise OptionError(f"Found n_rewired={n_rewired}, expected at most n_regulators={n_regulators}. Lower it.")
    if needed > n_genes:
        raise OptionError(
            f"Found n_genes={n_genes}, expected at least {needed}: {n_regulators} regulators with {targets} targets "
            "each. Raise n_genes, or lower one of the two."
        )
    others = n_genes - n_regulators - n_rewired * targets
    if n_expression > others:
        raise OptionError(
            f"Found n_expression={n_expression}, expected at most {others}: genes that are no regulators and no "
            "rewired targets. Raise n_genes, or lower n_expression."
        )
