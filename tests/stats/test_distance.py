"""Distance regression against sums of squares, projections written out, all orders, and nulls."""

from itertools import permutations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from sivae.graph._graph_kernels import centered_products
from sivae.stats._distance import distance_regression


def products(values):
    return centered_products(cdist(values, values))


def hat(*columns):
    design = np.column_stack(columns)
    return design @ np.linalg.pinv(design)


def literal_f(g, x, covariates=None):
    """F with the projections as matrices."""
    n = len(x)
    small = hat(np.ones(n)) if covariates is None else hat(np.ones(n), covariates)
    full = hat(np.ones(n), x) if covariates is None else hat(np.ones(n), x, covariates)
    explained, rest = np.trace((full - small) @ g), np.trace((np.eye(n) - full) @ g)
    return explained / (rest / (n - np.linalg.matrix_rank(full))), explained / np.trace(g)


def test_two_groups_are_permanova(rng):
    values, x = rng.normal(size=(14, 5)), np.repeat([0.0, 1.0], [6, 8])
    found = distance_regression(products(values), x, generator=rng)
    d2 = cdist(values, values) ** 2
    total = d2.sum() / 2 / 14
    within = sum(d2[np.ix_(x == k, x == k)].sum() / 2 / (x == k).sum() for k in (0, 1))
    np.testing.assert_allclose(found.pseudo_f, (total - within) / (within / 12))
    np.testing.assert_allclose(found.r2, (total - within) / total)
    assert found.exact and found.n_permutations == 3003  # 14 over 6


def test_one_column_is_ordinary_regression(rng):
    y, x = rng.normal(size=20), rng.normal(size=20)
    found = distance_regression(products(y[:, None]), x, generator=rng)
    r2 = np.corrcoef(x, y)[0, 1] ** 2
    np.testing.assert_allclose([found.r2, found.pseudo_f], [r2, r2 / (1 - r2) * 18])
    assert not found.exact


@pytest.mark.parametrize("euclidean", [True, False])
def test_f_and_exact_p_equal_projections_written_out(rng, euclidean):
    n = 6
    distance = cdist(*[rng.normal(size=(n, 3))] * 2) if euclidean else np.abs(rng.normal(size=(n, n)) + 3)
    distance = (distance + distance.T) / 2 * (1 - np.eye(n))
    g, x, covariates = centered_products(distance), rng.normal(size=n), rng.normal(size=(n, 2))
    found = distance_regression(g, x, covariates_sc=covariates, generator=rng)
    f, r2 = literal_f(g, x, covariates)
    np.testing.assert_allclose([found.pseudo_f, found.r2], [f, r2])
    left = np.eye(n) - hat(np.ones(n), covariates)
    residual = left @ g @ left
    assert found.exact and found.n_permutations == 720
    # F / (F + freedom) is the share explained of what the covariates leave: compared instead of F, which is not in
    # order where distances fit no space and the rest may be negative.
    drawn = np.array([literal_f(residual[np.ix_(o, o)], x, covariates)[0] for o in map(list, permutations(range(n)))])
    np.testing.assert_allclose(found.p_pseudo_f, np.mean(drawn / (drawn + 2) >= f / (f + 2) - 1e-9))
    if euclidean:
        np.testing.assert_allclose(found.p_pseudo_f, np.mean(drawn >= f * (1 - 1e-9)))


def without_diagonal(matrix, m):
    """m (matrix + diag(d)) m with the d that makes its diagonal 0, by a least-squares fit of every diagonal entry."""
    n = len(m)
    unit = np.array([np.diag(m @ np.diag(row) @ m) for row in np.eye(n)]).T
    d = np.linalg.lstsq(unit, -np.diag(m @ matrix @ m), rcond=None)[0]
    return m @ (matrix + np.diag(d)) @ m


def literal_z(u, x, m, order):
    """z with loops over pairs, of residuals of the phenotype in another order."""
    left = m @ (m @ x / np.linalg.norm(m @ x))[order]
    terms = [left[s] * left[t] * u[s, t] for s in range(len(x)) for t in range(len(x)) if s != t]
    return sum(terms) / np.sqrt(sum(term**2 for term in terms))


@pytest.mark.parametrize("n_covariates", [0, 1])
def test_z_and_its_exact_p_equal_loops(rng, n_covariates):
    n = 6
    g, x, covariates = products(rng.normal(size=(n, 4))), rng.normal(size=n), rng.normal(size=(n, n_covariates))
    found = distance_regression(g, x, covariates_sc=covariates if n_covariates else None, generator=rng)
    m = np.eye(n) - hat(np.ones(n), covariates)
    u = without_diagonal(g, m)
    np.testing.assert_allclose(np.diag(u), 0, atol=1e-12)
    drawn = np.array([literal_z(u, x, m, list(o)) for o in permutations(range(n))])
    np.testing.assert_allclose(found.z, drawn[0])
    np.testing.assert_allclose(found.p, np.mean(drawn >= drawn[0] - 1e-9))


def test_without_covariates_z_rests_on_u_centering(rng):
    n = 9
    d2 = cdist(*[rng.normal(size=(n, 4))] * 2) ** 2
    x = rng.normal(size=n)
    row, off = d2.sum(axis=1) / (n - 2), ~np.eye(n, dtype=bool)
    u = -(d2 - row[:, None] - row[None, :] + d2.sum() / ((n - 1) * (n - 2))) / 2 * off  # Szekely and Rizzo 2014
    left = x - x.mean()
    pairs = np.outer(left, left) * u
    found = distance_regression(centered_products(np.sqrt(d2)), x, generator=rng, n_permutations=99)
    np.testing.assert_allclose(found.z, pairs.sum() / np.sqrt((pairs**2).sum()))


@pytest.mark.parametrize("n_covariates", [0, 2])
def test_noise_of_any_size_in_any_individual_changes_no_z(rng, n_covariates):
    n = 12
    d2, noise, x = cdist(*[rng.normal(size=(n, 4))] * 2) ** 2, rng.exponential(size=n), rng.normal(size=n)
    covariates = rng.normal(size=(n, n_covariates)) if n_covariates else None
    noisy = d2 + (noise[:, None] + noise[None, :]) * ~np.eye(n, dtype=bool)
    one, other = (
        distance_regression(
            centered_products(np.sqrt(square)),
            x,
            covariates_sc=covariates,
            n_permutations=99,
            generator=np.random.default_rng(0),
        )
        for square in (d2, noisy)
    )
    np.testing.assert_allclose([other.z, other.p], [one.z, one.p])
    assert abs(one.r2 - other.r2) > 1e-6


@pytest.mark.science
def test_a_few_noisy_individuals_are_no_finding():
    rng, p = np.random.default_rng(2), []
    x = np.repeat([0.0, 1.0], [30, 10])
    for _ in range(200):
        values = (1 + x)[:, None] * rng.normal(size=(40, 100))  # twice the noise: a quarter of the cells
        found = distance_regression(products(values), x, n_permutations=199, generator=rng)
        p.append([found.p, found.p_pseudo_f])
    rate = (np.array(p) <= 0.05).mean(axis=0)
    assert (
        rate[0] <= 0.05 + 2.3 * np.sqrt(0.05 * 0.95 / 200) and rate[1] > 0.9
    )  # the published statistic takes noise for a difference


def test_random_orders_agree_with_all_of_them(rng):
    values = rng.normal(size=(8, 3))
    x = rng.normal(size=8)
    values[:, 0] += 0.8 * x
    g = products(values)
    drawn = distance_regression(g, x, n_permutations=20_000, generator=rng)
    f = literal_f(g, x)[0]
    exact = np.mean([literal_f(g, x[list(o)])[0] >= f * (1 - 1e-9) for o in list(permutations(range(8)))[::16]])
    assert not drawn.exact and abs(drawn.p_pseudo_f - exact) < 0.02


def test_order_of_individuals_and_units_change_nothing(rng):
    values, x, covariate = rng.normal(size=(12, 4)), rng.normal(size=12), rng.normal(size=(12, 1))
    one = distance_regression(products(values), x, covariates_sc=covariate, generator=np.random.default_rng(1))
    order = rng.permutation(12)
    other = distance_regression(
        products(3 * values[order]),
        5 - 2 * x[order],
        covariates_sc=np.column_stack([covariate[order], 7 * covariate[order] + 1]),
        generator=np.random.default_rng(1),
    )
    np.testing.assert_allclose([other.pseudo_f, other.r2], [one.pseudo_f, one.r2])
    np.testing.assert_allclose(other.z, one.z)
    assert abs(one.p - other.p) < 0.02
    again = distance_regression(products(values), x, covariates_sc=covariate, generator=np.random.default_rng(1))
    assert again == one


def test_a_covariate_that_moves_both_is_taken_off(rng):
    covariate = rng.normal(size=(40, 1))
    x = covariate[:, 0] + rng.normal(size=40)
    values = 2 * covariate + rng.normal(size=(40, 5))
    g = products(values)
    assert distance_regression(g, x, generator=rng, n_permutations=999).p <= 0.01
    assert distance_regression(g, x, covariates_sc=covariate, generator=rng, n_permutations=999).p > 0.05
    planted = products(values + 0.8 * x[:, None])
    assert distance_regression(planted, x, covariates_sc=covariate, generator=rng, n_permutations=999).p <= 0.01


@pytest.mark.science
@pytest.mark.parametrize("with_covariate", [False, True])
def test_p_is_uniform_under_the_null(with_covariate):
    rng = np.random.default_rng(5)
    p = []
    for _ in range(400):
        covariate = rng.normal(size=(16, 1)) if with_covariate else None
        x = rng.normal(size=16) + (0 if covariate is None else covariate[:, 0])
        values = rng.standard_t(4, size=(16, 6)) + (0 if covariate is None else 2 * covariate)
        found = distance_regression(products(values), x, covariates_sc=covariate, n_permutations=499, generator=rng)
        p.append(found.p)
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 2.3 * np.sqrt(0.05 * 0.95 / 400)
    assert 0.4 < np.mean(p) < 0.6


def test_errors(rng):
    g = products(rng.normal(size=(6, 2)))
    x = rng.normal(size=6)
    with pytest.raises(ValueError, match="constant, or the covariates determine it"):
        distance_regression(g, np.ones(6), generator=rng)
    with pytest.raises(ValueError, match="covariates determine it"):
        distance_regression(g, x, covariates_sc=np.column_stack([2 * x + 1]), generator=rng)
    with pytest.raises(ValueError, match="leave 0 degrees of freedom"):
        distance_regression(g, x, covariates_sc=rng.normal(size=(6, 4)), generator=rng)
    with pytest.raises(ValueError, match="do not differ"):
        distance_regression(np.zeros((6, 6)), x, generator=rng)
    with pytest.raises(ValueError, match="do not differ"):
        distance_regression(products(x[:, None] ** 2), x, covariates_sc=x[:, None] ** 2, generator=rng)
