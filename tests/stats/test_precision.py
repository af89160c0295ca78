"""Weights from standard errors: the moments they come from, that they help, and that no test breaks by them."""

import numpy as np
import pytest

from sivae.stats._association import associate
from sivae.stats._precision import LEAST_SHARE, MOST, precision_weights


def made(rng, n=16, g=3000, *, between=0.5, effect=0.0, skew=False):
    x_s = rng.normal(size=n)
    se_sg = np.exp(rng.normal(0, 0.6, (n, g)))
    noise = rng.exponential(size=(n, g)) - 1 if skew else rng.normal(size=(n, g))
    y_sg = effect * x_s[:, None] + between * rng.normal(size=(n, g)) + se_sg * noise
    return y_sg, x_s, se_sg * rng.uniform(0.85, 1.15, (n, g)), rng.normal(size=(n, 1))


def test_equal_errors_give_equal_weights(rng):
    y_sg, x_s, se_sg, _ = made(rng, g=20)
    assert np.allclose(precision_weights(y_sg, np.full_like(se_sg, 0.3), x_s), 1)
    assert np.allclose(precision_weights(y_sg, np.zeros_like(se_sg), x_s), 1)
    assert np.allclose(precision_weights(y_sg, np.full_like(se_sg, np.nan), x_s), 1)
    assert np.allclose(precision_weights(np.ones_like(y_sg), 0 * se_sg, x_s), 1)


@pytest.mark.parametrize("between", [0.0, 0.7, 2.0])
def test_the_variance_between_individuals_is_recovered(rng, between):
    y_sg, x_s, _, covariates_sc = made(rng, n=300, g=200, between=between)
    se_sg = np.exp(rng.normal(0, 0.3, (300, 200)))
    y_sg = between * rng.normal(size=(300, 200)) + se_sg * rng.normal(size=(300, 200)) + x_s[:, None]
    weights_sg = precision_weights(y_sg, se_sg, x_s, covariates_sc)
    expected_sg = 1 / (max(between**2, LEAST_SHARE * (se_sg**2).mean()) + se_sg**2)
    expected_sg = np.minimum(expected_sg, MOST * np.median(expected_sg, axis=0))
    assert np.corrcoef(weights_sg.ravel(), (expected_sg / expected_sg.mean(axis=0)).ravel())[0, 1] > 0.98


def test_the_moments_by_hand(rng):
    y_sg, x_s, se_sg, covariates_sc = made(rng, n=8, g=1, between=2.0)
    design = np.column_stack([np.ones(8), x_s, covariates_sc])
    hat = design @ np.linalg.pinv(design)
    rss = float((((np.eye(8) - hat) @ y_sg) ** 2).sum())
    between = (rss - ((1 - np.diag(hat)) * se_sg[:, 0] ** 2).sum()) / (8 - 3)
    assert between > LEAST_SHARE * (se_sg**2).mean()
    weights_s = 1 / (between + se_sg[:, 0] ** 2)
    weights_s = np.minimum(weights_s, MOST * np.median(weights_s))
    assert np.allclose(precision_weights(y_sg, se_sg, x_s, covariates_sc)[:, 0], weights_s / weights_s.mean())


def test_nobody_dominates_and_gaps_are_filled(rng):
    y_sg, x_s, se_sg, _ = made(rng, g=20, between=0.0)
    se_sg[0], se_sg[1, :10] = 1e-6, np.nan
    weights_sg = precision_weights(y_sg, se_sg, x_s)
    assert (weights_sg <= MOST * np.median(weights_sg, axis=0) * (1 + 1e-12)).all()
    filled_sg = se_sg.copy()
    filled_sg[1, :10] = np.median(np.delete(se_sg, 1, axis=0)[:, :10], axis=0)
    assert np.allclose(weights_sg, precision_weights(y_sg, filled_sg, x_s))


@pytest.mark.science
@pytest.mark.parametrize("between", [0.0, 0.5])
@pytest.mark.parametrize("skew", [False, True])
@pytest.mark.parametrize("with_covariate", [False, True])
@pytest.mark.parametrize("wrong", [False, True])
def test_weights_from_the_data_keep_the_error_rate(between, skew, with_covariate, wrong):
    """Standard errors that differ and are estimated, or have nothing to do with the noise; several cohorts."""
    shares = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        y_sg, x_s, se_sg, covariates_sc = made(rng, g=1000, between=between, skew=skew)
        covariates_sc = covariates_sc if with_covariate else None
        se_sg = se_sg[:, rng.permutation(1000)] if wrong else se_sg
        weights_sg = precision_weights(y_sg, se_sg, x_s, covariates_sc)
        found = associate(
            y_sg, x_s, covariates_sc=covariates_sc, weights_sg=weights_sg, n_permutations=999, generator=rng
        )
        shares.append([(found.p_g <= level).mean() for level in (0.01, 0.05)])
    assert np.mean(shares, axis=0)[0] <= 0.01 + 4 * np.sqrt(0.01 * 0.99 / 6000)
    assert np.mean(shares, axis=0)[1] <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 6000)


@pytest.mark.science
def test_weights_find_more_where_errors_differ(rng):
    y_sg, x_s, se_sg, _ = made(rng, g=1000, between=0.3, effect=0.7)
    options = {"n_permutations": 999}
    found = [
        (associate(y_sg, x_s, weights_sg=w, generator=np.random.default_rng(0), **options).p_g < 0.05).mean()
        for w in (None, precision_weights(y_sg, se_sg, x_s))
    ]
    assert found[1] > found[0] + 0.1
