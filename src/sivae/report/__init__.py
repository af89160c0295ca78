"""One self-contained HTML file to read: what was done, what was found, and how far to trust it."""

from sivae.report._build import build
from sivae.report._cohort import build_cohort

__all__ = ["build", "build_cohort"]
