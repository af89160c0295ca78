"""One model for all: each individual's gene space read from its own cells, in the axes that all share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sivae import _keys
from sivae._rng import name_fractions, numpy_generator
from sivae.graph import _cohort, _hubs
from sivae.graph._read_out import Cells, Scale, inverse_fold, squares, sums, type_totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sivae.cohort._individuals import Individuals
    from sivae.model._rates import Rates

    Array = NDArray[np.float64]

CENTRALITIES = (_keys.PROJECTION, _keys.EXPLAINED_VARIANCE, _keys.NORM, _keys.DEGREE, _keys.STRENGTH)


@dataclass(frozen=True)
class Spaces:
    """A gene space for each individual, in common axes."""

    position_sgk: Array
    """Drawn to the cohort's mean by how much of the difference is noise."""
    raw_sgk: Array
    """As read from the individual's cells alone."""
    mean_gk: Array
    layer: dict[str, Array]
    """Centralities (s, g) by name, and their standard errors where known."""
    matched_sgr: Array | None
    """Connectivity from draws of equally many cells; None where none were drawn."""
    matched_cells: int


@dataclass(frozen=True)
class Reading:
    """What is fixed before individuals are compared."""

    scale: Scale
    encoder_gk: Array
    white_kk: Array
    composition: _cohort.Composition
    edge_share: float

    def position(self, cells: Cells) -> Array:
        """Position of each gene from some cells of one individual, (g, k)."""
        n_types = len(self.scale.mean_tg)
        found = sums(cells, self.scale, self.encoder_gk, part_c=cells.type_c, n_parts=n_types)
        return np.asarray(_cohort.position(found, found.freedom_p, self.composition) @ self.white_kk)

    def parts(self, cells: Cells, fold_c: NDArray[np.intp], n_folds: int) -> tuple[Array, Array]:
        """Sums over folds of cells, standardized for composition, (j, g, k), and their freedom, (j,)."""
        found = sums(cells, self.scale, self.encoder_gk, part_c=fold_c, n_parts=n_folds)
        count_t = np.bincount(cells.type_c, minlength=len(self.scale.mean_tg))
        shift_gk = self.composition.shift(np.maximum(count_t - 1.0, 0.0))
        part_jgk = found.product_pgk - found.freedom_p[:, None, None] * shift_gk
        return part_jgk @ self.white_kk, found.freedom_p


def read_spaces(
    rates: Rates,
    encoder_gk: Array,
    individuals: Individuals,
    names: Sequence[str],
    *,
    n_folds: int,
    n_draws: int,
    matched_cells: int | None,
    edge_share: float,
    seed: int,
) -> Spaces:
    """Gene spaces of all individuals.

    Parameters
    ----------
    rates
        Of every cell.
    encoder_gk
        How the cell encoder weighs genes.
    individuals
        Whose cells are whose.
    names
        Of every cell; folds and draws depend on these, not on the order of cells.
    n_folds
        Parts of an individual's cells that are left out one at a time.
    n_draws, matched_cells
        Draws of equally many cells of each, and how many cells; those of the smallest individual if None.
    edge_share
        Share of the pairs of genes that are edges.
    seed
        Of folds and draws.
    """
    cells_s = [_cells_of(rates, individuals, s) for s in range(len(individuals.names))]
    reading, position_sgk, weight_s, noise_sg = _read(cells_s, encoder_gk, len(individuals.types), edge_share)
    cohort = _cohort.cohort_of(position_sgk, weight_s, noise_sg)
    fraction_n = name_fractions(names, seed)
    fewest = min(len(rows) for rows in individuals.rows)
    n_matched = fewest if matched_cells is None else min(matched_cells, fewest)
    layers: dict[str, list[Array]] = {}
    matched, shrunk = [], []
    for s, (cells, rows) in enumerate(zip(cells_s, individuals.rows, strict=True)):
        others_gk = cohort.others_gk(position_sgk[s], s)
        fold_c = _folds(cells.type_c, fraction_n[rows], min(n_folds, len(rows)))
        shrunk.append(cohort.shrink(position_sgk[s], noise_sg[s]))
        for name, values in _centralities(
            reading, cells, fold_c, position_sgk[s], others_gk, cohort, noise_sg[s]
        ).items():
            layers.setdefault(name, []).append(values)
        matched.append(
            _draws(reading, cells, others_gk, cohort, n_draws, n_matched, numpy_generator(seed, "matched", index=s))
        )
    layer = {name: np.array(values) for name, values in layers.items()}
    for name in CENTRALITIES:
        layer[name + _keys.SE_SUFFIX] = _cohort.smooth_error(layer[name + _keys.SE_SUFFIX], noise_sg)
    absent_sg = noise_sg == 0
    for name in layer:
        layer[name][absent_sg] = np.nan
    return Spaces(np.array(shrunk), position_sgk, cohort.mean_gk, layer, np.array(matched), n_matched)


@dataclass(frozen=True)
class Projections:
    """The default connectivity of individuals and what it was made of."""

    value_sg: Array
    error_sg: Array
    """Its standard error."""
    position_sgk: Array
    weight_s: Array
    noise_sg: Array
    white_kk: Array

    def mean_position(self) -> Array:
        """Mean position of each gene in the axes of the encoder, (g, k), its length without what noise adds to it."""
        cohort = _cohort.cohort_of(self.position_sgk, self.weight_s, self.noise_sg)
        mean_gk = cohort.mean_gk
        square_g = np.maximum((mean_gk**2).sum(axis=1), np.finfo(float).tiny)
        share_g = np.minimum(cohort.length_g**2 / square_g, 1.0)
        return np.asarray(share_g[:, None] * mean_gk @ np.linalg.pinv(self.white_kk))

    def less(self, lost_s: Array, mean_gk: Array) -> Array:
        """The projection if individuals lost a share of these positions (in the axes of the encoder), (s, g)."""
        position_sgk = self.position_sgk - lost_s[:, None, None] * (mean_gk @ self.white_kk)
        cohort = _cohort.cohort_of(position_sgk, self.weight_s, self.noise_sg)
        value_sg = np.array(
            [
                _cohort.projection(v_gk, cohort.others_gk(v_gk, s), cohort.length_g)
                for s, v_gk in enumerate(position_sgk)
            ]
        )
        value_sg[self.noise_sg == 0] = np.nan
        return value_sg


def read_projection(
    rates: Rates, encoder_gk: Array, individuals: Individuals, *, fraction_n: Array, n_folds: int
) -> Projections:
    """The projection alone and its standard error, (s, g) each, the numbers of `read_spaces` at a part of its cost.

    `fraction_n` are the hashes of all cells' names, `name_fractions(names, seed)`.
    """
    cells_s = [_cells_of(rates, individuals, s) for s in range(len(individuals.names))]
    reading, position_sgk, weight_s, noise_sg = _read(cells_s, encoder_gk, len(individuals.types), 0.0)
    cohort = _cohort.cohort_of(position_sgk, weight_s, noise_sg)
    value_sg, error_sg = np.empty_like(noise_sg), np.empty_like(noise_sg)
    for s, (cells, rows) in enumerate(zip(cells_s, individuals.rows, strict=True)):
        others_gk = cohort.others_gk(position_sgk[s], s)
        value_sg[s] = _cohort.projection(position_sgk[s], others_gk, cohort.length_g)
        fold_c = _folds(cells.type_c, fraction_n[rows], min(n_folds, len(rows)))
        rest_jgk = _left_out(*reading.parts(cells, fold_c, int(fold_c.max()) + 1))
        error_sg[s] = _cohort.jackknife(
            np.array([_cohort.projection(v_gk, others_gk, cohort.length_g) for v_gk in rest_jgk])
        )
    error_sg = _cohort.smooth_error(error_sg, noise_sg)
    value_sg[noise_sg == 0] = error_sg[noise_sg == 0] = np.nan
    return Projections(value_sg, error_sg, position_sgk, weight_s, noise_sg, reading.white_kk)


def _cells_of(rates: Rates, individuals: Individuals, s: int) -> Cells:
    rows = individuals.rows[s]
    depth_c = None if rates.depth_n is None else rates.depth_n[rows]
    return Cells(rates.rate_ng[rows], individuals.type_n[rows], depth_c)


def _read(
    cells_s: Sequence[Cells], encoder_gk: Array, n_types: int, edge_share: float
) -> tuple[Reading, Array, Array, Array]:
    """The reading, positions (s, g, k), their weights (s,) and their noise variance per coordinate (s, g)."""
    scale = cohort_scale(cells_s, n_types)
    sums_s = [sums(cells, scale, encoder_gk, part_c=cells.type_c, n_parts=n_types) for cells in cells_s]
    weight_s = np.maximum([found.freedom_p.sum() for found in sums_s], 1.0)
    white_kk = _cohort.whitening(np.sum([found.reading_kk for found in sums_s], axis=0) / weight_s.sum())
    composition = _cohort.composition_of(sums_s)
    position_sgk = np.array([_cohort.position(found, found.freedom_p, composition) for found in sums_s]) @ white_kk
    noise_sg = np.array([found.square_g for found in sums_s]) / weight_s[:, None] ** 2
    return Reading(scale, encoder_gk, white_kk, composition, edge_share), position_sgk, weight_s, noise_sg


def cohort_scale(cells_s: Sequence[Cells], n_types: int) -> Scale:
    """Mean rates of cell types, and standard deviations within individuals and types, over the cohort."""
    totals = [type_totals(cells, n_types) for cells in cells_s]
    depth_t = np.sum([depth for _, depth in totals], axis=0)
    mean_tg = np.sum([total for total, _ in totals], axis=0) / np.maximum(depth_t, 1e-12)[:, None]
    square_g, freedom = np.zeros(mean_tg.shape[1]), 0.0
    for cells in cells_s:
        squared_g, free = squares(cells, n_types)
        square_g += squared_g * inverse_fold(cells, mean_tg) ** 2
        freedom += free
    return Scale(mean_tg, np.sqrt(square_g / max(freedom, 1.0)))


def _centralities(
    reading: Reading,
    cells: Cells,
    fold_c: NDArray[np.intp],
    position_gk: Array,
    others_gk: Array,
    cohort: _cohort.Cohort,
    noise_g: Array,
) -> dict[str, Array]:
    """Each centrality of one individual, and its standard error from cells left out by folds."""
    n_folds = int(fold_c.max()) + 1
    part_jgk, freedom_j = reading.parts(cells, fold_c, n_folds)
    direction_gk = _cohort.signed_sum(others_gk, others_gk)
    rest_jgk = _left_out(part_jgk, freedom_j)

    def linear(v_gk: Array) -> dict[str, Array]:
        return {
            _keys.PROJECTION: _cohort.projection(v_gk, others_gk, cohort.length_g),
            _keys.NORM: np.linalg.norm(cohort.shrink(v_gk, noise_g), axis=1),
            _keys.STRENGTH: _cohort.strength(v_gk, direction_gk),
        }

    found = linear(position_gk)
    left_out = [linear(rest_gk) for rest_gk in rest_jgk]
    error = {name: _cohort.jackknife(np.array([entry[name] for entry in left_out])) for name in found}
    kept = np.arange(n_folds)
    found[_keys.EXPLAINED_VARIANCE] = _cohort.unbiased_square(part_jgk, freedom_j)
    error[_keys.EXPLAINED_VARIANCE] = _cohort.jackknife(
        np.array([_cohort.unbiased_square(part_jgk[kept != j], freedom_j[kept != j]) for j in kept])
    )
    found[_keys.DEGREE] = _hubs.degree(cohort.shrink(position_gk, noise_g), share=reading.edge_share)
    error[_keys.DEGREE] = _half_difference(reading, part_jgk, freedom_j, cohort, noise_g)
    return found | {name + _keys.SE_SUFFIX: values for name, values in error.items()}


def _left_out(part_jgk: Array, freedom_j: Array) -> Array:
    """Positions from all cells but one fold, for each fold, (j, g, k)."""
    left_j = np.maximum(freedom_j.sum() - freedom_j, 1.0)
    return np.asarray((part_jgk.sum(axis=0) - part_jgk) / left_j[:, None, None])


def _half_difference(
    reading: Reading, part_jgk: Array, freedom_j: Array, cohort: _cohort.Cohort, noise_g: Array
) -> Array:
    """Half the difference of a gene's edges between two halves of the cells: its square estimates the variance."""
    degrees = []
    for half in (slice(0, None, 2), slice(1, None, 2)):
        half_gk = part_jgk[half].sum(axis=0) / max(float(freedom_j[half].sum()), 1.0)
        degrees.append(_hubs.degree(cohort.shrink(half_gk, noise_g), share=reading.edge_share))
    return np.asarray(np.abs(degrees[0] - degrees[1]) / 2)


def _draws(
    reading: Reading,
    cells: Cells,
    others_gk: Array,
    cohort: _cohort.Cohort,
    n_draws: int,
    n_cells: int,
    generator: np.random.Generator,
) -> Array:
    """Projection from draws of some of the cells, (g, r)."""
    n = len(cells.type_c)
    drawn = [np.sort(generator.choice(n, n_cells, replace=False)) for _ in range(n_draws)]
    positions = [reading.position(cells.take(chosen)) for chosen in drawn]
    return np.stack([_cohort.projection(v_gk, others_gk, cohort.length_g) for v_gk in positions], axis=1)


def _folds(type_c: NDArray[np.intp], fraction_c: Array, n_folds: int) -> NDArray[np.intp]:
    """Fold of each cell: equal sizes within each type, by the hash of the cell's name."""
    fold_c = np.empty(len(type_c), np.intp)
    fold_c[np.lexsort((fraction_c, type_c))] = np.arange(len(type_c)) % n_folds
    return fold_c
