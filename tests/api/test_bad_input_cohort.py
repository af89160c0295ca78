"""Bad input to what is asked of individuals: their table, their columns, and the cells that they are made of."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from doors import CALLS
from refusals import gone, refused

from sivae._errors import GeneMismatchError, OptionError, SetupError, SiVAEWarning

matplotlib.use("Agg")


def layer(key, values):
    def spoil(samples):
        held = np.array(samples.layers[key], float)
        samples.layers[key] = values(held) if callable(values) else np.full(held.shape, values, dtype=object)
        return samples

    return spoil


def column(key, values):
    def spoil(samples):
        samples.obs[key] = values if not callable(values) else values(samples)
        return samples

    return spoil


def record(**parts):
    def spoil(samples):
        samples.uns["sivae_cohort"] = {**samples.uns["sivae_cohort"], **parts}
        return samples

    return spoil


def no_record(samples):
    samples.uns["sivae_cohort"] = "text"
    return samples


def twice(axis):
    def spoil(samples):
        names = list(getattr(samples, axis))
        setattr(samples, axis, [names[1], *names[1:]])
        return samples

    return spoil


def similarity(samples):
    samples.obsp["sivae_similarity"] = np.full((samples.n_obs,) * 2, np.nan)
    return samples


def some(n):
    return lambda samples: samples[:n].copy()


DATA = [
    ("associate", "no layer", gone("layers", "projection"), SetupError, "no layer 'projection'", "Pass what it"),
    ("associate", "texts", layer("projection", "x"), SetupError, "layers['projection']", "type object", "again"),
    ("associate", "all NaN", layer("projection", lambda x: x * np.nan), SetupError, "0 individuals", "at least 4"),
    ("associate", "three", some(3), SetupError, "3 individuals have", "expected at least 4", "unit of evidence"),
    ("associate", "none", some(0), SetupError, "0 individuals have", "expected at least 4"),
    ("associate", "constant", column("severity", 1.0), SetupError, "'severity' is '1.0' in all", "expected it to vary"),
    ("associate", "missing", column("severity", np.nan), SetupError, "0 individuals", "no phenotype", "Fill"),
    ("associate", "infinite", column("severity", np.inf), SetupError, "0 individuals", "no phenotype 'severity'"),
    ("associate", "no column", gone("obs", "severity"), SetupError, "no column 'severity'", "it has", "one value"),
    ("associate", "levels", column("severity", list("abcdefghij")), SetupError, "10 levels without an order", "order"),
    ("associate", "numbers as text", column("severity", [str(i) for i in range(10)]), SetupError, "read as numbers"),
    ("associate", "lists", column("severity", lambda s: [[1]] * s.n_obs), SetupError, "'severity'", "xpected"),
    ("associate", "named twice", twice("obs_names"), SetupError, "not unique: donor01", "obs_names_make_unique"),
    ("associate", "uns", no_record, SetupError, "uns['sivae_cohort'] is a str", "expected the record", "make it again"),
    ("associate", "depth", column("sivae_depth", "x"), SetupError, "obs['sivae_depth']", "expected the numbers"),
    ("edges", "no edges", gone("obsm", "sivae_edge_strength"), SetupError, "sivae_edge_strength", "connectivity"),
    ("edges", "no table", record(edges="text"), SetupError, "['edges']", "gene_a and gene_b", "connectivity"),
    ("edges", "genes twice", twice("var_names"), SetupError, "not unique: gene001", "var_names_make_unique"),
    ("edge_classes", "no table", record(edges=3), SetupError, "['edges']", "gene_a and gene_b", "connectivity"),
    ("gene_sets", "no layer", gone("layers", "projection"), SetupError, "no layer 'projection'", "Pass what it"),
    ("modules", "no positions", gone("obsm", "sivae_positions"), SetupError, "sivae_positions", "connectivity"),
    ("modules", "fewer genes", lambda s: s[:, :9].copy(), SetupError, "20 genes and samples has 9", "Pass all"),
    ("modules", "no modules", gone("var", "sivae_module"), SetupError, "sivae_module", "xpected"),
    ("predict", "three", some(3), SetupError, "3 individuals have", "expected at least"),
    ("predict", "no gene", lambda s: s[:, :0].copy(), SetupError, "no values", "expected at least 4"),
    ("similarity", "no edges", gone("obsm", "sivae_edges"), SetupError, "sivae_edges", "method='positions'"),
    ("similarity", "no table", record(edges="text"), SetupError, "['edges'] is missing or is no table", "connectivity"),
    ("similarity", "one", some(1), SetupError, "1", "xpected"),
    ("individuals_map", "NaN", similarity, SetupError, "not finite", "cohort.similarity(samples) again"),
    ("individuals_map", "none", gone("obsp", "sivae_similarity"), SetupError, "sivae_similarity", "similarity("),
    ("associate_map", "NaN", similarity, SetupError, "not finite", "cohort.similarity(samples) again"),
    ("yardstick", "NaN", similarity, SetupError, "not finite", "cohort.similarity(samples) again"),
    ("central_genes", "texts", layer("projection", "x"), SetupError, "layers['projection']", "type object", "again"),
    ("expression_tracking", "none", gone("layers", "mean_expression"), SetupError, "mean_expression", "connectivity"),
    ("connectivity", "no such cells", some(0), SetupError, "xpected"),
    ("connectivity", "few", some(12), SetupError, "xpected", "cells"),
    ("connectivity", "no batch", gone("obs", "batch"), SetupError, "no column 'batch'", "Name the column"),
    ("connectivity", "missing", column("batch", None), SetupError, "batch", "xpected"),
    ("power", "no donor", gone("obs", "donor"), SetupError, "no column 'donor'", "Name the column"),
    ("subsets", "missing", gone("obs", "batch"), SetupError, "no such column", "Name one of these"),
    ("subsets", "few cells", some(4), OptionError, "n_cells is 5", "the 10 cells of two subsets"),
]  # fmt: skip
"""Function, what is wrong with the AnnData, the spoiler, the error, and parts of what it says."""
ASKED = [
    ("associate", {"phenotype": "severty"}, SetupError, "no column 'severty'", "Is it 'severity'"),
    ("associate", {"layer": "degre"}, SetupError, "no layer 'degre'", "Is it 'degree'", "name one of its layers"),
    ("associate", {"covariates": ["severity"]}, OptionError, "among the covariates", "expected other columns"),
    ("associate", {"covariates": "sex"}, OptionError, "'sex', one text", "expected a list", "covariates=['sex']"),
    ("associate", {"covariates": ["phenotype"], "phenotype": "phenotype"}, OptionError, "among the covariates"),
    ("associate", {"method": "lasso"}, OptionError, "method is 'lasso'", "expected one of 'regression'", "Choose one"),
    ("associate", {"weights": "cells"}, OptionError, "weights is 'cells'", "expected one of 'precision'", "Choose one"),
    ("associate", {"fdr": 0.0}, OptionError, "fdr is 0.0", "expected a number between 0 and 1", "usual"),
    ("associate", {"n_permutations": 10}, OptionError, "n_permutations is 10", "expected at least 99", "default"),
    ("associate", {"n_permutations": 10**12}, OptionError, "n_permutations is 1", "expected at most", "default"),
    ("associate", {"seed": -1}, OptionError, "seed is -1", "expected at least 0", "default"),
    ("associate_map", {"n_components": 0}, OptionError, "n_components is 0", "expected at least 1"),
    ("associate_map", {"n_components": 99}, OptionError, "n_components is 99", "expected"),
    ("central_genes", {"n_top": 0}, OptionError, "n_top is 0", "expected at least 1"),
    ("central_genes", {"min_individuals": 99}, OptionError, "min_individuals is 99", "expected"),
    ("edge_classes", {"classes": "nope"}, SetupError, "nope", "xpected"),
    ("edge_classes", {"classes": 3}, OptionError, "classes", "xpected"),
    ("edges", {"genes": ["NOPE"]}, GeneMismatchError, "no gene NOPE", "Check how genes"),
    ("edges", {"min_share": 0.7}, OptionError, "min_share is 0.7", "expected a number from 0 to 0.5"),
    ("edges", {"test": "chi"}, OptionError, "test is 'chi'", "expected one of 'strength'", "Choose one"),
    ("expression_tracking", {"alpha": 2.0}, OptionError, "alpha is 2.0", "expected a number between 0 and 1", "Try"),
    ("gene_sets", {"gene_sets": {"one": ["NOPE"]}}, GeneMismatchError, "NOPE"),
    ("gene_sets", {"gene_sets": 3}, OptionError, "type int", "expected a mapping"),
    ("gene_sets", {"min_genes": 0}, OptionError, "min_genes is 0", "expected at least"),
    ("gene_sets", {"weight": -1.0}, OptionError, "weight is -1", "expected"),
    ("individuals_map", {"n_components": 99}, OptionError, "n_components is 99", "expected"),
    ("modules", {"modules": "nope"}, SetupError, "nope", "xpected"),
    ("predict", {"n_folds": 1}, OptionError, "n_folds is 1", "expected at least 2"),
    ("predict", {"n_folds": 99}, OptionError, "n_folds is 99", "expected"),
    ("predict", {"model": "forest"}, OptionError, "model is 'forest'", "expected one of 'ridge'", "Choose one"),
    ("similarity", {"method": "cosine"}, OptionError, "method is 'cosine'", "expected one of 'edges'", "Choose one"),
    ("similarity", {"by_name": True}, OptionError, "by_name is True", "expected it with 'vertex'", "Leave it out"),
    ("similarity", {"genes": ["NOPE"]}, GeneMismatchError, "NOPE", "xpected"),
    ("yardstick", {"individual_key": "nope"}, SetupError, "no such column", "Name one"),
    ("connectivity", {"sample_key": "nope"}, SetupError, "no column 'nope'", "Name the column"),
    ("connectivity", {"mode": "both"}, OptionError, "mode is 'both'", "expected one of 'shared'", "Choose one"),
    ("connectivity", {"edge_share": 0.0}, OptionError, "edge_share is 0", "expected a number between 0 and 1"),
    ("connectivity", {"n_folds": 3}, OptionError, "n_folds is 3", "expected at least 4"),
    ("connectivity", {"n_draws": 10**12}, OptionError, "n_draws is 1", "expected at most", "default"),
    ("connectivity", {"model": "model"}, OptionError, "model", "xpected"),
    ("connectivity", {"min_cells": 1}, OptionError, "min_cells is 1", "expected at least 3"),
    ("power", {"cells": (5,)}, OptionError, "cells is 5", "expected at least 20", "Ask for more"),
    ("power", {"effects": (2.0,)}, OptionError, "effects is 2.0", "expected shares of at most 1"),
    ("power", {"individuals": [[1], [2]]}, OptionError, "individuals is [[1], [2]]", "one beside the other"),
    ("power", {"individuals": []}, OptionError, "individuals is empty", "at least one number", "leave it out"),
    ("subsets", {"n_cells": 1}, OptionError, "n_cells is 1", "expected at least 2"),
    ("subsets", {"key_added": "batch"}, OptionError, "key_added is 'batch'", "a column of its own", "Name another"),
    ("subsets", {"key_added": "a/b"}, OptionError, "key_added is 'a/b'", "expected a key", "default"),
]  # fmt: skip


@pytest.mark.parametrize("case", DATA, ids=lambda case: f"{case[0]}: {case[1]}")
def test_what_is_wrong_with_the_data(world, case):
    door, _, spoil, error, *words = case
    refused(world, f"cohort.{door}", spoil, error, words)


@pytest.mark.parametrize("case", ASKED, ids=lambda case: f"{case[0]} {case[1]}"[:60])
def test_what_cannot_be_asked(world, case):
    door, given, error, *words = case
    refused(world, f"cohort.{door}", given, error, words)


def test_individuals_in_another_order_give_the_same_table(world, rng):
    function, given = CALLS["cohort.associate"](world)
    turned = given["samples"][rng.permutation(given["samples"].n_obs)].copy()
    pd.testing.assert_frame_equal(function(**given), function(**(given | {"samples": turned})))


def test_an_individual_without_values_is_left_out_with_a_note(world):
    function, given = CALLS["cohort.associate"](world)
    given["samples"].layers["projection"][2] = np.nan
    with pytest.warns(SiVAEWarning, match=r"1 of 10 individuals are left out \(no values: donor02\)"):
        found = function(**given)
    rest = [name for name in given["samples"].obs_names if name != "donor02"]
    expected = function(**(given | {"samples": given["samples"][rest].copy()}))
    pd.testing.assert_frame_equal(found, expected)
