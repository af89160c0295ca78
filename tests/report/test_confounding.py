"""The report says what is confounded with a batch, in plain words, and nothing where nothing is."""

import anndata as ad
import batches
import numpy as np
import pandas as pd
import pytest
from annotated import annotated
from batches import batched
from builders import SMALL, train

from sivae import SiVAE, report
from sivae._errors import SiVAEWarning
from sivae.model._annotate import plain
from sivae.report import _caveats, _confounding, _facts


def with_batches(shares, *, n=360, lone=()):
    """An annotated AnnData with kinds of cells in batches, and what training found."""
    adata = annotated(n)
    kinds = batched(n, shares=shares).obs
    adata.obs["batch"], adata.obs["cell_type"] = kinds["batch"].to_numpy(), pd.Categorical(kinds["kind"].to_numpy())
    adata.uns["sivae"]["setup"]["batch_key"] = "batch"
    adata.uns["sivae"]["facts"]["covariates"] = plain(
        {
            "name": ["batch"],
            "variance_share": [0.1234],
            "lone_batch": [name for name, _ in lone],
            "lone_cells": [cells for _, cells in lone],
            "lone_groups": [1 for _ in lone],
        }
    )
    return adata


def said(adata, label="cell_type"):
    """What the caveats say beyond those of the same AnnData without a batch."""
    without = adata.copy()
    without.uns["sivae"]["setup"]["batch_key"] = ""
    return [text for text in _caveats.find(adata, label=label) if text not in _caveats.find(without, label=label)]


@pytest.mark.parametrize("label", ["cell_type", None, "batch"])
@pytest.mark.parametrize("shares", [batches.EVEN, batches.UNEVEN, batches.OPPOSITE])
def test_nothing_is_said_without_confounding(shares, label):
    assert said(with_batches(shares), label) == []


def test_nothing_is_said_of_models_saved_before():
    adata = with_batches(batches.EVEN)
    del adata.uns["sivae"]["facts"]["covariates"]
    assert said(adata) == []
    assert not [name for name, _ in _facts.collect(adata, label=None)["data"] if name.startswith("Variance")]


def test_groups_that_one_batch_alone_holds():
    (text,) = said(with_batches(batches.EVEN, lone=[("b1", 47)]))
    assert text.startswith("47 training cells form groups that only batch b1 (batch) holds.")
    assert "these cells cannot tell" in text


def test_groups_of_nearly_all_cells():
    (text,) = said(with_batches(batches.EVEN, lone=[("b0", 160), ("b1", 160)]), None)
    assert "Nearly every group of alike cells lies in a single batch (batch)" in text
    assert "Do not compare cells of different batches" in text


def test_labels_of_one_batch_alone_are_named_with_their_cells():
    adata = with_batches(batches.HALF_SHARED)
    (text,) = said(adata)
    n = adata.obs["cell_type"].value_counts()
    assert f"k0 ({n['k0']} cells, batch b0), k2 ({n['k2']} cells, batch b1)" in text
    assert "k1" not in text


@pytest.mark.parametrize(
    ("shares", "how"),
    [
        (((1.0, 0.0), (0.0, 1.0)), "every group lies in one batch"),
        (batches.APART, "every group lies in one batch"),
        (((0.99, 0.01), (0.01, 0.99)), "the batch all but says the group"),
        (((1.0, 0.0), (1.0, 0.0), (0.0, 1.0)), "the batch all but says the group"),
    ],
)
def test_complete_confounding(shares, how):
    (text,) = said(with_batches(shares))
    assert text.startswith(f"The groups of cell_type are confounded with the batches (batch): {how} (Cramér's V ")
    assert "No difference between groups of cell_type in different batches can be concluded" in text


def test_labels_that_are_missing_or_names_of_cells_are_left_out():
    adata = with_batches(((1.0, 0.0), (0.0, 1.0)))
    adata.obs["cell_type"] = adata.obs["cell_type"].where(adata.obs["batch"] == "b0")
    assert said(adata) == []  # one group is left
    adata.obs["cell_type"] = adata.obs_names
    assert said(adata) == []


def test_the_page_states_what_covariates_take_off(tmp_path):
    adata = with_batches(batches.HALF_SHARED)
    adata.write_h5ad(tmp_path / "a.h5ad")
    text = report.build(ad.read_h5ad(tmp_path / "a.h5ad"), tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Variance taken off for batch" in text and "12.3 %" in text
    assert "found in one batch (batch) alone: k0" in text


def test_from_training_to_the_report(tmp_path):
    """Found in training, kept in the model and in h5ad, and said."""
    adata = batched(shares=batches.APART, center=3.0)
    SiVAE.setup_anndata(adata, batch_key="batch")
    model = SiVAE(adata, n_latent=3, n_profile=20, architecture=SMALL)
    with pytest.warns(SiVAEWarning, match="are confounded"):
        train(model, max_steps=4, checks=1)
    model.save(tmp_path / "m")
    SiVAE.load(tmp_path / "m", adata).annotate(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    found = _confounding.find(ad.read_h5ad(tmp_path / "a.h5ad"), "kind")
    assert len(found) == 2
    assert "Nearly every group" in found[0]
    assert "The groups of kind are confounded" in found[1]


def test_from_training_to_a_report_that_is_calm(tmp_path):
    adata = batched(shares=batches.UNEVEN, center=3.0)
    SiVAE.setup_anndata(adata, batch_key="batch")
    model = SiVAE(adata, n_latent=3, n_profile=20, architecture=SMALL)
    train(model, max_steps=4, checks=1)
    model.annotate(adata)
    assert _confounding.find(adata, "kind") == []
    share = adata.uns["sivae"]["facts"]["covariates"]["variance_share"]
    assert 0.01 < float(np.asarray(share)[0]) < 0.3
