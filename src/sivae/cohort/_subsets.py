"""Equal-size disjoint subsets of each individual's cells, the yardstick of how far apart individuals are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from sivae._checks import a_name, check_names, whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError, some, warn
from sivae._rng import name_fractions
from sivae._values import frame, refuse_view
from sivae.cohort._similarity import read_record, read_similarity

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

SUBSET: Final = "sivae_subset"
"""Column that `subsets` writes where no other is named."""


@door
def subsets(
    adata: AnnData,
    sample_key: str,
    *,
    n_cells: int,
    n_subsets: int | None = None,
    cell_type_key: str | None = None,
    seed: int = 0,
    key_added: str = SUBSET,
) -> None:
    """Divide each individual's cells into disjoint subsets of the same number of cells.

    Two subsets of one individual differ by the sampling of cells alone. `connectivity` with this column as its
    `sample_key`, `similarity` and `yardstick` then say whether individuals differ by more.

    Parameters
    ----------
    adata
        Cells x genes; neither read nor changed but for `obs`.
    sample_key
        Column of `obs` with the individual. Cells without one are in no subset.
    n_cells
        Cells of every subset; the paper takes 500 or 1,000.
    n_subsets
        Most subsets of one individual; as many as its cells are enough for if not given.
    cell_type_key
        Column of `obs` with cell types: every subset has its individual's share of each, to one cell. Cells without a
        type are a type of their own.
    seed
        Which cells: a function of the seed and the cells' names, not of their order or of the other individuals.
    key_added
        Column of `obs` to write.

    Returns
    -------
    Nothing. Writes

    `obs[key_added]`
        Categorical "individual/1", "individual/2", ..., by individual and number; missing for cells left over. Every
        column that is constant within an individual is constant within its subsets.

    Raises
    ------
    OptionError
        If a number is too small or the same name is given twice, or no individual has the cells of two subsets.
    SetupError
        If there is no such column, or it holds no individual.

    Warns
    -----
    SiVAEWarning
        Naming the individuals that have fewer than two subsets: they tell nothing of the spread within an individual.

    Notes
    -----
    Choi, Li and Quon 2023 (doi 10.1186/s13059-023-02850-y) train a model on each disjoint subset of a cell line.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 20)
    >>> adata.obs["donor"] = ["a"] * 65 + ["b"] * 35
    >>> sivae.cohort.subsets(adata, "donor", n_cells=15)
    >>> adata.obs["sivae_subset"].value_counts(sort=False).to_dict()
    {'a/1': 15, 'a/2': 15, 'a/3': 15, 'a/4': 15, 'b/1': 15, 'b/2': 15}
    """
    refuse_view(adata, "cohort.subsets")
    check_names(adata, "obs_names")
    size = whole_number("n_cells", n_cells, least=2, hint="The paper takes 500 or 1000.")
    most = None if n_subsets is None else whole_number("n_subsets", n_subsets, least=2, hint="Leave it out for all.")
    whole_number("seed", seed, least=0, hint="0 is the default.")
    individual_c = _column(adata, "sample_key", sample_key)
    type_c = None if cell_type_key is None else _column(adata, "cell_type_key", cell_type_key)
    if not key_added or key_added in (sample_key, cell_type_key):
        raise OptionError(f"key_added is {key_added!r}; expected the name of a column of its own. Name another.")
    code_c, names = pd.factorize(individual_c, sort=True)
    cells_of = dict(zip(names, np.bincount(code_c[code_c >= 0]).tolist(), strict=True))
    few = _with_too_few(cells_of, size, sample_key)
    number_c = _subset_numbers(adata, code_c, type_c=type_c, size=size, most=most, seed=seed)
    label_c = [f"{name}/{i}" if i else None for name, i in zip(individual_c, number_c, strict=True)]
    levels = [f"{name}/{i + 1}" for name, n in cells_of.items() for i in range(_how_many(n, size, most))]
    adata.obs[key_added] = pd.Categorical(label_c, categories=levels)
    if few:
        warn(
            f"{len(few)} of {len(cells_of)} individuals have fewer than two subsets of {size} cells ({some(few)}); "
            f"expected {2 * size} cells of each. They say nothing of the spread within an individual: lower n_cells "
            "to keep more of them."
        )


@door
def yardstick(samples: AnnData, individual_key: str) -> pd.DataFrame:
    """Compare subsets of one individual with subsets of different individuals.

    Where individuals are nothing but samples of cells from one population, `within` and `between` agree, and half of
    the pairs between individuals lie below the median within.

    Parameters
    ----------
    samples
        Subsets x genes: of `connectivity` on the column of `subsets`, with the `similarity` written.
    individual_key
        Column of `obs` with the individual that a subset is of.

    Returns
    -------
    Frame indexed by individual: `n_subsets`, `within` (mean similarity of two of its subsets; NaN for one subset),
    `between` (mean similarity of one of its subsets and one of another individual's), `below` (share of those pairs
    between that are less similar than the median of its pairs within). In `attrs` the same over all individuals:
    `within` and `between` (means over pairs), `within_median`, `below`; and `method`, as of `similarity`. Pairs share
    subsets, so these are descriptions and no tests.

    Raises
    ------
    SetupError
        If there is no similarity or no such column, if a subset has no individual, if there is one individual alone,
        or none has two subsets.

    Examples
    --------
    >>> import anndata, numpy as np, sivae
    >>> samples = anndata.AnnData(np.zeros((4, 3)))
    >>> samples.obs["donor"] = ["a", "a", "b", "b"]
    >>> samples.obsp["sivae_similarity"] = np.where(np.kron(np.eye(2), np.ones((2, 2))), 0.9, 0.4)
    >>> sivae.cohort.yardstick(samples, "donor")["within"].tolist()
    [0.9, 0.9]
    """
    similarity_ss = read_similarity(samples)
    individual_s = _column(samples, "individual_key", individual_key)
    nameless = samples.obs_names[pd.isna(individual_s)]
    if len(nameless):
        raise SetupError(
            f"obs[{individual_key!r}] has no value for {some(nameless)}; expected the individual of every subset. "
            "Fill it in, or leave these out."
        )
    names, at_s = np.unique(individual_s.astype(str), return_inverse=True)
    first, second = np.triu_indices(len(at_s), 1)
    value_p, same_p = similarity_ss[first, second], at_s[first] == at_s[second]
    if len(names) < 2 or not same_p.any():
        raise SetupError(
            f"obs[{individual_key!r}] holds {len(names)} individuals for {len(at_s)} subsets; expected two individuals "
            "or more, and two subsets of one of them. Make subsets with cohort.subsets(adata, ...) first, and pass "
            "them to cohort.connectivity as its sample_key."
        )
    rows = {
        name: _against(value_p, same_p, (at_s[first] == i) | (at_s[second] == i), int((at_s == i).sum()))
        for i, name in enumerate(names)
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("individual")
    median = float(np.median(value_p[same_p]))
    table.attrs = {
        "method": str(read_record(samples).get("similarity", {}).get("method", "")),
        "within": float(value_p[same_p].mean()),
        "between": float(value_p[~same_p].mean()),
        "within_median": median,
        "below": float((value_p[~same_p] < median).mean()),
    }
    return table


def _against(
    value_p: NDArray[np.float64], same_p: NDArray[np.bool_], own_p: NDArray[np.bool_], n_subsets: int
) -> dict[str, float | int]:
    """One individual's pairs within and between."""
    within, between = value_p[own_p & same_p], value_p[own_p & ~same_p]
    known = len(within) > 0
    return {
        "n_subsets": n_subsets,
        "within": float(within.mean()) if known else np.nan,
        "between": float(between.mean()),
        "below": float((between < np.median(within)).mean()) if known else np.nan,
    }


def _column(adata: AnnData, argument: str, key: object) -> NDArray[np.object_]:
    """A column of `obs` as texts, None where it is missing."""
    obs = frame(adata.obs)
    name = a_name(argument, key, "column of obs")
    if name is None or name not in obs:
        raise SetupError(
            f"{argument} is {key!r}, and obs has no such column; it has: {some(obs, 20) or 'none'}. Name one of these."
        )
    values = obs[name]
    if values.isna().all():
        raise SetupError(f"obs[{name!r}] is missing for every row; expected values. Fill it in, or name another.")
    return np.array([None if pd.isna(value) else str(value) for value in values], dtype=object)


def _with_too_few(cells_of: dict[str, int], size: int, sample_key: str) -> list[str]:
    """Individuals without the cells of two subsets, once some individual has them."""
    few = [name for name, n in cells_of.items() if n < 2 * size]
    if len(few) == len(cells_of):
        largest = max(cells_of, key=lambda name: cells_of[name])
        most = cells_of[largest]
        raise OptionError(
            f"n_cells is {size}, and no individual of obs[{sample_key!r}] has the {2 * size} cells of two subsets: the "
            f"most are the {most} of {largest}. "
            + (f"Take n_cells of at most {most // 2}." if most >= 4 else "Name the column with the individuals.")
        )
    return few


def _how_many(n_cells: int, size: int, most: int | None) -> int:
    there = n_cells // size
    return there if most is None else min(there, most)


def _subset_numbers(
    adata: AnnData,
    code_c: NDArray[np.intp],
    *,
    type_c: NDArray[np.object_] | None,
    size: int,
    most: int | None,
    seed: int,
) -> NDArray[np.intp]:
    """Number of each cell's subset within its individual, from 1; 0 for cells in none, (c,).

    An individual's cells stand in a row, type by type and at random within a type. Of places at equal distances along
    it every m-th goes to the same subset, so that each type keeps its share.
    """
    # Numbers of another kind than those by which cells are held out.
    random_c = name_fractions([f"subset {name}" for name in adata.obs_names], seed)
    type_code_c = np.zeros(len(random_c), np.intp) if type_c is None else pd.factorize(type_c, sort=True)[0]
    number_c = np.zeros(len(random_c), np.intp)
    row = np.lexsort((random_c, type_code_c, code_c))
    for order in np.split(row, np.flatnonzero(np.diff(code_c[row])) + 1):
        m = _how_many(len(order), size, most)
        if m > 0 and code_c[order[0]] >= 0:
            places = (2 * np.arange(m * size) + 1) * len(order) // (2 * m * size)
            number_c[order[places]] = np.arange(m * size) % m + 1
    return number_c
