"""Many individuals: one gene space each, and what of it goes with a phenotype."""

from sivae.cohort._associate import associate
from sivae.cohort._central import central_genes
from sivae.cohort._classes import edge_classes, gene_classes
from sivae.cohort._connectivity import connectivity
from sivae.cohort._edges import edges
from sivae.cohort._gene_sets import gene_sets
from sivae.cohort._map import associate_map, individuals_map
from sivae.cohort._modules import modules
from sivae.cohort._power import power
from sivae.cohort._predict import predict
from sivae.cohort._similarity import similarity
from sivae.cohort._subsets import subsets, yardstick
from sivae.cohort._tracking import expression_tracking

__all__ = [
    "associate",
    "associate_map",
    "central_genes",
    "connectivity",
    "edge_classes",
    "edges",
    "expression_tracking",
    "gene_classes",
    "gene_sets",
    "individuals_map",
    "modules",
    "power",
    "predict",
    "similarity",
    "subsets",
    "yardstick",
]
