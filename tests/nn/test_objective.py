"""The terms of the objective, their weights, and the block estimate of the whole."""

import numpy as np
import oracles
import pytest
import torch
from builders import make_block, make_module
from hypothesis import given, settings
from hypothesis import strategies as st

from sivae.nn._objective import Terms, Weights, gaussian_kl
from sivae.train._order import Order, partition

N, G = 9, 7


def data(rng, likelihood, n=N, g=G):
    x_cg = rng.normal(size=(n, g))
    y_cg = rng.poisson(1.0, (n, g)) if likelihood == "nb" else None
    return {"x_cg": x_cg, "y_cg": y_cg, "design_cb": rng.normal(size=(n, 2)), "library_c": rng.uniform(2, 9, n)}


def test_kl_closed_form(rng):
    mean, sd = rng.normal(size=(6, 3)), rng.uniform(0.05, 2, (6, 3))
    found = gaussian_kl(torch.tensor(mean), torch.tensor(sd))
    np.testing.assert_allclose(found, oracles.gaussian_kl(mean, sd), rtol=1e-12)
    assert float(gaussian_kl(torch.zeros(1, 4), torch.ones(1, 4))) == 0.0


def test_kl_monte_carlo(rng):
    mean, sd = np.array([0.8, -0.3]), np.array([0.5, 1.4])
    draws = mean + sd * rng.normal(size=(400_000, 2))
    log_q = -0.5 * ((draws - mean) / sd) ** 2 - np.log(sd)
    estimate = (log_q + 0.5 * draws**2).sum(axis=1).mean()
    found = gaussian_kl(torch.tensor(mean)[None], torch.tensor(sd)[None])
    assert float(found) == pytest.approx(estimate, abs=0.01)


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_terms_are_those_of_the_oracle(rng, likelihood):
    module, values = make_module(likelihood, n_design=2), data(rng, likelihood)
    terms = module(make_block(**values))
    centred = oracles.without_covariates(module, values["x_cg"], values["design_cb"])
    z, z_sd = oracles.encode(module.cell_tower, centred)
    v, v_sd = oracles.encode(module.feature_tower, module.profile_gq.numpy())
    etas = oracles.predict(module, z, v, values["design_cb"], range(G))
    noise = np.exp(module.likelihood.clamp_noise(module.log_noise_g.detach()).numpy())
    for eta, name in zip(etas, ("nll", "nll_linear"), strict=True):
        if likelihood == "nb":
            nll = oracles.nb_nll(eta, values["y_cg"], noise, values["library_c"])
        else:
            nll = oracles.normal_nll(eta, values["x_cg"], noise)
        assert float(getattr(terms, name)) == pytest.approx(nll.sum() / N, rel=1e-6)
    assert float(terms.kl_cells) == pytest.approx(oracles.gaussian_kl(z, z_sd).mean(), rel=1e-6)
    assert float(terms.kl_features) == pytest.approx(oracles.gaussian_kl(v, v_sd).mean(), rel=1e-6)


def test_loss_weighs_each_term():
    terms = Terms(*(torch.tensor(value) for value in (100.0, 10.0, 7.0, 50.0)))
    assert float(terms.loss(Weights(kl_cells=1.0, kl_features=0.0, gamma=0.0))) == 110.0
    assert float(terms.loss(Weights(kl_cells=0.5, kl_features=3.0, gamma=0.1))) == pytest.approx(100 + 5 + 21 + 5)
    assert terms.as_floats() == {"nll": 100.0, "kl_cells": 10.0, "kl_features": 7.0, "nll_linear": 50.0}


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_bound_scale_without_gamma_is_the_evidence_bound(rng, likelihood):
    """N times the loss is -log p(x | z, v) + KL of every cell + KL of every gene."""
    module, values = make_module(likelihood, n_design=2), data(rng, likelihood)
    terms = module(make_block(**values))
    whole = N * terms.nll + N * terms.kl_cells + G * terms.kl_features
    loss = terms.loss(Weights(kl_cells=1.0, kl_features=G / N, gamma=0.0))
    assert float(N * loss) == pytest.approx(float(whole), rel=1e-12)


@pytest.mark.parametrize("decoder", ["residual", "published"])
def test_gamma_reaches_loss_and_gradients(rng, decoder):
    """E-1: the published tutorial sets gamma and never passes it on."""
    module, values = make_module(n_design=2, decoder=decoder, grad=True), data(rng, "normal")
    gradients, losses = [], []
    for gamma in (0.0, 0.05, 1.0):
        module.zero_grad()
        loss = module(make_block(**values)).loss(Weights(1.0, 1.0, gamma))
        loss.backward()
        losses.append(loss.item())
        gradients.append(
            [t.grad.clone() for t in (module.cell_tower.skip_pk, module.feature_tower.skip_pk, module.bias_g)]
        )
    terms = module(make_block(**values))
    assert losses[2] - losses[0] == pytest.approx(terms.nll_linear.item(), rel=1e-9)
    assert losses[1] - losses[0] == pytest.approx(0.05 * terms.nll_linear.item(), rel=1e-9)
    for without, some, much in zip(*gradients, strict=True):
        assert (without - some).abs().max() > 1e-4
        torch.testing.assert_close(some - without, 0.05 * (much - without))


def test_gamma_zero_skips_the_linear_term(rng, monkeypatch):
    module, values = make_module(n_design=2), data(rng, "normal")
    asked = []
    nll = type(module.likelihood).nll
    monkeypatch.setattr(
        type(module.likelihood), "nll", lambda self, etas, *rest: asked.append(len(etas)) or nll(self, etas, *rest)
    )
    with_it, without = module(make_block(**values)), module(make_block(**values), linear=False)
    assert asked == [2, 1]
    assert float(without.nll_linear) == 0.0
    assert float(with_it.nll) == float(without.nll)


@settings(max_examples=40, deadline=None)
@given(
    likelihood=st.sampled_from(["normal", "nb"]),
    n=st.integers(2, 9),
    g=st.integers(3, 8),
    cell_size=st.integers(1, 10),
    gene_size=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_block_estimate_is_unbiased(likelihood, n, g, cell_size, gene_size, seed):
    """The mean over every pair of a cell block and a gene block is the loss of the whole, uneven blocks too."""
    rng = np.random.default_rng(seed)
    module, values = make_module(likelihood, n_genes=g, n_design=2, seed=seed), data(rng, likelihood, n, g)
    weights = Weights(kl_cells=0.7, kl_features=1.3, gamma=0.4)
    cell_blocks, gene_blocks = partition(n, cell_size, rng), partition(g, gene_size, rng)
    losses = [
        float(
            module(
                make_block(
                    **values,
                    cells=cells,
                    genes=genes,
                    cell_weight=len(cell_blocks) / n,
                    gene_weight=len(gene_blocks) / g,
                )
            ).loss(weights)
        )
        for cells in cell_blocks
        for genes in gene_blocks
    ]
    whole = float(module(make_block(**values)).loss(weights))
    assert np.mean(losses) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(("n", "size"), [(10, 3), (12, 4), (5, 9)])
def test_weights_of_the_loop_are_inverse_inclusion_probabilities(n, size):
    order = Order(n, size, seed=0, purpose="cells")
    blocks = [order.block(step) for step in range(1, 1 + -(-n // size))]
    assert {weight for _, weight in blocks} == {len(blocks) / n}
    assert sorted(np.concatenate([block for block, _ in blocks])) == list(range(n))
