"""How many individuals, and how many cells of each, are needed to find genes whose connectivity changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import pandas as pd

from sivae._checks import number, whole_number
from sivae._errors import OptionError, SetupError, some
from sivae._rng import name_fractions, numpy_generator
from sivae._values import frame
from sivae.cohort._connectivity import N_LATENT, check_request, train
from sivae.cohort._engine import one_thread
from sivae.cohort._individuals import individuals_of
from sivae.cohort._phenotype import phenotype_numbers
from sivae.cohort._shared import Projections, read_projection
from sivae.model._rates import rates
from sivae.stats import _power as counts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.cohort._individuals import Individuals
    from sivae.model._rates import Rates
    from sivae.model._sivae import SiVAE

    Array = NDArray[np.float64]

BINARY: Final = "binary"
N_FOLDS: Final = 10
N_SPLITS: Final = 4
"""Pairs of sets of cells by which standard errors are checked."""
CLEAR: Final = 5.0
"""A gene is clearly connected where its mean over individuals is more than so many standard errors of the mean."""
COLUMNS: Final = ("individuals", "cells", "effect", "power", "power_low", "power_high", "type1", "extrapolated")


def power(
    adata: AnnData,
    sample_key: str,
    *,
    model: SiVAE | None = None,
    cell_type_key: str | None = None,
    cells: Sequence[int] = (50, 100, 200),
    individuals: Sequence[int] = (8, 16, 32),
    effects: Sequence[float] = (0.25, 0.5, 1.0),
    phenotype: str = BINARY,
    share_changed: float = 0.05,
    fdr: float = 0.05,
    n_repeats: int = 20,
    min_cells: int = 20,
    n_jobs: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Tell the power to find genes that lose (or gain) a share of their connectivity, for sizes of the study.

    Learned from a cohort at hand. Where that has enough individuals with enough cells, individuals are drawn of it and
    as many cells of each, gene spaces are read from these as `connectivity(mode="shared")` does, individuals get a
    phenotype x from 0 to 1 at random, and a change is planted in the projection y of some genes::

        y_sg <- y_sg - effect x_s mean_g

    The genes are a random `share_changed` of those that are clearly connected: whose mean projection over the cohort is
    more than 5 of its standard errors. Then all genes are tested as `associate` does, with precision weights, by t in
    place of permutations (for speed; both agree), and called at `fdr` by Benjamini and Hochberg. Beyond the cohort
    (`extrapolated`) values are drawn from a normal law with the gene's mean, its variance between individuals, and its
    noise, which goes as 1 / cells, all learned from the whole cohort.

    What it does not know: the axes are those of the model given (or trained on all cells), in small studies too;
    individuals and cells to come are taken to be like those at hand, of whom the more the better (variances learned
    from 8 individuals are rough); the controls of `associate` are not part of it.

    Parameters
    ----------
    adata, sample_key, model, cell_type_key, min_cells
        As of `connectivity`.
    cells, individuals
        Cells of each individual (at least `min_cells`), and individuals (at least 4).
    effects
        Share of its connectivity that a gene loses from one end of the phenotype to the other, at most 1; negative is a
        gain.
    phenotype
        "binary": two groups of equal size. Or a column of `obs`, constant within individuals: its values, scaled to 0
        to 1, given to individuals at random.
    share_changed
        Share of the clearly connected genes that change; at least one does.
    fdr
        False discovery rate at which genes are called.
    n_repeats
        Draws for each size.
    n_jobs
        Draws made at a time. The result does not depend on it.
    seed
        Of training, draws and the genes that change.

    Returns
    -------
    DataFrame with a row for each number of individuals, cells, and effect. `power`: share of the changed genes that are
    called; `power_low` and `power_high`: its 95 % interval over draws (the cohort stays the same one); `type1`: share
    of the unchanged genes with p < 0.05, to be near 0.05; `extrapolated`: beyond the cohort. `attrs`: `sample_key`,
    `phenotype`, `share_changed`, `fdr`, `n_repeats`, `n_individuals` (of the cohort), `n_genes`, `n_clear` (clearly
    connected) and `seed`.

    Raises
    ------
    SetupError
        If a column is missing, the cohort has fewer than 4 individuals with enough cells, no gene is clearly connected,
        or the phenotype varies within an individual, is constant, or is of a kind that has no numbers.
    OptionError
        If an option has a value that cannot work.
    NotTrainedError
        If the model given is not trained.

    References
    ----------
    Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57:289 (doi 10.1111/j.2517-6161.1995.tb02031.x). Variance between
    individuals: DerSimonian and Laird 1986 (doi 10.1016/0197-2456(86)90046-2).

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted_cohort(n_individuals=8, n_cells=60, n_genes=170)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=5)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> table = sivae.cohort.power(adata, "donor", model=model, cells=[60], individuals=[8, 100], n_repeats=4)
    >>> table["extrapolated"].tolist()
    [False, False, False, True, True, True]
    """
    check_request(adata, sample_key, mode="shared", model=model, cell_type_key=cell_type_key)
    min_cells = whole_number("min_cells", min_cells, least=3)
    asked = _asked(individuals, cells, effects, min_cells=min_cells)
    share_changed = _share("share_changed", share_changed)
    fdr = _share("fdr", fdr)
    n_repeats, seed = whole_number("n_repeats", n_repeats, least=2), whole_number("seed", seed, least=0)
    people = individuals_of(adata, sample_key, cell_type_key=cell_type_key, min_cells=min_cells)
    _check_cohort(people, sample_key, min_cells)
    levels = None if phenotype == BINARY else _levels(adata, people, phenotype)
    if model is None:
        model = train(adata, n_latent=N_LATENT, seed=seed)
    fraction_n = name_fractions([str(name) for name in adata.obs_names], seed)
    sizes = list(product(asked.individuals, asked.cells))
    world = learn(Source(rates(model, adata), people, fraction_n), sizes, seed=seed)
    plan = _Plan(world, levels, asked.effects, share_changed, fdr, seed)
    found = _all(plan, sizes, n_repeats, n_jobs)
    table = _table(plan, found)
    table.attrs = {
        "sample_key": sample_key, "phenotype": phenotype, "share_changed": share_changed, "fdr": fdr,
        "n_repeats": n_repeats, "n_individuals": len(people.names), "n_genes": len(world.clear_g),
        "n_clear": int(world.clear_g.sum()), "seed": seed,
    }  # fmt: skip
    return table


# ------------------------------------------------------------------------------------------------------- what is asked


@final
@dataclass(frozen=True)
class _Asked:
    individuals: tuple[int, ...]
    cells: tuple[int, ...]
    effects: tuple[float, ...]


def _asked(individuals: Sequence[int], cells: Sequence[int], effects: Sequence[float], *, min_cells: int) -> _Asked:
    few = "The individual is the unit of evidence, and fewer are not tested."
    low = (
        f"min_cells is {min_cells}: individuals with fewer cells are left out. Ask for more cells, or lower min_cells."
    )
    people = _listed("individuals", individuals)
    return _Asked(
        tuple(whole_number("individuals", n, least=counts.FEWEST, hint=few) for n in people),
        tuple(whole_number("cells", m, least=min_cells, hint=low) for m in _listed("cells", cells)),
        tuple(
            number("effects", effect, allowed=lambda x: -np.inf < x <= 1, expected="shares of at most 1",
                   hint="1 is all of a gene's connectivity; a gain is negative.")
            for effect in _listed("effects", effects)
        ),
    )  # fmt: skip


def _listed(name: str, values: object) -> list[Any]:
    """Different values, in the order given."""
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise OptionError(f"{name} is {values!r}; expected a list of numbers. Write {name}=[{values}].")
    listed = list(dict.fromkeys(values))
    if not listed:
        raise OptionError(f"{name} is empty; expected at least one number. Name some, or leave it out.")
    return listed


def _share(name: str, value: object) -> float:
    return number(name, value, allowed=lambda x: 0 < x < 1, expected="a number between 0 and 1", hint="0.05 is usual.")


def _check_cohort(people: Individuals, sample_key: str, min_cells: int) -> None:
    if len(people.names) < counts.FEWEST:
        raise SetupError(
            f"obs[{sample_key!r}] has {len(people.names)} individuals with at least {min_cells} cells "
            f"({some(people.names)}); expected at least {counts.FEWEST}, because how much individuals differ is "
            "learned from them. Lower min_cells, or take a cohort with more individuals."
        )


def _levels(adata: AnnData, people: Individuals, name: str) -> Array:
    """The phenotype of the individuals who have one, scaled to 0 to 1, in order of size."""
    obs = frame(adata.obs)
    if name not in obs:
        raise SetupError(
            f"obs has no column {name!r}; it has {some(map(repr, obs), 10)}. Name a column with the phenotype, or "
            "'binary' for two groups of equal size."
        )
    if name not in people.obs:
        who = next(
            person for person, rows in zip(people.names, people.rows, strict=True)
            if pd.factorize(obs[name].iloc[rows])[0].any()
        )  # fmt: skip
        raise SetupError(
            f"obs[{name!r}] varies within the individual {who!r}; expected one value for each individual. Name another "
            "column, or summarize it first."
        )
    column = people.obs[name]
    known_s = column.notna().to_numpy(dtype=bool)
    if pd.api.types.is_numeric_dtype(column.dtype):
        known_s &= np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if known_s.sum() < counts.FEWEST:
        raise SetupError(
            f"{int(known_s.sum())} of {len(column)} individuals have {name!r}; expected at least {counts.FEWEST}. Fill "
            "in what is missing, or name another column."
        )
    x_s = np.sort(phenotype_numbers(column[known_s], name)[0])
    return np.asarray((x_s - x_s[0]) / (x_s[-1] - x_s[0]), np.float64)


# --------------------------------------------------------------------------------------------------- what is simulated


@final
@dataclass(frozen=True)
class Source:
    """The cohort at hand."""

    rates: Rates
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
        return read_projection(self.rates, chosen, self.fraction_n, n_folds=N_FOLDS)

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
class _Plan:
    world: World
    levels: Array | None
    """Values of the phenotype in order of size; None for two groups of equal size."""
    effects: tuple[float, ...]
    share_changed: float
    fdr: float
    seed: int


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
            "expected some whose connectivity could change. Train the model longer, choose variable genes, or take more "
            "cells or individuals."
        )
    learned = counts.components(found.value_sg, found.error_sg, source.cells_s)
    clear_g &= np.isfinite(learned.mean_g)
    scale = {}
    beyond = {m for n, m in sizes if not source.has(n, m)}
    if beyond:
        # So many cells that half of the individuals, and at least four, have two sets of them.
        most = int(np.sort(source.cells_s)[::-1][max(counts.FEWEST, (len(source.cells_s) + 1) // 2) - 1]) // 2
        at = {
            m: _scale(source, m, learned, clear_g, seed=seed) for m in sorted({min(m, most) for m in beyond | {most}})
        }
        scale = {m: at[min(m, most)] for m in beyond}
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


def _repeat(plan: _Plan, size: tuple[int, int], r: int) -> NDArray[np.int64]:
    """Counts of one draw for each effect, (effects, 4), as `counted` has them."""
    n, m = size
    generator = numpy_generator(plan.seed, f"power {n} {m}", index=r)
    with one_thread():
        study = (drawn if plan.world.source.has(n, m) else simulated)(plan.world, n, m, generator=generator)
        x_s = given_at_random(plan.levels, n, generator=generator)
        planted_g = planted(plan.world.clear_g, plan.share_changed, generator=generator)
        return np.array(
            [
                counts.counted(
                    counts.tested(study(x_s, planted_g, effect), study.error_sg, x_s), planted_g, fdr=plan.fdr
                )
                for effect in plan.effects
            ]
        )


def planted(clear_g: NDArray[np.bool_], share: float, *, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Some of the clearly connected genes, at least one, (g,)."""
    clear = np.flatnonzero(clear_g)
    planted_g = np.zeros(len(clear_g), bool)
    planted_g[generator.choice(clear, max(1, round(share * len(clear))), replace=False)] = True
    return planted_g


def _all(plan: _Plan, sizes: list[tuple[int, int]], n_repeats: int, n_jobs: int) -> dict[tuple[int, int], Any]:
    """Counts (repeats, effects, 4) for each size."""
    import joblib

    calls = [(size, r) for size in sizes for r in range(n_repeats)]
    results = joblib.Parallel(n_jobs=n_jobs)(joblib.delayed(_repeat)(plan, size, r) for size, r in calls)
    return {size: np.array(results[i * n_repeats : (i + 1) * n_repeats]) for i, size in enumerate(sizes)}


def _table(plan: _Plan, found: dict[tuple[int, int], Any]) -> pd.DataFrame:
    rows = []
    for (n, m), counted_rec in found.items():
        for e, effect in enumerate(plan.effects):
            called_r, planted_r, below_r, others_r = counted_rec[:, e].T
            generator = numpy_generator(plan.seed, f"power interval {n} {m}", index=e)
            low, high = counts.share_interval(called_r, planted_r, generator=generator)
            type1 = below_r.sum() / others_r.sum() if others_r.sum() else np.nan
            share = called_r.sum() / planted_r.sum()
            rows.append((n, m, effect, share, low, high, type1, not plan.world.source.has(n, m)))
    return pd.DataFrame(rows, columns=list(COLUMNS))
