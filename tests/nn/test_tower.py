"""The perceptron of a tower: scaled rows, and products of bfloat16 numbers."""

import numpy as np
import pytest
import torch

from sivae.nn._tower import Mlp, Tower, mixed_precision


def made(widths=(7, 5, 3), **kwargs):
    return Mlp(widths, generator=torch.Generator().manual_seed(0), **kwargs)


@pytest.mark.parametrize("widths", [(7, 5, 3), (7, 3)])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_scale_multiplies_the_row(rng, widths, layer_norm):
    mlp, x = made(widths, layer_norm=layer_norm).double(), torch.tensor(rng.normal(size=(11, 7)))
    scale = torch.tensor(0.3, dtype=torch.float64)
    with torch.no_grad():
        mlp.layers[0].bias += 0.7
        torch.testing.assert_close(mlp(x, scale), mlp(x * scale))
        assert layer_norm or float((mlp(x, scale) - mlp(x)).abs().max()) > 0.01  # a norm takes most of a scale away


def test_covariates_are_not_scaled(rng):
    tower = Tower(
        6, n_latent=2, encoder=(5,), decoder=(3,), generator=torch.Generator().manual_seed(0), n_encoded_covariates=2
    ).double()
    with torch.no_grad():
        tower.input_scale.fill_(0.2)
        tower.encoder.layers[-1].weight.normal_(generator=torch.Generator().manual_seed(1))
        tower.skip_pk.normal_(generator=torch.Generator().manual_seed(2))
    x, design = (torch.tensor(rng.normal(size=(9, width))) for width in (6, 2))
    mean, sd = (part.detach().numpy() for part in tower.encode(x, covariates_rb=design))
    row, hidden, last = np.hstack([0.2 * x.numpy(), design.numpy()]), *tower.encoder.layers
    output = np.maximum(row @ hidden.weight.detach().numpy().T, 0) @ last.weight.detach().numpy().T
    np.testing.assert_allclose(mean, x.numpy() @ tower.skip_pk.detach().numpy() + output[:, :2], rtol=1e-12)
    np.testing.assert_allclose(sd, np.exp(output[:, 2:].clip(-7, 1)), rtol=1e-12)


def test_mixed_precision_rounds_products_alone(rng):
    tower = Tower(200, n_latent=3, encoder=(64,), decoder=(16,), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(rng.normal(size=(50, 200)), dtype=torch.float32)
    with torch.no_grad():
        tower.encoder.layers[-1].weight.normal_(generator=torch.Generator().manual_seed(1))
        tower.skip_pk.normal_(generator=torch.Generator().manual_seed(2))
    exact = tower.encoder(x)
    with mixed_precision(tower, on=True):
        rounded, (mean, sd) = tower.encoder(x), tower.encode(x)
        torch.log(sd).sum().backward()
    assert rounded.dtype == mean.dtype == sd.dtype == torch.float32
    assert all(p.grad.dtype == torch.float32 for p in tower.encoder.parameters())
    apart = float((rounded - exact).detach().abs().max() / exact.detach().abs().max())
    assert 1e-5 < apart < 0.03  # eight bits
    torch.testing.assert_close(mean - rounded[:, :3], tower.encode(x)[0] - exact[:, :3])  # the linear map is exact
    torch.testing.assert_close(tower.encoder(x), exact, rtol=0, atol=0)  # outside the context nothing is rounded
    with mixed_precision(tower, on=False):
        torch.testing.assert_close(tower.encoder(x), exact, rtol=0, atol=0)
