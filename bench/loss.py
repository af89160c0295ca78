"""Time to the best held-out loss of the published design (`bench/steps.py` says what that is)."""

from __future__ import annotations

from typing import Any

import numpy as np

import sivae
from bench import _common
from bench.steps import N_LATENT, Data, job, published
from sivae.nn._module import SiVAEModule
from sivae.train import _loop, _processes
from sivae.train._options import TrainOptions

PUBLISHED_STEPS = 400


def published_run(data: Data, *, steps: int, cells: int = 128, every: int = 25) -> dict[str, Any]:
    """The published design for so many steps; time to its best held-out loss. Looking is not on the clock."""
    clock, seen = _common.Clock(), []
    module = published(data)
    options = TrainOptions(max_steps=steps, learning_rate=1e-3, kl_warmup_steps=steps // 2, checks=steps // every)
    work = job(data, module, cells=cells, genes=len(data.genes), options=options, kl=1.0, check=True)

    def probe(module: SiVAEModule, _: object) -> None:
        with clock.paused():
            seen.append((clock.seconds, data.held_out_nll(module)))
            print(f"  published: {seen[-1][0]:7.1f} s  held-out loss {seen[-1][1]:.3f}", flush=True)

    with _common.at_checks(probe):
        _loop.run(work, _processes.make_accelerator("cpu"), progress=False)
    best = int(np.argmin([loss for _, loss in seen]))
    return {
        "steps": steps,
        "seconds": round(clock.seconds, 1),
        "best_step": best * every,
        "best_seconds": round(seen[best][0], 1),
        "best_loss": round(seen[best][1], 3),
        "start_loss": round(seen[0][1], 3),
        "curve": [[round(a, 2), round(b, 3)] for a, b in seen],
    }


def our_run(data: Data, *, target: float) -> dict[str, Any]:
    """Everything a user does, from set-up on, until a check is at or below the target; then on to the end."""
    adata = data.adata.copy()
    seen: list[tuple[float, float]] = []
    clock = _common.Clock()
    sivae.SiVAE.setup_anndata(adata)
    model = sivae.SiVAE(adata, n_latent=N_LATENT, likelihood="normal")

    def probe(module: SiVAEModule, _: object) -> None:
        with clock.paused():
            seen.append((clock.seconds, data.held_out_nll(module)))
            print(f"  ours:      {seen[-1][0]:7.1f} s  held-out loss {seen[-1][1]:.3f}", flush=True)

    with _common.at_checks(probe):
        model.train(accelerator="cpu", progress=False)
    hits = [at for at, (_, loss) in enumerate(seen) if loss <= target]
    steps = model.history["step"].tolist()
    return {
        "reached": bool(hits),
        "step": int(steps[hits[0]]) if hits else None,
        "seconds": round(seen[hits[0]][0], 2) if hits else None,
        "start_loss": round(seen[0][1], 3),
        "best_loss": round(min(loss for _, loss in seen), 3),
        "seconds_in_all": round(clock.seconds, 1),
        "steps_in_all": int(steps[-1]),
        "curve": [[round(a, 2), round(b, 3)] for a, b in seen],
    }


def main(settings: _common.Settings) -> None:
    quick = settings.quick
    facts = _common.machine()
    data = Data.sized(quick=quick)
    found = published_run(data, steps=100 if quick else PUBLISHED_STEPS)
    mine = our_run(data, target=found["best_loss"])
    ratio = round(found["best_seconds"] / mine["seconds"], 1) if mine["reached"] else None
    print(f"  to the published design's best held-out loss: {ratio} times faster")
    result = {
        "machine": facts,
        "data": _common.describe(data.adata),
        "n_latent": N_LATENT,
        "no_structure": round(data.no_structure(), 3),
        "published": found,
        "ours": mine,
        "published_over_ours": ratio,
    }
    if not quick:
        _common.write("loss", result)


def table(found: dict[str, Any]) -> str:
    p, o = found["published"], found["ours"]
    reached = f"{o['seconds']} s (step {o['step']})" if o["reached"] else "not reached"
    return "\n".join(
        [
            _common.sized(found),
            "| held-out Gaussian loss per cell | published design | ours, defaults |",
            "| --- | --- | --- |",
            f"| without any axis | {found['no_structure']} | {found['no_structure']} |",
            f"| at the start | {p['start_loss']} | {o['start_loss']} |",
            f"| best | {p['best_loss']} (step {p['best_step']} of {p['steps']}) | {o['best_loss']} |",
            f"| time to {p['best_loss']} or below | {p['best_seconds']} s | {reached} |",
            f"| ratio | | {found['published_over_ours']} |",
            f"| whole training | {p['seconds']} s | {o['seconds_in_all']} s ({o['steps_in_all']} steps) |\n",
        ]
    )


def headlines(result: dict[str, Any]) -> list[list[str]]:
    other, mine = result["published"], result["ours"]
    if not mine["reached"]:
        return []
    question = f"time to the published design's best held-out loss in {other['steps']} steps"
    return [
        [question, f"{other['best_seconds']:.3g} s", f"{mine['seconds']:.2g} s", f"{result['published_over_ours']:.0f}"]
    ]
