"""Training of the published model: the cell VAE, the feature VAE on its output kernel, then both.

Each phase has its own Adam and its own schedule of the learning rate. The warm-up of a divergence counts the steps of
its tower over all phases. Everything random in a step is a function of the seed, the phase and the step's number.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch
from accelerate import Accelerator

from sivae._errors import DivergedError, OptionError, warn
from sivae._rng import torch_generator
from sivae.data._expression import Expression
from sivae.nn._objective import Weights
from sivae.nn._published import PublishedModule, PublishedTerms
from sivae.nn._published_options import PublishedOptions
from sivae.train._bar import bar
from sivae.train._checkpoint import Checkpoint, State
from sivae.train._history import History
from sivae.train._options import TrainOptions
from sivae.train._order import Order
from sivae.train._state import Tensors, fitting_together, load_moments, moments, pack, unpack

if TYPE_CHECKING:
    from tqdm import tqdm

log = logging.getLogger("sivae")
STAGES: Final = {"cells": 1, "genes": 2, "joint": 3}
TERMS: Final = tuple(PublishedTerms.__dataclass_fields__)
EVALUATED: Final = 512
READ: Final = (
    "checks", "patience", "min_improvement", "max_steps", "validation_fraction", "validation_cells",
    "max_validation_cells", "checkpoint_seconds", "keep_checkpoint", "spool", "spool_folder",
)  # fmt: skip
"""The training options that phases read; `PublishedOptions` has the others."""


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


def run(
    job: StagedJob,
    accelerator: Accelerator,
    *,
    progress: bool,
    checkpoint: Checkpoint | None = None,
    state: State | None = None,
) -> History:
    """Train the module in place, phase by phase, from a state if there is one.

    An interruption (KeyboardInterrupt) ends training as if all steps were done, `stopped` is then "interrupted".
    """
    _check_plan(job)
    job.module.to(accelerator.device).train()
    record, left = _Record(), job.steps()
    resumed_at = None if state is None else state.step
    parts = {} if state is None else _load(job, record, left, state)
    total = sum(job.steps().values())
    with bar(total, initial=record.step, shown=progress) as shown:
        if resumed_at is not None:
            log.info("continuing from step %d of %d, phase %s", resumed_at, total, phase_words(next(iter(left))))
            shown.set_postfix_str(f"continues from step {resumed_at}")
        try:
            for stage, n_steps in left.items():
                phase = _Stage(job, stage, n_steps, accelerator.device, record, shown, checkpoint)
                if parts:
                    phase.load(parts, state.record if state is not None else {})
                    parts = {}
                phase.run()
                if stage == "genes":
                    job.module.keep_pretrained()
        except KeyboardInterrupt:
            if not record.rows:
                raise
            record.interrupt(job)
            log.warning("Interrupted at step %d; finishing the model. Interrupt again to stop at once.", record.step)
        except SystemExit:
            if checkpoint is not None:
                checkpoint.flush()
            raise
    if checkpoint is not None and (record.stopped or job.options.keep_checkpoint):
        checkpoint.flush()
    job.module.eval()
    stopped = record.stopped or "all steps done"
    return History(record.rows, record.best_step, stopped, record.step, resumed_at, stage_seconds=record.seconds)


def phase_words(name: str) -> str:
    """Number and name of a phase, such as "1 (cells)"."""
    return f"{STAGES[name]} ({name})"


def _check_plan(job: StagedJob) -> None:
    """Refuse what the recipe does not have, and warn of a joint fit from a random start."""
    if job.options.precision != "float32":
        raise OptionError(
            f"TrainOptions.precision is {job.options.precision!r} with the published recipe; expected 'float32', in "
            "which it was published. Leave precision out."
        )
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


def _load(job: StagedJob, record: _Record, left: dict[str, int], state: State) -> dict[str, Tensors]:
    """Put the weights of a state back, and take the phases that had ended from `left`; the rest is the phase's."""
    with fitting_together():
        if state.record["stage"] not in left:
            raise KeyError(state.record["stage"])
        while next(iter(left)) != state.record["stage"]:
            del left[next(iter(left))]
        parts = unpack(state.tensors, "weights", "optimizer", "best")
        job.module.load_state_dict(parts["weights"])
        record.load(state)
    return parts


class _Record:
    """What the phases have gone through so far."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.seconds: dict[str, float] = {}
        self.step, self.best_step, self.stopped = 0, 0, ""
        self.started = time.perf_counter()

    def interrupt(self, job: StagedJob) -> None:
        """Note that training was interrupted; where the best weights are not kept, those of the last step are."""
        self.stopped = "interrupted"
        if not job.published.early_stopping or self.rows[-1]["stage"] == STAGES["genes"]:
            self.best_step = self.step

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {"rows": list(self.rows), "seconds": dict(self.seconds), "best_step": self.best_step}

    def load(self, state: State) -> None:
        """The inverse of `state`."""
        found = state.record
        self.rows, self.seconds, self.best_step = list(found["rows"]), dict(found["seconds"]), found["best_step"]
        self.step, self.started = state.step, time.perf_counter() - self.rows[-1]["seconds"]


@final
class _Stage:
    """One phase: its optimizer, its blocks, and how it moves by one step."""

    def __init__(
        self,
        job: StagedJob,
        name: str,
        n_steps: int,
        device: torch.device,
        record: _Record,
        shown: tqdm[Any],
        checkpoint: Checkpoint | None = None,
    ) -> None:
        p, (n, g) = job.published, job.training.shape
        self.job, self.name, self.n_steps, self.device, self.record = job, name, n_steps, device, record
        self.bar, self.checkpoint = shown, checkpoint
        self.parameters = job.module.trained_in(name)
        self.optimizer = torch.optim.Adam(self.parameters, lr=p.learning_rate, betas=(0.9, 0.999), eps=1e-8)
        self.genes = np.arange(g)
        items = g if name == "genes" else n
        self.order = Order(items, rows_of(p, items), seed=job.seed, purpose=f"{name} rows")
        self.target_gd = job.module.start_gd.weight.detach().clone()
        self.every = max(1, n_steps // max(1, job.options.checks // len(job.steps())))
        self.watched = name != "genes" and job.validation is not None
        self.stopping = self.watched and p.early_stopping
        self.step, self.best_loss, self.waited = -1, math.inf, 0
        self.best: Tensors = {}
        self.started = time.perf_counter()

    def run(self) -> None:
        """The steps of the phase that are left."""
        if self.step < 0:
            self.step = 0
            self._check({})
        sums, first = [0.0] * (len(TERMS) + 1), self.step
        try:
            while self.step < self.n_steps and not self.exhausted:
                values = self.advance(self.step + 1)
                self.step, self.record.step = self.step + 1, self.record.step + 1
                sums = [total + value for total, value in zip(sums, values, strict=True)]
                self.bar.update()
                if self.step % self.every == 0 or self.step == self.n_steps:
                    means = [total / (self.step - first) for total in sums]
                    self._check(dict(zip((*TERMS, "loss"), means, strict=True)))
                    sums, first = [0.0] * len(sums), self.step
            if self.exhausted and self.name == list(self.job.steps())[-1]:
                self.record.stopped = "plateau"
        finally:
            if self.best:
                self.job.module.load_state_dict(self.best)
            self.record.seconds[self.name] = time.perf_counter() - self.started

    @property
    def exhausted(self) -> bool:
        """Whether the validation loss has not improved for `patience` checks."""
        return self.stopping and self.waited >= self.job.options.patience

    def state(self) -> State:
        """A copy of everything that the rest of the training depends on, just after a check."""
        tensors = pack(
            {"weights": self.job.module.state_dict(), "optimizer": moments(self.optimizer), "best": self.best}
        )
        own = {"stage": self.name, "stage_step": self.step, "best_loss": self.best_loss, "waited": self.waited}
        own["stage_seconds"] = time.perf_counter() - self.started
        return State(self.record.step, tensors, self.record.state() | own)

    def load(self, parts: dict[str, Tensors], found: dict[str, Any]) -> None:
        """Go on from a state, whose weights the module has already."""
        with fitting_together():
            load_moments(self.optimizer, parts["optimizer"])
            self.step, self.best_loss, self.waited = found["stage_step"], found["best_loss"], found["waited"]
            self.best, self.started = parts["best"], time.perf_counter() - found["stage_seconds"]

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

    def _check(self, row: dict[str, float]) -> None:
        """Look at the validation loss, note the row, keep the weights if they are the best, and offer a checkpoint."""
        job, record, step = self.job, self.record, self.step
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
            best = self.best
            if better and self.stopping:
                best = {name: value.detach().clone() for name, value in job.module.state_dict().items()}
            self.best_loss, self.waited = (loss, 0) if better else (self.best_loss, self.waited + 1)
            self.best = best
        record.best_step = record.step if better else record.best_step
        record.rows.append(row | {"best": float(better)})
        self.bar.set_postfix_str(self._summary(row), refresh=False)
        if self.checkpoint is not None:
            self.checkpoint.offer(self.state())

    def _summary(self, row: dict[str, float]) -> str:
        """The phase, and its losses, in a few words."""
        losses = [f"{name} {row[name]:.1f}" for name in ("loss", "validation_loss") if name in row]
        return ", ".join([f"phase {phase_words(self.name)}", *losses])

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
            f"Training diverged at step {step} of phase {phase_words(self.name)}: "
            f"{' and '.join(bad) or 'the loss'} is not finite. Look for extreme values, or lower "
            "PublishedOptions(learning_rate=...)."
        )
