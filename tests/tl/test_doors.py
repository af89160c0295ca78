"""Every analysis of the gene space refuses what is no AnnData, and genes named twice."""

import numpy as np
import pytest
from gene_spaces import planted_space

from sivae import tl
from sivae._errors import SetupError

SETS = {"one": ["G001", "G002"]}
DOORS = {
    "gene_neighbors": tl.gene_neighbors,
    "neighbors_of": lambda x: tl.neighbors_of(x, "G001"),
    "neighbor_r2": tl.neighbor_r2,
    "neighbor_overlap": tl.neighbor_overlap,
    "hubs": tl.hubs,
    "hub_table": tl.hub_table,
    "modules": tl.modules,
    "module_scores": tl.module_scores,
    "module_preservation": lambda x: tl.module_preservation(x, x),
    "enrich": lambda x: tl.enrich(x, SETS),
    "gene_set_coherence": lambda x: tl.gene_set_coherence(x, SETS),
    "gene_set_scores": lambda x: tl.gene_set_scores(x, SETS),
    "gene_graph": tl.gene_graph,
    "write_graph": lambda x: tl.write_graph(x, "genes.csv"),
    "gene_relevance": tl.gene_relevance,
    "mixture_likelihood": tl.mixture_likelihood,
    "rank_loadings": tl.rank_loadings,
    "explained_variance": tl.explained_variance,
    "feature_awareness": tl.feature_awareness,
    "recoded_loadings": lambda x: tl.recoded_loadings(x, "group"),
    "inferred_loadings": tl.inferred_loadings,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("wrong", ["cells.h5ad", None, np.eye(2)], ids=["path", "none", "array"])
def test_what_is_no_anndata_is_refused(door, wrong):
    with pytest.raises(SetupError, match="expected an AnnData"):
        DOORS[door](wrong)


@pytest.mark.parametrize(
    "door", ["gene_neighbors", "modules", "hubs", "rank_loadings", "gene_graph", "mixture_likelihood"]
)
def test_genes_named_twice_are_refused(door):
    adata = planted_space(n_modules=1, size=8, n_null=4, n_neighbors=3)
    adata.var_names = ["twice", "twice", *adata.var_names[2:]]
    with pytest.raises(SetupError, match="var_names are not unique: twice"):
        DOORS[door](adata)
