"""Every plot of an AnnData refuses what is none, and one that is not annotated."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from annotated import annotated

from sivae import pl
from sivae._errors import SetupError

DOORS = {
    "biplot": pl.biplot,
    "cells": pl.cells,
    "cells_and_genes": pl.cells_and_genes,
    "chord": pl.chord,
    "genes": pl.genes,
    "history": pl.history,
    "hubs": pl.hubs,
    "loading_images": lambda x: pl.loading_images(x, (6, 10)),
    "loading_scatter": pl.loading_scatter,
    "loadings": pl.loadings,
    "loadings_heatmap": pl.loadings_heatmap,
    "module_network": pl.module_network,
    "module_scores": lambda x: pl.module_scores(x, "cell_type"),
    "module_sizes": pl.module_sizes,
    "modules": pl.modules,
    "neighborhood": lambda x: pl.neighborhood(x, "GENE1"),
    "pairs": pl.pairs,
    "posteriors": lambda x: pl.posteriors(x, ["GENE1"]),
    "traversal": pl.traversal,
}
TABLES = {
    "association", "attribution_agreement", "attribution_map", "attribution_similarity", "awareness", "contributions",
    "enrichment", "explained_variance", "gene_set_association", "power",
}  # fmt: skip
EDGES = pd.DataFrame({"gene_a": ["GENE1"], "gene_b": ["GENE2"], "q": [0.01]})
SAMPLES = {
    "connectivity": lambda x: pl.connectivity(x, ["GENE1"]),
    "edge_association": lambda x: pl.edge_association(x, EDGES),
    "edge_classes": lambda x: pl.edge_classes(x, EDGES),
    "gene_association": lambda x: pl.gene_association(x, "GENE1", "age"),
    "individuals": pl.individuals,
    "network_difference": lambda x: pl.network_difference(x, by="age"),
    "similarity": pl.similarity,
}


def test_every_plot_is_tried():
    assert set(DOORS) | TABLES | set(SAMPLES) | {"save"} == set(pl.__all__)


@pytest.mark.parametrize("door", [*DOORS, *SAMPLES])
@pytest.mark.parametrize("wrong", ["cells.h5ad", None, np.eye(2)], ids=["path", "none", "array"])
def test_what_is_no_anndata_is_refused(door, wrong):
    with pytest.raises(SetupError, match="expected an AnnData"):
        (DOORS | SAMPLES)[door](wrong)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("door", DOORS)
def test_an_anndata_without_results_is_refused_with_the_call_that_makes_them(door):
    adata = annotated()
    del adata.uns["sivae"]
    adata.obsm.clear(), adata.varm.clear(), adata.varp.clear()
    with pytest.raises(SetupError, match=r"Call (model\.annotate|sivae\.tl\.\w+)\(adata"):
        DOORS[door](adata)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("door", SAMPLES)
def test_cells_are_no_individuals(door):
    with pytest.raises(SetupError, match=r"Call samples = sivae\.cohort\.connectivity\(adata, sample_key\) first"):
        SAMPLES[door](annotated())
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", sorted(TABLES))
def test_an_anndata_is_no_table(name):
    with pytest.raises(SetupError, match="Found AnnData, expected a frame"):
        getattr(pl, name)(annotated())
