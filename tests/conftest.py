"""What many tests share: one generator, planted data, and models trained once per session."""

import os
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from sivae import SiVAE
from sivae.datasets import planted

sys.path.insert(0, str(Path(__file__).parent))

from builders import SMALL, train  # noqa: E402

torch.set_num_threads(1)

# The same commit has the same verdict; HYPOTHESIS_PROFILE=explore looks elsewhere each time.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    # Numba, which scanpy runs, sets the threads of OpenMP and so of torch; more of them than cores spin for each other.
    torch.set_num_threads(1)
    if "matplotlib.pyplot" in sys.modules:  # tests count the figures that they leave open
        sys.modules["matplotlib.pyplot"].close("all")


def pytest_configure(config):
    # Some versions of torch say this of themselves when forward differentiation is first used.
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit.script` is deprecated:DeprecationWarning")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def _planted_counts():
    adata = planted(240, 50, n_factors=2, genes_per_factor=15, n_batches=2, batch_effect=0.3, signed=True, seed=1)
    adata = adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()
    SiVAE.setup_anndata(adata, batch_key="batch")
    return adata


@pytest.fixture
def counts_adata(_planted_counts):
    """240 cells x 50 genes, two factors of 15 genes, two batches, set up; a fresh copy."""
    return _planted_counts.copy()


@pytest.fixture
def values_adata():
    """240 cells x 40 genes of normal values, two factors of 12 genes, set up."""
    adata = planted(240, 40, n_factors=2, genes_per_factor=12, counts=False, seed=2)
    SiVAE.setup_anndata(adata)
    return adata


def _trained(adata, likelihood):
    model = SiVAE(adata.copy(), n_latent=3, likelihood=likelihood, n_profile=20, architecture=SMALL, seed=3)
    train(model)
    return model


@pytest.fixture(scope="session")
def _normal_model(_planted_counts):
    return _trained(_planted_counts, "normal")


@pytest.fixture(scope="session")
def _nb_model(_planted_counts):
    return _trained(_planted_counts, "nb")


@pytest.fixture
def normal_model(_normal_model):
    """Trained once; its rotation is undone after each test."""
    yield _normal_model
    _normal_model.rotate("none")


@pytest.fixture
def nb_model(_nb_model):
    """Trained once; its rotation is undone after each test."""
    yield _nb_model
    _nb_model.rotate("none")


@pytest.fixture(params=["normal", "nb"])
def model(request):
    """Both trained models in turn."""
    return request.getfixturevalue(f"{request.param}_model")


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium, or another that is installed."""
    from explorer_browser import ARGUMENTS, CHROMIUM

    if CHROMIUM is None:
        pytest.skip("PAGES ARE NOT TESTED IN A BROWSER: no chromium was found (apt-get install chromium)")
    sync = pytest.importorskip("playwright.sync_api", reason="PAGES ARE NOT TESTED IN A BROWSER: no playwright")
    with sync.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()
