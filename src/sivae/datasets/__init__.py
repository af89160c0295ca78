"""Data that come with the package: planted ones, whose truth is known, and real cells."""

from sivae.datasets._cohort import planted_cohort
from sivae.datasets._embedded import pbmc700
from sivae.datasets._paper import eight_genes
from sivae.datasets._planted import planted

__all__ = ["eight_genes", "pbmc700", "planted", "planted_cohort"]
