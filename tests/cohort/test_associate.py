"""Genes whose connectivity goes with a phenotype: planted ones found, followers turned away, nulls silent."""

import numpy as np
import pandas as pd
import pytest
from individuals import made_samples
from scipy import stats

from sivae import _keys
from sivae._errors import OptionError, SetupError, SiVAEWarning
from sivae.cohort._associate import SHOWN, associate
from sivae.cohort._controls import CONTROLS, VERDICTS, composition_axes, read_controls, verdicts
from sivae.stats._fdr import adjust
from sivae.stats._given import Given
from sivae.stats._precision import precision_weights

CHANGED, FOLLOWERS = slice(0, 5), slice(5, 10)
FEW = {"n_permutations": 2_000}
NUMBERS = SHOWN[:-1]


def same(one, other):
    assert one["verdict"].tolist() == other["verdict"].tolist()
    pd.testing.assert_frame_equal(one[NUMBERS], other[NUMBERS], rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------------------------------------------- planted truth


@pytest.mark.parametrize("phenotype", ["severity", "phenotype", "case", "stage"])
@pytest.mark.parametrize("method", ["regression", "rank"])
def test_planted_genes_are_found_and_followers_are_turned_away(phenotype, method):
    samples = made_samples(20)
    samples.obs["case"] = (samples.obs["severity"] > 0).to_numpy()
    stage = np.digitize(samples.obs["severity"], [0.1, 0.7])
    samples.obs["stage"] = pd.Categorical.from_codes(stage, ["none", "mild", "severe"], ordered=True)
    table = associate(samples, phenotype, method=method, covariates=["sex"], **FEW)
    assert table["verdict"].iloc[CHANGED].tolist() == ["associated"] * 5
    assert (table["verdict"].iloc[FOLLOWERS] == "follows mean expression").all()
    assert (table["verdict"].iloc[10:] == "associated").sum() <= 1
    assert (table["effect"].iloc[CHANGED] < 0).all() and (table["rho"].iloc[CHANGED] < 0).all()
    kind = {"severity": "numeric", "phenotype": "binary", "case": "binary", "stage": "ordered"}[phenotype]
    assert table.attrs["kind"] == kind
    assert list(table.columns) == SHOWN and table.index.name == "gene"
    assert set(table["verdict"]) <= set(VERDICTS)


def test_the_effect_is_per_unit_of_the_phenotype():
    table = associate(made_samples(40, effect=0.8), "severity", **FEW)
    part = table.iloc[CHANGED]
    assert np.allclose(part["effect"], -0.8, atol=0.08)
    assert ((part["low"] < -0.75) & (part["high"] > -0.85)).all()
    assert np.allclose(part["relative_effect"], part["effect"] / part["mean_connectivity"])


@pytest.mark.science
@pytest.mark.parametrize("n_individuals", [8, 16])
def test_verdicts_over_cohorts(n_individuals):
    """Strong effects over 8 cohorts, the controls of individuals going with severity by chance only."""
    kept, followers, null = 0, 0, 0
    for seed in range(8):
        table = associate(made_samples(n_individuals, seed=seed), "severity", n_permutations=999)
        called = (table["verdict"] == "associated").to_numpy()
        kept, followers, null = (
            kept + called[CHANGED].sum(),
            followers + called[FOLLOWERS].sum(),
            null + called[10:].sum(),
        )
    assert kept >= 36
    assert followers <= 3
    assert null <= 400 * 0.05 * 10 / 60 + 4 * 1.9


@pytest.mark.science
def test_a_null_finds_nothing():
    """The same phenotype over individuals in another order: anything called in at most 5 % of cohorts."""
    found = []
    for seed in range(40):
        samples = made_samples(12, 40, n_changed=0, n_expression=0, seed=seed)
        samples.obs["severity"] = np.random.default_rng(seed).permutation(samples.obs["severity"])
        table = associate(samples, "severity", controls=False, n_permutations=9_999)
        found.append((table["q"] <= 0.05).any())
    assert np.sum(found) <= stats.binom.ppf(0.999, 40, 0.05)


# ----------------------------------------------------------------------------------------------------------- the table


def test_numbers_are_those_of_weighted_least_squares():
    samples = made_samples(12, 20)
    table = associate(samples, "severity", covariates=["age", "sex"], **FEW)
    x_s, age_s = (samples.obs[name].to_numpy(float) for name in ("severity", "age"))
    sex_s = (samples.obs["sex"] == "1").to_numpy(float)
    y_sg = samples.layers["projection"]
    weights_sg = precision_weights(y_sg, samples.layers["projection_se"], x_s, np.column_stack([age_s, sex_s]))

    def fit(g, *controls):
        root_s = np.sqrt(weights_sg[:, g])
        design = root_s[:, None] * np.column_stack([x_s, np.ones(12), age_s, sex_s, *controls])
        beta, rss, rank, _ = np.linalg.lstsq(design, root_s * y_sg[:, g], rcond=None)
        se = np.sqrt(rss[0] / (12 - rank) * np.linalg.inv(design.T @ design)[0, 0])
        return beta[0], se, 2 * stats.t.sf(abs(beta[0] / se), 12 - rank)

    type_axes = composition_axes(samples.obsm[_keys.COMPOSITION])
    for g in (0, 6, 15):
        row = table.iloc[g]
        effect, se, p = fit(g)
        assert np.allclose([row["effect"], row["se"], row["t"]], [effect, se, effect / se])
        assert 0.5 < row["p"] / max(p, 1 / 2001) < 2
        columns = {
            "expression": samples.layers[_keys.MEAN_EXPRESSION][:, g],
            "detection": samples.layers[_keys.DETECTION][:, g],
            "depth": np.log(samples.obs[_keys.DEPTH]),
            "cells": np.log(samples.obs[_keys.N_CELLS]),
            "composition": type_axes,
        }
        for name, values in columns.items():
            assert np.isclose(row[f"p_given_{name}"], fit(g, values)[2])
    assert np.allclose(table["mean_connectivity"], y_sg.mean(axis=0))
    assert np.allclose(table["q"], adjust(table["p"].to_numpy()))
    line = stats.linregress(x_s, samples.layers[_keys.MEAN_EXPRESSION][:, 6])
    plain = associate(samples, "severity", weights="none", **FEW)
    assert np.isclose(plain["expression_effect"].iloc[6], line.slope)
    assert np.isclose(plain["rho"].iloc[6], stats.spearmanr(x_s, y_sg[:, 6]).statistic)
    assert np.isclose(plain["effect"].iloc[6], stats.linregress(x_s, y_sg[:, 6]).slope)


def test_matched_draws_are_tested_one_by_one():
    samples = made_samples(8, 12)
    table = associate(samples, "phenotype", **FEW)
    case = (samples.obs["phenotype"] == "case").to_numpy()
    draws_sgr = np.asarray(samples.obsm[_keys.MATCHED], float)
    assert np.allclose(table["effect_matched"], (draws_sgr[case].mean(0) - draws_sgr[~case].mean(0)).mean(axis=1))

    def exact(y_s):
        options = {"permutation_type": "independent", "n_resamples": np.inf}
        return stats.permutation_test((y_s[case], y_s[~case]), lambda a, b: a.mean() - b.mean(), **options).pvalue

    for g in (0, 11):
        assert np.isclose(table["p_matched"].iloc[g], np.median([exact(draws_sgr[:, g, r]) for r in range(4)]))
    assert table.attrs["exact"]


def test_draws_of_other_genes_are_not_read():
    samples = made_samples(8, 12)
    part = samples[:, 3:7].copy()  # obsm stays whole
    assert associate(part, "phenotype", **FEW)["p_matched"].isna().all()
    samples.uns[_keys.COHORT]["genes"] = list(samples.var_names)
    part = samples[:, [7, 3]].copy()
    part.var_names = ["gene007", "new"]
    found = associate(part, "phenotype", **FEW)["p_matched"]
    assert found["gene007"] == associate(samples, "phenotype", **FEW)["p_matched"]["gene007"]
    assert np.isnan(found["new"])


def test_the_method_says_where_p_comes_from():
    samples = made_samples(14, 20)
    regression, rank = (associate(samples, "severity", method=method, **FEW) for method in ("regression", "rank"))
    for name in ("effect", "se", "low", "high", "t", "rho", "p_rank"):
        assert np.array_equal(regression[name], rank[name])
    assert np.array_equal(rank["p"], rank["p_rank"]) and not np.array_equal(regression["p"], rank["p"])


def test_attributes():
    samples = made_samples(12, 10)
    samples.obs.loc["donor03", "severity"] = np.nan
    with pytest.warns(SiVAEWarning, match="1 of 12 individuals are left out .*donor03"):
        table = associate(samples, "severity", covariates=["age"], layer="degree", method="rank", fdr=0.1, **FEW)
    assert table.attrs == {
        "phenotype": "severity",
        "covariates": ["age"],
        "layer": "degree",
        "method": "rank",
        "fdr": 0.1,
        "n_individuals": 11,
        "left_out": ["donor03"],
        "kind": "numeric",
        "levels": [],
        "exact": False,
    }
    assert table["p_matched"].isna().all()  # the draws are of the projection
    assert associate(samples[4:], "phenotype", **FEW).attrs["levels"] == ["control", "case"]


# --------------------------------------------------------------------------------------------------------- invariances


@pytest.mark.parametrize("phenotype", ["severity", "phenotype"])
def test_the_order_of_individuals_and_genes_does_not_matter(phenotype):
    samples = made_samples(14, 25)
    samples.layers["projection"][2, 3] = np.nan
    samples.uns[_keys.COHORT]["genes"] = list(samples.var_names)
    rng = np.random.default_rng(1)
    plain = associate(samples, phenotype, covariates=["age"], **FEW)
    same(plain, associate(samples[rng.permutation(14)].copy(), phenotype, covariates=["age"], **FEW))
    genes = rng.permutation(25)
    same(plain.iloc[genes], associate(samples[:, genes].copy(), phenotype, covariates=["age"], **FEW))
    numbers = [name for name in NUMBERS if name != "q"]
    some = associate(samples[:, genes[:9]].copy(), phenotype, covariates=["age"], **FEW)
    pd.testing.assert_frame_equal(some[numbers], plain.iloc[genes[:9]][numbers])


def test_seeds():
    samples = made_samples(12, 15)
    one, again, other = (associate(samples, "severity", seed=seed, **FEW) for seed in (0, 0, 1))
    same(one, again)
    assert not np.array_equal(one["p"], other["p"]) and np.array_equal(one["t"], other["t"])


def test_units():
    samples = made_samples(12, 15)
    samples.obs["percent"] = 100 * samples.obs["severity"] + 7
    one, other = (associate(samples, name, **FEW) for name in ("severity", "percent"))
    assert np.allclose(one["effect"], 100 * other["effect"]) and np.allclose(one["p"], other["p"])


# ----------------------------------------------------------------------------------------------------- missing and few


def test_genes_that_some_individuals_lack():
    samples = made_samples(12, 10)
    whole = associate(samples, "severity", **FEW)
    holes = samples.copy()
    holes.layers["projection"][[1, 8], 0] = np.nan
    holes.layers["projection"][3:, 4] = np.nan
    holes.layers["projection"][:, 5] = np.nan
    holes.layers[_keys.MEAN_EXPRESSION][2, 7] = np.nan
    table = associate(holes, "severity", **FEW)
    fewer = samples[np.setdiff1d(np.arange(12), [1, 8])].copy()
    # The axes of the composition are those of all individuals.
    numbers = [name for name in NUMBERS if name not in ("q", "p_given_composition")]
    pd.testing.assert_frame_equal(table[numbers].iloc[[0]], associate(fewer, "severity", **FEW)[numbers].iloc[[0]])
    assert table["verdict"].iloc[[4, 5]].tolist() == ["untested"] * 2
    assert table[NUMBERS].iloc[[4, 5]].isna().all().all()
    assert np.isnan(table["p_given_expression"].iloc[7]) and np.isfinite(table["p_given_detection"].iloc[7])
    others = [1, 2, 3, 6, 8, 9]
    pd.testing.assert_frame_equal(table[numbers].iloc[others], whole[numbers].iloc[others])
    assert np.allclose(table["q"], adjust(table["p"].to_numpy()), equal_nan=True)


def test_individuals_without_values_are_left_out():
    samples = made_samples(12, 10)
    samples.layers["projection"][4] = np.nan
    with pytest.warns(SiVAEWarning, match="no values: donor04"):
        table = associate(samples, "severity", **FEW)
    assert table.attrs["left_out"] == ["donor04"] and table["p"].notna().all()


def test_every_gene_may_be_untested():
    samples = made_samples(8, 8)
    samples.layers["projection"][~np.eye(8, dtype=bool)] = np.nan
    table = associate(samples, "severity", **FEW)
    assert (table["verdict"] == "untested").all() and table[NUMBERS].isna().all().all()


def test_without_controls():
    samples = made_samples(12, 20)
    table = associate(samples, "severity", controls=False, **FEW)
    assert list(table.columns) == [*SHOWN[:11], "verdict"]
    assert set(table["verdict"]) == {"associated", "not associated"}
    bare = samples.copy()
    for key in (_keys.MEAN_EXPRESSION, _keys.DETECTION, "projection_se"):
        del bare.layers[key]
    del bare.obsm[_keys.COMPOSITION], bare.obsm[_keys.MATCHED]
    bare.obs = bare.obs.drop(columns=[_keys.DEPTH, _keys.N_CELLS])
    found = associate(bare, "severity", **FEW)
    assert list(found.columns) == SHOWN
    assert found[[*SHOWN[11:-1]]].isna().all().all()
    assert np.allclose(found["effect"], associate(samples, "severity", weights="none", **FEW)["effect"])


def test_constant_genes_are_not_associated():
    samples = made_samples(12, 10)
    samples.layers["projection"][:, 2] = 0.3
    row = associate(samples, "severity", **FEW).iloc[2]
    assert (row["effect"], row["p"], row["p_rank"], row["verdict"]) == (0, 1, 1, "not associated")


def test_so_few_that_nothing_can_be_found():
    samples = made_samples(6, 10)
    with pytest.warns(SiVAEWarning, match="With these 6 individuals no p-value can be below 0.1: there are 20 arrange"):
        table = associate(samples, "phenotype", **FEW)
    assert np.isclose(table["p"].min(), 0.1) and table.attrs["exact"]


# ------------------------------------------------------------------------------------------------------------ controls


def test_depth_cells_and_composition_are_followed():
    rng = np.random.default_rng(3)
    for key, words in ((_keys.DEPTH, "follows depth"), (_keys.N_CELLS, "follows number of cells")):
        samples = made_samples(20, 30, n_changed=0, n_expression=0)
        values = np.exp(0.8 * samples.obs["severity"].to_numpy() + 0.15 * rng.normal(size=20))
        samples.obs[key] = 1000 * values
        samples.layers["projection"][:, :5] += np.log(values)[:, None]
        table = associate(samples, "severity", **FEW)
        assert (table["verdict"].iloc[:5] == words).sum() >= 4, key
    samples = made_samples(20, 30, n_changed=0, n_expression=0)
    share = 0.2 + 0.5 * np.clip(samples.obs["severity"].to_numpy() + 0.15 * rng.normal(size=20), 0, 1)
    composition = np.column_stack([share, 0.6 * (1 - share), 0.4 * (1 - share)])
    samples.obsm[_keys.COMPOSITION] = pd.DataFrame(composition, index=samples.obs_names, columns=list("abc"))
    samples.layers["projection"][:, :5] += np.log(share / (1 - share))[:, None]
    assert (associate(samples, "severity", **FEW)["verdict"].iloc[:5] == "follows composition").sum() >= 4


def test_what_equal_numbers_of_cells_do_not_show():
    samples = made_samples(16, 30)
    matched = np.asarray(samples.obsm[_keys.MATCHED]).copy()
    matched[:, :3] = 1 + 0.05 * np.random.default_rng(0).normal(size=matched[:, :3].shape)
    samples.obsm[_keys.MATCHED] = matched
    table = associate(samples, "severity", **FEW)
    assert table["verdict"].iloc[:5].tolist() == ["not with equal numbers of cells"] * 3 + ["associated"] * 2


def test_verdicts_by_hand():
    def given(effect, p, control_p):
        return Given(*(np.array(values, float) for values in (effect, p, control_p)))

    effect_g, q_g = np.array([-1, -1, -1, -1, 1, 1, -1, 0.0]), np.array([0.01] * 6 + [0.2, np.nan])
    # A fall by more than half; p lost with a control by chance; with one that goes with the phenotype; turned round.
    expression = given(
        [-0.4, -0.9, -0.9, 0.3, 0.9, 0.9, 0, 0], [0.01, 0.2, 0.2, 0.9, 0, 0, 1, 1], [1, 0.5, 0, 1, 0, 0, 0, 0]
    )
    depth = given([0.0] * 4 + [0.1, 0.9, 0, 0], [1] * 5 + [0] * 3, [1] * 8)
    matched = np.array([0, 0, 0, 0, 0, 0.3, 0, 0.0]), np.array([1] * 5 + [0.3, 1, 1.0])
    found = verdicts(effect_g, q_g, fdr=0.05, given={"expression": expression, "depth": depth}, matched=matched)
    follows = "follows mean expression"
    assert found.tolist() == [
        follows,
        "follows depth",
        follows,
        follows,
        "follows depth",
        "not with equal numbers of cells",
        "not associated",
        "untested",
    ]


def test_composition_axes_are_principal_components_of_log_ratios():
    rng = np.random.default_rng(0)
    share_st = rng.dirichlet([5, 3, 2, 1], 14)
    share_st[0, 3] = 0
    filled = np.where(share_st > 0, share_st, share_st[share_st > 0].min() / 2)
    ratio_st = np.log(filled / stats.gmean(filled, axis=1, keepdims=True))
    found = composition_axes(share_st)
    assert found.shape == (14, 2)
    values, vectors = np.linalg.eigh(np.cov(ratio_st, rowvar=False))
    expected = (ratio_st - ratio_st.mean(axis=0)) @ vectors[:, ::-1][:, :2]
    assert np.allclose(np.abs(found), np.abs(expected))
    assert composition_axes(share_st[:11]).shape == (11, 1) and composition_axes(share_st[:, :2]).shape == (14, 1)


def test_controls_that_there_are():
    samples = made_samples(12, 6)
    rows = np.arange(12)
    assert set(read_controls(samples, rows)) == set(CONTROLS)
    samples.obsm[_keys.COMPOSITION] = samples.obsm[_keys.COMPOSITION].iloc[:, :1]
    assert set(read_controls(samples, rows)) == set(CONTROLS) - {"composition"}


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "ols"}, "method is 'ols'; expected one of 'regression', 'rank'"),
        ({"weights": "yes"}, "weights is 'yes'; expected one of 'precision', 'none'"),
        ({"fdr": 5}, "fdr is 5; expected a number between 0 and 1"),
        ({"n_permutations": 3}, "n_permutations is 3; expected at least 99"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"covariates": "sex"}, r"covariates=\['sex'\]"),
    ],
)
def test_options_that_cannot_work(options, words):
    with pytest.raises(OptionError, match=words):
        associate(made_samples(8, 6), "severity", **options)


def test_what_is_not_there():
    samples = made_samples(8, 6)
    with pytest.raises(SetupError, match="no column 'severty'.*Is it 'severity'"):
        associate(samples, "severty")
    with pytest.raises(SetupError, match="no layer 'degre'.*Is it 'degree'"):
        associate(samples, "severity", layer="degre")
    with pytest.raises(SetupError, match="Found str .*expected an AnnData"):
        associate("samples.h5ad", "severity")
    samples.obs["batch"] = samples.obs["phenotype"].astype(str)
    with pytest.raises(SetupError, match="'batch' and 'phenotype' cannot be told apart"):
        associate(samples, "phenotype", covariates=["batch"])


def test_warnings_point_at_the_line_of_the_user():
    samples = made_samples(8, 6)
    samples.obs["site"] = "one"
    with pytest.warns(SiVAEWarning, match="'site' has one value") as caught:
        associate(samples, "severity", covariates=["site"], **FEW)
    assert caught[0].filename == __file__


def test_where_weights_are_used_p_is_not_below_that_of_t():
    found = associate(made_samples(seed=5), "severity", n_permutations=9_999)
    by_t = 2 * stats.t.sf(found["t"].abs(), 14)
    assert (found["p"] >= by_t - 1e-12).all()
    assert (np.abs(found["p"] - by_t) < 1e-12).any()
