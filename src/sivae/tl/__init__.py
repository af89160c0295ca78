"""Analyses of the gene space: an annotated AnnData in; fields of it, frames or graphs out. No model, no X needed."""

from sivae.tl._attributions import attribution_agreement, attribution_similarity, attributions
from sivae.tl._awareness import feature_awareness
from sivae.tl._consensus import consensus
from sivae.tl._contributions import contributions
from sivae.tl._loadings import inferred_loadings, rank_loadings, recoded_loadings
from sivae.tl._relevance import gene_relevance
from sivae.tl._variance import explained_variance

__all__ = [
    "attribution_agreement",
    "attribution_similarity",
    "attributions",
    "consensus",
    "contributions",
    "explained_variance",
    "feature_awareness",
    "gene_relevance",
    "inferred_loadings",
    "rank_loadings",
    "recoded_loadings",
]
