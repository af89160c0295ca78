"""Trainings that are killed or interrupted, in this process or in one of their own."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

from builders import SMALL, split

from sivae import SiVAE, TrainOptions
from sivae._rng import torch_generator
from sivae.nn._module import SiVAEModule
from sivae.train import _loop, _stages

STEPS, CHECKS = 24, 6
EVERY = STEPS // CHECKS


class Killed(BaseException):
    """What nothing catches: the state in memory is lost, as with kill -9."""


def make(adata, likelihood="normal", **options):
    options = {"n_latent": 2, "n_profile": 12, "architecture": SMALL, "seed": 3} | options
    return SiVAE(adata, likelihood=likelihood, **options)


def go(model, folder=None, *, seconds=0.0, early_stopping=False, **options):
    options = {"max_steps": STEPS, "checks": CHECKS, "validation_fraction": 0.15, "learning_rate": 0.01} | options
    return model.train(
        batch_size=64,
        feature_batch_size=32,
        early_stopping=early_stopping,
        accelerator="cpu",
        progress=False,
        checkpoint_dir=folder,
        options=TrainOptions(**options, checkpoint_seconds=seconds),
    )


def result(model):
    """Every number of a trained model but the seconds it took."""
    digest = hashlib.sha256()
    for tensor in model._module.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    for array in model._state.to_tables().values():
        digest.update(array.tobytes())
    digest.update(model.get_latent_representation().tobytes())
    history = model.history.drop(columns="seconds").to_json(double_precision=15)
    return digest.hexdigest(), history, model._state.facts["best_step"], model._state.facts["stopped"]


def at_step(monkeypatch, step, error, *, inside=False):
    """Raise where that step begins, or in the middle of it."""
    advance, forward = _loop._Trainer.advance, SiVAEModule.forward

    def broken(trainer):
        if trainer.step + 1 == step and not inside:
            raise error
        return advance(trainer)

    calls = []

    def torn(module, *words, **named):
        if module.training:
            calls.append(module)
        if len(calls) == step and inside:
            raise error
        return forward(module, *words, **named)

    monkeypatch.setattr(_loop._Trainer, "advance", broken)
    monkeypatch.setattr(SiVAEModule, "forward", torn)


def at_stage(monkeypatch, stage, step, error):
    """Raise where that step of a phase of the published recipe begins; at 0 before the phase has done anything."""
    advance, check = _stages._Stage.advance, _stages._Stage._check

    def broken(phase, number):
        if (phase.name, number) == (stage, step):
            raise error
        return advance(phase, number)

    def unchecked(phase, row):
        if (phase.name, phase.step, step) == (stage, 0, 0):
            raise error
        return check(phase, row)

    monkeypatch.setattr(_stages._Stage, "advance", broken)
    monkeypatch.setattr(_stages._Stage, "_check", unchecked)


def validation_loss(model, adata):
    """As the loop computes it, with the weights that were kept."""
    held = model._state.reader.read(adata[split(model, adata)[1]])
    terms = _loop.evaluate(model._module, held, torch_generator(3, "validation"))
    return terms.nll + terms.kl_cells + model.options.gamma * terms.nll_linear


SCRIPT = """
import os, signal, sys
sys.path[:0] = [{tests!r}]
signal.signal(signal.SIGINT, signal.default_int_handler)
import torch
torch.set_num_threads(1)
import resuming as t
from sivae.datasets import planted
from sivae.train import _checkpoint, _loop
folder, likelihood, hook, at = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
adata = planted(240, 50, n_factors=2, genes_per_factor=15, signed=True, seed=1)
t.SiVAE.setup_anndata(adata)
holder, name = {{"step": (_loop._Trainer, "advance"), "sync": (_checkpoint, "_sync")}}[hook]
original, calls = getattr(holder, name), []
def counted(*words):
    calls.append(1)
    if len(calls) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*words)
setattr(holder, name, counted)
model = t.make(adata, likelihood)
t.go(model, folder if folder != "-" else None, max_steps=300, checks=30)
print(t.result(model), flush=True)
"""


def process(folder, likelihood, hook="step", at=-1):
    """A training of 300 steps in a process of its own, which kills itself at a step or a sync if asked."""
    code = SCRIPT.format(tests=str(Path(__file__).parent))
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), likelihood, hook, str(at)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip


def ended(one):
    out, err = one.communicate(timeout=120)
    assert one.returncode == 0, err
    return out, err


def wait_for_checkpoints(file, number):
    """Until so many have been written, which says that training is under way."""
    seen = {file.stat().st_mtime_ns} if file.is_file() else set()
    number, end = number + len(seen), time.monotonic() + 120
    while len(seen) < number:
        assert time.monotonic() < end, "no checkpoint came"
        if file.is_file():
            seen.add(file.stat().st_mtime_ns)
        time.sleep(0.005)
