"""Individuals x genes from one model for all: planted truth, names, permutations and what is refused."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

import sivae
from sivae import _keys
from sivae._errors import NotTrainedError, OptionError, SetupError, SiVAEWarning
from sivae.cohort import _shared
from sivae.cohort._assemble import individual_edges
from sivae.cohort._individuals import individuals_of
from sivae.model._rates import encoder_of, rates

LAYERS = ["projection", "explained_variance", "norm", "degree", "strength"]


def trained(adata: ad.AnnData, n_latent: int = 8, max_epochs: int = 3) -> sivae.SiVAE:
    sivae.SiVAE.setup_anndata(adata)
    model = sivae.SiVAE(adata, n_latent=n_latent)
    model.train(max_epochs=max_epochs, progress=False)
    return model


@pytest.fixture(scope="module")
def cohort():
    adata = sivae.datasets.planted_cohort(12, 150, 120, n_regulators=4, targets=12, n_rewired=1, n_expression=8, seed=1)
    return adata, trained(adata)


@pytest.fixture(scope="module")
def samples(cohort):
    adata, model = cohort
    return sivae.cohort.connectivity(adata, "donor", model=model, cell_type_key="cell_type")


def test_everything_it_promises_is_there(cohort, samples):
    adata, _ = cohort
    assert samples.shape == (12, 120)
    assert list(samples.var_names) == list(adata.var_names)
    assert list(samples.obs_names) == sorted(set(adata.obs["donor"]))
    for name in LAYERS:
        assert np.isfinite(samples.layers[name]).all(), name
        assert (samples.layers[name + "_se"] >= 0).all(), name
    np.testing.assert_array_equal(samples.X, samples.layers["projection"])
    assert samples.obsm[_keys.POSITIONS].shape == (12, 120, 8)
    assert samples.obsm[_keys.MATCHED].shape == (12, 120, 5)
    edges = samples.uns[_keys.COHORT]["edges"]
    assert samples.obsm[_keys.EDGES].shape == samples.obsm[_keys.EDGE_STRENGTH].shape == (12, len(edges))
    assert set(edges["gene_a"]) | set(edges["gene_b"]) <= set(samples.var_names)
    assert np.isfinite(samples.obsm[_keys.EDGE_STRENGTH]).all()
    for column in ("phenotype", "severity", "sex"):
        first = adata.obs.drop_duplicates("donor").set_index("donor").loc[list(samples.obs_names), column]
        assert list(samples.obs[column]) == list(first), column
    assert "cell_type" not in samples.obs
    share = samples.obsm[_keys.COMPOSITION]
    expected = pd.crosstab(adata.obs["donor"], adata.obs["cell_type"], normalize="index")
    np.testing.assert_allclose(share.to_numpy(), expected.loc[share.index, share.columns].to_numpy())


def test_controls_are_means_over_the_individuals_cells(cohort, samples):
    adata, _ = cohort
    counts = adata.X.toarray()
    for name in samples.obs_names[:3]:
        mine = counts[np.asarray(adata.obs["donor"] == name)]
        s = samples.obs_names.get_loc(name)
        np.testing.assert_allclose(
            samples.layers["mean_expression"][s], np.log1p(1e4 * mine.sum(0) / mine.sum()), rtol=1e-5
        )
        np.testing.assert_allclose(samples.layers["detection"][s], (mine > 0).mean(axis=0))
        assert samples.obs[_keys.N_CELLS].iloc[s] == len(mine)
        assert samples.obs[_keys.DEPTH].iloc[s] == pytest.approx(mine.sum(axis=1).mean())


def test_degrees_are_those_of_the_edges(samples):
    edges, present = samples.uns[_keys.COHORT]["edges"], samples.obsm[_keys.EDGES].toarray()
    for gene in samples.var_names[:10]:
        touching = ((edges["gene_a"] == gene) | (edges["gene_b"] == gene)).to_numpy()
        np.testing.assert_array_equal(present[:, touching].sum(axis=1), samples[:, gene].layers["degree"].ravel())


def test_rewired_genes_lose_connectivity_and_changed_means_do_not(samples):
    severity = samples.obs["severity"].to_numpy()
    rho = np.array([stats.pearsonr(severity, value)[0] for value in samples.X.T])
    rewired = (samples.var["rewired_hub"] | samples.var["rewired_target"]).to_numpy()
    others = ~rewired & ~samples.var["expression_only"].to_numpy()
    assert np.median(rho[rewired]) < -0.8
    assert abs(np.median(rho[others])) < 0.15
    assert rho[samples.var["rewired_hub"]].max() < np.quantile(rho[others], 0.02)
    assert (np.abs(rho[samples.var["expression_only"]]) > 0.576).mean() <= 0.25  # 0.576: p = .05 with 12


def test_standard_errors_are_those_of_new_cells():
    """The spread over independent draws of cells of one individual, against the errors stated."""
    people = sivae.datasets.planted_cohort(
        40, 120, 60, n_regulators=3, targets=10, n_rewired=0, n_expression=0, severity=[0.0] * 40
    )
    people.obs["phenotype"] = "control"
    samples = sivae.cohort.connectivity(people, "donor", model=trained(people, 4), cell_type_key="cell_type")
    # The jackknife of a product of two noises says up to the square root of 2 too much.
    for name, least in (("projection", 0.8), ("strength", 0.8), ("explained_variance", 0.65)):
        seen_g = samples.layers[name].std(axis=0, ddof=1)
        said_g = np.sqrt((samples.layers[name + "_se"] ** 2).mean(axis=0))
        assert least < np.median(seen_g / said_g) < 1.2, name


def test_lengths_do_not_grow_as_cells_get_fewer():
    """Half of 30 alike individuals have a quarter of the cells; connectivity is the same."""
    people = sivae.datasets.planted_cohort(
        30, 160, 60, n_regulators=3, targets=10, n_rewired=0, n_expression=0, severity=[0.0] * 30
    )
    number = people.obs.groupby("donor", observed=True).cumcount().to_numpy()
    who = people.obs["donor"].cat.codes.to_numpy()
    kept = people[(who % 2 == 0) | (number < 40)].copy()
    found = sivae.cohort.connectivity(kept, "donor", model=trained(people, 4), cell_type_key="cell_type")
    few = found.obs[_keys.N_CELLS].to_numpy() < 100
    assert few.sum() == 15
    for name in ("projection", "explained_variance", "strength"):
        mean_s = found.layers[name].mean(axis=1)
        assert stats.ttest_ind(mean_s[few], mean_s[~few], equal_var=False).pvalue > 0.01, name
    noise_s = (found.layers["projection_se"] ** 2).mean(axis=1)
    assert noise_s[few].mean() / noise_s[~few].mean() == pytest.approx(4, rel=0.2)  # what plain squares would add


def test_permuting_cells_and_genes_permutes_nothing_but_the_output(cohort):
    adata, model = cohort
    samples = sivae.cohort.connectivity(adata, "donor", model=model, cell_type_key="cell_type", matched_cells=80)
    rng = np.random.default_rng(3)
    moved = adata[rng.permutation(adata.n_obs)][:, rng.permutation(adata.n_vars)].copy()
    other = sivae.cohort.connectivity(moved, "donor", model=model, cell_type_key="cell_type", matched_cells=80)
    assert list(other.var_names) == list(moved.var_names)
    other = other[:, samples.var_names]
    for name in LAYERS:
        np.testing.assert_allclose(other.layers[name], samples.layers[name], atol=1e-6, err_msg=name)
        np.testing.assert_allclose(other.layers[name + "_se"], samples.layers[name + "_se"], atol=1e-6, err_msg=name)
    at = moved.var_names.get_indexer(samples.var_names)
    np.testing.assert_allclose(other.obsm[_keys.MATCHED][:, at], samples.obsm[_keys.MATCHED], atol=1e-5)


def test_the_same_seed_gives_the_same_and_another_draws_anew(cohort, samples):
    adata, model = cohort
    again = sivae.cohort.connectivity(adata, "donor", model=model, cell_type_key="cell_type")
    other = sivae.cohort.connectivity(adata, "donor", model=model, cell_type_key="cell_type", seed=1, matched_cells=99)
    np.testing.assert_array_equal(again.layers["projection_se"], samples.layers["projection_se"])
    np.testing.assert_array_equal(again.obsm[_keys.MATCHED], samples.obsm[_keys.MATCHED])
    np.testing.assert_array_equal(other.X, samples.X)
    assert (other.obsm[_keys.MATCHED] != samples.obsm[_keys.MATCHED]).any()


def test_parts_of_the_cells_add_up_to_the_position(cohort):
    adata, model = cohort
    read = rates(model, adata)
    people = individuals_of(adata, "donor", cell_type_key="cell_type", min_cells=20)
    cells_s = [_shared._cells_of(read, people, s) for s in range(3)]
    reading, position_sgk, _, _ = _shared._read(cells_s, encoder_of(model, read.genes), len(people.types), 0.01)
    for cells, position_gk in zip(cells_s, position_sgk, strict=True):
        part_jgk, freedom_j = reading.parts(cells, np.arange(len(cells.type_c)) % 7, 7)
        np.testing.assert_allclose(part_jgk.sum(axis=0) / freedom_j.sum(), position_gk, atol=1e-10)
        np.testing.assert_allclose(reading.position(cells), position_gk, atol=1e-10)
    assert np.abs(reading.composition.shift(np.bincount(cells_s[0].type_c) - 1.0)).max() > 1e-3


def test_it_survives_the_disk(samples, tmp_path):
    samples.write_h5ad(tmp_path / "samples.h5ad")
    back = ad.read_h5ad(tmp_path / "samples.h5ad")
    np.testing.assert_array_equal(back.obsm[_keys.POSITIONS], samples.obsm[_keys.POSITIONS])
    assert list(back.uns[_keys.COHORT]["edges"]["gene_a"]) == list(samples.uns[_keys.COHORT]["edges"]["gene_a"])
    assert sparse.issparse(back.obsm[_keys.EDGES])


def test_names_with_slashes_can_be_written(cohort, tmp_path):
    adata, model = cohort
    changed = adata.copy()
    changed.obs["cell_type"] = changed.obs["cell_type"].astype(str) + " naive/central"
    who = changed.obs["donor"].astype(str).to_numpy(dtype=object)
    who[:5] = "a/b"
    changed.obs["donor"] = who
    with pytest.warns(SiVAEWarning, match="a/b"):
        found = sivae.cohort.connectivity(changed, "donor", model=model, cell_type_key="cell_type")
    found.write_h5ad(tmp_path / "samples.h5ad")  # a slash would be a warning, which is an error here
    back = ad.read_h5ad(tmp_path / "samples.h5ad")
    assert list(back.uns[_keys.COHORT]["failed"]) == ["a\N{DIVISION SLASH}b"]
    assert all("naive\N{DIVISION SLASH}central" in name for name in back.obsm[_keys.COMPOSITION].columns)


def test_without_types_clusters_say_what_the_composition_is(cohort):
    adata, model = cohort
    found = sivae.cohort.connectivity(adata, "donor", model=model)
    share = found.obsm[_keys.COMPOSITION]
    assert list(share.columns)[0] == "cluster0"
    np.testing.assert_allclose(share.sum(axis=1), 1.0)
    assert found.uns[_keys.COHORT]["cell_type_key"] == ""


def test_values_that_are_not_counts():
    rng = np.random.default_rng(4)
    factor_c = rng.standard_normal((240, 1))
    x_cg = factor_c * np.r_[np.ones(8), np.zeros(22)] + rng.standard_normal((240, 30))
    obs = pd.DataFrame({"who": np.repeat(list("abcd"), 60)}, index=[f"c{i}" for i in range(240)])
    adata = ad.AnnData(x_cg.astype(np.float32), obs=obs)
    adata.var_names = [f"g{g}" for g in range(30)]
    found = sivae.cohort.connectivity(adata, "who", model=trained(adata, 2, 2))
    assert found.X[:, :8].min() > np.abs(found.X[:, 8:]).max()
    np.testing.assert_allclose(found.layers["mean_expression"][0], x_cg[:60].mean(axis=0), rtol=1e-4, atol=1e-6)


def test_a_gene_absent_from_an_individual_is_unknown_there(cohort):
    adata, model = cohort
    changed = adata.copy()
    who = str(changed.obs["donor"].iloc[0])
    rows = np.asarray(changed.obs["donor"] == who)
    dense = changed.X.toarray()
    dense[rows, 5] = 0
    changed.X = sparse.csr_matrix(dense)
    found = sivae.cohort.connectivity(changed, "donor", model=model, cell_type_key="cell_type")
    gene = changed.var_names[5]
    assert np.isnan(found[who, gene].layers["projection"]).all()
    assert np.isfinite(found.layers["projection"]).sum() == found.X.size - 1
    assert np.isfinite(found.obsm[_keys.POSITIONS]).all()


def test_individuals_with_few_cells_and_cells_of_nobody(cohort):
    adata, model = cohort
    obs = adata.obs["donor"].astype(str).to_numpy(dtype=object)
    first = obs == obs[0]
    obs[np.flatnonzero(first)[10:]] = None
    changed = adata.copy()
    changed.obs["who"] = obs
    with pytest.warns(SiVAEWarning, match=f"too few cells and are left out: {adata.obs['donor'].iloc[0]}"):
        found = sivae.cohort.connectivity(changed, "who", model=model, cell_type_key="cell_type")
    assert found.n_obs == 11
    assert found.uns[_keys.COHORT]["failed"] == {str(adata.obs["donor"].iloc[0]): "10 cells, expected at least 20"}


@pytest.mark.slow
def test_it_trains_what_it_needs():
    adata = sivae.datasets.planted_cohort(4, 40, 60, n_regulators=2, targets=8, n_rewired=1, n_expression=2)
    found = sivae.cohort.connectivity(adata, "donor", n_latent=3)
    assert found.uns[_keys.COHORT]["n_latent"] == 3
    assert "setup" in adata.uns["sivae"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sample_key": "person"}, SetupError, "obs has no column 'person'; it has:"),
        ({"cell_type_key": "kind"}, SetupError, "obs has no column 'kind'"),
        ({"min_cells": 10_000}, SetupError, "has 0 individuals with enough cells"),
        ({"mode": "both"}, OptionError, "'both'"),
        ({"edge_share": 2}, OptionError, "edge_share"),
        ({"n_folds": 1}, OptionError, "n_folds"),
        ({"model": "model"}, OptionError, "expected a trained SiVAE"),
        ({"mode": "separate"}, OptionError, "trains one for each individual"),
    ],
)
def test_what_cannot_work_is_said_first(cohort, change, error, words):
    adata, model = cohort
    options = {"sample_key": "donor", "model": model} | change
    with pytest.raises(error, match=words):
        sivae.cohort.connectivity(adata, options.pop("sample_key"), **options)


def test_an_untrained_model_and_a_missing_type_are_said(cohort):
    adata, model = cohort
    with pytest.raises(NotTrainedError, match="not trained yet"):
        sivae.cohort.connectivity(adata, "donor", model=sivae.SiVAE(adata, n_latent=2))
    changed = adata.copy()
    changed.obs["kind"] = changed.obs["cell_type"].astype(object)
    changed.obs.iloc[3, changed.obs.columns.get_loc("kind")] = None
    with pytest.raises(SetupError, match=f"missing for 1 cells, the first being '{changed.obs_names[3]}'"):
        sivae.cohort.connectivity(changed, "donor", model=model, cell_type_key="kind")


@pytest.fixture(scope="module")
def apart():
    adata = sivae.datasets.planted_cohort(
        6, 60, 50, n_regulators=2, targets=10, n_rewired=1, n_expression=2, severity=[0, 0, 0, 1, 1, 1], seed=2
    )
    dense = adata.X.toarray()
    dense[np.asarray(adata.obs["donor"] == adata.obs["donor"].iloc[0]), 40] = 0
    adata.X = sparse.csr_matrix(dense)
    return adata


@pytest.mark.slow
def test_one_model_for_each_individual(apart, tmp_path):
    found = sivae.cohort.connectivity(
        apart, "donor", mode="separate", n_latent=3, folder=tmp_path, cell_type_key="cell_type"
    )
    assert found.shape == (6, 50)
    assert found.uns[_keys.COHORT]["mode"] == "separate"
    first = str(apart.obs["donor"].iloc[0])
    assert np.isnan(found[first, apart.var_names[40]].layers["projection"]).all()
    assert np.isfinite(found.X).sum() == found.X.size - 1
    assert _keys.MATCHED not in found.obsm
    assert "explained_variance_se" not in found.layers
    severity = found.obs["severity"].to_numpy()
    targets = found.var["rewired_target"].to_numpy()
    kept = ~targets & ~found.var["rewired_hub"].to_numpy()
    for layer in ("projection", "norm", "explained_variance"):
        values = found.layers[layer]
        change_g = np.nanmean(values[severity == 1], axis=0) - np.nanmean(values[severity == 0], axis=0)
        assert stats.mannwhitneyu(change_g[targets], change_g[kept], alternative="less").pvalue < 0.01, layer
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = sivae.cohort.connectivity(
        apart, "donor", mode="separate", n_latent=3, folder=tmp_path, cell_type_key="cell_type"
    )
    np.testing.assert_array_equal(again.X, found.X)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_separate_models_stay_with_their_individuals_whatever_the_order_of_names(apart):
    """Named so that the individual without a gene comes first in the data and last by name."""
    changed = apart.copy()
    order = list(dict.fromkeys(apart.obs["donor"].astype(str)))
    new = {name: f"p{9 - at}" for at, name in enumerate(order)}
    changed.obs["donor"] = [new[name] for name in apart.obs["donor"].astype(str)]
    found = sivae.cohort.connectivity(changed, "donor", mode="separate", n_latent=2)
    assert list(found.obs_names) == sorted(new.values())
    unknown = np.isnan(found[:, apart.var_names[40]].layers["projection"].ravel())
    assert list(found.obs_names[unknown]) == [new[order[0]]] == ["p9"]
    assert found[unknown, apart.var_names[40]].layers["detection"] == 0


@pytest.mark.slow
def test_an_individual_whose_model_fails_is_said_and_the_rest_kept(apart):
    changed = apart.copy()
    first = str(apart.obs["donor"].iloc[0])
    dense = changed.X.toarray()
    dense[np.asarray(changed.obs["donor"] == first)] = 3.0
    changed.X = sparse.csr_matrix(dense)
    with pytest.warns(SiVAEWarning, match=f"1 individuals failed and are left out: {first}"):
        found = sivae.cohort.connectivity(changed, "donor", mode="separate", n_latent=2)
    assert first not in found.obs_names
    assert found.n_obs == 5
    assert "constant" in found.uns[_keys.COHORT]["failed"][first]


def test_a_strong_pair_of_one_individual_is_tested_though_nobodys_graph_has_it():
    rng = np.random.default_rng(0)
    mean_gk = 0.01 * rng.standard_normal((40, 3))
    mean_gk[:10] *= 100
    own_sgk = np.repeat(mean_gk[None], 3, axis=0)
    own_sgk[1, [20, 30]] = [9.0, 0.0, 0.0]
    spaces = _shared.Spaces(np.repeat(mean_gk[None], 3, axis=0), own_sgk, mean_gk, {}, None, 0)
    first_e, second_e, present_se = individual_edges(spaces, 0.01)
    at = np.flatnonzero((first_e == 20) & (second_e == 30))
    assert len(at) == 1
    assert present_se[:, at].nnz == 0
    assert present_se.nnz == 3 * round(0.01 * 40 * 39 / 2)
