"""Preparation: AnnData in; fields of `var`, or names of cells to hold out, out."""

from sivae.pp._genes import select_genes
from sivae.pp._split import k_folds, split_cells

__all__ = ["k_folds", "select_genes", "split_cells"]
