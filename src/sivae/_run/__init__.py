"""A run: from a file of cells to a folder with model, annotated data, tables, figures and pages; whole or absent."""

from sivae._run._fit import FitOptions, fit_demo, fit_file
from sivae._run._use import embed_cells, embed_genes, read_any_record, read_record, rebuild_explorer, rebuild_report

__all__ = [
    "FitOptions",
    "embed_cells",
    "embed_genes",
    "fit_demo",
    "fit_file",
    "read_any_record",
    "read_record",
    "rebuild_explorer",
    "rebuild_report",
]
