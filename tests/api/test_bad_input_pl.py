"""Bad input to plots, the report and the explorer: refused in words, with no figure and no file left."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from refusals import gone, refused

from sivae._errors import ArtefactError, GeneMismatchError, OptionError, SetupError

matplotlib.use("Agg")


def texts(place, key):
    def spoil(adata):
        n = adata.n_obs if place == "obsm" else adata.n_vars
        getattr(adata, place)[key] = np.full((n, 2), "x", dtype=object)
        return adata

    return spoil


def column(place, key, values):
    def spoil(adata):
        getattr(adata, place)[key] = values
        return adata

    return spoil


def value(number):
    def spoil(adata):
        adata.X[7, 3] = number
        return adata

    return spoil


def no_cells(adata):
    return adata[:0].copy()


def without(*columns):
    return lambda w, table: table.drop(columns=list(columns))


def empty(_world, table):
    return table.iloc[:0]


def genes_twice(samples):
    samples.var_names = ["twice", "twice", *samples.var_names[2:]]
    return samples


DATA = [
    ("pl.connectivity", "genes twice", genes_twice, SetupError, "not unique: twice", "var_names_make_unique"),
    ("pl.biplot", "no cells", no_cells, SetupError, "no cells", "expected some", "Check the filters"),
    ("pl.biplot", "no genes' map", gone("varm", "X_sivae"), SetupError, "no varm['X_sivae']", "annotate(adata)"),
    ("pl.cells", "no map", gone("obsm", "X_sivae"), SetupError, "no obsm['X_sivae']", "annotate(adata)"),
    ("pl.cells", "texts", texts("obsm", "X_sivae"), SetupError, "type object", "expected the numbers", "again"),
    ("pl.genes", "texts", texts("varm", "X_sivae"), SetupError, "type object", "expected the numbers", "again"),
    ("pl.chord", "no modules", gone("var", "sivae_module"), OptionError, "sivae_module", "xpected"),
    ("pl.hubs", "no hubs", gone("var", "sivae_hub_score"), SetupError, "sivae_hub_score", "sivae.tl.hubs(adata"),
    ("pl.hubs", "texts", column("var", "sivae_hub_score", "x"), SetupError, "sivae_hub_score", "expected the numbers"),
    ("pl.module_scores", "no scores", gone("obsm", "X_sivae_modules"), SetupError, "X_sivae_modules", "module_scores"),
    ("pl.modules", "no graph", gone("varp", "sivae_connectivities"), SetupError, "connectivities", "gene_neighbors"),
    ("pl.neighborhood", "none", gone("varp", "sivae_distances"), SetupError, "sivae_distances", "gene_neighbors"),
    ("pl.history", "uns", column("uns", "sivae", "text"), SetupError, "uns['sivae'] is a str", "make it again"),
    ("pl.individuals", "no map", gone("obsm", "X_sivae_map"), SetupError, "X_sivae_map", "individuals_map"),
    ("pl.similarity", "none", gone("obsp", "sivae_similarity"), SetupError, "sivae_similarity", "similarity("),
    ("pl.connectivity", "nobody", no_cells, SetupError, "no individual", "expected some", "Check the filters"),
    ("pl.connectivity", "no layer", gone("layers", "projection"), OptionError, "layer='projection'", "expected one of"),
    ("pl.gene_association", "uns", column("uns", "sivae_cohort", 3), SetupError, "['sivae_cohort'] is a int", "again"),
    ("pl.network_difference", "no edges", gone("obsm", "sivae_edges"), SetupError, "sivae_edges", "connectivity"),
    ("report.build", "no map", gone("obsm", "X_sivae"), SetupError, "no obsm['X_sivae']", "annotate(adata)"),
    ("report.build", "not set up", column("uns", "sivae", {}), SetupError, "annotate(adata)"),
    ("report.build_cohort", "uns", column("uns", "sivae_cohort", 3), SetupError, "['sivae_cohort'] is a int", "again"),
    ("explorer.build", "no map", gone("varm", "X_sivae"), SetupError, "no varm['X_sivae']", "annotate(adata)"),
    ("explorer.build", "NaN", value(np.nan), SetupError, "X holds nan", "expected", "Mend or drop it"),
    ("explorer.build", "negative", value(-1), SetupError, "X holds -1", "expected", "Mend or drop it"),
]  # fmt: skip
ASKED = [
    ("pl.association", {"table": 3}, SetupError, "Found int", "expected a frame", "cohort.associate"),
    ("pl.association", {"table": pd.DataFrame({"a": [1]})}, SetupError, "without the column", "Pass what"),
    ("pl.association", {"fdr": 2.0}, OptionError, "fdr is 2.0", "at most 1"),
    ("pl.association", {"effect": "rho"}, OptionError, "effect is 'rho'", "expected one of", "Choose one"),
    ("pl.association", {"ax": "axes"}, OptionError, "ax is 'axes'", "expected axes of matplotlib", "default"),
    ("pl.awareness", {"layers": ("latent",)}, OptionError, "layers=('latent',)", "expected two of"),
    ("pl.awareness", {"layers": 3}, OptionError, "layers=3", "expected two of"),
    ("pl.biplot", {"axes": (0, 0)}, OptionError, "axes [0, 0]", "expected 2 different"),
    ("pl.biplot", {"genes": ["NOPE"]}, GeneMismatchError, "NOPE", "xpected"),
    ("pl.cells", {"axes": (0, 7)}, OptionError, "axes [0, 7]", "expected 2 different", "For example"),
    ("pl.cells", {"color": "NOPE"}, OptionError, "color='NOPE'", "expected a column of obs", "Check the spelling"),
    ("pl.cells", {"basis": "nope"}, SetupError, "nope", "xpected"),
    ("pl.cells_and_genes", {"color": "NOPE"}, OptionError, "color='NOPE'", "expected a column of obs"),
    ("pl.chord", {"groupby": "nope"}, OptionError, "nope", "xpected"),
    ("pl.connectivity", {"genes": ["NOPE"]}, GeneMismatchError, "NOPE", "xpected"),
    ("pl.connectivity", {"by": "nope"}, OptionError, "nope", "xpected"),
    ("pl.contributions", {"gene": "NOPE"}, OptionError, "gene='NOPE'", "expected one of those in the table"),
    ("pl.edge_association", {"values": "both"}, OptionError, "'both'", "xpected"),
    ("pl.edge_classes", {"direction": "up"}, OptionError, "'up'", "xpected"),
    ("pl.enrichment", {"group": "nope"}, OptionError, "group='nope'", "expected one of axis"),
    ("pl.explained_variance", {"table": pd.DataFrame()}, SetupError, "without the column", "Pass what"),
    ("pl.gene_association", {"gene": "NOPE"}, GeneMismatchError, "NOPE", "xpected"),
    ("pl.gene_association", {"phenotype": "nope"}, OptionError, "nope", "xpected"),
    ("pl.gene_association", {"confidence": 1.0}, OptionError, "confidence is 1.0", "expected"),
    ("pl.gene_set_association", {"table": pd.DataFrame()}, SetupError, "without the column", "Pass what"),
    ("pl.genes", {"color": "NOPE"}, OptionError, "NOPE", "xpected"),
    ("pl.genes", {"n_labels": -1}, OptionError, "n_labels is -1", "expected at least 0"),
    ("pl.history", {"adata_or_frame": pd.DataFrame({"a": [1]})}, SetupError, "xpected"),
    ("pl.individuals", {"color": "nope"}, OptionError, "nope", "xpected"),
    ("pl.loading_images", {"shape": (5, 5)}, OptionError, "(5, 5)", "24", "xpected"),
    ("pl.loading_images", {"shape": 24}, OptionError, "24", "xpected"),
    ("pl.loading_scatter", {"other": "nope"}, SetupError, "nope", "xpected"),
    ("pl.loadings", {"axis": 9}, OptionError, "axes [9]", "expected 1 different", "For example"),
    ("pl.loadings_heatmap", {"genes": ["NOPE"]}, GeneMismatchError, "NOPE", "xpected"),
    ("pl.module_scores", {"groupby": "nope"}, OptionError, "nope", "xpected"),
    ("pl.modules", {"n_genes": 0}, OptionError, "n_genes is 0", "expected"),
    ("pl.neighborhood", {"gene": "NOPE"}, GeneMismatchError, "NOPE", "xpected"),
    ("pl.network_difference", {"low": ["nobody"], "high": ["donor01"], "by": None}, OptionError, "nobody", "xpected"),
    ("pl.pairs", {"of": "both"}, OptionError, "'both'", "xpected"),
    ("pl.posteriors", {"genes": []}, OptionError, "xpected"),
    ("pl.posteriors", {"level": 1.5}, OptionError, "level is 1.5", "expected"),
    ("pl.power", {"target": 0.0}, OptionError, "target is 0", "expected"),
    ("pl.save", {"path": "figure.exe"}, OptionError, "figure.exe", "xpected"),
    ("pl.save", {"path": "no/figure.svg"}, ArtefactError, "not be written to no/figure.svg", "Choose another place"),
    ("pl.save", {"drawn": 3}, OptionError, "int", "xpected"),
    ("pl.similarity", {"by": "nope"}, OptionError, "nope", "xpected"),
    ("pl.traversal", {"model": "model"}, OptionError, "model is a str", "expected a trained sivae.SiVAE"),
    ("pl.traversal", {"axis": -1}, OptionError, "axes [-1]", "expected 1 different"),
    ("report.build", {"label": "nope"}, OptionError, "no column 'nope'", "expected one of", "leave it out"),
    ("report.build", {"path": "no/report.html"}, ArtefactError, "no folder no", "expected one", "Make it first"),
    ("report.build", {"enrichment": 3}, OptionError, "enrichment", "xpected"),
    ("report.build_cohort", {"association": 3}, SetupError, "int", "xpected"),
    ("report.build_cohort", {"path": "."}, ArtefactError, "is a folder", "expected a file", "Name one in it"),
    ("report.build_cohort", {"edges": 3}, SetupError, "int", "xpected"),
    ("report.build_cohort", {"notes": "a note"}, OptionError, "'a note', one text", "expected a list"),
    ("explorer.build", {"label": "nope"}, OptionError, "no column 'nope'", "expected one of", "leave it out"),
    ("explorer.build", {"max_cells": 0}, OptionError, "max_cells is 0", "expected at least"),
    ("explorer.build", {"enrichment": 3}, OptionError, "enrichment", "xpected"),
]  # fmt: skip


@pytest.mark.parametrize("case", DATA, ids=lambda case: f"{case[0]}: {case[1]}")
def test_what_is_wrong_with_the_data(world, case):
    door, _, spoil, error, *words = case
    refused(world, door, spoil, error, words)


@pytest.mark.parametrize("case", ASKED, ids=lambda case: f"{case[0]} {case[1]}"[:60])
def test_what_cannot_be_asked(world, case):
    door, given, error, *words = case
    refused(world, door, given, error, words)
