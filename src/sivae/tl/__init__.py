"""Analyses of the gene space: an annotated AnnData in; fields of it, frames or graphs out. No model, no X needed."""

from sivae.tl._attributions import attribution_agreement, attribution_similarity, attributions
from sivae.tl._awareness import feature_awareness
from sivae.tl._consensus import consensus
from sivae.tl._contributions import contributions
from sivae.tl._enrich import enrich
from sivae.tl._gene_graph import gene_graph, write_graph
from sivae.tl._gene_set_scores import gene_set_coherence, gene_set_scores
from sivae.tl._gene_sets import read_gmt
from sivae.tl._hubs import hub_table, hubs
from sivae.tl._loadings import inferred_loadings, rank_loadings, recoded_loadings
from sivae.tl._mixture import mixture_likelihood
from sivae.tl._modules import module_scores, modules
from sivae.tl._neighbors import gene_neighbors, neighbors_of
from sivae.tl._preservation import module_preservation
from sivae.tl._query import neighbor_overlap, neighbor_r2
from sivae.tl._relevance import gene_relevance
from sivae.tl._variance import explained_variance

__all__ = [
    "attribution_agreement",
    "attribution_similarity",
    "attributions",
    "consensus",
    "contributions",
    "enrich",
    "explained_variance",
    "feature_awareness",
    "gene_graph",
    "gene_neighbors",
    "gene_relevance",
    "gene_set_coherence",
    "gene_set_scores",
    "hub_table",
    "hubs",
    "inferred_loadings",
    "mixture_likelihood",
    "module_preservation",
    "module_scores",
    "modules",
    "neighbor_overlap",
    "neighbor_r2",
    "neighbors_of",
    "rank_loadings",
    "read_gmt",
    "recoded_loadings",
    "write_graph",
]
