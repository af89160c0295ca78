"""The training loop: blocks of cells and genes, one step each, the best weights kept."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sivae._block import Block
from sivae._errors import DivergedError, ProcessError
from sivae._rng import torch_generator
from sivae.data._expression import Expression
from sivae.data._resident import Resident, fits
from sivae.nn._module import SiVAEModule
from sivae.nn._objective import Terms, Weights
from sivae.nn._tower import mixed_precision
from sivae.nn._two_towers import TwoTowers
from sivae.train._ahead import Ahead
from sivae.train._bar import bar
from sivae.train._checkpoint import Checkpoint, State
from sivae.train._history import History
from sivae.train._job import Job
from sivae.train._options import TrainOptions
from sivae.train._order import Rows
from sivae.train._processes import Processes
from sivae.train._state import fitting_together, load_moments, moments, pack, unpack

log = logging.getLogger("sivae")
FINAL_RATE = 0.05
TERMS = ("nll", "kl_cells", "kl_features", "nll_linear", "loss")


def run(
    job: Job,
    accelerator: Accelerator,
    *,
    progress: bool,
    checkpoint: Checkpoint | None = None,
    state: State | None = None,
) -> History:
    """Train the module in place, from a state if there is one, and leave it with the best weights, step 0 included.

    An interruption (KeyboardInterrupt) ends training as if all steps were done, `stopped` is then "interrupted"; where
    there are several processes it ends them all.
    """
    processes = job.processes
    trainer = _Trainer(job, accelerator)
    resumed_at = None if state is None else trainer.load(state)
    stopped = ""
    progress = progress and processes.first
    with (
        bar(job.n_steps, initial=trainer.step, shown=progress) as shown,
        processes.stepping(),
    ):
        if resumed_at is None:
            trainer.check(checkpoint)
        else:
            if processes.first:
                log.info("continuing from step %d of %d", resumed_at, job.n_steps)
            shown.set_postfix_str(f"continues from step {resumed_at}")
            trainer.agree()
        try:
            while trainer.step < job.n_steps and not trainer.exhausted:
                trainer.advance()
                shown.update()
                if trainer.step % trainer.every == 0 or trainer.step == job.n_steps:
                    trainer.check(checkpoint)
                    shown.set_postfix_str(trainer.keeper.summary(), refresh=False)
        except KeyboardInterrupt:
            if processes.several:  # a launcher kills what does not end soon
                _flush(checkpoint)
                raise
            stopped = "interrupted"
            log.warning("Interrupted at step %d; finishing the model. Interrupt again to stop at once.", trainer.step)
        except (SystemExit, ProcessError):
            _flush(checkpoint)
            raise
        finally:
            trainer.blocks.close()
    if checkpoint is not None and (stopped or job.options.keep_checkpoint):
        checkpoint.flush()
    return trainer.keeper.finish(stopped, last_step=trainer.step, resumed_at=resumed_at)


def _flush(checkpoint: Checkpoint | None) -> None:
    if checkpoint is not None:
        checkpoint.flush()


class _Trainer:
    """Weights, optimizer and moving average, and how they move by one step."""

    def __init__(self, job: Job, accelerator: Accelerator) -> None:
        options = job.options
        self.job, self.accelerator, self.step, self.exhausted = job, accelerator, 0, False
        self.every = max(1, job.n_steps // options.checks)
        self.rate = _rate(options, job.n_steps)
        # In evaluation mode accelerate adds no exchange of gradients of its own (see `advance`).
        self.prepared = accelerator.prepare_model(job.module, evaluation_mode=True)
        self.optimizer = _optimizer(job.module, options)  # not wrapped: that is for loss scaling, and takes time
        self.parameters: list[torch.Tensor] = list(job.module.parameters())
        averaged = copy.deepcopy(job.module)
        self.averages: list[torch.Tensor] = list(averaged.parameters())
        self.update_averages = _average(options.average_decay)
        self.keeper = _Keeper(job, averaged)
        self.cells, self.genes = job.orders()
        self.resident = _resident(job, accelerator.device)
        # Where reading takes a processor's time, a thread for it gains nothing (bench/step_limits.py).
        waits = accelerator.device.type != "cpu" or job.training.rows.waits
        self.blocks = Ahead(self._block, last=job.n_steps, on=waits)
        self.started, self.sums = time.perf_counter(), _Means()
        job.module.train()

    def advance(self) -> None:
        """One step; everything random in it is a function of the seed, its number and the process.

        Several processes take a block of their own cells each, and the same genes. The mean of their gradients is one
        of all their cells together, in which the divergence of the genes, equal in all, counts once.
        """
        job, step = self.job, self.step + 1
        block, cells, genes = self.blocks.take(step)
        weights = _warmed(job.weights, step, job.options.kl_warmup_steps)
        noise = torch_generator(job.seed, job.processes.purpose("noise"), index=step)
        with mixed_precision(job.module, on=job.options.precision == "bfloat16"):
            terms: Terms = self.prepared(block, noise, linear=weights.gamma > 0)
        loss = terms.loss(weights)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        values = torch.stack([terms.nll, terms.kl_cells, terms.kl_features, terms.nll_linear, loss]).detach()
        job.processes.average([p.grad for p in self.parameters if p.grad is not None] + [values])
        torch.nn.utils.clip_grad_norm_(self.parameters, job.options.clip_norm, foreach=True)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self.rate(step - 1)
        self.optimizer.step()
        self._average(first=step == 1)
        if not self.sums.add(values):
            words = None if math.isfinite(float(loss.detach())) else _diagnose(job, terms, (cells, genes), step)
            raise _diverged(job.processes.any_word(words) or _diagnose(job, terms, (cells, genes), step), job.processes)
        self.step = step

    def _block(self, step: int) -> tuple[Block, Rows, Rows]:
        """The block of a step on the device, its cells and its genes."""
        job = self.job
        (cells, cell_weight), (genes, gene_weight) = self.cells.block(step), self.genes.block(step)
        among_all = cells if job.own is None else job.own[cells]
        source, at = (job.training, among_all) if self.resident is None else (self.resident, cells)
        block = source.block(
            at, genes, counts=job.module.likelihood.counts, cell_weight=cell_weight, gene_weight=gene_weight
        )
        return block.to(self.accelerator.device), among_all, genes

    def check(self, checkpoint: Checkpoint | None) -> None:
        """Look at the validation loss, and offer the state to the checkpoint."""
        row = {}
        if self.step:
            row = self.sums.take() | {
                "learning_rate": self.optimizer.param_groups[-1]["peak"] * self.rate(self.step),
                "epoch": self.step / self.job.n_cell_blocks,
            }
        self.keeper.check(self.step, time.perf_counter() - self.started if self.step else 0.0, row)
        if not self.step:
            self.started = time.perf_counter()
        if checkpoint is not None:
            checkpoint.offer(self.state())
        self.agree()

    def agree(self) -> None:
        """Ask the first process, which alone validates, whether to stop."""
        self.exhausted = self.job.processes.decide(yes=self.keeper.exhausted)

    def state(self) -> State:
        """A copy of everything that the rest of the training depends on, just after a check."""
        best, record = self.keeper.state()
        tensors = pack(
            {
                "weights": self.job.module.state_dict(),
                "average": self.keeper.module.state_dict(),
                "optimizer": moments(self.optimizer),
                "best": best,
            }
        )
        return State(self.step, tensors, record)

    def load(self, state: State) -> int:
        """Go on from a state, and return its step."""
        with fitting_together():
            parts = unpack(state.tensors, "weights", "average", "optimizer", "best")
            self.job.module.load_state_dict(parts["weights"])
            self.keeper.module.load_state_dict(parts["average"])
            load_moments(self.optimizer, parts["optimizer"])
            self.keeper.load(parts["best"], state.record)
        self.step = state.step
        self.started = time.perf_counter() - self.keeper.seen.rows[-1]["seconds"]
        return self.step

    @torch.no_grad()
    def _average(self, *, first: bool) -> None:
        if first:
            torch._foreach_copy_(self.averages, self.parameters)
        else:
            self.update_averages(self.averages, self.parameters, None)


class _Means:
    """Running means of the terms between two checks."""

    def __init__(self) -> None:
        self.total, self.count = [0.0] * len(TERMS), 0

    def add(self, terms: torch.Tensor) -> bool:
        """Add the values of a step, brought from the device together; say whether the loss is finite."""
        values = terms.tolist()
        self.total = [total + value for total, value in zip(self.total, values, strict=True)]
        self.count += 1
        return math.isfinite(values[-1])

    def take(self) -> dict[str, float]:
        means = {name: total / self.count for name, total in zip(TERMS, self.total, strict=True)}
        self.total, self.count = [0.0] * len(TERMS), 0
        return means


@dataclass(frozen=True)
class _Seen:
    """What the checks have found; replaced as a whole, so that an interruption finds it consistent."""

    rows: tuple[dict[str, float], ...] = ()
    best_loss: float = math.inf
    best_step: int = 0
    waited: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)


class _Keeper:
    """Looks at the validation loss, keeps the best weights and says when to stop."""

    def __init__(self, job: Job, module: SiVAEModule) -> None:
        self.job, self.module, self.seen = job, module, _Seen()

    def check(self, step: int, seconds: float, row: dict[str, float]) -> None:
        """Validate, note the row, and keep the weights if they are the best so far."""
        terms, seen = self._validate(), self.seen
        loss = math.nan
        if terms is not None:
            loss = terms.nll + self.job.weights.kl_cells * terms.kl_cells + self.job.weights.gamma * terms.nll_linear
            row = row | {
                "validation_loss": loss,
                "validation_nll": terms.nll,
                "validation_nll_linear": terms.nll_linear,
            }
        enough = self.job.options.min_improvement * (abs(seen.best_loss) if math.isfinite(seen.best_loss) else 0.0)
        better = terms is None or step == 0 or loss < seen.best_loss - enough
        rows = (*seen.rows, row | {"step": step, "seconds": seconds, "best": float(better)})
        if better:
            best = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
            self.seen = _Seen(rows, loss, step, 0, best)
        else:
            warm = step > self.job.options.warmup_steps  # at a low rate no gain says little
            self.seen = replace(seen, rows=rows, waited=seen.waited + warm)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The best weights, and the rest, for a checkpoint."""
        seen = self.seen
        record = {"rows": seen.rows, "best_loss": seen.best_loss, "best_step": seen.best_step, "waited": seen.waited}
        return seen.best, record

    def load(self, best: dict[str, torch.Tensor], record: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.seen = _Seen(tuple(record["rows"]), record["best_loss"], record["best_step"], record["waited"], best)

    @property
    def exhausted(self) -> bool:
        """Whether the validation loss has not improved for `patience` checks."""
        job = self.job
        return job.early_stopping and job.validation is not None and self.seen.waited >= job.options.patience

    def summary(self) -> str:
        """The terms of the loss in a few words."""
        row = self.seen.rows[-1]
        names = ("loss", "nll", "kl_cells", "nll_linear", "validation_loss")
        return ", ".join(f"{name} {row[name]:.1f}" for name in names if name in row)

    def finish(self, stopped: str, *, last_step: int, resumed_at: int | None) -> History:
        """Put the best weights back and say why training ended."""
        self.job.module.load_state_dict(self.seen.best)
        self.job.module.eval()
        stopped = stopped or ("plateau" if self.exhausted else "all steps done")
        return History(list(self.seen.rows), self.seen.best_step, stopped, last_step, resumed_at)

    @torch.no_grad()
    def _validate(self) -> _Floats | None:
        if self.job.validation is None:
            return None
        self.module.eval()
        noise = torch_generator(self.job.seed, "validation")
        terms = evaluate(self.module, self.job.validation, noise)
        self.module.train()
        return terms


@dataclass(frozen=True)
class _Floats:
    nll: float
    kl_cells: float
    kl_features: float
    nll_linear: float


@torch.no_grad()
def evaluate(module: TwoTowers, expression: Expression, noise: torch.Generator | None, size: int = 512) -> _Floats:
    """The terms over all cells of `expression` and all genes; at posterior means where no generator is given."""
    n, g = expression.shape
    genes, device = np.arange(g), module.bias_g.device
    total = np.zeros(4)
    for part in expression.cells(size):
        cells = np.arange(part.start, part.stop)
        block = expression.block(cells, genes, counts=module.likelihood.counts).to(device)
        values = module(replace(block, cell_weight=1.0 / n), noise).as_floats()
        total += np.array([values[k] for k in ("nll", "kl_cells", "kl_features", "nll_linear")])
        total[2] -= values["kl_features"] * (1 - len(cells) / n)
    return _Floats(*(float(value) for value in total))


def _optimizer(module: SiVAEModule, options: TrainOptions) -> torch.optim.Optimizer:
    """AdamW in three groups: the linear skips (slow), kernels of perceptrons (with decay), and the rest."""
    slow = [module.cell_tower.skip_pk, module.feature_tower.skip_pk]
    kernels = [p for name, p in module.named_parameters() if p.ndim == 2 and ".layers." in name]
    taken = {id(p) for p in (*slow, *kernels)}
    rest = [p for p in module.parameters() if id(p) not in taken]
    groups = [
        {"params": slow, "peak": options.learning_rate * options.skip_rate, "weight_decay": 0.0},
        {"params": kernels, "peak": options.learning_rate, "weight_decay": options.weight_decay},
        {"params": rest, "peak": options.learning_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)


def _resident(job: Job, device: torch.device) -> Resident | None:
    """The cells of the process on the device, where they are to be."""
    choice = job.options.on_device
    wanted = choice == "always" or (choice == "auto" and fits(job.training, device))
    own = job.training if job.own is None or not wanted else job.training.take(job.own)
    return Resident(own, device) if wanted else None


def _average(decay: float) -> Callable[..., None]:
    return get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call,no-any-return]


def _rate(options: TrainOptions, n_steps: int) -> Callable[[int], float]:
    def rate(step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, options.warmup_steps))
        return warm * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / n_steps))))

    return rate


def _warmed(weights: Weights, step: int, warmup: int) -> Weights:
    share = min(1.0, step / warmup) if warmup else 1.0
    return replace(weights, kl_cells=share * weights.kl_cells, kl_features=share * weights.kl_features)


def _diverged(words: str, processes: Processes) -> DivergedError:
    error = DivergedError(words)
    error.everywhere = processes.several
    return error


@torch.no_grad()
def _diagnose(job: Job, terms: Terms, last: tuple[Rows, Rows], step: int) -> str:
    values = terms.as_floats()
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    cells, genes = last
    x_cf = np.abs(job.training.standardised(cells)[:, genes])
    cell, gene = np.unravel_index(int(np.nan_to_num(x_cf, nan=np.inf).argmax()), x_cf.shape)
    return (
        f"Training diverged at step {step}: {' and '.join(bad) or 'the loss'} is not finite. The most "
        f"extreme value of this block is {x_cf[cell, gene]:.3g} sd, gene {job.genes[genes[gene]]!r} "
        f"in cell {job.cell_name(int(cells[cell]))!r}. Look at them, or lower TrainOptions(learning_rate=...)."
    )
