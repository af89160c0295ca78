"""All tests of genes and a phenotype, with the controls, on arrays of individuals by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias, final

import numpy as np

from sivae._rng import numpy_generator
from sivae.cohort._phenotype import LEAST_FREEDOM, told
from sivae.stats._association import associate as association
from sivae.stats._association import p_of_both
from sivae.stats._given import given
from sivae.stats._precision import precision_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sivae.cohort._phenotype import Design
    from sivae.stats._association import Association

    Array: TypeAlias = NDArray[np.float64]
    Columns: TypeAlias = dict[str, Array]

CONTROL_PERMUTATIONS: Final = 9_999
DRAW_PERMUTATIONS: Final = 999
ALWAYS: Final = ("effect", "se", "low", "high", "t", "p_regression", "rho", "p_rank", "mean_connectivity")
"""Columns that there are even where no gene is tested."""


@final
@dataclass(frozen=True)
class Work:
    """What the tests take, for individuals by name."""

    design: Design
    values_sg: Array
    se_sg: Array | None
    controls: dict[str, Array]
    matched_sgr: NDArray[np.floating] | None
    n_permutations: int
    seed: int

    def part(self, rows: NDArray[np.bool_], genes: NDArray[np.intp]) -> Work:
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


def tested(work: Work) -> tuple[Columns, bool]:
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


def _numbers(work: Work) -> tuple[Columns, bool]:
    y_sg, design = work.values_sg, work.design
    weights_sg = None
    if work.se_sg is not None:
        weights_sg = precision_weights(y_sg, work.se_sg, design.x_s, design.covariates_sc)
        weights_sg = None if np.allclose(weights_sg, 1) else weights_sg
    fit = work.test(y_sg, purpose="fit", n=work.n_permutations, weights_sg=weights_sg, ranks=False)
    ranked = work.test(y_sg, purpose="rank", n=work.n_permutations, ranks=True)
    columns = {"effect": fit.effect_g, "se": fit.se_g, "low": fit.low_g, "high": fit.high_g, "t": fit.t_g}
    _, rank = (0.0, 0) if design.covariates_sc is None else told(design.x_s, design.covariates_sc)
    p_g = fit.p_g if weights_sg is None else p_of_both(fit, len(design.x_s) - 2 - rank)
    columns |= {"p_regression": p_g, "rho": ranked.rho_g, "p_rank": ranked.p_g}
    columns["mean_connectivity"] = y_sg.mean(axis=0)
    for name, control in work.controls.items():
        columns |= _given(work, name, control, weights_sg=weights_sg)
    for name in ("expression", "detection"):
        if name in work.controls:
            columns |= _control_itself(work, name)
    if work.matched_sgr is not None:
        columns |= _over_draws(work, work.matched_sgr)
    return columns, fit.exact


def _given(work: Work, name: str, control_sgm: Array, *, weights_sg: Array | None) -> Columns:
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


def _control_itself(work: Work, name: str) -> Columns:
    """The phenotype's effect on a control of genes, and its p."""
    control_sg = work.controls[name][:, :, 0]
    effect_g, p_g = np.full(control_sg.shape[1], np.nan), np.full(control_sg.shape[1], np.nan)
    known_g = np.isfinite(control_sg).all(axis=0)
    if known_g.any():
        fit = work.test(control_sg[:, known_g], purpose=name, n=CONTROL_PERMUTATIONS, ranks=False)
        effect_g[known_g], p_g[known_g] = fit.effect_g, fit.p_g
    return {f"{name}_effect": effect_g, f"{name}_p": p_g}


def _over_draws(work: Work, matched_sgr: NDArray[np.floating]) -> Columns:
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
