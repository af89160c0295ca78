"""Communities of a graph of genes: Leiden, a resolution by stability, a consensus of many partitions. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, final

import numpy as np
from scipy import sparse

from sivae._extras import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.int64]

RESOLUTIONS: Final = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
"""Resolutions that are tried. Above 3 the nearest 20 genes no longer hold a module of 40 together."""
STABLE: Final = 0.75
"""Modules are as fine as they can be at this stability."""
LEAST_STABLE: Final = 0.5
"""If every resolution is less stable, there are no modules."""
CYCLES: Final = 3
"""Cycles of Leiden, each starting from the last one's partition."""
SWEEPS: Final = 20
"""Rounds over the genes in search of the median partition, at most."""

Pair: TypeAlias = "tuple[sparse.csr_matrix, sparse.csr_matrix]"


@final
@dataclass(frozen=True)
class Scan:
    """What was found at each resolution that was tried, (resolutions,)."""

    resolution_r: Array
    stability_r: Array
    """How often a gene falls with the others of its module in the graphs of the other half, mean over all genes; 0 for
    a gene in no module."""
    n_modules_r: Array
    """Modules, mean over both halves."""

    def best(self) -> float:
        """The finest resolution with stability of at least 0.75, else the most stable; NaN if that is below 0.5.

        Trivial partitions need no rule of their own: one community for each gene has stability 0, for no gene is in a
        module; one community for all has stability 1 and is taken only where nothing finer is stable.
        """
        stable = np.flatnonzero(self.stability_r >= STABLE)
        if len(stable):
            return float(self.resolution_r[stable].max())
        top = int(self.stability_r.argmax())
        return float(self.resolution_r[top]) if self.stability_r[top] >= LEAST_STABLE else float("nan")


def leiden(graph: sparse.csr_matrix, resolution: float, *, seed: int, trials: int = 1) -> Labels:
    """Communities by modularity, 0, 1, ... by their first gene, (genes,); a gene without edges is alone.

    Leiden (Traag, Waltman, van Eck 2019, doi 10.1038/s41598-019-41695-z) on

        Q = sum_gh [A_gh - resolution d_g d_h / (2 m)] [same community],

    A symmetric weights, d_g its row sums, 2 m their sum.

    Raises
    ------
    MissingExtraError
        If `graspologic-native` is not installed.
    """
    tied = np.flatnonzero(np.diff(graph.indptr))
    label_g = np.full(graph.shape[0], -1, np.int64)
    if len(tied):
        part = graph[tied][:, tied]
        _, found = require("graspologic_native", extra="modules").leiden_csr(
            part.indptr.astype(np.int64), part.indices.astype(np.int32), part.data.astype(np.float64), len(tied),
            resolution=float(resolution), iterations=CYCLES, seed=int(seed), trials=int(trials),
        )  # fmt: skip
        label_g[tied] = np.array([found[node] for node in range(len(tied))], np.int64)
    alone = label_g < 0
    label_g[alone] = label_g.max(initial=-1) + 1 + np.arange(alone.sum())
    return in_order(label_g)


def in_order(label_g: Labels) -> Labels:
    """The same communities, numbered by their first gene."""
    _, first, inverse = np.unique(label_g, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def adjusted_rand(a_g: Labels, b_g: Labels) -> float:
    """Agreement of two partitions corrected for chance, 1 if equal (Hubert and Arabie 1985, doi 10.1007/BF01908075)."""

    def pairs(count: NDArray[np.int64]) -> float:
        return float((count.astype(np.float64) * (count - 1)).sum() / 2)

    _, joint = np.unique(np.stack([a_g, b_g]), axis=1, return_counts=True)
    both, a, b = pairs(joint), pairs(np.bincount(a_g)), pairs(np.bincount(b_g))
    every = len(a_g) * (len(a_g) - 1) / 2
    expected = a * b / every if every else 0.0
    most = (a + b) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def scan_resolutions(
    pairs: Sequence[Pair], *, resolutions: Sequence[float] = RESOLUTIONS, min_size: int = 5, seed: int = 0
) -> Scan:
    """Find modules in one half of the graphs at every resolution, see how often they come again in the other half.

    Parameters
    ----------
    pairs
        Symmetric weights over the same genes; the two of a pair are independent looks at the same truth.
    resolutions
        Of Leiden, rising.
    min_size
        Genes of the smallest module.
    seed
        Of Leiden; every graph has its own.
    """
    rows = []
    for resolution in resolutions:
        label_bg = partitions(pairs, resolution, seed=seed)
        halves = [(label_bg[::2], label_bg[1::2]), (label_bg[1::2], label_bg[::2])]
        modules = [median_partition(found, min_size=min_size) for found, _ in halves]
        again = [membership_stability(m, other) for m, (_, other) in zip(modules, halves, strict=True)]
        rows.append((resolution, np.nan_to_num(again).mean(), np.mean([m.max() + 1 for m in modules])))
    return Scan(*np.array(rows, np.float64).T)


def partitions(pairs: Sequence[Pair], resolution: float, *, seed: int) -> Labels:
    """Leiden on every graph, each with a seed of its own, (graphs, genes)."""
    graphs = [graph for pair in pairs for graph in pair]
    return np.stack([leiden(graph, resolution, seed=seed * 100_003 + b) for b, graph in enumerate(graphs)])


def median_partition(label_bg: Labels, *, min_size: int = 1) -> Labels:
    """The partition nearest to many, numbered by falling size, -1 for a gene in no community, (genes,).

    It maximises the sum, over pairs of genes in one community, of the share of partitions in which they fall together
    minus 1/2, which minimises the mean number of pairs on which it and the partitions differ (Mirkin's distance; a
    consensus as in Lancichinetti and Fortunato 2012, doi 10.1038/srep00336). Communities below `min_size` hold
    nobody together. The search starts from the partition that agrees most with the others and moves one gene at a
    time, also out to no community, while that helps.
    """
    agreement_b = [sum(adjusted_rand(a, b) for b in label_bg) for a in label_bg]
    large_bg = np.stack([by_size(label_g, min_size=min_size) for label_g in label_bg])
    tally = _Tally(large_bg, large_bg[int(np.argmax(agreement_b))])
    for _ in range(SWEEPS):
        if not sum(tally.move(gene) for gene in range(label_bg.shape[1])):
            break
    return by_size(tally.module_g, min_size=min_size)


class _Tally:
    """Genes of each community of the median that fall in each community of each partition; the last of either: none."""

    def __init__(self, label_bg: Labels, module_g: Labels) -> None:
        self.label_bg, self.module_g = label_bg, module_g.copy()
        self.rows = np.arange(len(label_bg))
        n_modules = int(module_g.max()) + 2
        self.count_bml = np.zeros((len(label_bg), n_modules, int(label_bg.max()) + 2), np.int32)
        np.add.at(self.count_bml, (self.rows[:, None], module_g[None, :], label_bg), 1)
        self.size_m = np.bincount(module_g % n_modules, minlength=n_modules)

    def gain_m(self, gene: int) -> Array:
        """What the objective gains from a gene's being in each community; nothing where it is in none."""
        label_b = self.label_bg[:, gene]
        tied_b = label_b >= 0
        share_m = self.count_bml[self.rows[tied_b], :, label_b[tied_b]].sum(axis=0) / len(label_b)
        gain_m: Array = share_m - self.size_m / 2
        gain_m[self.module_g[gene]] -= tied_b.mean() - 0.5
        gain_m[-1] = 0.0
        return gain_m

    def move(self, gene: int) -> bool:
        """Put a gene where it gains most; False if it stays."""
        gain_m = self.gain_m(gene)
        old, new = int(self.module_g[gene]), int(gain_m.argmax())
        if gain_m[new] <= gain_m[old] + 1e-9:
            return False
        for module, change in ((old, -1), (new, 1)):
            self.count_bml[self.rows, module, self.label_bg[:, gene]] += change
            self.size_m[module] += change
        self.module_g[gene] = new if new < len(gain_m) - 1 else -1
        return True


def membership_stability(module_g: Labels, label_bg: Labels) -> Array:
    """How often a gene falls together with the other genes of its module, mean over partitions, 0 to 1, (genes,).

    NaN for a gene with no module (-1) and for one that is alone in it. A gene in no community of a partition (-1) falls
    with nobody.
    """
    result_g = np.full(len(module_g), np.nan)
    members = np.flatnonzero(module_g >= 0)
    others = np.bincount(module_g[members], minlength=1)[module_g[members]] - 1
    total = np.zeros(len(members))
    for label_g in label_bg:
        pair = module_g[members] * (label_g.max() + 2) + label_g[members] + 1
        _, inverse, count = np.unique(pair, return_inverse=True, return_counts=True)
        total += np.where(label_g[members] >= 0, count[inverse] - 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        result_g[members] = np.where(others > 0, total / (others * len(label_bg)), np.nan)
    return result_g


def by_size(label_g: Labels, *, min_size: int) -> Labels:
    """Communities numbered by falling size (ties by their first gene), -1 for genes of those below `min_size`."""
    ordered = in_order(label_g - min(0, int(label_g.min(initial=0))))
    ordered[label_g < 0] = -1
    size = np.bincount(ordered[ordered >= 0], minlength=1)
    place = np.full(len(size) + 1, -1, np.int64)
    kept = [c for c in np.argsort(-size, kind="stable") if size[c] >= max(min_size, 1)]
    place[kept] = np.arange(len(kept))
    return place[ordered]


@final
@dataclass(frozen=True)
class Communities:
    """Communities of genes, numbered by falling size."""

    module_g: Labels
    """-1 for a gene in none."""
    stability_g: Array
    """How often a gene falls with the others of its community, 0 to 1; NaN for a gene in none."""
    resolution: float
    """NaN where no resolution is stable; there are no communities then."""
    scan: Scan | None
    """What was tried; None if the resolution was given."""


def find_communities(
    pairs: Sequence[Pair],
    *,
    resolution: float | None = None,
    min_size: int = 5,
    min_stability: float = 0.5,
    seed: int = 0,
) -> Communities:
    """Communities that resampled graphs agree on.

    Leiden on every graph at the resolution given, or at `Scan.best`; the median of all partitions; genes that fall with
    their community less often than `min_stability` leave it, and communities below `min_size` end.
    """
    scan = scan_resolutions(pairs, min_size=min_size, seed=seed) if resolution is None else None
    chosen = scan.best() if scan is not None else float(resolution or 0.0)
    if not np.isfinite(chosen):
        none_g = np.full(pairs[0][0].shape[0], -1, np.int64)
        return Communities(none_g, np.full(len(none_g), np.nan), chosen, scan)
    label_bg = partitions(pairs, chosen, seed=seed)
    module_g = median_partition(label_bg, min_size=min_size)
    stable_g = membership_stability(module_g, label_bg) >= min_stability
    module_g = by_size(np.where(stable_g, module_g, -1), min_size=min_size)
    return Communities(module_g, membership_stability(module_g, label_bg), chosen, scan)
