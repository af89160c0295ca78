"""Analyses of the gene space: an annotated AnnData in; fields of it, frames or graphs out. No model, no X needed."""

from sivae.tl._attributions import attribution_agreement, attribution_similarity, attributions
from sivae.tl._enrich import enrich
from sivae.tl._gene_graph import gene_graph, write_graph
from sivae.tl._gene_set_scores import gene_set_coherence, gene_set_scores
from sivae.tl._gene_sets import read_gmt
from sivae.tl._modules import module_scores, modules
from sivae.tl._preservation import module_preservation
from sivae.tl._relevance import gene_relevance

__all__ = [
    "attribution_agreement",
    "attribution_similarity",
    "attributions",
    "enrich",
    "gene_graph",
    "gene_relevance",
    "gene_set_coherence",
    "gene_set_scores",
    "module_preservation",
    "module_scores",
    "modules",
    "read_gmt",
    "write_graph",
]
