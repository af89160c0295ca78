"""Association of genes with a phenotype: against SciPy, plain least squares, and many nulls."""

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from sivae.stats import _association, _orders
from sivae.stats._association import associate, p_of_both, permuted_t

FIELDS = ["effect_g", "se_g", "low_g", "high_g", "t_g", "rho_g", "p_g"]


def made(n=12, g=30, seed=0):
    rng = np.random.default_rng(seed)
    x_s = rng.normal(size=n)
    y_sg = rng.normal(size=(n, g)) + np.linspace(-1.5, 1.5, g) * x_s[:, None]
    return y_sg, x_s, rng.normal(size=(n, 2)) + 0.5 * x_s[:, None], rng.uniform(0.2, 3, (n, g))


def run(y_sg, x_s, seed=1, **options):
    return associate(y_sg, x_s, generator=np.random.default_rng(seed), **({"n_permutations": 999} | options))


def fitted(y_s, x_s, covariates_sc, weights_s):
    """Effect, its standard error and t from plain least squares on whitened rows."""
    root_s = np.sqrt(weights_s)
    design = root_s[:, None] * np.column_stack([x_s, np.ones(len(x_s)), covariates_sc])
    beta, rss, rank, _ = np.linalg.lstsq(design, root_s * y_s, rcond=None)
    se = np.sqrt(rss[0] / (len(x_s) - rank) * np.linalg.inv(design.T @ design)[0, 0])
    return beta[0], se, beta[0] / se, len(x_s) - rank


def test_the_simple_line_is_scipys():
    y_sg, x_s, _, _ = made()
    found = run(y_sg, x_s)
    for g, y_s in enumerate(y_sg.T):
        line = stats.linregress(x_s, y_s)
        reach = line.stderr * stats.t.ppf(0.975, 10)
        expected = [line.slope, line.stderr, line.slope - reach, line.slope + reach, line.slope / line.stderr]
        assert np.allclose([getattr(found, name)[g] for name in FIELDS[:5]], expected)
        assert np.isclose(found.rho_g[g], stats.pearsonr(x_s, y_s).statistic)


@pytest.mark.parametrize("with_weights", [False, True])
def test_covariates_and_weights_are_least_squares_on_whitened_rows(with_weights):
    y_sg, x_s, covariates_sc, weights_sg = made()
    found = run(y_sg, x_s, covariates_sc=covariates_sc, weights_sg=weights_sg if with_weights else None)
    for g, y_s in enumerate(y_sg.T):
        weights_s = weights_sg[:, g] if with_weights else np.ones(12)
        effect, se, t, freedom = fitted(y_s, x_s, covariates_sc, weights_s)
        assert np.allclose([found.effect_g[g], found.se_g[g], found.t_g[g]], [effect, se, t])
        assert np.isclose(found.rho_g[g], t / np.sqrt(t**2 + freedom))
        assert np.isclose(found.high_g[g] - found.low_g[g], 2 * se * stats.t.ppf(0.975, freedom))


def test_equal_weights_change_nothing_and_their_scale_does_not_matter():
    y_sg, x_s, covariates_sc, weights_sg = made()
    plain, equal = (run(y_sg, x_s, covariates_sc=covariates_sc, weights_sg=w) for w in (None, np.full_like(y_sg, 3.0)))
    for name in FIELDS[:6]:
        assert np.allclose(getattr(plain, name), getattr(equal, name))
    once, scaled = (run(y_sg, x_s, weights_sg=w) for w in (weights_sg, 7 * weights_sg))
    assert np.allclose(once.effect_g, scaled.effect_g) and np.array_equal(once.p_g, scaled.p_g)


def test_ranks_are_spearmans():
    y_sg, x_s, covariates_sc, _ = made()
    found = run(np.exp(y_sg), x_s**3, ranks=True)
    assert np.allclose(found.rho_g, [stats.spearmanr(x_s, y_s).statistic for y_s in y_sg.T])
    ranked_sc = stats.rankdata(covariates_sc, axis=0)
    found = run(y_sg, x_s, covariates_sc=covariates_sc, ranks=True)
    _, _, t, freedom = fitted(stats.rankdata(y_sg[:, 3]), stats.rankdata(x_s), ranked_sc, np.ones(12))
    assert np.isclose(found.rho_g[3], t / np.sqrt(t**2 + freedom))


# ------------------------------------------------------------------------------------------------------- permutations


@pytest.mark.parametrize("x_s", [[0, 0, 0, 1, 1, 1], [0, 1, 1, 2, 2, 3.5], [0.1, 0.5, 2, 3, 4]])
def test_the_exact_test_is_scipys(x_s):
    x_s = np.array(x_s, float)
    y_sg = np.random.default_rng(0).normal(size=(len(x_s), 3)) + np.array([0, 1, 3]) * x_s[:, None]
    found = run(y_sg, x_s)
    assert found.exact
    for g, y_s in enumerate(y_sg.T):

        def size(values, y_s=y_s):
            return abs(np.corrcoef(values, y_s)[0, 1])

        oracle = stats.permutation_test(
            (x_s,), size, permutation_type="pairings", n_resamples=np.inf, alternative="greater", vectorized=False
        )
        assert np.isclose(found.p_g[g], oracle.pvalue)


def test_two_groups_of_four_have_70_arrangements():
    x_s = np.repeat([0.0, 1.0], 4)
    found = run(np.arange(8.0)[:, None], x_s)
    assert found.exact and found.n_permutations_g.tolist() == [70]
    assert np.isclose(found.p_g[0], 2 / 70)


@pytest.mark.parametrize("x_s", [[0, 1, 0, 1, 1], [2, 2, 2, 5], [3, 1, 2, 2, 1], [1.5, 0.5, 2.5, 3.5]])
def test_arrangements_are_all_and_once(x_s):
    x_s = np.array(x_s, float)
    order_bs = _orders.arrangements(x_s)
    assert (np.sort(order_bs, axis=1) == np.arange(len(x_s))).all()
    assert {tuple(row) for row in x_s[order_bs]} == set(permutations(x_s))
    assert len(order_bs) == len(set(permutations(x_s))) == _orders.n_arrangements(x_s)


def test_with_weights_too_every_arrangement_is_looked_at():
    y_sg, _, _, weights_sg = made(n=6, g=3)
    x_s = np.repeat([0.0, 1.0], 3)
    found = run(y_sg, x_s, weights_sg=weights_sg)
    assert found.exact and (found.n_permutations_g == 20).all()
    for g in range(3):
        t_b = [fitted(y_sg[:, g], np.array(x), np.empty((6, 0)), weights_sg[:, g])[2] for x in set(permutations(x_s))]
        assert np.isclose(found.p_g[g], np.mean(np.abs(t_b) >= abs(found.t_g[g]) * (1 - 1e-9)))


def test_who_gets_all_orders():
    binary_s, different_s = np.repeat([0.0, 1.0], 8), np.arange(9.0)
    assert len(_orders.few_orders(binary_s, plain=True)) == math.comb(16, 8)
    assert _orders.few_orders(different_s, plain=True) is None
    assert _orders.few_orders(binary_s, plain=False) is None
    assert len(_orders.few_orders(np.array([0, 0, 1, 1, 1.0]), plain=False)) == 120


@pytest.mark.parametrize("with_weights", [False, True])
def test_freedman_lane_over_all_orders_by_hand(with_weights):
    y_sg, x_s, covariates_sc, weights_sg = made(n=6, g=8)
    covariates_sc = covariates_sc[:, :1]
    weights_sg = weights_sg if with_weights else np.ones_like(y_sg)
    found = run(y_sg, x_s, covariates_sc=covariates_sc, weights_sg=weights_sg if with_weights else None)
    assert found.exact and (found.n_permutations_g == 720).all()
    for g in (0, 4, 7):
        root_s, design = np.sqrt(weights_sg[:, g]), np.column_stack([np.ones(6), covariates_sc])
        fit_s = design @ np.linalg.lstsq(root_s[:, None] * design, root_s * y_sg[:, g], rcond=None)[0]
        as_large = 0
        for order in map(list, permutations(range(6))):
            new_s = fit_s + (y_sg[:, g] - fit_s)[order]
            t = fitted(new_s, x_s, covariates_sc, weights_sg[order, g])[2]
            as_large += abs(t) >= abs(found.t_g[g]) * (1 - 1e-7)
        assert np.isclose(found.p_g[g], as_large / 720)


def test_few_exceedances_get_more_permutations():
    y_sg, x_s, _, _ = made(n=20, g=200)
    found = run(y_sg, x_s, n_permutations=30_000)
    assert not found.exact and set(found.n_permutations_g) == {999, 9_999, 30_000}
    count_g = np.round(found.p_g * (found.n_permutations_g + 1) - 1)
    assert (count_g[found.n_permutations_g < 30_000] >= 20).all()
    assert found.p_g.min() >= 1 / 30_001
    by_t = 2 * stats.t.sf(np.abs(found.t_g), 18)
    assert (np.abs(np.log(found.p_g / by_t))[by_t > 0.01] < 0.5).all()


def test_a_gene_does_not_depend_on_the_others(monkeypatch):
    y_sg, x_s, covariates_sc, weights_sg = made(n=15, g=40)
    options = {"covariates_sc": covariates_sc, "n_permutations": 5_000}
    for weights in (None, weights_sg):
        whole = run(y_sg, x_s, weights_sg=weights, **options)
        chosen = np.random.default_rng(3).permutation(40)[:17]
        some = run(y_sg[:, chosen], x_s, weights_sg=None if weights is None else weights[:, chosen], **options)
        with monkeypatch.context() as patch:
            patch.setattr(_association, "VALUES", 4_000)
            blocks = run(y_sg, x_s, weights_sg=weights, **options)
        for name in [*FIELDS, "n_permutations_g"]:
            assert np.allclose(getattr(whole, name)[chosen], getattr(some, name))
            assert np.allclose(getattr(whole, name), getattr(blocks, name))


def test_permuted_t_keeps_genes_together():
    y_sg, x_s, covariates_sc, weights_sg = made()
    y_sg[:, 1], weights_sg[:, 1] = -2 * y_sg[:, 0], weights_sg[:, 0]
    generator = np.random.default_rng(0)
    t_g, t_bg = permuted_t(
        y_sg, x_s, covariates_sc=covariates_sc, weights_sg=weights_sg, n_permutations=400, generator=generator
    )
    assert np.allclose(t_g, run(y_sg, x_s, covariates_sc=covariates_sc, weights_sg=weights_sg).t_g)
    assert t_bg.shape == (400, 30) and np.allclose(t_bg[:, 0], -t_bg[:, 1])
    assert abs(t_bg.mean()) < 0.1 and 0.9 < t_bg[:, 2:].std() / stats.t.std(8) < 1.1


# ------------------------------------------------------------------------------------------------------------- corners


def test_constant_genes_and_perfect_fits():
    x_s = np.arange(12.0) / 7
    covariates_sc = np.random.default_rng(0).normal(size=(12, 1))
    y_sg = np.column_stack([np.full(12, 0.1), 3 - 2 * x_s, 0.3 + 5 * covariates_sc[:, 0]])
    for weights_sg in (None, np.random.default_rng(1).uniform(0.5, 2, (12, 3))):
        found = run(y_sg, x_s, covariates_sc=covariates_sc, weights_sg=weights_sg)
        assert found.effect_g[[0, 2]].tolist() == [0, 0] and found.p_g[[0, 2]].tolist() == [1, 1]
        assert found.t_g[[0, 2]].tolist() == [0, 0]
        assert np.isclose(found.effect_g[1], -2) and found.p_g[1] == 1 / 1000
        assert found.t_g[1] < -1e6 and found.se_g[1] < 1e-6


def test_covariates_may_depend_on_each_other_or_be_constant():
    y_sg, x_s, covariates_sc, _ = made()
    twice_sc = np.column_stack([covariates_sc, covariates_sc.sum(axis=1), np.ones(12)])
    once, twice = (run(y_sg, x_s, covariates_sc=c) for c in (covariates_sc, twice_sc))
    assert np.allclose(once.t_g, twice.t_g) and np.allclose(once.se_g, twice.se_g)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y_sg": np.full((12, 30), np.nan)}, "y_sg holds values that are not finite"),
        ({"x_s": np.full(12, np.inf)}, "x_s holds values that are not finite"),
        ({"x_s": np.ones(12)}, "phenotype is constant"),
        ({"covariates_sc": 2 + 3 * made()[1][:, None]}, "covariates determine it"),
        ({"covariates_sc": np.eye(12)[:, :10]}, "leave 0 degrees of freedom"),
        ({"covariates_sc": np.ones((11, 1))}, "one row for each of 12 individuals"),
        ({"weights_sg": np.zeros((12, 30))}, "expected positive weights"),
        ({"weights_sg": np.ones((12, 3))}, "expected positive weights"),
    ],
)
def test_what_is_refused(change, words):
    y_sg, x_s, _, _ = made()
    arguments = {"y_sg": y_sg, "x_s": x_s} | change
    with pytest.raises(ValueError, match=words):
        run(**arguments)


# --------------------------------------------------------------------------------------------------------------- nulls

N_NULL = 2_500


def noise(kind, rng, shape):
    if kind == "heavy":
        return rng.standard_t(2.5, shape)
    return rng.exponential(size=shape) if kind == "skew" else rng.normal(size=shape)


@pytest.mark.science
@pytest.mark.parametrize("kind", ["normal", "heavy", "skew"])
@pytest.mark.parametrize("setting", ["plain", "covariates", "weights", "wrong", "both", "few", "binary", "ranks"])
def test_a_null_gives_uniform_or_larger_p(kind, setting):
    """Genes are replicates: p at most a in at most a share a of them, within 4 standard deviations."""
    rng = np.random.default_rng(5)
    n = 7 if setting == "few" else 14
    x_s = np.repeat([0.0, 1.0], n // 2) if setting == "binary" else rng.normal(size=n)
    covariates_sc = np.column_stack([x_s + rng.normal(size=n), rng.normal(size=n) > 0]).astype(float)
    y_sg = noise(kind, rng, (n, N_NULL))
    options = {}
    if setting in ("covariates", "both", "ranks", "few"):
        # Ranks of a sum are no sum of ranks: partial Spearman correlation promises less where the covariate acts.
        y_sg = y_sg + (setting != "ranks") * covariates_sc[:, :1] * rng.normal(size=N_NULL)
        options["covariates_sc"] = covariates_sc[:, :1] if setting == "few" else covariates_sc
    if setting in ("weights", "both", "wrong"):
        options["weights_sg"] = np.exp(rng.normal(0, 0.7, (n, N_NULL)))
        y_sg = y_sg / (1 if setting == "wrong" else np.sqrt(options["weights_sg"]))
    found = run(y_sg, x_s, ranks=setting == "ranks", n_permutations=9_999, **options)
    for level in (0.002, 0.01, 0.05, 0.2):
        # All genes share the permutations, and with them their error.
        n_orders = 9_999 if level < 0.02 else 999
        bound = level + 4 * np.sqrt(level * (1 - level) * (1 / N_NULL + 1 / n_orders))
        assert (found.p_g <= level).mean() <= bound, (level, (found.p_g <= level).mean())


def test_of_permutations_and_t_the_larger_p_counts():
    rng = np.random.default_rng(11)
    y_sg, x_s, weights_sg = rng.standard_normal((16, 40)), rng.standard_normal(16), rng.uniform(0.2, 1, (16, 40))
    fit = associate(y_sg, x_s, weights_sg=weights_sg, n_permutations=999, generator=rng)
    by_t = 2 * stats.t.sf(np.abs(fit.t_g), 14)
    both = p_of_both(fit, 14)
    np.testing.assert_array_equal(both, np.where(by_t > fit.p_g, by_t, fit.p_g))
    assert (both > fit.p_g).any()
    assert (both > by_t).any()
