"""The peers that `bench/individuals.py` compares with, against closed forms. Skipped where there is no bench/."""

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

ROOT = Path(__file__).parents[2]
if not (ROOT / "bench" / "_individuals.py").exists():
    pytest.skip("this release comes without bench/", allow_module_level=True)
sys.path.append(str(ROOT))

from bench import _individuals, individuals, null_individuals  # noqa: E402


def counts(rate_cg, rng, *, types=1):
    """Two individuals of Poisson counts; a last gene of many counts keeps depth the same."""
    n = len(rate_cg)
    y_cg = rng.poisson(rate_cg)
    y_cg = np.column_stack([y_cg, 10_000 - y_cg.sum(axis=1)])
    obs = pd.DataFrame({"donor": np.repeat(["b", "a"], n // 2), "cell_type": np.arange(n) % types}, dtype=str)
    obs.index = [f"c{i}" for i in range(n)]
    return _individuals.counts_of(ad.AnnData(sparse.csr_matrix(y_cg.astype(np.float32)), obs=obs))


def test_noise_of_counting_is_taken_off(rng):
    z = rng.normal(size=(40_000, 1))
    rate_cg = np.exp(0.5 * z + np.zeros(3))  # three genes of the same rate: correlation 1 without counting noise
    made = counts(rate_cg, rng)
    attenuated = np.corrcoef(made.count_s[0][:, :3].T)[0, 1]
    found_sgg = _individuals.noise_corrected(made, within_types=False)
    assert made.names == ("a", "b")
    assert attenuated < 0.4
    np.testing.assert_allclose(found_sgg[:, 0, 1], 1.0, atol=0.1)


def test_types_alone_are_no_correlation(rng):
    n = 20_000
    type_c = np.arange(n) % 2
    rate_cg = np.where(type_c[:, None] == 0, 4.0, 12.0) * np.ones(3)
    made = counts(rate_cg, rng, types=2)
    for network in _individuals.NETWORKS.values():
        assert network(made, within_types=False)[0, 0, 1] > 0.4
        assert abs(network(made, within_types=True)[0, 0, 1]) < 0.05


def test_degree_counts_the_largest_pairs():
    correlation_sgg = np.zeros((1, 20, 20))
    for first, second, value in ((0, 1, 0.9), (0, 2, -0.8), (3, 4, 0.1)):
        correlation_sgg[0, first, second] = correlation_sgg[0, second, first] = value
    found_sg = _individuals.degree(correlation_sgg)  # one percent of 190 pairs is two
    assert found_sg[0, :5].tolist() == [2.0, 1.0, 1.0, 0.0, 0.0]
    np.testing.assert_allclose(_individuals.strength(correlation_sgg)[0, :4], [0.85, 0.9, 0.8, 0.1])


def test_measures_of_a_perfect_and_of_a_constant_score():
    flags = [np.arange(10) < 1, (np.arange(10) >= 1) & (np.arange(10) < 3), np.arange(10) == 9]
    truth = individuals.Truth(tuple("abcdefghij"), *flags, frozenset({("a", "b")}))
    found = individuals.measured(np.r_[-9.0, -8.0, -7.0, np.zeros(7)], np.arange(10) < 3, truth)
    assert (found["ranks"], found["above"], found["auc"]) == ([1], [0], 1.0)
    assert (found["hubs"], found["targets"], found["neutral"], found["n_neutral"]) == (1.0, 1.0, 0, 6)
    found = individuals.measured(np.zeros(10), np.ones(10, bool), truth)
    assert (found["ranks"], found["above"], found["auc"], found["expression"]) == ([10], [6], 0.5, 1)
    edges = individuals.edge_measures(["b", "d", "a"], ["a", "e", "d"], np.array([True, True, False]), truth)
    assert (edges["in_graph"], edges["found"], edges["untouched"], edges["false"]) == (1, 1, 1, 1)


def test_interval_of_a_share():
    assert null_individuals.interval(0, 200) == (0.0, pytest.approx(1 - 0.025 ** (1 / 200)))
    assert null_individuals.interval(200, 200)[1] == 1.0
