"""Analyses of the gene space: an annotated AnnData in; fields of it, frames or graphs out. No model, no X needed."""

from sivae.tl._hubs import hub_table, hubs
from sivae.tl._neighbors import gene_neighbors, neighbors_of
from sivae.tl._query import neighbor_overlap, neighbor_r2

__all__ = ["gene_neighbors", "hub_table", "hubs", "neighbor_overlap", "neighbor_r2", "neighbors_of"]
