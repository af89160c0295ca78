"""The model card says what the model was trained on and how; it runs, is the same each time, and escapes names."""

import re
from contextlib import chdir

import numpy as np
import pytest
from builders import SMALL, train
from markdown_it import MarkdownIt

from sivae import SiVAE
from sivae._whole import names_hash
from sivae.datasets import planted
from sivae.model import _card

HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "![a](http://x.org/a.png)",
    "`code`", "*em* _em_ **b**", "a|b", "# title", "line\nbreak\r\n- item", "\u202ereversed", "&lt;b&gt;", "a&b",
    "https://example.org", "www.example.org", "me@example.org", "it's \"so\"", "\\", "$x$", "\x1b[31mred", "-",
    "1. one",
]  # fmt: skip


def shown(text):
    """The text of rendered Markdown, and the tags in it."""
    html = MarkdownIt("commonmark", {"html": True}).render(text)
    tags = set(re.findall(r"<(\w+)", html))
    plain = re.sub(r"<[^>]*>", "", html)
    for entity, letter in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        plain = plain.replace(entity, letter)
    return plain.strip(), tags


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_as_it_is_and_is_no_markup(name):
    plain, tags = shown(f"Genes: {_card.escape(name)} and more")
    expected = "".join(c if c.isprintable() else "\ufffd" for c in name)
    assert (plain, tags) == (f"Genes: {expected} and more", {"p"})
    assert "<" not in _card.escape(name) and "\n" not in _card.escape(name)


def test_long_names_are_cut():
    assert len(_card.escape("x" * 1000)) == _card.LONGEST


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A model of genes and columns with such names."""
    adata = planted(120, 24, n_factors=2, genes_per_factor=8, n_batches=2, seed=1)
    adata.var_names = [*HOSTILE, *(f"gene{i}" for i in range(24 - len(HOSTILE)))]
    adata.obs["<b>batch</b>"] = adata.obs["batch"].astype(str)
    adata.obs["`age`"] = np.arange(120.0)
    adata.layers["*counts*"] = adata.X.copy()
    SiVAE.setup_anndata(
        adata, layer="*counts*", batch_key="<b>batch</b>", continuous_covariate_keys=["`age`"],
        size_factor_key="size_factor",
    )  # fmt: skip
    model = SiVAE(adata, n_latent=2, likelihood="nb", architecture=SMALL, seed=7)
    train(model, max_steps=4, checks=2)
    folder = tmp_path_factory.mktemp("card") / "model"
    model.save(folder)
    return model, adata, folder, (folder / "README.md").read_text(encoding="utf-8")


def test_a_card_of_hostile_names_is_plain(hostile):
    plain, tags = shown(hostile[3])
    assert tags == {"h1", "h2", "p", "ul", "li", "code", "pre", "a"}
    html = MarkdownIt("commonmark", {"html": True}).render(hostile[3])
    assert re.findall(r'href="([^"]*)"', html) == [f"https://doi.org/{_card.DOI}"]
    assert "Values: layer *counts*, whole numbers (counts)" in plain
    assert "Covariates kept out of the map: <b>batch</b> (2 categories), `age` (a number)" in plain


def test_it_says_what_the_model_is(hostile):
    model, adata, _, card = hostile
    plain, _ = shown(card)
    facts, history = model._state.facts, model.history
    assert plain.startswith("siVAE model of 24 genes in 2 axes")
    assert f"Training cells: {facts['n_training_cells']}\n" in plain
    assert f"Validation cells: {120 - facts['n_training_cells']}\n" in plain
    assert names_hash(adata.var_names) in plain and "and 14 more" in plain
    assert "Likelihood: negative binomial, on counts" in plain and "Noise: per gene" in plain
    assert "Seed: 7\n" in plain and "Size factors: column size_factor" in plain
    losses = history["validation_loss"].dropna()
    best = history.loc[history["step"] == facts["best_step"], "validation_loss"].iloc[-1]
    assert f"{losses.iloc[0]:.4f} at step 0, {best:.4f} at the best step" in plain
    assert f"Steps: {facts['last_step']}, " in plain and f"best step {facts['best_step']}" in plain
    assert all(f"{name} {number}" in plain for name, number in facts["versions"].items())
    assert "10.1186/s13059-023-02850-y" in plain


def test_no_cell_and_no_category_is_named(hostile):
    _, adata, _, card = hostile
    assert not any(re.search(rf"\b{re.escape(name)}\b", card) for name in adata.obs_names)
    assert "batch_1" not in card


def test_the_same_model_has_the_same_card(hostile, tmp_path):
    model, _, folder, card = hostile
    model.save(tmp_path / "one")
    SiVAE.load(folder).save(tmp_path / "two")
    assert {(tmp_path / name / "README.md").read_text(encoding="utf-8") for name in ("one", "two")} == {card}
    model.rotate("varimax")
    model.save(tmp_path / "three")
    model.rotate("none")
    assert "rotation varimax" in (tmp_path / "three/README.md").read_text(encoding="utf-8")


def test_its_code_runs_in_its_folder(hostile):
    code = re.findall(r"```python\n(.*?)```", hostile[3], re.DOTALL)
    assert len(code) == 1
    with chdir(hostile[2]):
        names = {}
        exec(code[0], names)
    assert names["loadings"].shape == (24, 2)


def test_a_plain_autoencoder_and_one_without_validation_have_cards(hostile):
    config = {
        "genes": ["A"], "rotation": "none", "binary": True, "history": {"step": [0, 1]},
        "setup": {"layer": "", "batch_key": "", "categorical_covariate_keys": [], "continuous_covariate_keys": [],
                  "size_factor_key": "", "normalize": "none", "counts": True, "categories": {}},
        "options": {"n_latent": 1, "likelihood": "bernoulli", "gamma": 0, "seed": 0, "recipe": "choi2023"},
        "facts": {"n_training_cells": 9, "best_step": 1, "stopped": "interrupted"},
    }  # fmt: skip
    plain, _ = shown(_card.of_model(config))
    assert "none: no validation cells" in plain and "Covariates kept out of the map: none" in plain
    assert "read as 0 or 1" in plain and "Noise" not in plain and "Steps: 1, interrupted by the user" in plain
