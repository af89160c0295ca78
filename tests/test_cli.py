"""The command line from a file to a run, as a new user meets it: whole or absent, and plain about what is wrong."""

import json
import os
import re
import signal
import subprocess
import sys

import anndata as ad
import matplotlib
import numpy as np
import pandas as pd
import pytest
from explorer_pages import Page
from resuming import Killed, at_step, wait_for_checkpoints
from typer.testing import CliRunner

from sivae import SiVAE, __version__, cli
from sivae._run import _files
from sivae._whole import names_hash
from sivae.datasets import planted
from sivae.train import _loop
from sivae.train._checkpoint import FILE, Checkpoint

matplotlib.use("Agg")

FIT = ["--n-latent", "3", "--max-epochs", "3", "--n-genes", "40", "--accelerator", "cpu"]


def sivae(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def data(seed=1, n_batches=2):
    adata = planted(160, 60, n_factors=2, genes_per_factor=15, n_batches=n_batches, signed=True, seed=seed)
    return adata[np.asarray(adata.X.sum(axis=1)).ravel() > 20].copy()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder that holds cells.h5ad and the run made of it, and what the command said."""
    folder = tmp_path_factory.mktemp("cli")
    data().write_h5ad(folder / "cells.h5ad")
    done = sivae(
        "fit", folder / "cells.h5ad", "-o", folder / "run", *FIT, "--batch-key", "batch", "--label", "group",
        "--project-rest", "--seed", "3",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder, done.stdout


# ----------------------------------------------------------------------------------------------------------------- fit


def test_fit_says_each_step_in_a_line(made):
    said = made[1].splitlines()
    wanted = ["Read ", "Genes: 40 of 60", "Training 3 axes", "Trained ", "Annotated", "Gene space: ", "Wrote ", "Open "]
    assert len(said) == len(wanted)
    assert all(line.startswith(start) for line, start in zip(said, wanted, strict=True))
    assert "within each batch" in said[1] and "other 20 genes" in said[4]


def test_labels_that_are_confounded_with_batches_are_said_before_training_and_in_the_report(tmp_path):
    adata = data()
    adata.obs["state"] = adata.obs["batch"].map({"batch_1": "well", "batch_2": "ill"}).astype(str)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    done = sivae(
        "fit", tmp_path / "cells.h5ad", "-o", tmp_path / "run", *FIT, "--batch-key", "batch", "--label", "state"
    )
    assert done.exit_code == 0, done.output
    note = done.stdout.splitlines()[1]
    assert note.startswith("Note: The groups of state are confounded with the batches (batch): every group lies in one")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "The groups of state are confounded with the batches" in page
    assert "Variance taken off for batch" in page


def test_a_run_is_complete(made):
    run = made[0] / "run"
    listed = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {"adata.h5ad", "report.html", "explorer.html", "run.json", "model/config.json", "tables/cells.csv",
            "tables/genes.csv", "tables/axes.csv", "tables/history.csv", "figures/cells_and_genes.png",
            "figures/gene_expression.png", "figures/history.png", "figures/loadings_axis1.png"} <= listed  # fmt: skip
    assert sorted(path.name for path in made[0].iterdir()) == ["cells.h5ad", "run"]


def test_cells_without_structure_make_a_run_as_well(tmp_path):
    """No axis is used then, and no gene has a loading to draw."""
    noise = np.random.default_rng(0).poisson(1.0, (300, 40)).astype(np.float32)
    cells = ad.AnnData(noise)
    cells.obs_names = [f"c{cell}" for cell in range(300)]
    cells.write_h5ad(tmp_path / "noise.h5ad")
    done = sivae("fit", tmp_path / "noise.h5ad", "-o", tmp_path / "run", "--n-latent", "2", "--max-epochs", "2")
    assert done.exit_code == 0, done.output
    loadings = pd.read_csv(tmp_path / "run/tables/loadings.csv")
    assert loadings.empty  # of axes that are used
    assert "biplot" not in (tmp_path / "run/report.html").read_text()


def test_all_genes_and_their_counts_are_kept(made):
    before, after = (ad.read_h5ad(made[0] / name) for name in ("cells.h5ad", "run/adata.h5ad"))
    assert list(after.var_names) == list(before.var_names)
    assert (after.X != before.X).nnz == 0
    assert after.var["sivae_modelled"].sum() == 40
    assert np.isfinite(after.varm["X_sivae"]).all()  # --project-rest


def test_model_data_tables_and_record_agree(made):
    run = made[0] / "run"
    adata, record = ad.read_h5ad(run / "adata.h5ad"), json.loads((run / "run.json").read_text())
    model = SiVAE.load(run / "model")
    assert np.allclose(model.get_latent_representation(adata), adata.obsm["X_sivae"], atol=1e-5)
    cells = pd.read_csv(run / "tables/cells.csv", index_col="cell")
    assert np.allclose(cells[["axis1", "axis2", "axis3"]], adata.obsm["X_sivae"], atol=1e-6)
    genes = pd.read_csv(run / "tables/genes.csv", index_col="gene")
    assert np.allclose(genes["r2"], adata.var["sivae_r2"], equal_nan=True)
    assert record["data"]["sha256"] == _files.file_hash(made[0] / "cells.h5ad")
    assert record["genes"] == {"modelled": 40, "sha256": names_hash(model.genes),
                               "chosen": record["genes"]["chosen"]}  # fmt: skip
    assert (record["version"], record["options"]["seed"], record["label"]) == (__version__, 3, "group")
    assert set(record["seconds"]) == {"reading", "choosing genes", "training", "annotating", "gene space", "writing"}


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_without_projection_other_genes_have_no_place(tmp_path):
    data(n_batches=1).write_zarr(tmp_path / "cells.zarr")
    done = sivae("fit", tmp_path / "cells.zarr", "-o", tmp_path / "deep/er/run", *FIT, "--likelihood", "normal")
    assert done.exit_code == 0, done.output
    adata = ad.read_h5ad(tmp_path / "deep/er/run/adata.h5ad")
    assert (np.isnan(adata.varm["X_sivae"]).all(axis=1) == ~adata.var["sivae_modelled"]).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--likelihood", "zinb", "--dispersion", "gene-batch", "--batch-key", "batch"], ["zinb", "gene-batch"]),
        (["--likelihood", "bernoulli"], ["bernoulli", "gene"]),
    ],
)
def test_likelihood_and_dispersion_reach_the_model_and_the_run(made, tmp_path, words, said):
    done = sivae("fit", made[0] / "cells.h5ad", "-o", tmp_path / "run", *FIT, *words, "--project-rest")
    assert done.exit_code == 0, done.output
    options = SiVAE.load(tmp_path / "run/model").options
    assert [options.likelihood, options.dispersion] == said
    adata = ad.read_h5ad(tmp_path / "run/adata.h5ad")
    assert adata.var["sivae_noise"].isna().all() == (said[0] == "bernoulli")
    assert ("sivae_zero_inflation" in adata.var) == (said[0] == "zinb")
    told = dict(line.split(maxsplit=1) for line in sivae("info", tmp_path / "run").stdout.splitlines())
    assert [told["likelihood"], told["dispersion"]] == said


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("where", ["sivae.model._sivae.SiVAE.train", "sivae.report._build.write"])
def test_an_error_in_the_middle_leaves_nothing(made, tmp_path, monkeypatch, where, error):
    def broken(*_args, **_options):
        raise error

    monkeypatch.setattr(where, broken)
    done = sivae("fit", made[0] / "cells.h5ad", "-o", tmp_path / "a/run", *FIT, "--max-epochs", "1")
    assert done.exit_code != 0
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_taken_is_refused_before_reading(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setattr("sivae._run._cells.open_cells", lambda _: pytest.fail("the data were read"))
    done = sivae("fit", "cells.h5ad", "-o", tmp_path / "run")
    assert done.exit_code == 1
    assert "exists" in done.stderr and "another with -o" in done.stderr


BAD = [
    (["nothing.h5ad"], "no nothing.h5ad"),
    (["cells.txt"], "ends in .h5ad or .zarr"),
    (["broken.h5ad"], "cannot be read as .h5ad"),
    (["cells.h5ad", "--layer", "nope"], "no layer 'nope'"),
    (["cells.h5ad", "--batch-key", "nope"], "no column 'nope'"),
    (["cells.h5ad", "--categorical-covariate", "nope"], "no column 'nope'"),
    (["cells.h5ad", "--continuous-covariate", "group"], "not numeric"),
    (["cells.h5ad", "--label", "nope"], "no column 'nope'"),
    (["cells.h5ad", "--likelihood", "nope"], "'nope'"),
    (["cells.h5ad", "--dispersion", "nope"], "'nope'"),
    (["cells.h5ad", "--dispersion", "gene-batch"], "without a batch_key"),
    (["cells.h5ad", "--likelihood", "poisson", "--dispersion", "gene-cell"], "has no noise parameter"),
    (["cells.h5ad", "--normalize", "nope"], "'nope'"),
    (["cells.h5ad", "--n-latent", "0"], "n_latent"),
    (["cells.h5ad", "--n-genes", "few"], "whole number or all"),
    (["cells.h5ad", "--n-genes", "0"], "at least 2"),
    (["cells.h5ad", "--max-epochs", "0"], "at least 1"),
    (["cells.h5ad", "--accelerator", "nope"], "'nope'"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_bad_input_is_refused_in_one_line_before_training(made, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(made[0])
    (tmp_path / "broken.h5ad").write_text("no")
    monkeypatch.setattr("sivae.train._loop.run", lambda *_a, **_o: pytest.fail("training began"))
    path = tmp_path / "broken.h5ad" if words[0] == "broken.h5ad" else words[0]
    done = sivae("fit", path, "-o", tmp_path / "run", *words[1:])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ") and message in done.stderr
    assert "Traceback" not in done.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["broken.h5ad"]


def test_debug_shows_the_error_itself(tmp_path):
    done = sivae("--debug", "fit", "nothing.h5ad", "-o", tmp_path / "run")
    assert type(done.exception).__name__ == "SetupError"


# ------------------------------------------------------------------------------------------- checkpoints, interruptions

LONG = [*FIT, "--max-epochs", "60"]
WEIGHTS = "model/weights.safetensors"


@pytest.mark.slow
def test_a_killed_fit_goes_on_and_ends_as_if_undisturbed(made, tmp_path, monkeypatch):
    cells, state = made[0] / "cells.h5ad", tmp_path / "state"
    assert sivae("fit", cells, "-o", tmp_path / "whole", *LONG).exit_code == 0
    with monkeypatch.context() as patch:
        at_step(patch, 8, Killed())
        patch.setattr(Checkpoint, "_wait", lambda _: 0.0)
        with pytest.raises(Killed):
            sivae("fit", cells, "-o", tmp_path / "run", *LONG, "--checkpoint", state)
    assert [path.name for path in state.iterdir()] == [FILE]
    with monkeypatch.context() as patch:  # after training, before the run is in its place
        patch.setattr("sivae.report._build.write", lambda *_a, **_o: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            sivae("fit", cells, "-o", tmp_path / "run", *LONG, "--checkpoint", state)
    assert [path.name for path in state.iterdir()] == [FILE]
    monkeypatch.setattr(_loop._Trainer, "advance", lambda _: pytest.fail("a step was made"))
    done = sivae("fit", cells, "-o", tmp_path / "run", *LONG, "--checkpoint", state)
    assert done.exit_code == 0, done.output
    assert re.search(r"Trained (\d+) steps \(continued from step \1\); validation loss", done.stdout)
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert not list(state.iterdir())
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("run", "whole")]
    assert records[0]["training"]["resumed_at"] > 7 and records[1]["training"]["resumed_at"] is None


@pytest.mark.slow
def test_an_interrupted_fit_writes_the_best_so_far(made, tmp_path, monkeypatch):
    cells, state = made[0] / "cells.h5ad", tmp_path / "state"
    with monkeypatch.context() as patch:
        at_step(patch, 8, KeyboardInterrupt())
        done = sivae("fit", cells, "-o", tmp_path / "run", *LONG, "--checkpoint", state)
    assert done.exit_code == 0, done.output
    assert "Note: Training was interrupted at step 7;" in done.stderr
    assert "Trained 7 steps, then interrupted; validation loss" in done.stdout
    assert f"The checkpoint in {state} stays" in done.stdout and "another -o" in done.stdout
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["training"]["stopped"] == "interrupted" and record["training"]["best_step"] <= 7
    assert "because it was interrupted" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "(stopped: interrupted)" in sivae("info", tmp_path / "run").stdout
    more = sivae("fit", cells, "-o", tmp_path / "more", *LONG, "--checkpoint", state)
    assert more.exit_code == 0 and "(continued from step 7)" in more.stdout
    assert not list(state.iterdir())


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_second_interruption_and_a_termination_write_nothing_but_leave_the_checkpoint(
    made, tmp_path, monkeypatch, error, code
):
    def broken(*_words, **_named):
        raise error

    at_step(monkeypatch, 8, error)
    monkeypatch.setattr("sivae.model._fit.finish", broken)
    done = sivae("fit", made[0] / "cells.h5ad", "-o", tmp_path / "run", *LONG, "--checkpoint", tmp_path / "state")
    assert done.exit_code == code
    assert "Stopped; nothing was written. The checkpoint in" in done.stderr and "goes on from it" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert [path.name for path in (tmp_path / "state").iterdir()] == [FILE]


def test_the_checkpoint_of_another_fit_is_refused_and_left(made, tmp_path, monkeypatch):
    words = ["fit", made[0] / "cells.h5ad", "-o", tmp_path / "run", *LONG, "--checkpoint", tmp_path / "state"]
    with monkeypatch.context() as patch:
        at_step(patch, 8, SystemExit(143))
        assert sivae(*words).exit_code == 143
    before = (tmp_path / "state" / FILE).read_bytes()
    done = sivae(*words, "--seed", "9")
    assert done.exit_code == 1 and "another training: model.seed is 0 there and 9 here" in done.stderr
    assert (tmp_path / "state" / FILE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


SCRIPT = """
import signal, sys
from sivae import cli
from sivae.nn._published_options import PRESETS
from sivae.train import _loop
from sivae.train._checkpoint import Checkpoint
signal.signal(signal.SIGINT, signal.default_int_handler)
Checkpoint._wait = lambda _: 0.0
_loop._Keeper.exhausted = property(lambda _: False)
for preset in PRESETS.values():
    preset.update(encoder=(16, 8), decoder=(8, 16))
sys.argv = ["sivae", *sys.argv[1:]]
cli.main()
"""


def process(*words):
    """The command in a process of its own: a checkpoint at every check, no early stopping, published runs small."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *(str(word) for word in words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_kill_9_then_the_same_command_again(made, tmp_path, likelihood):
    cells, state = made[0] / "cells.h5ad", tmp_path / "state"
    words = [*FIT, "--max-epochs", "400", "--likelihood", likelihood]
    out, err = process("fit", cells, "-o", tmp_path / "whole", *words).communicate(timeout=240)
    killed = process("fit", cells, "-o", tmp_path / "run", *words, "--checkpoint", state)
    wait_for_checkpoints(state / FILE, 4)
    killed.kill()
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "run").exists()
    again = process("fit", cells, "-o", tmp_path / "run", *words, "--checkpoint", state)
    out, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert "(continued from step " in out and "from step 0)" not in out
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert not list(state.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_real_signals(made, tmp_path, number):
    state = tmp_path / "state"
    one = process(
        "fit", made[0] / "cells.h5ad", "-o", tmp_path / "run", *FIT, "--max-epochs", "400", "--checkpoint", state
    )
    wait_for_checkpoints(state / FILE, 4)
    one.send_signal(number)
    _, err = one.communicate(timeout=240)
    assert [path.name for path in state.iterdir()] == [FILE]
    if number == signal.SIGINT:
        assert one.returncode == 0 and "Interrupt again to stop at once" in err and "was interrupted at step" in err
        assert (tmp_path / "run/report.html").is_file()
    else:
        assert one.returncode == 143 and "Stopped; nothing was written. The checkpoint" in err
        assert [path.name for path in tmp_path.iterdir()] == ["state"]


# ------------------------------------------------------------------------------------------------------- using the run


def test_embedded_cells_are_those_of_the_model_whatever_the_order_of_genes(made, tmp_path, rng):
    new = data(seed=1)[:50]
    new = new[:, rng.permutation(new.n_vars)].copy()
    new.write_h5ad(tmp_path / "new.h5ad")
    done = sivae("embed", made[0] / "run", tmp_path / "new.h5ad", "-o", tmp_path / "out.h5ad")
    assert done.exit_code == 0, done.output
    out = ad.read_h5ad(tmp_path / "out.h5ad")
    wanted = ad.read_h5ad(made[0] / "run/adata.h5ad")[out.obs_names].obsm["X_sivae"]
    assert np.allclose(out.obsm["X_sivae"], wanted, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.h5ad", "out.h5ad"]


def test_missing_genes_are_reported_and_too_many_refused(made, tmp_path):
    genes = ad.read_h5ad(made[0] / "run/adata.h5ad").var["sivae_modelled"]
    modelled = list(genes.index[genes])
    for gone, name in ((2, "few.h5ad"), (30, "many.h5ad")):
        new = data()
        new[:, ~new.var_names.isin(modelled[:gone])].copy().write_h5ad(tmp_path / name)
    few = sivae("embed", made[0] / "run", tmp_path / "few.h5ad", "-o", tmp_path / "out.h5ad")
    assert few.exit_code == 0 and "Note: 2 of the 40 modelled genes" in few.stderr
    many = sivae("embed", made[0] / "run", tmp_path / "many.h5ad", "-o", tmp_path / "out2.h5ad")
    assert many.exit_code == 1 and "30 of the 40" in many.stderr
    assert not (tmp_path / "out2.h5ad").exists()


def test_embedded_genes_are_those_of_the_run(made, tmp_path):
    done = sivae("embed", made[0] / "run", made[0] / "cells.h5ad", "-o", tmp_path / "out.h5ad", "--genes")
    assert done.exit_code == 0, done.output
    out, run = ad.read_h5ad(tmp_path / "out.h5ad"), ad.read_h5ad(made[0] / "run/adata.h5ad")
    assert (out.var["sivae_modelled"] == run.var["sivae_modelled"]).all()
    later = ~run.var["sivae_modelled"].to_numpy()
    assert np.allclose(out.varm["X_sivae"][later], run.varm["X_sivae"][later], atol=1e-5)
    assert np.allclose(out.varm["X_sivae_var"][later], run.varm["X_sivae_var"][later], atol=1e-5)


def test_genes_need_the_training_cells(made, tmp_path):
    data()[:20].copy().write_h5ad(tmp_path / "few.h5ad")
    done = sivae("embed", made[0] / "run", tmp_path / "few.h5ad", "-o", tmp_path / "out.h5ad", "--genes")
    assert done.exit_code == 1 and "training" in done.stderr


def test_info_and_report(made):
    run = made[0] / "run"
    said = sivae("info", run).stdout
    assert "40 modelled" in said and "validation loss" in said and "report.html" in said
    (run / "report.html").unlink()
    assert sivae("report", run).exit_code == 0
    assert "group" in (run / "report.html").read_text(encoding="utf-8")


def test_explore_makes_the_page_again_or_another(made, tmp_path):
    run = made[0] / "run"
    first = Page(run / "explorer.html")
    assert first.account["cells"]["columns"][0]["name"] == "group"
    assert (first.account["cells"]["n"], first.account["genes"]["n"]) == (len(first.names("cells")), 60)
    (run / "explorer.html").unlink()
    assert sivae("explore", run).exit_code == 0
    assert (run / "explorer.html").read_text(encoding="utf-8") == first.text
    done = sivae("explore", run, "-o", tmp_path / "e.html", "--label", "batch")
    assert done.exit_code == 0 and done.stdout == f"Wrote {tmp_path / 'e.html'}\n"
    assert Page(tmp_path / "e.html").account["cells"]["columns"][0]["name"] == "batch"
    again = sivae("explore", run, "-o", tmp_path / "e.html")
    assert again.exit_code == 1 and "nothing is overwritten" in again.stderr
    assert "no column 'x'" in sivae("explore", run, "--label", "x").stderr


@pytest.mark.parametrize("words", [["info"], ["report"], ["explore"], ["embed", "cells.h5ad", "-o", "x.h5ad"]])
def test_a_folder_that_is_no_run_is_refused(tmp_path, words):
    done = sivae(words[0], tmp_path, *words[1:])
    assert done.exit_code == 1 and "no run.json" in done.stderr


# ---------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words):
    code = (
        "import sys\nfrom sivae import cli\n"
        f"sys.argv = ['sivae', *{words}]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "names = 'torch anndata pandas numpy matplotlib scipy h5py zarr psutil'.split()\n"
        "heavy = [m for m in names if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
