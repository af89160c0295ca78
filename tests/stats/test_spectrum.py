"""Principal axes against the SVD, the noise edge against Marchenko and Pastur, shrinkage against planted spikes."""

import numpy as np
import oracles
import pytest
from scipy import sparse

from sivae.stats import _krylov, _spectrum
from sivae.stats._spectrum import (
    MARGIN,
    PERMUTATIONS,
    masked_evidence,
    noise_edge,
    passing,
    principal_axes,
    shrink,
    signal_strength,
)


def in_blocks(x_ng, size=17):
    return lambda: (x_ng[start : start + size].astype(np.float32) for start in range(0, len(x_ng), size))


def low_rank(rng, n, g, rank=4):
    x = rng.normal(size=(n, rank)) * np.linspace(3, 1.5, rank) @ rng.normal(size=(rank, g)) + rng.normal(size=(n, g))
    return (x - x.mean(axis=0)).astype(np.float32)


def edge_theory(n, g):
    return (1 + np.sqrt(g / n)) ** 2


@pytest.mark.parametrize("shape", [(60, 25), (25, 60), (40, 40)])
def test_axes_are_those_of_the_svd(rng, shape):
    x_ng = low_rank(rng, *shape)
    found = principal_axes(in_blocks(x_ng), shape, 6)
    values, vectors = oracles.principal_axes(x_ng, 6)
    np.testing.assert_allclose(found.values_q, values, rtol=1e-4)
    np.testing.assert_allclose(np.abs((found.vectors_gq * vectors).sum(axis=0)), 1, atol=1e-4)
    np.testing.assert_allclose(found.vectors_gq.T @ found.vectors_gq, np.eye(6), atol=1e-4)
    assert (np.diff(found.values_q) <= 0).all()
    assert found.n_cells == shape[0]


@pytest.mark.parametrize("shape", [(60, 25), (25, 60)])
def test_sign_is_that_of_the_largest_entry(rng, shape):
    vectors = principal_axes(in_blocks(low_rank(rng, *shape)), shape, 5).vectors_gq
    assert (vectors[np.abs(vectors).argmax(axis=0), range(5)] > 0).all()


@pytest.fixture
def few_passes(monkeypatch):
    """All but the smallest matrices are large."""
    monkeypatch.setattr(_spectrum, "DENSE_LIMIT", 10)


def angles(a, b):
    """Cosines of the principal angles between two subspaces."""
    return np.linalg.svd(np.linalg.qr(a)[0].T @ np.linalg.qr(b)[0], compute_uv=False)


@pytest.mark.parametrize("shape", [(120, 60), (60, 120)])
def test_few_passes_whose_basis_is_whole_are_exact(rng, shape, few_passes):
    x_ng = low_rank(rng, *shape)
    found = principal_axes(in_blocks(x_ng), shape, 4)
    values, vectors = oracles.principal_axes(x_ng, 4)
    np.testing.assert_allclose(found.values_q, values, rtol=1e-4)
    np.testing.assert_allclose(np.abs((found.vectors_gq * vectors).sum(axis=0)), 1, atol=1e-4)


@pytest.fixture(scope="module")
def wide():
    """900 cells x 1,500 genes: strong axes, weak ones just above the noise, noise; and the exact decomposition."""
    rng, strength = np.random.default_rng(4), np.array([3, 2.5, 2, 1.8, 1.6, 1.5, 1.25, 1.2])
    n, g = 900, 1500
    loading = np.linalg.qr(rng.normal(size=(g, len(strength))))[0]
    x = rng.normal(size=(n, len(strength))) * strength**1.5 @ loading.T + rng.normal(size=(n, g))
    x = (x - x.mean(axis=0)).astype(np.float32)
    return x, *oracles.principal_axes(x, 60)


def test_few_passes_find_axes_with_signal_and_all_values_nearly(wide, few_passes):
    x_ng, values, vectors = wide
    assert (values[:6] > 1.1 * edge_theory(*x_ng.shape)).all()
    found = principal_axes(in_blocks(x_ng, 100), x_ng.shape, 60)
    np.testing.assert_allclose(found.values_q[:6], values[:6], rtol=1e-4)
    assert angles(found.vectors_gq[:, :6], vectors[:, :6]).min() > 0.9999
    # The last of the noise are too small, never too large; together they are all there.
    np.testing.assert_allclose(found.values_q, values, rtol=0.06)
    assert (found.values_q <= values * (1 + 1e-5)).all()
    assert found.values_q.sum() == pytest.approx(values.sum(), rel=0.01)
    np.testing.assert_allclose(found.vectors_gq.T @ found.vectors_gq, np.eye(60), atol=1e-5)
    assert (found.vectors_gq[np.abs(found.vectors_gq).argmax(axis=0), range(60)] > 0).all()
    # Profiles V S and, as genes never trained on have them, X'U: the same along axes with a signal.
    again = x_ng.T @ (x_ng @ found.vectors_gq / found.values_q) / len(x_ng)
    np.testing.assert_allclose(again[:, :6], found.vectors_gq[:, :6], atol=1e-3)


def test_strength_by_few_passes_is_that_of_the_exact_axes(wide, few_passes):
    x_ng, values, vectors = wide
    edge = edge_theory(*x_ng.shape)
    held_out = wide[0][:200]
    found = principal_axes(in_blocks(x_ng), x_ng.shape, 60)
    exact = _spectrum.Spectrum(values, vectors, len(x_ng))
    ours, theirs = (signal_strength(s, edge, x_ng.shape[1], 8, iter([held_out])) for s in (found, exact))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    assert (theirs > 0).sum() >= 6


def test_number_of_passes_is_bounded(wide, few_passes):
    x_ng, passes = wide[0], []
    principal_axes(lambda: passes.append(1) or in_blocks(x_ng, 300)(), x_ng.shape, 60)
    assert len(passes) == _krylov.PASSES == 10


def test_few_passes_do_not_depend_on_the_order_of_cells_and_repeat_to_the_last_bit(wide, few_passes, rng):
    x_ng = wide[0]
    one, same, other = (
        principal_axes(in_blocks(x, 128), x.shape, 20) for x in (x_ng, x_ng, x_ng[rng.permutation(len(x_ng))])
    )
    assert np.array_equal(one.vectors_gq, same.vectors_gq)
    np.testing.assert_allclose(other.values_q, one.values_q, rtol=1e-4)
    np.testing.assert_allclose(other.vectors_gq[:, :6], one.vectors_gq[:, :6], atol=1e-4)


def test_few_cells_of_many_genes_are_not_held(rng, monkeypatch):
    x_ng = low_rank(rng, 40, 300)
    exact = principal_axes(in_blocks(x_ng), x_ng.shape, 5)
    monkeypatch.setattr(_spectrum, "HELD_LIMIT", 40 * 299)
    passes = []
    found = principal_axes(lambda: passes.append(1) or in_blocks(x_ng)(), x_ng.shape, 5)
    assert len(passes) == 4
    np.testing.assert_allclose(found.values_q, exact.values_q, rtol=1e-4)
    np.testing.assert_allclose(found.vectors_gq, exact.vectors_gq, atol=1e-3)


def test_a_product_is_taken_instead_of_blocks(wide, few_passes):
    x_ng = wide[0]
    found = principal_axes(
        lambda: pytest.fail("blocks were asked for"),
        x_ng.shape,
        8,
        product=lambda m: (x_ng.T @ (x_ng @ m)).astype(float),
    )
    np.testing.assert_allclose(found.values_q[:6], wide[1][:6], rtol=1e-4)


def test_evidence_of_an_axis_is_that_of_the_predictions(rng):
    """The gain of predicting each gene from the others along an axis, by the loop."""
    spectrum = principal_axes(in_blocks(low_rank(rng, 60, 25)), (60, 25), 3)
    x_cg, expected = low_rank(rng, 40, 25), []
    for j in range(3):
        v = spectrum.vectors_gq[:, j]
        gain = [sum(x[g] * v[g] * (x @ v - x[g] * v[g]) for g in range(25)) for x in x_cg.astype(float)]
        expected.append(np.mean(gain) / np.std(gain) * np.sqrt(40))
    np.testing.assert_allclose(masked_evidence([x_cg[:13], x_cg[13:]], spectrum, 3), expected, rtol=1e-5)


def test_full_rank_of_a_centred_matrix_is_finite(rng):
    """With fewer cells than genes the centred matrix has a zero singular value, whose vector must not blow up."""
    x_ng = low_rank(rng, 20, 50)
    found = principal_axes(in_blocks(x_ng), (20, 50), 20)
    assert np.isfinite(found.vectors_gq).all()
    assert np.linalg.norm(found.vectors_gq, axis=0).max() < 1 + 1e-4


@pytest.mark.parametrize(("n", "g"), [(400, 100), (200, 200), (150, 450)])
def test_noise_edge_of_gaussian_noise_is_that_of_marchenko_and_pastur(rng, n, g):
    values = sparse.csc_matrix(rng.normal(size=(n, g)))
    assert noise_edge(values, n, seed=0) == pytest.approx(edge_theory(n, g), rel=0.06)


@pytest.mark.parametrize("rare", [False, True])
def test_noise_passes_the_edge_once_in_a_hundred(rare):
    """Of 120 data sets of independent genes at most five; a quarter passed the largest of three permutations."""
    passed = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        x = rng.poisson(0.6, (120, 40)).astype(float) if rare else rng.normal(size=(120, 40))
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        passed += np.linalg.eigvalsh(x.T @ x / len(x))[-1] > passing(
            noise_edge(sparse.csc_matrix(x), len(x), seed=seed), *x.shape
        )
    assert passed <= 5


def test_the_margin_is_a_quantile_of_tracy_and_widom():
    """By the gamma law that is close to it (Chiani 2014, doi 10.1016/j.jmva.2014.04.002)."""
    drawn = np.random.default_rng(0).gamma(46.446, 0.186054, (200_000, 1 + PERMUTATIONS))
    assert np.quantile(drawn[:, 0] - drawn[:, 1:].mean(axis=1), 0.99) == pytest.approx(MARGIN, abs=0.06)


def test_noise_edge_does_not_see_correlation(rng):
    """Genes that all follow one factor have the edge of independent genes."""
    x = 3 * rng.normal(size=(400, 1)) + rng.normal(size=(400, 100))
    assert np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[0] ** 2 / 400 > 100
    assert noise_edge(sparse.csc_matrix(x), 400, seed=0) == pytest.approx(edge_theory(400, 100), rel=0.06)


def test_noise_edge_from_a_sample_is_carried_over_to_all_cells(rng):
    x = rng.normal(size=(2000, 100))
    whole = noise_edge(sparse.csc_matrix(x), 2000, seed=0)
    assert noise_edge(sparse.csc_matrix(x[:400]), 2000, seed=0) == pytest.approx(whole, rel=0.06)


def test_noise_edge_of_rarely_seen_genes_is_higher(rng):
    n, g = 400, 100
    rare = sparse.csc_matrix((rng.random((n, g)) < 0.01) * rng.lognormal(0, 1.5, (n, g)))
    rare = rare[:, np.diff(rare.indptr) > 0]
    assert noise_edge(rare, n, seed=0) > 1.1 * edge_theory(n, g)


@pytest.mark.parametrize("g", [1, 2, 3])
def test_noise_edge_of_few_genes(rng, g):
    assert noise_edge(sparse.csc_matrix(rng.normal(size=(500, g))), 500, seed=0) == pytest.approx(
        edge_theory(500, g), rel=0.15
    )


@pytest.mark.parametrize(("n", "g"), [(600, 200), (250, 400)])
def test_shrinkage_recovers_planted_strength(n, g):
    """The spiked model, by simulation: what is found is theta times the cosine of estimated and true loadings."""
    theta = np.array([2.5, 1.6])
    found, truth = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        v = np.linalg.qr(rng.normal(size=(g, 2)))[0]
        x = rng.normal(size=(n, 2)) * theta @ v.T + rng.normal(size=(n, g))
        values, vectors = oracles.principal_axes(x, 2)
        found.append(shrink(values, edge_theory(n, g), n, g))
        truth.append(theta * np.abs((vectors * v).sum(axis=0)))
    np.testing.assert_allclose(np.mean(found, axis=0), np.mean(truth, axis=0), rtol=0.1)
    assert (np.mean(truth, axis=0) < 0.97 * theta).any()


def test_shrinkage_does_not_depend_on_the_unit():
    values = np.array([9.0, 5.0, 1.0])
    np.testing.assert_allclose(shrink(4 * values, 10.0, 300, 100), 2 * shrink(values, 2.5, 300, 100))


def test_values_within_the_noise_have_no_strength():
    strength = shrink(np.array([9.0, 2.6, 2.5, 0.1]), 2.5, 300, 100)
    assert (strength > 0).tolist() == [True, True, False, False]
    assert (strength**2 <= [9.0, 2.6, 2.5, 0.1]).all()


def test_pure_noise_has_no_axis():
    """Of thirty matrices one at most; a third or more pass the mean of their permutations, none by more than 10 %."""
    above, passed = 0, 0
    for seed in range(30):
        x = np.random.default_rng(seed).normal(size=(300, 120))
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        values, _ = oracles.principal_axes(x, 5)
        edge = noise_edge(sparse.csc_matrix(x), 300, seed=seed)
        above += (shrink(values, edge, 300, 120) > 0).any()
        passed += (shrink(values, edge, 300, 120, passed=passing(edge, 300, 120)) > 0).any()
        assert (shrink(values, 1.1 * edge, 300, 120) == 0).all()
    assert passed <= 1 and above >= 10
