"""Training in phases: their order, schedules and blocks, stopping, and that every one of them learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from published import SMALL, groups, trained
from tqdm.auto import tqdm

from sivae import PublishedOptions, SiVAE, TrainOptions
from sivae._errors import DivergedError, OptionError, SiVAEWarning
from sivae.model import _recipe
from sivae.model._build import make_profiles, make_reader
from sivae.stats._spectrum import Spectrum
from sivae.train import _stages
from sivae.train._order import Order


def make_job(*, max_epochs=None, steps=None, validation=None, gamma=0.05, n=120, seed=0, checks=9, **options):
    adata = groups(n)
    model = SiVAE(adata, n_latent=2, recipe="choi2023", published=PublishedOptions(**{**SMALL, **options}), gamma=gamma)
    chosen = model.options
    reader, known = make_reader(adata, model._setup, tuple(adata.var_names))
    spectrum = Spectrum(np.ones(2), np.ones((adata.n_vars, 2)), n)
    profiles = make_profiles(chosen, known, _recipe.no_effect(known), spectrum, stored_gq=None)
    module = _recipe.blank_module(chosen, profiles.of_modelled(), 0)
    return _stages.StagedJob(
        module,
        known,
        known if validation else None,
        gamma,
        1.0,
        TrainOptions(max_steps=steps, checks=checks, patience=3),
        max_epochs,
        seed,
    )


def weights(job):
    found = job.module.state_dict().items()
    return {name: value.clone() for name, value in found if not name.startswith("pretrained")}


def run(job):
    return _stages.run(job, Accelerator(cpu=True), progress=False)


def test_phases_in_order_each_with_its_own_part():
    job = make_job(iterations=6)
    moved = {}
    original = _stages._Stage.run

    def spied(self):
        start = weights(job)
        original(self)
        end = weights(job)
        moved[self.name] = {name.split(".")[0] for name in start if not torch.equal(start[name], end[name])}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_stages._Stage, "run", spied)
        history = run(job)
    assert list(moved) == ["cells", "genes", "joint"] == list(history.stage_seconds)
    assert moved["cells"] == {"cell_tower", "start_gd", "bias_g", "dispersion"}
    assert moved["genes"] == {"feature_tower", "target_head"}
    assert moved["joint"] == {"cell_tower", "feature_tower", "bias_g", "dispersion"}  # E-15: not start_gd
    assert history.last_step == 18
    stages = [row["stage"] for row in history.rows]
    assert stages == sorted(stages) and set(stages) == {1, 2, 3}


def test_the_gene_phase_regresses_what_the_cell_phase_left():
    job = make_job(iterations=4)
    targets = []
    original = job.module.genes

    def spied(genes_f, target_fd, generator):
        targets.append(torch.equal(target_fd, job.module.start_gd.weight.detach()[genes_f]))
        return original(genes_f, target_fd, generator)

    job.module.genes = spied
    run(job)
    assert len(targets) == 4 and all(targets)


@pytest.mark.parametrize(
    ("caps", "expected"),
    [
        ({}, {"cells": 60, "genes": 60, "joint": 60}),
        ({"steps": 7}, {"cells": 7, "genes": 7, "joint": 7}),
        ({"max_epochs": 2, "batch_size": 40}, {"cells": 6, "genes": 2, "joint": 6}),
        ({"max_epochs": 2, "batch_size": 0.25}, {"cells": 8, "genes": 8, "joint": 8}),
        ({"model": "vae"}, {"cells": 60}),
        ({"pretrain": False}, {"joint": 60}),
    ],
)
def test_steps_of_each_phase(caps, expected):
    assert make_job(**caps).steps() == expected


@pytest.mark.parametrize(
    "plan",
    [{}, {"pretrain": False}, {"kl_warmup": 1000}, {"steps": 5}, {"model": "vae"}, {"kl_warmup": 0}, {"max_epochs": 1}],
)
def test_divergences_end_at_their_full_weight(plan):
    # E-2: skipped or short pre-training left them at or near 0.
    job = make_job(beta=0.5, feature_beta=2.0, **plan)
    steps = job.steps()
    for name, attribute, full in (("cells", "kl_cells", 0.5), ("genes", "kl_features", 2.0)):
        phases = [stage for stage in steps if stage in (name, "joint")]
        seen = [getattr(job.weights(stage, step), attribute) for stage in phases for step in range(1, steps[stage] + 1)]
        if phases:
            assert seen == sorted(seen) and seen[-1] == full
            assert seen[0] < full or plan.get("kl_warmup") == 0 or len(seen) < 3


def test_warm_up_is_linear_in_the_steps_of_the_tower():
    job = make_job(iterations=2000, kl_warmup=1000)
    assert job.weights("cells", 250).kl_cells == 0.25
    assert job.weights("genes", 500).kl_features == 0.5
    assert job.weights("joint", 1) == job.full_weights()
    skipped = make_job(iterations=2000, kl_warmup=1000, pretrain=False)
    assert skipped.weights("joint", 250).kl_cells == skipped.weights("joint", 250).kl_features == 0.25


def test_learning_rate_decays_from_the_start_of_each_phase():
    job = make_job(learning_rate=0.1, decay_rate=0.5)
    for name in ("cells", "joint"):
        stage = _stages._Stage(job, name, 10, torch.device("cpu"), _stages._Record(), tqdm(disable=True))
        assert [stage.rate(1), stage.rate(1001)] == pytest.approx([0.1, 0.05])
        assert type(stage.optimizer) is torch.optim.Adam and not stage.optimizer.state


def test_blocks_differ_between_passes_when_their_size_divides_the_cells():
    # E-7: the permutation was never drawn again.
    order = Order(120, 40, seed=0, purpose="cells rows")
    passes = [[tuple(order.block(3 * number + place)[0]) for place in (1, 2, 3)] for number in range(4)]
    assert all(sorted(cell for block in blocks for cell in block) == list(range(120)) for blocks in passes)
    assert len({block for blocks in passes for block in blocks}) == 12


def test_early_stopping_stops_on_a_plateau_and_keeps_the_best():
    # E-5: unreachable, and compared with the last value.
    job = make_job(iterations=200, early_stopping=True, validation=True, model="vae", checks=40)
    losses = iter([9.0, 5.0, 3.0, *[4.0] * 50])
    best = {}

    def validate(self):
        loss = next(losses)
        if loss == 3.0:
            best.update(weights(job))
        return {"loss": loss, "nll": loss}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_stages._Stage, "_validate", validate)
        history = run(job)
    assert history.stopped == "plateau" and history.last_step < 200
    assert history.best_step == 10
    assert all(torch.equal(value, best[name]) for name, value in weights(job).items())


def test_early_stopping_without_validation_cells_is_refused():
    # E-5: a clear error.
    with pytest.raises(OptionError, match="validation_fraction"):
        run(make_job(early_stopping=True))


def test_bfloat16_is_not_of_the_published_recipe():
    job = make_job(iterations=2)
    with pytest.raises(OptionError, match=r"precision is 'bfloat16' with the published recipe; expected 'float32'"):
        run(replace(job, options=replace(job.options, precision="bfloat16")))


def test_a_joint_fit_from_scratch_is_warned_of():
    # E-17.
    with pytest.warns(SiVAEWarning, match="can stall"):
        run(make_job(iterations=2, pretrain=False))


def test_a_loss_that_is_not_finite_is_named():
    with pytest.raises(DivergedError, match=r"phase 1 \(cells\).*learning_rate"):
        run(make_job(learning_rate=1e20))


def test_same_seed_same_weights():
    # E-34.
    first, second, other = (trained(groups(90), options={"iterations": 5}, seed=seed) for seed in (1, 1, 2))
    z = [model.get_latent_representation() for model in (first, second, other)]
    assert np.array_equal(z[0], z[1]) and not np.array_equal(z[0], z[2])


def test_loss_falls_in_every_phase():
    history = trained(groups(), options={"iterations": 150}).history
    for stage in (1, 2, 3):
        loss = history.loc[history["stage"] == stage, "loss"].dropna()
        assert loss.iloc[-1] < loss.iloc[0] - 0.02 * abs(loss.iloc[0]), stage


def test_an_interrupted_training_leaves_a_model(monkeypatch):
    original = _stages._Stage.advance

    def interrupted(self, step):
        if self.name == "joint" and step == 3:
            raise KeyboardInterrupt
        return original(self, step)

    monkeypatch.setattr(_stages._Stage, "advance", interrupted)
    with pytest.warns(SiVAEWarning, match="interrupted at step 122"):
        model = trained(groups(90))
    assert model.history.attrs["stopped"] == "interrupted"
    assert np.isfinite(model.get_latent_representation()).all()
