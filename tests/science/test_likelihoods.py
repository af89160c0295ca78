"""Each likelihood finds what was planted in data of its kind: groups, programmes, noise; and leaves the rest alone."""

import numpy as np
import pytest
from builders import SHORT
from scipy import sparse, stats
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from sivae import SiVAE, TrainOptions
from sivae.datasets import planted
from sivae.model._predict import _noise

pytestmark = [pytest.mark.slow, pytest.mark.science]


def train(adata, likelihood, *, n_latent=4, dispersion="gene", options=SHORT):
    model = SiVAE(adata, n_latent=n_latent, likelihood=likelihood, dispersion=dispersion)
    model.train(progress=False, accelerator="cpu", options=options)
    return model


def zero_inflated(adata, rng):
    """Drop counts gene by gene with planted chances."""
    adata.var["share"] = rng.uniform(0.0, 0.6, adata.n_vars)
    dense = adata.X.toarray()
    dense[rng.random(dense.shape) < adata.var["share"].to_numpy()] = 0
    adata.X = sparse.csr_matrix(dense)


DISPERSION = {"normal": 0.0, "poisson": 0.0, "bernoulli": 0.0, "nb": 0.5, "zinb": 0.2}


@pytest.fixture(scope="module", params=list(DISPERSION))
def fitted(request):
    """1,500 cells x 150 genes, three factors of 20 genes that split the cells into 8 groups, and a trained model."""
    name = request.param
    adata = planted(
        1500, 150, n_factors=3, genes_per_factor=20, counts=name != "normal", signed=True,
        dispersion=DISPERSION[name], seed=0,
    )  # fmt: skip
    if name == "zinb":
        zero_inflated(adata, np.random.default_rng(0))
    SiVAE.setup_anndata(adata, size_factor_key=None if name == "normal" else "size_factor")
    model = train(adata, name)
    model.annotate(adata)
    return model, adata


def explained(found, wanted):
    """Multiple correlation of every column wanted with the columns found."""
    found = np.column_stack([found, np.ones(len(found))])
    residual = wanted - found @ np.linalg.lstsq(found, wanted, rcond=None)[0]
    return np.sqrt(1 - residual.var(axis=0) / wanted.var(axis=0))


def test_cell_groups_are_found(fitted):
    """8 groups, one cell in 8 right by chance."""
    model, adata = fitted
    right = cross_val_score(KNeighborsClassifier(15), adata.obsm["X_sivae"], adata.obs["group"], cv=5).mean()
    assert right > {"normal": 0.8, "poisson": 0.7}.get(model.options.likelihood, 0.55)
    assert (explained(adata.obsm["X_sivae"], adata.obsm["planted_z"]) > 0.7).all()


def test_gene_programmes_are_found_and_other_genes_lie_near_the_origin(fitted):
    _, adata = fitted
    v_gk, in_module = adata.varm["X_sivae"], (adata.var["module"] != "none").to_numpy()
    assert (explained(v_gk, adata.varm["planted_v"]) > 0.85).all()
    size = np.linalg.norm(v_gk, axis=1)
    assert np.median(size[~in_module]) < 0.25 * np.median(size[in_module])
    assert np.quantile(size[~in_module], 0.95) < 0.6 * np.median(size[in_module])


def test_a_gene_that_follows_something_is_told_from_one_that_does_not(fitted):
    _, adata = fitted
    p, in_module = adata.var["sivae_connected_pvalue"].to_numpy(), (adata.var["module"] != "none").to_numpy()
    assert np.median(p[in_module]) < 0.05
    assert 0.25 < np.median(p[~in_module]) < 0.75


def test_planted_noise_comes_back(fitted):
    model, adata = fitted
    name, noise = model.options.likelihood, adata.var["sivae_noise"].to_numpy()
    abundant = np.asarray(adata.X.mean(axis=0)).ravel() > 1
    if name in ("poisson", "bernoulli"):
        assert np.isnan(noise).all()
    elif name == "normal":
        planted_sigma = np.sqrt(1 - (adata.varm["planted_v"] ** 2).sum(axis=1))
        np.testing.assert_allclose(noise, planted_sigma, rtol=0.1)
    else:
        theta = 1 / DISPERSION[name]
        assert np.median(noise[abundant]) == pytest.approx(theta, rel=0.1 if name == "nb" else 0.35)
        assert np.quantile(np.abs(np.log(noise[abundant] / theta)), 0.95) < np.log(3)


@pytest.fixture(scope="module")
def dropped():
    """Abundant genes, so that each gene's zeros speak; the shares dropped are planted."""
    adata = planted(1500, 80, n_factors=2, genes_per_factor=15, signed=True, dispersion=0.2, seed=3)
    rate = (
        adata.obs["size_factor"].to_numpy()[:, None] * 5 * np.exp(adata.obsm["planted_z"] @ adata.varm["planted_v"].T)
    )
    rng = np.random.default_rng(3)
    adata.X = sparse.csr_matrix(rng.poisson(rate * rng.gamma(5, 1 / 5, rate.shape)).astype(np.float32))
    whole = adata.copy()
    zero_inflated(adata, rng)
    for data in (adata, whole):
        SiVAE.setup_anndata(data, size_factor_key="size_factor")
    return adata, whole


def test_zero_inflation_comes_back_and_is_worth_its_parameter(dropped):
    adata, _ = dropped
    model, plain = train(adata, "zinb", n_latent=2), train(adata, "nb", n_latent=2)
    model.annotate(adata)
    found = adata.var["sivae_zero_inflation"]
    assert stats.spearmanr(found, adata.var["share"])[0] > 0.98
    np.testing.assert_allclose(found, adata.var["share"], atol=0.06)
    np.testing.assert_allclose(np.median(adata.var["sivae_noise"]), 5, rtol=0.2)
    assert model.get_reconstruction_error() < plain.get_reconstruction_error() - 5
    held = adata.obs["sivae_split"] == "validation"
    assert model.get_elbo(adata[held]) > plain.get_elbo(adata[held])


def test_no_zero_inflation_is_found_where_there_is_none(dropped):
    _, whole = dropped
    model = train(whole, "zinb", n_latent=2)
    model.annotate(whole)
    assert whole.var["sivae_zero_inflation"].max() < 0.05
    np.testing.assert_allclose(np.median(whole.var["sivae_noise"]), 5, rtol=0.2)


def noise_of(model, adata):
    """Logarithm of the noise of every entry, genes in the order of `adata`."""
    log_noise, _ = _noise(model._module, model._read(adata))
    whole = np.broadcast_to(log_noise.numpy(), adata.shape)
    return whole[:, [model._state.reader.genes.index(gene) for gene in adata.var_names]]


def counts_of(adata, log_theta_cg, rng):
    rate = (
        adata.obs["size_factor"].to_numpy()[:, None] * 2 * np.exp(adata.obsm["planted_z"] @ adata.varm["planted_v"].T)
    )
    theta = np.broadcast_to(np.exp(log_theta_cg), rate.shape)
    return sparse.csr_matrix(rng.poisson(rate * rng.gamma(theta, 1 / theta)).astype(np.float32))


def better_than_per_gene(adata, likelihood, dispersion, by):
    """The model with the richer noise; on held-out cells it is ahead of noise per gene."""
    whole = TrainOptions()  # noise moves slowly
    model, plain = (
        train(adata, likelihood, n_latent=2, dispersion=kind, options=whole) for kind in (dispersion, "gene")
    )
    names = adata.copy()
    model.annotate(names)
    held = adata[(names.obs["sivae_split"] == "validation").to_numpy()]
    assert model.get_elbo(held) > plain.get_elbo(held) + by
    return model


def test_theta_of_two_batches_comes_back():
    adata = planted(1500, 120, n_factors=2, genes_per_factor=20, n_batches=2, signed=True, seed=0)
    first = (adata.obs["batch"] == "batch_1").to_numpy()
    adata.X = counts_of(adata, np.log(np.where(first, 1.0, 6.0))[:, None], np.random.default_rng(0))
    SiVAE.setup_anndata(adata, batch_key="batch", size_factor_key="size_factor")
    theta = np.exp(noise_of(better_than_per_gene(adata, "nb", "gene-batch", 1.0), adata))
    assert np.median(theta[first]) == pytest.approx(1, rel=0.25)
    assert np.median(theta[~first]) == pytest.approx(6, rel=0.5)


def test_sigma_of_two_batches_comes_back():
    adata = planted(1500, 120, n_factors=2, genes_per_factor=20, counts=False, n_batches=2, seed=0)
    first = (adata.obs["batch"] == "batch_1").to_numpy()
    sigma_c1 = np.where(first, 0.6, 1.2)[:, None]
    adata.X = noisy(adata, sigma_c1, np.random.default_rng(0))
    SiVAE.setup_anndata(adata, batch_key="batch")
    log_sigma = noise_of(better_than_per_gene(adata, "normal", "gene-batch", 5.0), adata)
    ratio = np.exp(np.median(log_sigma[~first], axis=0) - np.median(log_sigma[first], axis=0))
    np.testing.assert_allclose(np.median(ratio), 2.0, rtol=0.1)


def noisy(adata, sigma_cg, rng):
    mean = adata.obsm["planted_z"] @ adata.varm["planted_v"].T
    return (mean + sigma_cg * rng.standard_normal(mean.shape)).astype(np.float32)


def test_theta_that_depends_on_the_cell_comes_back():
    """Up along the first factor in half of the genes, down in the others."""
    adata, rng = planted(1500, 120, n_factors=2, genes_per_factor=20, signed=True, seed=0), np.random.default_rng(0)
    log_theta = 1.0 + 0.8 * adata.obsm["planted_z"][:, [0]] * rng.choice([-1.0, 1.0], adata.n_vars)
    adata.X = counts_of(adata, log_theta, rng)
    SiVAE.setup_anndata(adata, size_factor_key="size_factor")
    found = noise_of(better_than_per_gene(adata, "nb", "gene-cell", 0.5), adata)
    each = [stats.spearmanr(found[:, g], log_theta[:, g])[0] for g in range(adata.n_vars)]
    assert np.median(each) > 0.8
    assert np.quantile(each, 0.1) > 0.6


@pytest.mark.parametrize("dispersion", ["gene-cell", "cell"])
def test_sigma_that_depends_on_the_cell_comes_back(dispersion):
    adata, rng = planted(1500, 120, n_factors=2, genes_per_factor=20, counts=False, seed=0), np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], adata.n_vars) if dispersion == "gene-cell" else np.ones(adata.n_vars)
    log_sigma = -0.2 + 0.4 * adata.obsm["planted_z"][:, [0]] * sign
    adata.X = noisy(adata, np.exp(log_sigma), rng)
    SiVAE.setup_anndata(adata)
    found = noise_of(better_than_per_gene(adata, "normal", dispersion, 5.0), adata)
    expected = log_sigma - np.log(adata.X.std(axis=0))
    each = [stats.spearmanr(found[:, g], expected[:, g])[0] for g in range(adata.n_vars)]
    assert np.quantile(each, 0.1) > 0.9
    assert np.median(found - expected) == pytest.approx(0, abs=0.1)
    assert np.polyfit(expected.ravel(), found.ravel(), 1)[0] == pytest.approx(1, abs=0.15)
