"""What the gene encoder reads: a sample of cells, or an array of varm matched by name."""

import numpy as np
import pandas as pd
import pytest
from batches import batched
from builders import SMALL, train
from safetensors.numpy import load_file, save_file
from scipy import sparse

from sivae import SiVAE
from sivae._errors import ArtefactError, GeneMismatchError, SetupError
from sivae.data._profiles import CellProfiles, StoredProfiles, read_stored, sample_cells
from sivae.datasets import planted
from sivae.model._fit import split_rows


def described(n=300, *, noise=0.3, seed=0):
    """Cells and genes of two factors; varm["text"] knows each gene's loadings, with noise, among other columns."""
    adata = planted(n, 60, n_factors=2, genes_per_factor=20, counts=False, signed=True, seed=seed)
    rng = np.random.default_rng(seed)
    v = adata.varm["planted_v"]
    turn = rng.normal(size=(2, 6))
    adata.varm["text"] = 5.0 + v @ turn + noise * v.std() * rng.normal(size=(60, 6))
    adata.varm["shuffled"] = adata.varm["text"][rng.permutation(60)]
    return adata


def fitted(adata, *, steps=60, seed=0, **options):
    SiVAE.setup_anndata(adata)
    options = {"n_latent": 2, "architecture": SMALL, "seed": seed} | options
    model = SiVAE(adata, **options)
    train(model, max_steps=steps, learning_rate=0.01, average_decay=0.5)
    return model


# ------------------------------------------------------------------------------------------------------ sample of cells


def test_a_sample_is_fixed_and_in_order():
    cells = sample_cells(1000, 30)
    assert len(np.unique(cells)) == 30
    assert (np.diff(cells) > 0).all()
    np.testing.assert_array_equal(cells, sample_cells(1000, 30))
    np.testing.assert_array_equal(sample_cells(30, 30), np.arange(30))
    assert cells.max() > 900 > 100 > cells.min()


def test_profiles_of_a_sample_are_its_values():
    """Standardised, without the effect of covariates, of training cells alone."""
    adata = batched(300)
    SiVAE.setup_anndata(adata, batch_key="batch")
    model = SiVAE(adata, n_latent=2, profiles="cells", n_profile=25, architecture=SMALL)
    train(model, max_steps=2, checks=1)
    module, state = model._module, model._state
    rows, _ = split_rows(adata, state.split())
    cells = state.reader.read(adata[rows])
    x = cells.standardised(slice(None))
    clean = (x - cells.design_nb @ module.shift_bg.numpy()) / np.exp(cells.design_nb @ module.log_gain_bg.numpy())
    np.testing.assert_allclose(module.profile_gq, clean[sample_cells(len(rows), 25)].T, atol=1e-5)


def test_a_sample_of_cells_embeds_new_genes_and_is_saved(tmp_path):
    adata = described()
    seen = adata[:, ::2].copy()
    model = fitted(seen, profiles="cells", n_profile=40)
    assert model._module.profile_gq.shape == (30, 40)
    found = model.get_feature_representation(adata)
    np.testing.assert_allclose(
        found.loc[seen.var_names], model.get_feature_representation(), atol=0.02 * np.abs(found.to_numpy()).max()
    )
    model.save(tmp_path / "m")
    loaded = SiVAE.load(tmp_path / "m", seen)
    np.testing.assert_allclose(loaded.get_feature_representation(adata), found, atol=1e-6)
    assert loaded.options.n_profile == 40


def test_new_genes_read_the_same_cells():
    x, cells = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([0, 2])
    profiles = CellProfiles(x[cells], cells)
    np.testing.assert_array_equal(profiles.of_new(x), profiles.of_modelled())


# ------------------------------------------------------------------------------------------------------- arrays of varm


def test_stored_profiles_are_scaled_over_modelled_genes(rng):
    stored = rng.normal(3, [0.1, 10, 0], size=(50, 3)).astype(np.float32)
    profiles = StoredProfiles(stored)
    found = profiles.of_modelled()
    np.testing.assert_allclose(found[:, :2].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found[:, :2].std(axis=0), 1, atol=1e-4)
    assert (found[:, 2] == 0).all()  # the same for every gene: nothing to read
    new = stored[:4] + np.float32(1)
    wanted = (new[:, :2] - stored.mean(axis=0)[:2]) / stored.std(axis=0)[:2]
    np.testing.assert_allclose(profiles.of_new(np.zeros((9, 4), np.float32), new)[:, :2], wanted, rtol=1e-3)


def test_the_module_reads_the_array_by_name():
    adata = described()
    model = fitted(adata, profiles="text", steps=2)
    genes = sorted(adata.var_names)
    wanted = StoredProfiles(adata[:, genes].varm["text"].astype(np.float32)).of_modelled()
    np.testing.assert_allclose(model._module.profile_gq, wanted, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_a_shuffled_array_loses(seed):
    """The rows of the right genes explain held-out cells; the same rows at other genes hardly do."""
    adata = described(seed=seed)
    models = {key: fitted(adata, profiles=key, seed=seed, steps=120) for key in ("text", "shuffled")}
    loss = {key: model.history["validation_loss"].min() for key, model in models.items()}
    r2 = {key: float(model._state.table.r2_g[:60].mean()) for key, model in models.items()}
    assert loss["text"] < loss["shuffled"] - 1.0, loss
    assert r2["text"] > 1.4 * max(r2["shuffled"], 0.02), r2


@pytest.mark.parametrize("storage", ["array", "frame", "sparse"])
def test_order_and_storage_of_genes_do_not_matter(storage):
    adata = described()
    one = fitted(adata, profiles="text", steps=12)
    other = adata[:, np.random.default_rng(1).permutation(60)].copy()
    if storage == "frame":
        other.varm["text"] = pd.DataFrame(other.varm["text"], index=other.var_names, columns=list("abcdef"))
    elif storage == "sparse":
        other.varm["text"] = sparse.csr_matrix(other.varm["text"])
    two = fitted(other, profiles="text", steps=12)
    for a, b in zip(one._module.state_dict().values(), two._module.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        two.get_feature_representation().loc[adata.var_names], one.get_feature_representation()
    )
    np.testing.assert_array_equal(two.get_latent_representation(adata), one.get_latent_representation())


def test_unseen_genes_are_placed_by_their_rows_and_the_model_is_saved(tmp_path):
    adata = described()
    seen, unseen = adata[:, ::2].copy(), adata[:, 1::2].copy()
    model = fitted(seen, profiles="text", steps=120)
    found = model.get_feature_representation(unseen)
    whole = fitted(adata, profiles="text", steps=120).get_feature_representation().loc[unseen.var_names]
    for axis in whole:
        assert max(abs(np.corrcoef(found[other], whole[axis])[0, 1]) for other in found) > 0.8
    moved = unseen.copy()
    moved.X = moved.X[np.random.default_rng(0).permutation(moved.n_obs)]
    np.testing.assert_allclose(model.get_feature_representation(moved), found, atol=1e-5)  # the row alone places it
    model.save(tmp_path / "m")
    loaded = SiVAE.load(tmp_path / "m", seen)
    np.testing.assert_array_equal(loaded.get_latent_representation(), model.get_latent_representation())
    np.testing.assert_array_equal(loaded._module.profile_gq, model._module.profile_gq)
    np.testing.assert_allclose(loaded.get_feature_representation(unseen), found, atol=1e-6)
    assert loaded.get_elbo(seen) == model.get_elbo(seen)
    del unseen.varm["text"]
    with pytest.raises(SetupError, match=r"no varm\['text'\] to take profiles from; varm holds: planted_v, shuffled"):
        loaded.get_feature_representation(unseen)


def test_annotating_new_genes_by_their_rows():
    adata = described()
    model = fitted(adata[:, ::2].copy(), profiles="text", steps=60)
    model.annotate(adata, project=True)
    assert np.isfinite(adata.varm["X_sivae"]).all()
    assert (~adata.var["sivae_modelled"]).sum() == 30


def nan_at(adata, gene, value=np.nan):
    adata.varm["text"][gene, 2] = value


@pytest.mark.parametrize(
    ("harm", "error", "match"),
    [
        (
            lambda a: nan_at(a, 7),
            SetupError,
            r"varm\['text'\] is not finite for 1 genes, the first being 'gene_8'. Fill",
        ),
        (lambda a: nan_at(a, 3, np.inf), SetupError, r"not finite for 1 genes, the first being 'gene_4'"),
        (lambda a: a.varm.pop("text"), SetupError, r"no varm\['text'\].*varm holds: planted_v, shuffled. Choose one"),
        (
            lambda a: a.varm.__setitem__("text", np.zeros((60, 2, 2))),
            SetupError,
            r"varm\['text'\] has shape \(60, 2, 2\) and type float64; expected genes x numbers",
        ),
        (lambda a: a.varm.__setitem__("text", np.zeros((60, 0))), SetupError, r"has shape \(60, 0\)"),
        (
            lambda a: a.varm.__setitem__("text", np.full((60, 2), "x")),
            SetupError,
            r"has shape \(60, 2\) and type .*; expected genes x numbers",
        ),
        (
            lambda a: a.varm.__setitem__("text", pd.DataFrame({"a": ["x"] * 60, "b": 1.0}, index=a.var_names)),
            SetupError,
            "expected genes x numbers",
        ),
    ],
)
def test_arrays_that_cannot_be_read_are_refused_before_training(harm, error, match):
    adata = described(40)
    SiVAE.setup_anndata(adata)
    harm(adata)
    with pytest.raises(error, match=match):
        SiVAE(adata, profiles="text")


def test_missing_genes_are_named():
    adata = described(40)
    with pytest.raises(GeneMismatchError, match=r"2 genes are not in the AnnData that holds varm\['text'\]: no1, no2"):
        read_stored(adata, "text", ["gene_1", "no1", "no2"])


def test_a_saved_model_without_its_array_is_damaged(tmp_path):
    model = fitted(described(), profiles="text", steps=2)
    model.save(tmp_path / "m")
    tables = load_file(tmp_path / "m" / "tables.safetensors")
    assert tables["stored_gq"].shape == (60, 6)
    save_file({k: v for k, v in tables.items() if k != "stored_gq"}, tmp_path / "m" / "tables.safetensors")
    with pytest.raises(ArtefactError, match="damaged"):
        SiVAE.load(tmp_path / "m")
