"""Edges between genes in each individual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from sivae import _keys
from sivae._checks import number, one_of, whole_number
from sivae._door import door
from sivae._errors import OptionError, SetupError, some
from sivae._extras import require
from sivae.pl import _chord, _heat, _samples, _strip, _style
from sivae.pl._tables import check_table

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

CALL: Final = "sivae.cohort.edges(samples, phenotype)"
ABSENT: Final = "#EEEEEE"


@door
def edge_association(
    samples: AnnData,
    edges: pd.DataFrame,
    *,
    by: str | None = None,
    values: str = "presence",
    n_edges: int = 25,
    ax: Axes | None = None,
) -> Axes:
    """Draw which individuals have which edges between genes, individuals in the order of a phenotype.

    Parameters
    ----------
    samples
        Individuals x genes, with their edges, as `sivae.cohort.connectivity` makes them.
    edges
        What `sivae.cohort.edges` returns, the most significant first, or any frame with the columns `gene_a` and
        `gene_b`.
    by
        Column of `obs` that orders the individuals (missing ones last) and colors the strip above them; as they are,
        without a strip, if not given.
    values
        "presence": whether an individual's graph has the edge; "strength": the correlation of its two genes that the
        model implies in the individual.
    n_edges
        Edges at most, the first of the table.
    ax
        Axes to draw into; a new figure if not given. The strip goes above them.

    Returns
    -------
    The axes: edges in rows, those that are there in much the same individuals side by side, individuals in columns.

    Raises
    ------
    SetupError, OptionError
        Without edges, if the frame is another or has an edge that no individual has, or there is no such column.

    Examples
    --------
    >>> import anndata, numpy, pandas, sivae
    >>> edges = pandas.DataFrame({"gene_a": ["A", "A"], "gene_b": ["B", "C"]})
    >>> samples = anndata.AnnData(numpy.ones((4, 3)), uns={"sivae_cohort": {"edges": edges}})
    >>> samples.obsm["sivae_edges"] = numpy.array([[1, 0], [1, 0], [0, 1], [1, 1]])
    >>> samples.obsm["sivae_edge_strength"] = samples.obsm["sivae_edges"] * 0.8
    >>> sivae.pl.edge_association(samples, edges).images[0].get_array().tolist()
    [[1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """
    one_of("values", values, ("presence", "strength"))
    n_edges = whole_number("n_edges", n_edges, least=1)
    found = _samples.edges_of(samples)
    check_table(edges, ["gene_a", "gene_b"], call=CALL)
    at = edges_at(found, edges.head(n_edges))
    phenotype = None if by is None else _samples.phenotype_of(samples, by)
    rows = _samples.order_by(samples, phenotype)
    there = values == "presence"
    value_es = found.present(rows, at).T.astype(np.float64) if there else found.strength(rows, at).T
    names = [f"{a} - {b}" for a, b in zip(found.gene_a[at], found.gene_b[at], strict=True)]
    place = _samples.clustered(value_es, names)
    value_es, names = value_es[place], [names[row] for row in place.tolist()]
    ax = _style.new_axes(ax, (5.2, 1.4 + min(4.5, 0.16 * max(6, len(names)))))
    if there:
        _presence(ax, value_es)
    else:
        _heat.heat_map(ax, value_es, rows=[], columns=[], title="implied correlation")
    if phenotype is not None:
        _strip.strip(ax, phenotype, rows)
    note = "blue: edge there" if there else ""
    _strip.names(ax, names, [str(name) for name in samples.obs_names[rows]], what="edges", note=note)
    return ax


@door
def edge_classes(
    samples: AnnData,
    edges: pd.DataFrame,
    groupby: str = _keys.MODULE,
    *,
    within: bool = True,
    direction: str = "both",
    fdr: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how many of the edges that go with a phenotype run within and across classes of genes, in a circle.

    Parameters
    ----------
    samples
        Individuals x genes, with their edges, as `sivae.cohort.connectivity` makes them.
    edges
        What `sivae.cohort.edges` returns.
    groupby
        Column of `var` with the class of each gene; genes without one, "unassigned" or "none", are left out.
    within
        Also draw edges within a class.
    direction
        "both", or edges alone whose correlation is weaker where the phenotype is higher ("lost"), or stronger
        ("gained"): the effect against the sign of the mean correlation over individuals.
    fdr
        Edges with a q at most this are drawn; those that the table calls `associated` if not given.
    ax
        Axes to draw into; a new figure if not given.

    Returns
    -------
    The axes, as those of `sivae.pl.chord`.

    Raises
    ------
    SetupError, OptionError
        Without edges, if the frame is another, there is no such column, or nothing to draw.

    Examples
    --------
    >>> import anndata, numpy, pandas, sivae
    >>> edges = pandas.DataFrame({"gene_a": ["A", "A"], "gene_b": ["B", "C"], "associated": [True, False]})
    >>> samples = anndata.AnnData(numpy.ones((4, 3)), uns={"sivae_cohort": {"edges": edges}})
    >>> samples.var_names, samples.var["complex"] = ["A", "B", "C"], ["CO", "ND", "ND"]
    >>> samples.obsm["sivae_edges"] = samples.obsm["sivae_edge_strength"] = numpy.ones((4, 2))
    >>> sorted(text.get_text() for text in sivae.pl.edge_classes(samples, edges, "complex").texts)
    ['CO (1)', 'ND (1)']
    """
    one_of("direction", direction, ("both", "lost", "gained"))
    rate = None if fdr is None else number("fdr", fdr, allowed=lambda x: 0 < x <= 1, expected="above 0, at most 1")
    found = _samples.edges_of(samples)
    known = ["associated" if rate is None else "q", *(["effect"] if direction != "both" else [])]
    check_table(edges, ["gene_a", "gene_b", *known], call=CALL)
    at = _chosen(found, edges, rate=rate, direction=direction)
    rows, columns = (_samples.genes_at(samples, ends[at].tolist()) for ends in (found.gene_a, found.gene_b))
    graph = sparse.csr_matrix((np.ones(len(at)), (rows, columns)), shape=(samples.n_vars, samples.n_vars))
    return _chord.circle(ax, *_chord.counts(graph, samples, groupby, within=within))


def _chosen(found: _samples.Edges, edges: pd.DataFrame, *, rate: float | None, direction: str) -> NDArray[np.intp]:
    """Columns of the edges that go with the phenotype, in the direction asked for."""
    sure = edges["associated"].to_numpy(dtype=bool) if rate is None else edges["q"].to_numpy(dtype=np.float64) <= rate
    at = edges_at(found, edges[sure]) if sure.any() else np.zeros(0, np.intp)
    if direction != "both" and len(at):
        mean_e = np.nan_to_num(found.strength(slice(None), at)).mean(axis=0)
        change_e = edges.loc[sure, "effect"].to_numpy(dtype=np.float64) * np.sign(mean_e)
        at = at[change_e > 0 if direction == "gained" else change_e < 0]
    if not len(at):
        what = "associated" if rate is None else f"there with a q of at most {rate:g}"
        also = "" if direction == "both" else f" and {direction}"
        raise OptionError(f"No edge is {what}{also}; expected one or more. Pass a higher fdr, or another direction.")
    return at


def edges_at(found: _samples.Edges, table: pd.DataFrame) -> NDArray[np.intp]:
    """Columns of the edges of a table, whichever of its two genes comes first.

    Raises
    ------
    SetupError
        Naming edges that no individual has, or if the table is empty.
    """
    place = {
        frozenset(pair): at for at, pair in enumerate(zip(found.gene_a.tolist(), found.gene_b.tolist(), strict=True))
    }
    pairs = [(str(a), str(b)) for a, b in zip(table["gene_a"], table["gene_b"], strict=True)]
    lost = [f"{a} - {b}" for a, b in pairs if frozenset((a, b)) not in place]
    if lost or not pairs:
        what = f"edges that no individual has: {some(lost)}" if lost else "a table without edges"
        raise SetupError(f"Found {what}; expected edges of samples. Pass what {CALL} returns for the same samples.")
    return np.array([place[frozenset(pair)] for pair in pairs], dtype=np.intp)


def _presence(ax: Axes, value_es: NDArray[np.float64]) -> None:
    """Two colors."""
    colors = require("matplotlib.colors", extra="plot").ListedColormap([ABSENT, _style.HIGH])
    ax.imshow(value_es, aspect="auto", interpolation="nearest", vmin=0, vmax=1, cmap=colors)
    ax.spines[:].set_visible(False)
