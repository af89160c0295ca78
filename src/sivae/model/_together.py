"""One training in several processes: what the first tells the others, and what these do.

The first process has all cells. It works out what takes all of them (scaling, decomposition, start, validation,
finish), and tells the others. Each of these reads its own share of the training cells and nothing else, takes part in
every step, and is told the trained model at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray

from sivae._errors import ProcessError, SiVAEError
from sivae._values import part_of
from sivae.data._expression import Design, Expression, Reader
from sivae.data._rows import Held, Rows, is_large, read_matrix
from sivae.data._scaling import Scaling
from sivae.data._setup import Setup
from sivae.data._spool import spooled
from sivae.model import _identity
from sivae.model._build import Options, blank_module
from sivae.model._trained import Trained, options_to_config
from sivae.nn._objective import Weights
from sivae.nn._two_towers import TwoTowers
from sivae.train import _loop
from sivae.train._checkpoint import State
from sivae.train._job import Job
from sivae.train._processes import Message, Processes, refused

if TYPE_CHECKING:
    from accelerate import Accelerator

    from sivae.model._fit import Training

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Task:
    """What every process of a training is given alike."""

    adata: AnnData
    setup: Setup
    genes: tuple[str, ...]
    options: Options
    training: Training

    def same(self, train_rows: NDArray[np.intp]) -> dict[str, Any]:
        """What must agree between processes, as JSON gives it back."""
        found = {
            "training cells": _identity.of_names(self.adata.obs_names[train_rows]),
            "genes": _identity.of_names(self.genes),
            "set-up": self.setup.to_record(),
            "options of the model": asdict(self.options),
            "options of the training": self.training.identity(),
        }
        return dict(json.loads(json.dumps(found)))


def check(options: Options, processes: Processes) -> None:
    """Refuse what one process alone can do.

    Raises
    ------
    OptionError
        If the recipe is the published one.
    """
    if processes.several and options.published is not None:
        raise refused(
            f"recipe={options.recipe!r} with {processes.world} processes; expected one, because its phases are trained "
            "by a single process. Start one, or use the default recipe."
        )


def check_share(n: int, processes: Processes) -> None:
    """Refuse more processes than training cells.

    Raises
    ------
    OptionError
        If so.
    """
    if processes.world > n:
        raise refused(
            f"{processes.world} processes for {n} training cells; expected a cell for each at least. Start fewer."
        )


# ---------------------------------------------------------------------------------------------------- the first process


def tell_start(task: Task, job: Job, reader: Reader, train_rows: NDArray[np.intp], state: State | None) -> None:
    """Tell the others where to start, and hear whether they can.

    Raises
    ------
    ProcessError
        If one of them cannot; it says why.
    """
    processes = job.processes
    if not processes.several:
        return
    scaling, design, weights = reader.scaling, reader.design, job.weights
    record = {
        "same": task.same(train_rows),
        "scaling": {"log": scaling.log, "target": scaling.target, "unit": scaling.unit},
        "weights": [weights.kl_cells, weights.kl_features, weights.gamma],
        "state": None if state is None else {"step": state.step, "record": state.record},
    }
    tensors = _named(job.module, "module") | {
        "mean_g": torch.from_numpy(scaling.mean_g), "sd_g": torch.from_numpy(scaling.sd_g),
        "share_g": torch.from_numpy(scaling.share_g), "mean_b": torch.from_numpy(design.mean_b),
        "sd_b": torch.from_numpy(design.sd_b),
    }  # fmt: skip
    if state is not None:
        tensors |= {f"state/{name}": tensor for name, tensor in state.tensors.items()}
    processes.share(Message(record, tensors))
    _agree(processes, None)


def tell_trained(processes: Processes, options: Options, module: TwoTowers, trained: Trained) -> None:
    """Tell the others the trained model."""
    if processes.several:
        tables = {
            f"table/{name}": torch.from_numpy(np.ascontiguousarray(table))
            for name, table in trained.to_tables().items()
        }
        config = trained.to_config() | {"options": options_to_config(options)}
        processes.share(Message(config, _named(module, "module") | tables))


# ----------------------------------------------------------------------------------------------------------- the others


def help_train(
    task: Task, rows: NDArray[np.intp], accelerator: Accelerator, processes: Processes
) -> tuple[TwoTowers, Trained]:
    """Train on this process's share of the training cells `rows`, and return what the first process made of it all.

    Raises
    ------
    ProcessError
        If another process fails or is gone.
    """
    check_share(len(rows), processes)
    own = rows[processes.own(len(rows))]
    with ExitStack() as stack:
        values: Rows | SiVAEError
        try:
            values = stack.enter_context(own_rows(task, own))
        except SiVAEError as error:  # the first process hears of it where it listens
            values = error
        start = processes.share()
        module, job = _job(task, start, (rows, own), values, processes)
        state = start.record["state"]
        if state is not None:
            state = State(state["step"], _under("state", start.tensors), state["record"])
        _loop.run(job, accelerator, progress=False, state=state)
    found = processes.share()
    module = module.to("cpu")
    _put(module, _under("module", found.tensors))
    tables = {name: tensor.numpy() for name, tensor in _under("table", found.tensors).items()}
    return module.eval(), Trained.from_saved(found.record, tables)


@contextmanager
def own_rows(task: Task, own: NDArray[np.intp]) -> Iterator[Rows]:
    """Yield the values of some cells and no others: in a temporary file where those of all cells would take much."""
    part, setup, o = part_of(task.adata, own), task.setup, task.training.options
    choice, binary = o.spool, task.options.binary
    if choice == "auto":
        choice = "always" if is_large(task.adata, setup.layer or None, len(task.genes)) else "never"
    with spooled(part, setup, task.genes, binary=binary, choice=choice, folder=o.spool_folder) as spool:
        if spool is not None:
            yield spool
            return
        at = part.var_names.get_indexer(list(task.genes))
        yield Held(read_matrix(part, setup, at, binary=binary))


def _job(
    task: Task,
    start: Message,
    cells: tuple[NDArray[np.intp], NDArray[np.intp]],
    values: Rows | SiVAEError,
    processes: Processes,
) -> tuple[TwoTowers, Job]:
    """The module at its start and this process's part of the work, if it can do it."""
    (rows, own), training, options = cells, task.training, task.options
    known, words = None, _differences(task.same(rows), start.record["same"])
    if words is None:
        known, words = _expression(task, start, own, values)
    _agree(processes, words)
    assert known is not None
    profile_gq = start.tensors["module/profile_gq"].numpy()
    module = blank_module(options, profile_gq, known.design_nb.shape[1], n_batches=task.setup.n_batches)
    _put(module, _under("module", start.tensors))
    return module, Job(
        module=module,
        training=known,
        validation=None,
        weights=Weights(*start.record["weights"]),
        options=training.options,
        batch_size=training.batch_size,
        feature_batch_size=training.feature_batch_size,
        max_epochs=training.max_epochs,
        early_stopping=training.early_stopping,
        seed=options.seed,
        genes=task.genes,
        cell_name=lambda row: str(task.adata.obs_names[own[row]]),
        processes=processes,
        n_cells=len(rows),
    )


def _expression(
    task: Task, start: Message, own: NDArray[np.intp], values: Rows | SiVAEError
) -> tuple[Expression | None, str | None]:
    """Expression of this process's cells on the scale of all training cells, or why there is none."""
    if isinstance(values, SiVAEError):
        return None, str(values)
    found, tables = start.record["scaling"], {name: tensor.numpy() for name, tensor in start.tensors.items()}
    scaling = Scaling(
        bool(found["log"]), float(found["target"]), tables["mean_g"], tables["sd_g"], tables["share_g"],
        float(found["unit"]),
    )  # fmt: skip
    reader = Reader(task.setup, task.genes, Design(tables["mean_b"], tables["sd_b"]), scaling, task.options.binary)
    try:
        return reader.read(part_of(task.adata, own), values), None
    except SiVAEError as error:
        return None, str(error)


def _differences(here: dict[str, Any], there: dict[str, Any]) -> str | None:
    names = [name for name in here if here[name] != there[name]]
    if not names:
        return None
    return (
        f"its {' and '.join(names)} differ from those of the first process; expected the same in all. Give every "
        "process the same data and settings, and let nothing random choose them."
    )


def _agree(processes: Processes, words: str | None) -> None:
    """End all processes where one of them cannot do its part."""
    found = processes.any_word(None if words is None else f"Process {processes.rank} of {processes.world}: {words}")
    if found is not None:
        error = ProcessError(found)
        error.everywhere = True
        raise error


def _named(module: TwoTowers, part: str) -> Tensors:
    """Every parameter and buffer, also those that are not saved."""
    return {f"{part}/{name}": tensor for name, tensor in (*module.named_parameters(), *module.named_buffers())}


def _under(part: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(f"{part}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{part}/")}


@torch.no_grad()
def _put(module: TwoTowers, tensors: Tensors) -> None:
    for name, tensor in _named(module, "x").items():
        tensor.copy_(tensors[name.removeprefix("x/")])
