"""A training of the published recipe that was killed or interrupted, in any of its phases, goes on to the same bits."""

import numpy as np
import pytest
import torch
from published import SMALL, groups
from resuming import Killed, at_stage, result

from sivae import PublishedOptions, SiVAE, TrainOptions
from sivae._errors import ArtefactError, OptionError, SiVAEWarning
from sivae.datasets import planted
from sivae.train import _checkpoint, _stages
from sivae.train._checkpoint import FILE

pytestmark = pytest.mark.slow  # so that the fast tests stay fast

STEPS, EVERY = 12, 4
BEFORE = {"cells": 0, "genes": STEPS, "joint": 2 * STEPS}
"""Steps before each phase."""
QUICK = {"early_stopping": True, "learning_rate": 0.1}
"""Validation gets worse, so that phases end early and the best weights are not the last."""
PLACES = [
    ("cells", 1), ("cells", EVERY + 3), ("cells", STEPS),
    ("genes", 0), ("genes", 1), ("genes", EVERY + 1), ("genes", STEPS),
    ("joint", 0), ("joint", 1), ("joint", 2 * EVERY), ("joint", STEPS),
]  # fmt: skip


def counts():
    adata = planted(90, 30, n_factors=2, genes_per_factor=10, signed=True, seed=1)
    adata = adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()
    SiVAE.setup_anndata(adata)
    return adata


def make(adata, *, likelihood="normal", seed=3, gamma=None, **published):
    settings = PublishedOptions(**{**SMALL, "iterations": STEPS, **published})
    return SiVAE(
        adata, n_latent=2, recipe="choi2023", likelihood=likelihood, gamma=gamma, seed=seed, published=settings
    )


def go(model, folder=None, *, seconds=0.0, **options):
    options = {"checks": 3 * STEPS // EVERY, "patience": 1, "validation_fraction": 0.15} | options
    return model.train(
        accelerator="cpu", progress=False, checkpoint_dir=folder,
        options=TrainOptions(**options, checkpoint_seconds=seconds),
    )  # fmt: skip


def killed_at(monkeypatch, model, folder, stage, step, **options):
    with monkeypatch.context() as patch:
        at_stage(patch, stage, step, Killed())
        with pytest.raises(Killed):
            go(model, folder, **options)


def last_check(stage, step):
    """Step of the last check before a step of a phase begins; before phase 2 or 3, the end of the one before."""
    return BEFORE[stage] + max(0, step - 1) // EVERY * EVERY


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
@pytest.mark.parametrize(("stage", "step"), PLACES)
def test_after_a_kill_in_any_phase_it_ends_as_if_undisturbed(tmp_path, monkeypatch, likelihood, stage, step):
    adata = counts()
    undisturbed, model = make(adata, likelihood=likelihood), make(adata, likelihood=likelihood)
    go(undisturbed)
    killed_at(monkeypatch, make(adata, likelihood=likelihood), tmp_path, stage, step)
    assert (tmp_path / FILE).is_file()
    history = go(model, tmp_path)
    assert result(model) == result(undisturbed)
    assert history.attrs["resumed_at"] == last_check(stage, step)
    assert (history["seconds"].diff().iloc[1:] >= 0).all()
    assert list(history.attrs["stage_seconds"]) == ["cells", "genes", "joint"]
    assert not list(tmp_path.iterdir())  # its training has ended


@pytest.mark.parametrize(
    "options",
    [
        {"model": "vae", "linear_decoder": True},
        {"model": "vae", "variational": False},
        {"linear_decoder": True, "hidden_gamma": 0.1},
        {"gamma": 0.0, "l1_scale": 1e-3},
        {"feature_label_key": "group", "feature_label": "g1"},
        {"batch_size": 0.2},
    ],
)
def test_every_variant_goes_on(tmp_path, monkeypatch, options):
    adata, stage = groups(90, n_batches=2), "cells" if "model" in options else "joint"
    undisturbed, model = make(adata, **options), make(adata, **options)
    checks = STEPS // EVERY * (1 if "model" in options else 3)
    go(undisturbed, checks=checks)
    killed_at(monkeypatch, make(adata, **options), tmp_path, stage, EVERY + 2, checks=checks)
    assert go(model, tmp_path, checks=checks).attrs["resumed_at"] == BEFORE[stage] + EVERY
    assert result(model) == result(undisturbed)


@pytest.mark.parametrize("stage", ["cells", "genes", "joint"])
def test_early_stopping_goes_on_and_keeps_the_best_of_each_phase(tmp_path, monkeypatch, stage):
    adata = groups(90)
    undisturbed, model = make(adata, **QUICK, iterations=60), make(adata, **QUICK, iterations=60)
    whole = go(undisturbed, checks=45)
    assert whole.attrs["stopped"] == "plateau" and whole.attrs["last_step"] < 180
    assert (whole.groupby("stage")["best"].last() == 0).any()  # the last weights of a phase were not the best
    for step in (2, 0):
        folder = tmp_path / str(step)
        if (stage, step) != ("cells", 0):
            killed_at(monkeypatch, make(adata, **QUICK, iterations=60), folder, stage, step, checks=45)
            assert "resumed_at" in go(model, folder, checks=45).attrs
            assert result(model) == result(undisturbed)


def test_killed_again_and_again(tmp_path, monkeypatch):
    adata = groups(90)
    undisturbed, model = make(adata), make(adata)
    go(undisturbed)
    for stage, step in PLACES:
        killed_at(monkeypatch, model, tmp_path, stage, step)
    go(model, tmp_path)
    assert result(model) == result(undisturbed)


@pytest.mark.parametrize("sync", [1, 2, 9, 10, 15, 16])
def test_killed_while_a_checkpoint_is_written(tmp_path, monkeypatch, sync):
    """Odd: the new one lies beside its place; even: it has just been moved there."""
    adata, calls = groups(90), []
    undisturbed, model = make(adata), make(adata)
    go(undisturbed)

    def killed(_path):
        calls.append(1)
        if len(calls) == sync:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint, "_sync", killed)
        with pytest.raises(Killed):
            go(make(adata), tmp_path)
    go(model, tmp_path)
    assert result(model) == result(undisturbed)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_changes_no_number(tmp_path):
    adata = groups(90)
    with_it, without = make(adata), make(adata)
    go(with_it, tmp_path / "new")
    go(without)
    assert result(with_it) == result(without)


def test_without_pre_training_it_goes_on_as_well(tmp_path, monkeypatch):
    adata = groups(90)
    undisturbed, model = make(adata, pretrain=False), make(adata, pretrain=False)
    with pytest.warns(SiVAEWarning, match="can stall"):
        go(undisturbed, checks=3)
        killed_at(monkeypatch, make(adata, pretrain=False), tmp_path, "joint", STEPS, checks=3)
        assert go(model, tmp_path, checks=3).attrs["resumed_at"] == 2 * EVERY
    assert result(model) == result(undisturbed)


@pytest.mark.parametrize("early", [False, True])
def test_a_kept_checkpoint_gives_the_ended_model_at_once(tmp_path, monkeypatch, early):
    adata, options = groups(90), QUICK if early else {}
    model, again = make(adata, **options), make(adata, **options)
    go(model, tmp_path, seconds=1e6, keep_checkpoint=True)
    monkeypatch.setattr(_stages._Stage, "advance", lambda *_: pytest.fail("a step was made"))
    history = go(again, tmp_path, seconds=1e6, keep_checkpoint=True)
    assert history.attrs["resumed_at"] == model.history.attrs["last_step"] == history.attrs["last_step"]
    assert history.attrs["stopped"] == ("plateau" if early else "all steps done")
    assert result(again) == result(model)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(("stage", "step"), [("cells", 6), ("genes", 6), ("joint", 6)])
def test_an_interruption_leaves_a_model_and_a_checkpoint_to_go_on_from(tmp_path, monkeypatch, stage, step):
    adata = groups(90)
    undisturbed, model, continued = make(adata), make(adata), make(adata)
    go(undisturbed)
    with monkeypatch.context() as patch:
        at_stage(patch, stage, step, KeyboardInterrupt())
        with pytest.warns(SiVAEWarning) as told:
            history = go(model, tmp_path, seconds=1e6)
    words, n_done = str(told[0].message), BEFORE[stage] + step - 1
    assert f"interrupted at step {n_done}, in phase {_stages.phase_words(stage)}" in words
    assert f"go on from the checkpoint in {tmp_path}." in words
    assert ("do not belong together" in words) == (stage != "joint")
    assert history.attrs["stopped"] == "interrupted" and history.attrs["best_step"] == n_done
    assert np.isfinite(model.get_latent_representation()).all()
    if stage != "joint":
        with pytest.raises(OptionError, match="interrupted before the third"):
            model.get_pretrained_representation()
    model.annotate(adata)
    assert np.isfinite(adata.varm["X_sivae"]).all()
    assert go(continued, tmp_path).attrs["resumed_at"] == BEFORE[stage] + EVERY
    assert result(continued) == result(undisturbed)


def test_an_interruption_with_early_stopping_keeps_the_best_of_the_phase(monkeypatch):
    adata = groups(90)
    with monkeypatch.context() as patch:
        at_stage(patch, "cells", 3 * EVERY, KeyboardInterrupt())
        with pytest.warns(SiVAEWarning, match=r"weights of step \d+, the best at a check of that phase"):
            history = go(make(adata, **QUICK, iterations=60), checks=45, patience=50)
    best = history.loc[history["validation_loss"].idxmin()]
    assert history.attrs["best_step"] == best["step"] and history.attrs["last_step"] == 3 * EVERY - 1


def test_an_interruption_before_anything_was_done_is_raised(monkeypatch):
    at_stage(monkeypatch, "cells", 0, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        go(make(groups(90)))


def test_a_termination_is_raised_and_leaves_the_latest_checkpoint(tmp_path, monkeypatch):
    adata = groups(90)
    with monkeypatch.context() as patch:
        at_stage(patch, "genes", EVERY + 2, SystemExit(143))
        with pytest.raises(SystemExit):
            go(make(adata), tmp_path, seconds=1e6)
    assert go(make(adata), tmp_path).attrs["resumed_at"] == STEPS + EVERY


OTHERS = [
    ({"seed": 4}, "model.seed is 3 there and 4 here"),
    ({"gamma": 0.5}, "model.gamma is 0.05 there and 0.5 here"),
    ({"iterations": 13}, "model.published.iterations is 12 there and 13 here"),
    ({"decoder": (8, 4)}, "model.published.decoder is"),
    ({"feature_label_key": "group"}, "model.published.feature_label_key is None there and 'group' here"),
]


@pytest.mark.parametrize(("options", "message"), OTHERS)
def test_other_options_are_another_training(tmp_path, monkeypatch, options, message):
    adata = groups(90)
    killed_at(monkeypatch, make(adata), tmp_path, "genes", EVERY + 1)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ArtefactError, match=message):
        go(make(adata, **options), tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_other_labels_are_another_training(tmp_path, monkeypatch):
    adata, options = groups(90), {"feature_label_key": "group", "feature_label": "g0"}
    killed_at(monkeypatch, make(adata, **options), tmp_path, "joint", EVERY + 1)
    adata.obs["group"] = adata.obs["group"].to_numpy()[::-1]
    with pytest.raises(ArtefactError, match=r"model.cells_shown is '\d+ with sha256"):
        go(make(adata, **options), tmp_path)


def test_the_checkpoint_of_another_recipe_is_refused(tmp_path, monkeypatch):
    adata = groups(90)
    killed_at(monkeypatch, make(adata), tmp_path, "cells", EVERY + 1)
    with pytest.raises(ArtefactError, match="model.recipe is 'choi2023' there and 'default' here"):
        SiVAE(adata, n_latent=2, seed=3).train(progress=False, accelerator="cpu", checkpoint_dir=tmp_path)


def test_parts_that_do_not_fit_are_said(tmp_path, monkeypatch):
    adata = groups(90)
    killed_at(monkeypatch, make(adata), tmp_path, "joint", EVERY + 1)
    read = _checkpoint.Checkpoint.read

    def spoilt(self):
        state = read(self)
        state.tensors["weights/bias_g"] = torch.zeros(3)
        return state

    monkeypatch.setattr(_checkpoint.Checkpoint, "read", spoilt)
    with pytest.raises(ArtefactError, match="do not fit together"):
        go(make(adata), tmp_path)


def test_it_says_so(tmp_path, monkeypatch, caplog, capfd):
    adata = groups(90)
    killed_at(monkeypatch, make(adata), tmp_path, "genes", EVERY + 1)
    with caplog.at_level("INFO", logger="sivae"):
        make(adata).train(
            accelerator="cpu", checkpoint_dir=tmp_path,
            options=TrainOptions(checks=9, patience=1, validation_fraction=0.15),
        )  # fmt: skip
    assert "continuing from step 16 of 36, phase 2 (genes)" in caplog.text
    assert "phase 3 (joint), loss" in capfd.readouterr().err
