"""Positions read from the covariances of one individual's cells, against loops over cells and genes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sivae.graph import _cohort
from sivae.graph._read_out import PRIOR_COUNTS, Cells, Scale, inverse_fold, squares, sums, type_totals

G, K, T = 7, 3, 3


def cells_of(seed: int, n: int = 24, *, counts: bool = True) -> Cells:
    rng = np.random.default_rng(seed)
    type_c = rng.integers(0, T, n)
    if not counts:
        return Cells(rng.standard_normal((n, G)), type_c, None)
    depth_c = rng.uniform(0.5, 2.0, n)
    y_cg = rng.poisson(3.0 * depth_c[:, None], (n, G)).astype(float)
    return Cells(sparse.csr_matrix(y_cg / depth_c[:, None]), type_c, depth_c)


def dense(cells: Cells) -> np.ndarray:
    return cells.rate_cg.toarray() if sparse.issparse(cells.rate_cg) else cells.rate_cg


def slow_sums(cells, scale, encoder_gk, part_c, n_parts):
    """The definition, one pair of genes and one cell at a time."""
    x_cg, factor_g = dense(cells), inverse_fold(cells, scale.mean_tg) / scale.sd_g
    residual_cg = np.zeros_like(x_cg)
    for t in range(T):
        inside = cells.type_c == t
        if inside.any():
            residual_cg[inside] = (x_cg[inside] - x_cg[inside].mean(axis=0)) * factor_g
    product_pgk = np.zeros((n_parts, G, K))
    for c, p in enumerate(part_c):
        for g in range(G):
            for f in range(G):
                if f != g:
                    product_pgk[p, g] += residual_cg[c, g] * residual_cg[c, f] * encoder_gk[f]
    return product_pgk, residual_cg


@pytest.mark.parametrize("counts", [True, False])
def test_sums_are_those_of_the_definition(counts):
    rng = np.random.default_rng(1)
    cells, encoder_gk = cells_of(0, counts=counts), rng.standard_normal((G, K))
    scale = Scale(rng.uniform(1, 4, (T, G)), rng.uniform(0.5, 2, G))
    part_c = rng.integers(0, 4, len(cells.type_c))
    found = sums(cells, scale, encoder_gk, part_c=part_c, n_parts=4)
    product_pgk, residual_cg = slow_sums(cells, scale, encoder_gk, part_c, 4)
    np.testing.assert_allclose(found.product_pgk, product_pgk, atol=1e-10)
    np.testing.assert_allclose(found.square_g, (residual_cg**2).sum(axis=0), atol=1e-10)
    reading_ck = residual_cg @ encoder_gk
    np.testing.assert_allclose(found.reading_kk, reading_ck.T @ reading_ck, atol=1e-10)
    count_t = np.bincount(cells.type_c, minlength=T)
    expected = [((count_t - 1) / count_t)[cells.type_c[part_c == p]].sum() for p in range(4)]
    np.testing.assert_allclose(found.freedom_p, expected)
    assert found.freedom_p.sum() == pytest.approx(len(cells.type_c) - T)


def test_sparse_and_dense_cells_give_the_same():
    rng = np.random.default_rng(2)
    cells, scale = cells_of(3), Scale(rng.uniform(1, 4, (T, G)), np.ones(G))
    other = Cells(dense(cells), cells.type_c, cells.depth_c)
    encoder_gk, parts = rng.standard_normal((G, K)), np.zeros(len(cells.type_c), np.intp)
    one, two = (sums(c, scale, encoder_gk, part_c=parts, n_parts=1) for c in (cells, other))
    np.testing.assert_allclose(one.product_pgk, two.product_pgk, atol=1e-12)
    np.testing.assert_allclose(squares(cells, T)[0], squares(other, T)[0], atol=1e-12)


def test_a_type_of_one_cell_and_an_absent_type_say_nothing():
    rng = np.random.default_rng(4)
    x_cg = rng.standard_normal((9, G))
    with_one = Cells(np.vstack([x_cg, 5 + rng.standard_normal((1, G))]), np.array([0] * 9 + [2]), None)
    alone = Cells(x_cg, np.zeros(9, np.intp), None)
    scale, encoder_gk = Scale(np.zeros((T, G)), np.ones(G)), rng.standard_normal((G, K))
    one = sums(with_one, scale, encoder_gk, part_c=np.zeros(10, np.intp), n_parts=1)
    two = sums(alone, scale, encoder_gk, part_c=np.zeros(9, np.intp), n_parts=1)
    np.testing.assert_allclose(one.product_pgk, two.product_pgk, atol=1e-12)
    assert one.freedom_p.sum() == two.freedom_p.sum() == 8


def test_a_constant_gene_has_position_zero():
    rng = np.random.default_rng(5)
    x_cg = rng.standard_normal((20, G))
    x_cg[:, 2] = 3.0
    cells = Cells(x_cg, np.zeros(20, np.intp), None)
    sd_g = x_cg.std(axis=0)
    sd_g[2] = 0.0
    found = sums(cells, Scale(np.zeros((1, G)), sd_g), np.ones((G, K)), part_c=np.zeros(20, np.intp), n_parts=1)
    assert not found.product_pgk[:, 2].any()
    assert found.square_g[2] == 0
    assert np.isfinite(found.product_pgk).all()


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_permuting_genes_and_cells_permutes_positions_alone(seed):
    rng = np.random.default_rng(seed)
    cells, encoder_gk = cells_of(seed), rng.standard_normal((G, K))
    scale = Scale(rng.uniform(1, 4, (T, G)), rng.uniform(0.5, 2, G))
    parts = np.zeros(len(cells.type_c), np.intp)
    gene, cell = rng.permutation(G), rng.permutation(len(parts))
    moved = Cells(cells.rate_cg[cell][:, gene], cells.type_c[cell], cells.depth_c[cell])
    one = sums(cells, scale, encoder_gk, part_c=parts, n_parts=1)
    two = sums(moved, Scale(scale.mean_tg[:, gene], scale.sd_g[gene]), encoder_gk[gene], part_c=parts, n_parts=1)
    np.testing.assert_allclose(one.product_pgk[:, gene], two.product_pgk, atol=1e-10)


def test_totals_and_fold():
    cells = cells_of(6)
    total_tg, depth_t = type_totals(cells, T)
    y_cg = dense(cells) * cells.depth_c[:, None]
    for t in range(T):
        np.testing.assert_allclose(total_tg[t], y_cg[cells.type_c == t].sum(axis=0))
        assert depth_t[t] == pytest.approx(cells.depth_c[cells.type_c == t].sum())
    mean_tg = total_tg / depth_t[:, None]
    expected_g = depth_t @ mean_tg
    prior_g = 2 * expected_g + PRIOR_COUNTS
    expectation_g = 1 / prior_g + 2 * expected_g / prior_g**3
    np.testing.assert_allclose(inverse_fold(cells, 2 * mean_tg) * (expected_g + PRIOR_COUNTS), 1 / expectation_g)


def test_the_inverse_of_a_fold_is_not_biased_by_few_counts():
    rng = np.random.default_rng(7)
    for expected in (2.0, 8.0, 20.0, 100.0):
        y_g = rng.poisson(expected, 200_000).astype(float)
        cells = Cells(y_g[None, :], np.zeros(1, np.intp), np.ones(1))
        mean = float(inverse_fold(cells, np.full((1, len(y_g)), expected)).mean())
        assert abs(mean - 1.0) < 0.01, expected


def test_depth_and_a_change_of_expression_leave_positions_where_they_are():
    """The same rates, seen at half the depth and with one gene three times as high: the same expected position."""
    rng = np.random.default_rng(8)
    n, g = 60_000, 6
    factor_c = rng.standard_normal(n)
    log_rate_cg = 0.4 * factor_c[:, None] * np.array([1, 1, -1, 1, 0, 0]) - 0.08 * np.array([1, 1, 1, 1, 0, 0])
    encoder_gk, zero_c = np.array([[1.0], [1], [-1], [1], [0], [0]]), np.zeros(n, np.intp)
    positions = []
    for depth, fold in ((8.0, 1.0), (4.0, 1.0), (8.0, 3.0)):
        rate_cg = np.exp(log_rate_cg) * np.array([fold, 1, 1, 1, 1, 1])
        y_cg = rng.poisson(depth * rate_cg).astype(float)
        cells = Cells(y_cg / depth, zero_c, np.full(n, depth))
        scale = Scale(np.ones((1, g)), np.ones(g))
        found = sums(cells, scale, encoder_gk, part_c=zero_c, n_parts=1)
        positions.append(found.product_pgk[0, :, 0] / found.freedom_p.sum())
    np.testing.assert_allclose(positions[1], positions[0], rtol=0.06, atol=0.01)
    np.testing.assert_allclose(positions[2], positions[0], rtol=0.06, atol=0.01)
    log_scale = np.log1p(rng.poisson(4.0 * np.exp(log_rate_cg[:, 0]))).var()
    assert log_scale > 0  # the values on the log scale do change with depth: see docs/individuals.md


def test_a_gene_does_not_find_itself():
    """Independent genes: with its own share a gene would lie at its encoder weight, without it at the origin."""
    rng = np.random.default_rng(9)
    n = 4000
    cells = Cells(rng.standard_normal((n, G)), np.zeros(n, np.intp), None)
    encoder_gk = rng.standard_normal((G, K))
    found = sums(cells, Scale(np.zeros((1, G)), np.ones(G)), encoder_gk, part_c=np.zeros(n, np.intp), n_parts=1)
    position_gk = found.product_pgk[0] / found.freedom_p.sum()
    assert np.abs(position_gk).max() < 6 * np.abs(encoder_gk).max() * np.sqrt(G / n)
    assert np.abs(position_gk).max() < 0.3 * np.abs(encoder_gk).max()


def test_composition_is_standardized_away():
    """Two individuals with the same covariances within types and other shares of these have the same positions."""
    rng = np.random.default_rng(10)
    encoder_gk = np.ones((G, 1))

    def individual(n_first: int, n_second: int) -> Cells:
        first = rng.standard_normal((n_first, 1)) * np.ones(G) + rng.standard_normal((n_first, G))
        second = 3 + rng.standard_normal((n_second, G))
        return Cells(np.vstack([first, second]), np.repeat([0, 1], [n_first, n_second]), None)

    people = [individual(9000, 1000), individual(1000, 9000), individual(5000, 5000)]
    scale = Scale(np.zeros((2, G)), np.ones(G))
    sums_s = [sums(cells, scale, encoder_gk, part_c=cells.type_c, n_parts=2) for cells in people]
    composition = _cohort.composition_of(sums_s)
    plain = [float((found.product_pgk.sum(axis=0) / found.freedom_p.sum()).mean()) for found in sums_s]
    level = [float(_cohort.position(found, found.freedom_p, composition).mean()) for found in sums_s]
    assert plain[0] / plain[1] > 5
    np.testing.assert_allclose(level, level[2], rtol=0.1)
    assert level[2] == pytest.approx(plain[2], rel=0.02)
