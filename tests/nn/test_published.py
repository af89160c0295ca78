"""The published objective, term by term, against plain NumPy and SciPy; what starts where, and what moves."""

import numpy as np
import pytest
import torch
from builders import make_block
from published import make_published
from scipy import stats
from scipy.special import softmax

from sivae._errors import OptionError
from sivae.nn._objective import Weights
from sivae.nn._published_options import PRESETS, PublishedOptions

X = np.random.default_rng(0).normal(size=(9, 7))
COUNTS = np.random.default_rng(1).poisson(3.0, size=(9, 7)).astype(float)
DESIGN = np.random.default_rng(2).normal(size=(9, 2))


def softplus(a):
    return np.log1p(np.exp(a))


class Oracle:
    """The equations of the article, entry by entry."""

    def __init__(self, module, x, design, counts=None, seed=5):
        self.p = {name: value.detach().numpy() for name, value in module.state_dict().items()}
        self.o, self.counts, self.x = module.options, counts, x
        generator = torch.Generator().manual_seed(seed)
        covariates = [design] if design.shape[1] else []
        self.z_mean, self.z_sd, self.z = self.posterior("cell_tower", np.hstack([x, *covariates]), generator)
        self.v_mean, self.v_sd, self.v = self.posterior("feature_tower", module.profile_gq.numpy(), generator)
        self.h_cells = self.decoder("cell_tower", np.hstack([self.z, *covariates]))
        self.h_genes = self.decoder("feature_tower", self.v)
        self.y = self.h_cells[-1]
        self.w = self.h_genes[-1] @ self.p["feature_tower.output.weight"].T + self.p["feature_tower.output.bias"]
        self.b = self.p["bias_g"]

    def layer(self, name, a):
        return a @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def posterior(self, tower, a, generator):
        n = len(self.o.encoder)
        for number in range(n):
            a = np.maximum(self.layer(f"{tower}.encoder.layers.{number}", a), 0)
        out = self.layer(f"{tower}.encoder.layers.{n}", a)
        k = out.shape[1] // 2
        mean, sd = out[:, :k], softplus(out[:, k:]) + 1e-5
        return mean, sd, mean + sd * torch.randn(mean.shape, generator=generator).numpy()

    def decoder(self, tower, a):
        """Hidden layers, ReLU but for the last."""
        names = sorted({n.rsplit(".", 1)[0] for n in self.p if n.startswith(f"{tower}.decoder")})
        found = []
        for number, name in enumerate(names):
            a = self.layer(name, a)
            if number < len(names) - 1:
                a = np.maximum(a, 0)
            found.append(a)
        return found

    def sigma(self):
        head = self.p["dispersion.weight_d"], self.p["dispersion.bias"]
        return softplus(self.y @ head[0] + head[1]) + 1e-5

    def nll(self, left, right):
        total = 0.0
        eta = left @ right.T + self.b
        for c in range(len(eta)):
            for g in range(eta.shape[1]):
                if self.counts is None:
                    total -= stats.norm.logpdf(self.x[c, g], eta[c, g], self.sigma()[c])
                else:
                    mean = self.counts[c].sum() * softmax(eta[c])[g]
                    theta = np.exp(self.p["log_noise_g"][g])
                    total -= stats.nbinom.logpmf(self.counts[c, g], theta, theta / (theta + mean))
        return total / len(eta)

    def linear(self, left, right):
        if self.counts is not None:
            return self.nll(left, right)
        error = self.x - left @ right.T - self.b
        return sum(float((row**2).sum()) for row in error) / len(self.x)

    def kl(self, mean, sd):
        each = [np.log(1 / s) + (s**2 + m**2) / 2 - 0.5 for m, s in zip(mean.ravel(), sd.ravel(), strict=True)]
        return sum(each) / len(mean)

    def penalty(self):
        o, total = self.o, 0.0
        for name, kernel in self.p.items():
            if not name.endswith("weight") and name != "dispersion.weight_d":
                continue
            half = 0.5 * float((kernel**2).sum())
            if name.startswith("cell_tower"):
                latent = name == f"cell_tower.encoder.layers.{len(o.encoder)}.weight"
                total += 0.0 if latent else o.l2_scale * half
            elif name.startswith("feature_tower"):
                latent = name == f"feature_tower.encoder.layers.{len(o.encoder)}.weight"
                scale = o.feature_l2_scale_final if "output" in name else o.feature_l2_scale
                total += 0.0 if latent else scale * half
            elif name.startswith("dispersion"):
                total += o.l2_scale_final * half
        return total


SCALES = {"l2_scale": 0.3, "l2_scale_final": 0.7, "feature_l2_scale": 0.2, "feature_l2_scale_final": 0.5}


@pytest.mark.parametrize("counts", [False, True], ids=["normal", "nb"])
@pytest.mark.parametrize("design", [np.zeros((9, 0)), DESIGN], ids=["plain", "covariates"])
def test_joint_objective_term_by_term(counts, design):
    # E-3: one softmax in every term under counts. E-15: W_s in no term. E-18: bias, draws, linear last layer.
    module = make_published("nb" if counts else "normal", n_design=design.shape[1], **SCALES)
    library = COUNTS.sum(axis=1)
    block = make_block(X, COUNTS if counts else None, design_cb=design, library_c=library if counts else None)
    oracle = Oracle(module, X, design, COUNTS if counts else None)
    terms = module.joint(block, torch.Generator().manual_seed(5), hidden=True)
    pairs = list(zip(oracle.h_cells[:-1], oracle.h_genes, strict=True))
    expected = {
        "nll": oracle.nll(oracle.y, oracle.w),
        "kl_cells": oracle.kl(oracle.z_mean, oracle.z_sd),
        "kl_features": oracle.kl(oracle.v_mean, oracle.v_sd),
        "nll_linear": oracle.linear(oracle.z, oracle.v),
        "nll_hidden": sum(oracle.linear(left, right) for left, right in pairs),
        "penalty": oracle.penalty(),
    }
    found = terms.as_floats()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name
    if not counts:
        assert found["squared_error"] == pytest.approx(oracle.linear(oracle.y, oracle.w), rel=1e-5)
    loss = terms.loss(Weights(0.25, 0.5, 0.05), 0.1).item()
    e = expected
    total = e["nll"] + 0.25 * e["kl_cells"] + 0.5 * e["kl_features"] + 0.05 * e["nll_linear"] + 0.1 * e["nll_hidden"]
    assert loss == pytest.approx(total + e["penalty"], rel=1e-5)


def test_linear_term_under_counts_shares_the_library_out():
    # E-3: a second softmax would flatten or sharpen the shares.
    module = make_published("nb")
    shares = module.predictor(torch.randn(4, 2).double(), torch.randn(7, 2).double()).exp()
    assert torch.allclose(shares.sum(dim=1), torch.ones(4).double())


def test_cell_phase_against_the_same_equations():
    module = make_published(l2_scale=0.3, l2_scale_final=0.7)
    block, generator = make_block(X), torch.Generator().manual_seed(5)
    found, oracle = module.cells(block, generator).as_floats(), Oracle(module, X, np.zeros((9, 0)))
    kernel = oracle.p["start_gd.weight"]
    assert found["nll"] == pytest.approx(oracle.nll(oracle.y, kernel), rel=1e-5)
    assert found["kl_cells"] == pytest.approx(oracle.kl(oracle.z_mean, oracle.z_sd), rel=1e-5)
    assert found["kl_features"] == found["nll_linear"] == 0
    assert found["penalty"] == pytest.approx(_cell_penalty(oracle) + 0.35 * (kernel**2).sum(), rel=1e-5)


def _cell_penalty(oracle):
    names = [f"cell_tower.encoder.layers.{i}.weight" for i in range(2)]
    names += [f"cell_tower.decoder.layers.{i}.weight" for i in range(3)]
    hidden = sum(0.15 * (oracle.p[name] ** 2).sum() for name in names)
    return hidden + 0.35 * (oracle.p["dispersion.weight_d"] ** 2).sum()


def test_gene_phase_is_a_gaussian_of_the_target_with_a_sigma_per_gene():
    module = make_published(feature_l2_scale=0.0)
    target = torch.randn(7, 4).double()
    noise = torch.randn((7, 2), generator=torch.Generator().manual_seed(3)).double()
    found = module.genes(torch.arange(7), target, torch.Generator().manual_seed(3))
    q = module.encode_features(module.profile_gq)
    last = module.feature_tower.decoder(q.mean_rk + q.sd_rk * noise)
    sigma = softplus(module.target_head(last).detach().numpy()) + 1e-5
    mean = module.feature_tower.output(last).detach().numpy()
    nll = -stats.norm.logpdf(target.numpy(), mean, sigma).sum(axis=1).mean()
    assert found.nll.item() == pytest.approx(nll, rel=1e-6)
    assert found.kl_cells.item() == found.penalty.item() == 0


def test_l1_takes_the_place_of_l2_where_it_is_larger():
    module = make_published(l1_scale=0.4, l2_scale=0.1, l2_scale_final=0.0)
    kernels = [layer.weight for layer in [*module.cell_tower.encoder.layers[:-1], *module.cell_tower.decoder.layers]]
    expected = 0.4 * sum(kernel.abs().sum().item() for kernel in kernels)
    assert module.cell_penalty(start=False).item() == pytest.approx(expected)


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
@pytest.mark.parametrize("phase", ["cells", "genes", "joint"])
def test_a_phase_moves_all_that_it_trains_and_nothing_else(likelihood, phase):
    # E-15: no unused parameter in a phase's loss.
    module = make_published(likelihood, **SCALES, decoder=(8, 9, 4), encoder=(9, 8))
    block = make_block(X, COUNTS if likelihood == "nb" else None, library_c=COUNTS.sum(axis=1))
    noise = torch.Generator().manual_seed(0)
    if phase == "genes":
        terms = module.genes(torch.arange(7), torch.randn(7, 4).double(), noise)
    else:
        terms = getattr(module, phase)(block, noise)
    terms.loss(Weights(1.0, 1.0, 0.05), 0.0).backward()
    trained = {id(p) for p in module.trained_in(phase)}
    for name, parameter in module.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert moved == (id(parameter) in trained), name


def test_gamma_reaches_the_loss_and_its_gradient():
    # E-1: set but never reaching the loss.
    module, block = make_published(), make_block(X)
    seen = []
    for gamma in (0.0, 0.05):
        module.zero_grad()
        loss = module.joint(block, torch.Generator().manual_seed(1)).loss(Weights(1, 1, gamma), 0.0)
        loss.backward()
        seen.append((loss.item(), module.feature_tower.encoder.layers[0].weight.grad.clone()))
    assert seen[0][0] < seen[1][0]
    assert not torch.allclose(seen[0][1], seen[1][1])


def test_sds_start_at_softplus_of_zero_and_means_by_glorot():
    options = PublishedOptions()
    module = make_published(n_genes=40, n_profile=50, encoder=options.encoder, decoder=options.decoder)
    fresh = type(module)(
        torch.randn(40, 50), n_latent=2, n_design=0, likelihood=module.likelihood, options=options,
        generator=torch.Generator().manual_seed(0), dispersion="cell",
    )  # fmt: skip
    q = fresh.encode_cells(torch.randn(5, 40), torch.zeros(5, 0))
    assert torch.allclose(q.sd_rk, torch.full((5, 2), float(np.log(2) + 1e-5)))
    noise = fresh.log_noise(q.mean_rk, torch.zeros(5, 0), torch.arange(40))
    assert torch.allclose(noise.exp(), torch.tensor(np.log(2) + 1e-5).float())
    heads = fresh.cell_tower.encoder.layers[-1].weight[:2]
    assert heads.std().item() == pytest.approx(np.sqrt(2 / (128 + 2)), rel=0.15)
    widths = [layer.weight.shape for layer in fresh.cell_tower.encoder.layers]
    assert [tuple(shape) for shape in widths] == [(1024, 40), (512, 1024), (128, 512), (4, 128)]
    assert [layer.weight.shape[0] for layer in fresh.cell_tower.decoder.layers] == [128, 512, 1024]
    assert [layer.weight.shape[0] for layer in fresh.feature_tower.decoder.layers] == [128, 512]
    assert fresh.feature_tower.output.weight.shape == (1024, 512)


def test_no_global_randomness_is_touched():
    state = torch.get_rng_state()
    module = make_published()
    module.joint(make_block(X), torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)


def test_last_hidden_layers_are_linear():
    # E-18: ReLU there would leave no negative number.
    module = make_published()
    y = module.decode_cells(torch.randn(50, 2).double(), torch.zeros(50, 0).double())
    w_before = module.feature_tower.layers(torch.randn(50, 2).double())[-1]
    assert (y < 0).any() and (w_before < 0).any()


def test_linear_decoders_have_no_hidden_layers():
    module = make_published(linear_decoder=True, n_design=2)
    z, design = torch.randn(3, 2).double(), torch.randn(3, 2).double()
    assert torch.equal(module.decode_cells(z, design), torch.cat([z, design], dim=1))
    v = torch.randn(5, 2).double()
    output = module.feature_tower.output
    assert torch.allclose(module.feature_tower.decode(v), v @ output.weight.T + output.bias)


def test_a_deterministic_autoencoder_has_squared_error_and_no_divergence():
    module = make_published(model="vae", variational=False)
    terms = [module.cells(make_block(X), torch.Generator().manual_seed(s)).as_floats() for s in (0, 1)]
    assert terms[0] == terms[1]
    assert terms[0]["nll"] == terms[0]["squared_error"] and terms[0]["kl_cells"] == 0


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_options(name):
    assert isinstance(PublishedOptions.preset(name), PublishedOptions)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"model": "siVAE"}, "'sivae', 'vae'"),
        ({"pretrain": "False"}, "expected True or False"),  # E-11: text is no flag
        ({"variational": False}, "model='vae'"),
        ({"decoder": (5,)}, "two widths or more"),
        ({"encoder": 5}, "a tuple of widths"),
        ({"encoder": (0,)}, "at least 1"),
        ({"iterations": 0}, "at least 1"),
        ({"batch_size": 0}, "more than 0"),
        ({"decay_rate": 1.5}, "at most 1"),
        ({"l2_scale": -1}, "at least 0"),
        ({"feature_label": "B"}, "feature_label_key"),
    ],
)
def test_wrong_options_are_named(options, word):
    with pytest.raises(OptionError, match="PublishedOptions") as caught:
        PublishedOptions(**options)
    assert word in str(caught.value)


def test_an_unknown_preset_is_named():
    with pytest.raises(OptionError, match="'fetal liver'"):
        PublishedOptions.preset("liver")
