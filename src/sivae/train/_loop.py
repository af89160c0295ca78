"""The training loop: blocks of cells and genes, one step each, the best weights kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from sivae._block import Block
from sivae._errors import DivergedError, OptionError
from sivae._rng import numpy_generator, torch_generator
from sivae.data._expression import Expression
from sivae.nn._module import SiVAEModule
from sivae.nn._objective import Terms, Weights
from sivae.train._history import History
from sivae.train._options import TrainOptions, default_steps

FINAL_RATE = 0.05


@dataclass(frozen=True)
class Job:
    """Everything one training needs."""

    module: SiVAEModule
    training: Expression
    validation: Expression | None
    weights: Weights
    options: TrainOptions
    batch_size: int
    feature_batch_size: int
    max_epochs: int | None
    early_stopping: bool
    seed: int
    genes: tuple[str, ...]
    cell_name: Callable[[int], str]

    @property
    def n_cell_blocks(self) -> int:
        """Blocks of cells in an epoch."""
        return max(1, math.ceil(self.training.shape[0] / self.batch_size))

    @property
    def n_steps(self) -> int:
        """Steps in all."""
        if self.options.max_steps is not None:
            return self.options.max_steps
        if self.max_epochs is not None:
            return self.max_epochs * self.n_cell_blocks
        return default_steps(self.training.shape[0])


def partition(n: int, size: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """A random partition of n items into the fewest near-equal blocks of at most `size`."""
    return np.array_split(rng.permutation(n), max(1, math.ceil(n / size)))


def cycle(n: int, size: int, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.intp], float]]:
    """Blocks of fresh partitions for ever, each with its weight per item (number of blocks / n)."""
    while True:
        blocks = partition(n, size, rng)
        for block in blocks:
            yield np.sort(block), len(blocks) / n


def make_accelerator(accelerator: str) -> Accelerator:
    """A single-process accelerate front for "auto", "cpu", "gpu" or "mps"."""
    if accelerator not in ("auto", "cpu", "gpu", "mps"):
        raise OptionError(f"accelerator is {accelerator!r}; expected 'auto', 'cpu', 'gpu' or 'mps'.")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise OptionError("accelerator='gpu', but torch finds no CUDA device. Use 'auto' or 'cpu'.")
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise OptionError("accelerator='mps', but torch finds no MPS device. Use 'auto' or 'cpu'.")
    return Accelerator(cpu=accelerator == "cpu")


def run(job: Job, accelerator: Accelerator, *, progress: bool) -> History:
    """Train the module in place and leave it with the best weights, those of step 0 included."""
    options, module = job.options, job.module
    optimizer = _optimizer(module, options)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate(options, job.n_steps))
    prepared, optimizer = accelerator.prepare(module, optimizer)
    average = AveragedModel(module, multi_avg_fn=_average(options.average_decay))
    averaged: SiVAEModule = average.module  # type: ignore[assignment]
    keeper = _Keeper(job, averaged)
    keeper.check(0, 0.0, {})
    blocks = _Blocks(job)
    noise = torch_generator(job.seed, "noise")
    every = max(1, job.n_steps // options.checks)
    started, sums = time.perf_counter(), _Means()
    module.train()
    with tqdm(total=job.n_steps, disable=not progress, desc="siVAE", unit="step") as bar:
        for step in range(1, job.n_steps + 1):
            block = blocks.next().to(accelerator.device)
            weights = _warmed(job.weights, step, options.kl_warmup_steps)
            terms: Terms = prepared(block, noise, linear=weights.gamma > 0)
            loss = terms.loss(weights)
            if not torch.isfinite(loss):
                raise DivergedError(_diagnose(job, terms, blocks.last, step))
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(module.parameters(), options.clip_norm)
            optimizer.step()
            scheduler.step()
            average.update_parameters(module)
            sums.add(terms, loss)
            bar.update()
            if step % every == 0 or step == job.n_steps:
                rate = float(scheduler.get_last_lr()[-1])
                row = sums.take() | {"learning_rate": rate, "epoch": step / job.n_cell_blocks}
                keeper.check(step, time.perf_counter() - started, row)
                bar.set_postfix_str(keeper.summary(), refresh=False)
                if keeper.exhausted:
                    break
    return keeper.finish()


class _Blocks:
    """Draws the block of each step."""

    def __init__(self, job: Job) -> None:
        n, g = job.training.shape
        self.job = job
        self.cells = cycle(n, job.batch_size, numpy_generator(job.seed, "cells"))
        self.genes = cycle(g, job.feature_batch_size, numpy_generator(job.seed, "genes"))
        self.last: tuple[NDArray[np.intp], NDArray[np.intp]] = (np.empty(0, np.intp), np.empty(0, np.intp))

    def next(self) -> Block:
        (cells, cell_weight), (genes, gene_weight) = next(self.cells), next(self.genes)
        self.last = cells, genes
        counts = self.job.module.likelihood.counts
        return self.job.training.block(cells, genes, counts=counts, cell_weight=cell_weight, gene_weight=gene_weight)


class _Means:
    """Running means of the terms between two checks."""

    def __init__(self) -> None:
        self.total: dict[str, float] = {}
        self.count = 0

    def add(self, terms: Terms, loss: torch.Tensor) -> None:
        self.count += 1
        for name, value in (terms.as_floats() | {"loss": float(loss.detach())}).items():
            self.total[name] = self.total.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        means = {name: value / self.count for name, value in self.total.items()}
        self.total, self.count = {}, 0
        return means


class _Keeper:
    """Looks at the validation loss, keeps the best weights and says when to stop."""

    def __init__(self, job: Job, module: SiVAEModule) -> None:
        self.job, self.module, self.history = job, module, History()
        self.best_loss, self.waited = math.inf, 0
        self.best_state: dict[str, torch.Tensor] = {}
        self.started = time.perf_counter()

    def check(self, step: int, seconds: float, row: dict[str, float]) -> None:
        """Validate, note the row, and keep the weights if they are the best so far."""
        terms = self._validate()
        loss = math.nan
        if terms is not None:
            loss = terms.nll + self.job.weights.kl_cells * terms.kl_cells + self.job.weights.gamma * terms.nll_linear
            row = row | {
                "validation_loss": loss,
                "validation_nll": terms.nll,
                "validation_nll_linear": terms.nll_linear,
            }
        enough = self.job.options.min_improvement * (abs(self.best_loss) if math.isfinite(self.best_loss) else 0.0)
        better = terms is None or step == 0 or loss < self.best_loss - enough
        if better:
            self.best_loss, self.waited, self.history.best_step = loss, 0, step
            self.best_state = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        else:
            self.waited += 1
        self.history.add(row | {"step": step, "seconds": seconds, "best": float(better)})

    @property
    def exhausted(self) -> bool:
        """Whether the validation loss has not improved for `patience` checks."""
        return self.job.early_stopping and self.job.validation is not None and self.waited >= self.job.options.patience

    def summary(self) -> str:
        """The terms of the loss in a few words."""
        row = self.history.rows[-1]
        names = ("loss", "nll", "kl_cells", "nll_linear", "validation_loss")
        return ", ".join(f"{name} {row[name]:.1f}" for name in names if name in row)

    def finish(self) -> History:
        """Put the best weights back and say why training ended."""
        self.job.module.load_state_dict(self.best_state)
        self.job.module.eval()
        self.history.stopped = "plateau" if self.exhausted else "all steps done"
        return self.history

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
def evaluate(module: SiVAEModule, expression: Expression, noise: torch.Generator | None, size: int = 512) -> _Floats:
    """The terms over all cells of `expression` and all genes; at posterior means where no generator is given."""
    n, g = expression.shape
    genes, device = np.arange(g), module.bias_g.device
    total = np.zeros(4)
    for start in range(0, n, size):
        cells = np.arange(start, min(start + size, n))
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
        {"params": slow, "lr": options.learning_rate * options.skip_rate, "weight_decay": 0.0},
        {"params": kernels, "lr": options.learning_rate, "weight_decay": options.weight_decay},
        {"params": rest, "lr": options.learning_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)


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


@torch.no_grad()
def _diagnose(job: Job, terms: Terms, last: tuple[NDArray[np.intp], NDArray[np.intp]], step: int) -> str:
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
