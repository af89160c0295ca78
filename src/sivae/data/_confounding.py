"""Covariates that cannot be told apart from each other, or from the kinds of cells in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sivae._errors import some, warn
from sivae.data._covariates import CovariateEffect
from sivae.data._expression import Design, Expression
from sivae.data._setup import Setup
from sivae.stats._contingency import cross_counts, sole_column

FOLLOWS = 0.99
"""Share of a covariate's variance that others must explain for it to be said to follow from them."""
LEAST_GROUP = 30
"""Cells of a group that is said to lie in one batch alone."""
NEARLY_ALL = 0.95
"""Share of the cells in such groups at which batch and kind of cell are said to be confounded."""


def check_covariates(design: Design, design_nb: NDArray[np.float32], setup: Setup) -> None:
    """Warn of covariates that do nothing or follow from others, and of categories without a training cell."""
    columns = setup.columns
    for key in setup.categorical_keys:
        names, mean_b = setup.categories[key], design.mean_b[columns[key]]
        unseen = [name for name, share in zip(names, mean_b, strict=True) if share == 0]
        if len(names) - len(unseen) < 2:
            warn(f"obs[{key!r}] is the same in every training cell, so there is nothing to compare: it has no effect.")
        elif unseen:
            warn(
                f"obs[{key!r}] holds {some(unseen)}, of which no cell trains (few cells, all kept for validation or "
                "dropped since set-up). Such cells are read as of the average of the others."
            )
    varying = {key: part for key, part in columns.items() if design_nb[:, part].any()}
    said: set[frozenset[str]] = set()
    for key, part in varying.items():
        found = _follows_from(design_nb, part, {other: varying[other] for other in varying if other != key})
        if not found or frozenset((key, *found)) in said:
            continue
        said.add(frozenset((key, *found)))
        warn(
            f"obs[{key!r}] follows from {' and '.join(f'obs[{other!r}]' for other in found)}: what each does to a gene "
            "cannot be told apart and is shared between them. The maps are corrected for all together, but predictions "
            "for another value of one of them (transform_batch) move part of the effect. Name fewer."
        )


def _follows_from(design_nb: NDArray[np.float32], part: slice, others: dict[str, slice]) -> list[str]:
    """The covariate, or all of them together, that a covariate follows from; none if it does not."""
    for other, columns in others.items():
        if _explained(design_nb[:, part], design_nb[:, columns]) > FOLLOWS:
            return [other]
    rest = [design_nb[:, columns] for columns in others.values()]
    together = len(rest) > 1 and _explained(design_nb[:, part], np.concatenate(rest, axis=1)) > FOLLOWS
    return list(others) if together else []


def _explained(of_nb: NDArray[np.float32], by_na: NDArray[np.float32]) -> float:
    """Share of the variance of some columns that lies in the span of others; both are centred."""
    of, by = of_nb.astype(np.float64), by_na.astype(np.float64)
    cross = by.T @ of
    fitted = np.linalg.pinv(by.T @ by, rcond=1e-6, hermitian=True) @ cross
    return float((cross * fitted).sum() / max((of**2).sum(), 1e-12))


def covariate_facts(expression: Expression, effect: CovariateEffect, setup: Setup) -> dict[str, Any]:
    """What the covariates take off, and which cells cannot be told apart from their batch; plain values.

    Returns
    -------
    Empty without covariates, else `name`: the covariates; `variance_share`: variance over training cells of what each
    one's shift takes off, summed over genes, as a share of that of the standardised values; `lone_batch`, `lone_cells`,
    `lone_groups`: batches that hold groups of alike cells found nowhere else, and how many of those cells and groups.
    """
    if not setup.columns:
        return {}
    shares = _variance_shares(expression, effect, setup)
    facts: dict[str, Any] = {"name": list(shares), "variance_share": list(shares.values())}
    names, cells, groups = _lone(expression, effect, setup)
    return facts | {"lone_batch": names, "lone_cells": cells, "lone_groups": groups}


def _variance_shares(expression: Expression, effect: CovariateEffect, setup: Setup) -> dict[str, float]:
    n, g = expression.shape
    first_g, second_g = np.zeros(g), np.zeros(g)
    for rows in expression.row_blocks():
        first_g += rows.sum(axis=0, dtype=np.float64)
        second_g += np.square(rows, dtype=np.float64).sum(axis=0)
    total = float((second_g / n - (first_g / n) ** 2).sum())
    design_nb = expression.design_nb.astype(np.float64)
    between_bb = np.atleast_2d(np.cov(design_nb, rowvar=False, bias=True))
    between_gram_bb = effect.shift_bg.astype(np.float64) @ effect.shift_bg.T.astype(np.float64)
    moved = {key: float((between_bb[p, p] * between_gram_bb[p, p]).sum()) for key, p in setup.columns.items()}
    return {key: value / max(total, 1e-12) for key, value in moved.items()}


def _lone(expression: Expression, effect: CovariateEffect, setup: Setup) -> tuple[list[str], list[int], list[int]]:
    """Batches with groups of alike cells that are found there alone, their cells, and the number of groups."""
    if effect.group_n is None or setup.n_batches < 2:
        return [], [], []
    batches = expression.design_nb[:, : setup.n_batches].argmax(axis=1)
    counts = cross_counts(effect.group_n, batches)
    present, alone = np.unique(batches), sole_column(counts, least=LEAST_GROUP)
    found = {int(b): alone == b for b in np.unique(alone[alone >= 0])}
    names = [setup.categories[setup.batch_key][present[b]] for b in found]
    return names, [int(counts[rows, b].sum()) for b, rows in found.items()], [int(r.sum()) for r in found.values()]


def warn_if_confounded(facts: dict[str, Any], n_cells: int, setup: Setup) -> None:
    """Warn where nearly all training cells lie in groups that one batch alone holds."""
    if sum(facts.get("lone_cells", [])) >= NEARLY_ALL * n_cells:
        warn(
            f"Nearly every group of alike cells lies in a single batch of obs[{setup.batch_key!r}]: the kinds of cells "
            "and the batches are confounded. What differs between batches is taken off as their effect, and nothing in "
            "these cells tells how much of it was biology. Train without batch_key to see the difference, or on "
            "batches that share kinds of cells."
        )
