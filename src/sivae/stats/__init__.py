"""Statistics on arrays: NumPy and SciPy only."""

from sivae.stats._entries import entries
from sivae.stats._pearson import Totals, pearson_residual_variance, totals, value_variance

__all__ = ["Totals", "entries", "pearson_residual_variance", "totals", "value_variance"]
