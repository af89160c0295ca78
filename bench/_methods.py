"""siVAE, its variants and its peers under one signature: learn from the training cells, say something of every cell."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from anndata import AnnData

import sivae
from bench._heldout import Data


@dataclass(frozen=True)
class Fit:
    """What a method says of all n cells and g genes; `predicted_ng` is on the standardised scale of the data."""

    z_nk: np.ndarray
    v_gk: np.ndarray | None
    predicted_ng: np.ndarray | None
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)
    model: Any = None


@dataclass(frozen=True)
class Method:
    """A name, what fits it, and the package that it needs besides this one's."""

    name: str
    fit: Callable[[Data, int, int], Fit]
    needs: str | None = None
    slow: bool = False
    """Minutes for a thousand genes: the published design."""

    def at_hand(self) -> bool:
        """Whether its package is installed; says so on standard error where it is not."""
        from importlib.util import find_spec

        if self.needs is None or find_spec(self.needs) is not None:
            return True
        print(f"*** {self.name} LEFT OUT: {self.needs} is not installed (bench/README.md)", file=sys.stderr)
        return False


def fit_sivae(
    data: Data,
    k: int,
    seed: int,
    *,
    batch: bool = False,
    options: sivae.TrainOptions | None = None,
    block: dict[str, int] | None = None,
    **settings: Any,
) -> Fit:
    """The default recipe with these settings of the model; its own validation cells are among the training cells."""
    training = data.training
    batch_key = "batch" if batch else None
    sivae.SiVAE.setup_anndata(training, batch_key=batch_key)
    started = time.perf_counter()
    model = sivae.SiVAE(training, n_latent=k, seed=seed, **settings)
    model.train(accelerator="cpu", progress=False, options=options, **(block or {}))
    seconds = time.perf_counter() - started
    return of_model(data, model, seconds, batch=batch)


def short(steps: int) -> sivae.TrainOptions:
    """A training of so many steps, of which the best weights are kept.

    It does not stop early: patience counts checks, of which there are sixty whatever the steps, so that a short
    training would end within its warm-up.
    """
    return sivae.TrainOptions(max_steps=steps, patience=sivae.TrainOptions().checks)


PUBLISHED_STEPS = 1000
"""Steps of each published phase here: half of the published 2,000, for time. What the other half is worth: `recipe`."""


def fit_published(
    data: Data,
    k: int,
    seed: int,
    *,
    preset: str = "fetal liver",
    steps: int | None = PUBLISHED_STEPS,
    gamma: float = 0.05,
    profile: dict[str, Any] | None = None,
    likelihood: str = "auto",
    batch: bool = False,
    **settings: Any,
) -> Fit:
    """The published recipe; `batch` joins the batch to the cell tower.

    `steps` sets each of its three phases, 2,000 if None, and the warm-up at half of them.
    """
    from dataclasses import replace

    published = replace(sivae.PublishedOptions.preset(preset), **settings)  # type: ignore[arg-type]
    if steps is not None:
        published = replace(published, iterations=steps, kl_warmup=steps // 2)
    training = data.training
    sivae.SiVAE.setup_anndata(training, batch_key="batch" if batch else None)
    started = time.perf_counter()
    model = sivae.SiVAE(
        training, n_latent=k, seed=seed, recipe="choi2023", published=published, gamma=gamma,
        likelihood=likelihood, **(profile or {}),
    )  # fmt: skip
    # Every cell given is learned from, as in the published runs: the last weights are kept, nothing is chosen.
    options = sivae.TrainOptions(validation_fraction=0.0)
    history = model.train(accelerator="cpu", progress=False, early_stopping=False, options=options)
    fit = of_model(data, model, time.perf_counter() - started, genes=published.has_features)
    return Fit(fit.z_nk, fit.v_gk, fit.predicted_ng, fit.seconds, {"history": history.attrs}, fit.model)


def of_model(data: Data, model: sivae.SiVAE, seconds: float, *, batch: bool = False, genes: bool = True) -> Fit:
    """What a trained model says. Where it knows batches, each cell is predicted in its own."""
    del batch  # the getters read the batch of each cell from obs
    names = list(data.counts.var_names)
    rate_ng = model.get_normalized_expression(data.counts, library_size=1.0).to_numpy()
    v_gk = model.get_feature_representation().loc[names].to_numpy() if genes else None
    return Fit(model.get_latent_representation(data.counts), v_gk, data.scale(rate_ng), seconds, model=model)


def fit_pca(data: Data, k: int, seed: int) -> Fit:
    """Principal components of the standardised training cells; loadings times the sd of their scores."""
    del seed
    started = time.perf_counter()
    x_ng = data.scaled_ng[~data.test]
    mean_g = x_ng.mean(axis=0)
    v_kg = np.linalg.svd(x_ng - mean_g, full_matrices=False)[2][:k]
    seconds = time.perf_counter() - started
    z_nk = (data.scaled_ng - mean_g) @ v_kg.T
    return Fit(z_nk, v_kg.T * z_nk[~data.test].std(axis=0), z_nk @ v_kg + mean_g, seconds)


def fit_umap(data: Data, k: int, seed: int) -> Fit:
    """UMAP of the first fifty principal components of the training cells; held-out cells are transformed."""
    import warnings

    import umap

    scores = fit_pca(data, min(50, data.counts.n_vars - 1), seed).z_nk
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba and of the threads that a seed forbids
        mapper = umap.UMAP(n_components=k, random_state=seed).fit(scores[~data.test])
        z_nk = np.empty((len(scores), k))
        z_nk[~data.test], z_nk[data.test] = mapper.embedding_, mapper.transform(scores[data.test])
    return Fit(z_nk, None, None, time.perf_counter() - started)


STEPS, BATCH = 2500, 128
"""Steps of scvi-tools' models, as many as of a default training of ours; fewer if they stop by themselves."""


def fit_scvi_tools(data: Data, k: int, seed: int, *, name: str, batch: bool = False) -> Fit:
    """A model of scvi-tools (or DRVI, which is one) with its defaults and its early stopping, for `STEPS`."""
    import logging
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scvi

        for logger in ("lightning.pytorch", "lightning.fabric", "drvi"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        scvi.settings.verbosity = logging.ERROR
        scvi.settings.seed = seed
        training = data.training
        kind, settings = _scvi_kind(name, k)
        kind.setup_anndata(training, batch_key="batch" if batch else None)
        started = time.perf_counter()
        model = kind(training, **settings)
        epochs = max(1, round(STEPS * BATCH / (0.9 * training.n_obs)))
        model.train(
            max_epochs=epochs, accelerator="cpu", early_stopping=True, enable_progress_bar=False, batch_size=BATCH
        )
        seconds = time.perf_counter() - started
        everything = data.counts.copy()
        z_nk = np.asarray(model.get_latent_representation(everything))
        rate_ng = _rates(model, everything)
        v_gk = model.get_loadings().to_numpy() if name == "LDVAE" else None
    epochs = len(model.history["elbo_train"])
    return Fit(z_nk, v_gk, None if rate_ng is None else data.scale(rate_ng), seconds, {"epochs": epochs})


def _scvi_kind(name: str, k: int) -> tuple[Any, dict[str, Any]]:
    if name == "DRVI":
        from drvi.model import DRVI

        return DRVI, {"n_latent": k}
    import scvi

    if name == "LDVAE":
        return scvi.model.LinearSCVI, {"n_latent": k, "gene_likelihood": "nb"}
    return scvi.model.SCVI, {"n_latent": k}


def _rates(model: Any, adata: AnnData) -> np.ndarray | None:
    """Shares of a cell's counts; None where the model does not say them."""
    try:
        return np.asarray(model.get_normalized_expression(adata, library_size=1))
    except Exception as error:  # DRVI inherits the method and may not serve it
        print(f"*** no predictions of {type(model).__name__}: {error}", file=sys.stderr)
        return None


def _fitter(base: Callable[..., Fit], **settings: Any) -> Callable[[Data, int, int], Fit]:
    def fit(data: Data, k: int, seed: int) -> Fit:
        return base(data, k, seed, **settings)

    return fit


METHODS = (
    Method("siVAE", _fitter(fit_sivae)),
    Method("siVAE, nb", _fitter(fit_sivae, likelihood="nb")),
    Method("siVAE, gamma 0", _fitter(fit_sivae, gamma=0.0)),
    Method("published", _fitter(fit_published), slow=True),
    Method("published, gamma 0", _fitter(fit_published, gamma=0.0), slow=True),
    Method("published, nb", _fitter(fit_published, likelihood="nb"), slow=True),
    Method("published, linear", _fitter(fit_published, linear_decoder=True), slow=True),
    Method("published, linear, nb", _fitter(fit_published, linear_decoder=True, likelihood="nb"), slow=True),
    Method("VAE", _fitter(fit_published, model="vae"), slow=True),
    Method("PCA", fit_pca),
    Method("UMAP", fit_umap, needs="umap"),
    Method("LDVAE", _fitter(fit_scvi_tools, name="LDVAE"), needs="scvi"),
    Method("scVI", _fitter(fit_scvi_tools, name="scVI"), needs="scvi"),
    Method("DRVI", _fitter(fit_scvi_tools, name="DRVI"), needs="drvi"),
)
BY_NAME = {method.name: method for method in METHODS}


def named(names: tuple[str, ...]) -> list[Method]:
    """Those of these methods whose packages are installed."""
    return [BY_NAME[name] for name in names if BY_NAME[name].at_hand()]
