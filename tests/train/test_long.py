"""Long trainings stay finite, and in the memory that they began with (bench/long.py: 100,000 steps)."""

import gc
import tracemalloc

import numpy as np
import psutil
import pytest
from builders import SMALL, train
from torch.optim.optimizer import register_optimizer_step_post_hook

from sivae import SiVAE
from sivae.datasets import planted

STEPS, EVERY = 4000, 200


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["auto", "normal"])
def test_memory_is_flat_and_the_loss_finite(likelihood):
    adata = planted(60, 20, n_factors=2, genes_per_factor=6, seed=1)
    adata.X = adata.X.toarray() + (np.arange(20) == 0)
    SiVAE.setup_anndata(adata)
    model = SiVAE(adata, n_latent=2, likelihood=likelihood, architecture=SMALL)
    notes, steps, process = [], 0, psutil.Process()

    def note(*_):
        nonlocal steps
        steps += 1
        if steps % EVERY == 0:
            gc.collect()
            notes.append((steps, tracemalloc.get_traced_memory()[0], process.memory_info().rss))

    watching = register_optimizer_step_post_hook(note)
    tracemalloc.start(1)
    try:
        history = train(model, max_steps=STEPS, checks=10)
    finally:
        watching.remove()
        tracemalloc.stop()
    assert steps == STEPS
    assert np.isfinite(history["loss"].to_numpy()[1:]).all()
    assert np.isfinite(model.get_latent_representation()).all()
    assert np.isfinite(model.get_feature_representation()).all(axis=None)
    step, traced, resident = np.array(notes[len(notes) // 4 :], float).T
    per_step = np.polyfit(step, traced, 1)[0]
    assert per_step < 20, f"{per_step:.1f} bytes of Python objects more in each step"  # one float a step is 24
    assert resident[-1] - resident[0] < 16e6, "resident memory grew"
