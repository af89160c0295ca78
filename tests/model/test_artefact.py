"""A saved model is whole, holds no data, gives the same answers, and says what is wrong with a damaged one."""

import json

import numpy as np
import pandas as pd
import pytest
from builders import SMALL, train
from safetensors.numpy import load_file, save_file

from sivae import SiVAE
from sivae._errors import ArtefactError
from sivae._whole import SUMS, read_sums, sha256, write_sums
from sivae.datasets import planted

FILES = ["README.md", "checksums.sha256", "config.json", "tables.safetensors", "weights.safetensors"]


@pytest.fixture
def folder(model, tmp_path):
    model.rotate("varimax")
    model.save(tmp_path / "model")
    return tmp_path / "model"


def same_answers(one, two, adata):
    for a, b in (
        (
            one.get_latent_representation(adata, return_dist=True),
            two.get_latent_representation(adata, return_dist=True),
        ),
        (one.get_feature_representation(return_dist=True), two.get_feature_representation(return_dist=True)),
        (one.get_normalized_expression(adata), two.get_normalized_expression(adata)),
        (one.get_reconstruction_error(adata, per_feature=True), two.get_reconstruction_error(adata, per_feature=True)),
        (one.get_elbo(adata), two.get_elbo(adata)),
    ):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_what_is_loaded_answers_to_the_last_bit(model, folder, counts_adata):
    loaded = SiVAE.load(folder)
    same_answers(loaded, model, counts_adata)
    assert loaded.options == model.options
    assert loaded.genes == model.genes
    assert repr(loaded) == repr(model)
    pd.testing.assert_frame_equal(loaded.history, model.history)
    loaded.rotate("none")
    assert np.abs(loaded.get_latent_representation(counts_adata) - model.get_latent_representation()).max() > 1e-3


def test_a_folder_of_the_first_format_loads(model, folder, counts_adata):
    """It knows neither dispersion nor zero inflation nor values read as 0 or 1."""

    def older(config):
        config["format"] = 1
        for name in ("dispersion", "recipe", "published"):
            del config["options"][name]
        del config["binary"]

    edit(folder, older)
    without_sums(folder)
    drop_table(folder, "gene/inflation_g")
    loaded = SiVAE.load(folder)
    same_answers(loaded, model, counts_adata)
    assert loaded.options == model.options
    edit(folder, lambda config: config.update(format=2))
    with pytest.raises(ArtefactError, match="damaged"):
        SiVAE.load(folder)


def test_a_folder_of_the_second_format_loads(model, folder, counts_adata):
    """It knows no recipes."""

    def older(config):
        config["format"] = 2
        del config["options"]["recipe"], config["options"]["published"]

    edit(folder, older)
    without_sums(folder)
    loaded = SiVAE.load(folder)
    same_answers(loaded, model, counts_adata)
    assert loaded.options == model.options


def test_loading_with_the_training_cells_embeds_genes(model, folder, counts_adata):
    loaded = SiVAE.load(folder, counts_adata)
    np.testing.assert_array_equal(loaded.get_latent_representation(), model.get_latent_representation())
    pd.testing.assert_frame_equal(
        loaded.get_feature_representation(counts_adata), model.get_feature_representation(counts_adata)
    )


def test_annotating_from_a_loaded_model_is_the_same(model, folder, counts_adata):
    other = counts_adata.copy()
    model.annotate(counts_adata)
    SiVAE.load(folder, other).annotate(other)
    pd.testing.assert_frame_equal(other.var, counts_adata.var)
    pd.testing.assert_frame_equal(other.obs, counts_adata.obs)
    for key in counts_adata.varm:
        np.testing.assert_array_equal(other.varm[key], counts_adata.varm[key])


def test_saving_what_was_loaded_gives_the_same_files(folder, tmp_path):
    SiVAE.load(folder).save(tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_it_holds_no_cell_names_and_no_values(folder, counts_adata):
    """E-24, E-40: the folder can be given away without giving away cells."""
    assert sorted(path.name for path in folder.iterdir()) == FILES
    everything = b"".join(path.read_bytes() for path in folder.iterdir())
    for name in counts_adata.obs_names:
        assert f'"{name}"'.encode() not in everything
    assert b"cell_1" not in everything
    assert b"gene_1" in everything
    n_cells = {counts_adata.n_obs, json.loads((folder / "config.json").read_text())["facts"]["n_training_cells"]}
    for name in ("weights.safetensors", "tables.safetensors"):
        for key, tensor in load_file(folder / name).items():
            assert not n_cells & set(tensor.shape), key


def test_its_size_does_not_grow_with_the_cells(tmp_path):
    sizes = []
    for n_cells in (150, 600):
        adata = planted(n_cells, 40, n_factors=2, genes_per_factor=10)
        SiVAE.setup_anndata(adata, size_factor_key="size_factor")
        model = SiVAE(adata, n_latent=2, n_profile=12, architecture=SMALL)
        train(model, max_steps=4, checks=2)
        model.save(tmp_path / str(n_cells))
        sizes.append(
            sum(
                (tmp_path / str(n_cells) / name).stat().st_size
                for name in ("weights.safetensors", "tables.safetensors")
            )
        )
    assert sizes[0] == sizes[1]


def test_a_folder_that_exists_is_not_replaced_unasked(model, folder):
    before = (folder / "config.json").read_bytes()
    with pytest.raises(ArtefactError, match="exists. Choose another folder or pass overwrite=True"):
        model.save(folder)
    model.rotate("none")
    model.save(folder, overwrite=True)
    assert (folder / "config.json").read_bytes() != before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]  # nothing temporary is left


def test_another_persons_folder_is_never_replaced(model, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    with pytest.raises(ArtefactError, match="not a saved model .* not replaced"):
        model.save(tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "years of work"


def test_a_place_that_cannot_be_written(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError):
        model.save(tmp_path / "file" / "model")


def edit(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def without_sums(folder):
    """As models of formats 1 to 3 are."""
    (folder / SUMS).unlink()
    (folder / "README.md").unlink()


def set_table(folder, key, values):
    save_file(load_file(folder / "tables.safetensors") | {key: values}, folder / "tables.safetensors")


def drop_table(folder, key):
    tables = load_file(folder / "tables.safetensors")
    del tables[key]
    save_file(tables, folder / "tables.safetensors")


DAMAGES = {
    "no configuration": (lambda f: (f / "config.json").unlink(), "Found no config.json in"),
    "cut configuration": (
        lambda f: (f / "config.json").write_text((f / "config.json").read_text()[:200]),
        "cannot be read",
    ),
    "binary configuration": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    "a list": (lambda f: (f / "config.json").write_text("[1]"), "no format number"),
    "newer format": (
        lambda f: edit(f, lambda c: c.update(format=99)),
        "format 99; this version reads up to 4. Update siVAE",
    ),
    "no format": (lambda f: edit(f, lambda c: c.pop("format")), "no format number"),
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), "Found no weights.safetensors in .* not whole"),
    "cut weights": (
        lambda f: (f / "weights.safetensors").write_bytes((f / "weights.safetensors").read_bytes()[:-100]),
        "damaged",
    ),
    "empty tables": (lambda f: (f / "tables.safetensors").write_bytes(b""), "damaged"),
    "a table is missing": (lambda f: drop_table(f, "gene/loading_gk"), "damaged"),
    "a part of the configuration is missing": (lambda f: edit(f, lambda c: c.pop("genes")), "damaged"),
    "weights of another shape": (
        lambda f: edit(f, lambda c: c["options"]["architecture"].update(n_joint=5)),
        "damaged",
    ),
    "an unknown option": (lambda f: edit(f, lambda c: c["options"].update(flavour="x")), "damaged"),
    "nested beyond measure": (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json cannot be read"),
    "a number too long": (lambda f: (f / "config.json").write_text("1" * 10_000), "config.json cannot be read"),
    "a format that is true": (lambda f: edit(f, lambda c: c.update(format=True)), "no format number"),
    "format 0": (lambda f: edit(f, lambda c: c.update(format=0)), "no format number"),
    "a gene twice": (lambda f: edit(f, lambda c: c["genes"].__setitem__(1, c["genes"][0])), "different names"),
    "another order": (lambda f: edit(f, lambda c: c["gene_order"].pop()), "gene_order does not hold the genes"),
    "more axes": (lambda f: edit(f, lambda c: c["options"].update(n_latent=4)), "along k, expected 4"),
    "another design": (lambda f: edit(f, lambda c: c["setup"]["categories"]["batch"].pop()), "along b, expected 1"),
    "a history that is cut": (lambda f: edit(f, lambda c: c["history"]["loss"].pop()), "history have different"),
    "no history": (lambda f: edit(f, lambda c: c.update(history={"step": []})), "history has no rows"),
    "facts that lack": (lambda f: edit(f, lambda c: c["facts"].pop("best_step")), "facts/best_step is missing"),
    "a table of other axes": (lambda f: set_table(f, "gene/bias_g", np.zeros((2, 2), np.float32)), "bias_g has 2 axes"),
    "a table that is longer": (
        lambda f: set_table(f, "gene/bias_g", np.zeros(99, np.float32)),
        "bias_g has 99 along g",
    ),
    "tables of text": (lambda f: set_table(f, "gene/bias_g", np.zeros(50, np.uint8)), "as torch.uint8, expected"),
    "sizes without weights": (
        lambda f: edit(f, lambda c: c["options"]["architecture"].update(cell_encoder=[10**9, 10**9])),
        "need more than the",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_recognised_where_sums_say_nothing(folder, damage):
    """As somebody could write it on purpose, with sums that agree."""
    harm, match = DAMAGES[damage]
    harm(folder)
    (folder / SUMS).unlink()
    write_sums(folder)
    with pytest.raises(ArtefactError, match=match):
        SiVAE.load(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_recognised_by_sums_before_anything_is_read(folder, damage, monkeypatch):
    DAMAGES[damage][0](folder)
    if damage != "no configuration" and sha256(folder / "config.json") != read_sums(folder)["config.json"]:
        monkeypatch.setattr("json.loads", lambda _: pytest.fail("the configuration was read"))
    with pytest.raises(ArtefactError, match=r"(json|tensors) is not as it was written|no config.json|no weights"):
        SiVAE.load(folder)


def test_what_is_not_there(tmp_path):
    with pytest.raises(ArtefactError, match="not a saved model"):
        SiVAE.load(tmp_path / "nothing")
