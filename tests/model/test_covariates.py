"""Models with batches and further covariates: predictor, getters, saving, and models saved before there were gains."""

import copy
import json

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from batches import batched
from builders import SMALL, train
from safetensors.numpy import load_file, save_file
from scipy import stats

from sivae import Architecture, SiVAE
from sivae._errors import ArtefactError, OptionError, SetupError, SiVAEWarning
from sivae.data._split import is_validation
from sivae.datasets import planted
from sivae.model._evidence import category_groups, null_pvalues, quantities
from sivae.model._fit import split_rows
from sivae.model._predict import encode, joint, predictor_blocks, to_rate

SIZES = {name: getattr(SMALL, name) for name in SMALL.__dataclass_fields__}


def mixed(n=300, *, counts=True, seed=0):
    """Two batches, three labs and an age, all with an effect."""
    adata = planted(
        n, 40, n_factors=2, genes_per_factor=12, n_batches=2, batch_effect=0.3, counts=counts, signed=True, seed=seed
    )
    rng = np.random.default_rng(seed)
    adata.obs["lab"], adata.obs["age"] = rng.choice(["l", "m", "n"], n), rng.normal(40, 10, n)
    adata = adata[np.asarray(adata.X.sum(axis=1)).ravel() != 0].copy()
    return adata


EVERY = {"batch_key": "batch", "categorical_covariate_keys": ["lab"], "continuous_covariate_keys": ["age"]}


def fitted(adata, likelihood="normal", *, architecture=None, steps=60, setup=None, **options):
    SiVAE.setup_anndata(adata, **(EVERY if setup is None else setup))
    model = SiVAE(
        adata,
        likelihood=likelihood,
        **({"n_latent": 3, "n_profile": 20, "architecture": Architecture(**SIZES | (architecture or {}))} | options),
    )
    train(model, max_steps=steps, learning_rate=0.01, average_decay=0.5)
    return model


@pytest.fixture(scope="module", params=["normal", "nb"])
def everything(request):
    """A model with a batch, a category and a quantity."""
    return fitted(mixed(), request.param, architecture={"encode_covariates": True})


def training_cells(model):
    rows, _ = split_rows(model.adata, model._state.split())
    return model._state.reader.read(model.adata[rows])


# ------------------------------------------------------------------------------------------------------------ predictor


@pytest.mark.parametrize("inputs", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("likelihood", ["normal", "nb"])
@pytest.mark.parametrize("setup", [EVERY, {k: v for k, v in EVERY.items() if k != "batch_key"}])
def test_predictor_of_tables_is_that_of_the_module(likelihood, inputs, setup):
    """Also for cells elsewhere in the design than training cells are."""
    architecture = dict(zip(("encode_covariates", "decode_covariates"), inputs, strict=True))
    model = fitted(mixed(), likelihood, architecture=architecture, setup=setup)
    module, expression, state = model._module, training_cells(model), model._state
    z, _ = encode(module, expression)
    for design in (expression.design_nb, expression.design_nb[::-1].copy()):
        with torch.no_grad():
            v = module.encode_features(module.profile_gq).mean_rk
            eta, _ = module.predict(torch.from_numpy(z), v, torch.from_numpy(design), torch.arange(expression.shape[1]))
        blocks = predictor_blocks(module, state.table, state.linear, expression, design)
        found = np.concatenate([eta for _, eta in blocks])
        np.testing.assert_allclose(found, eta, atol=1e-4 * max(1.0, float(eta.abs().max())))
    full, _ = oracles.predict(module, z[:5].astype(float), v.numpy().astype(float), design[:5], np.arange(40))
    np.testing.assert_allclose(found[:5], full, atol=1e-3 * max(1.0, float(eta.abs().max())))
    stretched = "batch_key" in setup and likelihood == "normal"
    assert (np.abs(state.table.log_gain_gb).max() > 0.01) == stretched


def test_design_reaches_both_perceptrons(everything):
    """Columns of the design are inputs after the genes and after z, and are read."""
    module, n_design = copy.deepcopy(everything._module), 6
    first, decoder = module.cell_tower.encoder.layers[0].weight, module.cell_tower.decoder.layers[0].weight
    assert (first.shape[1], decoder.shape[1]) == (40 + n_design, 3 + n_design)
    x = training_cells(everything)
    z, _ = encode(module, x)
    moved = x.design_nb.copy()
    moved[:, 5] += 1.0
    assert np.abs(joint(module, z, moved) - joint(module, z, x.design_nb)).max() > 1e-3
    x_cg = torch.from_numpy(x.standardised(slice(None)))
    with torch.no_grad():
        for effect in (module.shift_bg, module.log_gain_bg):
            effect.zero_()
        plain, other = (module.encode_cells(x_cg, torch.from_numpy(d)).mean_rk for d in (x.design_nb, moved))
    assert (plain - other).abs().max() > 1e-4


@pytest.mark.parametrize("inputs", [True, False])
def test_where_they_are_no_inputs_the_perceptrons_do_not_know_them(inputs):
    model = fitted(mixed(), architecture={"encode_covariates": inputs, "decode_covariates": inputs}, steps=2)
    x = training_cells(model)
    z, _ = encode(model._module, x)
    moved = np.abs(joint(model._module, z, x.design_nb[::-1].copy()) - joint(model._module, z, x.design_nb)).max()
    assert (moved > 1e-3) == inputs


# -------------------------------------------------------------------------------------------------------------- getters


def test_another_batch_moves_offset_gain_and_h(everything):
    """Each cell keeps its z; everything after it is that of the other batch, h included."""
    adata, module, state = everything.adata, everything._module, everything._state
    own = state.reader.design.of(adata, everything._setup)
    moved = adata.copy()
    moved.obs["batch"] = "batch_2"
    other = state.reader.design.of(moved, everything._setup)
    assert (other[:, 2:] == own[:, 2:]).all()
    expression = state.reader.read(adata)
    z, _ = encode(module, expression)
    assert np.abs(joint(module, z, other) - joint(module, z, own)).max() > 1e-2
    with torch.no_grad():
        v = module.encode_features(module.profile_gq).mean_rk
        eta, _ = module.predict(torch.from_numpy(z), v, torch.from_numpy(other), torch.arange(40))
    rate = to_rate(eta.numpy(), expression, np.arange(40), counts=module.likelihood.counts)
    found = everything.get_normalized_expression(transform_batch="batch_2", library_size=1.0)
    wanted = pd.DataFrame(rate, adata.obs_names, state.reader.genes)[list(found.columns)]
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-5)
    as_names = everything.get_normalized_expression(transform_batch="batch_2")
    pd.testing.assert_frame_equal(as_names, 1e4 * found, rtol=1e-4)


def test_a_batch_of_which_no_cell_trained():
    """Its cells are placed as of the average batch, with a warning; nothing can be predicted as from it."""
    adata = mixed()
    SiVAE.setup_anndata(adata, batch_key="batch")
    held = adata.obs_names[is_validation(list(adata.obs_names), 0.15)]
    adata.obs["batch"] = adata.obs["batch"].astype(str)
    adata.obs.loc[held[:2], "batch"] = "rare"
    with pytest.warns(SiVAEWarning, match=r"obs\['batch'\] holds rare, of which no cell trains"):
        model = fitted(adata, setup={"batch_key": "batch"}, steps=4)
    assert np.isfinite(model.get_latent_representation()).all()
    design = model._state.reader.design.of(adata[held[:2]], model._setup)
    assert (design == 0).all()
    with pytest.raises(OptionError, match="transform_batch is 'rare', of which no cell was trained on.*Choose another"):
        model.get_normalized_expression(transform_batch="rare")


def test_a_constant_batch_warns_and_changes_no_prediction():
    adata = mixed()
    adata.obs["batch"] = "one"
    with pytest.warns(SiVAEWarning, match=r"obs\['batch'\] is the same in every training cell"):
        model = fitted(adata, setup={"batch_key": "batch"}, steps=4)
    as_it_is = model.get_normalized_expression()
    pd.testing.assert_frame_equal(model.get_normalized_expression(transform_batch="one"), as_it_is)
    assert (training_cells(model).design_nb == 0).all()


def test_a_batch_of_one_cell_trains():
    adata = mixed()
    adata.obs["batch"] = adata.obs["batch"].astype(str)
    training = adata.obs_names[~is_validation(list(adata.obs_names), 0.15)]
    adata.obs.loc[training[0], "batch"] = "rare"
    for likelihood in ("normal", "nb"):
        model = fitted(adata, likelihood, setup={"batch_key": "batch"}, steps=10)
        assert np.isfinite(model.get_latent_representation()).all()
        assert np.isfinite(model.get_normalized_expression(transform_batch="rare").to_numpy()).all()
        assert np.isfinite(model.get_feature_representation(adata).to_numpy()).all()


def test_an_unknown_batch_is_refused_by_every_getter(everything):
    new = everything.adata[:20].copy()
    new.obs["batch"] = "batch_9"
    for ask in (
        everything.get_latent_representation,
        everything.get_elbo,
        everything.get_reconstruction_error,
        everything.annotate,
        lambda cells: everything.get_normalized_expression(cells, transform_batch="batch_1"),
    ):
        with pytest.raises(SetupError, match=r"holds batch_9.*had: batch_1, batch_2\..*transform_batch does not help"):
            ask(new)


def test_collinear_covariates_are_warned_of_and_work():
    adata = mixed()
    adata.obs["site"] = adata.obs["batch"].map({"batch_1": "x", "batch_2": "y"}).astype(str)
    setup = {"batch_key": "batch", "categorical_covariate_keys": ["site"]}
    with pytest.warns(SiVAEWarning, match=r"obs\['batch'\] follows from obs\['site'\]"):
        model = fitted(adata, setup=setup, steps=10)
    assert np.isfinite(model.get_normalized_expression().to_numpy()).all()
    assert np.isfinite(model.get_feature_representation(adata).to_numpy()).all()


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_names_of_batches_do_not_matter(likelihood):
    """Names in the same order change no bit; in another order the start is the same."""
    adata = batched(counts=likelihood == "nb")
    setup, found = {"batch_key": "batch"}, []
    for names in ({"b0": "b0", "b1": "b1"}, {"b0": "left", "b1": "right"}, {"b0": "z", "b1": "a"}):
        other = adata.copy()
        other.obs["batch"] = other.obs["batch"].map(names)
        start = fitted(other, likelihood, setup=setup, steps=1, n_latent=2)
        found.append((start.get_latent_representation(), start.get_feature_representation().to_numpy()))
    for one, other in zip(found[0], found[1], strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(found[0], found[2], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-2 * np.abs(one).max())


# ------------------------------------------------------------------------------------------------------------- evidence


def test_quantities_do_not_take_the_evidence_away(everything, rng):
    """Every cell has its own age; it is regressed out, and cells of a batch and a lab are permuted."""
    design = training_cells(everything).design_nb
    np.testing.assert_array_equal(quantities(design), design[:, 5:])
    groups = category_groups(design)
    assert len(np.unique(groups)) == 6
    for group in range(6):
        assert (design[groups == group][:, :5] == design[groups == group][0, :5]).all()
    modules = everything.adata.var["module"]
    p = pd.Series(everything._state.table.connected_p_g, everything._state.reader.genes)[modules.index]
    assert p[modules == "module_1"].median() < 0.05
    assert p[modules == "none"].median() > 0.15


def test_a_gene_that_follows_a_quantity_alone_is_no_evidence(rng):
    """Values and predictions that share nothing but the quantity and the batch: uniform p-values."""
    adata = mixed(400)
    SiVAE.setup_anndata(adata, **EVERY)
    model = fitted(adata, steps=1)
    cells = model._state.reader.read(adata)
    common = cells.design_nb @ rng.normal(size=(6, 300))
    observed, predicted = (common + rng.normal(size=common.shape) for _ in range(2))
    p = null_pvalues(observed, predicted, cells)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    linked = null_pvalues(observed, predicted + 0.3 * (observed - common), cells)
    assert np.median(linked) < 1e-3


# --------------------------------------------------------------------------------------------------------------- saving


def answers(model, adata):
    """What a user can ask for, as arrays."""
    return [
        np.asarray(part)
        for part in (
            *model.get_latent_representation(adata, return_dist=True),
            *model.get_feature_representation(return_dist=True),
            *model.get_feature_representation(adata, return_dist=True),
            model.get_normalized_expression(adata),
            model.get_normalized_expression(adata, transform_batch="batch_2"),
            model.get_reconstruction_error(adata, per_feature=True),
            model.get_elbo(adata),
        )
    ]


def same(one, other):
    """To the last bit, but for genes embedded by a product whose factors may lie in memory in another order."""
    for number, (a, b) in enumerate(zip(one, other, strict=True)):
        np.testing.assert_allclose(a, b, rtol=1e-5 if number in (4, 5) else 0, atol=1e-7 if number in (4, 5) else 0)


def test_what_is_loaded_gives_the_same_answers(everything, tmp_path):
    everything.save(tmp_path / "m")
    loaded = SiVAE.load(tmp_path / "m", everything.adata)
    same(answers(loaded, everything.adata), answers(everything, everything.adata))
    assert loaded._state.facts["covariates"] == everything._state.facts["covariates"]
    assert loaded._state.facts["covariates"]["name"] == ["batch", "lab", "age"]


def edit(folder, *, tables=None, weights=None, config=None):
    """Change a saved model; a value of None drops the entry."""
    for name, changes in (("tables", tables), ("weights", weights)):
        held = load_file(folder / f"{name}.safetensors") | (changes or {})
        save_file({k: v for k, v in held.items() if v is not None}, folder / f"{name}.safetensors")
    record = json.loads((folder / "config.json").read_text())
    if config is not None:
        config(record)
    record["format"] = min(record["format"], 3)
    (folder / "config.json").write_text(json.dumps(record))
    for name in ("README.md", "checksums.sha256"):  # which older ones have not
        (folder / name).unlink(missing_ok=True)


def as_first(record):
    """The configuration as it was before covariates were inputs."""
    record["format"] = 1
    del record["options"]["dispersion"], record["binary"]
    del record["options"]["architecture"]["encode_covariates"], record["options"]["architecture"]["decode_covariates"]
    del record["facts"]["covariates"]


@pytest.fixture(params=["normal", "nb"])
def first(request, tmp_path):
    """A model without inputs and gains, saved as today and as at first; the cells."""
    adata = mixed()
    model = fitted(adata, request.param, architecture={"encode_covariates": False, "decode_covariates": False})
    zeros = {"gene/log_gain_gb": (40, 6), "linear/design_bd": (6, 6)}
    for name in ("today", "first"):
        model.save(tmp_path / name)
        edit(
            tmp_path / name,
            tables={key: np.zeros(shape, np.float32) for key, shape in zeros.items()},
            weights={"log_gain_bg": np.zeros((6, 40), np.float32)},
        )
    dropped = {"gene/log_gain_gb": None, "linear/design_bd": None, "gene/inflation_g": None}
    edit(tmp_path / "first", tables=dropped, weights={"log_gain_bg": None}, config=as_first)
    return tmp_path, adata


def test_models_saved_before_there_were_gains_load(first):
    folder, adata = first
    old = SiVAE.load(folder / "first", adata)
    assert not old.options.architecture.encode_covariates and not old.options.architecture.decode_covariates
    same(answers(old, adata), answers(SiVAE.load(folder / "today", adata), adata))
    old.annotate(adata)
    assert np.isfinite(adata.varm["X_sivae"]).all()


@pytest.mark.parametrize(
    "missing",
    [
        {"tables": {"gene/log_gain_gb": None}},
        {"tables": {"linear/design_bd": None}},
        {"weights": {"log_gain_bg": None}},
    ],
)
def test_the_same_missing_from_a_model_of_today_is_damage(first, missing):
    folder, _ = first
    edit(folder / "today", **missing)
    with pytest.raises(ArtefactError, match="damaged"):
        SiVAE.load(folder / "today")


def test_profiles_of_every_cell_saved_at_first_load(tmp_path):
    """Then `n_profile` said nothing of profiles of cells: there were as many as training cells."""
    adata = mixed()
    model = fitted(adata, profiles="cells", n_profile=None, steps=4)
    model.save(tmp_path / "m")

    def older(record):
        record["format"], record["options"]["n_profile"] = 1, 128

    edit(tmp_path / "m", config=older)
    loaded = SiVAE.load(tmp_path / "m", adata)
    np.testing.assert_array_equal(loaded.get_feature_representation(adata), model.get_feature_representation(adata))
