"""Layers of both decoders: the weights multiplied out, the joint layer that predictions are made of, refusals."""

import numpy as np
import pytest
from builders import make_module
from published import groups, make_published, trained

from sivae import Architecture, SiVAE
from sivae._errors import CellMismatchError, OptionError
from sivae.model._layers import check_layer, widths


def by_hand(mlp, x):
    """Products with the weights, one after another; the last is not rectified."""
    for number, layer in enumerate(mlp.layers):
        x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        x = np.maximum(x, 0) if number < len(mlp.layers) - 1 else x
        yield x


def design_of(model, adata):
    return model._state.reader.read(adata).design_nb


def test_layers_are_the_weights_multiplied_out(normal_model, counts_adata):
    module = normal_model._module
    z = normal_model.get_latent_representation()
    rows = np.concatenate([z, design_of(normal_model, counts_adata)], axis=1)
    for number, expected in enumerate(by_hand(module.cell_tower.decoder, rows), start=1):
        np.testing.assert_allclose(normal_model.get_decoder_layer(number), expected, atol=1e-5)
    v = module.encode_features(module.profile_gq).mean_rk.detach().numpy()
    for number, expected in enumerate(by_hand(module.feature_tower.decoder, v), start=1):
        found = normal_model.get_decoder_layer(number, side="genes")
        assert list(found.index) == list(counts_adata.var_names) and found.columns[0] == "unit1"
        np.testing.assert_allclose(found.loc[list(normal_model._state.reader.genes)], expected, atol=1e-5)


def test_the_last_layers_are_the_joint_ones(normal_model, counts_adata):
    h, w = (normal_model.get_decoder_layer(2, side=side) for side in ("cells", "genes"))
    normal_model.annotate(counts_adata)
    np.testing.assert_allclose(w, counts_adata.varm["X_sivae_joint"], atol=1e-6)
    explanation = normal_model.explain()
    linear = normal_model._state.linear
    rest = linear.remainder(normal_model.get_latent_representation(), h, design_of(normal_model, counts_adata))
    np.testing.assert_allclose(rest, explanation.layer()[1], atol=1e-5)
    np.testing.assert_allclose(explanation.gene_layer(2), w, atol=1e-6)


def test_new_cells_turned_axes_and_saved_models(normal_model, counts_adata, tmp_path):
    expected = normal_model.get_decoder_layer(1)
    few = counts_adata[[5, 3]].copy()
    np.testing.assert_allclose(normal_model.get_decoder_layer(1, few), expected[[5, 3]], atol=1e-6)
    normal_model.rotate("varimax")
    np.testing.assert_array_equal(normal_model.get_decoder_layer(1), expected)
    normal_model.save(tmp_path / "model")
    loaded = SiVAE.load(tmp_path / "model", counts_adata)
    for side in ("cells", "genes"):
        expected = np.asarray(normal_model.get_decoder_layer(1, side=side))
        np.testing.assert_allclose(np.asarray(loaded.get_decoder_layer(1, side=side)), expected, atol=1e-5)


def test_the_published_decoders_make_its_predictions():
    """y.w + bias, from the last layers of both sides."""
    adata = groups()
    model = trained(adata, profiles="principal", n_profile=10)
    assert model.explain().widths == {"cells": (16, 32), "genes": (16, 32)}
    y, w = (np.asarray(model.get_decoder_layer(2, side=side)) for side in ("cells", "genes"))
    bias = model._module.bias_g.detach().numpy()[[model._state.reader.genes.index(g) for g in adata.var_names]]
    scaling = model._state.reader.scaling
    order = [model._state.reader.genes.index(g) for g in adata.var_names]
    expected = (y @ w.T + bias) * scaling.sd_g[order] + scaling.mean_g[order]
    np.testing.assert_allclose(model.get_normalized_expression(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"cells": (5, 6, 4), "genes": (5, 6, 4)}),
        ({"linear_decoder": True}, {"cells": (3,), "genes": (3,)}),
        ({"model": "vae"}, {"cells": (5, 6, 4), "genes": ()}),
    ],
)
def test_widths_of_published_decoders(options, expected):
    assert widths(make_published(n_design=1, **options)) == expected


def test_widths_where_covariates_stay_out():
    module = make_module(n_design=2, decode_covariates=False, cell_decoder=(5, 4))
    assert widths(module) == {"cells": (5, 4, 3), "genes": (4, 3)}


@pytest.mark.parametrize("number", [0, 3, -1, 1.5, "h", True])
def test_no_such_layer(normal_model, number):
    with pytest.raises(OptionError, match="layer is|expected"):
        normal_model.get_decoder_layer(number)


def test_no_such_side(normal_model):
    with pytest.raises(OptionError, match="side is 'w'; expected 'cells' or 'genes'"):
        normal_model.get_decoder_layer(1, side="w")


def test_a_plain_vae_has_no_decoder_of_genes():
    with pytest.raises(OptionError, match="no decoder of genes"):
        check_layer(make_published(model="vae"), "genes", 1)


def test_profiles_that_were_not_saved_are_asked_for(counts_adata, tmp_path):
    model = SiVAE(
        counts_adata, n_latent=2, profiles="cells", architecture=Architecture(cell_decoder=(4,), feature_decoder=(4,))
    )
    model.train(max_epochs=1, progress=False)
    model.save(tmp_path / "model")
    loaded = SiVAE.load(tmp_path / "model", counts_adata)
    assert loaded.get_decoder_layer(1).shape == (counts_adata.n_obs, 4)
    with pytest.raises(CellMismatchError, match="needs the profiles of the genes"):
        loaded.get_decoder_layer(1, side="genes")
