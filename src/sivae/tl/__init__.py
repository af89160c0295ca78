"""Analyses of the gene space: an annotated AnnData in; fields of it, frames or graphs out. No model, no X needed."""
