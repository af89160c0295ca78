"""The map against PCA; its association with phenotypes: planted, known in closed form, and none."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from individuals import made_samples
from scipy.spatial.distance import cdist
from scipy.stats import rankdata, spearmanr
from sklearn.decomposition import PCA

from sivae._errors import OptionError, SetupError, SiVAEWarning
from sivae.cohort._map import associate_map, individuals_map
from sivae.cohort._similarity import METHODS, similarity


@pytest.fixture
def samples():
    made = made_samples()
    similarity(made, method="positions")
    return made


def test_the_map_of_positions_is_their_principal_components(samples):
    assert individuals_map(samples, 3) is None
    flat = samples.obsm["sivae_positions"].reshape(16, -1).astype(float)
    scale = np.sqrt((flat**2).sum() / 16)
    pca = PCA(3).fit(flat)
    found = samples.obsm["X_sivae_map"]
    np.testing.assert_allclose(np.abs(found), np.abs(pca.transform(flat)) / scale, atol=1e-6)
    np.testing.assert_allclose(samples.uns["sivae_cohort"]["map"]["share"], pca.explained_variance_ratio_, atol=1e-8)
    assert samples.uns["sivae_cohort"]["similarity"]["method"] == "positions"


@pytest.mark.parametrize("method", METHODS)
def test_a_whole_map_keeps_the_distances_of_every_method(samples, method):
    found = similarity(samples, method=method).to_numpy()
    individuals_map(samples, 15)
    map_sk = samples.obsm["X_sivae_map"]
    np.testing.assert_allclose(cdist(map_sk, map_sk), np.sqrt(2 * (1 - found)), atol=1e-6)


def test_another_similarity_takes_the_map_with_it(samples):
    individuals_map(samples)
    similarity(samples, method="edges")
    assert "X_sivae_map" not in samples.obsm and "map" not in samples.uns["sivae_cohort"]


def test_permuting_individuals_permutes_the_map_and_changes_no_test(samples, rng):
    individuals_map(samples)
    order = rng.permutation(16)
    moved = samples[order].copy()
    individuals_map(moved)
    np.testing.assert_allclose(moved.obsm["X_sivae_map"], samples.obsm["X_sivae_map"][order], atol=1e-8)
    pd.testing.assert_frame_equal(
        associate_map(moved, "severity", n_permutations=199), associate_map(samples, "severity", n_permutations=199)
    )


def test_the_planted_phenotype_is_found(samples):
    for method in ("edges", "positions", "weisfeiler-lehman"):
        similarity(samples, method=method, by_name=method == "weisfeiler-lehman")
        table = associate_map(samples, "severity", n_permutations=999)
        assert table.index.tolist() == ["similarity", "axis 1", "axis 2"]
        assert table.loc["similarity", "p"] <= 0.005 and table.attrs["method"] == method
        assert table.loc["similarity", ["p_given_depth", "p_given_cells"]].max() <= 0.02
    other = associate_map(samples, "age", n_permutations=999)
    assert other.loc["similarity", "p"] > 0.05 and other["r2"].iloc[0] < table["r2"].iloc[0]


def test_numbers_equal_their_definitions(samples):
    individuals_map(samples)
    table = associate_map(samples, "severity", covariates=["age"], n_permutations=999)
    n, x, age = 16, samples.obs["severity"].to_numpy(), samples.obs["age"].to_numpy()
    distance = np.sqrt(2 * (1 - samples.obsp["sivae_similarity"]))
    center = np.eye(n) - 1 / n
    g = -center @ distance**2 @ center / 2

    def hat(*columns):
        design = np.column_stack([np.ones(n), *columns])
        return design @ np.linalg.pinv(design)

    explained = np.trace((hat(x, age) - hat(age)) @ g)
    rest = np.trace((np.eye(n) - hat(x, age)) @ g)
    np.testing.assert_allclose(
        table.loc["similarity", ["pseudo_f", "r2"]].astype(float), [explained / rest * 13, explained / np.trace(g)]
    )
    np.testing.assert_allclose(table["share"].iloc[1:], samples.uns["sivae_cohort"]["map"]["share"])
    for k in (0, 1):
        left = np.eye(n) - hat(rankdata(age))
        a, b = left @ rankdata(samples.obsm["X_sivae_map"][:, k]), left @ rankdata(x)
        np.testing.assert_allclose(table["rho"].iloc[k + 1], a @ b / np.sqrt(a @ a * (b @ b)))
    plain = associate_map(samples, "severity", n_permutations=999)
    for k in (0, 1):
        np.testing.assert_allclose(plain["rho"].iloc[k + 1], spearmanr(samples.obsm["X_sivae_map"][:, k], x)[0])
    assert plain["share"].isna().tolist() == [True, False, False] == plain["rho"].isna().tolist()
    assert plain["r2"].isna().tolist() == [False, True, True] == plain["pseudo_f"].isna().tolist()


def test_kinds_of_phenotype_and_what_is_told_of_them(samples):
    table = associate_map(samples, "phenotype")
    assert table.attrs == {
        "phenotype": "phenotype",
        "covariates": [],
        "method": "positions",
        "kind": "binary",
        "levels": ["control", "case"],
        "n_individuals": 16,
        "left_out": [],
        "n_permutations": 9999,
        "exact": True,
    }
    np.testing.assert_allclose(table.loc["similarity", "p"], 2 / 12870)  # both halves of eight of sixteen
    level = np.digitize(samples.obs["severity"], [0.1, 0.7])
    samples.obs["stage"] = pd.Categorical.from_codes(level, ["none", "early", "late"], ordered=True)
    samples.obs["code"] = level.astype(float)
    ordered = associate_map(samples, "stage", n_permutations=299)
    assert ordered.attrs["kind"] == "ordered" and not ordered.attrs["exact"]
    pd.testing.assert_frame_equal(ordered, associate_map(samples, "code", n_permutations=299))
    samples.obs["stage"] = samples.obs["stage"].cat.as_unordered()
    with pytest.raises(SetupError, match="3 levels without an order"):
        associate_map(samples, "stage")


def test_individuals_without_a_value_are_left_out_and_named(samples):
    kept = samples[[s for s in range(16) if s not in (2, 9)]].copy()
    samples.obs.loc[["donor02", "donor09"], "severity"] = np.nan
    with pytest.warns(SiVAEWarning, match=r"2 of 16 individuals are left out.*donor02, donor09"):
        table = associate_map(samples, "severity", n_permutations=199)
    assert table.attrs["left_out"] == ["donor02", "donor09"] and table.attrs["n_individuals"] == 14
    expected = associate_map(kept, "severity", n_permutations=199)
    columns = ["pseudo_f", "r2", "p", "p_given_depth", "p_given_cells"]
    pd.testing.assert_series_equal(table.loc["similarity", columns], expected.loc["similarity", columns])


def test_controls_that_cannot_be_told_from_the_phenotype_are_not_told(samples):
    samples.obs["sivae_depth"] = 3 + 2 * samples.obs["severity"]
    table = associate_map(samples, "severity", n_permutations=99)
    assert table["p_given_depth"].isna().all() and table["p_given_cells"].notna().all()
    del samples.obs["sivae_depth"]
    assert associate_map(samples, "severity", n_permutations=99)["p_given_depth"].isna().all()
    depth = associate_map(samples, "severity", covariates=["sivae_n_cells"], n_permutations=99)
    assert depth["p_given_cells"].isna().all()


def test_what_depth_alone_does_is_not_found_given_depth(rng):
    samples = made_samples(30, n_changed=0, n_expression=0)
    depth = rng.normal(size=30)
    samples.obs["sivae_depth"] = depth
    samples.obs["severity"] = depth + rng.normal(size=30)
    position = samples.obsm["sivae_positions"].astype(float)
    samples.obsm["sivae_positions"] = position * (1 + 0.1 * depth[:, None, None])
    similarity(samples, method="positions")
    row = associate_map(samples, "severity", n_permutations=999).loc["similarity"]
    assert row["p"] < 0.01 and row["p_given_depth"] > 0.05 and row["p_given_cells"] < 0.01


@pytest.mark.slow
@pytest.mark.science
@pytest.mark.parametrize("covariates", [(), ("age",)])
@pytest.mark.parametrize("method", METHODS)
def test_permuted_phenotypes_are_found_no_more_often_than_at_the_level(method, covariates):
    samples = made_samples(16, n_changed=10, effect=1.0, seed=3)
    similarity(samples, method=method)
    rng, p = np.random.default_rng(8), []
    known = samples.obs[["severity", "age"]].copy()
    for draw in range(200):
        samples.obs[["severity", "age"]] = known.to_numpy()[rng.permutation(16)]
        found = associate_map(samples, "severity", covariates=covariates, n_permutations=199, seed=draw)
        p.append(found["p"].to_numpy())
    rate = (np.array(p) <= 0.05).mean(axis=0)
    assert (rate <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)).all(), rate


def test_errors_say_what_to_do(samples):
    with pytest.raises(OptionError, match="n_components is 16; expected at most 15, one less than the individuals"):
        individuals_map(samples, 16)
    with pytest.raises(OptionError, match="n_components is 0; expected at least 1"):
        associate_map(samples, "severity", n_components=0)
    with pytest.raises(OptionError, match="n_permutations is 5; expected at least 99"):
        associate_map(samples, "severity", n_permutations=5)
    with pytest.raises(SetupError, match="obs has no column 'Severity'"):
        associate_map(samples, "Severity")
    with pytest.raises(OptionError, match="'severity' is the phenotype and among the covariates"):
        associate_map(samples, "severity", covariates=["severity"])
    samples.obs["twice"] = 2 * samples.obs["severity"]
    with pytest.raises(SetupError, match="'twice' and 'severity' cannot be told apart"):
        associate_map(samples, "severity", covariates=["twice"])
    samples.obsp["sivae_similarity"] = np.ones((16, 16))
    with pytest.raises(SetupError, match="cannot be tested by their similarity: Individuals do not differ.*Compare"):
        associate_map(samples, "severity")
    for call in (individuals_map, lambda s: associate_map(s, "severity")):
        with pytest.raises(SetupError, match=r"obsp has no 'sivae_similarity'.*cohort\.similarity\(samples\) first"):
            call(ad.AnnData(np.zeros((5, 3))))
