"""Analyses of the gene space: an annotated AnnData in; fields of it, frames or graphs out. No model, no X needed."""

from sivae.tl._attributions import attribution_agreement, attribution_similarity, attributions
from sivae.tl._relevance import gene_relevance

__all__ = ["attribution_agreement", "attribution_similarity", "attributions", "gene_relevance"]
