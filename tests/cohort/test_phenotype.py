"""Phenotype and covariates as numbers, and every bad input with its words."""

import numpy as np
import pandas as pd
import pytest
from individuals import made_samples

from sivae._errors import OptionError, SetupError
from sivae.cohort._phenotype import read_design, read_layer


def samples(n=8, **columns):
    made = made_samples(n, 6)
    for name, values in columns.items():
        made.obs[name] = values
    return made


def refused(adata, phenotype, *words, covariates=(), error=SetupError):
    with pytest.raises(error) as caught:
        read_design(adata, phenotype, covariates)
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in {caught.value}"


# --------------------------------------------------------------------------------------------------------------- kinds

ABC = ["a", "b", "a", "b", "b", "a", "a", "b"]
ORDER = ["low", "high", "mid", "low", "high", "mid", "low", "high"]


@pytest.mark.parametrize(
    ("values", "kind", "levels", "numbers"),
    [
        (np.arange(8) * 1.5, "numeric", (), np.arange(8) * 1.5),
        (np.arange(8), "numeric", (), np.arange(8)),
        (pd.array([0, 1, 2, 3, 4, 5, 6, 7], dtype="Int64"), "numeric", (), np.arange(8)),
        (pd.Series([0, 1, 2.5, 3, 4, 5, 6, 7], dtype=object), "numeric", (), [0, 1, 2.5, 3, 4, 5, 6, 7]),
        (pd.Categorical([True, False] * 4), "binary", ("False", "True"), [1, 0] * 4),
        (pd.array(ABC, dtype="string"), "binary", ("a", "b"), [0, 1, 0, 1, 1, 0, 0, 1]),
        ([True, False] * 4, "binary", ("False", "True"), [1, 0] * 4),
        (pd.array([True, False] * 4, dtype="boolean"), "binary", ("False", "True"), [1, 0] * 4),
        (ABC, "binary", ("a", "b"), [0, 1, 0, 1, 1, 0, 0, 1]),
        (pd.Categorical(ABC, categories=["b", "unused", "a"]), "binary", ("b", "a"), [1, 0, 1, 0, 0, 1, 1, 0]),
        (
            pd.Categorical(ORDER, categories=["none", "low", "mid", "high"], ordered=True),
            "ordered",
            ("none", "low", "mid", "high"),
            [1, 3, 2, 1, 3, 2, 1, 3],
        ),
        (pd.Categorical(ABC, categories=["b", "c", "a"], ordered=True), "binary", ("b", "a"), [1, 0, 1, 0, 0, 1, 1, 0]),
    ],
)
def test_every_kind_becomes_numbers(values, kind, levels, numbers):
    adata = samples(trait=values.to_numpy() if isinstance(values, pd.Series) else values)
    design = read_design(adata, "trait")
    assert (design.kind, design.levels) == (kind, levels)
    assert design.x_s.dtype == np.float64 and np.allclose(design.x_s, numbers)
    assert design.covariates_sc is None and design.left_out == [] and design.notes == []


def test_categories_become_indicators_of_all_but_the_first():
    adata = samples(trait=np.arange(8.0), batch=list("xyzxyzxy"), old=[True, False] * 4, weight=np.arange(8.0) ** 2)
    design = read_design(adata, "trait", ["batch", "old", "weight"])
    batch = np.array(list("xyzxyzxy"))
    expected = [batch == "y", batch == "z", [1, 0] * 4, np.arange(8) ** 2]
    assert np.array_equal(design.covariates_sc, np.column_stack(expected))
    assert design.covariates == ("batch", "old", "weight")


def test_individuals_come_in_the_order_of_their_names():
    adata = samples(trait=np.arange(8.0))
    turned = read_design(adata[::-1].copy(), "trait", ["age"])
    plain = read_design(adata, "trait", ["age"])
    assert turned.names == plain.names == sorted(adata.obs_names)
    assert np.array_equal(turned.x_s, plain.x_s) and np.array_equal(turned.covariates_sc, plain.covariates_sc)
    assert turned.rows.tolist() == list(range(7, -1, -1))


# ------------------------------------------------------------------------------------------------------------- missing


def test_individuals_without_a_value_are_left_out_and_named():
    age = np.array([1.0, 2, np.nan, 4, 3, np.inf, 9, 8, 1])
    adata = samples(9, trait=[None, *"abababab"], age=age)
    lacking = np.arange(9) == 7
    design = read_design(adata, "trait", ["age"], lacking_s=lacking)
    assert design.left_out == ["donor00", "donor02", "donor05", "donor07"]
    assert design.rows.tolist() == [1, 3, 4, 6, 8]
    assert design.names == ["donor01", "donor03", "donor04", "donor06", "donor08"]
    (note,) = [note for note in design.notes if "left out" in note]
    for words in ("4 of 9 individuals", "no phenotype 'trait': donor00", "no covariate 'age': donor02, donor05"):
        assert words in note
    assert "no values: donor07" in note


def test_a_level_that_nobody_has_left_is_gone():
    design = read_design(samples(trait=list("abcababa"), age=[1, 2, np.nan, 4, 2, 9, 1, 3]), "trait", ["age"])
    assert design.kind == "binary" and design.levels == ("a", "b")


# ------------------------------------------------------------------------------------------------------------ bad input


def test_a_missing_column_names_close_ones():
    refused(samples(), "Severty", "no column 'Severty'", "Is it 'severity'?", "vary within an individual")
    refused(samples(), "zzz", "no column 'zzz'", "it has 'severity', 'phenotype', 'sex', 'age'")
    refused(samples(), "severity", "no column 'agee'", "Is it 'age'?", covariates=["agee"])


def test_names_of_the_wrong_kind():
    refused(samples(), ["age"], "expected the name of one column", error=OptionError)
    refused(samples(), "age", "covariates=['sex']", covariates="sex", error=OptionError)
    refused(samples(), "age", "'age' is the phenotype and among the covariates", covariates=["age"], error=OptionError)


def test_a_constant_phenotype():
    refused(samples(trait=np.ones(8)), "trait", "'trait' is '1.0' in all 8 individuals", "expected it to vary")
    refused(samples(trait=["x"] * 8), "trait", "'trait' is 'x' in all 8")


def test_many_levels_need_an_order():
    refused(samples(trait=list("abcabcab")), "trait", "3 levels without an order (a, b, c)", "ordered=True")
    refused(samples(trait=pd.Categorical(list("12312312"))), "trait", "3 levels", "astype(float)")


def test_kinds_that_are_no_numbers():
    refused(samples(trait=pd.date_range("2020-01-01", periods=8)), "trait", "datetime64", "a date to years")


def test_too_few_individuals():
    refused(samples(trait=[1, 2, 3, *[np.nan] * 5]), "trait", "3 individuals have 'trait'", "donor03", "at least 4")


def test_a_covariate_that_is_the_phenotype():
    severity = made_samples(8, 6).obs["severity"].to_numpy()
    case = np.where(severity > 0, "case", "control")
    words = ("'batch' and 'trait' cannot be told apart", "who knows 'batch' knows 'trait'", "Take 'batch' out")
    refused(samples(trait=case, batch=case), "trait", *words, covariates=["age", "batch"])
    refused(samples(trait=severity, batch=5 - 2 * severity), "trait", *words, covariates=["batch"])
    plates = ["p1", "p1", "p2", "p2", "p3", "p3", "p3", "p4"]
    refused(samples(trait=[0, 0, 0, 0, 1, 1, 1, 1], batch=plates), "trait", *words, covariates=["batch"])


def test_covariates_that_determine_it_together():
    trait = np.arange(8.0) ** 2
    one = np.array([3.0, 1, 4, 1, 5, 9, 2, 6])
    adata = samples(trait=trait, one=one, two=trait - one)
    refused(adata, "trait", "'one' and 'two' together and 'trait' cannot be told apart", covariates=["one", "two"])


def test_too_many_covariates():
    adata = samples(trait=np.arange(8.0), donor=[f"d{i}" for i in range(8)])
    words = ("'donor' make 7 independent columns", "too many for 8 individuals", "at most 4", "Name fewer")
    refused(adata, "trait", *words, covariates=["donor"])


def test_constant_covariates_are_dropped_and_confounding_is_said():
    rng = np.random.default_rng(0)
    adata = samples(16, trait=np.arange(16.0), site="one", near=np.arange(16) + 0.8 * rng.normal(size=16))
    design = read_design(adata, "trait", ["site", "sex"])
    assert design.covariates == ("sex",) and "'site' has one value" in design.notes[0]
    design = read_design(adata, "trait", ["near"])
    assert "'near' tell" in design.notes[0] and "of the variance of 'trait'" in design.notes[0]
    assert read_design(adata, "trait", ["site"]).covariates_sc is None


def test_layers():
    adata = made_samples(8, 6)
    name, values = read_layer(adata)
    assert name == "projection" and np.array_equal(values, adata.layers["projection"])
    assert read_layer(adata, "degree")[0] == "degree"
    with pytest.raises(SetupError, match=r"no layer 'degre'.*Is it 'degree'\?.*one of its layers"):
        read_layer(adata, "degre")
    adata.layers.clear()
    with pytest.raises(SetupError, match=r"none at all; expected individuals x genes as sivae.cohort.connectivity"):
        read_layer(adata)
