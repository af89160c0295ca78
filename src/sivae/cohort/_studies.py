"""Studies of some size, drawn of a cohort or simulated after it, with changes that are planted in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, final

import numpy as np

from sivae._errors import SetupError
from sivae._rng import numpy_generator
from sivae.cohort._shared import Projections, read_projection
from sivae.stats import _power as counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sivae.cohort._individuals import Individuals
    from sivae.model._rates import Rates

    Array = NDArray[np.float64]

N_FOLDS: Final = 10
N_SPLITS: Final = 4
"""Pairs of sets of cells by which standard errors are checked."""
FEWEST_CELLS: Final = 10
"""Cells of such a set, at least."""
CLEAR: Final = 5.0
"""A gene is clearly connected where its mean over individuals is more than so many standard errors of the mean."""


@final
@dataclass(frozen=True)
class Source:
    """The cohort at hand."""

    rates: Rates
    encoder_gk: Array
    people: Individuals
    fraction_n: Array
    """Hash of each cell's name."""

    @property
    def cells_s(self) -> NDArray[np.int64]:
        """Cells of each individual."""
        return np.array([len(rows) for rows in self.people.rows], np.int64)

    def has(self, n_individuals: int, n_cells: int) -> bool:
        """Whether so many individuals with so many cells are there to be drawn."""
        return bool((self.cells_s >= n_cells).sum() >= n_individuals)

    def read(self, rows: dict[int, NDArray[np.intp]]) -> Projections:
        """Connectivity of individuals, by their position, from some of their cells."""
        names = tuple(self.people.names[s] for s in rows)
        chosen = replace(self.people, names=names, rows=tuple(rows.values()))
        return read_projection(self.rates, self.encoder_gk, chosen, fraction_n=self.fraction_n, n_folds=N_FOLDS)

    def draw(self, n_individuals: int, n_cells: int, *, generator: np.random.Generator) -> Projections:
        """Connectivity of some individuals from some of their cells."""
        enough = np.flatnonzero(self.cells_s >= n_cells)
        chosen = np.sort(generator.choice(enough, n_individuals, replace=False))
        return self.read(self.pick(chosen, n_cells, generator)[0])

    def pick(
        self, chosen: NDArray[np.intp], n_cells: int, generator: np.random.Generator, *, n_sets: int = 1
    ) -> list[dict[int, NDArray[np.intp]]]:
        """Disjoint sets of equally many cells of each individual."""
        sets: list[dict[int, NDArray[np.intp]]] = [{} for _ in range(n_sets)]
        for s in chosen:
            rows = self.people.rows[s]
            drawn = generator.choice(len(rows), n_sets * n_cells, replace=False)
            for i, part in enumerate(sets):
                part[int(s)] = rows[np.sort(drawn[i * n_cells : (i + 1) * n_cells])]
        return sets


@final
@dataclass(frozen=True)
class World:
    """A cohort, and what was learned of it."""

    source: Source
    components: counts.Components
    mean_gk: Array
    """Mean position of each gene, in the axes of the encoder."""
    clear_g: NDArray[np.bool_]
    """Clearly connected genes."""
    scale: dict[int, float]
    """Variance from so many cells of an individual, per squared standard error."""


@final
@dataclass(frozen=True)
class Study:
    """Connectivity in the individuals of one study, and what it becomes when some genes change."""

    value_sg: Array
    error_sg: Array
    lose: Callable[[Array], Array]
    """Of the share that each individual loses, (s,): the values if all genes did."""

    def __call__(self, x_s: Array, planted_g: NDArray[np.bool_], effect: float) -> Array:
        """Values, (s, g), when the genes lose the share `effect` of their connectivity as x goes from 0 to 1."""
        return np.asarray(np.where(planted_g, self.lose(effect * x_s), self.value_sg), np.float64)


def drawn(world: World, n: int, m: int, *, generator: np.random.Generator) -> Study:
    """Individuals and cells of the cohort; positions change, and with them what they are projected on."""
    found = world.source.draw(n, m, generator=generator)
    return Study(found.value_sg, found.error_sg, lambda lost_s: found.less(lost_s, world.mean_gk))


def simulated(world: World, n: int, m: int, *, generator: np.random.Generator) -> Study:
    """Individuals like those of the cohort."""
    y_sg, se_sg = world.components.simulate(n, m, scale=world.scale[m], generator=generator)
    return Study(y_sg, se_sg, lambda lost_s: y_sg - np.multiply.outer(lost_s, world.components.mean_g))


def learn(source: Source, sizes: list[tuple[int, int]], *, seed: int) -> World:
    """What is learned of a cohort for these sizes of a study.

    Raises
    ------
    SetupError
        If no gene is clearly connected.
    """
    found = source.read(dict(enumerate(source.people.rows)))
    clear_g = clearly_connected(found.value_sg)
    if not clear_g.any():
        raise SetupError(
            f"None of {len(clear_g)} genes is clearly connected in these {len(source.people.names)} individuals; "
            "expected some whose connectivity could change. Train longer, choose variable genes, or take more "
            "cells or individuals."
        )
    learned = counts.components(found.value_sg, found.error_sg, source.cells_s)
    clear_g &= np.isfinite(learned.mean_g)
    beyond = {m for n, m in sizes if not source.has(n, m)}
    scale = dict.fromkeys(beyond, 1.0)
    # So many cells that half of the individuals, and at least four, have two sets of them.
    half = max(counts.FEWEST, (len(source.cells_s) + 1) // 2)
    most = int(np.sort(source.cells_s)[-half]) // 2
    if beyond and most >= FEWEST_CELLS:
        asked = {m: min(max(m, FEWEST_CELLS), most) for m in beyond}
        at = {m: _scale(source, m, learned, clear_g, seed=seed) for m in sorted({*asked.values(), most})}
        scale = {m: at[asked[m]] for m in beyond}
        learned = counts.components(found.value_sg, found.error_sg, source.cells_s, scale=at[most])
    return World(source, learned, found.mean_position(), clear_g, scale)


def _scale(source: Source, n_cells: int, learned: counts.Components, clear_g: NDArray[np.bool_], *, seed: int) -> float:
    """Variance per squared standard error at so many cells, the mean over a few pairs of sets of cells."""
    enough = np.flatnonzero(source.cells_s >= 2 * n_cells)
    expected_g = learned.noise_sg[enough].mean(axis=0) / n_cells / learned.mean_g**2
    scales = []
    for i in range(N_SPLITS):
        generator = numpy_generator(seed, f"power scale {n_cells}", index=i)
        first, second = (source.read(rows) for rows in source.pick(enough, n_cells, generator, n_sets=2))
        scales.append(counts.error_scale(first.value_sg[:, clear_g], second.value_sg[:, clear_g], expected_g[clear_g]))
    return float(np.mean(scales))


def clearly_connected(y_sg: Array) -> NDArray[np.bool_]:
    """Genes whose mean over individuals is more than `CLEAR` of its standard errors, (g,)."""
    known_sg = np.isfinite(y_sg)
    n_g = np.maximum(known_sg.sum(axis=0), 2)
    mean_g = np.where(known_sg, y_sg, 0.0).sum(axis=0) / n_g
    variance_g = (np.where(known_sg, y_sg - mean_g, 0.0) ** 2).sum(axis=0) / (n_g - 1)
    return np.asarray(mean_g > CLEAR * np.sqrt(variance_g / n_g))


def given_at_random(levels: Array | None, n_individuals: int, *, generator: np.random.Generator) -> Array:
    """A phenotype from 0 to 1 for individuals at random, (s,): two equal groups, or as the levels are distributed.

    Of levels in order of size every S-th part is taken, from a random start, so that as many individuals as levels have
    exactly these; if all that are taken are equal, one individual gets the other end.
    """
    if levels is None:
        return np.asarray(generator.permutation(np.arange(n_individuals) % 2), np.float64)
    at = ((np.arange(n_individuals) + generator.uniform()) / n_individuals * len(levels)).astype(np.intp)
    x_s = levels[np.minimum(at, len(levels) - 1)]
    if np.ptp(x_s) == 0:
        x_s[0] = 0.0 if x_s[0] > 0.5 else 1.0
    return np.asarray(generator.permutation(x_s))


def planted(clear_g: NDArray[np.bool_], share: float, *, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Some of the clearly connected genes, at least one, (g,)."""
    clear = np.flatnonzero(clear_g)
    planted_g = np.zeros(len(clear_g), bool)
    planted_g[generator.choice(clear, max(1, round(share * len(clear))), replace=False)] = True
    return planted_g
