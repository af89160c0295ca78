"""Many individuals: one gene space each, and what of it goes with a phenotype."""

from __future__ import annotations

__all__: list[str] = []
