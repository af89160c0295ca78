"""What the noise depends on, against NumPy, and that every kind starts as one number per gene."""

import numpy as np
import oracles
import pytest
import torch
from builders import make_block, make_module

from sivae.nn._dispersion import DISPERSIONS, make_dispersion

N, G, B = 6, 7, 3
ALLOWED = [
    *(("normal", kind) for kind in DISPERSIONS),
    *((name, kind) for name in ("nb", "zinb") for kind in ("gene", "gene-batch", "gene-cell")),
    ("poisson", "gene"),
    ("bernoulli", "gene"),
]


def log_noise(module, z_ck, design_cb, genes):
    """Entry by entry, (c, f)."""
    base = module.log_noise_g.detach().numpy()
    h_cd = oracles.decode(module.cell_tower, z_ck, design_cb)
    parts = {name: value.detach().numpy() for name, value in module.dispersion.named_parameters()}
    result = np.empty((len(z_ck), len(genes)))
    for c in range(len(z_ck)):
        for f, g in enumerate(genes):
            if module.dispersion.name == "gene":
                result[c, f] = base[g]
            elif module.dispersion.name == "gene-batch":
                result[c, f] = base[g] + sum(design_cb[c, b] * parts["offset_gb"][g, b] for b in range(2))
            elif module.dispersion.name == "gene-cell":
                result[c, f] = base[g] + h_cd[c] @ parts["weight_gd"][g]
            else:
                result[c, f] = np.log(np.log1p(np.exp(h_cd[c] @ parts["weight_d"] + parts["bias"])) + 1e-5)
    return result


@pytest.mark.parametrize("kind", DISPERSIONS)
def test_noise_is_that_of_its_formula(rng, kind):
    module = make_module(n_design=B, dispersion=kind, n_batches=2)
    z, design, genes = rng.normal(size=(N, 2)), rng.normal(size=(N, B)), [5, 0, 3]
    found = module.log_noise(*(torch.tensor(a) for a in (z, design, genes))).detach()
    assert found.shape == {"gene": (3,), "cell": (N, 1)}.get(kind, (N, 3))
    np.testing.assert_allclose(found.expand(N, 3), log_noise(module, z, design, genes), rtol=1e-9)


@pytest.mark.parametrize(("likelihood", "kind"), ALLOWED)
def test_terms_are_those_of_the_oracle(rng, likelihood, kind):
    """The noise, the floor of sigma and the zero inflation reach both reconstruction terms."""
    module = make_module(likelihood, n_design=B, dispersion=kind, n_batches=2, seed=1)
    x, design, library = rng.normal(size=(N, G)), rng.normal(size=(N, B)), rng.uniform(2, 9, N)
    y = x if likelihood == "normal" else rng.poisson(1.0, (N, G))
    y = (y > 0).astype(int) if likelihood == "bernoulli" else y
    counts = None if likelihood == "normal" else y
    terms = module(make_block(x, counts, design_cb=design, library_c=library))
    z, _ = oracles.encode(module.cell_tower, oracles.without_covariates(module, x, design))
    v, _ = oracles.encode(module.feature_tower, module.profile_gq.numpy())
    noise = np.exp(log_noise(module, z, design, range(G)))
    noise = np.maximum(noise, 0.3) if likelihood == "normal" else noise
    inflation = None if module.zero_logit_g is None else 1 / (1 + np.exp(-module.zero_logit_g.detach().numpy()))
    for eta, name in zip(oracles.predict(module, z, v, design, range(G)), ("nll", "nll_linear"), strict=True):
        expected = oracles.entry_nll(likelihood, eta, y, noise, library, inflation).sum() / N
        assert float(getattr(terms, name)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", DISPERSIONS)
def test_every_kind_starts_as_the_noise_of_the_genes(rng, kind):
    """The one that all genes share starts at their root mean square."""
    module = make_module(n_design=B, dispersion=kind, n_batches=2)
    with torch.no_grad():
        module.dispersion.start(module.log_noise_g)
    z, design = torch.tensor(rng.normal(size=(N, 2))), torch.tensor(rng.normal(size=(N, B)))
    found = torch.exp(module.log_noise(z, design, torch.arange(G))).detach().expand(N, G)
    sigma_g = np.exp(module.log_noise_g.detach().numpy())
    if kind == "cell":
        sigma_g = np.full(G, np.sqrt((sigma_g**2).mean()))
    np.testing.assert_allclose(found, np.tile(sigma_g, (N, 1)), rtol=1e-4)


@pytest.mark.parametrize("kind", DISPERSIONS)
def test_average_noise_is_that_of_the_average_cell(rng, kind):
    module = make_module(n_design=B, dispersion=kind, n_batches=2)
    h = rng.normal(size=3)
    found = module.average_log_noise(torch.tensor(h)).detach().numpy()
    base = module.log_noise_g.detach().numpy()
    if kind == "gene-cell":
        base = base + module.dispersion.weight_gd.detach().numpy() @ h
    if kind == "cell":
        part = module.dispersion
        base = np.log(np.log1p(np.exp(h @ part.weight_d.detach().numpy() + float(part.bias))) + 1e-5).repeat(G)
    assert found.shape == (G,)
    np.testing.assert_allclose(found, base, rtol=1e-9)


@pytest.mark.parametrize("kind", ["gene-batch", "gene-cell", "cell"])
def test_the_new_parameters_get_gradients(rng, kind):
    module = make_module("normal", n_design=B, dispersion=kind, n_batches=2, grad=True)
    module(make_block(rng.normal(size=(N, G)), design_cb=rng.normal(size=(N, B)))).nll.backward()
    for name, parameter in module.dispersion.named_parameters():
        assert parameter.grad.abs().max() > 1e-6, name


def test_a_kind_adds_no_parameter_that_it_does_not_use():
    """So the weights of a model with noise per gene are named as they always were."""
    names = {
        kind: {n for n, _ in make_dispersion(kind, n_genes=4, n_batches=2, n_joint=3).named_parameters()}
        for kind in DISPERSIONS
    }
    assert names == {
        "gene": set(),
        "gene-batch": {"offset_gb"},
        "gene-cell": {"weight_gd"},
        "cell": {"weight_d", "bias"},
    }
    assert ("zero_logit_g" in make_module("zinb").state_dict()) is True
    assert ("zero_logit_g" in make_module("nb").state_dict()) is False
