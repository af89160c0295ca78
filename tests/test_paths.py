"""Names and links cannot make anything be written, or read, outside of the place that was asked for."""

import hashlib
import re
import shutil

import h5py
import hostile
import numpy as np
import pytest
from builders import SMALL
from typer.testing import CliRunner

from sivae import SiVAE, TrainOptions, cli, datasets
from sivae._errors import ArtefactError, SetupError
from sivae._run._cells import open_cells
from sivae.cohort import _kept
from sivae.cohort._separate import fit_separately

WINDOWS = {"CON", "PRN", "AUX", "NUL", *(f"{kind}{n}" for kind in ("COM", "LPT") for n in range(1, 10))}
EVIL = [
    *hostile.PATHS, "../../evil", "/etc/x", "..", ".", "", "CON", "con.", "nul.txt", "a\0b", "\0", "x" * 400, "a:b",
    "~", "\u202e", "C:\\x", "..\\..\\x", "-rf", "a\nb", "%2e%2e%2f", "donor 1", "donor_1", "\u00e9", "e\u0301",
    "a.b", "a_b",
]  # fmt: skip


def sivae(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def listed(folder):
    """Everything below a folder with its content, links as links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        key = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[key] = ("link", str(path.readlink()))
        elif path.is_file():
            found[key] = ("file", hashlib.sha256(path.read_bytes()).hexdigest())
        else:
            found[key] = ("folder", "")
    return found


# --------------------------------------------------------------------------------------------------------- individuals


@pytest.mark.parametrize("name", dict.fromkeys(EVIL))
def test_the_file_of_an_individual_lies_in_its_folder(tmp_path, name):
    folder = tmp_path / "kept"
    folder.mkdir()
    place = _kept.place(folder, name)
    assert place.parent == folder and re.fullmatch(r"[A-Za-z0-9_-]+\.safetensors", place.name)
    assert len(place.name) < 100 and place.name.split(".")[0].upper() not in WINDOWS
    result = _kept.Result({"x": np.arange(3.0)}, {"who": name}, (name,))
    _kept.write(place, result, "print")
    read = _kept.read(place, "print")
    assert read.facts == {"who": name} and read.notes == (name,) and list(read.arrays["x"]) == [0, 1, 2]
    assert set(listed(tmp_path)) == {"kept", f"kept/{place.name}"}


def test_each_individual_has_a_file_of_its_own(tmp_path):
    names = list(dict.fromkeys(EVIL))
    places = {_kept.place(tmp_path, name).name.lower() for name in names}
    assert len(places) == len(names)


# --------------------------------------------------------------------------------------------------------------- links


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A small run."""
    folder = tmp_path_factory.mktemp("paths")
    datasets.planted(80, 40, n_factors=2, genes_per_factor=12, seed=3).write_h5ad(folder / "cells.h5ad")
    done = sivae("fit", folder / "cells.h5ad", "-o", folder / "run", "--n-latent", "2", "--max-epochs", "1",
                 "--accelerator", "cpu")  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("there", [True, False], ids=["file", "nothing"])
@pytest.mark.parametrize(("command", "page"), [("report", "report.html"), ("explore", "explorer.html")])
def test_a_page_that_is_a_link_is_replaced_and_not_followed(fitted, tmp_path, command, page, there):
    run, victim = tmp_path / "run", tmp_path / "victim"
    shutil.copytree(fitted / "run", run)
    if there:
        victim.write_text("mine")
    (run / page).unlink()
    (run / page).symlink_to(victim)
    done = sivae(command, run)
    assert done.exit_code == 0, done.output
    assert not (run / page).is_symlink() and (run / page).stat().st_size > 10_000
    assert victim.read_text() == "mine" if there else not victim.exists()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["fit", "embed", "explore", "cohort"])
def test_a_place_that_is_a_link_counts_as_taken(fitted, tmp_path, what):
    """Also one that points at nothing: what is written would lie where the link points."""
    out = tmp_path / "out.h5ad"
    out.symlink_to(tmp_path / "elsewhere")
    calls = {
        "fit": ("fit", fitted / "cells.h5ad", "-o", out),
        "embed": ("embed", fitted / "run", fitted / "cells.h5ad", "-o", out),
        "explore": ("explore", fitted / "run", "-o", out),
        "cohort": ("cohort", fitted / "cells.h5ad", "-o", out, "--sample", "group", "--phenotype", "group"),
    }
    done = sivae(*calls[what])
    assert done.exit_code == 1 and "nothing is overwritten" in done.output
    assert listed(tmp_path) == {"out.h5ad": ("link", str(tmp_path / "elsewhere"))}


def test_a_model_that_replaces_a_link_leaves_what_it_points_at(nb_model, tmp_path):
    nb_model.save(tmp_path / "mine")
    before = listed(tmp_path / "mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    nb_model.save(tmp_path / "link", overwrite=True)
    assert listed(tmp_path / "mine") == before
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "link" / "config.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "link"}


def test_a_model_that_holds_links_is_replaced_without_what_they_point_at(nb_model, tmp_path):
    nb_model.save(tmp_path / "model")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "thesis").write_text("mine")
    (tmp_path / "model" / "more").symlink_to(tmp_path / "others")
    nb_model.save(tmp_path / "model", overwrite=True)
    assert (tmp_path / "others" / "thesis").read_text() == "mine"
    assert not (tmp_path / "model" / "more").exists()


def test_reading_a_model_writes_nothing_whatever_its_names_are(nb_model, tmp_path):
    """Arrays and settings that are called like paths are names and nothing else."""
    import json

    from safetensors.numpy import load_file, save_file

    nb_model.save(tmp_path / "a" / "model")
    folder = tmp_path / "a" / "model"
    arrays = load_file(folder / "tables.safetensors")
    save_file(arrays | {"../../evil": np.zeros(2), "/etc/x": np.zeros(2)}, folder / "tables.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"../../evil": "../../evil", "__class__": "os.system"}))
    before = listed(tmp_path)
    try:
        model = SiVAE.load(folder)
    except ArtefactError:
        pass
    else:
        assert list(model.genes) == list(nb_model.genes)
    assert listed(tmp_path) == before


# ------------------------------------------------------------------------------------- files that name other files


def external_link(file, other):
    del file["X"]
    file["X"] = h5py.ExternalLink(str(other), "/secret")


def external_link_deep(file, other):
    file["uns"].create_group("a/b")["c"] = h5py.ExternalLink("nowhere.h5", "/secret")


def external_bytes(file, other):
    del file["X"]
    file.create_dataset("X", (30, 10), "u1", external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def virtual(file, other):
    del file["X"]
    layout = h5py.VirtualLayout((30, 10), "f4")
    layout[:] = h5py.VirtualSource(str(other), "secret", (30, 10))
    file.create_virtual_dataset("X", layout)


REACHING = {"X": [external_link, external_bytes, virtual], "uns/a/b/c": [external_link_deep]}


@pytest.fixture
def reaching(tmp_path):
    """An h5ad, and another file that it should not read."""
    adata = datasets.planted(30, 10, n_factors=1, genes_per_factor=5)
    adata.X = adata.X.toarray()
    adata.uns = {"kept": 1}
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones((30, 10), np.float32)
    return tmp_path / "cells.h5ad", tmp_path / "other.h5"


@pytest.mark.parametrize("how", [how for hows in REACHING.values() for how in hows], ids=lambda how: how.__name__)
def test_a_file_that_reaches_into_another_is_refused(reaching, how):
    path, other = reaching
    with h5py.File(path, "r+") as file:
        how(file, other)
    part = next(name for name, hows in REACHING.items() if how in hows)
    with pytest.raises(SetupError, match=rf"its {part} lies in another file \(.*\), expected everything in one"):
        with open_cells(path):
            pass
    done = sivae("fit", path, "-o", path.parent / "run")
    assert done.exit_code == 1 and "lies in another file" in done.output and not (path.parent / "run").exists()


def test_links_within_a_file_are_followed(reaching):
    path, _ = reaching
    with h5py.File(path, "r+") as file:
        file["uns"]["soft"] = h5py.SoftLink("/uns/kept")
        layout = h5py.VirtualLayout((30, 10), "f4")
        layout[:] = h5py.VirtualSource(".", "uns/hidden", (30, 10))
        file.move("X", "uns/hidden")
        kind = dict(file["uns/hidden"].attrs)
        file.create_virtual_dataset("X", layout).attrs.update(kind)
    with open_cells(path) as cells:
        assert cells.adata.shape == (30, 10) and cells.adata.uns["soft"] == 1


def test_a_group_that_holds_itself_ends(reaching):
    from sivae._run._links import check_links

    path, _ = reaching
    with h5py.File(path, "r+") as file:
        file["uns"]["again"] = file["uns"]
        check_links(file, path)


@pytest.mark.slow
def test_the_cells_of_a_run_are_looked_at_as_well(fitted, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(fitted / "run", run)
    with h5py.File(run / "adata.h5ad", "r+") as file:
        file["uns"]["more"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
    for call in (["hubs", run], ["report", run]):
        done = sivae(*call)
        assert done.exit_code == 1 and "lies in another file" in done.output


def test_models_of_individuals_that_are_named_like_paths_are_kept_in_place(tmp_path):
    adata = datasets.planted_cohort(
        4, 30, 30, n_types=1, n_regulators=2, targets=6, n_rewired=1, n_expression=2, seed=2
    )
    names = ["../../evil", "/etc/x", "CON", "a\0b"]
    adata.obs["donor"] = np.repeat(names, 30)
    place = tmp_path / "in" / "here" / "kept"
    place.mkdir(parents=True)
    options = {"n_latent": 2, "n_profile": 10, "architecture": SMALL}
    training = {"options": TrainOptions(max_steps=4, checks=2, validation_fraction=0.15)}
    asked = {"genes": list(adata.var_names), "model_options": options, "train_options": training, "setup": {}}
    found = fit_separately(adata, "donor", min_cells=20, folder=place, **asked)
    assert set(found.individuals) == set(names) and found.failed == {}
    written = set(listed(tmp_path)) - {"in", "in/here", "in/here/kept"}
    assert len(written) == 4
    assert all(re.fullmatch(r"in/here/kept/[A-Za-z0-9_-]+\.safetensors", name) for name in written)
    again = fit_separately(adata, "donor", min_cells=20, folder=place, **asked)
    assert np.array_equal(again.position_sgk, found.position_sgk) and set(listed(tmp_path)) >= written
