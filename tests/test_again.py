"""`sivae fit --from RUN` repeats a run to the last bit, or says beforehand what differs, and afterwards which files."""

import json
import shutil

import anndata as ad
import matplotlib
import numpy as np
import pytest
from archived import unpack
from typer.testing import CliRunner

from sivae import cli
from sivae._run import _machine
from sivae._run._results import TIMED, hashes
from sivae._whole import write_sums
from sivae.datasets import planted

pytestmark = pytest.mark.slow  # so that the fast tests stay fast

matplotlib.use("Agg")

OPTIONS = [
    "--n-latent", "2", "--max-epochs", "2", "--n-genes", "16", "--accelerator", "cpu", "--label", "group",
    "--seed", "5", "--batch-key", "batch", "--categorical-covariate", "lab", "--project-rest",
]  # fmt: skip
SETS = "".join(f"{name}\t\t" + "\t".join(f"gene_{i}" for i in genes) + "\n" for name, genes in
               {"one": range(1, 11), "two": range(8, 20)}.items())  # fmt: skip


def sivae(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Cells, gene sets, a run, and the run that repeats it, of the same cells elsewhere; what the second said."""
    folder = tmp_path_factory.mktemp("again")
    cells = planted(90, 20, n_factors=2, genes_per_factor=8, n_batches=2, signed=True, seed=4)
    cells.obs["lab"] = np.where(np.arange(90) % 3 == 0, "a", "b")
    cells.write_h5ad(folder / "cells.h5ad")
    (folder / "sets.gmt").write_text(SETS)
    done = sivae("fit", folder / "cells.h5ad", "-o", folder / "run", *OPTIONS, "--gene-sets", folder / "sets.gmt")
    assert done.exit_code == 0, done.output
    (folder / "moved").mkdir()
    shutil.copy(folder / "cells.h5ad", folder / "moved/cells.h5ad")
    done = sivae("fit", folder / "moved/cells.h5ad", "--from", folder / "run", "-o", folder / "again")
    assert done.exit_code == 0, done.output
    return folder, done.stdout


@pytest.fixture
def changed(place, tmp_path):
    """Make a run whose record says something else, with sums that agree."""

    def change(edit):
        (tmp_path / "run").mkdir()
        record = json.loads((place[0] / "run/run.json").read_text())
        edit(record)
        (tmp_path / "run/run.json").write_text(json.dumps(record))
        write_sums(tmp_path / "run")
        return tmp_path / "run"

    return change


@pytest.fixture
def untrained(monkeypatch):
    """Training stops before it begins: for what is said before."""

    def stop(*_words, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr("sivae.model._sivae.SiVAE.train", stop)


def said_before(place, tmp_path, run, *words, data="cells.h5ad"):
    done = sivae("fit", place[0] / data, "--from", run, "-o", tmp_path / "new", *words)
    assert done.exit_code == 130, done.output
    assert not (tmp_path / "new").exists()
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("Training ")  # it was said before
    return lines[-2]


# --------------------------------------------------------------------------------------------------- to the last bit


def test_it_says_so_before_and_after(place):
    lines = place[1].splitlines()
    run = place[0] / "run"
    assert lines[2] == f"Repeating {run}: data, genes, options, versions, machine and threads are the same."
    assert f"The same as {run} to the last bit, times aside: " in place[1] and "Differs" not in place[1]


def test_every_file_is_the_same_byte_for_byte_but_for_times(place):
    """Which files hold times is named here; everything else is compared byte by byte."""
    folder = place[0]
    names = [
        {path.relative_to(folder / run).as_posix() for path in (folder / run).rglob("*") if path.is_file()}
        for run in ("run", "again")
    ]
    assert names[0] == names[1] and len(names[0]) == 25
    differ = {n for n in names[0] if (folder / "run" / n).read_bytes() != (folder / "again" / n).read_bytes()}
    sums, timed = {"checksums.sha256", "model/checksums.sha256"}, {"model/config.json", "tables/history.csv"}
    assert differ <= {"run.json", "report.html", "adata.h5ad"} | sums | timed


def test_what_differs_in_a_file_with_times_is_the_times(place):
    configs = [json.loads((place[0] / run / "model/config.json").read_text()) for run in ("run", "again")]
    for config in configs:
        assert config["history"].pop("seconds")
    assert json.dumps(configs[0]) == json.dumps(configs[1])
    cells = [ad.read_h5ad(place[0] / run / "adata.h5ad") for run in ("run", "again")]
    assert (cells[0].X != cells[1].X).nnz == 0
    for part in ("obs", "var"):
        assert getattr(cells[0], part).equals(getattr(cells[1], part))
    for part in ("obsm", "varm", "obsp", "varp"):
        one, two = getattr(cells[0], part), getattr(cells[1], part)
        assert set(one) == set(two)
        for key in one:
            values = [v[key].toarray() if hasattr(v[key], "toarray") else np.asarray(v[key]) for v in (one, two)]
            assert values[0].tobytes() == values[1].tobytes(), key
    for run in cells:
        run.uns["sivae"]["history"].pop("seconds")
        run.uns["sivae"]["run"].pop("seconds")
    same_tree(cells[0].uns, cells[1].uns)
    records = [json.loads((place[0] / run / "run.json").read_text()) for run in ("run", "again")]
    for record in records:
        del record["created"], record["seconds"]
    assert records[0] == records[1]


def same_tree(one, two):
    assert type(one) is type(two)
    if hasattr(one, "items"):
        assert set(one) == set(two)
        for key in one:
            same_tree(one[key], two[key])
    elif hasattr(one, "tobytes") and one.dtype != object:
        assert one.tobytes() == two.tobytes()
    else:
        assert repr(one) == repr(two)


def test_hashes_of_results_see_every_value_that_is_no_time(place, tmp_path):
    """A change in any other field is seen; a change of a time is not."""
    import h5py

    shutil.copytree(place[0] / "run", tmp_path / "run")
    run = tmp_path / "run"
    before = hashes(run)
    assert before == json.loads((run / "run.json").read_text())["results"]
    with h5py.File(run / "adata.h5ad", "r+") as file:
        file["uns/sivae/history/seconds"][0] += 1
    config = json.loads((run / "model/config.json").read_text())
    config["history"]["seconds"][0] += 1
    (run / "model/config.json").write_text(json.dumps(config))
    assert hashes(run) == before
    with h5py.File(run / "adata.h5ad", "r+") as file:
        for name in ("obsm/X_sivae", "varm/X_sivae_var", "var/sivae_r2", "uns/sivae/history/loss"):
            kept = file[name][()]
            file[name][(-1,) * kept.ndim] = 7
            file.flush()
            assert hashes(run)["adata.h5ad"] != before["adata.h5ad"], name
            file[name][()] = kept
        file["obs"].attrs["_index"] = "other"
    assert hashes(run)["adata.h5ad"] != before["adata.h5ad"]
    config["history"]["loss"][1] = 0
    (run / "model/config.json").write_text(json.dumps(config))
    assert hashes(run)["model/config.json"] != before["model/config.json"]
    assert set(TIMED) == {"config.json", "history.csv", "adata.h5ad"}


# ------------------------------------------------------------------------------------------------------ what differs


def test_a_record_alone_is_enough(place, tmp_path, untrained):
    shutil.copy(place[0] / "run/run.json", tmp_path / "run.json")
    assert said_before(place, tmp_path, tmp_path / "run.json").startswith("Repeating ")


CASES = {
    "version": (lambda r: r["versions"].update(torch="1.0"), "version of torch is ", "then 1.0"),
    "package": (lambda r: r["versions"].update(other="1.0"), "version of other is none, then 1.0"),
    "threads": (lambda r: r["conditions"].update(threads=64), "threads is 1, then 64"),
    "machine": (lambda r: r["conditions"].update(processor="abacus"), "processor is ", "then abacus"),
    "processes": (lambda r: r["conditions"].update(processes=4), "processes is 1, then 4"),
    "genes": (lambda r: r["genes"].update(sha256="0" * 64), "the genes chosen are others than the 16 then"),
    "data": (lambda r: r["data"].update(sha256="0" * 64), "the data have sha256 ", "then 000000000000..."),
    "sets": (lambda r: r["data"].update(gene_sets_sha256="0" * 64), "the gene sets have sha256 "),
    "interrupted": (lambda r: r["training"].update(stopped="interrupted"), "it was interrupted while it trained"),
    "first format": (lambda r: (r.pop("conditions"), r.update(format=1)), "does not tell threads and machine"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_differs_is_said_before_training(place, tmp_path, changed, untrained, case):
    edit, *words = CASES[case]
    said = said_before(place, tmp_path, changed(edit))
    assert said.startswith(f"Note: this cannot be relied on to be {tmp_path / 'run'} to the last bit: ")
    assert all(word in said for word in words), said
    assert said.count(";") == 0  # nothing else does


def test_another_name_of_the_data_is_no_difference(place, tmp_path, untrained):
    shutil.copy(place[0] / "cells.h5ad", tmp_path / "other.h5ad")
    assert said_before(place, tmp_path, place[0] / "run", data=tmp_path / "other.h5ad").startswith("Repeating ")


def test_what_differs_is_said_at_the_end(place, tmp_path, changed):
    run = changed(lambda r: r["results"].update({"tables/cells.csv": "0" * 64, "tables/old.csv": "0" * 64}))
    done = sivae("fit", place[0] / "cells.h5ad", "--from", run, "-o", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert f"Differs from {run} in 2 of " in done.stdout and ": tables/cells.csv, tables/old.csv.\n" in done.stdout


# ---------------------------------------------------------------------------------------------------- what is refused


REFUSED = [
    (["--seed", "6"], "Found --seed 6 with --from", "had 5", "Leave --seed out"),
    (["--n-genes", "all"], "Found --n-genes all", "had 16"),
    (["--categorical-covariate", "batch"], "Found --categorical-covariate batch", "had lab"),
    (["--recipe", "choi2023", "--seed", "7"], "--recipe choi2023, --seed 7", "had default, 5"),
]


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_contradict_the_run_are_refused(place, tmp_path, case):
    words, *said = case
    done = sivae("fit", place[0] / "cells.h5ad", "--from", place[0] / "run", "-o", tmp_path / "new", *words)
    assert done.exit_code == 1 and all(word in done.stderr for word in said), done.stderr
    assert not list(tmp_path.iterdir())


def test_options_that_agree_and_gene_sets_elsewhere_are_taken(place, tmp_path, untrained):
    shutil.copy(place[0] / "sets.gmt", tmp_path / "mine.gmt")
    words = ["--seed", "5", "--n-genes", "16", "--gene-sets", tmp_path / "mine.gmt"]
    assert said_before(place, tmp_path, place[0] / "run", *words).startswith("Repeating ")


def test_gene_sets_that_are_gone(place, tmp_path, changed):
    run = changed(lambda r: r["options"].update(gene_sets="gone.gmt"))
    done = sivae("fit", place[0] / "cells.h5ad", "--from", run, "-o", tmp_path / "new")
    assert done.exit_code == 1 and "no such file here. Name it with --gene-sets" in done.stderr


BROKEN = [
    (lambda r: r.update(kind="cohort", individuals=0, phenotype=0, found=0), "is a run of sivae cohort"),
    (lambda r: r["options"].update(flavour="x"), "unknown options: flavour"),
    (lambda r: r.pop("options"), "holds no options"),
    (lambda r: r["data"].update(name="700 blood cells"), "is a run of sivae demo; expected one of sivae fit"),
    (lambda r: r.update(format=99), "format 99"),
]


@pytest.mark.parametrize("case", range(len(BROKEN)))
def test_runs_that_cannot_be_repeated_are_refused(place, tmp_path, changed, case):
    edit, said = BROKEN[case]
    done = sivae("fit", place[0] / "cells.h5ad", "--from", changed(edit), "-o", tmp_path / "new")
    assert done.exit_code == 1 and said in done.stderr, done.output


def test_no_run_at_all(place, tmp_path):
    done = sivae("fit", place[0] / "cells.h5ad", "--from", tmp_path / "nothing", "-o", tmp_path / "new")
    assert done.exit_code == 1 and "no run.json" in done.stderr


@pytest.mark.slow
def test_a_run_of_the_first_format_is_repeated_as_well(tmp_path):
    run, _ = unpack("model-3-run-1", tmp_path / "old")
    done = sivae("fit", run / "adata.h5ad", "--from", run, "-o", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert "does not tell threads and machine" in done.stdout and "so these are not compared" in done.stdout


@pytest.mark.slow
def test_the_demo_is_repeated_to_the_last_bit(tmp_path):
    words = ["--max-epochs", "1", "--n-latent", "2", "--n-genes", "60", "--accelerator", "cpu"]
    assert sivae("demo", "-o", tmp_path / "run", *words).exit_code == 0
    done = sivae("demo", "--from", tmp_path / "run", "-o", tmp_path / "again")
    assert done.exit_code == 0, done.output
    assert "to the last bit, times aside" in done.stdout
    done = sivae("demo", "--from", tmp_path / "run", "-o", tmp_path / "more", "--seed", "1")
    assert done.exit_code == 1 and "Found --seed 1" in done.stderr


def test_conditions_are_plain_values():
    found = _machine.conditions("cpu")
    assert json.loads(json.dumps(found)) == found and found["device"] == "cpu" and found["threads"] == 1
    assert {"python", "torch", "numpy", "sivae-tools"} <= set(_machine.versions())
