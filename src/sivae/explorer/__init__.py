"""One self-contained HTML file to explore: cells and genes in two linked maps, in any browser, without a network."""

from sivae.explorer._build import build

__all__ = ["build"]
