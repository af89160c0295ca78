"""Individuals as points, and how similar they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sivae import _keys
from sivae._checks import names
from sivae._door import door
from sivae._errors import OptionError, SetupError, some
from sivae._values import frame
from sivae.pl import _heat, _labels, _samples, _strip, _style
from sivae.pl._look import Look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

ROOM: Final = 1.25
NAMED: Final = 30
"""Individuals are named where there are at most so many."""


@door
def individuals(
    samples: AnnData,
    color: str | None = None,
    *,
    axes: tuple[int, int] = (0, 1),
    layer: str | None = None,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a map of individuals, in which those with similar graphs of genes lie side by side.

    Parameters
    ----------
    samples
        Individuals with `obsm["X_sivae_map"]`, as `sivae.cohort.individuals_map` writes it.
    color
        A column of `obs` (categories get a legend, numbers a color bar), or a gene, whose connectivity is drawn. One
        color if not given. Individuals where it is missing are grey.
    axes
        The two axes of the map to draw, counted from 0.
    layer
        Layer with the connectivity of a gene; the default one ("projection") if not given.
    labels
        Individuals to name. If not given all are, where there are at most 30; names without room are left out.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes; both directions have the same scale.

    Raises
    ------
    SetupError, OptionError
        Without a map, or if there is no such axis, column, gene, layer or individual.

    Examples
    --------
    >>> import anndata, numpy, sivae
    >>> samples = anndata.AnnData(numpy.eye(3), obsm={"X_sivae_map": numpy.eye(3, 2)}, uns={"sivae_cohort": {}})
    >>> sivae.pl.individuals(samples).get_xlabel()
    'map of individuals 1'
    """
    _samples.check_samples(samples)
    xy_s2 = _map(samples, axes)
    look = _look(samples, color, layer)
    few = list(samples.obs_names) if samples.n_obs <= NAMED else []
    named = few if labels is None else names("labels", labels)
    at_m = _samples.individuals_at(samples, named, argument="labels") if len(named) else np.zeros(0, np.intp)
    ax = _style.new_axes(ax, (4.8, 3.4) if color is not None else (4.0, 3.4))
    _style.label_axes(ax, *(f"map of individuals {axis + 1}" for axis in axes))
    drawn = look.draw(ax, xy_s2, size=34.0 if samples.n_obs <= 100 else None)
    look.explain(ax, drawn)
    known: NDArray[np.bool_] = np.asarray(np.isfinite(xy_s2).all(axis=1))
    same_scale(ax, xy_s2[known])
    at_m = at_m[known[at_m]]
    _labels.place(ax, xy_s2[at_m], [str(name) for name in samples.obs_names[at_m]], others_n2=xy_s2[known])
    return ax


def same_scale(ax: Axes, xy_s2: NDArray[np.float64]) -> None:
    """Give both directions the same scale, with room around the points for names."""
    low, high = xy_s2.min(axis=0), xy_s2.max(axis=0)
    middle = (low + high) / 2
    for _ in range(2):  # names of ticks change the room, and limits the names
        _labels.outer(ax).draw_without_rendering()
        size = np.array([ax.bbox.width, ax.bbox.height])
        half = (float(((high - low) / size).max()) or 1.0 / size.max()) * ROOM * size / 2
        ax.set(xlim=(middle[0] - half[0], middle[0] + half[0]), ylim=(middle[1] - half[1], middle[1] + half[1]))


def _map(samples: AnnData, axes: tuple[int, int]) -> NDArray[np.float64]:
    if _keys.MAP not in samples.obsm:
        raise SetupError(
            f"Found no obsm[{_keys.MAP!r}], expected a map of individuals; obsm has: "
            f"{some(samples.obsm.keys()) or 'nothing'}. Call sivae.cohort.individuals_map(samples) first."
        )
    xy = np.asarray(samples.obsm[_keys.MAP], dtype=np.float64)
    if not np.isfinite(xy).all(axis=1).any():
        raise SetupError(
            f"Found no individual with a place in obsm[{_keys.MAP!r}], expected some. Call "
            "sivae.cohort.individuals_map(samples) anew."
        )
    if len(axes) != 2 or any(axis not in range(xy.shape[1]) for axis in axes):
        raise OptionError(f"Found axes={axes!r}, expected two of 0 to {xy.shape[1] - 1}, the axes of the map.")
    return xy[:, list(axes)]


def _look(samples: AnnData, color: str | None, layer: str | None) -> Look:
    if color is None:
        return Look()
    obs = frame(samples.obs)
    if color not in obs and color not in samples.var_names:
        raise OptionError(
            f"Found color={color!r}, expected a gene or a column of samples.obs: "
            f"{some(obs.columns, 20) or 'it has none'}. Name one of these."
        )
    if color not in obs:
        name = _samples.layer_name(samples, layer)
        value_s = _samples.layer_of(samples, name, _samples.genes_at(samples, [color]))[:, 0]
        return Look(value_n=value_s, title=f"{color}\n{name.replace('_', ' ')}")
    phenotype = _samples.phenotype_of(samples, color, argument="color")
    if phenotype.levels:
        return Look(column=obs[color], title=color)
    return Look(value_n=phenotype.value_s, title=color)


@door
def similarity(samples: AnnData, by: str | None = None, *, order: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw how similar the graphs of genes of individuals are, as a heat map.

    Parameters
    ----------
    samples
        Individuals with `obsp["sivae_similarity"]`, as `sivae.cohort.similarity` writes it.
    by
        Column of `obs` that colors the strip above.
    order
        "phenotype": individuals by rising `by`, missing ones last; "clusters": those alike side by side (average
        linkage of the largest similarity less that of the pair). By the phenotype where there is one if not given.
    ax
        Axes to draw into; a new figure if not given. The strip goes above them.

    Returns
    -------
    The axes. The diagonal is left grey, so that colors are those of pairs of individuals.

    Raises
    ------
    SetupError, OptionError
        Without similarities, if there is no such column, or an order by a phenotype without one.

    Examples
    --------
    >>> import anndata, numpy, sivae
    >>> samples = anndata.AnnData(numpy.eye(3), uns={"sivae_cohort": {}})
    >>> samples.obsp["sivae_similarity"] = numpy.array([[1, 0.2, 0.9], [0.2, 1, 0.1], [0.9, 0.1, 1]])
    >>> [tick.get_text() for tick in sivae.pl.similarity(samples).get_yticklabels()]
    ['1', '0', '2']
    """
    _samples.check_samples(samples)
    if _keys.SIMILARITY not in samples.obsp:
        raise SetupError(
            f"Found no obsp[{_keys.SIMILARITY!r}], expected the similarity of individuals. Call "
            "sivae.cohort.similarity(samples) first."
        )
    if order not in (None, "clusters", "phenotype") or (order == "phenotype" and by is None):
        raise OptionError(
            f"Found order={order!r} and by={by!r}, expected 'clusters', or 'phenotype' with a column of obs as by."
        )
    if samples.n_obs < 2:
        raise SetupError(f"Found {samples.n_obs} individual, expected two or more. There is nothing to compare.")
    phenotype = None if by is None else _samples.phenotype_of(samples, by)
    value_ss = _samples.dense(samples.obsp[_keys.SIMILARITY])
    found = [str(name) for name in samples.obs_names]
    if phenotype is not None and order != "clusters":
        rows = _samples.order_by(samples, phenotype)
    else:
        rows = _by_similarity(value_ss, found)
    drawn_ss = value_ss[np.ix_(rows, rows)]
    np.fill_diagonal(drawn_ss, np.nan)
    ax = _style.new_axes(ax, (4.2, 3.8))
    around_zero = bool(np.nanmin(drawn_ss, initial=0.0) < 0)
    _heat.heat_map(ax, drawn_ss, rows=[], columns=[], title="similarity", around_zero=around_zero)
    if phenotype is not None:
        _strip.strip(ax, phenotype, rows)
    listed = [found[row] for row in rows.tolist()]
    _strip.names(ax, listed, listed, what="individuals")
    return ax


def _by_similarity(value_ss: NDArray[np.float64], listed: list[str]) -> NDArray[np.intp]:
    order = np.argsort(np.asarray(listed, dtype=str))
    if len(listed) < 3:
        return order
    sorted_ss = value_ss[np.ix_(order, order)]
    pairs = sorted_ss[np.triu_indices(len(listed), 1)]
    pairs = np.where(np.isfinite(pairs), pairs, np.nanmin(pairs) if np.isfinite(pairs).any() else 0.0)
    return _samples.leaves(pairs.max() - pairs, listed)
