"""Training of the published model: the cell VAE, the feature VAE on its output kernel, then both.

Each phase has its own Adam and its own schedule of the learning rate. The warm-up of a divergence counts the steps of
its tower over all phases. Everything random in a step is a function of the seed, the phase and the step's number.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch
from accelerate import Accelerator
from tqdm.auto import tqdm

from sivae._errors import DivergedError, OptionError, warn
from sivae._rng import torch_generator
from sivae.data._expression import Expression
from sivae.nn._objective import Weights
from sivae.nn._published import PublishedModule, PublishedTerms
from sivae.nn._published_options import PublishedOptions
from sivae.train._history import History
from sivae.train._options import TrainOptions
from sivae.train._order import Order

log = logging.getLogger("sivae")
STAGES: Final = {"cells": 1, "genes": 2, "joint": 3}
TERMS: Final = tuple(PublishedTerms.__dataclass_fields__)
EVALUATED: Final = 512


@dataclass(frozen=True)
class StagedJob:
    """Everything a training in phases needs."""

    module: PublishedModule
    training: Expression
    validation: Expression | None
    gamma: float
    feature_scale: float
    """What multiplies the mean over genes of their divergence: 1 as published, G / N for the evidence bound."""
    options: TrainOptions
    max_epochs: int | None
    seed: int

    @property
    def published(self) -> PublishedOptions:
        """Settings of the recipe."""
        return self.module.options

    def steps(self) -> dict[str, int]:
        """Steps of each phase, in order."""
        p, (n, g) = self.published, self.training.shape
        names = ["cells", "genes", "joint"] if p.pretrain else ["joint"]
        most = self.options.max_steps or p.iterations
        found = {}
        for name in names if p.has_features else ["cells"]:
            items = g if name == "genes" else n
            epochs = math.inf if self.max_epochs is None else self.max_epochs * math.ceil(items / rows_of(p, items))
            found[name] = int(min(p.iterations, most, epochs))
        return found

    def weights(self, stage: str, step: int) -> Weights:
        """Weights of the divergences at a step of a phase (the first is 1); they end at beta."""
        p, steps = self.published, self.steps()
        before = {"cells": 0, "genes": 0, "joint": steps.get("cells", 0)}[stage]
        before_genes = steps.get("genes", 0) if stage == "joint" else 0
        joint = steps.get("joint", 0)
        cells = _warm(before + step, _warmup(p, steps.get("cells", 0) + joint))
        genes = _warm(before_genes + step, _warmup(p, steps.get("genes", 0) + joint))
        return Weights(p.beta * cells, p.feature_beta * self.feature_scale * genes, self.gamma)

    def full_weights(self) -> Weights:
        """Weights after the warm-up."""
        return Weights(self.published.beta, self.published.feature_beta * self.feature_scale, self.gamma)


def rows_of(options: PublishedOptions, n: int) -> int:
    """Items of a step, out of n."""
    size = options.batch_size
    return min(n, max(1, round(size * n) if size <= 1 else round(size)))


def _warmup(options: PublishedOptions, n_steps: int) -> float:
    """Steps of the warm-up of a tower that is trained for `n_steps` in all."""
    asked = options.kl_warmup * options.iterations if options.kl_warmup <= 1 else options.kl_warmup
    return min(asked, 0.5 * n_steps)


def _warm(step: float, length: float) -> float:
    return 1.0 if length <= 0 else min(1.0, step / length)


def run(job: StagedJob, accelerator: Accelerator, *, progress: bool) -> History:
    """Train the module in place, phase by phase.

    An interruption (KeyboardInterrupt) ends training as if all steps were done, `stopped` is then "interrupted".
    """
    if job.published.early_stopping and job.validation is None:
        raise OptionError(
            "PublishedOptions(early_stopping=True) needs validation cells, and there are none; expected some. "
            "Raise TrainOptions(validation_fraction=...), or name them in validation_cells."
        )
    if not job.published.pretrain and job.published.has_features:
        warn(
            "pretrain=False: a joint fit from a random start can stall where both factors of the predictor are near "
            "zero. Look at the loss, or leave pretrain out."
        )
    job.module.to(accelerator.device).train()
    record, steps = _Record(), job.steps()
    with tqdm(total=sum(steps.values()), disable=not progress, desc="siVAE", unit="step") as bar:
        try:
            for stage, n_steps in steps.items():
                bar.set_postfix_str(f"phase {STAGES[stage]}: {stage}", refresh=False)
                for _ in _Stage(job, stage, n_steps, accelerator.device, record).run():
                    bar.update()
                if stage == "genes":
                    job.module.keep_pretrained()
        except KeyboardInterrupt:
            record.stopped = "interrupted"
            log.warning("Interrupted at step %d; finishing the model. Interrupt again to stop at once.", record.step)
    job.module.eval()
    stopped = record.stopped or "all steps done"
    return History(record.rows, record.best_step, stopped, record.step, None, stage_seconds=record.seconds)


class _Record:
    """What the phases have gone through so far."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.seconds: dict[str, float] = {}
        self.step, self.best_step, self.stopped = 0, 0, ""
        self.started = time.perf_counter()


@final
class _Stage:
    """One phase: its optimizer, its blocks, and how it moves by one step."""

    def __init__(self, job: StagedJob, name: str, n_steps: int, device: torch.device, record: _Record) -> None:
        p, (n, g) = job.published, job.training.shape
        self.job, self.name, self.n_steps, self.device, self.record = job, name, n_steps, device, record
        self.parameters = job.module.trained_in(name)
        self.optimizer = torch.optim.Adam(self.parameters, lr=p.learning_rate, betas=(0.9, 0.999), eps=1e-8)
        self.genes = np.arange(g)
        items = g if name == "genes" else n
        self.order = Order(items, rows_of(p, items), seed=job.seed, purpose=f"{name} rows")
        self.target_gd = job.module.start_gd.weight.detach().clone()
        self.every = max(1, n_steps // max(1, job.options.checks // len(job.steps())))
        self.watched = name != "genes" and job.validation is not None
        self.stopping = self.watched and p.early_stopping
        self.best_loss, self.waited = math.inf, 0
        self.best: dict[str, torch.Tensor] = {}

    def run(self) -> Iterator[None]:
        """The steps of the phase, one at a time."""
        started, sums, first = time.perf_counter(), [0.0] * (len(TERMS) + 1), 0
        self._check(0, {})
        try:
            for step in range(1, self.n_steps + 1):
                values = self.advance(step)
                self.record.step += 1
                sums = [total + value for total, value in zip(sums, values, strict=True)]
                yield
                if step % self.every == 0 or step == self.n_steps:
                    means = [total / (step - first) for total in sums]
                    self._check(step, dict(zip((*TERMS, "loss"), means, strict=True)))
                    sums, first = [0.0] * len(sums), step
                    if self.stopping and self.waited >= self.job.options.patience:
                        self.record.stopped = "plateau" if self.name == list(self.job.steps())[-1] else ""
                        break
        finally:
            if self.best:
                self.job.module.load_state_dict(self.best)
            self.record.seconds[self.name] = time.perf_counter() - started

    def rate(self, step: int) -> float:
        """Learning rate of a step (the first is 1)."""
        p = self.job.published
        return float(p.learning_rate * p.decay_rate ** ((step - 1) / 1000))

    def advance(self, step: int) -> list[float]:
        """One step; the values of its terms, and its loss."""
        terms = self.terms(step)
        loss = terms.loss(self.job.weights(self.name, step), self.job.published.hidden_gamma)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.name == "genes":
            torch.nn.utils.clip_grad_norm_(self.parameters, self.job.published.clip_norm)
        self.optimizer.param_groups[0]["lr"] = self.rate(step)
        self.optimizer.step()
        values: list[float] = torch.stack([getattr(terms, name).detach() for name in TERMS] + [loss.detach()]).tolist()
        if not math.isfinite(values[-1]):
            raise DivergedError(self._diagnose(values, step))
        return values

    def terms(self, step: int) -> PublishedTerms:
        """The terms of the block of a step."""
        job, noise = self.job, torch_generator(self.job.seed, f"{self.name} noise", index=step)
        rows, _ = self.order.block(step)
        if self.name == "genes":
            at = torch.from_numpy(rows).to(self.device)
            return job.module.genes(at, self.target_gd[at], noise)
        block = job.training.block(rows, self.genes, counts=job.module.likelihood.counts).to(self.device)
        return self._of_block(block, noise)

    def _of_block(self, block: Any, noise: torch.Generator) -> PublishedTerms:
        job = self.job
        if self.name == "cells":
            return job.module.cells(block, noise)
        return job.module.joint(block, noise, linear=job.gamma > 0, hidden=job.published.hidden_gamma > 0)

    def _check(self, step: int, row: dict[str, float]) -> None:
        """Look at the validation loss, note the row, and keep the weights if they are the best of the phase."""
        job, record = self.job, self.record
        row = row | {
            "stage": float(STAGES[self.name]),
            "step": float(record.step),
            "epoch": step / self.order.n_blocks,
            "seconds": time.perf_counter() - record.started,
            "learning_rate": self.rate(max(1, step)),
        }
        better, seen = True, self._validate()
        if seen is not None:
            loss = seen.pop("loss")
            row |= {"validation_loss": loss} | {f"validation_{name}": value for name, value in seen.items()}
            enough = job.options.min_improvement * (abs(self.best_loss) if math.isfinite(self.best_loss) else 0.0)
            better = not self.stopping or step == 0 or loss < self.best_loss - enough
            self.best_loss, self.waited = (loss, 0) if better else (self.best_loss, self.waited + 1)
            if better and self.stopping:
                self.best = {name: value.detach().clone() for name, value in job.module.state_dict().items()}
        record.best_step = record.step if better else record.best_step
        record.rows.append(row | {"best": float(better)})

    @torch.no_grad()
    def _validate(self) -> dict[str, float] | None:
        """Loss (at full weights), likelihood terms and squared error of the validation cells."""
        job, cells = self.job, self.job.validation
        if not self.watched or cells is None:
            return None
        n, noise = cells.shape[0], torch_generator(job.seed, "validation")
        total: dict[str, float] = dict.fromkeys(("loss", "nll", "nll_linear", "squared_error"), 0.0)
        for start in range(0, n, EVALUATED):
            rows = np.arange(start, min(start + EVALUATED, n))
            block = cells.block(rows, self.genes, counts=job.module.likelihood.counts).to(self.device)
            terms, share = self._of_block(block, noise), len(rows) / n
            total["loss"] += share * float(terms.loss(job.full_weights(), job.published.hidden_gamma))
            for name in ("nll", "nll_linear", "squared_error"):
                total[name] += share * float(getattr(terms, name))
        return total

    def _diagnose(self, values: list[float], step: int) -> str:
        bad = [name for name, value in zip(TERMS, values, strict=False) if not math.isfinite(value)]
        bad = [name for name in bad if name != "squared_error"]
        return (
            f"Training diverged at step {step} of phase {STAGES[self.name]} ({self.name}): "
            f"{' and '.join(bad) or 'the loss'} is not finite. Look for extreme values, or lower "
            "PublishedOptions(learning_rate=...)."
        )
