"""Milliseconds of a training step, against the published design.

The published design, in this package's own code: its feature encoder reads a gene's values over every training cell,
every step takes every gene, towers 1024-512-128 and 128-512-1024, predictor bias + h.w, gamma as ours, Glorot weights,
no linear skips, no spectral start. Its separate pre-training phases are left out (they would add to its time, and may
lower its loss), and it is trained by this package's loop (AdamW, cosine schedule, averaged weights).
"published_principal" is the same with this package's profiles of fixed width, which says what the profiles alone save.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

import sivae
from bench import _common
from sivae._rng import torch_generator
from sivae.data import _setup
from sivae.data._covariates import covariate_effect
from sivae.data._profiles import CellProfiles, PrincipalProfiles
from sivae.model import _build
from sivae.nn._module import Architecture, SiVAEModule
from sivae.nn._objective import Weights
from sivae.stats._spectrum import principal_axes
from sivae.train import _loop, _processes
from sivae.train._job import Job
from sivae.train._options import TrainOptions

PUBLISHED = Architecture(
    cell_encoder=(1024, 512, 128), feature_encoder=(1024, 512, 128), cell_decoder=(128, 512),
    feature_decoder=(128, 512), n_joint=1024, linear_features=False, layer_norm=False, input_dropout=0.0,
)  # fmt: skip
LABELS = {
    "published": "published design, all genes",
    "published_principal": "the same with profiles of fixed width",
    "ours_all_genes": "ours, Normal, all genes",
    "ours_blocks": "ours, Normal, blocks of 512 genes (default)",
    "ours_nb_all_genes": "ours, negative binomial, all genes",
    "ours_nb_blocks": "ours, negative binomial, blocks of 512 genes",
}
N_LATENT = 10
GAMMA = 0.5


class Data:
    """One data set, split and read once for every design."""

    def __init__(self, *, n_cells: int, n_genes: int, kept: float) -> None:
        self.adata = _common.counts(n_cells, n_genes, kept=kept)
        sivae.SiVAE.setup_anndata(self.adata)
        self.setup = _setup.read_record(self.adata)
        self.genes = tuple(sorted(map(str, self.adata.var_names)))
        self.train_rows, self.validation_rows = _common.split(self.adata)
        reader, self.training = _build.make_reader(self.adata[self.train_rows], self.setup, self.genes)
        self.validation = reader.read(self.adata[self.validation_rows])
        self.fitted = np.sort(np.random.default_rng(0).permutation(len(self.train_rows))[:1500])

    @classmethod
    def sized(cls, *, quick: bool) -> Data:
        return cls(n_cells=600 if quick else 5000, n_genes=300 if quick else 2000, kept=0.12)

    def held_out_nll(self, module: SiVAEModule) -> float:
        """Gaussian negative log likelihood per validation cell, one sd per gene from residuals of training cells."""
        every = np.arange(len(self.validation_rows))
        return self._nll(
            _common.predictions(module, self.training, self.fitted), _common.predictions(module, self.validation, every)
        )

    def no_structure(self) -> float:
        """The same without any axis: every gene at its mean."""
        return self._nll(0.0, 0.0)

    def _nll(self, eta_tg: np.ndarray | float, eta_vg: np.ndarray | float) -> float:
        sd_g = np.maximum((self.training.standardised(self.fitted) - eta_tg).std(axis=0), 1e-3)
        residual_vg = (self.validation.standardised(slice(None)) - eta_vg) / sd_g
        return float(0.5 * (residual_vg**2).sum(axis=1).mean() + (np.log(sd_g) + 0.5 * np.log(2 * np.pi)).sum())


def published(data: Data, profiles: str = "cells") -> SiVAEModule:
    """The published design at its random start."""
    effect = covariate_effect(data.training, 0)
    options = options_of("normal", architecture=PUBLISHED, decoder="published", profiles=profiles, kl_scale="published")
    if profiles == "cells":
        x_ng = data.training.standardised(slice(None))
        profile_gq = CellProfiles(x_ng, np.arange(len(x_ng))).of_modelled()
    else:
        spectrum = principal_axes(effect.blocks(data.training), data.training.shape, width(data, options))
        profile_gq = PrincipalProfiles(spectrum, np.empty((0, 0), np.float32)).of_modelled()
    module = _build.blank_module(options, profile_gq, data.training.design_nb.shape[1])
    glorot(module, torch_generator(0, "glorot"))
    return module


@torch.no_grad()
def glorot(module: SiVAEModule, generator: torch.Generator) -> None:
    """The published weights at the start: Glorot-normal, sd heads zero at sd 0.693; the linear skips stay at zero."""
    for tower in (module.cell_tower, module.feature_tower):
        for mlp in (tower.encoder, tower.decoder):
            for layer in mlp.layers:
                nn.init.xavier_normal_(layer.weight, generator=generator)  # type: ignore[arg-type]
        tower.encoder.layers[-1].weight[tower.n_latent :] = 0.0  # type: ignore[index, operator]
        tower.log_sd_k.fill_(np.log(np.log(2.0)))
        tower.skip_pk.requires_grad_(requires_grad=False)


def ours(data: Data, likelihood: str) -> SiVAEModule:
    """This package's defaults, spectral start included."""
    effect, options = covariate_effect(data.training, 0), options_of(likelihood)
    spectrum = principal_axes(effect.blocks(data.training), data.training.shape, width(data, options))
    profiles = _build.make_profiles(options, data.training, effect, spectrum, stored_gq=None)
    return _build.build_module(options, data.training, data.validation, profiles, effect, spectrum)[0]


def width(data: Data, options: _build.Options) -> int:
    return min(options.n_profile, *data.training.shape)


def options_of(likelihood: str, **changes: Any) -> _build.Options:
    base = _build.Options(N_LATENT, likelihood, 1.0, "residual", "bound", "principal", 128, Architecture(), 0)
    return replace(base, **changes)


def job(
    data: Data, module: SiVAEModule, *, cells: int, genes: int, options: TrainOptions, kl: float, check: bool
) -> Any:
    return Job(
        module=module, training=data.training, validation=data.validation if check else None,
        weights=Weights(1.0, kl, GAMMA), options=options, batch_size=cells, feature_batch_size=genes, max_epochs=None,
        early_stopping=False, seed=0, genes=data.genes, cell_name=str,
    )  # fmt: skip


def step_ms(data: Data, module: SiVAEModule, *, cells: int, genes: int, steps: int) -> float:
    """Milliseconds of a step of the training loop: draw the block, forward, backward, update, average."""
    options = TrainOptions(max_steps=steps, checks=1)
    work = job(data, module, cells=cells, genes=genes, options=options, kl=1.0, check=False)
    history = _loop.run(work, _processes.make_accelerator("cpu"), progress=False)
    return 1000 * float(history.rows[-1]["seconds"]) / steps


def compare_steps(data: Data, *, cells: int, repeats: int) -> dict[str, Any]:
    """Designs take turns, so that whatever else the machine does meets all of them."""
    g = len(data.genes)
    normal, nb = ours(data, "normal"), ours(data, "nb")
    designs = {
        "published": (published(data), g, 5),
        "published_principal": (published(data, "principal"), g, 5),
        "ours_all_genes": (normal, g, 20),
        "ours_blocks": (normal, 512, 40),
        "ours_nb_all_genes": (nb, g, 20),
        "ours_nb_blocks": (nb, 512, 40),
    }
    taken: dict[str, list[float]] = {name: [] for name in designs}
    for repeat in range(repeats + 1):
        for name, (module, genes, steps) in designs.items():
            milliseconds = step_ms(data, module, cells=cells, genes=genes, steps=steps if repeat else 2)
            if repeat:  # the first round warms up
                taken[name].append(milliseconds)
    result: dict[str, Any] = {"batch_cells": cells, "milliseconds": {k: summary(v) for k, v in taken.items()}}
    result["published_over"] = {
        name: summary([a / b for a, b in zip(taken["published"], values, strict=True)])
        for name, values in taken.items()
        if name != "published"
    }
    return result


def summary(values: list[float]) -> dict[str, Any]:
    return {
        "median": round(float(np.median(values)), 2),
        "least": round(min(values), 2),
        "most": round(max(values), 2),
        "repeats": len(values),
    }


def main(settings: _common.Settings) -> None:
    quick = settings.quick
    facts = _common.machine()
    data = Data.sized(quick=quick)
    found = compare_steps(data, cells=128, repeats=2 if quick else 5)
    for name, value in found["milliseconds"].items():
        print(f"  {name}: {value['median']} ms a step ({value['least']} to {value['most']})", flush=True)
    if not quick:
        result = {"machine": facts, "data": _common.describe(data.adata), "n_latent": N_LATENT}
        _common.write("steps", result | found)


def table(result: dict[str, Any]) -> str:
    steps, ratios = result, result["published_over"]
    lines = [
        _common.sized(result),
        f"{steps['batch_cells']} cells a step; median (least to most) over "
        f"{steps['milliseconds']['published']['repeats']} turns.\n",
        "| design | ms a step | published / this |",
        "| --- | --- | --- |",
    ]
    for name, value in steps["milliseconds"].items():
        ratio = spread(ratios[name]) if name in ratios else "1"
        lines.append(f"| {LABELS[name]} | {spread(value)} | {ratio} |")
    return "\n".join(lines) + "\n"


def spread(value: dict[str, Any]) -> str:
    return f"{value['median']:.3g} ({value['least']:.3g} to {value['most']:.3g})"


def headlines(result: dict[str, Any]) -> list[list[str]]:
    milliseconds, ratios, data = result["milliseconds"], result["published_over"], result["data"]
    size = f"{data['cells']:,} cells x {data['genes']:,} genes"
    words = {"ours_all_genes": "all genes", "ours_blocks": "default blocks of 512 genes"}
    other = f"published design, all genes: {milliseconds['published']['median']:.3g} ms"
    return [
        [
            f"a training step, {size}, {said}",
            other,
            f"{milliseconds[name]['median']:.3g} ms",
            f"{ratios[name]['median']:.0f}",
        ]
        for name, said in words.items()
    ]
