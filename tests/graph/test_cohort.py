"""Centralities of many individuals, from closed forms and planted positions with known noise."""

from __future__ import annotations

import numpy as np
import pytest

from sivae.graph import _cohort, _hubs

S, G, K = 12, 30, 4


def noisy(seed: int, noise: float, *, spread: float = 0.0):
    rng = np.random.default_rng(seed)
    true_gk = rng.standard_normal((G, K)) * rng.uniform(0, 1, G)[:, None]
    person_sgk = true_gk + spread * rng.standard_normal((S, G, K))
    return true_gk, person_sgk, person_sgk + noise * rng.standard_normal((S, G, K))


def test_whitened_readings_vary_alike_and_unused_axes_stay_zero():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, K)) @ rng.standard_normal((K, K))
    x[:, 3] = 0.0
    covariance_kk = x.T @ x / 500
    white_kk = _cohort.whitening(covariance_kk)
    np.testing.assert_allclose(white_kk, white_kk.T, atol=1e-12)
    np.testing.assert_allclose(white_kk @ covariance_kk @ white_kk, np.diag([1, 1, 1, 0]), atol=1e-8)


def test_projection_is_unbiased_at_any_noise():
    means = []
    for noise in (0.0, 0.3):
        values = []
        for seed in range(300):
            rng = np.random.default_rng(seed)
            true_gk = np.random.default_rng(5).standard_normal((G, K))
            position_sgk = true_gk + noise * rng.standard_normal((S, G, K))
            cohort = _cohort.cohort_of(position_sgk, np.full(S, 10.0), np.full((S, G), noise**2))
            values.append(_cohort.projection(position_sgk[0], cohort.others_gk(position_sgk[0], 0), cohort.length_g))
        means.append(np.mean(values, axis=0))
    np.testing.assert_allclose(means[0], np.linalg.norm(true_gk, axis=1), rtol=1e-10)
    np.testing.assert_allclose(means[1], means[0], rtol=0.06)


def test_others_leave_the_individual_out():
    rng = np.random.default_rng(1)
    position_sgk, weight_s = rng.standard_normal((S, G, K)), rng.uniform(1, 5, S)
    cohort = _cohort.cohort_of(position_sgk, weight_s, np.zeros((S, G)))
    kept = np.arange(S) != 4
    expected = np.average(position_sgk[kept], axis=0, weights=weight_s[kept])
    np.testing.assert_allclose(cohort.others_gk(position_sgk[4], 4), expected)
    np.testing.assert_allclose(cohort.mean_gk, np.average(position_sgk, axis=0, weights=weight_s))


def test_the_length_has_no_noise_in_it():
    """Genes at the origin, seen with noise: their mean position has a length, the estimate is near zero."""
    lengths = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        position_sgk = 0.5 * rng.standard_normal((S, G, K))
        position_sgk[:, 0] += 2.0
        total = position_sgk.sum(axis=0)
        square_g = ((total**2).sum(axis=1) - (position_sgk**2).sum(axis=(0, 2))) / (S * S - S)
        lengths.append(square_g[1:])
        found = _cohort.cohort_of(position_sgk, np.ones(S), np.full((S, G), 0.25)).length_g[0]
        assert found == pytest.approx(np.sqrt(square_g[0]))
    assert abs(np.mean(lengths)) < 0.01


def test_spread_and_shrinkage_find_the_planted_variance():
    rng = np.random.default_rng(2)
    n, k, spread, noise = 40, 20, 0.3, 0.5
    position_sgk = 1.0 + spread * rng.standard_normal((n, G, k)) + noise * rng.standard_normal((n, G, k))
    cohort = _cohort.cohort_of(position_sgk, np.ones(n), np.full((n, G), noise**2))
    assert cohort.spread_g.mean() == pytest.approx(spread**2, rel=0.1)
    drawn = cohort.shrink(position_sgk[0], np.full(G, noise**2))
    share_g = cohort.spread_g / (cohort.spread_g + noise**2)
    np.testing.assert_allclose(drawn, cohort.mean_gk + share_g[:, None] * (position_sgk[0] - cohort.mean_gk))


def test_shrunk_positions_are_nearer_the_truth():
    true_gk, person_sgk, seen_sgk = noisy(3, 0.4, spread=0.2)
    cohort = _cohort.cohort_of(seen_sgk, np.ones(S), np.full((S, G), 0.16))
    drawn_sgk = np.array([cohort.shrink(v, np.full(G, 0.16)) for v in seen_sgk])
    assert ((drawn_sgk - person_sgk) ** 2).mean() < 0.5 * ((seen_sgk - person_sgk) ** 2).mean()


def test_strength_is_the_mean_correlation_with_the_cohorts_sign():
    true_gk, _, seen_sgk = noisy(4, 0.1)
    cohort = _cohort.cohort_of(seen_sgk, np.ones(S), np.full((S, G), 0.01))
    mean_gk, v_gk = cohort.others_gk(seen_sgk[3], 3), seen_sgk[3]
    expected = [
        np.mean([np.sign(mean_gk[g] @ mean_gk[h]) * (v_gk[g] @ mean_gk[h]) for h in range(G) if h != g])
        for g in range(G)
    ]
    np.testing.assert_allclose(_cohort.strength(v_gk, _cohort.signed_sum(mean_gk, mean_gk)), expected, atol=1e-12)


def test_signed_sums_in_blocks_are_those_in_one(monkeypatch):
    rng = np.random.default_rng(5)
    mean_gk, other_gk = rng.standard_normal((G, K)), rng.standard_normal((G, K))
    whole = _cohort.signed_sum(mean_gk, other_gk)
    monkeypatch.setattr(_cohort, "BLOCK_VALUES", 4 * G)
    np.testing.assert_allclose(_cohort.signed_sum(mean_gk, other_gk), whole, atol=1e-12)


def test_the_square_from_parts_is_unbiased():
    rng = np.random.default_rng(6)
    true_gk, found = np.ones((G, K)) * 0.1, []
    for _ in range(400):
        part_jgk = 10 * (true_gk + 0.5 * rng.standard_normal((8, G, K)))
        found.append(_cohort.unbiased_square(part_jgk, np.full(8, 10.0)))
    assert np.mean(found) == pytest.approx((true_gk[0] ** 2).sum(), abs=0.004)
    part_jgk = rng.standard_normal((5, G, K))
    freedom_j = rng.uniform(1, 2, 5)
    slow = sum((part_jgk[i] * part_jgk[j]).sum(axis=1) for i in range(5) for j in range(5) if i != j) / sum(
        freedom_j[i] * freedom_j[j] for i in range(5) for j in range(5) if i != j
    )
    np.testing.assert_allclose(_cohort.unbiased_square(part_jgk, freedom_j), slow)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    rng = np.random.default_rng(7)
    x = rng.standard_normal(40)
    left_out = (x.sum() - x) / 39
    assert float(_cohort.jackknife(left_out)) == pytest.approx(x.std(ddof=1) / np.sqrt(40))


def test_smooth_errors_keep_the_genes_mean_and_follow_the_noise():
    rng = np.random.default_rng(8)
    noise_sg = rng.uniform(0.5, 2, (S, G))
    error_sg = np.sqrt(noise_sg * rng.chisquare(9, (S, G)) / 9)
    smooth_sg = _cohort.smooth_error(error_sg, noise_sg)
    np.testing.assert_allclose((smooth_sg**2).mean(axis=0), (error_sg**2).mean(axis=0))
    np.testing.assert_allclose(smooth_sg[1] ** 2 / smooth_sg[0] ** 2, noise_sg[1] / noise_sg[0])


def test_pair_correlations_at_the_mean_for_small_changes_and_for_genes_that_lose_all():
    rng = np.random.default_rng(9)
    mean_gk, off_gk = rng.standard_normal((G, K)), rng.standard_normal((G, K))
    first_e, second_e = np.triu_indices(G, 1)

    def exact(v_gk):
        return (v_gk[first_e] * v_gk[second_e]).sum(axis=1)

    def found(v_gk):
        return _cohort.pair_correlation(v_gk, mean_gk, first_e, second_e)

    np.testing.assert_allclose(found(mean_gk), exact(mean_gk))
    scaled_gk = mean_gk * rng.uniform(0, 2, G)[:, None]
    np.testing.assert_allclose(found(scaled_gk), exact(scaled_gk), atol=1e-12)
    np.testing.assert_allclose(found(np.zeros_like(mean_gk)), 0, atol=1e-15)
    moved_gk = mean_gk + 1e-6 * off_gk
    np.testing.assert_allclose(found(moved_gk), exact(moved_gk), atol=1e-10)
    mean_gk[3] = 0
    assert np.isfinite(found(off_gk)).all()


def test_pair_correlations_have_less_noise_than_products():
    rng = np.random.default_rng(12)
    true_gk = rng.standard_normal((G, 20)) * 0.1
    first_e, second_e = np.triu_indices(G, 1)
    truth_e = (true_gk[first_e] * true_gk[second_e]).sum(axis=1)
    seen = true_gk + 0.15 * rng.standard_normal((200, G, 20))
    ours_se = np.array([_cohort.pair_correlation(v_gk, true_gk, first_e, second_e) for v_gk in seen])
    plain_se = np.array([(v_gk[first_e] * v_gk[second_e]).sum(axis=1) for v_gk in seen])
    assert np.abs(ours_se.mean(axis=0) - truth_e).max() < 0.03
    assert ours_se.std(axis=0).mean() < 0.8 * plain_se.std(axis=0).mean()


def test_top_pairs_are_the_largest_and_give_the_degrees():
    rng = np.random.default_rng(10)
    factor_gm = rng.standard_normal((40, 5))
    first_e, second_e = _hubs.top_pairs(factor_gm, share=0.05)
    size = np.abs(factor_gm @ factor_gm.T)[np.triu_indices(40, 1)]
    cut = np.sort(size)[-round(0.05 * len(size))]
    expected = {(i, j) for i, j, v in zip(*np.triu_indices(40, 1), size, strict=True) if v >= cut}
    assert set(zip(first_e.tolist(), second_e.tolist(), strict=True)) == expected
    assert (first_e < second_e).all()
    degree = np.bincount(np.r_[first_e, second_e], minlength=40)
    np.testing.assert_array_equal(_hubs.degree(factor_gm, share=0.05), degree)
