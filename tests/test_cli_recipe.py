"""The published recipe on the command line: what goes together, what a run says of it, kills in every phase."""

import json
import re
import signal

import anndata as ad
import matplotlib
import pytest
from resuming import Killed, at_stage, wait_for_checkpoints
from test_cli import WEIGHTS, data, process, sivae

from sivae import PublishedOptions, SiVAE, _run
from sivae.nn._published_options import PRESETS
from sivae.train._checkpoint import FILE, Checkpoint

matplotlib.use("Agg")

FIT = ["--recipe", "choi2023", "--preset", "fetal liver", "--n-latent", "2", "--max-epochs", "6", "--n-genes", "40",
       "--accelerator", "cpu"]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small():
    """Published runs with small towers; everything else of them is as it was."""
    with pytest.MonkeyPatch.context() as patch:
        for name, preset in PRESETS.items():
            patch.setitem(PRESETS, name, preset | {"encoder": (16, 8), "decoder": (8, 16)})
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder that holds cells.h5ad and a run made of it with a preset, and what the command said."""
    folder = tmp_path_factory.mktemp("recipe")
    data().write_h5ad(folder / "cells.h5ad")
    done = sivae(
        "fit", folder / "cells.h5ad", "-o", folder / "run", *FIT, "--batch-key", "batch", "--label", "group",
        "--project-rest",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder, done.stdout


def test_each_step_is_said_in_a_line(made):
    said = made[1].splitlines()
    assert said[1] == (
        "Note: the published run 'fetal liver' had gamma 0; the recipe's 0.05 is used. Repeat that run with --gamma 0."
    )
    assert said[3] == "Training 2 axes (normal likelihood, recipe choi2023, preset 'fetal liver')."
    history = SiVAE.load(made[0] / "run/model").history
    loss = [history.loc[history["stage"] == stage, "validation_loss"] for stage in (1, 3)]
    first, last = (f"{each.iloc[0]:.2f} to {each.iloc[-1]:.2f}" for each in loss)
    n = int(history["step"].iloc[-1])
    losses = f"{first} in phase 1 (cell tower), {last} in phase 3 (both towers)"
    assert said[4] == f"Trained {n} steps in 3 phases; validation loss {losses}."


def test_the_model_is_that_of_the_recipe_and_preset(made):
    model = SiVAE.load(made[0] / "run/model")
    options = model.options
    assert (options.recipe, options.dispersion, options.gamma) == ("choi2023", "cell", 0.05)
    assert options.published == PublishedOptions.preset("fetal liver")
    adata = ad.read_h5ad(made[0] / "run/adata.h5ad")
    assert (~adata.var["sivae_modelled"]).sum() == 20 and not adata.var["sivae_r2"].isna().any()  # --project-rest


def test_the_record_and_info_say_recipe_preset_and_phases(made):
    record = json.loads((made[0] / "run/run.json").read_text())
    assert (record["options"]["recipe"], record["options"]["preset"]) == ("choi2023", "fetal liver")
    assert record["model"]["recipe"] == "choi2023" and record["model"]["published"]["learning_rate"] == 2e-3
    history, training = SiVAE.load(made[0] / "run/model").history, record["training"]
    loss = history.loc[history["stage"] == 3, "validation_loss"]
    ends = [training["start_validation_loss"], training["best_validation_loss"]]
    assert ends == pytest.approx([loss.iloc[0], loss.iloc[-1]])
    phases = training["phases"]
    assert [phase["phase"] for phase in phases] == ["1 (cell tower)", "2 (gene tower)", "3 (both towers)"]
    steps = history.groupby("stage")["step"].agg(lambda step: step.iloc[-1] - step.iloc[0])
    assert [phase["steps"] for phase in phases] == steps.tolist()
    assert [phase["seconds"] for phase in phases] == list(history.attrs["stage_seconds"].values())
    assert phases[1]["kept_validation_loss"] is None
    said = sivae("info", made[0] / "run").stdout
    assert re.search(r"recipe +choi2023, preset 'fetal liver'\n", said)
    assert re.search(
        rf"phase +3 \(both towers\): {phases[2]['steps']} steps, .*loss {ends[0]:.2f} to {ends[1]:.2f}", said
    )
    assert "best step" not in said and "kept step" in said


def test_the_report_says_what_was_done(made):
    page = re.sub(r"\s+", " ", (made[0] / "run/report.html").read_text(encoding="utf-8"))
    for words in ("the published recipe of siVAE", 'settings of the run "fetal liver"', "phase 3 (both towers)"):
        assert words in page
    for words in ("spectral", "closed-form", "best step were kept", "linear part of the predictor"):
        assert words not in page


def test_a_default_run_says_nothing_of_phases(made, tmp_path):
    done = sivae("fit", made[0] / "cells.h5ad", "-o", tmp_path / "run", "--max-epochs", "2", "--n-latent", "2")
    assert done.exit_code == 0, done.output
    assert "in 3 phases" not in done.stdout and "recipe choi2023" not in done.stdout
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["model"]["dispersion"] == "gene" and "phases" not in record["training"]
    assert re.search(r"recipe +default\n", sivae("info", tmp_path / "run").stdout)


def test_counts_on_a_softmax_with_every_gene_modelled(made, tmp_path):
    words = [*FIT, "--likelihood", "nb", "--gamma", "0", "--preset", "tutorial"]
    words[words.index("40")] = "all"
    done = sivae("fit", made[0] / "cells.h5ad", "-o", tmp_path / "run", *words, "--project-rest")
    assert done.exit_code == 0, done.output
    assert "Note: the published run" not in done.stdout
    page = re.sub(r"\s+", " ", (tmp_path / "run/report.html").read_text(encoding="utf-8"))
    assert "passed through a softmax over the genes" in page and "nothing ties the genes" in page


BAD = [
    (["--recipe", "choi"], "'default', 'choi2023'"),
    (["--preset", "ipsc"], "Add --recipe choi2023, or leave --preset out"),
    (["--recipe", "choi2023", "--preset", "nope"], "'tutorial', 'fetal liver', 'ipsc', 'images'"),
    (["--recipe", "choi2023", "--likelihood", "poisson"], "expected one of 'auto', 'normal', 'nb'"),
    (["--recipe", "choi2023", "--likelihood", "nb", "--project-rest"], "model every gene (--n-genes all), or use"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_what_does_not_go_together_is_refused_before_the_data_are_read(tmp_path, monkeypatch, words, message):
    monkeypatch.setattr("sivae._run._cells.open_cells", lambda _: pytest.fail("the data were read"))
    done = sivae("fit", "cells.h5ad", "-o", tmp_path / "run", *words)
    assert done.exit_code == 1 and done.stderr.startswith("Error: ") and message in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--likelihood", "nb", "--dispersion", "cell"], "expected likelihood='normal'"),
        (["--dispersion", "gene-batch"], "without a batch_key"),
        (["--likelihood", "nb", "--normalize", "none"], "needs whole-number counts"),
    ],
)
def test_what_the_data_do_not_allow_is_refused_before_training(made, tmp_path, monkeypatch, words, message):
    monkeypatch.setattr("sivae.train._stages.run", lambda *_a, **_o: pytest.fail("training began"))
    done = sivae("fit", made[0] / "cells.h5ad", "-o", tmp_path / "run", *FIT, *words)
    assert done.exit_code == 1 and message in done.stderr
    assert not list(tmp_path.iterdir())


def test_new_genes_of_a_softmax_are_refused_in_words_that_help(made, tmp_path):
    words = [*FIT, "--likelihood", "nb"]
    assert sivae("fit", made[0] / "cells.h5ad", "-o", tmp_path / "run", *words).exit_code == 0
    done = sivae("embed", tmp_path / "run", made[0] / "cells.h5ad", "-o", tmp_path / "out.h5ad", "--genes")
    assert done.exit_code == 1 and "among those modelled, or with likelihood='normal'" in done.stderr
    assert not (tmp_path / "out.h5ad").exists()


def test_the_demo_takes_them(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(_run, "fit_demo", lambda _run, options, **_named: asked.append(options))
    assert sivae("demo", "-o", tmp_path / "run", "--recipe", "choi2023", "--preset", "images").exit_code == 0
    assert (asked[0].recipe, asked[0].preset) == ("choi2023", "images")


# ------------------------------------------------------------------------------------------- checkpoints, interruptions


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "step"), [("cells", 3), ("genes", 2), ("joint", 3)])
def test_a_killed_fit_goes_on_and_ends_as_if_undisturbed(made, tmp_path, monkeypatch, stage, step):
    words = ["fit", made[0] / "cells.h5ad", *FIT, "--batch-key", "batch", "--label", "group"]
    state = tmp_path / "state"
    with monkeypatch.context() as patch:
        at_stage(patch, stage, step, Killed())
        patch.setattr(Checkpoint, "_wait", lambda _: 0.0)
        with pytest.raises(Killed):
            sivae(*words, "-o", tmp_path / "run", "--checkpoint", state)
    assert [path.name for path in state.iterdir()] == [FILE]
    done = sivae(*words, "-o", tmp_path / "run", "--checkpoint", state)
    assert done.exit_code == 0, done.output
    assert re.search(r"Trained (\d+) steps \(continued from step [1-9]\d*\) in 3 phases; validation", done.stdout)
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (made[0] / "run" / WEIGHTS).read_bytes()
    assert not list(state.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "place"), [("cells", "1 (cell tower)"), ("genes", "2 (gene tower)")])
def test_an_interrupted_fit_says_in_which_phase(made, tmp_path, monkeypatch, stage, place):
    at_stage(monkeypatch, stage, 2, KeyboardInterrupt())
    done = sivae("fit", made[0] / "cells.h5ad", "-o", tmp_path / "run", *FIT)
    assert done.exit_code == 0, done.output
    assert "Phase 3 has not begun" in done.stderr
    assert re.search(rf"Trained \d+ steps, then interrupted in phase {re.escape(place)}; validation loss", done.stdout)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["training"]["stopped"] == "interrupted" and record["training"]["phases"][-1]["phase"] == place
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "because it was interrupted" in page and f"interrupted in phase {place}" in page


@pytest.mark.slow
def test_kill_9_then_the_same_command_again(made, tmp_path):
    words = ["fit", made[0] / "cells.h5ad", *FIT, "--max-epochs", "150"]
    state, whole = tmp_path / "state", tmp_path / "whole"
    _, err = process(*words, "-o", whole).communicate(timeout=240)
    assert whole.is_dir(), err
    killed = process(*words, "-o", tmp_path / "run", "--checkpoint", state)
    wait_for_checkpoints(state / FILE, 22)  # in the second phase
    killed.kill()
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "run").exists()
    again = process(*words, "-o", tmp_path / "run", "--checkpoint", state)
    out, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert "(continued from step " in out
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
