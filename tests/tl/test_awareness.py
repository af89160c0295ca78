"""Feature awareness of an AnnData with values: standardised as for training, whatever holds them."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from published import groups, trained
from scipy import sparse
from sklearn.linear_model import Ridge

import sivae.tl as tl
from sivae import Architecture, SiVAE
from sivae._errors import OptionError, SetupError
from sivae.datasets import planted
from sivae.tl._expression import standardised


def dense(adata):
    rows = np.arange(adata.n_vars)
    return np.concatenate([block for _, block in standardised(adata, rows, rows).blocks()])


@pytest.mark.parametrize("storage", [sparse.csr_matrix, sparse.csc_matrix, lambda x: x.toarray(), "backed"])
def test_values_are_those_that_the_model_read(normal_model, counts_adata, storage, tmp_path, monkeypatch):
    monkeypatch.setattr("sivae.tl._expression.BLOCK", 1000)
    normal_model.annotate(counts_adata)
    expected = normal_model._read(counts_adata).standardised(slice(None))
    order = [normal_model._state.reader.genes.index(gene) for gene in counts_adata.var_names]
    if storage == "backed":
        counts_adata.write_h5ad(tmp_path / "a.h5ad")
        counts_adata = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    else:
        counts_adata.X = storage(counts_adata.X)
    np.testing.assert_allclose(dense(counts_adata), expected[:, order], atol=2e-4)


def test_size_factors_and_binary_values_are_read_as_they_were(counts_adata):
    SiVAE.setup_anndata(counts_adata, size_factor_key="size_factor")
    for likelihood in ("normal", "bernoulli"):
        model = SiVAE(counts_adata, n_latent=2, likelihood=likelihood, n_profile=10)
        model.train(max_epochs=1, progress=False)
        model.annotate(counts_adata)
        expected = model._read(counts_adata).standardised(slice(None))
        order = [model._state.reader.genes.index(gene) for gene in counts_adata.var_names]
        np.testing.assert_allclose(dense(counts_adata), expected[:, order], atol=2e-4)


def slow(adata, cells, loadings, rows):
    """Residuals formed one by one; no intercept is left because batches have one each."""
    x, batch = dense(adata)[rows], adata.obs["batch"].to_numpy()[rows]
    cells = cells[rows].astype(float).copy()
    for each in np.unique(batch):
        x[batch == each] -= x[batch == each].mean(axis=0)
        cells[batch == each] -= cells[batch == each].mean(axis=0)
    return x**2 - (x - cells @ loadings.T) ** 2, x**2


@pytest.mark.parametrize("cells", ["all", "train", "validation"])
def test_it_is_what_residuals_say(normal_model, counts_adata, cells):
    normal_model.annotate(counts_adata)
    table = tl.feature_awareness(counts_adata, normal_model, cells=cells)
    kind = counts_adata.obs["sivae_split"].astype(str).to_numpy()
    rows = np.flatnonzero((kind == cells) | (cells == "all"))
    z, h, v, w = normal_model.explain(counts_adata).layer()
    for layer, entry in (
        ("latent", slow(counts_adata, z, v, rows)),
        ("full", slow(counts_adata, np.hstack([z, h]), np.hstack([v, w]), rows)),
    ):
        mine = table[table["layer"] == layer]
        assert mine["gene"].tolist() == list(counts_adata.var_names)
        np.testing.assert_allclose(mine["awareness"], entry[0].mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(mine["share"], entry[0].mean(axis=0) / entry[1].mean(axis=0), atol=1e-4)


def test_groups_average_to_the_whole(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    whole = tl.feature_awareness(counts_adata).set_index("gene")["awareness"]
    table = tl.feature_awareness(counts_adata, groupby="group")
    weight = counts_adata.obs["group"].value_counts(normalize=True)
    found = (table["awareness"] * table["group"].map(weight).astype(float)).groupby(table["gene"]).sum()
    np.testing.assert_allclose(found[whole.index], whole, atol=1e-8)


def test_permuting_genes_and_cells_permutes_the_table(normal_model, counts_adata, rng):
    normal_model.annotate(counts_adata)
    other = counts_adata[rng.permutation(counts_adata.n_obs), rng.permutation(counts_adata.n_vars)].copy()
    expected = tl.feature_awareness(counts_adata, pca=True).set_index(["layer", "gene"])
    found = tl.feature_awareness(other, pca=True).set_index(["layer", "gene"])
    for name in ("awareness", "share"):
        np.testing.assert_allclose(found.loc[expected.index, name], expected[name], atol=1e-5)


def test_it_does_not_depend_on_how_axes_are_turned(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    before = tl.feature_awareness(counts_adata, normal_model)
    normal_model.rotate("varimax")
    normal_model.annotate(counts_adata)
    after = tl.feature_awareness(counts_adata, normal_model)
    np.testing.assert_allclose(after["awareness"], before["awareness"], atol=1e-5)


def test_the_counterpart_is_the_best_linear_one_on_training_cells(normal_model, counts_adata):
    """Principal components, against the singular value decomposition; no layer of as many axes can do better."""
    normal_model.annotate(counts_adata)
    table = tl.feature_awareness(counts_adata, pca=True, cells="train")
    sums = table.groupby("layer")["awareness"].sum()
    rows = np.flatnonzero(counts_adata.obs["sivae_split"] == "train")
    x, batch = dense(counts_adata)[rows], counts_adata.obs["batch"].to_numpy()[rows]
    for each in np.unique(batch):
        x[batch == each] -= x[batch == each].mean(axis=0)
    values = np.linalg.svd(x, compute_uv=False)
    assert sums["pca"] == pytest.approx((values[:3] ** 2).sum() / len(x), rel=1e-4)
    assert sums["latent"] < sums["pca"]


def layers_of(table, layer, genes):
    return table[table["layer"] == layer].set_index("gene").loc[list(genes), "awareness"]


def test_products_of_hidden_layers_are_what_residuals_say(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    table = tl.feature_awareness(counts_adata, normal_model, hidden="product")
    assert list(dict.fromkeys(table["layer"])) == ["latent", "hidden1", "joint", "full"]
    for number, name in ((1, "hidden1"), (2, "joint")):
        h, w = (np.asarray(normal_model.get_decoder_layer(number, side=side)) for side in ("cells", "genes"))
        entry, _ = slow(counts_adata, h, w, np.arange(counts_adata.n_obs))
        np.testing.assert_allclose(layers_of(table, name, counts_adata.var_names), entry.mean(axis=0), atol=1e-3)


def test_the_last_product_of_the_published_model_is_its_prediction():
    adata = groups()
    model = trained(adata, profiles="principal", n_profile=10)
    model.annotate(adata)
    table = tl.feature_awareness(adata, model, hidden="product")
    joint, full = (layers_of(table, name, adata.var_names) for name in ("joint", "full"))
    np.testing.assert_allclose(joint, full, atol=1e-4)


def test_training_on_hidden_products_makes_hidden_layers_aware():
    found = {}
    for weight in (0.0, 1.0):
        adata = groups()
        model = trained(adata, options={"hidden_gamma": weight, "iterations": 100}, profiles="principal", n_profile=10)
        model.annotate(adata)
        table = tl.feature_awareness(adata, model, hidden="product")
        found[weight] = table[table["layer"] == "hidden1"]["share"].mean()
    assert found[1.0] > 0.4 and found[0.0] < 0.1  # of 0.46, the whole model's


@pytest.mark.parametrize("cells", ["train", "validation"])
def test_regression_on_hidden_layers_is_ridge(normal_model, counts_adata, cells):
    normal_model.annotate(counts_adata)
    table = tl.feature_awareness(counts_adata, normal_model, hidden="regression", cells=cells)
    kind = counts_adata.obs["sivae_split"].astype(str).to_numpy()
    training, rows = np.flatnonzero(kind == "train"), np.flatnonzero(kind == cells)
    batch = counts_adata.obs["batch"].to_numpy()[training]
    x = dense(counts_adata)[training]
    for number, name in ((1, "hidden1"), (2, "joint")):
        h = normal_model.get_decoder_layer(number).astype(float)
        seen, target = h[training].copy(), x.copy()
        for each in np.unique(batch):
            seen[batch == each] -= seen[batch == each].mean(axis=0)
            target[batch == each] -= target[batch == each].mean(axis=0)
        sd = seen.std(axis=0)
        live = sd > 1e-9
        model = Ridge(alpha=10.0, fit_intercept=False).fit(seen[:, live] / sd[live], target)
        entry, _ = slow(counts_adata, h[:, live] / sd[live], model.coef_, rows)
        np.testing.assert_allclose(layers_of(table, name, counts_adata.var_names), entry.mean(axis=0), atol=1e-4)


def test_hidden_layers_want_a_model_of_equal_widths(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    with pytest.raises(OptionError, match="hidden='product' without a model"):
        tl.feature_awareness(counts_adata, hidden="product")
    with pytest.raises(OptionError, match="hidden is 'all'"):
        tl.feature_awareness(counts_adata, normal_model, hidden="all")
    bare = ad.AnnData(obs=counts_adata.obs, var=counts_adata.var, uns=counts_adata.uns, varm=dict(counts_adata.varm))
    with pytest.raises(SetupError, match="need the values"):
        tl.feature_awareness(bare, normal_model, hidden="regression")
    shape = Architecture(cell_decoder=(8,), feature_decoder=(6,), n_joint=4)
    model = SiVAE(counts_adata, n_latent=2, architecture=shape)
    model.train(max_epochs=1, progress=False)
    model.annotate(counts_adata)
    with pytest.raises(OptionError, match=r"widths \(8, 4\) \(cells\) and \(6, 4\) \(genes\)"):
        tl.feature_awareness(counts_adata, model, hidden="product")
    assert "hidden1" in set(tl.feature_awareness(counts_adata, model, hidden="regression")["layer"])


def test_without_values_it_is_what_the_model_implies(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    bare = ad.AnnData(obs=counts_adata.obs, var=counts_adata.var, uns=counts_adata.uns, varm=dict(counts_adata.varm))
    table = tl.feature_awareness(bare)
    assert set(table["source"]) == {"closed form"} and set(table["layer"]) == {"latent", "full"}
    share = tl.explained_variance(bare, by="gene")
    for layer, column in (("latent", "linear"), ("full", "full")):
        np.testing.assert_allclose(table.loc[table["layer"] == layer, "share"], share[column])
    with pytest.raises(SetupError, match="need the values"):
        tl.feature_awareness(bare, groupby="group")


def test_a_gene_that_is_constant_has_no_share(normal_model, counts_adata):
    x = counts_adata.X.toarray()
    x[:, 4] = 0.0
    counts_adata.X = x
    normal_model.annotate(counts_adata)
    table = tl.feature_awareness(counts_adata).set_index("gene")
    gene = counts_adata.var_names[4]
    assert np.isnan(table.loc[gene, "share"]) and np.isfinite(table["share"].drop(gene)).all()


def test_errors_say_what_to_do(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    with pytest.raises(OptionError, match="cells is 'some'"):
        tl.feature_awareness(counts_adata, cells="some")
    with pytest.raises(SetupError, match="No cell is marked 'validation'"):
        tl.feature_awareness(counts_adata[counts_adata.obs["sivae_split"] == "train"].copy(), cells="validation")
    del counts_adata.obs["batch"]
    with pytest.raises(SetupError, match="no column 'batch'"):
        tl.feature_awareness(counts_adata)


def test_genes_that_follow_nothing_gain_nothing_on_cells_held_out():
    adata = planted(2000, 60, n_factors=2, genes_per_factor=12, counts=False, seed=3)
    adata.obs["sivae_split"] = pd.Categorical(np.where(np.arange(2000) % 4 == 0, "validation", "train"))
    table = tl.feature_awareness(adata, use_rep="planted_v", cells_rep="planted_z", cells="validation", pca=True)
    null = (adata.var["module"] == "none").to_numpy()
    latent = table.loc[table["layer"] == "latent", "share"].to_numpy()
    truth = (adata.varm["planted_v"] ** 2).sum(axis=1)
    np.testing.assert_allclose(latent[~null], truth[~null], atol=0.12)
    assert (latent[null] == 0).all()
    pca = table.loc[table["layer"] == "pca", "share"].to_numpy()
    assert abs(pca[null].mean()) < 0.03 and pca[~null].mean() > 0.3
