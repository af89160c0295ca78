"""R2 on neighbors and overlap of methods, from an AnnData."""

import sys

import numpy as np
import pytest
from conftest import Path
from sklearn.linear_model import Ridge

from sivae import SiVAE, tl
from sivae._errors import OptionError, SetupError
from sivae._space import read_space
from sivae.datasets import planted
from sivae.tl import _held_out

sys.path.insert(0, str(Path(__file__).parent))

from spaces import annotated_space  # noqa: E402


@pytest.fixture
def adata():
    return annotated_space()


def scaled(adata):
    train, held = ((adata.obs["sivae_split"] == kind).to_numpy() for kind in ("train", "validation"))
    counts = adata.X.toarray()
    library = counts[:, adata.var["sivae_modelled"]].sum(axis=1, keepdims=True)
    x = np.log1p(np.sqrt(1e4 * np.median(library[train])) * counts / library)[:, :56]
    x = np.clip((x - x[train].mean(axis=0)) / x[train].std(axis=0), -10, 10)
    return x[train], x[held]


def test_r2_equals_ridge_regression_on_validation_cells(adata):
    tl.gene_neighbors(adata, 6)
    found = tl.neighbor_r2(adata, ridge=3.0)
    assert found.index.tolist() == adata.var_names[:56].tolist()
    x, y = scaled(adata)
    for g in (0, 7, 40):
        near = [int(name[4:]) for name in found["neighbors"].iloc[g].split(", ")]
        assert [f"GENE{h}" for h in near] == tl.neighbors_of(adata, f"GENE{g}")["neighbor"].tolist()
        mean = x.mean(axis=0)
        fit = Ridge(alpha=3.0, fit_intercept=False).fit((x - mean)[:, near], (x - mean)[:, g])
        error = (((y - mean)[:, g] - fit.predict((y - mean)[:, near])) ** 2).sum()
        assert found["r2"].iloc[g] == pytest.approx(1 - error / ((y - mean)[:, g] ** 2).sum(), abs=1e-4)


@pytest.mark.parametrize("likelihood", ["normal", "bernoulli"])
def test_values_are_those_that_the_model_sees(counts_adata, likelihood):
    adata = counts_adata.copy()
    SiVAE.setup_anndata(adata)
    model = SiVAE(adata, n_latent=2, likelihood=likelihood)
    model.train(max_epochs=1, progress=False)
    model.annotate(adata)
    found = _held_out.read_expression(adata, read_space(adata), layer=None, seed=0)
    order = [model._state.reader.genes.index(gene) for gene in adata.var_names]
    expected = model._read(adata).standardised(slice(None))[:, order]
    train = (adata.obs["sivae_split"] == "train").to_numpy()
    np.testing.assert_allclose(found.train_ng, expected[train], atol=2e-4)
    np.testing.assert_allclose(found.test_ng, expected[~train], atol=2e-4)


def test_permuting_genes_and_cells_permutes_r2(adata, rng):
    tl.gene_neighbors(adata, 6)
    moved = adata[rng.permutation(120)][:, rng.permutation(60)].copy()
    first, second = tl.neighbor_r2(adata), tl.neighbor_r2(moved).loc[adata.var_names[:56]]
    np.testing.assert_allclose(second["r2"], first["r2"], atol=1e-4)


def test_a_split_is_made_where_there_is_none_and_cells_are_sampled(monkeypatch):
    adata = planted(400, 40, n_factors=2, genes_per_factor=10, counts=False)
    tl.gene_neighbors(adata, 5, use_rep="planted_v")
    whole = tl.neighbor_r2(adata)["r2"]
    assert whole[:20].mean() > 0.2 > abs(whole[20:].mean())
    monkeypatch.setattr(_held_out, "MAX_CELLS", 60)
    assert not np.allclose(tl.neighbor_r2(adata)["r2"], whole)
    np.testing.assert_array_equal(tl.neighbor_r2(adata)["r2"], tl.neighbor_r2(adata)["r2"])


def test_neighbors_of_genes_that_were_left_out_are_asked_for_again(adata):
    tl.gene_neighbors(adata, 6)
    few = adata[:, ::2].copy()
    with pytest.raises(
        SetupError, match=r"have fewer than 6 neighbors here, because.*Call sivae\.tl\.gene_neighbors\(adata\) again"
    ):
        tl.neighbor_r2(few)
    tl.gene_neighbors(few, 6)
    assert len(tl.neighbor_r2(few)) == 28


def test_errors_say_what_to_do(adata):
    with pytest.raises(SetupError, match="gene_neighbors"):
        tl.neighbor_r2(adata)
    tl.gene_neighbors(adata, 5)
    with pytest.raises(OptionError, match="ridge=0, expected a positive number"):
        tl.neighbor_r2(adata, ridge=0)
    few = adata[:3].copy()
    with pytest.raises(SetupError, match="expected at least 3 of each"):
        tl.neighbor_r2(few)
    adata.X = None
    with pytest.raises(SetupError, match="Found no X"):
        tl.neighbor_r2(adata)
    with pytest.raises(OptionError, match="n_neighbors=56 and 56 genes"):
        tl.neighbor_overlap(adata, n_neighbors=56)
    with pytest.raises(OptionError, match="no metric or no embedding"):
        tl.neighbor_overlap(adata, [])


def test_overlap_equals_that_of_sets(adata, rng):
    adata.varm["pca"] = rng.normal(size=(60, 2))
    table = tl.neighbor_overlap(adata, ["cosine", "euclidean"], use_reps=[None, "pca"], n_neighbors=5)
    assert len(table) == 4 + 6 and (table["jaccard"].iloc[:4] == 1).all()
    sets = {}
    for rep, metric in (("X_sivae", "cosine"), ("pca", "euclidean")):
        only = adata[:, :56].copy()
        tl.gene_neighbors(only, 5, metric, use_rep=rep)
        found = only.varp["sivae_distances"]
        sets[f"{metric} of {rep}"] = [set(found[g].indices) for g in range(56)]
    one, other = sets.values()
    expected = np.mean([len(a & b) / len(a | b) for a, b in zip(one, other, strict=True)])
    row = table[(table["first"] == "cosine of X_sivae") & (table["second"] == "euclidean of pca")]
    assert row["jaccard"].item() == pytest.approx(expected)


def test_pairs_are_correlated_by_values(adata):
    table = tl.neighbor_overlap(adata, ["cosine"], n_neighbors=4, values=True)
    _, held = scaled(adata)
    c = np.abs(np.corrcoef(held.T))
    tl.gene_neighbors(adata, 4, "cosine")
    found = adata.varp["sivae_distances"]
    expected = np.mean([c[np.ix_(found[g].indices, found[g].indices)].mean() for g in range(56)])
    assert table["correlation"].item() == pytest.approx(expected, abs=1e-4)
