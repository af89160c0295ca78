"""A model in a notebook."""

import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from builders import SMALL, train

from sivae import SiVAE
from sivae.datasets import planted


class Table(HTMLParser):
    """Tags that are opened, and the texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def rows(model):
    found = re.findall("<th[^>]*>(.*?)</th><td[^>]*>(.*?)</td>", model._repr_html_())
    return {unescape(name): unescape(value) for name, value in found}


def test_it_says_what_the_model_is_before_and_after_training(counts_adata):
    model = SiVAE(counts_adata, n_latent=3, n_profile=20, architecture=SMALL, seed=3)
    table = rows(model)
    assert table["data"] == f"{counts_adata.n_obs} cells x 50 genes"
    assert (table["axes"], table["training"], table["covariates"]) == ("3", "not trained", "batch")
    assert table["likelihood"] == "normal, noise per gene"
    train(model)
    facts = model._state.facts
    assert rows(model)["training"] == (
        f"trained on {facts['n_training_cells']} cells, best step {facts['best_step']} ({facts['stopped']})"
    )


def test_a_model_without_its_cells_says_its_genes(nb_model, tmp_path):
    nb_model.save(tmp_path / "model")
    table = rows(SiVAE.load(tmp_path / "model"))
    assert table["data"] == "50 genes" and table["likelihood"] == "nb, noise per gene"


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=1>', "a&b"])
def test_names_from_the_data_are_escaped(name):
    adata = planted(60, 20, n_factors=1)
    adata.layers[name], adata.obs[name] = adata.X.copy(), np.array(["a", "b"])[np.arange(60) % 2]
    SiVAE.setup_anndata(adata, layer=name, batch_key=name)
    model = SiVAE(adata, n_latent=2)
    parsed = Table(model._repr_html_())
    assert set(parsed.tags) == {"div", "strong", "table", "tr", "th", "td"}
    assert sum(name in text for text in parsed.texts) == 2
