"""The published recipe through the public doors; the original's defects, by name, stay out."""

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from published import groups, trained
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import sivae
from sivae import Architecture, PublishedOptions, SiVAE, TrainOptions
from sivae._errors import OptionError, SetupError, SiVAEWarning
from sivae.datasets import planted
from sivae.model._predict import predictor_blocks
from sivae.nn._published import PublishedModule


def counts(n_batches=2):
    adata = planted(150, 30, n_factors=2, genes_per_factor=10, n_batches=n_batches, signed=True, seed=1)
    adata = adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()
    SiVAE.setup_anndata(adata, batch_key="batch" if n_batches > 1 else None)
    return adata


@pytest.fixture(scope="module")
def normal():
    adata = groups(n_batches=2)
    return trained(adata, options={"iterations": 200}), adata


@pytest.fixture(scope="module")
def nb():
    adata = counts()
    return trained(adata, likelihood="nb"), adata


@pytest.fixture(params=["normal", "nb"])
def both(request):
    return request.getfixturevalue(request.param)


def eta_of_module(model, cells, design=None):
    """The predictor straight from the towers, (n, g)."""
    module = model._module
    with torch.no_grad():
        design = torch.from_numpy(cells.design_nb) if design is None else design
        z = module.encode_cells(torch.from_numpy(cells.standardised(slice(None))), design).mean_rk
        w = module.feature_tower.decode(module.encode_features(module.profile_gq).mean_rk)
        return module.predictor(module.decode_cells(z, design), w).numpy()


# ------------------------------------------------------------------------------------------------------ what is learnt


def test_cells_and_genes_of_planted_groups_are_told_apart():
    adata = groups(300)
    model = trained(adata, options={"iterations": 300})
    nearest = KNeighborsClassifier(6)
    for z in (model.get_latent_representation(), model.get_pretrained_representation()):
        assert cross_val_score(nearest, z, adata.obs["group"], cv=5).mean() > 0.9
    v = model.get_feature_representation().to_numpy()
    norm = np.linalg.norm(v, axis=1)
    assert np.median(norm[:18]) > 3 * np.median(norm[18:])
    assert cross_val_score(KNeighborsClassifier(3), v[:18], np.arange(18) // 6, cv=3).mean() > 0.9


def test_the_most_central_genes_are_those_that_follow_something(normal):
    # E-9: the norm had its sign inverted. E-14: neighbors were sorted farthest first, the gene itself last.
    model, adata = normal
    seen = adata.copy()
    model.annotate(seen)
    sivae.tl.hubs(seen, score="norm")
    score = seen.var["sivae_hub_score"].to_numpy()
    assert score[:18].min() > np.median(score[18:])
    sivae.tl.gene_neighbors(seen, n_neighbors=5)
    for gene in (0, 6, 12):
        found = sivae.tl.neighbors_of(seen, adata.var_names[gene])["neighbor"].tolist()
        assert adata.var_names[gene] not in found
        assert set(found) == set(adata.var_names[gene + 1 : gene + 6])
    assert model.get_reconstruction_error(per_feature=True).shape == (24,)


# -------------------------------------------------------------------------------------------- what the doors give out


def test_loadings_are_the_posterior_means_of_v(both):
    model, adata = both
    seen = adata.copy()
    model.annotate(seen)
    q = model._module.encode_features(model._module.profile_gq)
    at = [model._state.reader.genes.index(name) for name in adata.var_names]
    mean, sd = (part.detach().numpy()[at] for part in (q.mean_rk, q.sd_rk))
    assert np.allclose(seen.varm["X_sivae"], mean, atol=1e-5)
    assert np.allclose(seen.varm["X_sivae_var"], sd**2, rtol=1e-4)
    assert np.allclose(model.get_feature_representation(), mean, atol=1e-5)


def test_the_predictor_read_from_the_table_is_that_of_the_towers(both):
    model, _ = both
    cells = model._read(None)
    _, first = next(predictor_blocks(model._module, model._state.table, model._state.linear, cells))
    assert np.allclose(first, eta_of_module(model, cells)[: len(first)], atol=2e-4)


def test_normalised_expression_of_some_genes_is_that_of_all(both):
    model, _ = both
    whole, some = model.get_normalized_expression(), model.genes[3:6][::-1]
    assert np.allclose(model.get_normalized_expression(gene_list=some), whole[some], rtol=1e-5, atol=1e-5)


def test_shares_sum_to_the_library_under_counts(nb):
    # E-3.
    model, _ = nb
    assert np.allclose(model.get_normalized_expression(library_size=500).sum(axis=1), 500, rtol=1e-4)


def test_parts_of_the_predictor_add_up(normal):
    # E-16: with covariates as well.
    model, adata = normal
    found = model.explain()
    genes = np.arange(adata.n_vars)
    parts = found.decoder(np.arange(adata.n_obs), adata.n_obs, genes)
    at = [model._state.reader.genes.index(name) for name in model.genes]
    assert np.allclose(sum(parts.values()), eta_of_module(model, model._read(None))[:, at], atol=1e-3)
    z, h, v, w = found.layer()
    assert np.allclose(parts["remainder"], h @ w.T, atol=1e-4)
    assert np.allclose(parts["axis1"], np.outer(z[:, 0], v[:, 0]), atol=1e-4)


def test_attributions_of_both_sides_are_finite_differences(normal):
    # E-8, E-16.
    model, adata = normal
    few, step = list(range(4)), 1e-2
    _, decoder = next(model.get_attributions(indices=few, side="decoder", method="gradient"))
    _, encoder = next(model.get_attributions(indices=few, side="encoder", method="gradient"))
    module, cells = model._module.double(), model._read(None, few)
    try:
        design = torch.from_numpy(cells.design_nb).double()
        x = torch.from_numpy(cells.standardised(slice(None))).double()
        with torch.no_grad():
            z = module.encode_cells(x, design).mean_rk
            w = module.feature_tower.decode(module.encode_features(module.profile_gq).mean_rk)
            moved = z.clone()
            moved[:, 0] += 1e-6
            slope = (module.decode_cells(moved, design) - module.decode_cells(z, design)) @ w.T / 1e-6
            columns = [list(decoder.columns).index(name) for name in model._state.reader.genes]
            assert np.allclose(decoder.to_numpy()[:, columns], slope.numpy(), atol=1e-3)
            shifted = x.clone()
            shifted[:, 3] += step * 1e-4
            change = (module.encode_cells(shifted, design).mean_rk - z)[:, 0] / (step * 1e-4)
        assert np.allclose(encoder[model._state.reader.genes[3]], change.numpy(), atol=1e-3)
    finally:
        model._module.float()


def test_every_public_door_opens(both, tmp_path):
    # E-13, E-16, E-39, E-40.
    model, adata = both
    calls = {
        "latent": lambda m: m.get_latent_representation(return_dist=True)[1],
        "expression": lambda m: m.get_normalized_expression(transform_batch=str(adata.obs["batch"].iloc[0])),
        "error": lambda m: m.get_reconstruction_error(per_feature=True),
        "genes": lambda m: m.get_feature_representation(return_dist=True)[1],
        "before": lambda m: m.get_pretrained_representation(),
        "genes before": lambda m: m.get_pretrained_representation(side="genes", return_dist=True)[0],
        "sample": lambda m: m.sample(7, seed=3),
    }
    model.save(tmp_path / "model")
    loaded = SiVAE.load(tmp_path / "model", adata)
    assert loaded.options == model.options
    for name, call in calls.items():
        first = np.asarray(call(model))
        assert np.isfinite(first).all(), name
        assert np.array_equal(first, np.asarray(call(model))), name
        assert np.allclose(first, np.asarray(call(loaded)), atol=1e-5), name
    assert np.isfinite(model.get_elbo())
    assert sum(file.stat().st_size for file in (tmp_path / "model").iterdir()) < 1_500_000
    model.rotate("variance")
    turned = model.get_feature_representation().to_numpy()
    assert np.allclose(turned.T @ turned, np.diag(np.diag(turned.T @ turned)), atol=1e-3)
    model.rotate("none")


def test_pretrained_embeddings_are_those_before_the_last_phase(normal):
    model, _ = normal
    before, after = model.get_pretrained_representation(), model.get_latent_representation()
    assert before.shape == after.shape and not np.allclose(before, after, atol=1e-2)


def test_new_genes_are_embedded_as_those_trained_on():
    adata = groups()
    twice = adata.copy()
    twice.var_names = [f"again_{name}" for name in adata.var_names]
    model = trained(adata)
    found = model.get_feature_representation(twice).to_numpy()
    assert np.allclose(found, model.get_feature_representation(), atol=1e-4)


def test_a_softmax_or_a_plain_vae_has_no_place_for_new_genes(nb):
    model, adata = nb
    with pytest.raises(OptionError, match="softmax over the modelled genes.*or with likelihood='normal', or recipe"):
        model.get_feature_representation(adata)
    new = adata[:, :1].copy()
    new.var_names = ["new"]
    wider = anndata.concat([adata, new], axis=1, merge="first")
    with pytest.raises(OptionError, match="Train again with that gene among those modelled"):
        model.annotate(wider, project=True)
    assert "X_sivae" not in wider.obsm and "X_sivae" not in wider.varm
    plain = trained(groups(60), options={"model": "vae", "iterations": 3})
    with pytest.raises(OptionError, match=r"without a gene encoder.*PublishedOptions\(model='sivae'\)"):
        plain.get_feature_representation(groups(60))


# ----------------------------------------------------------------------------------------------- variants and ablations


@pytest.mark.parametrize("gamma", [0, None, 0.5])
@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_gamma_runs_through_every_door(gamma, likelihood, caplog):
    # E-1: resolved and stored. E-4: 0 and None, and samples afterwards.
    caplog.set_level("INFO", logger="sivae")
    adata = counts()
    model = trained(adata, likelihood=likelihood, gamma=gamma, options={"iterations": 4})
    used = 0.05 if gamma is None else gamma
    assert model.options.gamma == used and f"gamma {used:g}" in caplog.text and f"gamma={used}" in repr(model)
    model.annotate(adata)
    assert adata.uns["sivae"]["options"]["gamma"] == used
    assert model.sample(3).shape == (3, 30)
    assert np.isfinite([model.get_elbo(), model.get_reconstruction_error()]).all()
    assert ("nll_linear" in model.history) and (model.history["nll_linear"].max() > 0) == (used > 0)


VARIANTS = {
    "linear": {"linear_decoder": True},
    "vae": {"model": "vae"},
    "ldvae": {"model": "vae", "linear_decoder": True},
    "autoencoder": {"model": "vae", "variational": False},
    "hidden terms": {"hidden_gamma": 0.05},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_learn(variant, tmp_path):
    adata = groups(n_batches=2)
    model = trained(adata, options={"iterations": 200, **VARIANTS[variant]})
    z = model.get_latent_representation()
    assert cross_val_score(KNeighborsClassifier(6), z, adata.obs["group"], cv=5).mean() > 0.6  # chance is 0.33
    model.annotate(adata)
    assert np.isfinite(adata.varm["X_sivae"]).all()
    model.save(tmp_path / "model")
    again = SiVAE.load(tmp_path / "model", adata)
    assert np.array_equal(again.get_latent_representation(), z)


def test_a_linear_vae_has_its_kernel_for_loadings():
    model = trained(groups(), options=VARIANTS["ldvae"])
    kernel = pd.DataFrame(model._module.start_gd.weight.detach().numpy(), index=model._state.reader.genes)
    assert np.allclose(model.get_feature_representation(), kernel.loc[model.genes], atol=1e-3)


def test_an_autoencoder_has_no_bound_and_no_prior():
    model = trained(groups(60), options={"iterations": 3, **VARIANTS["autoencoder"]})
    with pytest.raises(OptionError, match="no evidence bound"):
        model.get_elbo()
    with pytest.raises(OptionError, match="no prior"):
        model.sample(2)
    error = model._state.table.noise_g[0]
    cells = model._read(model.adata[model.adata.obs_names[~model._state.split().held(list(model.adata.obs_names))]])
    _, eta = next(predictor_blocks(model._module, model._state.table, model._state.linear, cells))
    assert error == pytest.approx(np.sqrt(((cells.standardised(slice(None)) - eta) ** 2).mean()), rel=1e-3)
    with pytest.raises(OptionError, match="was not trained in phases"):
        model.get_pretrained_representation()


@pytest.mark.parametrize("noise", ["gene", "gene-batch", "gene-cell", "cell"])
def test_other_noise(noise):
    adata = groups(90, n_batches=2)
    model = trained(adata, dispersion=noise, options={"iterations": 5})
    assert np.isfinite(model.get_reconstruction_error()) and np.isfinite(model.sample(3)).all(axis=None)


@pytest.mark.parametrize("profiles", ["principal", "cells"])
def test_what_the_feature_encoder_reads(profiles):
    model = trained(groups(90), profiles=profiles, n_profile=20, options={"iterations": 3})
    assert model._module.profile_gq.shape == (24, 20)


def test_covariates_reach_both_inputs_of_the_cell_tower():
    adata = groups(90, n_batches=3)
    model = trained(adata, options={"iterations": 3})
    tower = model._module.cell_tower
    assert tower.encoder.layers[0].weight.shape[1] == 24 + 3 and tower.decoder.layers[0].weight.shape[1] == 2 + 3
    assert model._module.feature_tower.decoder.layers[0].weight.shape[1] == 2


# ----------------------------------------------------------------------------------------------------- names and splits


def test_the_order_of_genes_and_cells_permutes_the_output():
    # E-21.
    adata = groups(90)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(adata.n_obs), rng.permutation(adata.n_vars)
    first, second = (trained(a, options={"iterations": 5}) for a in (adata, adata[rows][:, columns].copy()))
    assert np.array_equal(first.get_latent_representation()[rows], second.get_latent_representation())
    v = first.get_feature_representation()
    pd.testing.assert_frame_equal(second.get_feature_representation(), v.iloc[columns])


@pytest.mark.parametrize("profiles", ["cells", "principal"])
def test_held_out_values_change_no_gene_vector(profiles):
    # E-10: the feature encoder saw held-out cells.
    adata = groups(90)
    held = sivae.pp.split_cells(adata, 0.2, label_key="group")
    other = adata.copy()
    rows = other.obs_names.get_indexer(held)
    other.X[rows] = np.random.default_rng(1).normal(size=(len(rows), other.n_vars))
    options = TrainOptions(validation_cells=held)
    models = [trained(a, profiles=profiles, options={"iterations": 5}, train_options=options) for a in (adata, other)]
    first, second = (model.get_feature_representation() for model in models)
    pd.testing.assert_frame_equal(first, second)
    assert models[0].history["validation_loss"].iloc[-1] != models[1].history["validation_loss"].iloc[-1]


@pytest.mark.parametrize("recipe", ["choi2023", "default"])
def test_a_split_is_used_again(recipe, tmp_path):
    # E-6: a validation split works.
    adata = groups(90)
    held = sivae.pp.k_folds(adata, 5, label_key="group")[2]
    options = TrainOptions(validation_cells=held, max_steps=5, checks=2)
    if recipe == "default":
        model = SiVAE(adata, n_latent=2, architecture=Architecture(cell_encoder=(8,), feature_encoder=(8,)))
        model.train(options=options, progress=False, accelerator="cpu")
    else:
        model = trained(adata, train_options=options)
    model.save(tmp_path / "model")
    for each in (model, SiVAE.load(tmp_path / "model", adata)):
        seen = adata.copy()
        each.annotate(seen)
        assert sorted(seen.obs_names[seen.obs["sivae_split"] == "validation"]) == held
        assert each.get_feature_representation(adata).shape == (24, 2)
    text = (tmp_path / "model" / "config.json").read_text()
    assert held[0] not in text


def test_a_validation_cell_that_is_not_there_is_named():
    with pytest.raises(SetupError, match="nobody"):
        trained(groups(60), train_options=TrainOptions(validation_cells=("nobody",)))


def test_train_equals_test():
    model = trained(groups(60), options={"iterations": 3}, train_options=TrainOptions(validation_fraction=0))
    assert "validation_loss" not in model.history
    assert model._state.facts["n_training_cells"] == 60


def test_feature_side_is_sampled_by_label_or_restricted_to_one():
    adata = groups(120)
    adata.obs["group"] = pd.Categorical(adata.obs["group"])
    model = trained(adata, n_profile=30, options={"iterations": 2, "feature_label_key": "group"})
    assert model._module.profile_gq.shape[1] == 30
    only = trained(adata, options={"iterations": 2, "feature_label_key": "group", "feature_label": "g1"})
    training = model._read(None)
    split = only._state.split().held(list(adata.obs_names))
    n_shown = int((~split & (adata.obs["group"] == "g1").to_numpy()).sum())
    assert only._module.profile_gq.shape == (24, n_shown)
    assert training.shape == (120, 24)
    assert np.allclose(only.get_feature_representation(adata), only.get_feature_representation(), atol=1e-4)
    with pytest.raises(SetupError, match="'g9'"):
        trained(adata, options={"feature_label_key": "group", "feature_label": "g9"})


# ------------------------------------------------------------------------------------------------------------ the doors


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"recipe": "choi"}, "'default', 'choi2023'"),
        ({"published": PublishedOptions()}, "recipe='choi2023'"),
        ({"recipe": "choi2023", "architecture": Architecture()}, "PublishedOptions"),
        ({"recipe": "choi2023", "published": {"iterations": 5}}, "expected sivae.PublishedOptions"),
        ({"recipe": "choi2023", "decoder": "residual"}, "'published'"),
        ({"recipe": "choi2023", "likelihood": "zinb"}, "'normal', 'nb'"),
    ],
)
def test_wrong_choices_are_named(options, word):
    # E-11: unknown names raise.
    with pytest.raises(OptionError) as caught:
        SiVAE(counts(), n_latent=2, **options)
    assert word in str(caught.value)


def test_labels_choose_cells_and_nothing_else():
    options = PublishedOptions(feature_label_key="batch")
    with pytest.raises(OptionError, match="profiles='cells'"):
        SiVAE(counts(), recipe="choi2023", profiles="principal", published=options)


def test_counts_have_no_deterministic_autoencoder():
    options = PublishedOptions(model="vae", variational=False)
    with pytest.raises(OptionError, match="squared error"):
        SiVAE(counts(), recipe="choi2023", likelihood="nb", published=options)


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(SetupError, match="feature_label_key"):
        SiVAE(counts(), recipe="choi2023", published=PublishedOptions(feature_label_key="kind"))


def test_what_each_recipe_does_where_nothing_is_asked():
    chosen = ("gamma", "decoder", "kl_scale", "profiles", "dispersion")
    own = {
        ("default", "normal"): (0.5, "residual", "bound", "principal", "gene"),
        ("choi2023", "normal"): (0.05, "published", "published", "cells", "cell"),
        ("choi2023", "nb"): (0.05, "published", "published", "cells", "gene"),
    }
    for (recipe, likelihood), expected in own.items():
        options = SiVAE(counts(), recipe=recipe, likelihood=likelihood).options
        assert tuple(getattr(options, name) for name in chosen) == expected


def test_training_options_that_phases_do_not_read_are_not_kept():
    kept = trained(groups(60), options={"iterations": 2})._state.facts["train_options"]
    assert {"checks", "patience", "max_steps", "validation_fraction"} <= set(kept)
    assert not {"learning_rate", "clip_norm", "average_decay", "warmup_steps"} & set(kept)


def test_the_module_is_the_published_one_and_history_has_its_phases():
    adata = groups(60)
    with pytest.warns(SiVAEWarning, match="can stall"):
        model = trained(adata, options={"pretrain": False, "iterations": 3})
    assert isinstance(model._module, PublishedModule)
    assert model.history["stage"].unique().tolist() == [3]
    model = trained(adata, options={"iterations": 3})
    assert {"nll", "kl_cells", "kl_features", "penalty", "squared_error"} <= set(model.history)
    assert list(model.history.attrs["stage_seconds"]) == ["cells", "genes", "joint"]


@pytest.mark.parametrize("likelihood", ["normal", "nb", "zinb", "poisson", "bernoulli"])
def test_samples_of_the_default_recipe_have_the_moments_of_the_data(likelihood):
    adata = planted(400, 20, n_factors=2, genes_per_factor=8, seed=3)
    adata = adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()
    SiVAE.setup_anndata(adata)
    model = SiVAE(adata, n_latent=2, likelihood=likelihood)
    model.train(options=TrainOptions(max_steps=60, checks=3), progress=False, accelerator="cpu")
    x = np.asarray(adata.X.todense())
    library = float(x.sum(axis=1).mean())
    drawn, z = model.sample(4000, library_size=library, return_latent=True)
    assert z.shape == (4000, 2) and abs(z.mean()) < 0.05 and abs(z.std() - 1) < 0.05
    seen = (x > 0).mean(axis=0) if likelihood == "bernoulli" else x.mean(axis=0)
    if likelihood == "bernoulli":
        drawn = model.sample(4000, library_size=float((x > 0).sum(axis=1).mean()))
    assert np.corrcoef(drawn.mean(axis=0), seen)[0, 1] > 0.9
    if likelihood in ("nb", "zinb", "poisson"):
        assert float(drawn.to_numpy().sum(axis=1).mean()) == pytest.approx(library, rel=0.25)
        assert (drawn == drawn.round()).all(axis=None)


@pytest.mark.slow
def test_the_published_sizes_train():
    model = SiVAE(groups(300), n_latent=2, recipe="choi2023")
    model.train(max_epochs=60, progress=False, accelerator="cpu")
    z, group = model.get_latent_representation(), groups(300).obs["group"]
    assert cross_val_score(KNeighborsClassifier(6), z, group, cv=5).mean() > 0.9
