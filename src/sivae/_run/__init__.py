"""A run: from a file of cells to a folder with model, annotated data, tables, figures and pages; whole or absent."""

from sivae._run._again import Again, open_again
from sivae._run._fit import FitOptions, fit_demo, fit_file
from sivae._run._use import embed_cells, embed_genes, read_any_record, read_record, rebuild_explorer, rebuild_report
from sivae._run._verify import WRITTEN, harmed, verify

__all__ = [
    "WRITTEN",
    "Again",
    "FitOptions",
    "embed_cells",
    "embed_genes",
    "fit_demo",
    "fit_file",
    "harmed",
    "open_again",
    "read_any_record",
    "read_record",
    "rebuild_explorer",
    "rebuild_report",
    "verify",
]
