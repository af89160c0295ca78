"""Running sums against the definition, gene by gene; p-values that are uniform under the null."""

import time

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import kstest

from sivae.stats._gsea import enrichment, enrichment_scores, leading_edges


def literal(value_g, members, weight):
    """Subramanian et al. 2005, appendix, as it is written."""
    order = sorted(range(len(value_g)), key=lambda g: -value_g[g])
    total = sum(abs(value_g[g]) ** weight for g in members)
    hit = miss = 0.0
    sums = [0.0]
    for g in order:
        if g in members:
            hit += abs(value_g[g]) ** weight / total
        else:
            miss += 1 / (len(value_g) - len(members))
        sums.append(hit - miss)
    return order, np.array(sums)


def sets_of(rng, n_sets, n_genes, low=1, high=20):
    member = np.zeros((n_sets, n_genes))
    for row in member:
        row[rng.choice(n_genes, rng.integers(low, high), replace=False)] = 1
    return sparse.csr_matrix(member)


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("one_sided", [False, True])
def test_scores_equal_the_definition(rng, weight, one_sided):
    value_bg, member = rng.standard_normal((4, 60)), sets_of(rng, 12, 60)
    found = enrichment_scores(value_bg, member, weight=weight, one_sided=one_sided)
    for b, value_g in enumerate(value_bg):
        edges = leading_edges(value_g, member, weight=weight, one_sided=one_sided)
        for m in range(12):
            members = set(member[m].indices)
            order, sums = literal(value_g, members, weight)
            high, low = sums.max(), sums.min()
            up = one_sided or high >= -low - 1e-9
            assert found[b, m] == pytest.approx(high if up else low, abs=1e-12)
            at = int(np.argmax(sums >= high - 1e-9) if up else np.argmax(sums <= low + 1e-9))
            expected = order[:at] if up else order[at:][::-1]
            assert list(edges[m]) == [g for g in expected if g in members]
    assert (found < 0).any() != one_sided


def test_blocks_of_permutations_change_nothing(rng, monkeypatch):
    value_bg, member = rng.standard_normal((7, 50)), sets_of(rng, 5, 50)
    whole = enrichment_scores(value_bg, member)
    monkeypatch.setattr("sivae.stats._gsea.BLOCK", 100)
    np.testing.assert_array_equal(enrichment_scores(value_bg, member), whole)


def test_closed_forms():
    value_g = np.arange(10, 0, -1.0)
    member = sparse.csr_matrix(np.array([[1, 1, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1.0]]))
    np.testing.assert_allclose(enrichment_scores(value_g[None], member), [[1.0, -1.0]])
    np.testing.assert_allclose(enrichment_scores(value_g[None], member, one_sided=True), [[1.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(enrichment_scores(np.zeros((1, 10)), member), [[1.0, -1.0]])  # order alone counts


def test_a_ranking_turned_around_turns_the_sign(rng):
    value_bg, member = rng.standard_normal((3, 40)), sets_of(rng, 8, 40)
    np.testing.assert_allclose(enrichment_scores(-value_bg, member), -enrichment_scores(value_bg, member), atol=1e-12)


def test_scores_against_permuted_scores():
    null = np.array([[0.2, -0.1], [0.4, -0.3], [-0.5, 0.3], [0.6, -0.5]])
    found = enrichment(np.array([0.4, -0.5]), null)
    np.testing.assert_allclose(found.nes_m, [0.4 / 0.4, -0.5 / 0.3])
    np.testing.assert_allclose(found.p_m, [3 / 4, 2 / 4])
    np.testing.assert_allclose(found.q_m, [3 / 4, 3 / 4])
    above = enrichment(np.array([0.4]), np.array([[0.2], [0.4], [0.6], [0.0]]), one_sided=True)
    np.testing.assert_allclose(above.p_m, [3 / 5])
    never = enrichment(np.array([0.4]), np.array([[-0.2], [-0.3]]))
    assert np.isnan(never.nes_m[0]) and never.p_m[0] == 1.0  # no permutation of this sign: nothing to say


def test_p_values_are_uniform_where_genes_are_correlated(rng):
    """Every ranking is exchangeable with its permutations; genes of a set move together, which fools gene sampling."""
    n_genes, member = 60, sparse.csr_matrix(np.kron(np.eye(6), np.ones(10)))
    p = []
    for _ in range(150):
        value_bg = 0.9 * np.repeat(rng.standard_normal((200, 6)), 10, axis=1) + 0.4 * rng.standard_normal((200, 60))
        es_bm = enrichment_scores(value_bg, member)
        p.append(enrichment(es_bm[0], es_bm[1:]).p_m[:2])
    assert n_genes == member.shape[1]
    assert kstest(np.concatenate(p), "uniform").pvalue > 0.01
    assert abs((np.concatenate(p) <= 0.05).mean() - 0.05) < 0.04


@pytest.mark.slow
def test_a_thousand_permutations_of_a_hundred_sets(rng):
    member = sets_of(rng, 100, 2000, 20, 300)
    start = time.process_time()
    enrichment_scores(rng.standard_normal((1000, 2000)), member)
    assert time.process_time() - start < 30
