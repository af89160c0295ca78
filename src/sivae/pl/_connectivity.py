"""The connectivity of genes in each individual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sivae._checks import names, one_of
from sivae._door import door
from sivae._errors import OptionError
from sivae.pl import _heat, _samples, _strip, _style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

LIMIT: Final = 3.0
"""Standardized values are drawn up to so many standard deviations."""


@door
def connectivity(
    samples: AnnData,
    genes: Sequence[str],
    *,
    by: str | None = None,
    layer: str | None = None,
    annotate: Sequence[str] | None = None,
    standardize: bool = True,
    order: str = "clusters",
    ax: Axes | None = None,
) -> Axes:
    """Draw the connectivity of genes in each individual as a heat map, individuals in the order of a phenotype.

    Parameters
    ----------
    samples
        Individuals x genes, as `sivae.cohort.connectivity` makes them.
    genes
        The genes, such as those that `sivae.cohort.associate` finds.
    by
        Column of `obs` that orders the individuals (missing ones last) and colors the strip above them; as they are,
        without a strip, if not given.
    layer
        Layer with the centrality; the default one ("projection") if not given.
    annotate
        Genes to name, as many as there is room for. If not given all are, where there is room.
    standardize
        Draw each gene less its mean, in its standard deviations over individuals (up to three); else as it is.
    order
        "clusters": genes alike side by side (average linkage); "given": genes as listed.
    ax
        Axes to draw into; a new figure if not given. The strip goes above them.

    Returns
    -------
    The axes: genes in rows, individuals in columns; NaN is grey.

    Raises
    ------
    SetupError, GeneMismatchError, OptionError
        If this is not individuals x genes, or there is no such gene, column or layer.

    Examples
    --------
    >>> import anndata, numpy, sivae
    >>> samples = anndata.AnnData(numpy.eye(4, 3), layers={"projection": numpy.eye(4, 3)}, uns={"sivae_cohort": {}})
    >>> samples.var_names, samples.obs["age"] = ["A", "B", "C"], [40, 20, 30, 10]
    >>> ax = sivae.pl.connectivity(samples, ["A", "B"], by="age", order="given", standardize=False)
    >>> ax.images[0].get_array().tolist()
    [[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]
    """
    _samples.check_samples(samples)
    one_of("order", order, ("clusters", "given"))
    listed = list(dict.fromkeys(names("genes", genes)))
    if not listed:
        raise OptionError("Found an empty list of genes, expected one or more. Name some of samples.var_names.")
    columns, layer = _samples.genes_at(samples, listed), _samples.layer_name(samples, layer)
    marked = None if annotate is None else names("annotate", annotate)
    phenotype = None if by is None else _samples.phenotype_of(samples, by)
    rows = _samples.order_by(samples, phenotype)
    raw_gs = _samples.layer_of(samples, layer, columns)[rows].T
    value_gs = np.clip(_samples.standard(raw_gs), -LIMIT, LIMIT) if standardize else raw_gs
    if order == "clusters":
        place = _samples.clustered(_samples.standard(raw_gs), listed)
        value_gs, listed = value_gs[place], [listed[row] for row in place.tolist()]
    ax = _style.new_axes(ax, (4.6, 1.4 + min(4.0, 0.16 * max(6, len(listed)))))
    title = layer.replace("_", " ") + ("\n(sd of the gene)" if standardize else "")
    around_zero = standardize or bool((raw_gs < 0).any()) or not np.isfinite(raw_gs).any()
    _heat.heat_map(ax, value_gs, rows=[], columns=[], title=title, around_zero=around_zero)
    if phenotype is not None:
        _strip.strip(ax, phenotype, rows)
    _strip.names(ax, listed, [str(name) for name in samples.obs_names[rows]], what="genes", annotate=marked)
    return ax
