"""The eight genes are as stated."""

import numpy as np
import pytest

from sivae._errors import OptionError
from sivae.datasets import eight_genes

N = 20_000
WITHIN = np.triu_indices(4, 1)


def correlations(x_cg, factor_c):
    """Correlations of the eight genes, (8, 8), and of each with the factor, (8,)."""
    table = np.corrcoef(np.column_stack([x_cg, factor_c]), rowvar=False)
    return table[:8, :8], table[:8, 8]


def test_normal_values():
    adata = eight_genes(N)
    between_gg, factor_g = correlations(adata.X, adata.obs["factor"])
    np.testing.assert_allclose(factor_g[:4], 0.8, atol=0.02)
    np.testing.assert_allclose(between_gg[:4, :4][WITHIN], 0.64, atol=0.02)
    assert np.abs(between_gg[4:, :4]).max() < 0.03
    assert np.abs(between_gg[4:, 4:][WITHIN]).max() < 0.03
    assert np.abs(factor_g[4:]).max() < 0.03
    np.testing.assert_allclose(adata.X.std(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(adata.X.mean(axis=0), 0, atol=0.03)


def test_counts_given_the_depth():
    adata = eight_genes(N, counts=True)
    depth_c = adata.obs["size_factor"].to_numpy()
    between_gg, factor_g = correlations(np.log1p(adata.X / depth_c[:, None]), adata.obs["factor"])
    assert between_gg[:4, :4][WITHIN].min() > 0.35
    assert factor_g[:4].min() > 0.55
    assert np.abs(between_gg[4:, :4]).max() < 0.03
    assert np.abs(factor_g[4:]).max() < 0.03
    assert abs(np.corrcoef(depth_c, adata.obs["factor"])[0, 1]) < 0.03
    assert depth_c.mean() == pytest.approx(1, abs=0.02)
    assert 0.3 < np.log(depth_c).std() < 0.4


def test_counts_are_counts_of_one_distribution():
    adata = eight_genes(N, counts=True)
    np.testing.assert_array_equal(adata.X, np.rint(adata.X))
    assert adata.X.min() >= 0
    np.testing.assert_allclose(adata.X.mean(axis=0), 8, rtol=0.04)
    assert (adata.X.var(axis=0) > 3 * adata.X.mean(axis=0)).all()


def test_the_sum_of_eight_ties_the_independent_genes_to_the_factor():
    adata = eight_genes(N, counts=True)
    _, factor_g = correlations(np.log1p(64 * adata.X / adata.X.sum(axis=1, keepdims=True)), adata.obs["factor"])
    assert (factor_g[4:] < -0.2).all()  # what the docstring warns of


@pytest.mark.parametrize("counts", [False, True])
def test_form_and_seed(counts):
    adata, same, other = (eight_genes(50, counts=counts, seed=seed) for seed in (3, 3, 4))
    assert adata.shape == (50, 8)
    assert adata.X.dtype == np.float32
    assert adata.var["co_regulated"].tolist() == [True] * 4 + [False] * 4
    assert adata.var_names[0] == "gene_1"
    assert ("size_factor" in adata.obs) == counts
    np.testing.assert_array_equal(adata.X, same.X)
    assert not np.array_equal(adata.X, other.X)


def test_no_cells_are_refused():
    with pytest.raises(OptionError, match=r"Found n_cells=0, expected at least 1"):
        eight_genes(0)
