"""Edges between genes that one group of individuals has and another has not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse

from sivae._checks import whole_number
from sivae._door import door
from sivae._errors import OptionError, some
from sivae._extras import require
from sivae.graph._layout import spring_layout
from sivae.pl import _labels, _samples, _style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Rows = NDArray[np.intp]

KINDS: Final = {"kept": _style.FAINT, "gained": _style.HIGH, "lost": _style.LOW}
"""Color of each kind of edge, in the order in which they are drawn."""
HALF: Final = 0.5
"""A group has an edge if at least this share of its individuals have."""


@dataclass(frozen=True)
class Difference:
    """Edges of two groups: which each has, and their mean absolute strength."""

    kind_e: NDArray[np.str_]
    """"lost", "gained", "kept", or "" for edges that neither has."""
    low_e: Array
    high_e: Array


@door
def network_difference(
    samples: AnnData,
    low: Sequence[str] | None = None,
    high: Sequence[str] | None = None,
    *,
    by: str | None = None,
    n_extremes: int = 4,
    n_edges: int = 150,
    n_labels: int = 12,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw the graph of genes of two groups of individuals: edges that are lost, gained and kept between them.

    Parameters
    ----------
    samples
        Individuals x genes, with their edges, as `sivae.cohort.connectivity` makes them.
    low, high
        Names of the individuals of either group; an edge is lost or gained from `low` to `high`.
    by
        Instead of the two lists a column of `obs`: those with its lowest and with its highest values.
    n_extremes
        How many at either end of `by`; more where several have the value of the last.
    n_edges
        Edges drawn at most, of each kind in proportion to its number: those lost and gained whose mean strength
        differs most, those kept that are strongest.
    n_labels
        How many genes to name: those with the most edges drawn that were lost or gained.
    seed
        Of the layout (`sivae.graph._layout`: edges pull, genes repel).
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes. A group has an edge if at least half of its individuals have it. The width of a line lost or gained is the
    difference of mean absolute strength between the groups, relative to the largest; the legend has the numbers of
    all edges of a kind. The area of a gene grows with its edges lost or gained.

    Raises
    ------
    SetupError, OptionError
        Without edges, if the groups are not two groups of individuals, or neither has an edge.

    Examples
    --------
    >>> import anndata, numpy, pandas, sivae
    >>> edges = pandas.DataFrame({"gene_a": ["A", "A"], "gene_b": ["B", "C"]})
    >>> samples = anndata.AnnData(numpy.ones((4, 3)), uns={"sivae_cohort": {"edges": edges}})
    >>> samples.obsm["sivae_edges"] = numpy.array([[1, 0], [1, 0], [0, 1], [1, 1]])
    >>> samples.obsm["sivae_edge_strength"] = samples.obsm["sivae_edges"] * 0.8
    >>> samples.obs["age"] = [20, 30, 60, 70]
    >>> ax = sivae.pl.network_difference(samples, by="age", n_extremes=2)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['gained (1)', 'kept (1)']
    """
    n_edges = whole_number("n_edges", n_edges, least=1)
    n_labels = whole_number("n_labels", n_labels, least=0)
    edges = _samples.edges_of(samples)
    low_at, high_at, words = _groups(samples, low, high, by=by, n=n_extremes)
    found = difference(edges, low_at, high_at)
    drawn_e = _drawn(edges, found, n_edges)
    genes, ends = np.unique(np.concatenate([edges.gene_a[drawn_e], edges.gene_b[drawn_e]]), return_inverse=True)
    ends_e2 = np.reshape(ends, (2, -1)).T
    pull = sparse.csr_matrix((np.ones(len(ends_e2)), (ends_e2[:, 0], ends_e2[:, 1])), shape=(len(genes), len(genes)))
    xy_g2 = spring_layout(sparse.csr_matrix(pull.maximum(pull.T)), seed=seed)
    ax = _style.new_axes(ax, (5.2, 4.0))
    _style.bare(ax)
    handles = _lines(ax, xy_g2[ends_e2], found, drawn_e)
    changed_g = np.bincount(ends_e2[found.kind_e[drawn_e] != "kept"].ravel(), minlength=len(genes))
    area_g = 8.0 + 70.0 * changed_g / max(int(changed_g.max()), 4)
    ax.scatter(xy_g2[:, 0], xy_g2[:, 1], s=area_g, c=_style.INK, linewidths=0.5, edgecolors="white", zorder=3)
    ax.margins(0.1)
    _style.head(ax, words)
    total = {kind: int((found.kind_e == kind).sum()) for kind in handles}
    _style.legend(ax, list(handles.values()), [f"{kind} ({n})" for kind, n in total.items()], title="edges")
    _name(ax, xy_g2, genes, changed_g, n_labels)
    return ax


def difference(edges: _samples.Edges, low: Rows, high: Rows) -> Difference:
    """Which edges each of two groups of individuals has, and how strong they are there on average."""
    before_e, after_e = (edges.present(rows).mean(axis=0) >= HALF for rows in (low, high))
    kind_e = np.select([before_e & after_e, before_e, after_e], ["kept", "lost", "gained"], "")
    strength = [np.abs(edges.strength(rows)) for rows in (low, high)]
    low_e, high_e = (
        np.where(np.isfinite(part), part, 0.0).sum(axis=0) / np.maximum(np.isfinite(part).sum(axis=0), 1)
        for part in strength
    )
    if not (kind_e != "").any():
        raise OptionError(
            "No edge is in half of the individuals of either group; expected one or more. Choose groups that are more "
            "alike within."
        )
    return Difference(kind_e, low_e, high_e)


def _groups(
    samples: AnnData, low: Sequence[str] | None, high: Sequence[str] | None, *, by: str | None, n: int
) -> tuple[Rows, Rows, str]:
    """Rows of the two groups, and how they are called."""
    if by is not None and low is None and high is None:
        return _extremes(samples, by, whole_number("n_extremes", n, least=1))
    if by is not None or low is None or high is None:
        given = [name for name, value in (("low", low), ("high", high), ("by", by)) if value is not None]
        raise OptionError(
            f"Found {some(given) or 'neither low, high nor by'}, expected two lists of individuals, low and high, or "
            "by alone. Pass one or the other."
        )
    low_at = _samples.individuals_at(samples, low, argument="low")
    high_at = _samples.individuals_at(samples, high, argument="high")
    both = np.intersect1d(low_at, high_at)
    if len(both):
        raise OptionError(
            f"{some(samples.obs_names[both])} in both low and high; expected each in one. Take it out of the other."
        )
    return low_at, high_at, f"{len(low_at)} individuals, then {len(high_at)} others"


def _extremes(samples: AnnData, by: str, n: int) -> tuple[Rows, Rows, str]:
    phenotype = _samples.phenotype_of(samples, by)
    value_s, known = phenotype.value_s, np.sort(phenotype.value_s[phenotype.known_s])
    if not phenotype.ordered:
        raise OptionError(
            f"obs[{by!r}] has {len(phenotype.levels)} categories without an order; expected numbers, two categories, "
            "or ordered ones. Pass lists of individuals as low and high, or order the categories."
        )
    n = min(n, len(known))
    low, high = np.flatnonzero(value_s <= known[n - 1]), np.flatnonzero(value_s >= known[-n])
    if known[n - 1] >= known[-n]:
        raise OptionError(
            f"The {n} lowest and the {n} highest of obs[{by!r}] are not two groups ({len(known)} individuals, some of "
            "the same value); expected two. Ask for fewer with n_extremes, or pass low and high."
        )
    name = _style.short(by, _style.TICK_LIMIT)
    if phenotype.levels:
        first, last = (_level(phenotype, value_s[rows]) for rows in (low, high))
        return low, high, f"{name}: {first} ({len(low)}) to {last} ({len(high)})"
    return low, high, f"{name}: lowest {len(low)} to highest {len(high)}"


def _level(phenotype: _samples.Phenotype, value: Array) -> str:
    codes = np.unique(value).astype(int)
    ends = [_style.short(phenotype.levels[code], 14) for code in dict.fromkeys((codes[0], codes[-1]))]
    return " to ".join(ends) if len(ends) == 1 else f"{ends[0]}-{ends[1]}"


def _drawn(edges: _samples.Edges, found: Difference, n_edges: int) -> Rows:
    """Edges to draw, each kind in proportion to its number, those that matter most first."""
    there = np.flatnonzero(found.kind_e != "")
    share = min(1.0, n_edges / len(there))
    weight_e = np.where(found.kind_e == "kept", found.low_e + found.high_e, np.abs(found.high_e - found.low_e))
    order = np.lexsort((edges.gene_b, edges.gene_a, -weight_e))
    kept = [order[found.kind_e[order] == kind] for kind in KINDS]
    return np.concatenate([rows[: round(share * len(rows))] for rows in kept])


def _lines(ax: Axes, segments_e22: Array, found: Difference, drawn_e: Rows) -> dict[str, Any]:
    """Draw edges; a handle for each kind that there is, lost first."""
    collections, handles = require("matplotlib.collections", extra="plot"), {}
    lines = require("matplotlib.lines", extra="plot")
    size_e = np.abs(found.high_e - found.low_e)[drawn_e]
    changed = found.kind_e[drawn_e] != "kept"
    width_e = np.where(changed, 0.6 + 2.0 * size_e / max(float(size_e[changed].max(initial=0.0)), 1e-12), 0.6)
    for number, (kind, color) in enumerate(KINDS.items()):
        mine = found.kind_e[drawn_e] == kind
        if (found.kind_e == kind).any():
            handles[kind] = lines.Line2D([], [], color=color, linewidth=1.0 if kind == "kept" else 2.0)
        if mine.any():
            part = collections.LineCollection(
                segments_e22[mine], linewidths=width_e[mine], colors=color, alpha=0.85, zorder=1 + number / 4, gid=kind
            )
            ax.add_collection(part)
    return dict(reversed(handles.items()))


def _name(ax: Axes, xy_g2: Array, genes: NDArray[np.str_], changed_g: NDArray[np.intp], n: int) -> None:
    hubs = np.lexsort((genes, -changed_g))
    hubs = hubs[changed_g[hubs] > 0][:n]
    _labels.place(ax, xy_g2[hubs], [str(genes[g]) for g in hubs], others_n2=xy_g2)
