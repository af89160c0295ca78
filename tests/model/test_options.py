"""Every option that cannot work is refused with its name, what was found and what was expected."""

import numpy as np
import pytest
from builders import SMALL, train

from sivae import Architecture, SiVAE, TrainOptions
from sivae._errors import CellMismatchError, NotTrainedError, OptionError, SetupError


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"likelihood": "gaussian"},
            "likelihood is 'gaussian'; expected one of 'auto', 'normal', 'nb', 'zinb', 'poisson', 'bernoulli'",
        ),
        ({"dispersion": "batch"}, "dispersion is 'batch'; expected one of 'gene', 'gene-batch', 'gene-cell', 'cell'"),
        ({"likelihood": "poisson", "dispersion": "gene-cell"}, "likelihood='poisson' has no noise .*expected 'gene'"),
        ({"likelihood": "bernoulli", "dispersion": "cell"}, "likelihood='bernoulli' has no noise .*expected 'gene'"),
        ({"likelihood": "nb", "dispersion": "cell"}, "'cell' with likelihood='nb'; expected likelihood='normal'"),
        ({"likelihood": "zinb", "dispersion": "cell"}, "'cell' with likelihood='zinb'; expected likelihood='normal'"),
        ({"decoder": "linear"}, "decoder is 'linear'; expected one of 'residual', 'published'"),
        ({"kl_scale": "mean"}, "kl_scale is 'mean'; expected one of 'bound', 'published'"),
        ({"n_latent": 0}, "n_latent is 0; expected 1 to 50"),
        ({"n_latent": 51}, "n_latent is 51; expected 1 to 50"),
        ({"n_latent": 5, "n_profile": 4}, "n_profile is 4; expected at least n_latent, 5"),
        ({"gamma": -0.1}, "gamma is -0.1; expected a finite number of at least 0"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"gamma": float("inf")}, "gamma is inf"),
        ({"n_latent": 2.5}, "n_latent is 2.5"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_options_of_the_model(counts_adata, options, match):
    with pytest.raises(OptionError, match=match):
        SiVAE(counts_adata, **options)


def test_profiles_that_are_not_there(counts_adata):
    found = r"no varm\['pca'\] to take profiles from; varm holds: planted_v, planted_batch. Choose one"
    with pytest.raises(SetupError, match=found):
        SiVAE(counts_adata, profiles="pca")


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson", "bernoulli"])
def test_counts_are_needed_for_their_likelihoods(values_adata, counts_adata, likelihood):
    with pytest.raises(
        OptionError, match=f"likelihood='{likelihood}' needs whole-number counts.*values that are not counts.*'normal'"
    ):
        SiVAE(values_adata, likelihood=likelihood)
    SiVAE.setup_anndata(counts_adata, normalize="none")
    with pytest.raises(OptionError, match="set up with counts and normalize='none'"):
        SiVAE(counts_adata, likelihood=likelihood)


@pytest.mark.parametrize("likelihood", ["auto", "normal", "nb"])
def test_noise_per_batch_needs_batches(counts_adata, likelihood):
    assert SiVAE(counts_adata, likelihood=likelihood, dispersion="gene-batch").options.dispersion == "gene-batch"
    SiVAE.setup_anndata(counts_adata)
    with pytest.raises(OptionError, match="dispersion is 'gene-batch', but .* without a batch_key; expected one"):
        SiVAE(counts_adata, likelihood=likelihood, dispersion="gene-batch")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"feature_batch_size": -3}, "feature_batch_size is -3; expected at least 1"),
        ({"accelerator": "tpu"}, "accelerator is 'tpu'; expected 'auto', 'cpu', 'gpu' or 'mps'"),
        ({"max_epochs": 0}, "max_epochs is 0; expected at least 1"),
        ({"max_epochs": -2}, "max_epochs is -2; expected at least 1"),
    ],
)
def test_options_of_training(counts_adata, options, match):
    model = SiVAE(counts_adata, n_latent=2, architecture=SMALL)
    with pytest.raises(OptionError, match=match):
        model.train(progress=False, **options)
    assert not model.is_trained


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("clip_norm", -1.0),
        ("checks", 0),
        ("patience", 0),
        ("validation_fraction", 1.0),
        ("validation_fraction", -0.1),
        ("average_decay", 1.0),
        ("max_steps", 0),
        ("warmup_steps", -1),
        ("kl_warmup_steps", -1),
        ("weight_decay", -0.1),
        ("max_validation_cells", 0),
    ],
)
def test_train_options(name, value):
    with pytest.raises(OptionError, match=rf"TrainOptions.{name} is {value}; expected"):
        TrainOptions(**{name: value})


@pytest.mark.parametrize(
    "sizes", [{"n_joint": 0}, {"cell_encoder": (0,)}, {"input_dropout": 1.5}, {"sigma_floor": 0.0}]
)
def test_architecture(counts_adata, sizes):
    with pytest.raises(OptionError, match=next(iter(sizes))):
        train(SiVAE(counts_adata, n_latent=2, architecture=Architecture(**sizes)), max_steps=2)


def test_more_axes_than_training_cells(counts_adata):
    with pytest.raises((OptionError, SetupError), match="n_latent is 30"):
        train(SiVAE(counts_adata[:20].copy(), n_latent=30, architecture=SMALL), max_steps=2)


def test_auto_is_normal_and_says_on_what(counts_adata, values_adata, caplog):
    caplog.set_level("INFO", logger="sivae")
    assert SiVAE(counts_adata).options.likelihood == "normal"
    assert "log1p of size-corrected counts" in caplog.text
    assert SiVAE(values_adata).options.likelihood == "normal"
    assert "the values as they are" in caplog.text


@pytest.mark.parametrize(
    "ask",
    [
        lambda m, a: m.get_latent_representation(),
        lambda m, a: m.get_latent_representation(a),
        lambda m, a: m.get_feature_representation(),
        lambda m, a: m.get_feature_representation(a),
        lambda m, a: m.get_normalized_expression(),
        lambda m, a: m.get_elbo(),
        lambda m, a: m.get_reconstruction_error(),
        lambda m, a: m.rotate(),
        lambda m, a: m.annotate(a),
        lambda m, a: m.save("nowhere"),
        lambda m, a: m.history,
    ],
)
def test_before_training(counts_adata, ask):
    model = SiVAE(counts_adata)
    with pytest.raises(NotTrainedError, match=r"Call model.train\(\) first"):
        ask(model, counts_adata)
    assert not model.is_trained
    assert "not trained" in repr(model)


def test_size_factors_keep_the_scale_of_normalised_expression(counts_adata):
    """Rows sum to about the library size asked for, whatever the unit of the size factor."""
    SiVAE.setup_anndata(counts_adata, size_factor_key="size_factor")
    for likelihood, tolerance in (("nb", 0.1), ("normal", 0.65)):
        model = SiVAE(counts_adata, n_latent=2, likelihood=likelihood, architecture=SMALL)
        train(model, max_steps=20)
        rows = model.get_normalized_expression(library_size=1000.0).sum(axis=1)
        assert np.median(rows) == pytest.approx(1000, rel=tolerance), likelihood


def test_cells_are_asked_for_where_they_are_needed(model, tmp_path):
    model.save(tmp_path / "m")
    loaded = SiVAE.load(tmp_path / "m")
    with pytest.raises(CellMismatchError, match=r"SiVAE.load\(folder, adata\)"):
        loaded.get_latent_representation()
