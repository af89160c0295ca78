"""The set-up record: what it holds, what it survives, and what set-up refuses."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sivae import SiVAE
from sivae._errors import SetupError
from sivae.data._setup import Setup, read_record


def cells(n=12, g=5, seed=0):
    rng = np.random.default_rng(seed)
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(2.0, (n, g)).astype(np.float32)))
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(n)], [f"g{i}" for i in range(g)]
    adata.obs["lab"] = pd.Categorical(np.where(np.arange(n) % 2, "b", "a"))
    adata.obs["run"] = np.arange(n) % 3
    adata.obs["age"] = np.linspace(20, 60, n)
    adata.obs["depth"] = np.linspace(0.5, 2, n)
    adata.layers["raw"] = adata.X.copy()
    return adata


EVERYTHING = {
    "layer": "raw",
    "batch_key": "lab",
    "categorical_covariate_keys": ["run"],
    "continuous_covariate_keys": ["age"],
    "size_factor_key": "depth",
    "normalize": "log1p",
}


def test_record_holds_what_was_said_and_found():
    adata = cells()
    SiVAE.setup_anndata(adata, **EVERYTHING)
    assert read_record(adata) == Setup(
        layer="raw",
        batch_key="lab",
        categorical_covariate_keys=("run",),
        continuous_covariate_keys=("age",),
        size_factor_key="depth",
        normalize="log1p",
        counts=True,
        categories={"lab": ["a", "b"], "run": ["0", "1", "2"]},
    )


@pytest.mark.parametrize("options", [EVERYTHING, {}])
@pytest.mark.parametrize("trip", ["copy", "view", "subset", "h5ad"])
def test_record_survives(options, trip, tmp_path):
    adata = cells()
    SiVAE.setup_anndata(adata, **options)
    before = read_record(adata)
    if trip == "h5ad":
        adata.write_h5ad(tmp_path / "a.h5ad")
        after = ad.read_h5ad(tmp_path / "a.h5ad")
    else:
        after = {
            "copy": lambda: adata.copy(),
            "view": lambda: adata[:7, :3],
            "subset": lambda: adata[[5, 2, 1]].copy(),
        }[trip]()
    assert read_record(after) == before


def test_setting_up_again_gives_the_same_and_keeps_the_rest():
    adata = cells()
    adata.uns["sivae"] = {"note": "mine"}
    for _ in range(2):
        SiVAE.setup_anndata(adata, batch_key="lab")
    first = read_record(adata)
    SiVAE.setup_anndata(adata)
    assert read_record(adata).batch_key == ""
    assert first.batch_key == "lab"
    assert adata.uns["sivae"]["note"] == "mine"


def test_set_up_changes_nothing_else():
    adata = cells()
    before = adata.copy()
    SiVAE.setup_anndata(adata, **EVERYTHING)
    assert (adata.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    pd.testing.assert_frame_equal(adata.var, before.var)
    assert set(adata.uns) == {"sivae"}


@pytest.mark.parametrize(
    ("shift", "normalize", "counts"), [(0.0, "log1p", True), (0.5, "none", False), (-2.5, "none", False)]
)
def test_auto_normalises_whole_numbers_alone(shift, normalize, counts):
    adata = cells()
    adata.X = adata.X.toarray() + shift
    SiVAE.setup_anndata(adata)
    record = read_record(adata)
    assert (record.normalize, record.counts) == (normalize, counts)


def refused(adata, match, **options):
    with pytest.raises(SetupError, match=match):
        SiVAE.setup_anndata(adata, **options)
    assert "sivae" not in adata.uns


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(storage, value):
    adata = cells()
    dense = adata.X.toarray()
    dense[7, 3] = value
    adata.X = storage(dense)
    refused(adata, rf"X holds {value} \(cell 'c7', gene 'g3'\)")
    adata.layers["raw"], adata.X = storage(dense), np.zeros_like(dense)
    refused(adata, r"layers\['raw'\] holds", layer="raw")


def test_names_that_occur_twice_are_named():
    adata = cells()
    adata.obs_names = ["twin", "twin", *adata.obs_names[2:]]
    refused(adata, r"obs_names are not unique: twin .*obs_names_make_unique")
    adata = cells()
    adata.var_names = ["TWIN", "TWIN", *adata.var_names[2:]]
    refused(adata, r"var_names are not unique: TWIN .*var_names_make_unique")


def test_log_of_negative_values_is_refused():
    adata = cells()
    adata.X = adata.X.toarray() - 2.5
    refused(adata, r"smallest found is -2.5.*normalize='none'", normalize="log1p")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"normalize": "cpm"}, "normalize is 'cpm'; expected 'auto', 'log1p' or 'none'"),
        ({"layer": "spliced"}, "no layer 'spliced', expected one of: raw"),
        ({"batch_key": "plate"}, "no column 'plate'; it has: lab"),
        ({"categorical_covariate_keys": ["plate"]}, "no column 'plate'"),
        ({"continuous_covariate_keys": ["lab"]}, "not numeric .*categorical_covariate_keys"),
        ({"size_factor_key": "plate"}, "no column 'plate'"),
    ],
)
def test_options_that_do_not_fit_the_data(options, match):
    refused(cells(), match, **options)


@pytest.mark.parametrize("key", ["batch_key", "size_factor_key"])
def test_missing_covariates_are_named(key):
    adata = cells()
    adata.obs["hole"] = [np.nan, *range(1, 12)]
    refused(adata, r"obs\['hole'\] is missing for 1 cells, the first being 'c0'", **{key: "hole"})


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf])
def test_size_factors_must_be_positive(value):
    adata = cells()
    adata.obs.loc["c4", "depth"] = value
    refused(adata, r"obs\['depth'\] must be positive; it is not for cell 'c4'", size_factor_key="depth")


def test_no_values():
    adata = cells()
    del adata.X
    refused(adata, "layer='counts'")
    refused(ad.AnnData(np.zeros((0, 3), np.float32)), "0 cells x 3 genes")


def test_text_is_refused():
    adata = cells()
    adata.layers["text"] = np.full(adata.shape, "a", dtype=object)
    refused(adata, "expected numbers", layer="text")


def test_a_model_of_data_that_were_not_set_up():
    with pytest.raises(SetupError, match=r"Call SiVAE.setup_anndata\(adata, \.\.\.\) first"):
        SiVAE(cells())


def test_a_record_of_another_format():
    adata = cells()
    SiVAE.setup_anndata(adata)
    adata.uns["sivae"]["setup"]["format"] = 99
    with pytest.raises(SetupError, match="format 99"):
        SiVAE(adata)
