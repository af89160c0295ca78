"""Any small AnnData, through the whole pipeline: refused before training, or every number finite and under its name."""

import tempfile
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from builders import SMALL, train
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from sivae import PublishedOptions, SiVAE, tl
from sivae._errors import DivergedError, SiVAEError, SiVAEWarning

DTYPES = ["float32", "float64", "int32", "int64", "uint8", "uint16", "bool"]
FORMS = ["dense", "fortran", "csr", "csc", "csr array", "unsorted", "stored zeros"]
ODD = ["1", "2.0", "nan", "", " ", "a/b", "🧬", "=1", "<b>", "a\nb", "None", "x" * 300]
PUBLISHED = PublishedOptions(encoder=(6,), decoder=(6, 6), iterations=2, batch_size=16, kl_warmup=1)


@st.composite
def anndata(draw):
    """Cells, how they are set up, and the options of a model."""
    n, g = draw(st.integers(5, 40)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    kind = draw(st.sampled_from(["counts", "counts", "deep", "sparse", "values", "logged"]))
    x = {
        "counts": lambda: rng.poisson(3.0, (n, g)),
        "deep": lambda: rng.poisson(rng.uniform(1, 1000, (n, 1)), (n, g)),
        "sparse": lambda: rng.poisson(0.2, (n, g)),
        "values": lambda: rng.normal(size=(n, g)),
        "logged": lambda: np.log1p(rng.poisson(2.0, (n, g)) * rng.uniform(1, 2, (n, 1))),
    }[kind]()
    x[:, draw(st.lists(st.integers(0, g - 1), max_size=3))] = draw(st.sampled_from([0, 0, 3]))
    if draw(st.booleans()):
        x[draw(st.lists(st.integers(0, n - 1), max_size=2))] = 0
    dtype = draw(st.sampled_from(DTYPES if kind in ("counts", "sparse") else DTYPES[:2]))
    layer = draw(st.sampled_from([None, None, "counts", "a b"]))
    adata = ad.AnnData(obs=pd.DataFrame(index=_names(draw, n, "c")), var=pd.DataFrame(index=_names(draw, g, "g")))
    matrix = _form(x.astype(dtype), draw(st.sampled_from(FORMS)))
    if layer is None:
        adata.X = matrix
    else:
        adata.layers[layer] = matrix
    setup = {"layer": layer, "normalize": draw(st.sampled_from(["auto", "auto", "auto", "none", "log1p"]))}
    if draw(st.booleans()):
        setup["batch_key"] = "batch"
        adata.obs["batch"] = _batches(draw, rng, n)
    if draw(st.integers(0, 3)) == 0:
        setup["continuous_covariate_keys"] = ["depth"]
        adata.obs["depth"] = draw(st.sampled_from([np.ones(n), rng.normal(size=n), np.arange(n), 1e6 * rng.random(n)]))
    if draw(st.integers(0, 5)) == 0:
        setup["size_factor_key"] = "size"
        adata.obs["size"] = draw(st.sampled_from([rng.uniform(0.5, 2, n), rng.uniform(1e-6, 1e6, n), np.ones(n)]))
    if draw(st.integers(0, 3)) == 0:
        adata = adata[np.sort(rng.permutation(n)[: max(5, n - 3)])]
    return adata, setup, _options(draw)


def _names(draw, n, prefix):
    names = [f"{prefix}{i}" for i in range(n)]
    odd = draw(st.lists(st.sampled_from(ODD), unique=True, max_size=min(n, 4)))
    return pd.Index([*odd, *names[len(odd) :]])


def _form(x, form):
    if form in ("dense", "fortran"):
        return np.asfortranarray(x) if form == "fortran" else x
    made = sparse.csc_matrix(x) if form == "csc" else sparse.csr_array(x) if "array" in form else sparse.csr_matrix(x)
    if form == "unsorted":
        for row in range(x.shape[0]):
            part = slice(made.indptr[row], made.indptr[row + 1])
            made.indices[part], made.data[part] = made.indices[part][::-1].copy(), made.data[part][::-1].copy()
        made.has_sorted_indices = False
    if form == "stored zeros" and made.nnz:
        made.data[0] = 0
    return made


def _batches(draw, rng, n):
    codes = rng.integers(0, draw(st.integers(1, 3)), n)
    kind = draw(
        st.sampled_from(["text", "category", "integers", "booleans", "floats", "one alone", "unused", "missing"])
    )
    if kind == "one alone":
        codes = (np.arange(n) == 0).astype(int)
    names = np.array(["b/1", "nan", "🧬"], dtype=object)[codes]
    if kind == "missing":
        names[0] = None
    return {
        "text": lambda: names, "missing": lambda: pd.Categorical(names), "category": lambda: pd.Categorical(names),
        "integers": lambda: codes, "booleans": lambda: codes > 0, "floats": lambda: codes.astype(float),
        "one alone": lambda: names, "unused": lambda: pd.Categorical(names, categories=["b/1", "nan", "🧬", "unused"]),
    }[kind]()  # fmt: skip


def _options(draw):
    options = {"n_latent": draw(st.integers(1, 5)), "seed": draw(st.integers(0, 3))}
    if draw(st.integers(0, 4)) == 0:
        return options | {
            "recipe": "choi2023",
            "published": PUBLISHED,
            "likelihood": draw(st.sampled_from(["auto", "normal", "nb"])),
        }
    return options | {
        "likelihood": draw(st.sampled_from(["auto", "auto", "normal", "nb", "zinb", "poisson", "bernoulli"])),
        "dispersion": draw(st.sampled_from(["gene", "gene", "gene", "gene-batch", "gene-cell", "cell"])),
        "decoder": draw(st.sampled_from(["residual", "residual", "published"])),
        "profiles": draw(st.sampled_from(["principal", "principal", "cells"])),
        "architecture": SMALL,
    }


def run(case, folder):
    """None if the case is refused in words before training, else everything is as it must be."""
    adata, setup, options = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SiVAEWarning)
        warnings.filterwarnings("ignore", "Trying to modify attribute", ad.ImplicitModificationWarning)
        try:
            SiVAE.setup_anndata(adata, **setup)
            model = SiVAE(adata, **options)
            limits = {} if options.get("recipe") else {"max_steps": 2, "checks": 1}
            train(model, max_steps=limits.get("max_steps"), checks=1)
        except SiVAEError as error:
            assert not isinstance(error, DivergedError), error
            assert str(error).isprintable() and len(str(error)) < 2000
            return None
        assert adata.n_obs >= 10, "fewer than ten cells were trained on"
        getters(model, adata)
        permuted(model, adata)
        saved(model, adata, folder)
        tools(model, adata)
    return model


def finite(values):
    assert np.isfinite(np.asarray(values, float)).all()


def getters(model, adata):
    z, (mean, variance) = model.get_latent_representation(), model.get_latent_representation(return_dist=True)
    assert z.shape == (adata.n_obs, model.options.n_latent)
    finite(z), finite(mean), finite(variance)
    assert (variance > 0).all() or not model.options.likelihood  # a width is positive
    v = model.get_feature_representation()
    assert list(v.index) == list(model.genes) == list(adata.var_names)
    finite(v)
    expression = model.get_normalized_expression()
    assert list(expression.index) == list(adata.obs_names) and list(expression.columns) == list(model.genes)
    finite(expression)
    if adata.uns["sivae"]["setup"]["normalize"] == "log1p":
        assert (expression.to_numpy() >= 0).all()
    finite(model.get_elbo()), finite(model.get_reconstruction_error())
    by_gene = model.get_reconstruction_error(per_feature=True)
    assert list(by_gene.index) == list(model.genes)
    finite(by_gene)


def permuted(model, adata):
    """Cells and genes in another order: the same numbers under the same names."""
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(adata.n_obs), rng.permutation(adata.n_vars)
    turned = adata[rows][:, columns].copy()
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(
        model.get_latent_representation(turned), model.get_latent_representation(adata)[rows], **close
    )
    first = model.get_normalized_expression(adata)
    second = model.get_normalized_expression(turned)
    assert list(second.index) == list(turned.obs_names) and list(second.columns) == list(first.columns)
    pd.testing.assert_frame_equal(second, first.iloc[rows], rtol=1e-3, atol=1e-3)
    only_genes = adata[:, columns].copy()
    np.testing.assert_array_equal(model.get_latent_representation(only_genes), model.get_latent_representation(adata))
    assert model.get_elbo(only_genes) == model.get_elbo(adata)  # of cells in another order it is another draw
    errors = [model.get_reconstruction_error(one, per_feature=True) for one in (turned, adata)]
    pd.testing.assert_series_equal(*errors, rtol=1e-3, atol=1e-4)


def saved(model, adata, folder):
    model.save(folder / "model", overwrite=True)
    again = SiVAE.load(folder / "model", adata)
    for one, other in (
        (model.get_latent_representation(), again.get_latent_representation()),
        (model.get_feature_representation(), again.get_feature_representation()),
        (model.get_normalized_expression(), again.get_normalized_expression()),
        (model.get_reconstruction_error(), again.get_reconstruction_error()),
        *(() if keeps_values_out(model) else ((model.get_elbo(), again.get_elbo()),)),
    ):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def keeps_values_out(model):
    """Profiles of cells are values, which a saved model does not hold; its bound is refused."""
    return model.options.recipe == "choi2023" or model.options.profiles == "cells"


def tools(model, adata):
    annotated = adata.copy()
    model.annotate(annotated)
    finite(annotated.obsm["X_sivae"])
    if "X_sivae" not in annotated.varm:  # a plain VAE has no genes' map
        return
    finite(annotated.varm["X_sivae"])
    known = annotated.var.select_dtypes("number").to_numpy(float)
    assert not np.isinf(known).any()
    calls = [
        lambda: tl.gene_neighbors(annotated, min(3, adata.n_vars - 1)),
        lambda: tl.hubs(annotated),
        lambda: tl.modules(annotated, 1.0, min_size=2, n_resamples=4),
    ]
    for call in calls:
        try:
            call()
        except SiVAEError as error:
            assert str(error).isprintable()
    for table in (
        lambda: tl.rank_loadings(annotated, n_genes=None, level=0.9),
        lambda: tl.explained_variance(annotated),
        lambda: tl.hub_table(annotated),
        lambda: tl.feature_awareness(annotated),
        lambda: tl.neighbors_of(annotated, list(annotated.var_names)),
        lambda: tl.gene_graph(annotated),
    ):
        try:
            found = table()
        except SiVAEError as error:
            assert str(error).isprintable()
            continue
        assert not np.isinf(found.select_dtypes("number").to_numpy(float)).any()
        if "gene" in found:
            assert set(found["gene"]) <= set(annotated.var_names)


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def trial(case):
    with tempfile.TemporaryDirectory() as folder:
        return run(case, Path(folder))


@settings(max_examples=25, **COMMON)
@given(anndata())
def test_any_small_anndata(case):
    trial(case)


@pytest.mark.slow
@settings(max_examples=120, **COMMON)
@given(anndata())
def test_many_small_anndata(case):
    trial(case)


def test_the_cases_are_not_all_refused():
    """Some of what is drawn is trained on."""
    counts = np.random.default_rng(0).poisson(3.0, (20, 8)).astype(np.float32)
    adata = ad.AnnData(counts, obs=pd.DataFrame(index=[f"c{i}" for i in range(20)]))
    adata.var_names = ["1", "🧬", "", *(f"g{i}" for i in range(5))]
    model = trial((adata, {"normalize": "auto"}, {"n_latent": 2, "architecture": SMALL}))
    assert model is not None and model.is_trained


@settings(max_examples=20, **COMMON)
@given(n=st.integers(1, 9), g=st.integers(1, 6), seed=st.integers(0, 9))
def test_fewer_than_ten_cells_are_refused_before_training(n, g, seed):
    x = np.random.default_rng(seed).poisson(3.0, (n, g)) + 1
    adata = ad.AnnData(x.astype(np.float32), obs=pd.DataFrame(index=[f"c{i}" for i in range(n)]))
    SiVAE.setup_anndata(adata)
    with pytest.raises(SiVAEError, match="too few.*expected at least 10"):
        SiVAE(adata, n_latent=1)
