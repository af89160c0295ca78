"""Preparation: AnnData in, fields of `var` out."""

from sivae.pp._genes import select_genes

__all__ = ["select_genes"]
