"""Network inference of the benchmarks against loops, closed forms and scikit-learn. Skipped without bench/."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.metrics import average_precision_score, mutual_info_score

ROOT = Path(__file__).parents[2]
if not (ROOT / "bench" / "_inference.py").exists():
    pytest.skip("this release comes without bench/", allow_module_level=True)
sys.path.append(str(ROOT))

from bench import _inference as inference  # noqa: E402

SEEDS = st.integers(0, 10_000)


def symmetric(rng, g=9):
    """What a matrix of mutual information looks like."""
    upper = np.triu(rng.exponential(size=(g, g)), 1)
    return upper + upper.T


def counts(rng, n=60, g=6):
    return rng.poisson(rng.gamma(1.0, 2.0, (n, 1)) * rng.lognormal(size=g)).astype(float)


def test_information_of_normal_values_is_in_closed_form(rng):
    common = rng.normal(size=(50, 1))
    x_ng = common + rng.normal(size=(50, 4))
    rho = np.corrcoef(x_ng.T)
    expected = -0.5 * np.log(1 - rho[np.triu_indices(4, 1)] ** 2)
    np.testing.assert_allclose(inference.information(x_ng, "pearson")[np.triu_indices(4, 1)], expected)


def test_information_of_ranks_is_that_of_spearman(rng):
    x_ng = counts(rng)
    rho = spearmanr(x_ng)[0]
    expected = -0.5 * np.log(1 - rho[np.triu_indices(6, 1)] ** 2)
    np.testing.assert_allclose(inference.information(x_ng)[np.triu_indices(6, 1)], expected)


def test_equal_genes_have_finite_information_and_constant_ones_none(rng):
    x_n = rng.normal(size=30)
    found = inference.information(np.column_stack([x_n, x_n, np.ones(30)]))
    assert np.isfinite(found).all() and found[0, 1] > 6
    assert found[2].max() == 0


def test_bins_hold_equally_many_and_equal_values_share_one(rng):
    bin_n = inference.discretised(rng.normal(size=(100, 1)), 10)[:, 0]
    assert np.bincount(bin_n).tolist() == [10] * 10
    sparse_n = np.r_[np.zeros(70), np.arange(1, 31)][:, None]
    bin_n = inference.discretised(sparse_n, 10)[:, 0]
    assert len(set(bin_n[:70])) == 1 and np.bincount(bin_n).tolist() == [70, 10, 10, 10]


@pytest.mark.parametrize("n_bins", [3, None])
def test_empirical_information_is_that_of_the_table(rng, n_bins):
    x_ng = counts(rng)
    bin_ng = inference.discretised(x_ng, n_bins or 7)
    found = inference.information(x_ng, "empirical", n_bins=n_bins)
    for first in range(6):
        for second in set(range(6)) - {first}:
            expected = mutual_info_score(bin_ng[:, first], bin_ng[:, second])
            assert found[first, second] == pytest.approx(expected, abs=1e-6)


def test_miller_madow_adds_a_term_for_each_cell_of_the_table(rng):
    x_ng = counts(rng)
    bin_ng = inference.discretised(x_ng, 4)
    found = inference.information(x_ng, "miller-madow", n_bins=4)
    for first, second in [(0, 1), (2, 5)]:
        a, b = bin_ng[:, first], bin_ng[:, second]
        cells = len(set(a)) + len(set(b)) - len(set(zip(a, b, strict=True))) - 1
        expected = mutual_info_score(a, b) + cells / (2 * len(a))
        assert found[first, second] == pytest.approx(max(expected, 0.0), abs=1e-6)


@given(SEEDS)
@settings(max_examples=20)
def test_clr_is_what_it_says(seed):
    information = symmetric(np.random.default_rng(seed))
    found = inference.clr(information)
    for g in range(9):
        for h in range(9):
            z = []
            for one in (g, h):
                others = np.delete(information[one], one)
                z.append(max(0.0, (information[g, h] - others.mean()) / others.std(ddof=1)))
            assert found[g, h] == pytest.approx(0.0 if g == h else np.hypot(*z))


def mrnet_of(information, target):
    """Forward selection for one target, step by step."""
    chosen, score_g = [], np.zeros(len(information))
    while len(chosen) < len(information) - 1:
        left = [h for h in range(len(information)) if h != target and h not in chosen]
        scores = [
            information[target, h] - (np.mean([information[s, h] for s in chosen]) if chosen else 0.0) for h in left
        ]
        if max(scores) <= 0:
            break
        best = left[int(np.argmax(scores))]
        score_g[best] = max(scores)
        chosen.append(best)
    return score_g


@given(SEEDS)
@settings(max_examples=20)
def test_mrnet_is_the_selection_done_gene_by_gene(seed):
    information = symmetric(np.random.default_rng(seed))
    one_way = np.stack([mrnet_of(information, target) for target in range(9)])
    np.testing.assert_allclose(inference.mrnet(information), np.maximum(one_way, one_way.T))


@given(SEEDS, st.sampled_from([0.0, 0.3]))
@settings(max_examples=20)
def test_aracne_drops_the_weakest_edge_of_three(seed, eps):
    information = symmetric(np.random.default_rng(seed))
    expected = information.copy()
    for g in range(9):
        for h in range(9):
            detours = [min(information[g, k], information[k, h]) for k in range(9) if k not in (g, h)]
            if g != h and information[g, h] < max(detours) - eps:
                expected[g, h] = 0.0
    np.testing.assert_allclose(inference.aracne(information, eps=eps), expected)


def test_aracne_finds_a_chain(rng):
    """x0 -> x1 -> x2 -> x3: information falls with the length of the way, so only neighbors stay."""
    x_ng = rng.normal(size=(2000, 4))
    for gene in range(1, 4):
        x_ng[:, gene] = 0.8 * x_ng[:, gene - 1] + 0.6 * x_ng[:, gene]
    found = inference.aracne(inference.information(x_ng)) > 0
    assert found.tolist() == (np.abs(np.subtract.outer(range(4), range(4))) == 1).tolist()


def test_grnboost2_finds_the_drivers_and_stops_early(rng):
    x_ng = rng.normal(size=(200, 12))
    x_ng[:, 3] = x_ng[:, 0] + x_ng[:, 1] + 0.5 * x_ng[:, 3]
    found = inference.grnboost2(x_ng, n_trees=300, seed=1)
    assert set(np.argsort(-found[:, 3])[:2]) == {0, 1}
    assert np.diag(found).max() == 0
    # Importances add to the number of trees: a gene that nothing drives stops within few of them.
    assert found[:, 3].sum() == pytest.approx(300)
    assert np.median(found[:, 4:].sum(axis=0)) < 100


def test_boosting_improves_on_cells_left_out_of_the_tree(rng):
    """Prediction by prediction, with the masks that scikit-learn drew."""
    x_ng, y_n = rng.normal(size=(80, 5)), rng.normal(size=80)
    masks, stop = [], inference.StopEarly(10)

    def watched(step, regressor, within):
        masks.append(within["sample_mask"].copy())
        return stop(step, regressor, within)

    regressor = GradientBoostingRegressor(learning_rate=0.1, subsample=0.7, n_estimators=60, random_state=0)
    regressor.fit(x_ng, y_n, monitor=watched)
    predicted = [np.full(80, y_n.mean()), *regressor.staged_predict(x_ng)]
    error = np.array([(y_n - p_n) ** 2 for p_n in predicted])
    expected = [(error[i] - error[i + 1])[~mask].mean() for i, mask in enumerate(masks)]
    np.testing.assert_allclose(stop.improvements, expected)
    bad = [i for i in range(9, len(expected)) if np.mean(expected[i - 9 : i + 1]) < 0]
    assert bad == [len(masks) - 1]


def test_precision_of_pairs(rng):
    weight = symmetric(rng)
    truth = symmetric(rng) > 1.2
    upper = np.triu_indices(9, 1)
    expected = average_precision_score(truth[upper], weight[upper]) / truth[upper].mean()
    assert inference.average_precision(weight, truth) == pytest.approx(expected)
    n = int(truth[upper].sum())
    best = np.argsort(-weight[upper])[:n]
    assert inference.early_precision(weight, truth) == pytest.approx(truth[upper][best].mean() / truth[upper].mean())
    assert inference.early_precision(np.ones((9, 9)), truth) == pytest.approx(1.0)
    assert inference.early_precision(truth.astype(float), truth) == pytest.approx(1 / truth[upper].mean())
