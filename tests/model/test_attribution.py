"""Attributions equal finite differences, linear cases, their own axioms, and captum's where it has them too."""

import itertools
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from builders import SMALL, make_module, train
from torch import nn

from sivae import Architecture, SiVAE
from sivae._errors import MissingExtraError, OptionError
from sivae.datasets import planted
from sivae.model import _attribution
from sivae.model._attribution import METHODS, Options, attribute, jacobian
from sivae.model._networks import DecoderNetwork, EncoderNetwork, HeldNorm, RescaledNorm
from sivae.model._predict import encode

COMPARING = ("integrated_gradients", "deeplift", "shapley", "occlusion")
COMPLETE = ("integrated_gradients", "deeplift", "shapley")


def encoder(method="gradient", **sizes):
    """A random encoder of 6 genes and 2 covariate columns, 3 axes, double precision."""
    module = make_module(n_genes=6, n_latent=3, n_design=2, encode_covariates=True, **sizes)
    norm = {"lrp": HeldNorm, "deeplift": RescaledNorm}.get(method, nn.LayerNorm)
    return EncoderNetwork(module, torch.eye(3, dtype=torch.float64), norm).eval()


def cells(n=5, seed=1, g=6, b=2):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, w, generator=generator, dtype=torch.float64) for w in (g, b))


def zeroed(module):
    with torch.no_grad():
        module.cell_tower.encoder.layers[-1].weight.zero_()
        module.cell_tower.encoder.layers[-1].bias.zero_()
    return module


# ------------------------------------------------------------------------------------------------------ derivatives


def test_both_modes_equal_finite_differences():
    net, (x, design) = encoder(cell_encoder=(5, 4)), cells()
    forward = jacobian(net, x, design, range(3), mode="forward")
    reverse = jacobian(net, x, design, range(3), mode="reverse")
    step = 1e-6
    for i in range(6):
        shift = torch.zeros(6, dtype=torch.float64)
        shift[i] = step
        slope = (net(x + shift, design) - net(x - shift, design)) / (2 * step)
        np.testing.assert_allclose(forward[:, :, i], slope, atol=1e-7)
    np.testing.assert_allclose(forward, reverse, atol=1e-12)


def test_some_outputs_are_those_of_all():
    net, (x, design) = encoder(), cells()
    whole = jacobian(net, x, design, range(3))
    for mode in ("forward", "reverse"):
        np.testing.assert_allclose(jacobian(net, x, design, range(1, 3), mode=mode), whole[:, 1:], atol=1e-12)


# ------------------------------------------------------------------------------------------------------- linear case


@pytest.mark.parametrize("method", METHODS)
def test_linear_encoder(method):
    """With the perceptron zeroed z = x . skip: every method has its closed form."""
    module = zeroed(make_module(n_genes=6, n_latent=3))
    norm = {"lrp": HeldNorm, "deeplift": RescaledNorm}.get(method, nn.LayerNorm)
    net = EncoderNetwork(module, torch.eye(3, dtype=torch.float64), norm).eval()
    x, design = cells(b=0)
    reference = torch.linspace(-1, 1, 6, dtype=torch.float64)
    found = attribute(net, x, design, range(3), reference, Options(method))
    skip_kg = module.cell_tower.skip_pk.T[None].expand(5, -1, -1)
    if method in ("gradient", "saliency"):  # saliency becomes absolute where genes are known
        expected = skip_kg
    else:
        expected = skip_kg * (x - reference if method in COMPARING else x)[:, None, :]
    np.testing.assert_allclose(found, expected, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------ axioms


@pytest.mark.parametrize("method", COMPLETE)
@pytest.mark.parametrize("layer_norm", [False, True])
def test_shares_add_up_to_the_difference(method, layer_norm):
    """Integrated gradients of a ReLU network have kinks on the way, so that more points are nearer."""
    net, (x, design) = encoder(method, layer_norm=layer_norm, cell_encoder=(5, 4)), cells()
    plain = encoder(layer_norm=layer_norm, cell_encoder=(5, 4))
    reference = torch.full((6,), -0.5, dtype=torch.float64)
    found = attribute(net, x, design, range(3), reference, Options(method, n_steps=1000))
    expected = plain(x, design) - plain(reference.expand(5, 6), design)
    np.testing.assert_allclose(found.sum(dim=2), expected, atol=3e-3 if method == "integrated_gradients" else 1e-5)


def test_integrated_gradients_are_those_of_captum():
    captum = pytest.importorskip("captum.attr")
    net, (x, design) = encoder(), cells()
    reference = torch.full((6,), -0.5, dtype=torch.float64)
    found = attribute(net, x, design, range(3), reference, Options("integrated_gradients", n_steps=40))
    for axis in range(3):
        expected = captum.IntegratedGradients(net).attribute(
            x, reference[None], target=axis, additional_forward_args=(design,), n_steps=40
        )
        np.testing.assert_allclose(found[:, axis], expected, atol=1e-7)


def test_shapley_values_near_those_over_all_orders():
    """Sampling against the mean over all 24 orders of four inputs."""
    module = make_module(n_genes=4, n_latent=2, cell_encoder=(5,))
    net = EncoderNetwork(module, torch.eye(2, dtype=torch.float64)).eval()
    x, design = cells(3, g=4, b=0)
    reference = torch.zeros(4, dtype=torch.float64)
    exact = torch.zeros(3, 2, 4, dtype=torch.float64)
    orders = list(itertools.permutations(range(4)))
    for order in orders:
        at, before = reference.expand(3, 4).clone(), net(reference.expand(3, 4), design)
        for i in order:
            at[:, i] = x[:, i]
            after = net(at, design)
            exact[:, :, i] += (after - before) / len(orders)
            before = after
    found = attribute(net, x, design, range(2), reference, Options("shapley", n_permutations=400))
    np.testing.assert_allclose(found, exact, atol=0.1 * float(exact.abs().max()))
    one = attribute(net, x, design, range(2), reference, Options("shapley", n_permutations=1))
    assert (found - exact).abs().max() < 0.5 * (one - exact).abs().max()


def test_shapley_leaves_the_global_generator_alone():
    net, (x, design) = encoder(), cells()
    before = torch.get_rng_state()
    options = (net, x, design, range(3), torch.zeros(6, dtype=torch.float64))
    first, again = (attribute(*options, Options("shapley", seed=4)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, attribute(*options, Options("shapley", seed=5)))


def test_occlusion_takes_one_gene_at_a_time():
    net, (x, design) = encoder(), cells()
    reference = torch.linspace(-1, 1, 6, dtype=torch.float64)
    found = attribute(net, x, design, range(3), reference, Options("occlusion"))
    for i in range(6):
        without = x.clone()
        without[:, i] = reference[i]
        np.testing.assert_allclose(found[:, :, i], net(x, design) - net(without, design), atol=1e-6)


def test_steps_orders_and_reference_matter():
    """E-8: no option is ignored."""
    net, (x, design) = encoder(), cells()
    zero, one = torch.zeros(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64)
    pairs = [
        (Options("integrated_gradients", n_steps=1), Options("integrated_gradients", n_steps=50)),
        (Options("shapley", n_permutations=1), Options("shapley", n_permutations=20)),
    ]
    for first, second in pairs:
        found = [attribute(net, x, design, range(3), zero, how) for how in (first, second)]
        assert (found[0] - found[1]).abs().max() > 1e-3
    for method in COMPARING:
        tested = encoder(method)
        found = [attribute(tested, x, design, range(3), reference, Options(method)) for reference in (zero, one)]
        assert (found[0] - found[1]).abs().max() > 1e-3


def test_references_are_the_papers(normal_model):
    expression = normal_model._state.reader.read(normal_model.adata[:12])
    lowest = expression.standardised(slice(None)).min(axis=0)
    for method in COMPARING:
        for baseline, expected in (
            ("auto", 0.0 if method == "shapley" else lowest), ("zero", 0.0), ("minimum", lowest),
        ):  # fmt: skip
            found = _attribution._reference(expression, "encoder", Options(method, baseline))
            np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape).astype(np.float32))
        assert not Options(method).lowest("decoder")


def relevance(x_i, module, axis, eps=1e-12):
    """Epsilon rule by hand, one cell: layer by layer from the axis down; a norm passes relevance in its own shares."""
    tower = module.cell_tower
    weights = [(layer.weight.numpy(), layer.bias.numpy()) for layer in tower.encoder.layers]
    inputs, norms = [x_i], []
    for (weight, bias), norm in zip(weights[:-1], tower.encoder.norms, strict=True):
        a = weight @ inputs[-1] + bias
        divisor = 1 / np.sqrt(a.var() + norm.eps)
        y = (a - a.mean()) * divisor * norm.weight.numpy() + norm.bias.numpy()
        norms.append((a, y, divisor * norm.weight.numpy()))
        inputs.append(np.maximum(y, 0))
    skip = tower.skip_pk.numpy()[:, axis]
    out = weights[-1][0][axis] @ inputs[-1] + weights[-1][1][axis]
    total = x_i @ skip + out
    message = total * out / total  # the perceptron's share; the rest goes to the skip
    relevant = inputs[-1] * weights[-1][0][axis] / (out + eps * np.sign(out)) * message
    for (a, y, slope), (weight, _), source in zip(norms[::-1], weights[-2::-1], inputs[-2::-1], strict=True):
        center = np.eye(len(a)) - 1 / len(a)
        relevant = a * (((slope[:, None] * center) / (y + eps * np.sign(y))[:, None]).T @ relevant)
        relevant = source * ((weight / (a + eps * np.sign(a))[:, None]).T @ relevant)
    return x_i * skip + relevant


def test_lrp_is_the_epsilon_rule():
    module = make_module(n_genes=6, n_latent=3, cell_encoder=(5, 4))
    with torch.no_grad():
        module.cell_tower.input_scale.fill_(1.0)
    net = EncoderNetwork(module, torch.eye(3, dtype=torch.float64), HeldNorm).eval()
    x, design = cells(b=0)
    found = attribute(net, x, design, range(3), torch.zeros(6, dtype=torch.float64), Options("lrp"))
    for c, axis in itertools.product(range(5), range(3)):
        np.testing.assert_allclose(found[c, axis], relevance(x[c].numpy(), module, axis), atol=1e-8)


def test_lrp_of_a_decoder_is_that_of_captum():
    captum = pytest.importorskip("captum.attr")
    module = make_module(n_latent=3, cell_decoder=(5, 4), n_joint=3)
    net = DecoderNetwork(module, torch.eye(3, dtype=torch.float64)).eval()
    z, design = cells(g=3, b=0)
    found = attribute(net, z, design, range(3), torch.zeros(3, dtype=torch.float64), Options("lrp"))
    for unit in range(3):
        expected = captum.LRP(net.perceptron).attribute(z.clone().requires_grad_(), target=unit)
        np.testing.assert_allclose(found[:, unit], expected.detach(), atol=1e-6)


# ----------------------------------------------------------------------------------------------------- a trained model


class Genes(nn.Module):
    """(eta - constant) / s of every gene, as a network of its own, from the module's own predictor."""

    def __init__(self, model):
        super().__init__()
        state, module = model._state, model._module
        turn = torch.from_numpy(state.rotation_kk).float()
        self.joint, self.module = DecoderNetwork(module, turn).eval(), module
        self.register_buffer("back_kk", turn.T)
        with torch.no_grad():
            v_gk = module.encode_features(module.profile_gq).mean_rk
            self.register_buffer("v_gk", v_gk * (1.0 if module.residual else 0.0))
            self.register_buffer("w_gd", module.feature_tower.decode(v_gk * module.used_k))

    def forward(self, z_ck, design_cb):
        z = (z_ck @ self.back_kk) * self.module.used_k
        product = z @ self.v_gk.T + self.joint(z_ck, design_cb) @ self.w_gd.T
        gained = design_cb.shape[1] and not self.module.likelihood.counts
        return product * torch.exp(design_cb @ self.module.log_gain_bg) if gained else product


def gene_by_gene(model, method, n=12, baseline="auto"):
    """Attributions (cells, genes, axes) of each gene's predictor on its own."""
    expression = model._state.reader.read(model.adata[:n])
    z = torch.from_numpy((encode(model._module, expression)[0] @ model._state.rotation_kk).astype(np.float32))
    reference = z.min(dim=0).values if baseline == "minimum" else torch.zeros(z.shape[1])
    design = torch.from_numpy(expression.design_nb)
    genes = range(expression.shape[1])
    return attribute(Genes(model), z, design, genes, reference, Options(method)).numpy(), expression


@pytest.fixture(scope="module")
def published(_planted_counts):
    model = SiVAE(_planted_counts, n_latent=3, decoder="published", n_profile=20, architecture=SMALL, seed=1)
    train(model, max_steps=80, learning_rate=0.01, average_decay=0.5)
    return model


@pytest.mark.parametrize("which", ["normal_model", "nb_model", "published"])
@pytest.mark.parametrize("method", METHODS)
def test_decoder_in_closed_form_is_gene_by_gene(which, method, request):
    model = request.getfixturevalue(which)
    model.rotate("varimax")
    expected, expression = gene_by_gene(model, method)
    if method == "saliency":
        expected = np.abs(expected)
    found = dict(model.get_attributions(indices=range(12), side="decoder", method=method))
    size = np.abs(expected).max()
    for axis, table in enumerate(found.values()):
        np.testing.assert_allclose(
            table[list(model._state.reader.genes)], expected[:, :, axis], atol=2e-5 * max(size, 1.0), err_msg=str(axis)
        )
    model.rotate("none")


def test_the_predictor_of_the_test_is_the_modules(normal_model):
    """`Genes` above equals the module's predictor without its constant, over s."""
    module, expression = normal_model._module, normal_model._state.reader.read(normal_model.adata[:20])
    z = torch.from_numpy(encode(module, expression)[0])
    design, genes = torch.from_numpy(expression.design_nb), torch.arange(expression.shape[1])
    with torch.no_grad():
        v = module.encode_features(module.profile_gq).mean_rk
        eta = module.predict(z, v, design, genes)[0] - module.bias_g - design @ module.offset_gb.T
        np.testing.assert_allclose(Genes(normal_model)(z, design), eta / module.scale_g, atol=1e-5)


def test_decoder_reference_of_lowest_values(normal_model):
    expected, _ = gene_by_gene(normal_model, "occlusion", baseline="minimum")
    tables = dict(
        normal_model.get_attributions(indices=range(12), side="decoder", method="occlusion", baseline="minimum")
    )
    found = np.stack([t[list(normal_model._state.reader.genes)] for t in tables.values()], axis=2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_encoder_runs_with_batches_and_rotation(model, method):
    """E-16: with covariates. Complete methods add up to the difference of coordinates from the lowest values."""
    model.rotate("varimax")
    rows = list(range(3, 15))
    tables = dict(model.get_attributions(indices=rows, method=method, baseline="minimum"))
    assert list(tables) == ["axis1", "axis2", "axis3"]
    expression = model._state.reader.read(model.adata[rows])
    x, design = (torch.from_numpy(a) for a in (expression.standardised(slice(None)), expression.design_nb))
    with torch.no_grad():
        at = [model._module.encode_cells(v, design).mean_rk for v in (x, x.min(dim=0).values.expand_as(x))]
    expected = ((at[0] - at[1]).numpy() @ model._state.rotation_kk).T
    for (axis, table), change in zip(tables.items(), expected, strict=True):
        assert table.shape == (12, 50)
        assert table.index.equals(model.adata.obs_names[rows])
        assert table.columns.tolist() == model.genes
        assert np.isfinite(table.to_numpy()).all()
        if method in COMPLETE:
            np.testing.assert_allclose(table.sum(axis=1), change, atol=0.02 * np.abs(expected).max(), err_msg=axis)


def test_encoder_gradient_is_what_annotate_writes(model):
    """Their mean over training cells is `varm["X_sivae_encoder"]`, with covariates."""
    model.rotate("varimax")
    adata = model.adata.copy()
    model.annotate(adata)
    rows = np.flatnonzero(adata.obs["sivae_split"] == "train")
    tables = dict(model.get_attributions(indices=rows, method="gradient"))
    found = np.stack([table.mean().to_numpy() for table in tables.values()], axis=1)
    np.testing.assert_allclose(found, adata.varm["X_sivae_encoder"], atol=1e-5)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
@pytest.mark.parametrize("method", ["gradient_x_input", "deeplift", "shapley", "occlusion"])
def test_pieces_change_nothing(normal_model, side, method, monkeypatch):
    whole = dict(normal_model.get_attributions(indices=range(11), side=side, method=method))
    monkeypatch.setattr(_attribution, "CELLS", 4)
    monkeypatch.setattr(_attribution, "ENTRIES", 11 * 50)
    for axis, table in normal_model.get_attributions(indices=range(11), side=side, method=method):
        np.testing.assert_allclose(table, whole[axis], atol=1e-5)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_order_of_cells_and_genes_is_followed(normal_model, rng, side):
    adata = normal_model.adata[:30]
    moved = adata[rng.permutation(30)][:, rng.permutation(adata.n_vars)].copy()
    for method in ("lrp", "shapley"):
        tables = dict(normal_model.get_attributions(adata, side=side, method=method))
        for axis, table in normal_model.get_attributions(moved, side=side, method=method):
            assert table.index.equals(moved.obs_names)
            pd.testing.assert_frame_equal(table.loc[adata.obs_names], tables[axis], atol=1e-5)


@pytest.mark.parametrize("likelihood", ["poisson", "zinb", "bernoulli"])
def test_every_likelihood(counts_adata, likelihood):
    model = SiVAE(counts_adata, n_latent=2, likelihood=likelihood, n_profile=10, architecture=SMALL)
    train(model, max_steps=10)
    for side in ("encoder", "decoder"):
        for method in ("integrated_gradients", "deeplift"):
            for _, table in model.get_attributions(indices=range(6), side=side, method=method):
                assert np.isfinite(table.to_numpy()).all()


def test_covariates_in_the_encoder_and_without_layer_norm():
    adata = planted(80, 30, n_factors=1, counts=False, n_batches=2, batch_effect=0.5)
    SiVAE.setup_anndata(adata, batch_key="batch")
    sizes = Architecture(cell_encoder=(8,), cell_decoder=(8,), encode_covariates=True, layer_norm=False, n_joint=4)
    model = SiVAE(adata, n_latent=2, n_profile=8, architecture=sizes)
    train(model, max_steps=5)
    for side, method in itertools.product(("encoder", "decoder"), METHODS):
        for _, table in model.get_attributions(indices=range(4), side=side, method=method):
            assert np.isfinite(table.to_numpy()).all()


# ------------------------------------------------------------------------------------------------------------ the door


def test_nothing_is_written(normal_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for method in METHODS:
        for side in ("encoder", "decoder"):
            list(normal_model.get_attributions(indices=range(3), side=side, method=method))
    assert list(tmp_path.iterdir()) == []


def test_without_captum(normal_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    for method in METHODS:
        if method in ("deeplift", "shapley", "occlusion"):
            with pytest.raises(MissingExtraError, match=r"captum is not installed.*sivae-tools\[attribution\]"):
                normal_model.get_attributions(indices=range(3), method=method)
        else:
            assert len(list(normal_model.get_attributions(indices=range(3), method=method))) == 3


def test_options_are_checked(normal_model):
    wrong = [
        ({"side": "both"}, "side is 'both'; expected 'encoder' or 'decoder'"),
        ({"method": "shap"}, "method is 'shap'; expected one of: gradient, saliency"),
        ({"baseline": "mean"}, "baseline is 'mean'; expected one of: auto, zero, minimum"),
        ({"n_steps": 0}, "n_steps is 0; expected at least 1"),
        ({"n_permutations": 0}, "n_permutations is 0; expected at least 1"),
    ]
    for options, message in wrong:
        with pytest.raises(OptionError, match=message):
            normal_model.get_attributions(**options)
