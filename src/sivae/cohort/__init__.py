"""Many individuals: one gene space each, and what of it goes with a phenotype."""

from sivae.cohort._associate import associate
from sivae.cohort._connectivity import connectivity
from sivae.cohort._power import power

__all__ = ["associate", "connectivity", "power"]
