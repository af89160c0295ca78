"""Ctrl-C and SIGTERM while training: the best so far is kept, and a checkpoint to go on from."""

import signal
from pathlib import Path

import numpy as np
import pytest
from resuming import EVERY, STEPS, at_step, ended, go, make, process, result, validation_loss, wait_for_checkpoints

from sivae._errors import SiVAEWarning
from sivae.model import _fit
from sivae.nn._module import SiVAEModule
from sivae.train import _checkpoint
from sivae.train._checkpoint import FILE

pytestmark = pytest.mark.slow  # so that the fast tests stay fast


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("step", [2, 11, STEPS])
def test_an_interruption_ends_training_with_the_best_so_far(
    counts_adata, tmp_path, monkeypatch, likelihood, inside, step
):
    model = make(counts_adata, likelihood)
    with monkeypatch.context() as patch:
        at_step(patch, step, KeyboardInterrupt(), inside=inside)
        with pytest.warns(
            SiVAEWarning, match=rf"interrupted at step {step - 1};.*weights of step \d+, the best"
        ) as told:
            history = go(model, tmp_path)
    assert Path(told[0].filename).name == "resuming.py"  # the line that called train()
    assert f"can go on from the checkpoint in {tmp_path}." in str(told[0].message)
    last = (step - 1) // EVERY * EVERY
    assert history["step"].iloc[-1] == last
    best = history[history["best"] == 1].iloc[-1]  # gains below 1e-5 do not count
    assert history.attrs == {"stopped": "interrupted", "last_step": step - 1, "best_step": best["step"]}
    assert validation_loss(model, counts_adata) == pytest.approx(best["validation_loss"], rel=1e-9)
    model.annotate(counts_adata)
    assert np.isfinite(counts_adata.varm["X_sivae"]).all()
    undisturbed, continued = make(counts_adata, likelihood), make(counts_adata, likelihood)
    go(undisturbed)
    assert go(continued, tmp_path).attrs["resumed_at"] == last
    assert result(continued) == result(undisturbed)


def test_without_a_folder_the_warning_names_none(counts_adata, monkeypatch):
    at_step(monkeypatch, 6, KeyboardInterrupt())
    with pytest.warns(SiVAEWarning, match="interrupted at step 5; .* the best at a check so far.$"):
        go(make(counts_adata))


def test_an_interruption_leaves_a_checkpoint_also_where_they_are_rare(counts_adata, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(patch, 15, KeyboardInterrupt())
        with pytest.warns(SiVAEWarning, match="interrupted"):
            go(make(counts_adata), tmp_path, seconds=1e6)
    assert go(make(counts_adata), tmp_path).attrs["resumed_at"] == 12


@pytest.mark.parametrize("where", ["state_dict", "_write"])
def test_an_interrupted_check_leaves_the_one_before(counts_adata, tmp_path, monkeypatch, where):
    """Also in the middle of keeping weights or of writing them."""
    holder, calls = (SiVAEModule, []) if where == "state_dict" else (_checkpoint.Checkpoint, [])
    original = getattr(holder, where)

    def interrupted(*words, **named):
        calls.append(1)
        if len(calls) == (5 if where == "state_dict" else 2):
            raise KeyboardInterrupt
        return original(*words, **named)

    model = make(counts_adata)
    with monkeypatch.context() as patch:
        patch.setattr(holder, where, interrupted)
        with pytest.warns(SiVAEWarning, match="interrupted"):
            history = go(model, tmp_path)
    best = history[history["best"] == 1].iloc[-1]  # gains below 1e-5 do not count
    assert validation_loss(model, counts_adata) == pytest.approx(best["validation_loss"], rel=1e-9)
    undisturbed = make(counts_adata)
    go(undisturbed)
    go(model, tmp_path)
    assert result(model) == result(undisturbed)


def test_a_second_interruption_is_raised(counts_adata, monkeypatch, tmp_path):
    model = make(counts_adata)

    def finish(*_words, **_named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        at_step(patch, 11, KeyboardInterrupt())
        patch.setattr(_fit, "finish", finish)
        with pytest.raises(KeyboardInterrupt):
            go(model, tmp_path)
    assert not model.is_trained
    assert go(model, tmp_path).attrs["resumed_at"] == 8


def test_a_termination_is_raised_and_leaves_the_latest_checkpoint(counts_adata, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(patch, 15, SystemExit(143))
        with pytest.raises(SystemExit):
            go(make(counts_adata), tmp_path, seconds=1e6)
    assert go(make(counts_adata), tmp_path).attrs["resumed_at"] == 12


@pytest.mark.slow
def test_a_real_interruption(tmp_path):
    """SIGINT once: the process ends well, with a trained model and a checkpoint; the next one goes on from it."""
    wanted, _ = ended(process("-", "normal"))
    one = process(tmp_path, "normal")
    wait_for_checkpoints(tmp_path / FILE, 4)
    one.send_signal(signal.SIGINT)
    out, err = ended(one)
    assert "'interrupted'" in out and "Training was interrupted at step" in err
    found, _ = ended(process(tmp_path, "normal"))
    assert found == wanted
