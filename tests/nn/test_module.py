"""The module against NumPy, entry by entry."""

import numpy as np
import oracles
import pytest
import torch
from builders import make_block, make_module

from sivae.nn._masked import Hidden
from sivae.nn._module import Posterior, _with_hidden

N, G, B = 6, 7, 2


@pytest.fixture
def cells(rng):
    return rng.normal(size=(N, G)), rng.normal(size=(N, B))


@pytest.mark.parametrize("decode_covariates", [True, False])
@pytest.mark.parametrize("likelihood", ["normal", "nb"])
@pytest.mark.parametrize("decoder", ["residual", "published"])
def test_predictor(rng, decoder, likelihood, decode_covariates):
    module = make_module(likelihood, n_design=B, decoder=decoder, decode_covariates=decode_covariates)
    z, v, design, genes = rng.normal(size=(N, 2)), rng.normal(size=(3, 2)), rng.normal(size=(N, B)), [5, 0, 3]
    found = module.predict(*(torch.tensor(a) for a in (z, v, design, genes)))
    for eta, expected in zip(found, oracles.predict(module, z, v, design, genes), strict=True):
        np.testing.assert_allclose(eta.detach(), expected, rtol=1e-10)


def test_published_predictor_is_bias_and_product_alone(rng):
    module = make_module(decoder="published")
    z, v = torch.tensor(rng.normal(size=(N, 2))), torch.tensor(rng.normal(size=(G, 2)))
    with torch.no_grad():
        module.scale_g.fill_(1.0)
        eta, _ = module.predict(z, v, torch.zeros(N, 0, dtype=torch.float64), torch.arange(G))
        product = module.cell_tower.decode(z) @ module.feature_tower.decode(v).T
    np.testing.assert_allclose(eta, module.bias_g.detach() + product, rtol=1e-12)


@pytest.mark.parametrize("sizes", [{}, {"layer_norm": False}, {"linear_features": False}, {"encode_covariates": True}])
def test_encoders(cells, sizes):
    module = make_module(n_design=B, **sizes)
    module.cell_tower.input_scale.fill_(0.7)
    x, design = cells
    seen = design if module.architecture.encode_covariates else None
    q_z = module.encode_cells(torch.tensor(x), torch.tensor(design))
    q_v = module.encode_features(module.profile_gq)
    for found, (mean, sd) in (
        (q_z, oracles.encode(module.cell_tower, oracles.without_covariates(module, x, design), seen)),
        (q_v, oracles.encode(module.feature_tower, module.profile_gq.numpy())),
    ):
        np.testing.assert_allclose(found.mean_rk.detach(), mean, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.sd_rk.detach(), sd, rtol=1e-6)


def test_shapes():
    module = make_module(n_latent=3, n_genes=G, n_joint=4)
    assert module.cell_tower.decode(torch.zeros(5, 3, dtype=torch.float64)).shape == (5, 4)
    assert module.feature_tower.decode(torch.zeros(G, 3, dtype=torch.float64)).shape == (G, 4)
    q_v = module.encode_features(module.profile_gq)
    assert q_v.mean_rk.shape == q_v.sd_rk.shape == (G, 3)
    full, linear = module.predict(
        torch.zeros(5, 3, dtype=torch.float64),
        q_v.mean_rk[:2],
        torch.zeros(5, 0, dtype=torch.float64),
        torch.tensor([1, 4]),
    )
    assert full.shape == linear.shape == (5, 2)


def test_last_layer_of_the_decoders_is_linear():
    """The joint layer takes negative values too."""
    module = make_module()
    joint = module.cell_tower.decode(
        torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )
    assert (joint < 0).any()


def test_a_cell_is_encoded_from_all_genes_whatever_the_genes_of_the_block(cells):
    module, (x, design) = make_module(n_design=B), cells
    some = module(make_block(x, design_cb=design, genes=[1, 2]))
    every = module(make_block(x, design_cb=design))
    assert float(some.kl_cells) == pytest.approx(float(every.kl_cells), rel=1e-12)


@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.5, 0.9999999])
@pytest.mark.parametrize("shape", [(301, 503), (2, 3)])
def test_the_mask_of_hidden_genes_is_independent_and_of_its_rate(rate, shape):
    draws = 1 if shape[0] > 2 else 2000
    generator = torch.Generator().manual_seed(0)
    x_cg = 1 + torch.arange(shape[0] * shape[1], dtype=torch.float32).view(shape).T.contiguous().T  # any strides
    found = np.stack([_with_hidden(x_cg, rate, generator).numpy() for _ in range(draws)])
    assert np.isin(found, [0.0]).sum() + (found == x_cg.numpy()).sum() == found.size
    kept = (found != 0).reshape(draws, -1).astype(float)
    sd = max(rate * (1 - rate), 1e-6) ** 0.5
    for entries in (kept[:, ::2], kept[:, 1::2], kept[: max(1, draws // 2)]):
        assert abs(entries.mean() - (1 - rate)) < 4.5 * sd / entries.size**0.5 + 1e-5
    centred = kept - kept.mean()
    for lag in (1, 2, 3, 4, 5):
        products = centred[:, lag:] * centred[:, :-lag]
        assert abs(products.mean()) < 5 * sd**2 / products.size**0.5 + 1e-7


def test_dropout_only_in_training(cells):
    module, (x, design) = make_module(n_design=B, input_dropout=0.5), [torch.tensor(a) for a in cells]
    module = module.eval()

    def mean(generator):
        return module.encode_cells(x, design, generator).mean_rk.detach().numpy()

    seeded = [torch.Generator().manual_seed(1) for _ in range(3)]
    np.testing.assert_array_equal(mean(None), mean(seeded[0]))
    module.train()
    np.testing.assert_array_equal(mean(None), module.eval().encode_cells(x, design).mean_rk.detach().numpy())
    module.train()
    assert np.abs(mean(seeded[1]) - mean(None)).max() > 1e-3
    with torch.no_grad():
        module.cell_tower.encoder.layers[-1].weight.zero_()
    np.testing.assert_array_equal(mean(seeded[2]), mean(None))  # the linear part sees every gene


def test_a_draw_has_the_posteriors_mean_and_sd():
    posterior = Posterior(torch.tensor([[1.0, -2.0]]).expand(100_000, 2), torch.tensor([[0.5, 2.0]]).expand(100_000, 2))
    assert posterior.sample(None) is posterior.mean_rk
    draws = [posterior.sample(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    np.testing.assert_allclose(draws[0].mean(dim=0), [1, -2], atol=0.03)
    np.testing.assert_allclose(draws[0].std(dim=0), [0.5, 2], rtol=0.02)


@pytest.mark.parametrize(
    "sizes", [{}, {"layer_norm": False}, {"cell_encoder": (5, 4)}, {"cell_encoder": ()}, {"encode_covariates": True}]
)
def test_hiding_a_gene_is_putting_it_at_its_mean(cells, sizes):
    """The rank-one shortcut equals encoding the cell once more for every gene."""
    module, (x, design) = make_module(n_design=B, **sizes), cells
    module.cell_tower.input_scale.fill_(0.7)
    genes = [4, 0]
    x, design = torch.tensor(x), torch.tensor(design)
    hidden = Hidden(module, [(x[:3], design[:3], None), (x[3:], design[3:], None)])
    found, x, design = hidden.without(torch.tensor(genes), x[:, genes], design), x.numpy(), design.numpy()
    for f, gene in enumerate(genes):
        hidden = x.copy()
        hidden[:, gene] = design @ module.shift_bg[:, gene].detach().numpy()
        expected = module.encode_cells(torch.tensor(hidden), torch.tensor(design)).mean_rk.detach()
        np.testing.assert_allclose(found[f], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("sizes", [{}, {"cell_encoder": ()}, {"encode_covariates": True}])
def test_hiding_a_gene_can_move_the_others_along(cells, rng, sizes):
    """As encoding anew with all other values moved by the gene's own step along a slope."""
    module, (x, design) = make_module(n_design=B, **sizes), cells
    module.cell_tower.input_scale.fill_(0.7)
    genes, slope, shift = [4, 0], rng.normal(size=(N, G)), rng.normal(size=(2, N))
    found = Hidden(module, [(torch.tensor(x), torch.tensor(design), torch.tensor(slope))]).without(
        torch.tensor(genes),
        torch.tensor(x[:, genes]),
        torch.tensor(design),
        slope_cf=torch.tensor(slope[:, genes]),
        shift_fc=torch.tensor(shift),
    )
    for f, gene in enumerate(genes):
        moved = x + shift[f][:, None] * slope
        moved[:, gene] = design @ module.shift_bg[:, gene].detach().numpy()
        expected = module.encode_cells(torch.tensor(moved), torch.tensor(design)).mean_rk.detach()
        np.testing.assert_allclose(found[f], expected, rtol=1e-6, atol=1e-9)


def test_a_closed_axis_costs_nothing_and_tells_nothing(cells):
    """Its posterior is the prior for cells and genes, and no predictor reads it."""
    module, (x, design) = make_module(n_design=B), cells
    x, design, genes = torch.tensor(x), torch.tensor(design), torch.arange(module.bias_g.shape[0])
    with torch.no_grad():
        module.used_k.copy_(torch.tensor([1.0, 0.0]))
        for posterior in (module.encode_cells(x, design), module.encode_features(module.profile_gq)):
            assert (posterior.mean_rk[:, 1] == 0).all()
            assert (posterior.sd_rk[:, 1] == 1).all()
            assert posterior.mean_rk[:, 0].abs().max() > 0
        z, v = torch.randn(len(x), 2).double(), torch.randn(len(genes), 2).double()
        before = module.predict(z, v, design, genes)
        z[:, 1] += 5.0
        v[:, 1] -= 3.0
        for one, other in zip(before, module.predict(z, v, design, genes), strict=True):
            assert torch.equal(one, other)
