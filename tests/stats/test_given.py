"""Effects given controls of each gene's own: against plain least squares."""

import numpy as np
import pytest
from scipy import stats

from sivae.stats._given import given


def oracle(y_s, x_s, others_sc, weights_s):
    root_s = np.sqrt(weights_s)
    design = root_s[:, None] * np.column_stack([x_s, np.ones(len(x_s)), others_sc])
    beta, _, rank, _ = np.linalg.lstsq(design, root_s * y_s, rcond=None)
    residual_s = root_s * y_s - design @ beta
    se = np.sqrt((residual_s**2).sum() / (len(x_s) - rank) * np.linalg.pinv(design.T @ design)[0, 0])
    return beta[0], 2 * stats.t.sf(abs(beta[0] / se), len(x_s) - rank)


def by_f(x_s, few_sc, many_sc, weights_s):
    """p of the columns that are in `many` and not in `few`, for the phenotype."""
    rss = []
    for columns in (few_sc, many_sc):
        design = np.sqrt(weights_s)[:, None] * np.column_stack([np.ones(len(x_s)), columns])
        whitened_s = np.sqrt(weights_s) * x_s
        rss.append(((whitened_s - design @ np.linalg.lstsq(design, whitened_s, rcond=None)[0]) ** 2).sum())
    taken, left = many_sc.shape[1] - few_sc.shape[1], len(x_s) - 1 - many_sc.shape[1]
    return stats.f.sf((rss[0] - rss[1]) / taken / (rss[1] / left), taken, left)


@pytest.mark.parametrize("n_controls", [1, 2])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("with_weights", [True, False])
@pytest.mark.parametrize("with_covariates", [True, False])
def test_it_is_least_squares(rng, n_controls, own, with_weights, with_covariates):
    x_s, y_sg = rng.normal(size=12), rng.normal(size=(12, 5))
    control_sgm = rng.normal(size=(12, 5 if own else 1, n_controls)) + x_s[:, None, None] + 100
    covariates_sc = rng.normal(size=(12, 2)) if with_covariates else np.empty((12, 0))
    weights_sg = rng.uniform(0.3, 3, (12, 5)) if with_weights else np.ones((12, 5))
    found = given(
        y_sg,
        x_s,
        control_sgm,
        covariates_sc=covariates_sc if with_covariates else None,
        weights_sg=weights_sg if with_weights else None,
    )
    for g in range(5):
        others_sc = np.column_stack([covariates_sc, control_sgm[:, g if own else 0]])
        assert np.allclose([found.effect_g[g], found.p_g[g]], oracle(y_sg[:, g], x_s, others_sc, weights_sg[:, g]))
        assert np.isclose(found.control_p_g[g], by_f(x_s, covariates_sc, others_sc, weights_sg[:, g]))


def test_controls_that_say_nothing_cost_nothing(rng):
    x_s, y_sg, covariates_sc = rng.normal(size=9), rng.normal(size=(9, 3)), rng.normal(size=(9, 1))
    empty_sgm = np.full((9, 3, 2), 5.0)
    empty_sgm[:, 1, 0] = 1 - 2 * covariates_sc[:, 0]
    found = given(y_sg, x_s, empty_sgm, covariates_sc=covariates_sc)
    for g in range(3):
        assert np.allclose([found.effect_g[g], found.p_g[g]], oracle(y_sg[:, g], x_s, covariates_sc, np.ones(9)))
        assert found.control_p_g[g] == 1


def test_a_control_that_is_the_phenotype_leaves_nothing(rng):
    x_s, y_sg = rng.normal(size=9), rng.normal(size=(9, 3))
    for weights_sg in (None, rng.uniform(0.5, 2, (9, 3))):
        found = given(y_sg + x_s[:, None], x_s, (3 * x_s - 1)[:, None, None], weights_sg=weights_sg)
        assert (found.effect_g == 0).all() and (found.p_g == 1).all() and (found.control_p_g < 1e-9).all()


def test_a_gene_that_is_its_control(rng):
    x_s, y_sg = rng.normal(size=9), rng.normal(size=(9, 3))
    found = given(y_sg, x_s, y_sg[:, :, None])
    assert (found.effect_g == 0).all() and (found.p_g == 1).all()


def test_no_freedom_left_is_not_a_number(rng):
    found = given(rng.normal(size=(4, 3)), np.arange(4.0), rng.normal(size=(4, 1, 2)))
    assert np.isnan([found.effect_g, found.p_g, found.control_p_g]).all()
