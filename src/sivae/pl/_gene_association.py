"""One gene's connectivity against a phenotype, with its mean expression beside it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import stats

from sivae import _keys
from sivae._door import door
from sivae._errors import OptionError
from sivae.pl import _labels, _samples, _style
from sivae.pl._samples import Phenotype

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

GAP: Final = 0.62
"""Inches between the two parts, for the names of the second."""
SPREAD: Final = 0.22
"""Points of a category are drawn within this of its place."""
ENOUGH: Final = 3
"""Individuals below which there is no line and no correlation."""


@door
def gene_association(
    samples: AnnData,
    gene: str,
    phenotype: str,
    *,
    layer: str | None = None,
    confidence: float = 0.95,
    ax: Axes | None = None,
) -> NDArray[Any]:
    """Draw a gene's connectivity in each individual against a phenotype, and beside it its mean expression.

    A change of connectivity that mean expression shows as well may be nothing but that.

    Parameters
    ----------
    samples
        Individuals x genes, as `sivae.cohort.connectivity` makes them.
    gene
        The gene.
    phenotype
        Column of `obs`. Individuals without one are left out.
    layer
        Layer with the centrality; the default one ("projection") if not given. Error bars are one standard error,
        of the layer of that name with "_se", if there is one.
    confidence
        Of the band around the line.
    ax
        Axes to draw into; a new figure if not given. Both parts go into them.

    Returns
    -------
    Array of two axes, connectivity and mean expression. For numbers with the line of least squares (no weights, no
    covariates) and the band of its mean; for categories with boxes (quartiles; whiskers to the last point within 1.5
    of their distance). Titles have the rank correlation (Spearman), unless categories have no order.

    Raises
    ------
    SetupError, GeneMismatchError, OptionError
        If this is not individuals x genes, or there is no such gene, column or layer.

    Examples
    --------
    >>> import anndata, numpy, sivae
    >>> layers = {name: numpy.arange(8.0).reshape(4, 2) for name in ("projection", "mean_expression")}
    >>> samples = anndata.AnnData(layers["projection"], layers=layers, uns={"sivae_cohort": {}})
    >>> samples.var_names, samples.obs["age"] = ["A", "B"], [40, 20, 30, 10]
    >>> sivae.pl.gene_association(samples, "A", "age")[1].get_title(loc="left")
    'rho -0.80'
    """
    _samples.check_samples(samples)
    column, layer = _samples.genes_at(samples, [gene]), _samples.layer_name(samples, layer)
    found = _samples.phenotype_of(samples, phenotype, argument="phenotype")
    if not 0 < confidence < 1:
        raise OptionError(f"confidence is {confidence}; expected more than 0 and less than 1. The usual one is 0.95.")
    _samples.layer_name(samples, _keys.MEAN_EXPRESSION)
    y_s = _samples.layer_of(samples, layer, column)[:, 0]
    expression_s = _samples.layer_of(samples, _keys.MEAN_EXPRESSION, column)[:, 0]
    error = layer + _keys.SE_SUFFIX
    error_s = _samples.layer_of(samples, error, column)[:, 0] if error in samples.layers else None
    ax = _style.new_axes(ax, (5.4, 2.6))
    left, right = _parts(ax)
    names = np.asarray(samples.obs_names, dtype=str)
    _panel(left, found, y_s, names, error_s=error_s, confidence=confidence)
    _panel(right, found, expression_s, names, error_s=None, confidence=confidence)
    words = "connectivity" if layer == _keys.PROJECTION else layer.replace("_", " ")
    for part, name, value_s in ((left, words, y_s), (right, "mean expression", expression_s)):
        _style.label_axes(part, _style.short(phenotype, 20), _style.short(name))
        _style.head(part, _rho(found, value_s))
    _style.head(left, f"{_style.short(gene, 20)}\n{_rho(found, y_s)}")
    if found.levels:
        _labels.outer(ax).draw_without_rendering()
        for part, value_s in ((left, y_s), (right, expression_s)):
            _name_levels(part, found, value_s)
    return np.array([left, right])


def _parts(ax: Axes) -> tuple[Axes, Axes]:
    """Two axes side by side within others, with room for the names of the second."""
    _style.bare(ax)
    ax.patch.set_visible(False)
    _labels.outer(ax).draw_without_rendering()
    gap = min(0.5, GAP / (ax.bbox.width / ax.figure.dpi))
    half = (1.0 - gap) / 2
    left, right = (ax.inset_axes((x, 0.0, half, 1.0)) for x in (0.0, half + gap))
    return _style.new_axes(left), _style.new_axes(right)


def _panel(
    ax: Axes, phenotype: Phenotype, y_s: Array, names: NDArray[np.str_], *, error_s: Array | None, confidence: float
) -> None:
    known = phenotype.known_s & np.isfinite(y_s)
    x, y = phenotype.value_s[known], y_s[known]
    if phenotype.levels:
        _boxes(ax, phenotype, x, y)
        x = x + _beside(x, names[known])
    else:
        _line(ax, x, y, confidence)
    size = 14.0 if len(x) <= 60 else 7.0
    if error_s is not None:
        ax.errorbar(x, y, yerr=np.nan_to_num(error_s[known]), fmt="none", ecolor=_style.FAINT, elinewidth=0.8, zorder=1)
    ax.scatter(x, y, s=size, c=_style.HIGH, linewidths=0, zorder=3)
    ax.margins(0.08)


def _line(ax: Axes, x_s: Array, y_s: Array, confidence: float) -> None:
    """The line of least squares, and the band that its mean lies in."""
    if len(x_s) < ENOUGH or np.ptp(x_s) == 0:
        return
    fit = stats.linregress(x_s, y_s)
    at = np.linspace(x_s.min(), x_s.max(), 100)
    mean = fit.intercept + fit.slope * at
    residual = y_s - fit.intercept - fit.slope * x_s
    spread = np.sqrt((residual**2).sum() / (len(x_s) - 2))
    square = ((x_s - x_s.mean()) ** 2).sum()
    width = stats.t.ppf((1 + confidence) / 2, len(x_s) - 2) * spread
    width = width * np.sqrt(1 / len(x_s) + (at - x_s.mean()) ** 2 / square)
    ax.fill_between(at, mean - width, mean + width, color=_style.LOW, alpha=0.18, linewidth=0, zorder=0)
    ax.plot(at, mean, color=_style.LOW, linewidth=1.2, zorder=2, gid="line")


def _boxes(ax: Axes, phenotype: Phenotype, x_s: Array, y_s: Array) -> None:
    present = [code for code in range(len(phenotype.levels)) if (x_s == code).any()]
    line = {"color": _style.LOW, "linewidth": 1.0}
    ax.boxplot(
        [y_s[x_s == code] for code in present], positions=present, widths=0.6, showfliers=False, manage_ticks=False,
        boxprops=line, whiskerprops=line, capprops=line, medianprops={"color": _style.LOW, "linewidth": 1.8}, zorder=2,
    )  # fmt: skip
    ax.set_xlim(-0.6, len(phenotype.levels) - 0.4)


def _name_levels(ax: Axes, phenotype: Phenotype, y_s: Array) -> None:
    """Write names of categories and their numbers, in lines where these fit, else upright."""
    x_s, levels = phenotype.value_s[np.isfinite(y_s)], phenotype.levels
    n_level = [int((x_s == code).sum()) for code in range(len(levels))]
    fit = int(ax.bbox.width / ax.figure.dpi / len(levels) / (_style.LETTER * 8 / 9) - 0.7)
    lines = [textwrap.wrap(_style.short(name, 20), max(fit, 1), break_long_words=False) for name in levels]
    if max(len(line) for part in lines for line in part) <= fit:
        words = ["\n".join([*part, f"({n})"]) for part, n in zip(lines, n_level, strict=True)]
        ax.set_xticks(range(len(words)), words, parse_math=False)
    else:
        words = [f"{_style.short(name, 12)} ({n})" for name, n in zip(levels, n_level, strict=True)]
        _style.name_ticks(ax, "x", range(len(words)), words)
    ax.tick_params(axis="x", length=0)


def _beside(x_s: Array, names: NDArray[np.str_]) -> Array:
    """A shift of each point of a category, in the order of names, so that few lie on each other."""
    shift_s = np.zeros(len(x_s))
    for code in np.unique(x_s):
        mine = np.flatnonzero(x_s == code)
        rank = np.argsort(np.argsort(names[mine]))
        shift_s[mine] = SPREAD * (2 * ((rank * 0.6180339887) % 1.0) - 1)
    return shift_s


def _rho(phenotype: Phenotype, y_s: Array) -> str:
    known = phenotype.known_s & np.isfinite(y_s)
    x, y = phenotype.value_s[known], y_s[known]
    if not phenotype.ordered:
        return f"{len(x)} individuals"
    if len(x) < ENOUGH or np.ptp(x) == 0 or np.ptp(y) == 0:
        return "rho not known"
    return f"rho {stats.spearmanr(x, y).statistic:.2f}"
