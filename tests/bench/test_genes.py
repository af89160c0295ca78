"""What the benchmarks about genes work out beside the package. Skipped where there is no bench/."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sivae.graph._compare import pair_correlation

ROOT = Path(__file__).parents[2]
if not (ROOT / "bench" / "queries.py").exists():
    pytest.skip("this release comes without bench/", allow_module_level=True)
sys.path.append(str(ROOT))

from bench import _measures, _networks, _spaces, hubs, neighborhoods, queries  # noqa: E402


def test_holm_multiplies_by_what_is_left_and_never_falls():
    np.testing.assert_allclose(queries.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    assert queries.holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]


def test_query_genes_are_central_by_every_method(rng):
    degrees = [rng.random(60) for _ in range(3)]
    genes, share = queries.query_genes(degrees, least=12)
    cut = int(np.ceil(share * 60))
    expected = set.intersection(*(set(np.argsort(-degree)[:cut]) for degree in degrees))
    assert set(genes) == expected and len(genes) >= 12


def test_methods_in_pairs(rng):
    r2_mg = np.stack([rng.random(30), np.zeros(30)])
    r2_mg[1] = r2_mg[0] - 0.1 - 0.01 * rng.random(30)
    (pair,) = queries.paired(["a", "b"], r2_mg)
    assert pair["difference"] == pytest.approx((r2_mg[0] - r2_mg[1]).mean(), abs=1e-4)
    assert pair["p"] == pytest.approx(2.0**-29, rel=1e-2)  # all 30 signs alike: exact two-sided p
    assert pair["pearson"] > 0.99


def test_groups_leave_a_method_with_itself_out():
    value = np.array([[1.0, 0.2, 0.4, 0.1], [0.2, 1.0, 0.6, 0.3], [0.4, 0.6, 1.0, 0.5], [0.1, 0.3, 0.5, 1.0]])
    found = neighborhoods.grouped(value, ["DR", "GRN", "GRN", "DR"])
    assert found == {"DR with DR": 0.1, "GRN with GRN": 0.6, "DR with GRN": pytest.approx((0.2 + 0.4 + 0.3 + 0.5) / 4)}


def test_pair_correlations_are_those_of_the_package(rng):
    unit = rng.normal(size=(20, 7))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    near = [_measures.highest(rng.random((20, 20)), n) for n in (4, 4, 6)]
    expected = [[pair_correlation(unit, a, b).mean() for b in near] for a in near]
    np.testing.assert_allclose(neighborhoods.pair_correlations(unit, near), expected)


def test_truth_tells_edges_from_shared_regulators():
    edges = pd.DataFrame({"regulator": ["a", "a", "a", "x"], "target": ["b", "c", "gone", "c"]})
    names = ["a", "b", "c", "d"]
    counts = SimpleNamespace(uns={"edges": edges}, var=pd.DataFrame(index=names), var_names=pd.Index(names))
    truth = _spaces.truth(SimpleNamespace(counts=counts))
    edge, shared = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    edge[0, [1, 2]] = edge[[1, 2], 0] = True
    shared[1, 2] = shared[2, 1] = True
    assert (truth["edge"] == edge).all() and (truth["shared"] == shared).all()
    counts.uns = {}
    assert _spaces.truth(SimpleNamespace(counts=counts)) is None
    counts.var["module"] = ["one", "none", "one", "none"]
    assert np.argwhere(_spaces.truth(SimpleNamespace(counts=counts))["module"]).tolist() == [[0, 2], [2, 0]]


def test_cumulated_power_ends_at_all_of_it(rng):
    power_g = rng.random(300)
    found = hubs.curve(power_g, power_g)
    assert found[-1] == 1.0 and found[0] == pytest.approx(power_g.max() / power_g.sum(), abs=1e-4)


def test_small_network_learns_a_line_and_is_the_same_each_time(rng):
    x = rng.normal(size=(300, 5))
    x[:, 0] = x[:, 1:3].sum(axis=1) + 0.3 * x[:, 0]
    found = [
        _networks.gene_from_neighbors(np.array(near), 0, x[:200], x[200:], iterations=300)
        for near in ([1, 2], [3, 4], [1, 2])
    ]
    assert found[0] > 0.5 > 0.2 > found[1]
    assert found[0] == found[2]
