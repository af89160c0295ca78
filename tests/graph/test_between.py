"""Connectivity of groups of genes against the mean over all pairs, one by one."""

from itertools import combinations

import numpy as np
import pytest

from sivae.graph._between import group_products, group_signs, mean_positions


def pair_means(position_gk, group_g, sign_g, n_groups):
    v = position_gk * sign_g[:, None]
    result = np.full((n_groups, n_groups), np.nan)
    members = [np.flatnonzero((group_g == m) & np.isfinite(position_gk).all(axis=1)) for m in range(n_groups)]
    for m in range(n_groups):
        if len(members[m]) > 1:
            result[m, m] = np.mean([v[g] @ v[h] for g, h in combinations(members[m], 2)])
        for other in range(n_groups):
            if m != other and len(members[m]) and len(members[other]):
                result[m, other] = np.mean([v[g] @ v[h] for g in members[m] for h in members[other]])
    return result


def test_equals_the_mean_over_pairs(rng):
    position = rng.standard_normal((5, 20, 3)).astype(np.float32)
    position[2, 4] = np.nan
    group = np.array([0] * 7 + [1] * 5 + [2] + [-1] * 7)
    mean = mean_positions(position)
    np.testing.assert_allclose(mean, np.nanmean(position, axis=0), rtol=1e-5, atol=1e-7)
    sign = group_signs(mean, group)
    found = group_products(position, group, sign, n_groups=4)
    for s in range(5):
        np.testing.assert_allclose(found[s], pair_means(position[s], group, sign, 4), rtol=1e-5, atol=1e-7)
    assert np.isnan(found[:, 2, 2]).all() and np.isnan(found[:, 3]).all()


def test_genes_that_point_against_their_group_do_not_cancel():
    direction = np.array([0.6, 0.8])
    mean = np.outer([1.0, 2.0, -1.0, 1.0, 3.0], direction)
    group = np.zeros(5, np.int64)
    sign = group_signs(mean, group)
    assert sign.tolist() == [1, 1, -1, 1, 1]
    np.testing.assert_allclose(group_signs(-mean, group), sign)  # most of them say what is up
    found = group_products(mean[None], group, sign, n_groups=1)[0, 0, 0]
    size = np.abs([1.0, 2.0, 1.0, 1.0, 3.0])
    assert found == pytest.approx((size.sum() ** 2 - (size**2).sum()) / 20)


def test_groups_that_oppose_each_other_are_negative():
    mean = np.array([[1.0, 0], [2, 0], [-1, 0], [-3, 0]])
    group = np.array([0, 0, 1, 1])
    found = group_products(mean[None], group, group_signs(mean, group), n_groups=2)[0]
    np.testing.assert_allclose(found, [[2, -3], [-3, 3]])


def test_a_gene_without_a_position_anywhere_lies_at_the_origin(rng):
    position = rng.standard_normal((3, 4, 2))
    position[:, 1] = np.nan
    assert (mean_positions(position)[1] == 0).all()
