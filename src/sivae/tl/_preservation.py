"""Whether modules of one data set hold together in another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from sivae._door import door
from sivae._errors import GeneMismatchError, OptionError, SetupError, some
from sivae._rng import numpy_generator
from sivae._space import read_space
from sivae.graph._preservation import preservation
from sivae.graph._scores import orientations
from sivae.stats._fdr import adjust
from sivae.tl._modules import read_modules
from sivae.tl._similarity import by_name, correlation_of

if TYPE_CHECKING:
    from anndata import AnnData

LEAST_GENES = 3
"""Of a module, in both data sets."""


@door
def module_preservation(
    adata: AnnData,
    other: AnnData,
    *,
    background: Literal["assigned", "all"] = "assigned",
    use_rep: str | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Ask whether modules hold together in the gene space of a second data set.

    Density: mean over a module's pairs of genes of the correlation implied in `other`, with the signs that the genes
    have in `adata`. Connectivity: correlation over the module's genes of how strongly each is tied to its module, in
    `adata` and in `other`. Both against random modules of the same sizes, by permuting the genes' labels in `other`;
    after Langfelder, Luo, Oldham, Horvath 2011 (doi 10.1371/journal.pcbi.1001057). The two data sets need not have axes
    in common: correlations alone are compared.

    Parameters
    ----------
    adata
        Annotated, with modules.
    other
        Annotated by a model of its own; genes are matched by name.
    background
        Genes whose labels are permuted: those that are in any module ("assigned"), so that a module has to hold
        together better than genes of all modules would; or "all" that both data sets have, so that it is also compared
        with genes that follow nothing.
    use_rep
        Array of `varm` in both; siVAE's loadings if None.
    n_permutations
        Of the labels.
    seed
        Of the permutations.

    Returns
    -------
    Frame, one row per module: module, n_genes, n_found (also in `other`), density, density_z, density_p, connectivity,
    connectivity_z, connectivity_p, z (mean of the two), p (of that mean, one-sided), q (Benjamini-Hochberg over
    modules). NaN for modules of which fewer than three genes are found. By a rule of thumb of that article, z above 10
    is strong evidence, 2 to 10 some, below 2 none; z grows with the size of the module.

    Raises
    ------
    SetupError
        Without modules in `adata`, or without a gene space in either.
    GeneMismatchError
        If no gene of a module is in `other`, or all genes of the background are in one module.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=2, genes_per_factor=20)
    >>> adata.var["sivae_module"] = adata.var["module"].astype(str).replace("none", "unassigned")
    >>> table = sivae.tl.module_preservation(adata, adata.copy(), use_rep="planted_v", n_permutations=99)
    >>> table[["module", "n_found", "density", "p"]].round(2)
         module  n_found  density     p
    0  module_1       20     0.62  0.01
    1  module_2       20     0.21  0.01
    """
    if background not in ("assigned", "all") or n_permutations < 1:
        raise OptionError(
            f"Found background={background!r} and n_permutations={n_permutations}, expected "
            '"assigned" or "all", and at least 1.'
        )
    first = by_name(read_space(adata, use_rep))
    names, module_g = read_modules(adata, first)
    if not names:
        raise SetupError("Found no module in the first AnnData: every gene is unassigned, so nothing can be preserved.")
    total = np.bincount(module_g[module_g >= 0], minlength=len(names))
    second = read_space(other, use_rep)
    place = {name: row for row, name in enumerate(second.names)}
    shared = np.array([row for row, name in enumerate(first.names) if name in place], np.intp)
    if background == "assigned":
        shared = shared[module_g[shared] >= 0]
    label_g = module_g[shared]
    found = np.bincount(label_g[label_g >= 0], minlength=len(names))
    _check(first.names, second.names, label_g)
    kept = np.flatnonzero(found >= LEAST_GENES)
    if len(kept) == 0:
        raise GeneMismatchError(
            f"No module has {LEAST_GENES} genes in the other data set (at most {found.max()}), so that nothing can be "
            "said of it. Embed more of the genes there."
        )
    number = np.full(len(names) + 1, -1)
    number[kept] = np.arange(len(kept))
    first_gm, second_gm = (
        correlation_of(first)[shared],
        correlation_of(second)[[place[first.names[row]] for row in shared]],
    )
    result = preservation(
        first_gm, second_gm, number[label_g], orientations(first_gm, label_g),
        n_permutations=n_permutations, rng=numpy_generator(seed, "preservation"),
    )  # fmt: skip
    columns = {
        "density": result.density_m,
        "density_z": result.density_z_m,
        "density_p": result.density_p_m,
        "connectivity": result.connectivity_m,
        "connectivity_z": result.connectivity_z_m,
        "connectivity_p": result.connectivity_p_m,
        "z": result.z_m,
        "p": result.p_m,
    }
    frame = pd.DataFrame({"module": names, "n_genes": total, "n_found": found})
    for column, value_m in columns.items():
        frame[column] = np.full(len(names), np.nan)
        frame.loc[kept, column] = value_m
    frame["q"] = adjust(frame["p"].to_numpy(dtype=np.float64))
    return frame


def _check(first: tuple[str, ...], second: tuple[str, ...], label_g: np.ndarray) -> None:
    if not (label_g >= 0).any():
        raise GeneMismatchError(
            f"No gene of a module is in the other data set. Genes here are named like {some(first, 3)}, there like "
            f"{some(second, 3)}. Use the same kind of names in both."
        )
    if len(np.unique(label_g)) < 2:
        raise GeneMismatchError(
            "All genes that are compared are in one module, so that there is nothing to permute. "
            'Pass background="all", or find more than one module.'
        )
