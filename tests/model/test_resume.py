"""A training that was killed goes on as if nothing had been."""

import signal
import time

import numpy as np
import pytest
import torch
from resuming import (
    CHECKS,
    EVERY,
    STEPS,
    Killed,
    at_step,
    ended,
    go,
    make,
    process,
    result,
    wait_for_checkpoints,
)  # fmt: skip

from sivae import SiVAE, TrainOptions
from sivae._errors import ArtefactError, SiVAEWarning
from sivae.data._split import is_validation
from sivae.model import _fit
from sivae.train import _checkpoint, _loop
from sivae.train._checkpoint import FILE

# -------------------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
@pytest.mark.parametrize("step", [1, EVERY, EVERY + 1, 2 * EVERY + 3, STEPS])
def test_after_a_kill_it_ends_as_if_undisturbed(counts_adata, tmp_path, monkeypatch, likelihood, step):
    undisturbed = make(counts_adata, likelihood)
    go(undisturbed)
    with monkeypatch.context() as patch:
        at_step(patch, step, Killed())
        with pytest.raises(Killed):
            go(make(counts_adata, likelihood), tmp_path)
    assert (tmp_path / FILE).is_file()
    model = make(counts_adata, likelihood)
    history = go(model, tmp_path)
    assert result(model) == result(undisturbed)
    assert history.attrs["resumed_at"] == (step - 1) // EVERY * EVERY == model._state.facts["resumed_at"]
    assert "resumed_at" not in undisturbed.history.attrs
    assert (history["seconds"].diff().iloc[1:] >= 0).all()
    assert not list(tmp_path.iterdir())  # its training has ended


@pytest.mark.parametrize(
    "options",
    [
        {"likelihood": "poisson"},
        {"likelihood": "zinb", "dispersion": "gene-batch"},
        {"likelihood": "bernoulli"},
        {"likelihood": "nb", "dispersion": "gene-cell"},
        {"likelihood": "normal", "dispersion": "cell", "decoder": "published", "profiles": "cells"},
    ],
)
def test_every_choice_goes_on(counts_adata, tmp_path, monkeypatch, options):
    undisturbed, model = make(counts_adata, **options), make(counts_adata, **options)
    go(undisturbed)
    with monkeypatch.context() as patch:
        at_step(patch, 11, Killed())
        with pytest.raises(Killed):
            go(make(counts_adata, **options), tmp_path)
    assert go(model, tmp_path).attrs["resumed_at"] == 8
    assert result(model) == result(undisturbed)


def test_other_stored_profiles_are_another_training(counts_adata, tmp_path, monkeypatch, rng):
    counts_adata.varm["known"] = rng.normal(size=(counts_adata.n_vars, 5))
    with monkeypatch.context() as patch:
        at_step(patch, 11, Killed())
        with pytest.raises(Killed):
            go(make(counts_adata, profiles="known"), tmp_path)
    counts_adata.varm["known"][3, 2] += 0.1
    with pytest.raises(ArtefactError, match="values is"):
        go(make(counts_adata, profiles="known"), tmp_path)
    counts_adata.varm["known"][3, 2] -= 0.1
    assert go(make(counts_adata, profiles="known"), tmp_path).attrs["resumed_at"] == 8


def test_a_checkpoint_changes_no_number(counts_adata, tmp_path):
    with_it, without = make(counts_adata), make(counts_adata)
    go(with_it, str(tmp_path / "new" / "folder"))
    go(without)
    assert result(with_it) == result(without)


@pytest.mark.parametrize("options", [{"average_decay": 0.0}, {"kl_warmup_steps": 15}, {"validation_fraction": 0.0}])
def test_killed_again_and_again(counts_adata, tmp_path, monkeypatch, options):
    undisturbed, model = make(counts_adata), make(counts_adata, gamma=0.5)
    go(undisturbed, **options)
    for step in range(EVERY + 2, STEPS, EVERY + 1):
        with monkeypatch.context() as patch:
            at_step(patch, step, Killed())
            with pytest.raises(Killed):
                go(model, tmp_path, **options)
    go(model, tmp_path, **options)
    assert result(model) == result(undisturbed)


@pytest.mark.parametrize("sync", [1, 2, 3, 4, 5, 6])
def test_killed_while_a_checkpoint_is_written(counts_adata, tmp_path, monkeypatch, sync):
    """Odd: the new one lies beside its place; even: it has just been moved there."""
    undisturbed, calls = make(counts_adata), []
    go(undisturbed)

    def killed(_path):
        calls.append(1)
        if len(calls) == sync:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint, "_sync", killed)
        with pytest.raises(Killed):
            go(make(counts_adata), tmp_path)
    model = make(counts_adata)
    history = go(model, tmp_path)
    assert history.attrs.get("resumed_at", -1) == (-1 if sync == 1 else (sync // 2 - 1) * EVERY)
    assert result(model) == result(undisturbed)
    assert not list(tmp_path.iterdir())


def test_order_of_cells_and_genes_is_no_other_training(counts_adata, tmp_path, monkeypatch, rng):
    undisturbed = make(counts_adata)
    go(undisturbed)
    with monkeypatch.context() as patch:
        at_step(patch, 10, Killed())
        with pytest.raises(Killed):
            go(make(counts_adata), tmp_path)
    c, g = rng.permutation(counts_adata.n_obs), rng.permutation(counts_adata.n_vars)
    model = make(counts_adata[c][:, g].copy())
    assert go(model, tmp_path).attrs["resumed_at"] == 8
    np.testing.assert_array_equal(
        model.get_latent_representation(counts_adata), undisturbed.get_latent_representation()
    )


@pytest.fixture
def killed(counts_adata, tmp_path, monkeypatch):
    """A folder with the checkpoint of step 8."""
    with monkeypatch.context() as patch:
        at_step(patch, 10, Killed())
        with pytest.raises(Killed):
            go(make(counts_adata), tmp_path)
    return tmp_path


OTHERS = [
    ({"seed": 4}, {}, "model.seed is 3 there and 4 here"),
    ({"gamma": 0.25}, {}, "model.gamma is 0.5 there and 0.25 here"),
    ({"likelihood": "nb"}, {}, "model.likelihood is 'normal' there and 'nb' here"),
    ({}, {"max_steps": 25}, "train.options.max_steps is 24 there and 25 here"),
    ({}, {"early_stopping": True}, "train.early_stopping is False there and True here"),
    ({}, {"validation_fraction": 0.2}, "train.options.validation_fraction"),
]


@pytest.mark.parametrize(("of_model", "of_training", "message"), OTHERS)
def test_other_options_are_another_training(counts_adata, killed, of_model, of_training, message):
    before = (killed / FILE).read_bytes()
    with pytest.raises(ArtefactError, match=message):
        go(make(counts_adata, **of_model), killed, **of_training)
    assert (killed / FILE).read_bytes() == before


def renamed(adata, axis):
    adata.obs_names = [f"x{name}" if axis == "obs" else name for name in adata.obs_names]
    adata.var_names = [f"x{name}" if axis == "var" else name for name in adata.var_names]
    return adata


def one_more_count(adata, row):
    dense = adata.X.toarray()
    dense[row, 5] += 1
    adata.X = type(adata.X)(dense)
    return adata


def without_batch(adata):
    SiVAE.setup_anndata(adata)
    return adata


OTHER_DATA = [
    (lambda adata: renamed(adata, "obs"), "training_cells is '.* with sha256 .*' there"),
    (lambda adata: renamed(adata, "var"), "genes is '50 with sha256"),
    (lambda adata: adata[:, :40].copy(), "genes is '50 with sha256 .*' there and '40 with sha256"),
    (lambda adata: adata[:-20].copy(), "training_cells is"),
    (lambda adata: one_more_count(adata, np.flatnonzero(is_validation(list(adata.obs_names), 0.15))[0]), "values is"),
    (lambda adata: one_more_count(adata, np.flatnonzero(~is_validation(list(adata.obs_names), 0.15))[0]), "values is"),
    (without_batch, "setup.batch_key is 'batch' there"),
]


@pytest.mark.parametrize(("change", "message"), OTHER_DATA)
def test_other_data_are_another_training_and_are_refused_before_long_work(
    counts_adata, killed, monkeypatch, change, message
):
    monkeypatch.setattr(_fit, "covariate_effect", lambda *_: pytest.fail("the long work began"))
    before = (killed / FILE).read_bytes()
    with pytest.raises(ArtefactError, match=message):
        go(make(change(counts_adata)), killed)
    assert (killed / FILE).read_bytes() == before


def test_a_damaged_checkpoint_is_refused(counts_adata, killed):
    data = (killed / FILE).read_bytes()
    (killed / FILE).write_bytes(data[: len(data) // 2])
    model = make(counts_adata)
    with pytest.raises(ArtefactError, match="damaged: remove it to train from the start"):
        go(model, killed)
    assert not model.is_trained


def test_how_often_checkpoints_are_written_may_change(counts_adata, killed):
    assert go(make(counts_adata), killed, seconds=1e6).attrs["resumed_at"] == 8


def test_an_ended_training_leaves_nothing_to_go_on_from(counts_adata, tmp_path):
    model = make(counts_adata)
    go(model, tmp_path)
    first = result(model)
    assert not list(tmp_path.iterdir())
    assert "resumed_at" not in go(model, tmp_path).attrs
    assert result(model) == first


@pytest.mark.parametrize("early", [False, True])
def test_a_kept_checkpoint_gives_the_ended_model_at_once(counts_adata, tmp_path, monkeypatch, early):
    options = {
        "keep_checkpoint": True,
        "early_stopping": early,
        "patience": 1,
        "min_improvement": 0.5,
        "warmup_steps": 0,
    }
    model = make(counts_adata)
    go(model, tmp_path, seconds=1e6, **options)
    assert model.history.attrs["stopped"] == ("plateau" if early else "all steps done")
    monkeypatch.setattr(_loop._Trainer, "advance", lambda _: pytest.fail("a step was made"))
    again = make(counts_adata)
    history = go(again, tmp_path, seconds=1e6, **options)
    assert history.attrs["resumed_at"] == history["step"].iloc[-1] == model.history["step"].iloc[-1]
    assert result(again) == result(model)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_it_says_so(counts_adata, killed, caplog, capfd):
    with caplog.at_level("INFO", logger="sivae"):
        make(counts_adata).train(
            batch_size=64, feature_batch_size=32, early_stopping=False, accelerator="cpu", checkpoint_dir=killed,
            options=TrainOptions(max_steps=STEPS, checks=CHECKS, validation_fraction=0.15, learning_rate=0.01),
        )  # fmt: skip
    assert "continuing from step 8 of 24" in caplog.text
    assert "continues from step 8" in capfd.readouterr().err


def test_facts_of_a_continued_training_are_written(counts_adata, killed, tmp_path):
    model = make(counts_adata)
    go(model, killed)
    model.annotate(counts_adata)
    counts_adata.write_h5ad(tmp_path / "cells.h5ad")
    model.save(tmp_path / "model")
    assert SiVAE.load(tmp_path / "model").history.attrs["resumed_at"] == 8


def test_other_threads_are_said(counts_adata, killed, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.warns(SiVAEWarning, match="threads is 1 there and 2 here"):
        assert go(make(counts_adata), killed).attrs["resumed_at"] == 8


# ------------------------------------------------------------------------------------------------- whole processes


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_kill_9_at_any_moment(tmp_path, likelihood):
    """Killed by its own hand in a step and between writing and renaming, and twice from outside, at any moment."""
    wanted, _ = ended(process("-", likelihood))
    for hook, at in (("step", 77), ("sync", 5)):
        one = process(tmp_path, likelihood, hook, at)
        one.communicate(timeout=120)
        assert one.returncode == -signal.SIGKILL
    assert {path.name for path in tmp_path.iterdir()} == {FILE, f"{FILE}.part"}
    rng = np.random.default_rng(0)
    for _ in range(2):
        one = process(tmp_path, likelihood)
        wait_for_checkpoints(tmp_path / FILE, 3)
        time.sleep(rng.uniform(0, 0.1))
        one.kill()
        one.communicate(timeout=120)
        assert one.returncode == -signal.SIGKILL
    found, _ = ended(process(tmp_path, likelihood))
    assert found == wanted
    assert not list(tmp_path.iterdir())
