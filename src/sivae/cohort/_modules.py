"""Connectivity within and between modules, and whether it goes with a phenotype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import whole_number
from sivae._door import door
from sivae._errors import OptionError, warn
from sivae.cohort._phenotype import read_design
from sivae.cohort._samples import check_samples, lacking, read_labels, read_positions
from sivae.cohort._tables import association_columns, design_attrs, pair_name, pairs_of
from sivae.graph._between import group_products, group_signs, mean_positions
from sivae.tl._modules import UNASSIGNED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.cohort._samples import Labels


MODULES: Final = "Call sivae.tl.modules on the cells first and take over its column, or pass a series."
"""What to do for want of a column."""


@door
def modules(
    samples: AnnData,
    phenotype: str | None = None,
    modules: Labels = _keys.MODULE,
    *,
    covariates: Iterable[str] = (),
    n_permutations: int = 100_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Tell how connected modules are within and with each other, and whether it goes with a phenotype.

    The connectivity of an individual is the mean over pairs of genes of sign_g sign_h v_g . v_h, the correlation that
    the positions imply. Genes that run against their module do not cancel the others: the sign of a gene is which way
    its mean position over the individuals points along the first principal direction of its module, the direction in
    which most of the module lies being up, and the same for all individuals. So the mean within a module is positive as
    a rule, and between two it is negative where they oppose each other. Signs are learned from all individuals without
    their phenotypes.

    Parameters
    ----------
    samples
        Individuals x genes, as of `sivae.cohort.connectivity`.
    phenotype
        Column of `samples.obs`; connectivities alone are returned if it is not given.
    modules
        Module of each gene: a column of `samples.var`, a mapping or a series. "unassigned" and genes without one are
        left out.
    covariates
        Columns of `samples.obs` that are held fixed.
    n_permutations
        At most.
    seed
        Of the permutations.

    Returns
    -------
    Without a phenotype: frame individuals x pairs of modules ("module1-module2"; a module with itself is within). With
    one: frame with a row for each pair: `module_a`, `module_b`, `n_a`, `n_b` (genes), `mean` (over individuals),
    `effect`, `se`, `low`, `high`, `rho` (partial Spearman), `t`, `p` (by permutation), `q` (Benjamini-Hochberg over the
    rows), most significant first. A module of one gene has no row of its own. `attrs` says who was left out.

    Raises
    ------
    SetupError
        If `samples` holds no positions or no modules, or the phenotype or a covariate cannot be used.
    OptionError
        If no gene is in a module, or an option cannot work.

    Notes
    -----
    Positions of `samples` are shrunk toward the cohort, so that effects are rather too small than too large.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted_cohort(n_individuals=8, n_cells=60)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=5)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> samples = sivae.cohort.connectivity(adata, "donor", model=model)
    >>> halves = {gene: "first" if i < 100 else "second" for i, gene in enumerate(samples.var_names)}
    >>> sivae.cohort.modules(samples, modules=halves).shape
    (8, 3)
    """
    check_samples(samples)
    n_permutations = whole_number("n_permutations", n_permutations, least=1)
    seed = whole_number("seed", seed, least=0)
    names, group_g = _read_modules(samples, modules)
    position_sgk = read_positions(samples)
    sign_g = group_signs(mean_positions(position_sgk), group_g)
    size_m = np.bincount(group_g[group_g >= 0], minlength=len(names))
    pairs = [(a, b) for a, b in pairs_of(names) if a != b or size_m[a] > 1]
    product_smm = group_products(position_sgk, group_g, sign_g, n_groups=len(names))
    value_sp = product_smm[:, [a for a, _ in pairs], [b for _, b in pairs]]
    if phenotype is None:
        columns = [pair_name(names[a], names[b]) for a, b in pairs]
        return pd.DataFrame(value_sp, index=samples.obs_names.copy(), columns=columns)
    design = read_design(samples, phenotype, covariates, lacking_s=lacking(value_sp))
    for note in design.notes:
        warn(note)
    found = association_columns(
        value_sp[design.rows],
        design.x_s,
        design.covariates_sc,
        n_permutations=n_permutations,
        seed=seed,
        purpose="modules of individuals",
    )
    ends = {
        "module_a": [names[a] for a, _ in pairs], "module_b": [names[b] for _, b in pairs],
        "n_a": [size_m[a] for a, _ in pairs], "n_b": [size_m[b] for _, b in pairs],
        "mean": value_sp[design.rows].mean(axis=0),
    }  # fmt: skip
    found = pd.concat([pd.DataFrame(ends), found], axis=1).sort_values("p", kind="stable", ignore_index=True)
    found.attrs.update(design_attrs(design))
    return found


def _read_modules(samples: AnnData, modules: Labels) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the modules, and the place of each gene's among them, -1 for none, (g,).

    Raises
    ------
    OptionError
        If no gene is in a module.
    """
    given = read_labels(samples, modules, "modules", MODULES)
    label = [given.get(gene, UNASSIGNED) for gene in samples.var_names.astype(str)]
    names = sorted(set(label) - {UNASSIGNED}, key=_natural)
    if not names:
        raise OptionError(
            f"Every one of the {samples.n_vars} genes is {UNASSIGNED!r}, expected genes in modules. {MODULES}"
        )
    place = {name: number for number, name in enumerate(names)}
    return names, np.array([place.get(one, -1) for one in label], np.int64)


def _natural(name: str) -> tuple[int, str]:
    """module2 before module10."""
    return len(name), name
