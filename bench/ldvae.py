"""Wall time to the held-out likelihood that scvi-tools' LDVAE (LinearSCVI) ends with, on the same cells, in one run.

Both models are scored by one function: the negative binomial log likelihood of a held-out cell under the model's own
mean, at the posterior mean of the cell, and its own inverse dispersion of each gene.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from scipy.special import gammaln

import sivae
from bench import _common
from sivae.nn._module import SiVAEModule

N_LATENT = 10
LOOK_EVERY = 5  # epochs of LDVAE


def nb_log_likelihood(y_cg: np.ndarray, mean_cg: np.ndarray, theta_g: np.ndarray) -> float:
    """Mean over cells of the log likelihood summed over genes; `theta_g` is the inverse dispersion."""
    y, mean, theta = (np.asarray(a, np.float64) for a in (y_cg, mean_cg, theta_g))
    mean = np.maximum(mean, 1e-10)
    log_p = gammaln(y + theta) - gammaln(theta) - gammaln(y + 1)
    log_p += theta * np.log(theta / (theta + mean)) + y * np.log(mean / (theta + mean))
    return float(log_p.sum(axis=1).mean())


@torch.no_grad()
def ldvae_score(module: Any, y_cg: np.ndarray) -> float:
    """Held-out log likelihood of an scvi-tools module."""
    was_training = module.training
    module.eval()
    batch = torch.zeros(len(y_cg), 1, dtype=torch.long)
    latent = module.inference(x=torch.from_numpy(y_cg), batch_index=batch)
    made = module.generative(z=latent["qz"].loc, library=latent["library"], batch_index=batch)["px"]
    mean_cg, theta_cg = made.mu.numpy(), made.theta.numpy()
    module.train(was_training)
    return nb_log_likelihood(y_cg, mean_cg, theta_cg)


def run_ldvae(
    adata: AnnData, train_rows: np.ndarray, held_rows: np.ndarray, *, max_epochs: int | None
) -> dict[str, Any]:
    """LDVAE as scvi-tools trains it, stopped by its own rule; looking is not on the clock."""
    import scvi
    from lightning.pytorch.callbacks import Callback

    scvi.settings.seed = 0
    adata, seen = adata.copy(), []
    y_cg = adata.X[held_rows].toarray()
    clock = _common.Clock()
    scvi.model.LinearSCVI.setup_anndata(adata)
    model = scvi.model.LinearSCVI(adata, n_latent=N_LATENT, gene_likelihood="nb")

    class Look(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch % LOOK_EVERY == 0:
                with clock.paused():
                    seen.append((clock.seconds, clock.cpu, ldvae_score(model.module, y_cg)))

    model.train(
        max_epochs=max_epochs, accelerator="cpu", early_stopping=True, callbacks=[Look()], enable_progress_bar=False,
        datasplitter_kwargs={"external_indexing": [train_rows, held_rows, np.array([], dtype=int)]},
    )  # fmt: skip
    seconds, cpu = clock.seconds, clock.cpu
    final = ldvae_score(model.module, y_cg)
    epochs = len(model.history["elbo_train"])
    hits = [row for row in seen if row[2] >= final] or [(seconds, cpu, final)]
    return {
        "scvi_tools": scvi.__version__,
        "epochs": epochs,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "final": round(final, 3),
        "first_seconds_at_final": round(hits[0][0], 1),
        "first_cpu_seconds_at_final": round(hits[0][1], 1),
        "best": round(max([final, *(row[2] for row in seen)]), 3),
        "curve": [[round(a, 2), round(b, 2), round(c, 3)] for a, b, c in seen],
    }


def run_ours(adata: AnnData, held_rows: np.ndarray, *, target: float) -> dict[str, Any]:
    """Everything a user does from set-up on, with every default; the first check at or above the target."""
    adata, seen = adata.copy(), []
    total = adata.X[held_rows].sum()
    clock = _common.Clock()
    sivae.SiVAE.setup_anndata(adata)
    model = sivae.SiVAE(adata, n_latent=N_LATENT, likelihood="nb")

    def probe(module: SiVAEModule, expression: Any) -> None:
        with clock.paused():
            eta_cg = _common.predictions(module, expression, np.arange(expression.shape[0]))
            theta_g = torch.exp(module.likelihood.clamp_noise(module.log_noise_g.detach())).numpy()
            mean_cg = np.exp(expression.log_library_n[:, None] + np.minimum(eta_cg, 20.0))
            counts_cg = expression.values().toarray()
            assert len(counts_cg) == len(held_rows) and counts_cg.sum() == total, "not the same cells"
            seen.append((clock.seconds, clock.cpu, nb_log_likelihood(counts_cg, mean_cg, theta_g)))

    with _common.at_checks(probe):
        model.train(accelerator="cpu", progress=False)
    steps = model.history["step"].tolist()
    hits = [at for at, row in enumerate(seen) if row[2] >= target]
    return {
        "reached": bool(hits),
        "step": int(steps[hits[0]]) if hits else None,
        "seconds": round(seen[hits[0]][0], 2) if hits else None,
        "cpu_seconds": round(seen[hits[0]][1], 2) if hits else None,
        "start": round(seen[0][2], 3),
        "best": round(max(row[2] for row in seen), 3),
        "seconds_in_all": round(clock.seconds, 1),
        "cpu_seconds_in_all": round(clock.cpu, 1),
        "steps_in_all": int(steps[-1]),
        "curve": [[round(a, 2), round(b, 2), round(c, 3)] for a, b, c in seen],
    }


def main(settings: _common.Settings) -> None:
    quick = settings.quick
    try:
        import scvi  # noqa: F401
    except ImportError as error:
        print(
            f"\n*** ldvae NOT RUN: scvi-tools cannot be imported ({error}). Nothing was measured, no result changed.\n"
            "*** Install it beside the package: pip install -e '.[compare]'\n",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    facts = _common.machine()
    adata = _common.counts(600 if quick else 3000, 200 if quick else 1000, kept=0.12)
    train_rows, held_rows = _common.split(adata)
    theirs = run_ldvae(adata, train_rows, held_rows, max_epochs=20 if quick else None)
    print(f"  LDVAE: {theirs['seconds']} s, {theirs['epochs']} epochs, held-out {theirs['final']}", flush=True)
    mine = run_ours(adata, held_rows, target=theirs["final"])
    print(f"  ours: at or above after {mine['seconds']} s (step {mine['step']}); best {mine['best']}", flush=True)
    y_cg = adata.X[held_rows].toarray()
    result = {
        "machine": facts,
        "data": _common.describe(adata) | {"held_out_cells": len(held_rows)},
        "n_latent": N_LATENT,
        "no_structure": round(no_structure(adata, train_rows, y_cg), 3),
        "ldvae": theirs,
        "ours": mine,
        "ldvae_over_ours": ratio(theirs["first_seconds_at_final"], mine["seconds"]),
        "ldvae_over_ours_cpu": ratio(theirs["first_cpu_seconds_at_final"], mine["cpu_seconds"]),
    }
    if not quick:
        _common.write("ldvae", result)


def ratio(theirs: float, mine: float | None) -> float | None:
    return None if mine is None else round(theirs / mine, 1)


def no_structure(adata: AnnData, train_rows: np.ndarray, y_cg: np.ndarray) -> float:
    """The held-out likelihood without any axis: each gene its share of the library, Poisson."""
    share_g = np.asarray(adata.X[train_rows].sum(axis=0)).ravel()
    mean_cg = y_cg.sum(axis=1, keepdims=True) * (share_g / share_g.sum())
    return nb_log_likelihood(y_cg, mean_cg, np.full(len(share_g), 1e6))


def table(result: dict[str, Any]) -> str:
    t, o = result["ldvae"], result["ours"]
    reached = f"{o['seconds']} s ({o['cpu_seconds']} s; step {o['step']})" if o["reached"] else "not reached"
    return (
        "\n".join(
            [
                _common.sized(result),
                f"{result['data']['held_out_cells']} held-out cells; without any axis their log likelihood is "
                f"{result['no_structure']}. scvi-tools {t['scvi_tools']}.\n",
                "| held-out log likelihood per cell (higher is better) | LDVAE | ours, defaults |",
                "| --- | --- | --- |",
                f"| kept | {t['final']} ({t['epochs']} epochs) | {o['best']} |",
                f"| whole training, wall (processor) time | {t['seconds']} s ({t['cpu_seconds']} s) | "
                f"{o['seconds_in_all']} s ({o['cpu_seconds_in_all']} s) |",
                f"| first look at {t['final']} or above | {t['first_seconds_at_final']} s "
                f"({t['first_cpu_seconds_at_final']} s) | {reached} |",
                f"| ratio of these | | {result['ldvae_over_ours']} ({result['ldvae_over_ours_cpu']}) |",
            ]
        )
        + "\n"
    )


def headlines(result: dict[str, Any]) -> list[list[str]]:
    other, mine = result["ldvae"], result["ours"]
    if not mine["reached"]:
        return []
    question = "time to the held-out likelihood with which scvi-tools' LDVAE ends"
    seconds = (f"{other['first_seconds_at_final']:.3g} s", f"{mine['seconds']:.2g} s")
    return [[question, *seconds, f"{result['ldvae_over_ours']:.0f}"]]
