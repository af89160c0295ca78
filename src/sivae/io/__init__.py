"""Stores of cells: written without holding their values, and made of what other readers give."""

from __future__ import annotations

from sivae.io._blocks import write_blocks
from sivae.io._reader import from_reader
from sivae.io._write import write_h5ad

__all__ = ["from_reader", "write_blocks", "write_h5ad"]
