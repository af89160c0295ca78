"""One embedding from several seeds."""

import numpy as np
import pytest
from scipy.stats import ortho_group, spearmanr

import sivae
import sivae.tl as tl
from sivae import SiVAE
from sivae._errors import GeneMismatchError, OptionError, SetupError
from sivae.datasets import planted


@pytest.fixture
def turned(counts_adata, rng):
    """Three turned copies of a planted embedding, genes with more noise the further down."""
    v, noise = rng.normal(size=(50, 3)) * [2.0, 1.5, 1.0], np.linspace(0, 2.0, 50)[:, None]
    for name in "abc":
        turn = ortho_group.rvs(3, random_state=ord(name))
        counts_adata.varm[name] = (v + noise * rng.normal(size=v.shape)) @ turn
    return counts_adata


def test_it_lies_on_the_first_embedding(turned):
    turned.varm["b"] = turned.varm["a"] @ ortho_group.rvs(3, random_state=1)
    tl.consensus(turned, ["a", "b"])
    np.testing.assert_allclose(turned.varm["X_sivae_consensus"], turned.varm["a"], atol=1e-8)
    np.testing.assert_allclose(turned.varm["X_sivae_consensus_var"], 0, atol=1e-12)
    np.testing.assert_allclose(turned.var["sivae_stability"], 1.0)


def test_what_it_writes_is_mean_and_variance_of_what_was_turned(turned):
    tl.consensus(turned, ["a", "b", "c"], axes="variance")
    m = turned.varm["X_sivae_consensus"]
    from scipy.linalg import orthogonal_procrustes

    stack = np.array([turned.varm[n] @ orthogonal_procrustes(turned.varm[n], m)[0] for n in "abc"])
    np.testing.assert_allclose(stack.mean(axis=0), m, atol=1e-3)
    np.testing.assert_allclose(np.var(stack, axis=0, ddof=1), turned.varm["X_sivae_consensus_var"], atol=5e-3)
    assert spearmanr(turned.var["sivae_stability"], np.arange(50)).statistic < -0.7
    assert ((m**3).sum(axis=0) >= 0).all()


def test_order_of_seeds_genes_and_cells_does_not_matter(turned, rng):
    other = turned[rng.permutation(turned.n_obs), rng.permutation(turned.n_vars)].copy()
    tl.consensus(turned, ["a", "b", "c"], axes="variance")
    tl.consensus(other, ["c", "a", "b"], axes="variance")
    for key in ("X_sivae_consensus", "X_sivae_consensus_var"):
        np.testing.assert_allclose(other[:, turned.var_names].varm[key], turned.varm[key], atol=1e-4)
    np.testing.assert_allclose(other.var["sivae_stability"][turned.var_names], turned.var["sivae_stability"], atol=1e-4)


def test_frames_are_matched_by_name_and_lacking_genes_are_nan(model, counts_adata):
    frame = model.get_feature_representation()
    tl.consensus(counts_adata, [frame.iloc[::-1], frame.iloc[5:]])
    found = counts_adata.varm["X_sivae_consensus"]
    missing = counts_adata.var_names.isin(frame.index[:5])
    assert np.isnan(found[missing]).all() and np.isnan(counts_adata.var["sivae_stability"][missing]).all()
    np.testing.assert_allclose(found[~missing], frame.loc[counts_adata.var_names[~missing]], atol=1e-6)


def test_other_tools_read_it(turned):
    tl.consensus(turned, ["a", "b"], key_added="X_mean")
    assert len(tl.rank_loadings(turned, use_rep="X_mean", n_genes=2)) == 12
    assert "X_mean_var" in turned.varm


def test_it_follows_a_rotation(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    frames = [normal_model.get_feature_representation()] * 2
    normal_model.rotate("varimax")
    frames.insert(0, normal_model.get_feature_representation())
    tl.consensus(counts_adata, frames)
    np.testing.assert_allclose(counts_adata.varm["X_sivae_consensus"], frames[0].loc[counts_adata.var_names], atol=1e-5)


def test_errors_say_what_to_do(turned):
    with pytest.raises(OptionError, match="two or more embeddings"):
        tl.consensus(turned, ["a"])
    with pytest.raises(OptionError, match="two or more embeddings"):
        tl.consensus(turned, "ab")
    with pytest.raises(OptionError, match="axes is 'best'"):
        tl.consensus(turned, ["a", "b"], axes="best")
    with pytest.raises(SetupError, match="no varm\\['d'\\]"):
        tl.consensus(turned, ["a", "d"])
    turned.varm["d"] = np.ones((50, 2))
    with pytest.raises(OptionError, match="have 3, 2 axes"):
        tl.consensus(turned, ["a", "d"])
    turned.varm["d"] = np.where(np.arange(50)[:, None] < 3, turned.varm["a"], np.nan)
    with pytest.raises(GeneMismatchError, match="3 genes of this AnnData have a position in all 2"):
        tl.consensus(turned, ["a", "d"])


# ------------------------------------------------------------------------------------------------------------ ensemble


def test_an_ensemble_is_each_seed_trained_alone(values_adata):
    template = SiVAE(values_adata, n_latent=2, n_profile=20, seed=9)
    models = sivae.ensemble(template, [3, 5], train=lambda m: m.train(max_epochs=1, progress=False))
    assert [m.options.seed for m in models] == [3, 5] and not template.is_trained and template.options.seed == 9
    alone = SiVAE(values_adata, n_latent=2, n_profile=20, seed=5)
    alone.train(max_epochs=1, progress=False)
    np.testing.assert_array_equal(models[1].get_feature_representation(), alone.get_feature_representation())
    with pytest.raises(OptionError, match="all different"):
        sivae.ensemble(template, [1, 1])
    with pytest.raises(OptionError, match="one or more"):
        sivae.ensemble(template, [])


@pytest.mark.slow
@pytest.mark.science
def test_seeds_agree_on_genes_that_follow_something():
    adata = planted(800, 100, n_factors=2, genes_per_factor=25, counts=False, seed=2)
    SiVAE.setup_anndata(adata)
    models = sivae.ensemble(SiVAE(adata, n_latent=4), range(3), train=lambda m: m.train(max_epochs=20, progress=False))
    tl.consensus(adata, [m.get_feature_representation() for m in models])
    stability, null = adata.var["sivae_stability"], adata.var["module"] == "none"
    assert stability[~null].min() > 0.95
    v, m = adata.varm["planted_v"], adata.varm["X_sivae_consensus"]
    assert np.corrcoef((v @ v.T).ravel(), (m @ m.T).ravel())[0, 1] > 0.97
