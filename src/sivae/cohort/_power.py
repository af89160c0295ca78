"""How many individuals, and how many cells of each, are needed to find genes whose connectivity changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import pandas as pd

from sivae._checks import number, whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError, some
from sivae._rng import name_fractions, numpy_generator
from sivae._values import frame
from sivae.cohort._connectivity import N_LATENT, check_request, train
from sivae.cohort._engine import one_thread
from sivae.cohort._individuals import individuals_of
from sivae.cohort._phenotype import phenotype_numbers
from sivae.cohort._studies import Source, World, drawn, given_at_random, learn, planted, simulated
from sivae.model._rates import encoder_of, rates
from sivae.stats import _power as counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.cohort._individuals import Individuals
    from sivae.model._sivae import SiVAE

    Array = NDArray[np.float64]

BINARY: Final = "binary"
COLUMNS: Final = ("individuals", "cells", "effect", "power", "power_low", "power_high", "type1", "extrapolated")


@door
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
    phenotype x from 0 to 1 at random, and some genes lose a share of their mean position v, which takes the same share
    of their projection::

        v_sg <- v_sg - effect x_s mean_g

    The genes are a random `share_changed` of those that are clearly connected: whose mean projection over the cohort is
    more than 5 of its standard errors. Then all genes are tested as `associate` does, with precision weights, by t in
    place of permutations (for speed; both agree), and called at `fdr` by Benjamini and Hochberg. Beyond the cohort
    (`extrapolated`) projections are drawn from a normal law with the gene's mean, its variance between individuals, and
    its noise, which goes as 1 / cells, learned from the whole cohort; how well standard errors hold at so many cells
    (or as many as there are) is learned from disjoint sets of cells. The two ways agree to about 0.1 to 0.2 where power
    is neither small nor large.

    What it does not know: individuals whose genes lose connectivity have less noise in it as well, so that power to
    find a loss is more than told (0.6 where 0.2 is told, in planted cohorts with rewired regulators), and perhaps less
    for a gain; the axes are those of the model given (or trained on all cells), in small studies too;
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
    read = rates(model, adata)
    world = learn(Source(read, encoder_of(model, read.genes), people, fraction_n), sizes, seed=seed)
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
    listed = list(values)
    if any(isinstance(value, Iterable) for value in listed):
        raise OptionError(
            f"{name} is {values!r}; expected a list of numbers, one beside the other. Write {name}=[1, 2]."
        )
    listed = list(dict.fromkeys(listed))
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


# ------------------------------------------------------------------------------------------------------------ the work


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
