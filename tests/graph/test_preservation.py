"""Preservation of modules: loops, planted truth, uniform p-values under permuted labels."""

import numpy as np
from scipy.stats import kstest

from sivae.graph._preservation import preservation


def spaces(rng, sizes=(15, 12, 10), g=60, k=4, noise=0.3):
    module = np.r_[np.repeat(np.arange(len(sizes)), sizes), np.full(g - sum(sizes), -1)]
    strength = rng.uniform(0.3, 1, g)
    centre = np.vstack([np.eye(k)[: len(sizes)], np.zeros((1, k))])
    first = 0.6 * strength[:, None] * centre[module] + 0.1 * noise * rng.normal(size=(g, k))
    second = 0.6 * strength[:, None] * centre[module] + 0.1 * noise * rng.normal(size=(g, k))
    return first, second, module


def slow(first, second, module, sign):
    density, connectivity = [], []
    for m in range(module.max() + 1):
        genes = np.flatnonzero(module == m)
        a, b = ((x[genes] * sign[genes, None]) @ (x[genes] * sign[genes, None]).T for x in (first, second))
        off = ~np.eye(len(genes), dtype=bool)
        density.append(b[off].mean())
        connectivity.append(np.corrcoef((a * off).sum(1), (b * off).sum(1))[0, 1])
    return density, connectivity


def test_statistics_equal_loops_over_pairs(rng):
    first, second, module = spaces(rng)
    sign = rng.choice([-1.0, 1.0], 60)
    found = preservation(first, second, module, sign, n_permutations=5, rng=rng)
    density, connectivity = slow(first, second, module, sign)
    np.testing.assert_allclose(found.density_m, density)
    np.testing.assert_allclose(found.connectivity_m, connectivity)


def test_what_is_kept_is_found_and_what_is_lost_is_not(rng):
    first, second, module = spaces(rng)
    lost = module == 2
    second[lost] = second[rng.permutation(np.flatnonzero(module < 0))[: lost.sum()]]
    found = preservation(first, second, module, np.ones(60), n_permutations=199, rng=rng)
    assert (found.p_m[:2] <= 0.01).all() and found.p_m[2] > 0.05
    assert (found.density_z_m[:2] > 5).all()


def test_pvalues_are_uniform_when_labels_are_permuted(rng):
    drawn = []
    for _ in range(150):
        first, second, module = spaces(rng, sizes=(8, 6), g=30)
        second = second[rng.permutation(30)]
        drawn.append(preservation(first, second, module, np.ones(30), n_permutations=99, rng=rng))
    for name in ("density_p_m", "connectivity_p_m", "p_m"):
        p = np.concatenate([getattr(found, name) for found in drawn])
        jittered = p - rng.uniform(size=len(p)) / 100
        assert kstest(jittered, "uniform").pvalue > 0.01, name


def test_permuting_genes_changes_statistics_nowhere(rng):
    first, second, module = spaces(rng)
    order = rng.permutation(60)
    a = preservation(first, second, module, np.ones(60), n_permutations=3, rng=np.random.default_rng(0))
    b = preservation(first[order], second[order], module[order], np.ones(60), n_permutations=3, rng=rng)
    np.testing.assert_allclose(a.density_m, b.density_m)
    np.testing.assert_allclose(a.connectivity_m, b.connectivity_m)


def test_equal_connectivities_are_nan_not_a_number_out_of_nowhere(rng):
    first, second, module = np.ones((6, 1)), rng.normal(size=(6, 2)), np.array([0, 0, 0, -1, -1, -1])
    found = preservation(first, second, module, np.ones(6), n_permutations=9, rng=rng)
    assert np.isnan(found.connectivity_p_m[0]) and np.isfinite(found.density_p_m[0])
