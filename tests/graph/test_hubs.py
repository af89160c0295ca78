"""Centralities against loops over dense matrices; their sign."""

import numpy as np
import pytest

from sivae.graph import _hubs


@pytest.fixture
def factors(rng):
    factor = rng.normal(size=(40, 3)) * 0.3
    factor[5:9] = 0.0
    return factor


def off_diagonal(factor):
    matrix = factor @ factor.T
    np.fill_diagonal(matrix, 0.0)
    return matrix


def test_power_and_strength_equal_sums_over_the_matrix(factors, monkeypatch):
    monkeypatch.setattr(_hubs, "BLOCK_VALUES", 40 * 7)
    c = off_diagonal(factors)
    np.testing.assert_allclose(_hubs.power(factors), (c**2).sum(axis=1) / 39, atol=1e-12)
    np.testing.assert_allclose(_hubs.strength(factors), np.abs(c).sum(axis=1) / 39, atol=1e-12)


def test_power_is_what_a_line_on_one_gene_explains_of_the_others(rng):
    factor = np.array([[0.8, 0.0], [0.6, 0.5], [0.0, 0.7], [0.3, -0.4]])
    noise = np.sqrt(1 - (factor**2).sum(axis=1))
    x = rng.normal(size=(200_000, 2)) @ factor.T + noise * rng.normal(size=(200_000, 4))
    r2 = np.corrcoef(x.T) ** 2
    np.testing.assert_allclose(_hubs.power(factor), (r2.sum(axis=1) - 1) / 3, atol=0.01)


def test_attribution_is_the_row_sum_of_encoder_times_decoder(rng):
    encoder, v = rng.normal(size=(30, 2)), rng.normal(size=(30, 2))
    matrix = np.abs(encoder @ v.T)
    np.fill_diagonal(matrix, 0.0)
    np.testing.assert_allclose(_hubs.attribution(encoder, v), matrix.sum(axis=1) / 29)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.6, 0.95])
@pytest.mark.parametrize("rows", [1, 7, 40])
@pytest.mark.parametrize(("most", "bins"), [(10**6, 1), (1, 1), (1, 50), (1, 2**16)])
def test_degree_counts_the_strongest_pairs(factors, monkeypatch, share, rows, most, bins):
    """Also where the pairs are too many to be held."""
    monkeypatch.setattr(_hubs, "BLOCK_VALUES", 40 * rows)
    monkeypatch.setattr(_hubs, "MOST_PAIRS", most)
    monkeypatch.setattr(_hubs, "BINS", bins)
    size = np.abs(off_diagonal(factors))
    pairs = np.sort(size[np.triu_indices(40, 1)])[::-1]
    cut = max(pairs[round(share * len(pairs)) - 1], np.nextafter(0, 1))
    np.testing.assert_array_equal(_hubs.degree(factors, share=share), (size >= cut).sum(axis=1))


@pytest.mark.parametrize("most", [10**6, 0])
def test_ties_at_the_cut_are_all_edges(monkeypatch, most):
    monkeypatch.setattr(_hubs, "MOST_PAIRS", most)
    assert (_hubs.degree(np.zeros((6, 1))) == 0).all()
    factor = np.ones((6, 1))
    np.testing.assert_array_equal(_hubs.degree(factor, share=0.1), np.full(6, 5.0))


def test_norm_in_the_covariance_of_the_axes(rng):
    v = rng.normal(size=(5, 2))
    np.testing.assert_allclose(_hubs.norm(v), np.linalg.norm(v, axis=1))
    covariance = np.array([[2.0, 0.3], [0.3, 0.5]])
    np.testing.assert_allclose(_hubs.norm(v, covariance), [np.sqrt(row @ covariance @ row) for row in v])


def test_a_hub_is_above_and_a_gene_at_the_origin_is_zero(rng):
    """E-9: the published code ranked by minus the norm."""
    factor = np.concatenate([[[0.9]], rng.uniform(0.2, 0.5, (20, 1)), np.zeros((20, 1))])
    for score in (
        _hubs.norm(factor),
        _hubs.power(factor),
        _hubs.strength(factor),
        _hubs.degree(factor, share=0.05),
        _hubs.attribution(factor, factor),
    ):
        assert score.argmax() == 0
        assert (score[21:] == 0).all()
        assert score.shape == (41,)


def test_one_gene_alone_is_no_hub():
    one = np.ones((1, 2))
    assert _hubs.power(one)[0] == _hubs.strength(one)[0] == 0.0
