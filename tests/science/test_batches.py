"""An effect of batches alone moves no gene, and the cell map does not tell the batch."""

import batches
import numpy as np
import pytest
from batches import batched
from builders import SHORT
from scipy import sparse, stats
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from sivae import SiVAE
from sivae.datasets import planted

pytestmark = [pytest.mark.slow, pytest.mark.science]
N, G, PER_FACTOR = 1200, 160, 30


def with_batch_only_genes(*, counts, seed=0):
    """Two factors of 30 genes, 50 genes that differ between batches and follow nothing else, 50 that follow nothing."""
    options = {"n_factors": 2, "genes_per_factor": PER_FACTOR, "signed": True, "counts": counts, "n_batches": 3}
    still, moved = (planted(N, G, **options, batch_effect=effect, seed=seed) for effect in (0.0, 1.0))
    assert np.array_equal(still.obs["batch"], moved.obs["batch"])
    half = G - 50
    parts = [moved[:, :half].X, still[:, half:].X]
    moved.X = sparse.csr_matrix(sparse.hstack(parts)) if counts else np.hstack(parts)
    moved.var["kind"] = ["module"] * 2 * PER_FACTOR + ["batch only"] * 50 + ["nothing"] * 50
    return moved


def fitted(adata, likelihood, n_latent, **setup):
    SiVAE.setup_anndata(adata, **setup)
    model = SiVAE(adata, n_latent=n_latent, likelihood=likelihood)
    model.train(progress=False, accelerator="cpu", options=SHORT)
    return model


@pytest.mark.parametrize(("likelihood", "n_latent"), [("normal", 10), ("nb", 2)])
def test_genes_that_differ_between_batches_alone_stay_at_the_origin(likelihood, n_latent):
    adata = with_batch_only_genes(counts=likelihood == "nb")
    factor = {"size_factor_key": "size_factor"} if likelihood == "nb" else {}
    model = fitted(adata, likelihood, n_latent, batch_key="batch", **factor)
    size = np.linalg.norm(model.get_feature_representation(), axis=1)
    kind = adata.var["kind"].to_numpy()
    moved, still, module = (size[kind == name] for name in ("batch only", "nothing", "module"))
    assert np.median(moved) < 1.3 * np.median(still) + 0.01
    assert np.quantile(moved, 0.98) < 0.5 * np.median(module)
    assert np.quantile(moved, 0.9) < 1.5 * np.quantile(still, 0.9) + 0.01
    model.annotate(adata)
    p = adata.var["sivae_connected_pvalue"].to_numpy()
    assert stats.kstest(p[kind == "batch only"], "uniform").pvalue > 0.01, np.sort(p[kind == "batch only"])
    assert np.median(p[kind == "module"]) < 0.01
    # Without batch_key the same genes are far out: the effect is a strong one.
    loose = np.linalg.norm(fitted(adata, likelihood, n_latent, **factor).get_feature_representation(), axis=1)
    assert np.median(loose[kind == "batch only"]) > 3 * np.median(moved)


def tells_batch(model, adata):
    """Accuracy of the batch of a cell from its 15 nearest cells, 5 folds, above that of the commonest batch."""
    batch = adata.obs["batch"].to_numpy()
    score = cross_val_score(KNeighborsClassifier(15), model.get_latent_representation(), batch, cv=5).mean()
    return score - np.unique(batch, return_counts=True)[1].max() / len(batch)


@pytest.mark.parametrize(("likelihood", "n_latent"), [("normal", 10), ("nb", 2)])
def test_the_map_does_not_tell_the_batch(likelihood, n_latent):
    adata = batched(1200, shares=batches.EVEN, effect=0.5, counts=likelihood == "nb", markers=12, g=60)
    found = fitted(adata, likelihood, n_latent, batch_key="batch")
    assert tells_batch(found, adata) < 0.08
    assert tells_batch(fitted(adata, likelihood, n_latent), adata) > 0.3
    kinds = cross_val_score(
        KNeighborsClassifier(15), found.get_latent_representation(), adata.obs["kind"].to_numpy(), cv=5
    )
    assert kinds.mean() > 0.9


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_with_other_shares_of_kinds_the_map_does_not_tell_the_batch_of_a_kind(likelihood):
    """Batch and kind are linked, so the batch is judged within each kind."""
    adata = batched(2400, shares=batches.OPPOSITE, counts=likelihood == "nb", center=2.0, markers=12, g=60)
    model = fitted(adata, likelihood, 5, batch_key="batch")
    adata.obsm["z"] = model.get_latent_representation()
    for _, rows in adata.obs.groupby("kind").groups.items():
        cells = adata[rows]
        weight = cells.obs["batch"].map(1 / cells.obs["batch"].value_counts()).to_numpy()
        nearest = KNeighborsClassifier(15).fit(cells.obsm["z"], cells.obs["batch"]).kneighbors(return_distance=False)
        other = cells.obs["batch"].to_numpy()[nearest] != cells.obs["batch"].to_numpy()[:, None]
        expected = 1 - cells.obs["batch"].map(cells.obs["batch"].value_counts(normalize=True)).to_numpy(float)
        mixed = np.average(other.mean(axis=1) / expected, weights=weight)
        assert mixed > 0.75, mixed


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_names_of_batches_do_not_matter(likelihood):
    """Swapped names permute the design's columns, so random starts of the perceptrons differ, and nothing else."""
    adata = batched(800, counts=likelihood == "nb")
    one = fitted(adata, likelihood, 2, batch_key="batch")
    other = adata.copy()
    other.obs["batch"] = other.obs["batch"].map({"b0": "z", "b1": "a"})
    two = fitted(other, likelihood, 2, batch_key="batch")
    for a, b in (
        (one.get_latent_representation(), two.get_latent_representation()),
        (one.get_feature_representation().to_numpy(), two.get_feature_representation().to_numpy()),
    ):
        for axis in range(2):
            assert np.corrcoef(a[:, axis], b[:, axis])[0, 1] > 0.98
