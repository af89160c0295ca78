"""Genes on the lists of individuals: counted one by one."""

import numpy as np
import pytest
from individuals import made_samples

from sivae._errors import OptionError, SetupError
from sivae.cohort._central import central_genes


@pytest.fixture
def samples():
    return made_samples()


@pytest.mark.parametrize("layer", [None, "norm", "strength"])
def test_lists_are_counted(samples, layer):
    found = central_genes(samples, n_top=7, layer=layer, min_individuals=3)
    value = samples.X if layer is None else samples.layers[layer]
    lists = [set(samples.var_names[np.argsort(-row)[:7]]) for row in value]
    count = {gene: sum(gene in one for one in lists) for gene in samples.var_names}
    assert found["count"].to_dict() == {gene: n for gene, n in count.items() if n >= 3}
    assert found["count"].is_monotonic_decreasing and 0 < len(found) < 60
    np.testing.assert_allclose(found["share"], found["count"] / 16)
    rank = 1 + np.argsort(np.argsort(-value, axis=1), axis=1).mean(axis=0)
    np.testing.assert_allclose(found["mean_rank"], rank[samples.var_names.get_indexer(found.index)])
    union = central_genes(samples, n_top=7, layer=layer)
    assert set(union.index) == set.union(*lists)


def test_ties_and_genes_without_a_value(samples):
    samples.layers["projection"] = np.tile(np.arange(60.0)[::-1], (16, 1))
    samples.layers["projection"][:, 2] = samples.layers["projection"][:, 1]
    samples.layers["projection"][:8, 0] = np.nan
    found = central_genes(samples, n_top=2)
    assert found.loc["gene000"].to_list() == [8, 1.0, 1.0]
    assert found.loc["gene001"].to_list() == found.loc["gene002"].to_list() == [16, 1.0, (8 * 1.5 + 8 * 2.5) / 16]
    assert len(found) == 3
    samples.layers["projection"][:, 0] = np.nan
    assert "gene000" not in central_genes(samples, n_top=59).index


def test_order_of_individuals_and_genes(samples, rng):
    moved = samples[rng.permutation(16), rng.permutation(60)].copy()
    found = central_genes(samples, n_top=10)
    assert central_genes(moved, n_top=10).equals(found)


def test_refusals(samples):
    with pytest.raises(OptionError, match="n_top is 60; expected fewer than the 60 genes"):
        central_genes(samples, n_top=60)
    with pytest.raises(OptionError, match="min_individuals is 17; expected at most the 16"):
        central_genes(samples, n_top=5, min_individuals=17)
    with pytest.raises(SetupError, match="Found no layer 'pagerank'"):
        central_genes(samples, n_top=5, layer="pagerank")
    del samples.uns["sivae_cohort"]
    with pytest.raises(SetupError, match=r"Make them with samples = sivae\.cohort\.connectivity"):
        central_genes(samples, n_top=5)
    with pytest.raises(SetupError, match="expected an AnnData"):
        central_genes(samples.to_df(), n_top=5)
