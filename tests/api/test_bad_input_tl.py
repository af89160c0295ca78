"""Bad input to the tools and to the plots of the gene space: what is wrong with the AnnData, or with what is asked."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from doors import SETS
from refusals import gone, refused

from sivae._errors import ArtefactError, CellMismatchError, GeneMismatchError, OptionError, SetupError

matplotlib.use("Agg")


def put(place, key, value):
    """A spoiler: an entry of the AnnData is something else."""

    def spoil(adata):
        held = getattr(adata, place)
        held[key] = value(adata) if callable(value) else value
        return adata

    return spoil


def named(axis, names):
    def spoil(adata):
        made = list(getattr(adata, axis))
        made[: len(names)] = names
        setattr(adata, axis, made)
        return adata

    return spoil


def value(number, cells=7):
    def spoil(adata):
        adata.X[cells, 3] = number
        return adata

    return spoil


def first(n_cells=None, n_genes=None):
    return lambda adata: adata[:n_cells, :n_genes].copy()


def same(adata):
    return adata


TEXT = {
    "varm": lambda a: np.full((a.n_vars, 2), "x", dtype=object),
    "obsm": lambda a: np.full((a.n_obs, 2), "x", dtype=object),
}
NAN = lambda a: np.full((a.n_vars, 2), np.nan)  # noqa: E731

DATA = [
    ("gene_neighbors", "no positions", gone("varm", "X_sivae"), SetupError, "no varm['X_sivae']", "annotate(adata)"),
    ("gene_neighbors", "all NaN", put("varm", "X_sivae", NAN), SetupError, "No gene has a finite", "Annotate"),
    ("gene_neighbors", "texts", put("varm", "X_sivae", TEXT["varm"]), SetupError, "type object", "make it again"),
    ("gene_neighbors", "one gene", first(n_genes=1), OptionError, "1 genes with a position", "ask for fewer"),
    ("gene_neighbors", "few genes", first(n_genes=5), OptionError, "n_neighbors=5", "expected 1 to 4"),
    ("gene_neighbors", "twice", named("var_names", ["b", "b"]), SetupError, "not unique: b", "var_names_make_unique"),
    ("gene_neighbors", "uns", put("uns", "sivae", "text"), SetupError, "uns['sivae'] is a str", "make it again"),
    ("gene_neighbors", "facts", put("uns", "sivae", {"facts": 3}), SetupError, "['facts'] is a int", "make it again"),
    ("gene_neighbors", "covariance", put("uns", "sivae", {"joint_covariance": np.eye(1)}), SetupError, "(1, 1)"),
    ("gene_neighbors", "covariance text", put("uns", "sivae", {"joint_covariance": "x"}), SetupError, "table of"),
    ("gene_neighbors", "covariance NaN", put("uns", "sivae", {"joint_covariance": np.full((8, 8), np.nan)}), SetupError,
     "not finite", "finite numbers", "Annotate"),
    ("gene_neighbors", "noise", put("var", "sivae_noise_variance", "x"), SetupError, "sivae_noise_variance", "again"),
    ("neighbors_of", "none found", gone("varp", "sivae_distances"), SetupError, "gene_neighbors(adata) first"),
    ("neighbors_of", "no record", put("uns", "sivae", {}), SetupError, "expected the neighbors", "gene_neighbors"),
    ("neighbor_r2", "few cells", first(n_cells=4), SetupError, "expected at least 3 of each", "all of its cells"),
    ("neighbor_r2", "NaN", value(np.nan), SetupError, "X holds nan", "cell_8", "gene_4", "expected", "Mend or drop"),
    ("neighbor_r2", "inf", value(np.inf), SetupError, "X holds inf", "cell_8", "gene_4", "expected", "Mend or drop"),
    ("neighbor_r2", "negative", value(-1), SetupError, "X holds -1", "expected counts of at least 0", "Mend or drop"),
    ("neighbor_r2", "genes left out", lambda a: a[:, ::2].copy(), SetupError, "fewer than 5", "gene_neighbors"),
    ("hub_table", "negative", value(-1), SetupError, "X holds -1", "cell_8", "gene_4", "expected counts", "Mend"),
    ("feature_awareness", "NaN", value(np.nan), SetupError, "X holds nan", "cell_8", "gene_4", "expected", "Mend"),
    ("feature_awareness", "no cells' map", gone("obsm", "X_sivae"), SetupError, "no obsm['X_sivae']", "annotate"),
    ("hubs", "evidence", put("var", "sivae_connected_pvalue", "x"), SetupError, "sivae_connected_pvalue", "numbers"),
    ("modules", "no neighbors", gone("varp", "sivae_connectivities"), SetupError, "gene_neighbors(adata)"),
    ("module_scores", "no modules", gone("var", "sivae_module"), SetupError, "sivae_module", "modules(adata)"),
    ("module_scores", "map of texts", put("obsm", "X_sivae", TEXT["obsm"]), SetupError, "type object", "numbers"),
    ("module_preservation", "no modules", gone("var", "sivae_module"), SetupError, "sivae_module", "modules(adata)"),
    ("gene_graph", "no neighbors", gone("varp", "sivae_connectivities"), SetupError, "gene_neighbors(adata)"),
    ("write_graph", "no neighbors", gone("varp", "sivae_connectivities"), SetupError, "gene_neighbors(adata)"),
    ("contributions", "cells twice", named("obs_names", ["c", "c"]), SetupError, "not unique: c", "make_unique"),
    ("contributions", "few genes", first(n_genes=10), GeneMismatchError, "modelled genes", "at most 20%", "Check that"),
    ("attributions", "NaN", value(np.nan, slice(None)), SetupError, "X holds nan", "gene_4", "expected finite", "Mend"),
    ("gene_relevance", "map with NaN", put("obsm", "X_sivae", lambda a: np.full((a.n_obs, 2), np.nan)), SetupError,
     "obsm['X_sivae']", "finite numbers", "Drop the cells"),
    ("gene_relevance", "few cells", first(n_cells=5), OptionError, "n_neighbors is 5", "less than the number of cells"),
    ("recoded_loadings", "wrong axes", put("obsm", "X_sivae", lambda a: np.ones((a.n_obs, 3))), SetupError,
     "has shape (60, 3)", "expected 2 columns", "use_rep and cells_rep"),
    ("rank_loadings", "one axis gone", put("varm", "X_sivae", lambda a: np.empty((a.n_vars, 0))), SetupError,
     "not a table of numbers", "use_rep"),
    ("consensus", "too few shared", put("varm", "PCs", lambda a: np.full((a.n_vars, 2), np.nan)), SetupError,
     "No gene has a finite position", "again"),
    ("enrich", "positions", gone("varm", "X_sivae"), SetupError, "no varm['X_sivae']", "annotate(adata)"),
    ("gene_set_scores", "positions", gone("varm", "X_sivae"), SetupError, "no varm['X_sivae']", "annotate(adata)"),
    ("gene_set_coherence", "positions", gone("varm", "X_sivae"), SetupError, "no varm['X_sivae']", "annotate(adata)"),
    ("explained_variance", "positions", gone("varm", "X_sivae"), SetupError, "no varm['X_sivae']", "annotate(adata)"),
    ("inferred_loadings", "joint layer", gone("varm", "X_sivae_joint"), SetupError, "joint layer", "annotate(adata)"),
    ("attribution_agreement", "positions", gone("varm", "X_sivae"), SetupError, "no varm['X_sivae']", "annotate"),
    ("attribution_similarity", "genes", named("var_names", [f"n{i}" for i in range(24)]), GeneMismatchError,
     "0 genes in all", "three or more", "Check how genes are named"),
]  # fmt: skip
"""Tool, what is wrong with the AnnData, the spoiler, the error, and parts of what it says."""

ASKED = [
    ("gene_neighbors", {"metric": "pearson"}, OptionError, "metric='pearson'", "expected one of"),
    ("gene_neighbors", {"n_neighbors": 0}, OptionError, "n_neighbors is 0", "expected at least 1", "default"),
    ("gene_neighbors", {"use_rep": "nope"}, SetupError, "no varm['nope']", "varm has", "Name one of these"),
    ("neighbors_of", {"genes": ["GENE_1"]}, GeneMismatchError, "no gene GENE_1", "Did you mean gene_1"),
    ("neighbors_of", {"genes": "nothing like it"}, GeneMismatchError, "no gene nothing like it", "Check how genes"),
    ("neighbors_of", {"n_neighbors": 9}, OptionError, "n_neighbors=9", "expected 1 to 5", "gene_neighbors(adata, 9)"),
    ("neighbor_r2", {"ridge": 0.0}, OptionError, "ridge=0.0", "expected a positive number", "default"),
    ("neighbor_r2", {"layer": "nope"}, SetupError, "no layer 'nope'", "expected one of", "Name one"),
    ("neighbor_overlap", {"metrics": []}, OptionError, "no metric", "at least one of each", "Name them"),
    ("neighbor_overlap", {"use_reps": "PCs"}, OptionError, "use_reps is 'PCs'", "expected a list", "Write a list"),
    ("neighbor_overlap", {"use_reps": [3]}, OptionError, "use_reps holds 3", "expected names of varm", "as text"),
    ("neighbor_overlap", {"n_neighbors": 24}, OptionError, "n_neighbors=24", "24 genes", "ask for fewer"),
    ("hubs", {"score": "degre"}, OptionError, "score='degre'", "expected one of", "Choose one"),
    ("hubs", {"fdr": 0.0}, OptionError, "fdr is 0.0", "expected a number between 0 and 1", "0.05 is usual"),
    ("hubs", {"top": 1.0}, OptionError, "top is 1.0", "expected a number between 0 and 1"),
    ("hub_table", {"top": -0.1}, OptionError, "top is -0.1", "expected a number between 0 and 1"),
    ("modules", {"resolution": -1.0}, OptionError, "resolution is -1.0", "expected a positive number"),
    ("modules", {"resolution": np.zeros(2)}, OptionError, "resolution is array", "expected a positive number"),
    ("modules", {"min_size": 1}, OptionError, "min_size is 1", "expected at least 2", "not a module"),
    ("modules", {"n_resamples": 5}, OptionError, "n_resamples=5", "expected an even number"),
    ("modules", {"n_resamples": 10**12}, OptionError, "n_resamples is 1000000000000", "expected at most", "default"),
    ("module_preservation", {"background": "some"}, OptionError, "background='some'", "expected"),
    ("module_preservation", {"n_permutations": 10**12}, OptionError, "n_permutations is", "expected at most"),
    ("module_preservation", {"n_permutations": 0}, OptionError, "n_permutations=0", "at least 1"),
    ("enrich", {"gene_sets": {}}, OptionError, "no gene set", "expected one or more"),
    ("enrich", {"gene_sets": {"one": "gene_1"}}, OptionError, "genes of one are one text", "expected a list"),
    ("enrich", {"gene_sets": {"one": 3}}, OptionError, "genes of one are of type int", "expected a list", "Write"),
    ("enrich", {"gene_sets": {"one": ["NOPE"]}}, GeneMismatchError, "NOPE", "gene_1"),
    ("enrich", {"gene_sets": {"one": ["GENE_1"]}}, GeneMismatchError, "match_case=False"),
    ("enrich", {"gene_sets": "nope.gmt"}, ArtefactError, "nope.gmt cannot be read", "Name a .gmt"),
    ("enrich", {"of": "cells"}, OptionError, "of is 'cells'", "expected one of 'axes'"),
    ("enrich", {"of": "neighbors"}, OptionError, "of='neighbors'", "gene=None", "Name a gene"),
    ("enrich", {"method": "x"}, OptionError, "method is 'x'", "expected one of"),
    ("enrich", {"background": ["NOPE"]}, GeneMismatchError, "no gene NOPE", "expected one of 24 genes"),
    ("gene_set_scores", {"gene_sets": {"one": ["NOPE"]}}, GeneMismatchError, "NOPE"),
    ("gene_set_scores", {"key_added": "a/b"}, OptionError, "key_added is 'a/b'", "expected a key", "without /"),
    ("gene_set_coherence", {"n_draws": 0}, OptionError, "n_draws is 0", "expected at least"),
    ("gene_set_coherence", {"n_draws": 10**12}, OptionError, "n_draws is 1000000000000", "expected at most"),
    ("gene_graph", {"as_": "igraph"}, OptionError, "as_='igraph'", "expected"),
    ("write_graph", {"path": "graph.png"}, OptionError, "graph.png", "expected"),
    ("write_graph", {"path": "no/graph.csv"}, ArtefactError, "no folder no", "expected one", "Make it first"),
    ("write_graph", {"path": "."}, OptionError, "the name ''", "expected one that ends in .graphml"),
    ("gene_relevance", {"basis": "nope"}, SetupError, "no obsm['nope']", "obsm has", "Name one of these as basis"),
    ("gene_relevance", {"estimator": "mean"}, OptionError, "estimator is 'mean'", "expected 'median'"),
    ("gene_relevance", {"n_cells": 0}, OptionError, "n_cells is 0", "expected at least 1", "None for all"),
    ("rank_loadings", {"level": 1.0}, OptionError, "level is 1.0", "expected"),
    ("rank_loadings", {"n_genes": 0}, OptionError, "n_genes is 0", "expected at least 1"),
    ("explained_variance", {"by": "cell"}, OptionError, "by", "'cell'", "expected"),
    ("feature_awareness", {"groupby": "nope"}, OptionError, "groupby='nope'", "expected a column of obs"),
    ("feature_awareness", {"cells": "some"}, OptionError, "cells", "'some'", "expected"),
    ("feature_awareness", {"model": "model"}, OptionError, "model is a str", "expected a trained sivae.SiVAE"),
    ("recoded_loadings", {"groupby": "nope"}, OptionError, "groupby='nope'", "expected a column of obs"),
    ("recoded_loadings", {"n_components": 0}, OptionError, "n_components is 0", "expected at least 1"),
    ("inferred_loadings", {"model": 3}, OptionError, "model is a int", "expected a trained sivae.SiVAE", "Pass the"),
    ("attributions", {"model": 3.5}, OptionError, "model is a float", "get_attributions()", "Pass the model"),
    ("attributions", {"groupby": "nope"}, SetupError, "no column 'nope'", "expected one of", "Name one as groupby"),
    ("attributions", {"method": "lime"}, OptionError, "method is 'lime'", "expected one of"),
    ("attributions", {"n_steps": 0}, OptionError, "n_steps is 0", "expected at least 1", "default"),
    ("contributions", {"model": None}, OptionError, "model is a NoneType", "expected a trained sivae.SiVAE"),
    ("contributions", {"cells": ["nope"]}, CellMismatchError, "no cell nope", "expected names in obs_names"),
    ("contributions", {"genes": ["NOPE"]}, GeneMismatchError, "not trained on NOPE"),
    ("contributions", {"tolerance": 0.0}, OptionError, "tolerance is 0.0", "expected more than 0", "Take 0.001"),
    ("consensus", {"embeddings": ["X_sivae"]}, OptionError, "two or more embeddings", "names of varm"),
    ("consensus", {"embeddings": [1, 2]}, OptionError, "two or more embeddings", "frames indexed by gene"),
    ("consensus", {"embeddings": ["X_sivae", "nope"]}, SetupError, "no varm['nope']", "varm has"),
    ("consensus", {"axes": "last"}, OptionError, "axes is 'last'", "expected one of 'first'", "Choose one"),
    ("consensus", {"key_added": ""}, OptionError, "key_added is ''", "expected a key"),
    ("attribution_agreement", {"found": 3}, OptionError, "found is a int", "expected frames by name", "Write"),
    ("attribution_agreement", {"found": {"a": 3}}, OptionError, "found is a dict", "expected frames by name"),
    ("attribution_agreement", {"found": {"a": pd.DataFrame({"x": [1.0]})}}, SetupError, "1 axes", "expected 2"),
    ("attribution_similarity", {"found": [1]}, OptionError, "found is a list", "expected frames by name"),
    ("read_gmt", {"path": "nope.gmt"}, ArtefactError, "nope.gmt cannot be read", "Name a .gmt"),
    ("read_gmt", {"path": "."}, ArtefactError, "cannot be read as gene sets", "Name a .gmt"),
]  # fmt: skip


@pytest.mark.parametrize("case", DATA, ids=lambda case: f"{case[0]}: {case[1]}")
def test_what_is_wrong_with_the_data(world, case):
    door, _, spoil, error, *words = case
    refused(world, f"tl.{door}", spoil, error, words)


@pytest.mark.parametrize("case", ASKED, ids=lambda case: f"{case[0]} {case[1]}"[:60])
def test_what_cannot_be_asked(world, case):
    door, given, error, *words = case
    refused(world, f"tl.{door}", given, error, words)


GMT = {
    "empty": (b"", "holds no gene set", "Expected lines of name, description and genes"),
    "no tabs": (b"one two three\n", "line 1", "expected the set's name", "by tabs"),
    "no name": (b"\tabout\tA\tB\n", "line 1", "expected the set's name"),
    "latin-1": (b"one\tabout\tA\xe9\n", "line 1 is not text in UTF-8", "Save the file as UTF-8"),
    "binary": (bytes(range(256)) * 4, "is not text in UTF-8"),
    "cut gzip": (b"\x1f\x8b\x08\x00\x00", "cannot be read as gene sets"),
    "endless line": (b"x" * (2**24 + 10), "longer than", "no GMT file"),
}


@pytest.mark.parametrize("case", GMT)
def test_files_that_are_no_gene_sets(world, case):
    raw, *words = GMT[case]
    path = world.folder / ("mine.gmt.gz" if "gzip" in case else "mine.gmt")
    path.write_bytes(raw)
    refused(world, "tl.read_gmt", {"path": path}, ArtefactError, words)


def test_no_module_is_large_enough_in_the_other_data(world):
    adata = world.adata
    adata.var["sivae_module"] = pd.Categorical(["a"] * 4 + ["b"] * 4 + ["unassigned"] * 16)
    other = adata[:, [0, 1, 4, 5]].copy()
    refused(world, "tl.module_preservation", {"adata": adata, "other": other}, GeneMismatchError, ["No module has"])


def test_permuted_genes_give_the_same_tools(world, rng):
    """Everything is by name: the same neighbors, hubs and axes for genes in another order."""
    from sivae import tl

    turned = world.adata[:, rng.permutation(world.adata.n_vars)].copy()
    for adata in (world.adata, turned):
        tl.gene_neighbors(adata, 5)
        tl.hubs(adata)
    pd.testing.assert_frame_equal(world.adata.var.loc[turned.var_names], turned.var, check_exact=False, rtol=1e-9)
    first_, second = (tl.neighbors_of(adata, ["gene_1", "gene_9"]) for adata in (world.adata, turned))
    assert first_["neighbor"].tolist() == second["neighbor"].tolist()
    sets = [tl.enrich(adata, SETS) for adata in (world.adata, turned)]
    pd.testing.assert_frame_equal(*sets, check_exact=False, rtol=1e-9)
