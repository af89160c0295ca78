"""Prediction of a phenotype by many genes: nested folds by hand, planted genes, nulls."""

import numpy as np
import pandas as pd
import pytest
from individuals import made_samples
from scipy.stats import kstest, spearmanr
from sklearn.metrics import roc_auc_score

from sivae._errors import OptionError
from sivae.cohort._folds import PENALTIES, out_of_fold, r_squared
from sivae.cohort._predict import predict


@pytest.fixture(scope="module")
def made():
    return made_samples(24, 40)


@pytest.fixture
def samples(made):
    return made.copy()


def solved(x, y, penalty):
    """Ridge with a constant that is not penalised, as a function of new rows."""
    mean = x.mean(axis=0)
    w = np.linalg.solve((x - mean).T @ (x - mean) + penalty * np.eye(x.shape[1]), (x - mean).T @ (y - y.mean()))
    return lambda rows: (rows - mean) @ w + y.mean()


def ridge_by_hand(x, y, design, fold):
    """Penalties tried one by one, each judged by leaving out one training individual after the other."""
    base, gain = np.empty(len(y)), np.empty(len(y))
    for f in np.unique(fold):
        into, out = fold != f, fold == f
        coefficients = np.linalg.lstsq(design[into], np.column_stack([x, y])[into], rcond=None)[0]
        left = np.column_stack([x, y]) - design @ coefficients
        genes, target = left[:, :-1] / left[into, :-1].std(axis=0), left[into, -1]
        train = genes[into]
        errors = []
        for penalty in PENALTIES * x.shape[1]:
            held = [
                solved(np.delete(train, i, 0), np.delete(target, i), penalty)(train[[i]])[0] - target[i]
                for i in range(len(target))
            ]
            errors.append(np.mean(np.square(held)))
        best = PENALTIES[int(np.argmin(errors))] * x.shape[1]
        gain[out] = solved(train, target, best)(genes[out])
        base[out] = design[out] @ coefficients[:, -1]
    return base, gain


@pytest.mark.parametrize("n_covariates", [0, 1])
def test_nested_folds_by_hand(rng, n_covariates):
    x, fold = rng.standard_normal((20, 30)), np.arange(20) % 4
    design = np.column_stack([np.ones(20), rng.standard_normal((20, n_covariates))])
    y = x[:, 0] + design.sum(axis=1) + 0.3 * rng.standard_normal(20)
    base, gain = out_of_fold(x, np.column_stack([y, y[::-1]]), design, fold_s=fold, model="ridge", seed=0)
    base_by_hand, gain_by_hand = ridge_by_hand(x, y, design, fold)
    np.testing.assert_allclose(base[:, 0], base_by_hand)
    np.testing.assert_allclose(gain[:, 0], gain_by_hand, atol=1e-8)
    left = ((y - base_by_hand - gain_by_hand) ** 2).sum() / ((y - base_by_hand) ** 2).sum()
    assert r_squared(y[:, None], base[:, :1], gain[:, :1])[0] == pytest.approx(1 - left)


def test_an_individual_is_not_used_to_predict_itself(rng):
    x, fold, design = rng.standard_normal((20, 30)), np.arange(20) % 4, np.ones((20, 1))
    y = rng.standard_normal((20, 1))
    known = y.copy()
    known[fold == 2] += 100.0
    first, second = (sum(out_of_fold(x, one, design, fold_s=fold, model="ridge", seed=0)) for one in (y, known))
    np.testing.assert_array_equal(first[fold == 2], second[fold == 2])
    assert not np.allclose(first[fold != 2], second[fold != 2])


@pytest.mark.parametrize("model", ["ridge", "lasso"])
def test_planted_genes_predict_and_lead(samples, model):
    # One gene alone follows the phenotype.
    rng = np.random.default_rng(3)
    samples.layers["projection"] = 1.0 + 0.1 * rng.standard_normal((24, 40))
    samples.layers["projection"][:, 7] -= 0.6 * samples.obs["severity"].to_numpy()
    found = predict(samples, "severity", model=model, n_permutations=19 if model == "lasso" else 99)
    assert found.r2 > 0.2 and found.p <= 0.05 and found.spearman > 0.5 and np.isnan(found.auc)
    assert found.coefficients.index[0] == "gene007" and found.coefficients.iloc[0] < 0
    assert list(found.predictions.index) == sorted(samples.obs_names) and found.penalty > 0
    error = ((found.phenotype - found.predictions) ** 2).sum()
    assert found.r2 == pytest.approx(1 - error / ((found.phenotype - found.phenotype.mean()) ** 2).sum(), abs=0.15)
    if model == "lasso":
        assert (found.coefficients == 0).sum() > 10


def test_two_categories(samples):
    found = predict(samples, "phenotype", n_permutations=99)
    assert found.auc > 0.9 and found.p <= 0.02 and set(found.phenotype) == {0.0, 1.0}
    assert found.settings["levels"] == ["control", "case"] and found.settings["kind"] == "binary"
    assert found.auc == pytest.approx(roc_auc_score(found.phenotype, found.predictions), abs=0.1)
    assert found.spearman == pytest.approx(spearmanr(found.predictions, found.phenotype).statistic, abs=0.15)


def test_what_covariates_tell_is_not_credited_to_genes(samples):
    rng = np.random.default_rng(5)
    samples.obs["noise"] = rng.standard_normal(24)
    samples.obs["outcome"] = samples.obs["noise"] + 0.5 * rng.standard_normal(24)
    samples.layers["projection"] = rng.standard_normal((24, 40)) + samples.obs["noise"].to_numpy()[:, None]
    assert predict(samples, "outcome", n_permutations=99).p <= 0.05
    given = predict(samples, "outcome", covariates=["noise"], n_permutations=99)
    assert given.p > 0.05 and given.r2 < 0.1
    assert spearmanr(given.predictions, samples.obs["outcome"][given.predictions.index]).statistic > 0.7


def test_order_of_individuals_and_genes(samples, rng):
    moved = samples[rng.permutation(24), rng.permutation(40)].copy()
    found, again = (predict(one, "age", covariates=["sex"], n_permutations=29) for one in (samples, moved))
    pd.testing.assert_series_equal(found.predictions, again.predictions, rtol=1e-6)
    pd.testing.assert_series_equal(found.coefficients.sort_index(), again.coefficients.sort_index(), rtol=1e-6)
    assert found.p == again.p and found.r2 == pytest.approx(again.r2)


def test_genes_without_variance_or_values_have_no_coefficient(samples):
    samples.layers["projection"][:, 3] = 1.0
    samples.layers["projection"][5, 4] = np.nan
    found = predict(samples, "severity", n_permutations=9)
    assert found.coefficients["gene003"] == found.coefficients["gene004"] == 0 != found.coefficients["gene000"]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "n", "n_permutations"), [("ridge", 100, 99), ("lasso", 8, 19)])
def test_nothing_is_found_in_nothing(model, n, n_permutations):
    p = []
    for seed in range(n):
        samples = made_samples(20, 40, effect=0.0, n_changed=0, n_expression=0, seed=seed)
        rng = np.random.default_rng(seed)
        samples.obs["noise"], samples.obs["other"] = rng.standard_normal((2, 20))
        options = {"model": model, "n_permutations": n_permutations, "seed": seed}
        p.append(predict(samples, "noise", covariates=["other"], **options).p)
    if model == "ridge":
        assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / n)


def test_refusals(samples):
    with pytest.raises(OptionError, match="model is 'forest'; expected one of 'ridge', 'lasso'"):
        predict(samples, "severity", model="forest")
    with pytest.raises(OptionError, match="n_folds is 25 with 24 individuals"):
        predict(samples, "severity", n_folds=25)
    with pytest.raises(OptionError, match="n_folds is 1; expected at least 2"):
        predict(samples, "severity", n_folds=1)
    samples.layers["flat"] = np.ones((24, 40))
    with pytest.raises(OptionError, match="No gene has a value in all individuals and varies"):
        predict(samples, "severity", layer="flat")
