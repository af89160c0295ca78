"""Plots: an annotated AnnData in, matplotlib Axes out; nothing is shown or saved, and no model is needed."""

from sivae.pl._biplot import biplot
from sivae.pl._cells import cells
from sivae.pl._genes import cells_and_genes, genes
from sivae.pl._history import history
from sivae.pl._loadings import loadings

__all__ = ["biplot", "cells", "cells_and_genes", "genes", "history", "loadings"]
