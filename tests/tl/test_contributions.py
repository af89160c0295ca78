"""A prediction and a position as sums: they add up, for every likelihood, covariates, rotations and closed axes."""

import numpy as np
import pandas as pd
import pytest
import torch
from builders import SMALL, train

import sivae.tl as tl
from sivae import Architecture, SiVAE
from sivae._errors import CellMismatchError, GeneMismatchError, OptionError
from sivae.datasets import planted
from sivae.tl._contributions import BASELINE, OTHERS

ENCODED = Architecture(
    cell_encoder=(12, 8), feature_encoder=(16,), cell_decoder=(16,), feature_decoder=(16,), n_joint=6,
    encode_covariates=True,
)  # fmt: skip
KINDS = {
    "normal": {},
    "published": {"decoder": "published"},
    "nb": {"likelihood": "nb"},
    "zinb": {"likelihood": "zinb"},
    "poisson": {"likelihood": "poisson"},
    "bernoulli": {"likelihood": "bernoulli"},
    "encoded": {"architecture": ENCODED},
}


@pytest.fixture(scope="module", params=KINDS)
def made(request):
    """Trained hard on few cells with a batch and a quantity, more axes than signals, and turned."""
    adata = planted(150, 40, n_factors=2, genes_per_factor=12, n_batches=2, batch_effect=0.5, signed=True, seed=7)
    adata.obs["age"] = np.random.default_rng(0).normal(40, 5, adata.n_obs)
    SiVAE.setup_anndata(adata, batch_key="batch", continuous_covariate_keys=["age"])
    options = {"n_latent": 4, "likelihood": "normal", "n_profile": 20, "architecture": SMALL} | KINDS[request.param]
    model = SiVAE(adata, **options)
    train(model, max_steps=40, learning_rate=0.01, average_decay=0.5)
    model.rotate("varimax")
    return model


def eta(model):
    """The predictor of every cell by the module itself, genes in the order of the AnnData."""
    module, expression = model._module, model._read(None)
    with torch.no_grad():
        design = torch.from_numpy(expression.design_nb)
        z = module.encode_cells(torch.from_numpy(expression.standardised(slice(None))), design).mean_rk
        v = module.encode_features(module.profile_gq).mean_rk
        full, _ = module.double().predict(z.double(), v.double(), design.double(), torch.arange(len(module.bias_g)))
        module.float()
    return pd.DataFrame(full.numpy(), model.adata.obs_names, model._state.reader.genes)[model.genes]


def parts(table):
    return [name for name in table.columns if name not in ("cell", "group", "gene", "predictor")]


# ------------------------------------------------------------------------------------------------------- decoder side


def test_parts_sum_to_the_predictor(made):
    table = tl.contributions(made.adata, made)
    assert parts(table) == ["bias", "covariates", "axis1", "axis2", "axis3", "axis4", "remainder"]
    found = table.pivot(index="cell", columns="gene", values="predictor").loc[made.adata.obs_names, made.genes]
    np.testing.assert_allclose(found, eta(made), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(table[parts(table)].sum(axis=1), table["predictor"], atol=1e-9)


def test_each_part_is_its_own_product(made):
    table, state = tl.contributions(made.adata, made, genes=made.genes[3]), made._state
    z, v = made.get_latent_representation(), made.get_feature_representation().loc[made.genes[3]]
    row = state.reader.genes.index(made.genes[3])
    design = made._read(None).design_nb
    gain = state.table.scale_g[row] * np.exp(design @ state.table.log_gain_gb[row])
    for axis in range(4):
        np.testing.assert_allclose(table[f"axis{axis + 1}"], gain * z[:, axis] * v.iloc[axis], atol=1e-5)
    np.testing.assert_allclose(table["covariates"], design @ state.table.offset_gb[row], atol=1e-5)
    assert table["bias"].nunique() == 1


def test_groups_are_means_of_their_cells(made):
    single = tl.contributions(made.adata, made, genes=made.genes[:5])
    single["group"] = made.adata.obs["group"].loc[single["cell"]].to_numpy()
    expected = single.groupby(["group", "gene"], observed=True)[[*parts(single), "predictor"]].mean()
    found = tl.contributions(made.adata, made, genes=made.genes[:5], groupby="group").set_index(["group", "gene"])
    np.testing.assert_allclose(found.loc[expected.index, expected.columns], expected, atol=1e-8)


# ------------------------------------------------------------------------------------------------------- encoder side


def test_genes_sum_to_the_position(made):
    cells = list(made.adata.obs_names[[5, 2, 77]])
    table = tl.contributions(made.adata, made, side="encoder", cells=cells)
    sums = table.groupby(["cell", "axis"])["total"].sum().unstack().loc[cells]
    np.testing.assert_allclose(sums, made.get_latent_representation(indices=[5, 2, 77]), atol=2e-5)
    assert table["gene"].unique().tolist() == [BASELINE, *made.genes]


def test_the_linear_part_is_exact_and_the_baseline_is_the_mean_cell(made):
    cells, module, expression = list(made.adata.obs_names[[5, 77]]), made._module, made._read(None)
    table = tl.contributions(made.adata, made, side="encoder", cells=cells).set_index(["cell", "axis", "gene"])
    design = torch.from_numpy(expression.design_nb[[5, 77]])
    turn = module.used_k.numpy()[:, None] * made._state.rotation_kk
    with torch.no_grad():
        x = module.without_covariates(torch.from_numpy(expression.standardised(np.array([5, 77]))), design)
        seen = design if module.architecture.encode_covariates else None
        at_mean = module.cell_tower.encode(0 * x, covariates_rb=seen)[0].numpy() @ turn
    skip = module.cell_tower.skip_pk.detach().numpy() @ turn
    genes = made._state.reader.genes
    for row, cell in enumerate(cells):
        for axis in range(4):
            found = table.loc[(cell, f"axis{axis + 1}")]
            np.testing.assert_allclose(found.loc[list(genes), "linear"], x[row].numpy() * skip[:, axis], atol=1e-6)
            assert found.loc[BASELINE, "total"] == pytest.approx(at_mean[row, axis], abs=1e-5)
            assert found.loc[BASELINE, "linear"] == 0


def test_groups_and_other_genes_add_up(made):
    genes = made.genes[7:2:-1]
    whole = tl.contributions(made.adata, made, side="encoder", groupby="group", axes="axis2")
    some = tl.contributions(made.adata, made, side="encoder", groupby="group", axes="axis2", genes=genes)
    assert some["gene"].unique().tolist() == [BASELINE, *genes, OTHERS]
    z = pd.Series(made.get_latent_representation()[:, 1], made.adata.obs_names)
    mean = z.groupby(made.adata.obs["group"].astype(str)).mean()
    for table in (whole, some):
        np.testing.assert_allclose(table.groupby("group")["total"].sum()[mean.index], mean, atol=2e-5)
    both = whole.merge(some, on=["group", "gene"])
    np.testing.assert_allclose(both["total_x"], both["total_y"], atol=1e-10)


def test_permuting_genes_and_cells_permutes_the_table(normal_model, counts_adata, rng):
    other = counts_adata[rng.permutation(counts_adata.n_obs), rng.permutation(counts_adata.n_vars)].copy()
    cells, keys = list(counts_adata.obs_names[:3]), {"decoder": ["cell", "gene"], "encoder": ["cell", "axis", "gene"]}
    for side, key in keys.items():
        found, expected = (
            tl.contributions(each, normal_model, side=side, cells=cells).set_index(key)
            for each in (other, counts_adata)
        )
        np.testing.assert_allclose(found.loc[expected.index], expected, atol=1e-6)


def test_nothing_but_the_axes_depends_on_how_they_are_turned(normal_model, counts_adata):
    before = tl.contributions(counts_adata, normal_model, genes=normal_model.genes[:2])
    normal_model.rotate("varimax")
    after = tl.contributions(counts_adata, normal_model, genes=normal_model.genes[:2])
    for name in ("bias", "covariates", "remainder", "predictor"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)
    assert not np.allclose(after["axis1"], before["axis1"])


def test_why_a_group_is_high_on_its_axis(normal_model, counts_adata):
    """The genes that put cells on one side of an axis are genes of the planted factor."""
    normal_model.annotate(counts_adata)
    z = counts_adata.obsm["X_sivae"][:, 0]
    side = np.where(z > 0.8, "high", "rest")
    counts_adata.obs["side"] = side
    table = tl.contributions(counts_adata, normal_model, side="encoder", groupby="side", axes="axis1")
    high = table[(table["group"] == "high") & (table["gene"] != BASELINE)].sort_values("total")["gene"]
    modules = counts_adata.var["module"].loc[high.iloc[-6:]].tolist()
    assert sum(module != "none" for module in modules) >= 5


# -------------------------------------------------------------------------------------------------------------- errors


def test_names_that_are_not_there(normal_model, counts_adata):
    with pytest.raises(GeneMismatchError, match="not trained on GENE_1.*Did you mean gene_1"):
        tl.contributions(counts_adata, normal_model, genes="GENE_1")
    with pytest.raises(CellMismatchError, match="no cell nobody"):
        tl.contributions(counts_adata, normal_model, cells=["nobody"])
    with pytest.raises(OptionError, match="no axis axis9, expected some of axis1"):
        tl.contributions(counts_adata, normal_model, side="encoder", axes=["axis9"])
    with pytest.raises(OptionError, match="groupby='kind'"):
        tl.contributions(counts_adata, normal_model, groupby="kind")


def test_options_out_of_range(normal_model, counts_adata, monkeypatch):
    with pytest.raises(OptionError, match="side is 'both'"):
        tl.contributions(counts_adata, normal_model, side="both")
    with pytest.raises(OptionError, match="tolerance is 0; expected more than 0"):
        tl.contributions(counts_adata, normal_model, side="encoder", tolerance=0)
    with pytest.raises(OptionError, match="genes is empty"):
        tl.contributions(counts_adata, normal_model, genes=[])
    with pytest.raises(OptionError, match="axes= belongs to the encoder side"):
        tl.contributions(counts_adata, normal_model, axes="axis1", genes=normal_model.genes[0])
    monkeypatch.setattr("sivae.tl._contributions.MOST_NUMBERS", 1000)
    with pytest.raises(OptionError, match="for 240 cells, expected at most 1,000. Name genes or cells"):
        tl.contributions(counts_adata, normal_model)
