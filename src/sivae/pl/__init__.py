"""Plots: an annotated AnnData, or a table of the tools, in; Axes out. Nothing is shown, no model is needed."""

from sivae.pl._agreement import attribution_agreement, attribution_map, attribution_similarity
from sivae.pl._association import association
from sivae.pl._biplot import biplot
from sivae.pl._cells import cells
from sivae.pl._chord import chord
from sivae.pl._connectivity import connectivity
from sivae.pl._contributions import contributions
from sivae.pl._edge_association import edge_association, edge_classes
from sivae.pl._enrichment import enrichment
from sivae.pl._gene_association import gene_association
from sivae.pl._gene_set_association import gene_set_association
from sivae.pl._genes import cells_and_genes, genes
from sivae.pl._heatmaps import loading_images, loadings_heatmap
from sivae.pl._history import history
from sivae.pl._hubs import hubs
from sivae.pl._individuals import individuals, similarity
from sivae.pl._loadings import loadings
from sivae.pl._modules import module_network, module_scores, module_sizes, modules
from sivae.pl._neighborhood import neighborhood
from sivae.pl._network_difference import network_difference
from sivae.pl._pairs import pairs
from sivae.pl._posteriors import posteriors
from sivae.pl._power import power
from sivae.pl._save import save
from sivae.pl._scatter import awareness, loading_scatter
from sivae.pl._traversal import traversal
from sivae.pl._variance import explained_variance

__all__ = [
    "association",
    "attribution_agreement",
    "attribution_map",
    "attribution_similarity",
    "awareness",
    "biplot",
    "cells",
    "cells_and_genes",
    "chord",
    "connectivity",
    "contributions",
    "edge_association",
    "edge_classes",
    "enrichment",
    "explained_variance",
    "gene_association",
    "gene_set_association",
    "genes",
    "history",
    "hubs",
    "individuals",
    "loading_images",
    "loading_scatter",
    "loadings",
    "loadings_heatmap",
    "module_network",
    "module_scores",
    "module_sizes",
    "modules",
    "neighborhood",
    "network_difference",
    "pairs",
    "posteriors",
    "power",
    "save",
    "similarity",
    "traversal",
]
