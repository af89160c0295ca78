"""Network inference as it is compared with in the publication (C.9, doi 10.1186/s13059-023-02850-y). Arrays only.

Mutual information as R's minet offers it (Meyer, Lafitte, Bontempi 2008, doi 10.1186/1471-2105-9-461), and on it CLR,
MRNET and ARACNE; GRNBoost2 as arboreto defines it, fitted directly: arboreto asks for a dask that is no longer made.
Matrices are (g, g), weights are 0 or above, the diagonal is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

LARGEST = 0.999999
"""Squared correlations above it are set to it: the information of two equal genes is finite, as in minet."""


def information(x_ng: np.ndarray, estimator: str = "spearman", *, n_bins: int | None = None) -> np.ndarray:
    """Mutual information of every two genes in nats, (g, g).

    `"pearson"` and `"spearman"` (minet's default): -1/2 log(1 - rho^2), exact for Normal values. `"empirical"` and
    `"miller-madow"`: of `n_bins` bins of equal frequency, sqrt(n) of them if None; the second adds
    (cells of the table that are not empty - 1) / 2n to each entropy (Miller 1955).
    """
    if estimator in ("pearson", "spearman"):
        square_gg = correlation(x_ng, ranks=estimator == "spearman") ** 2
        found_gg = -0.5 * np.log1p(-np.minimum(square_gg, LARGEST))
    elif estimator in ("empirical", "miller-madow"):
        found_gg = _binned(x_ng, n_bins or int(np.sqrt(len(x_ng))), miller_madow=estimator == "miller-madow")
    else:
        raise ValueError(f"found {estimator!r}; expected pearson, spearman, empirical or miller-madow")
    np.fill_diagonal(found_gg, 0.0)
    return np.maximum(found_gg, 0.0)


def correlation(x_ng: np.ndarray, *, ranks: bool = False) -> np.ndarray:
    """Absolute correlation of values or of ranks, 0 for a gene that does not vary and on the diagonal, (g, g)."""
    values = rankdata(x_ng, axis=0) if ranks else np.asarray(x_ng, np.float64)
    centred = values - values.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(length > 1e-12 * np.sqrt(len(values)), length, np.inf)
    result = np.minimum(np.abs(unit.T @ unit), 1.0)
    np.fill_diagonal(result, 0.0)
    return np.asarray(result)


def discretised(x_ng: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin of each value, (n, g): cuts at the quantiles of the gene, equal values in one bin (sparse genes have few)."""
    at = np.ceil(np.arange(1, n_bins) * len(x_ng) / n_bins).astype(int) - 1
    cuts_bg = np.sort(x_ng, axis=0)[at]
    bins = [np.searchsorted(np.unique(cuts_b), x_n) for x_n, cuts_b in zip(x_ng.T, cuts_bg.T, strict=True)]
    return np.stack([np.unique(bin_n, return_inverse=True)[1] for bin_n in bins], axis=1)


def _binned(x_ng: np.ndarray, n_bins: int, *, miller_madow: bool) -> np.ndarray:
    bin_ng = discretised(x_ng, n_bins)
    n, g = bin_ng.shape
    start_g = np.r_[0, np.cumsum(bin_ng.max(axis=0) + 1)]
    shown_nb = np.zeros((n, start_g[-1]), np.float32)
    np.put_along_axis(shown_nb, bin_ng + start_g[:-1], 1.0, axis=1)
    single_g = _entropies(shown_nb.sum(axis=0)[None], start_g[:-1], n, miller_madow=miller_madow)
    found_gg = np.zeros((g, g))
    for gene in range(g):
        joint_ab = shown_nb[:, start_g[gene] : start_g[gene + 1]].T @ shown_nb
        found_gg[gene] = single_g[gene] + single_g - _entropies(joint_ab, start_g[:-1], n, miller_madow=miller_madow)
    return found_gg


def _entropies(count_ab: np.ndarray, start_g: np.ndarray, n: int, *, miller_madow: bool) -> np.ndarray:
    """Entropy of each gene's block of columns, over all rows, (g,)."""
    share_ab = count_ab.astype(np.float64) / n
    term_b = -(share_ab * np.log(np.where(share_ab > 0, share_ab, 1.0))).sum(axis=0)
    entropy_g = np.add.reduceat(term_b, start_g)
    if miller_madow:
        entropy_g = entropy_g + (np.add.reduceat((count_ab > 0).sum(axis=0), start_g) - 1) / (2 * n)
    return entropy_g


def clr(information_gg: np.ndarray) -> np.ndarray:
    """Context likelihood of relatedness: sqrt(z_g^2 + z_h^2), z_g = max(0, I_gh - mean_g) / sd_g over the others of g.

    Faith and others 2007, doi 10.1371/journal.pbio.0050008.
    """
    g = len(information_gg)
    off = ~np.eye(g, dtype=bool)
    others = information_gg[off].reshape(g, g - 1)
    sd_g = others.std(axis=1, ddof=1)
    excess_gg = np.maximum(information_gg - others.mean(axis=1)[:, None], 0.0)
    z_gg = excess_gg / np.where(sd_g > 1e-300, sd_g, np.inf)[:, None]
    return np.where(off, np.sqrt(z_gg**2 + z_gg.T**2), 0.0)


def mrnet(information_gg: np.ndarray) -> np.ndarray:
    """Most relevant, least redundant genes: those chosen for a target, one after the other, while the score is above 0.

    score(h | target g, chosen S) = I_gh - mean over s in S of I_sh; an edge has the larger of its two scores, 0 where
    neither end chose the other. Meyer and others 2007, doi 10.1155/2007/79879. All targets take their steps together.
    """
    g = len(information_gg)
    relevance_gg, redundancy_gg = np.array(information_gg, float), np.zeros((g, g))
    np.fill_diagonal(relevance_gg, -np.inf)
    result_gg = np.zeros((g, g))
    active = np.arange(g)
    for step in range(g - 1):
        score_ag = relevance_gg[active] - redundancy_gg[active] / max(step, 1)
        best_a = score_ag.argmax(axis=1)
        value_a = score_ag[np.arange(len(active)), best_a]
        active, best_a, value_a = (array[value_a > 0] for array in (active, best_a, value_a))
        if len(active) == 0:
            break
        result_gg[active, best_a] = value_a
        relevance_gg[active, best_a] = -np.inf
        redundancy_gg[active] += information_gg[best_a]
    return np.maximum(result_gg, result_gg.T)


def aracne(information_gg: np.ndarray, *, eps: float = 0.0) -> np.ndarray:
    """Data processing inequality: the weakest edge of every three genes goes, if weaker than the others by over `eps`.

    I_gh stays unless min(I_gk, I_kh) - eps exceeds it for some k. Margolin and others 2006,
    doi 10.1186/1471-2105-7-S1-S7.
    """
    detour_gg = np.zeros_like(information_gg)
    for through_g in information_gg:  # a gene's edge with itself is 0, so k = g or h never exceeds
        np.maximum(detour_gg, np.minimum(through_g[:, None], through_g[None]), out=detour_gg)
    return np.where(information_gg < detour_gg - eps, 0.0, information_gg)


class StopEarly:
    """Stop boosting where the mean out-of-bag improvement over the last `window` trees is below 0: arboreto's rule.

    The improvement of a tree is the fall of the squared error on the cells that it did not see. It is worked out here:
    since scikit-learn 1.3 `oob_improvement_` compares the cells left out of this tree with those left out of the last
    (pull request 24882), which is mostly the difference between two samples, and boosting stops within 30 trees.
    """

    def __init__(self, window: int = 25) -> None:
        self.window = window
        self.before_n: np.ndarray | None = None
        self.improvements: list[float] = []

    def __call__(self, step: int, regressor: object, within: dict[str, Any]) -> bool:
        del regressor
        y_n, left_out_n = within["y"], ~within["sample_mask"]
        after_n = within["raw_predictions"][:, 0].copy()
        before_n = np.full(len(y_n), y_n.mean()) if self.before_n is None else self.before_n
        change_n = (y_n - before_n) ** 2 - (y_n - after_n) ** 2
        self.before_n = after_n
        self.improvements.append(float(change_n[left_out_n].mean()))
        return step >= self.window - 1 and float(np.mean(self.improvements[-self.window :])) < 0


def grnboost2(x_ng: np.ndarray, *, n_trees: int = 5000, seed: int = 0) -> np.ndarray:
    """Importance of each gene (row) for each target (column) by gradient boosting on all the others, (g, g).

    arboreto's settings: rate 0.01, at most `n_trees`, a tenth of the genes per split, nine tenths of the cells per
    tree, `StopEarly`; importances times the number of trees, so that targets that could be learned weigh more.
    Every gene is a candidate regulator. Moerman and others 2019, doi 10.1093/bioinformatics/bty916. Slow: for 200 to
    400 genes.
    """
    from sklearn.ensemble import GradientBoostingRegressor

    x_ng = np.asarray(x_ng, np.float32)
    g = x_ng.shape[1]
    result_gg = np.zeros((g, g))
    for target in range(g):
        others = np.delete(np.arange(g), target)
        regressor = GradientBoostingRegressor(
            learning_rate=0.01, n_estimators=n_trees, max_features=0.1, subsample=0.9, random_state=seed
        )
        regressor.fit(x_ng[:, others], x_ng[:, target].astype(np.float64), monitor=StopEarly())
        result_gg[others, target] = regressor.feature_importances_ * len(regressor.estimators_)
    return result_gg


def average_precision(weight_gg: np.ndarray, true_gg: np.ndarray) -> float:
    """Area under precision and recall of unordered pairs, over the share of true pairs: 1 is chance."""
    from sklearn.metrics import average_precision_score

    upper = np.triu_indices(len(true_gg), 1)
    truth = true_gg[upper]
    return float(average_precision_score(truth, weight_gg[upper]) / truth.mean())


def early_precision(weight_gg: np.ndarray, true_gg: np.ndarray) -> float:
    """Share of true pairs among as many pairs of highest weight, over their share of all; ties count by their mean."""
    upper = np.triu_indices(len(true_gg), 1)
    weight, truth = weight_gg[upper], true_gg[upper].astype(float)
    n = int(truth.sum())
    cut = np.partition(weight, len(weight) - n)[len(weight) - n]
    above, level = weight > cut, weight == cut
    found = truth[above].sum() + truth[level].mean() * (n - above.sum())
    return float(found / n / truth.mean())
