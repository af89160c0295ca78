"""Numbers at the ends of what floats hold: finite results, no warning, a quiet log; or refused before training."""

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from builders import SMALL, train
from scipy import sparse

from sivae import PublishedOptions, SiVAE, tl
from sivae._errors import SiVAEError

PUBLISHED = PublishedOptions(encoder=(8,), decoder=(8, 8), iterations=20, batch_size=16, kl_warmup=5)
N, G = 48, 12


def counts(rng, scale=3.0):
    return rng.poisson(scale, (N, G)).astype(float) + (np.arange(G) == 0)


def _one(x, at, value):
    x[at] = value
    return x


def _depth(rng):
    """Cells of 100,000,000 counts beside cells of one."""
    x = counts(rng)
    x[::2] = np.rint(x[::2] * 1e8 / x[::2].sum(axis=1, keepdims=True))
    x[1::4] = 0
    x[1::4, 2] = 1
    return x


def _dominated(rng):
    """One gene has 99.9 % of the counts of every cell."""
    x = counts(rng)
    x[:, 3] = 999 * x.sum(axis=1)
    return x


COUNTS = {
    "ten millions": lambda rng: _one(counts(rng), (3, 4), 1e7),
    "two billions": lambda rng: _one(counts(rng), (3, 4), 2e9),
    "all two billions": lambda rng: np.rint(counts(rng) * 5e8),
    "beyond float32's whole numbers": lambda rng: counts(rng) * (2.0**25 + 2),
    "very deep and very shallow": _depth,
    "one dominates": _dominated,
    "one dominates one cell": lambda rng: _one(counts(rng), (3, 4), 1e6),
    "constant genes": lambda rng: _one(counts(rng), (slice(None), slice(2, 9)), 7.0),
    "zero genes": lambda rng: _one(counts(rng), (slice(None), slice(2, 9)), 0.0),
    "one count in all but one": lambda rng: _one(np.eye(N, G) + np.eye(N, G, 1 - G), (slice(None), 0), 1.0),
    "almost empty": lambda rng: _one((rng.random((N, G)) < 0.03) * 1.0, (slice(None), 0), 1.0),
    "binary": lambda rng: _one((rng.random((N, G)) < 0.5) * 1.0, (slice(None), 0), 1.0),
}
VALUES = {
    "1e30": lambda rng: 1e30 * rng.normal(size=(N, G)),
    "1e38": lambda rng: 3e37 * rng.uniform(-1, 1, size=(N, G)),
    "one of 1e30": lambda rng: _one(rng.normal(size=(N, G)), (3, 4), 1e30),
    "some of 1e-40": lambda rng: _one(rng.normal(size=(N, G)), (slice(None), slice(0, 3)), 1e-40),
    "far from zero": lambda rng: 1e6 + rng.normal(size=(N, G)),
    "scales from 1e-30 to 1e30": lambda rng: rng.normal(size=(N, G)) * np.logspace(-30, 30, G),
    "constant genes": lambda rng: _one(rng.normal(size=(N, G)), (slice(None), slice(2, 9)), 0.1),
    "one cell differs": lambda rng: _one(np.zeros((N, G)), 4, rng.normal(size=G)),
}
OPTIONS = {
    "normal": {"likelihood": "normal"},
    "nb": {"likelihood": "nb"},
    "nb by cell": {"likelihood": "nb", "dispersion": "gene-cell"},
    "zinb": {"likelihood": "zinb"},
    "poisson": {"likelihood": "poisson"},
    "bernoulli": {"likelihood": "bernoulli"},
    "choi2023 normal": {"recipe": "choi2023", "published": PUBLISHED, "likelihood": "normal"},
    "choi2023 nb": {"recipe": "choi2023", "published": PUBLISHED, "likelihood": "nb"},
}
FACTORS = {
    "one": lambda rng: np.ones(N),
    "from 1e-6 to 1e6": lambda rng: np.logspace(-6, 6, N),
    "from 1e-30 to 1e30": lambda rng: np.logspace(-30, 30, N),
    "all 1e30": lambda rng: np.full(N, 1e30),
    "all 1e-30": lambda rng: np.full(N, 1e-30),
}


def opened(x, dtype=np.float32):
    adata = ad.AnnData(sparse.csr_matrix(x.astype(dtype)), obs=pd.DataFrame(index=[f"c{i}" for i in range(len(x))]))
    adata.var_names = [f"g{i}" for i in range(x.shape[1])]
    return adata


def finite(values):
    assert np.isfinite(np.asarray(values, float)).all()


def whole(adata, caplog, *, steps=30, setup=None, **options):
    """Every output is finite, and the log says little."""
    caplog.set_level(logging.INFO, logger="sivae")
    SiVAE.setup_anndata(adata, **(setup or {}))
    model = SiVAE(adata, n_latent=2, **({} if "recipe" in options else {"architecture": SMALL}), **options)
    history = train(model, max_steps=None if "recipe" in options else steps, batch_size=16, feature_batch_size=8)
    losses = history.select_dtypes("number").to_numpy(float)
    assert not np.isinf(losses).any() and np.isfinite(history["loss"].to_numpy()[-1])
    finite(model.get_latent_representation()), finite(model.get_latent_representation(return_dist=True)[1])
    finite(model.get_feature_representation()), finite(model.get_normalized_expression())
    finite(model.get_elbo()), finite(model.get_reconstruction_error(per_feature=True))
    model.annotate(adata)
    finite(adata.obsm["X_sivae"]), finite(adata.varm["X_sivae"])
    assert not np.isinf(adata.var.select_dtypes("number").to_numpy(float)).any()
    tl.gene_neighbors(adata, 3)
    tl.hubs(adata)
    assert not np.isinf(tl.hub_table(adata).select_dtypes("number").to_numpy(float)).any()
    assert not np.isinf(tl.explained_variance(adata).select_dtypes("number").to_numpy(float)).any()
    assert len(caplog.records) <= 12, [record.message for record in caplog.records]
    return model


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("case", COUNTS)
def test_counts(rng, caplog, case, options):
    whole(opened(COUNTS[case](rng)), caplog, **OPTIONS[options])


@pytest.mark.parametrize("options", ["normal", "choi2023 normal"])
@pytest.mark.parametrize("case", VALUES)
def test_values(rng, caplog, case, options):
    whole(opened(VALUES[case](rng)), caplog, setup={"normalize": "none"}, **OPTIONS[options])


@pytest.mark.parametrize("options", ["normal", "nb", "choi2023 nb"])
@pytest.mark.parametrize("case", FACTORS)
def test_size_factors(rng, caplog, case, options):
    adata = opened(counts(rng))
    adata.obs["size"] = FACTORS[case](rng)
    whole(adata, caplog, setup={"size_factor_key": "size"}, **OPTIONS[options])


@pytest.mark.parametrize("options", OPTIONS)
def test_a_batch_of_one_cell(rng, caplog, options):
    adata = opened(counts(rng))
    adata.obs["batch"] = ["alone", *["others"] * (N - 1)]
    whole(adata, caplog, setup={"batch_key": "batch"}, **OPTIONS[options])


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_whole_numbers_beyond_float32_are_taken_or_refused_in_words(rng, caplog, dtype):
    for value in (2.0**31, 2.0**53, 1e18):
        adata = opened(_one(counts(rng), (3, 4), value), dtype)
        whole(adata, caplog, likelihood="nb")
        caplog.clear()


@pytest.mark.parametrize("value", [1e39, 1e300, -1e300])
def test_values_that_float32_does_not_hold_are_refused(rng, value):
    adata = opened(_one(rng.normal(size=(N, G)), (3, 4), value), np.float64)
    with pytest.raises(SiVAEError, match=r"c3.*g4|g4.*c3"):
        SiVAE.setup_anndata(adata, normalize="none")
        train(SiVAE(adata, n_latent=2, architecture=SMALL), max_steps=2)


@pytest.mark.parametrize("scale", [1e-20, 1e-40])
@pytest.mark.parametrize("options", ["normal", "choi2023 normal"])
def test_values_that_hardly_differ_are_refused_as_constant(rng, caplog, scale, options):
    adata = opened(scale * rng.normal(size=(N, G)))
    with pytest.raises(SiVAEError, match="All 12 genes .* are constant .* expected genes that vary"):
        whole(adata, caplog, setup={"normalize": "none"}, **OPTIONS[options])


@pytest.mark.parametrize("value", [1e-300, 1e300, 0.0, -1.0, np.inf])
def test_size_factors_that_float32_does_not_hold_are_refused(rng, value):
    adata = opened(counts(rng))
    adata.obs["size"] = _one(np.ones(N), 3, value)
    with pytest.raises(SiVAEError, match=r"obs\['size'\] must be positive.*'c3'.*Fill it in or drop the cell"):
        SiVAE.setup_anndata(adata, size_factor_key="size")


def test_new_cells_that_float32_does_not_hold_are_refused(rng, caplog):
    model = whole(opened(rng.normal(size=(N, G))), caplog, setup={"normalize": "none"}, steps=3)
    for form in (sparse.csr_matrix, np.asarray):
        adata = opened(rng.normal(size=(N, G)), np.float64)
        adata.X = form(_one(adata.X.toarray(), (3, 4), 1e300))
        with pytest.raises(SiVAEError, match=r"X holds inf \(cell 'c3', gene 'g4'\); expected finite"):
            model.get_latent_representation(adata)
