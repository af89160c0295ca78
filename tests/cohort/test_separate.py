"""One model for each individual: positions in common axes, failures reported, nothing that depends on the order."""

from __future__ import annotations

import numpy as np
import pytest
from builders import SMALL
from scipy import sparse

from sivae import SiVAE, TrainOptions
from sivae._errors import OptionError, SetupError
from sivae.cohort import _separate
from sivae.cohort._separate import fit_separately
from sivae.datasets import planted_cohort
from sivae.model._gene_space import gene_space

MODEL = {"n_latent": 3, "n_profile": 12, "architecture": SMALL}
TRAIN = {"options": TrainOptions(max_steps=8, checks=2, validation_fraction=0.15)}


def fit(adata, genes=None, **more):
    options = {"model_options": MODEL, "train_options": TRAIN, "setup": {}, "min_cells": 20} | more
    return fit_separately(adata, "donor", genes=list(adata.var_names) if genes is None else genes, **options)


@pytest.fixture(scope="module")
def cohort():
    return planted_cohort(4, 80, 40, n_types=1, n_regulators=3, targets=8, n_rewired=1, n_expression=3, seed=2)


@pytest.fixture(scope="module")
def fitted(cohort):
    return fit(cohort)


def products(position_gk):
    return position_gk @ position_gk.T


def test_shapes_and_names(cohort, fitted):
    assert fitted.individuals == tuple(cohort.obs["donor"].cat.categories)
    assert fitted.genes == tuple(cohort.var_names)
    assert fitted.position_sgk.shape == fitted.variance_sgk.shape == (4, 40, 3)
    assert fitted.failed == {} and fitted.left_out == () and fitted.varies_sg.all()
    assert (fitted.variance_sgk >= 0).all() and (fitted.noise_sg > 0).all()


def test_numbers_are_those_of_a_model_of_the_individual_alone(cohort, fitted):
    one = cohort[cohort.obs["donor"] == fitted.individuals[2]].copy()
    SiVAE.setup_anndata(one)
    model = SiVAE(one, **MODEL, seed=0)
    model.train(progress=False, accelerator="cpu", **TRAIN)
    model.annotate(one)
    # Covariance of z by hand: of its means over the training cells, and the mean variance of its posteriors.
    train = (one.obs["sivae_split"] == "train").to_numpy()
    mean_nk, variance_nk = model.get_latent_representation(return_dist=True)
    covariance_kk = np.cov(mean_nk[train].T) + np.diag(variance_nk[train].mean(axis=0))
    v_gk = one.varm["X_sivae"]
    implied_gg = v_gk @ covariance_kk @ v_gk.T
    np.testing.assert_allclose(products(fitted.position_sgk[2]), implied_gg, atol=2e-5)
    np.testing.assert_allclose(fitted.r2_sg[2], one.var["sivae_r2"], atol=2e-5)
    np.testing.assert_allclose(fitted.noise_sg[2], one.var["sivae_noise_variance"], rtol=1e-4)
    # The article's centrality, from predictions on the count scale.
    values = model._read(one)
    log_ng = np.log1p(values.scaling.target * one.X.toarray() / one.X.toarray().sum(axis=1)[:, None])
    mean_g, sd_g = log_ng[train].mean(axis=0), log_ng[train].std(axis=0)
    expected_ng = np.log1p(
        model.get_normalized_expression(library_size=values.scaling.target).to_numpy()
    )  # cut at 0, which few predictions reach
    inside = expected_ng > 0
    error_g = np.where(inside, ((log_ng - expected_ng) / sd_g) ** 2, 0).sum(axis=0) / inside.sum(axis=0)
    well = inside.mean(axis=0) == 1
    assert well.sum() > 10
    np.testing.assert_allclose(fitted.explained_sg[2][well], (1 - error_g)[well], atol=2e-3)
    assert mean_g.shape == (40,)


def test_variances_are_turned_with_the_positions(cohort, fitted):
    one = cohort[cohort.obs["donor"] == fitted.individuals[1]].copy()
    SiVAE.setup_anndata(one)
    model = SiVAE(one, **MODEL, seed=0)
    model.train(progress=False, accelerator="cpu", **TRAIN)
    alone = gene_space(model)
    np.testing.assert_allclose(fitted.variance_sgk[1].sum(axis=1), alone.variance_gk.sum(axis=1), rtol=1e-4)
    turn_kk = np.linalg.lstsq(alone.position_gk, fitted.position_sgk[1])[0]
    np.testing.assert_allclose(turn_kk @ turn_kk.T, np.eye(3), atol=1e-3)
    np.testing.assert_allclose(fitted.variance_sgk[1], alone.variance_gk @ turn_kk**2, rtol=2e-2, atol=1e-6)


def test_permuting_permutes_and_changes_nothing(cohort, fitted):
    rng = np.random.default_rng(0)
    names = np.array(fitted.individuals)[[2, 0, 3, 1]]
    moved = cohort[rng.permutation(cohort.n_obs), rng.permutation(cohort.n_vars)].copy()
    moved.obs["donor"] = moved.obs["donor"].cat.reorder_categories(names)
    found = fit(moved)
    assert found.individuals == tuple(names) and set(found.genes) == set(fitted.genes)
    s = [fitted.individuals.index(name) for name in found.individuals]
    g = [fitted.genes.index(name) for name in found.genes]
    np.testing.assert_array_equal(found.explained_sg, fitted.explained_sg[s][:, g])
    np.testing.assert_array_equal(found.noise_sg, fitted.noise_sg[s][:, g])
    np.testing.assert_allclose(found.position_sgk, fitted.position_sgk[s][:, g], atol=1e-6)
    np.testing.assert_allclose(found.variance_sgk, fitted.variance_sgk[s][:, g], rtol=1e-4)


def test_failures_are_reported_and_the_rest_kept(cohort, fitted):
    first, second, *rest = fitted.individuals
    donor = cohort.obs["donor"].to_numpy()
    few = cohort[(donor != first) | (np.cumsum(donor == first) <= 15)].copy()
    x = few.X.toarray()
    x[(few.obs["donor"] == second).to_numpy()] = 3
    few.X = sparse.csr_matrix(x)
    found = fit(few)
    assert found.individuals == tuple(rest)
    assert found.failed[first] == (
        "SetupError: 15 cells; expected at least 20. Leave the individual out, or lower min_cells."
    )
    assert found.failed[second] == (
        "SetupError: All 40 genes are constant over its 80 cells. Leave the individual out."
    )
    np.testing.assert_array_equal(found.explained_sg, fitted.explained_sg[2:])
    with pytest.raises(SetupError, match="All 4 individuals failed; of .*: SetupError: 80 cells; expected at least 90"):
        fit(cohort, min_cells=90)


def test_a_gene_that_is_constant_in_an_individual(cohort, fitted):
    x = cohort.X.toarray()
    donor = cohort.obs["donor"].cat.codes.to_numpy()
    x[donor == 1, 5] = 0
    x[donor < 3, 7] = 0
    other = cohort.copy()
    other.X = sparse.csr_matrix(x)
    found = fit(other)
    assert found.left_out == (cohort.var_names[7],) and cohort.var_names[7] not in found.genes
    assert found.varies_sg.sum() == found.varies_sg.size - 1 and not found.varies_sg[1, 5]
    assert (found.position_sgk[1, 5] == 0).all() and (found.variance_sgk[1, 5] == 0).all()
    assert (found.explained_sg[1, 5], found.r2_sg[1, 5], found.noise_sg[1, 5]) == (0, 0, 1)
    assert (found.position_sgk[0, 5] != 0).any()
    other.X = sparse.csr_matrix(x * 0)
    with pytest.raises(SetupError, match="None of the 40 genes varies in half of the 4 individuals"):
        fit(other)


def test_goes_on_and_tells_other_inputs(cohort, fitted, tmp_path):
    first = fit(cohort, folder=tmp_path / "kept")
    assert first.kept == ()
    again = fit(cohort[::-1].copy(), folder=tmp_path / "kept")
    assert set(again.kept) == set(fitted.individuals)  # the order of cells is of no account
    np.testing.assert_array_equal(again.position_sgk, fitted.position_sgk)
    changed = cohort.copy()
    changed.X[0, changed.X[0].indices[0]] += 1
    assert fit(changed, folder=tmp_path / "kept").kept == fitted.individuals[1:]
    assert fit(cohort, folder=tmp_path / "kept", seed=1).kept == ()
    more = TrainOptions(max_steps=9, checks=2, validation_fraction=0.15)
    assert fit(cohort, folder=tmp_path / "kept", train_options={"options": more}).kept == ()
    assert fit(cohort, folder=tmp_path / "kept", train_options={"options": more}).kept == fitted.individuals


def test_covariates_that_are_constant_in_an_individual_are_left_out_there(cohort):
    adata = cohort.copy()
    codes = adata.obs["donor"].cat.codes.to_numpy()
    adata.obs["plate"] = np.where(codes == 0, "a", np.array(["a", "b"])[np.arange(adata.n_obs) % 2])
    found = fit(adata, setup={"batch_key": "plate"})
    assert found.failed == {}
    np.testing.assert_array_equal(found.explained_sg[0], fit(cohort).explained_sg[0])


def test_length_where_none_is_given():
    assert _separate._training({}, 120)["options"].max_steps == 300
    assert _separate._training({}, 900)["options"].max_steps == 900
    assert _separate._training({"max_epochs": 3}, 900)["options"].max_steps is None
    assert _separate._training(TRAIN, 900)["options"].max_steps == 8


def test_says_what_cannot_work(cohort):
    with pytest.raises(SetupError, match="obs has no column 'person'; it has: donor"):
        fit_separately(cohort, "person", genes=["gene_1"], model_options={}, train_options={}, setup={})
    with pytest.raises(SetupError, match=r"1 genes are not in the AnnData \(actin\)"):
        fit(cohort, genes=["gene_1", "actin"])
    with pytest.raises(OptionError, match="setup holds batch, expected some of layer, batch_key"):
        fit(cohort, setup={"batch": "plate"})
    with pytest.raises(OptionError, match="train_options holds checkpoint_dir, which cannot be set for many models"):
        fit(cohort, train_options={"checkpoint_dir": "here"})


@pytest.mark.slow
def test_processes_give_the_same_bits(cohort, fitted):
    found = fit(cohort, n_jobs=2)
    for name in ("position_sgk", "variance_sgk", "explained_sg", "r2_sg", "noise_sg"):
        np.testing.assert_array_equal(getattr(found, name), getattr(fitted, name))


@pytest.mark.slow
@pytest.mark.science
def test_two_halves_of_one_population_agree_and_rewired_genes_move():
    """Four of one population: positions and products agree. A case of severity 1: its rewired genes lose theirs."""
    adata = planted_cohort(5, 500, 80, n_types=1, n_regulators=4, targets=12, severity=[0, 0, 0, 0, 1], n_rewired=1)
    found = fit_separately(
        adata, "donor", genes=list(adata.var_names), model_options={"n_latent": 5}, setup={},
        train_options={"options": TrainOptions(max_steps=150, checks=10)},
    )  # fmt: skip
    loads = (adata.varm["planted_loadings"] != 0).any(axis=1)
    rewired = (adata.var["rewired_hub"] | adata.var["rewired_target"]).to_numpy()
    mean_gk = found.position_sgk[:4].mean(axis=0)
    for s in range(4):
        r = np.corrcoef(found.position_sgk[s][loads].ravel(), mean_gk[loads].ravel())[0, 1]
        assert r > 0.93
    length_sg = (found.position_sgk**2).sum(axis=2)
    assert (length_sg[4, rewired].mean() / length_sg[:4, rewired].mean()) < 0.35
    kept = loads & ~rewired
    assert (length_sg[4, kept].mean() / length_sg[:4, kept].mean()) == pytest.approx(1, abs=0.15)
    assert found.explained_sg[4, rewired].mean() < 0.5 * found.explained_sg[:4, rewired].mean()
    # Independent genes lie at the origin, up to their errors.
    null = ~loads
    assert length_sg[:, null].mean() < 0.2 * length_sg[:4, loads].mean()
