"""What is measured of a method, on cells that it has not learned from. Higher is better everywhere."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench._heldout import Data
from bench._methods import Fit

TOP = 300
"""Genes of highest degree on held-out cells, over which explained variance is averaged."""
FEWEST = 5
"""Cells that a label must have to be counted: one in each fold."""


def score(data: Data, fit: Fit) -> dict[str, float | None]:
    """Cells, expression, gene neighbors and hubs, as far as the method has them."""
    x_train, x_test = data.scaled_ng[~data.test], data.scaled_ng[data.test]
    result: dict[str, float | None] = {
        "knn": knn(fit.z_nk, data.labels),
        "knn_test": knn_held(fit.z_nk, data.labels, data.test),
    }
    degree_g, power_g = connectivity(x_test)
    if fit.predicted_ng is not None:
        r2_g = explained(x_train, fit.predicted_ng[~data.test], x_test, fit.predicted_ng[data.test])
        result["r2"] = float(r2_g[np.argsort(-degree_g)[:TOP]].mean())
    if fit.v_gk is not None:
        norm_g = np.linalg.norm(fit.v_gk, axis=1)
        result["neighbors"] = neighbor_r2(nearest(fit.v_gk), x_train, x_test)
        result["hub"] = float(stats.spearmanr(norm_g, degree_g)[0])
        result["top50"] = top_power(norm_g, power_g)
    return {name: None if value is None else round(value, 4) for name, value in result.items()}


def knn(z_nk: np.ndarray, labels: np.ndarray, n_neighbors: int = 15) -> float:
    """Accuracy of labels from nearest neighbors, five folds of all cells."""
    return _crossed(KNeighborsClassifier(n_neighbors), z_nk, labels)


def knn_held(z_nk: np.ndarray, labels: np.ndarray, test: np.ndarray, n_neighbors: int = 15) -> float:
    """Accuracy of the labels of held-out cells from their nearest training cells."""
    classifier = KNeighborsClassifier(n_neighbors).fit(z_nk[~test], labels[~test])
    return float(classifier.score(z_nk[test], labels[test]))


def cells(z_nk: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """Classifiers (five folds) and clusters of an embedding.

    k-NN is the published one: as many neighbors as twice the labels (`reference` C.11 of the method: 5 folds,
    stratified). Logistic regression and the perceptron see standardised axes. Clusters are k-means with as many
    clusters as labels, ten starts; the silhouette is that of the labels.
    """
    names, count = np.unique(labels, return_counts=True)
    common = np.isin(labels, names[count >= FEWEST])
    z_nk, labels = z_nk[common], labels[common]
    n_labels = len(np.unique(labels))
    perceptron = MLPClassifier((50,), alpha=1e-2, max_iter=1000, tol=1e-3, random_state=seed)
    cluster_n = KMeans(n_labels, n_init=10, random_state=seed).fit_predict(z_nk)
    found = {
        "knn": knn(z_nk, labels, 2 * n_labels),
        "logistic": _crossed(make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)), z_nk, labels),
        "perceptron": _crossed(make_pipeline(StandardScaler(), perceptron), z_nk, labels),
        "nmi": float(normalized_mutual_info_score(labels, cluster_n)),
        "ari": float(adjusted_rand_score(labels, cluster_n)),
        "silhouette": float(silhouette_score(z_nk, labels, sample_size=min(2000, len(labels)), random_state=seed)),
    }
    return {name: round(value, 4) for name, value in found.items()}


def _crossed(classifier: object, z_nk: np.ndarray, labels: np.ndarray) -> float:
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    _, count = np.unique(labels, return_counts=True)
    split: object = folds if count.min() >= 5 else 5  # scikit-learn's own for a label of fewer cells than folds
    return float((cross_val_predict(classifier, z_nk, labels, cv=split) == labels).mean())


def connectivity(x_ng: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean absolute correlation of each gene with all others, and mean squared (what it alone explains), (g,)."""
    with np.errstate(invalid="ignore"):
        correlation = np.nan_to_num(np.corrcoef(x_ng, rowvar=False))
    np.fill_diagonal(correlation, 0.0)
    return np.abs(correlation).mean(axis=1), (correlation**2).mean(axis=1)


def top_power(score_g: np.ndarray, power_g: np.ndarray, n: int = 50) -> float:
    """What the n genes of highest score explain, as a share of the best n."""
    return float(power_g[np.argsort(-score_g, kind="stable")[:n]].sum() / np.sort(power_g)[-n:].sum())


def explained(x_train: np.ndarray, p_train: np.ndarray, x_test: np.ndarray, p_test: np.ndarray) -> np.ndarray:
    """Share of each gene's held-out variance explained, after a line fitted on training cells, (g,)."""
    centred = p_train - p_train.mean(axis=0)
    slope = (centred * x_train).mean(axis=0) / np.maximum((centred**2).mean(axis=0), 1e-12)
    fitted = x_train.mean(axis=0) + slope * (p_test - p_train.mean(axis=0))
    base = ((x_test - x_train.mean(axis=0)) ** 2).sum(axis=0)
    return 1 - ((x_test - fitted) ** 2).sum(axis=0) / np.maximum(base, 1e-12)


def nearest(v_gk: np.ndarray, n_neighbors: int = 20) -> np.ndarray:
    """The genes of highest cosine, without the gene itself, (g, n_neighbors)."""
    unit = v_gk / np.maximum(np.linalg.norm(v_gk, axis=1, keepdims=True), 1e-12)
    return highest(unit @ unit.T, n_neighbors)


def highest(similarity_gg: np.ndarray, n_neighbors: int = 20) -> np.ndarray:
    """The most similar others of each gene, (g, n_neighbors), nearest first; ties in the order of genes."""
    similarity_gg = np.array(similarity_gg, float)
    np.fill_diagonal(similarity_gg, -np.inf)
    return np.argsort(-similarity_gg, axis=1, kind="stable")[:, :n_neighbors]


def neighbor_r2_of_genes(near_gm: np.ndarray, x_train: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Held-out R2 of a ridge regression of every gene on its neighbors, (g,)."""
    gram = x_train.T @ x_train / len(x_train)
    fitted = np.empty_like(x_test)
    for g, others in enumerate(near_gm):
        beta = np.linalg.solve(gram[np.ix_(others, others)] + 0.1 * np.eye(len(others)), gram[others, g])
        fitted[:, g] = x_test[:, others] @ beta
    base = np.maximum((x_test**2).sum(axis=0), 1e-12)
    return 1 - ((x_test - fitted) ** 2).sum(axis=0) / base


def neighbor_r2(near_gm: np.ndarray, x_train: np.ndarray, x_test: np.ndarray) -> float:
    """The same, mean over genes."""
    return float(neighbor_r2_of_genes(near_gm, x_train, x_test).mean())


def mixing(z_nk: np.ndarray, labels: np.ndarray, batch: np.ndarray, n_neighbors: int = 30) -> float:
    """Diversity of batches among a cell's nearest cells of its label, over that of the label; 1 is fully mixed.

    Diversity is Simpson's 1 - sum_b share_b^2; labels with fewer than two batches or `n_neighbors` cells say nothing.
    """
    from sklearn.neighbors import NearestNeighbors

    parts = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        shown = batch[rows]
        whole = _diversity(np.array([(shown == b).mean() for b in np.unique(shown)])[None])[0]
        if len(rows) <= n_neighbors or whole < 0.05:
            continue
        near = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(z_nk[rows]).kneighbors(z_nk[rows])[1][:, 1:]
        share_nb = np.stack([(shown[near] == b).mean(axis=1) for b in np.unique(shown)], axis=1)
        parts.append(_diversity(share_nb) / whole)
    return float(np.concatenate(parts).mean())


def _diversity(share_nb: np.ndarray) -> np.ndarray:
    return 1 - (share_nb**2).sum(axis=1)
