"""Turning embeddings onto each other, against SciPy and planted truth."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from sivae.graph._align import align, principal_turn, stability, turn_onto


def seeds(rng, v, n, noise=0.0):
    return [
        (v + noise * rng.normal(size=v.shape)) @ ortho_group.rvs(v.shape[1], random_state=int(rng.integers(1e9)))
        for _ in range(n)
    ]


@pytest.fixture
def v(rng):
    return rng.normal(size=(60, 4)) * [2.0, 1.5, 1.0, 0.5] * rng.exponential(size=(60, 1))


def test_a_turn_is_scipys(rng, v):
    other = rng.normal(size=v.shape)
    np.testing.assert_allclose(turn_onto(v, other), orthogonal_procrustes(v, other)[0], atol=1e-12)


def test_turned_copies_are_one(rng, v):
    turned, consensus = align(seeds(rng, v, 5))
    for copy in turned:
        np.testing.assert_allclose(copy, consensus, atol=1e-9)
    np.testing.assert_allclose(consensus @ turn_onto(consensus, v), v, atol=1e-9)
    np.testing.assert_allclose(stability(turned), 1.0)


def test_no_single_turn_does_better(rng, v):
    """At the end every embedding lies best on the mean of the others too: a fixed point of Gower's iteration."""
    turned, consensus = align(seeds(rng, v, 4, noise=0.3))
    for copy in turned:
        np.testing.assert_allclose(turn_onto(copy, consensus), np.eye(4), atol=1e-3)
    np.testing.assert_allclose(consensus, np.mean(turned, axis=0))


def test_neither_order_nor_axes_of_the_embeddings_matter(rng, v):
    every = seeds(rng, v, 4, noise=0.2)
    again = seeds(np.random.default_rng(5), np.eye(4), 4)
    shuffled = [every[i] @ again[i] for i in (2, 0, 3, 1)]
    found, other = (align(each)[1] for each in (every, shuffled))
    found, other = (m @ principal_turn(m) for m in (found, other))
    np.testing.assert_allclose(other, found, atol=1e-5)


def test_permuting_genes_permutes_the_result_and_nothing_else(rng, v):
    every, order = seeds(rng, v, 3, noise=0.2), rng.permutation(60)
    turned, consensus = align(every)
    turned_too, consensus_too = align([e[order] for e in every])
    np.testing.assert_allclose(stability(turned_too), stability(turned)[order], atol=1e-6)
    expected = (consensus @ principal_turn(consensus))[order]
    np.testing.assert_allclose(consensus_too @ principal_turn(consensus_too), expected, atol=1e-5)


def test_principal_turn_orders_and_signs(v):
    turned = v @ principal_turn(v)
    gram = turned.T @ turned
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-9)
    assert (np.diff(np.diag(gram)) <= 0).all() and ((turned**3).sum(axis=0) >= 0).all()


def test_stability_is_the_share_of_what_seeds_have_in_common(rng):
    """With v + noise in each seed it estimates |v|^2 / (|v|^2 + noise), pair by pair."""
    v = np.repeat([[1.0, 0.0], [0.3, 0.4], [0.0, 0.0]], 400, axis=0)
    stack = [v + 0.5 * rng.normal(size=v.shape) for _ in range(5)]
    found = stability(stack)
    pairs = [(s * t).sum(axis=1) for i, s in enumerate(stack) for j, t in enumerate(stack) if i != j]
    np.testing.assert_allclose(found, np.mean(pairs, axis=0) / np.mean([(s**2).sum(axis=1) for s in stack], axis=0))
    means = found.reshape(3, 400).mean(axis=1)
    np.testing.assert_allclose(means, [1 / 1.5, 0.25 / 0.75, 0.0], atol=0.06)


def test_chance_is_not_stable(rng):
    """Independent embeddings, aligned: what little agreement alignment makes is k / g of the genes'."""
    turned, _ = align([rng.normal(size=(400, 3)) for _ in range(4)])
    assert abs(np.mean(stability(turned))) < 0.2


def test_a_gene_at_the_origin_of_all_is_nan():
    stack = np.zeros((3, 2, 2))
    stack[:, 0] = 1.0
    found = stability(list(stack))
    assert found[0] == 1.0 and np.isnan(found[1])
