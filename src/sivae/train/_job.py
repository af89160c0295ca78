"""What one training needs, and how many steps that makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sivae.data._expression import Expression
from sivae.nn._module import SiVAEModule
from sivae.nn._objective import Weights
from sivae.train._options import TrainOptions, default_steps
from sivae.train._order import Order, Rows, n_blocks_of
from sivae.train._processes import ALONE, Processes


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
    processes: Processes = ALONE
    """Those that train the module together."""
    own: Rows | None = None
    """Rows of `training` that are this process's; all if None."""
    n_cells: int | None = None
    """Training cells of all processes; those of `training` if None."""

    @property
    def n_training(self) -> int:
        """Training cells in all."""
        return self.training.shape[0] if self.n_cells is None else self.n_cells

    @property
    def n_cell_blocks(self) -> int:
        """Steps of an epoch: blocks in which each process passes over its cells."""
        return n_blocks_of(self.n_training, self.batch_size, shares=self.processes.world)

    def orders(self) -> tuple[Order, Order]:
        """Blocks of this process's cells, and of genes, which all processes see alike."""
        n, g = self.training.shape
        cells = Order(
            n if self.own is None else len(self.own),
            self.batch_size,
            seed=self.seed,
            purpose=self.processes.purpose("cells"),
            n_blocks=self.n_cell_blocks,
            out_of=self.n_training / self.processes.world,
        )
        return cells, Order(g, self.feature_batch_size, seed=self.seed, purpose="genes")

    @property
    def n_steps(self) -> int:
        """Steps in all."""
        if self.options.max_steps is not None:
            return self.options.max_steps
        if self.max_epochs is not None:
            return self.max_epochs * self.n_cell_blocks
        return default_steps(self.n_training)
