"""Plots: an annotated AnnData, or a table of the tools, in; Axes out. Nothing is shown, no model is needed."""

from sivae.pl._agreement import attribution_agreement, attribution_similarity
from sivae.pl._biplot import biplot
from sivae.pl._cells import cells
from sivae.pl._chord import chord
from sivae.pl._contributions import contributions
from sivae.pl._enrichment import enrichment
from sivae.pl._genes import cells_and_genes, genes
from sivae.pl._heatmaps import loading_images, loadings_heatmap
from sivae.pl._history import history
from sivae.pl._hubs import hubs
from sivae.pl._loadings import loadings
from sivae.pl._modules import module_network, module_scores, module_sizes, modules
from sivae.pl._neighborhood import neighborhood
from sivae.pl._pairs import pairs
from sivae.pl._posteriors import posteriors
from sivae.pl._save import save
from sivae.pl._scatter import awareness, loading_scatter
from sivae.pl._traversal import traversal
from sivae.pl._variance import explained_variance

__all__ = [
    "attribution_agreement",
    "attribution_similarity",
    "awareness",
    "biplot",
    "cells",
    "cells_and_genes",
    "chord",
    "contributions",
    "enrichment",
    "explained_variance",
    "genes",
    "history",
    "hubs",
    "loading_images",
    "loading_scatter",
    "loadings",
    "loadings_heatmap",
    "module_network",
    "module_scores",
    "module_sizes",
    "modules",
    "neighborhood",
    "pairs",
    "posteriors",
    "save",
    "traversal",
]
