"""From a set-up AnnData to a trained module and what training leaves behind."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from sivae._memory import give_back
from sivae._values import frame, part_of
from sivae.data._confounding import check_covariates, covariate_facts, warn_if_confounded
from sivae.data._covariates import CovariateEffect, covariate_effect
from sivae.data._expression import Expression, Reader
from sivae.data._profiles import Profiles, read_stored
from sivae.data._resident import check_possible
from sivae.data._rows import Held
from sivae.data._setup import Setup
from sivae.data._split import Split
from sivae.data._spool import Spool, spooled
from sivae.model import _build, _identity, _recipe, _together
from sivae.model._arguments import check_training_values
from sivae.model._finish import finish
from sivae.model._trained import Trained
from sivae.nn._objective import Weights
from sivae.nn._two_towers import TwoTowers
from sivae.stats._spectrum import Spectrum, principal_axes
from sivae.train import _loop
from sivae.train._checkpoint import Checkpoint, State
from sivae.train._history import History
from sivae.train._job import Job
from sivae.train._options import TrainOptions
from sivae.train._processes import Processes, join, make_accelerator

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger("sivae")


@dataclass(frozen=True)
class Training:
    """The arguments of `SiVAE.train`."""

    max_epochs: int | None
    batch_size: int
    feature_batch_size: int
    early_stopping: bool
    accelerator: str
    progress: bool
    checkpoint_dir: Path | None
    options: TrainOptions

    def identity(self) -> dict[str, Any]:
        """What a training must share with a checkpoint to be the same one."""
        free = (*WHERE, "checkpoint_seconds", "keep_checkpoint", "validation_cells")  # cells by name
        options = {name: value for name, value in asdict(self.options).items() if name not in free}
        return {name: getattr(self, name) for name in IDENTITY} | {"options": options}


WHERE = ("on_device", "spool", "spool_folder")
"""Options that say where values are, and change nothing of the model."""
IDENTITY = ("max_epochs", "batch_size", "feature_batch_size", "early_stopping")


def fit(
    adata: AnnData, setup: Setup, genes: tuple[str, ...], options: _build.Options, training: Training
) -> tuple[TwoTowers, Trained]:
    """Split, decompose, start, train, finish. Cells and genes are taken in the order of their names.

    Of several processes the first one does it, and the others help with the steps (`_together`).
    """
    o, accelerator = training.options, make_accelerator(training.accelerator)
    processes = join(accelerator)
    _together.check(options, processes)
    if not processes.first:
        with processes.telling():
            split = Split.of(adata.obs_names, fraction=o.validation_fraction, validation=o.validation_cells)
            task = _together.Task(adata, setup, genes, options, training)
            return _together.help_train(task, split_rows(adata, split)[0], accelerator, processes)
    with (
        processes.telling(),
        spooled(adata, setup, genes, binary=options.binary, choice=o.spool, folder=o.spool_folder) as spool,
    ):
        module, trained = _fit(adata, setup, genes, options, training, spool, accelerator, processes)
        _together.tell_trained(processes, options, module, trained)
    if spool is not None:
        give_back()
    return module, trained


def _fit(
    adata: AnnData,
    setup: Setup,
    genes: tuple[str, ...],
    options: _build.Options,
    training: Training,
    spool: Spool | None,
    accelerator: Accelerator,
    processes: Processes,
) -> tuple[TwoTowers, Trained]:
    o = training.options
    split = Split.of(adata.obs_names, fraction=o.validation_fraction, validation=o.validation_cells)
    train_rows, validation_rows = split_rows(adata, split)
    _together.check_share(len(train_rows), processes)
    own = [None, None] if spool is None else spool.parts(train_rows, validation_rows)
    seen = cells_of(adata, train_rows, setup, own[0])
    reader, known = _build.make_reader(seen, setup, genes, binary=options.binary, rows=own[0])
    check_training_values(known, genes, options.n_latent)
    check_possible(o.on_device, known)
    n_validation, held_out = len(validation_rows), None
    if n_validation:
        held_out = read_held(reader, cells_of(adata, validation_rows, setup, own[1]), own[1])
    stored_gq = stored_profile(adata, options, genes)
    shown = _recipe.profile_cells(options, adata, train_rows)
    checkpoint = None
    if training.checkpoint_dir is not None:
        names = adata.obs_names[train_rows], adata.obs_names[validation_rows]
        data = _identity.of_data(genes, *names, _identity.of_values(known, held_out, stored_gq))
        chosen = _chosen(options, None if shown is None else adata.obs_names[train_rows[shown]], processes)
        noted = _identity.noted(accelerator.device, versions())
        checkpoint = _checkpoint(training, {"model": chosen, "setup": setup.to_record(), **data}, noted)
    state = None if checkpoint is None else checkpoint.read()
    n_batches = setup.n_batches
    check_covariates(reader.design, known.design_nb, setup)
    effect = covariate_effect(known, n_batches)
    covariates = covariate_facts(known, effect, setup)
    warn_if_confounded(covariates, known.shape[0], setup)
    if options.published is not None:
        effect = _recipe.no_effect(known)
    if spool is not None:
        give_back()
    spectrum = _spectrum(options, known, effect)
    profiles = _build.make_profiles(options, known, effect, spectrum, stored_gq=stored_gq, cells=shown, new=False)
    cells = known, held_out, _first(held_out, o.max_validation_cells)
    del seen, train_rows, validation_rows, own  # what grows with cells and is not needed while a model trains
    if spool is not None:
        give_back()
    module, history, n_signal = _train(
        options, setup, genes, cells, profiles, effect, spectrum, training, accelerator,
        checkpoint=checkpoint, state=state,
        cell_name=lambda row: str(adata.obs_names[split_rows(adata, split)[0][row]]),
        processes=processes,
        tell=lambda job: _together.tell_start(
            _together.Task(adata, setup, genes, options, training), job, reader, split_rows(adata, split)[0], state
        ),
    )  # fmt: skip
    if spool is not None:
        give_back()
    module = module.to("cpu").eval()
    table, linear, covariance = finish(
        module,
        known,
        held_out,
        profiles,
        batch_share_b=reader.design.mean_b[:n_batches],
        residual=options.decoder == "residual",
        seed=options.seed,
    )
    facts = {
        "n_training_cells": known.shape[0],
        "n_validation_cells": n_validation,
        "n_signal_axes": n_signal,
        "validation_threshold": split.threshold,
        "covariates": covariates,
        **_how(options, training, history, known.shape, processes),
    }
    if checkpoint is not None and history.stopped != "interrupted" and not o.keep_checkpoint:
        checkpoint.remove()
    rotation_kk = np.eye(options.n_latent)
    return module, Trained(
        reader, table, linear, covariance, spectrum, history.to_dict(), facts, rotation_kk, stored_gq=stored_gq,
        validation_m=split.named_m,
    )  # fmt: skip


def read_held(reader: Reader, adata: AnnData, spool: Spool | None) -> Expression:
    """Expression of cells that are read again and again: from the spool, or held in memory where there is none."""
    at = adata.var_names.get_indexer(list(reader.genes))
    return reader.read(adata, Held(reader.values(adata, at)) if spool is None else spool)


def cells_of(adata: AnnData, rows: NDArray[np.intp], setup: Setup, values: Spool | None) -> AnnData:
    """Some of the cells; where their values were read before, without these, and with what set-up names in `obs`."""
    if values is None:
        return part_of(adata, rows)
    obs = frame(adata.obs)
    keys = (*setup.categorical_keys, *setup.continuous_covariate_keys, setup.size_factor_key)
    named = list(dict.fromkeys(key for key in keys if key in obs))
    return AnnData(obs=obs[named].iloc[rows], var=pd.DataFrame(index=adata.var_names))


def _chosen(options: _build.Options, cells_shown: pd.Index | None, processes: Processes) -> dict[str, Any]:
    """What was chosen of the model, as a checkpoint keeps it; of cells named for profiles a hash."""
    chosen = {"recipe": options.recipe} | asdict(options)
    if cells_shown is not None:
        chosen["cells_shown"] = _identity.of_names(cells_shown)
    if processes.several:  # which cells a step sees depends on it
        chosen["processes"] = processes.world
    return chosen


def _how(
    options: _build.Options, training: Training, history: History, shape: tuple[int, int], processes: Processes
) -> dict[str, Any]:
    """How a model was trained, for its facts."""
    return {
        "train_options": _recipe.read_options(options, _without_names(training.options)),
        **_recipe.block_sizes(options, training, *shape),
        "versions": versions(),
        **history.facts(),
        **({"processes": processes.world} if processes.several else {}),
    }


def _checkpoint(training: Training, same: dict[str, Any], noted: dict[str, Any]) -> Checkpoint:
    """The checkpoint in the named folder; `same` is what a continued training shares besides its options."""
    assert training.checkpoint_dir is not None
    identity = {**same, "train": training.identity()}
    return Checkpoint(training.checkpoint_dir, identity, noted, seconds=training.options.checkpoint_seconds)


def _spectrum(options: _build.Options, known: Expression, effect: CovariateEffect) -> Spectrum:
    """Principal axes of the training cells, as many as profiles, or without principal ones the start, need."""
    principal = options.profiles == "principal"
    width = options.n_profile if principal else _build.default_width("principal", options.n_latent)
    rank = min(width, *known.shape)
    return principal_axes(effect.blocks(known), known.shape, rank, product=effect.product(known))


def _first(cells: Expression | None, most: int) -> Expression | None:
    """The first of the cells, at most so many."""
    return cells if cells is None or cells.shape[0] <= most else cells.take(np.arange(most))


def _train(
    options: _build.Options,
    setup: Setup,
    genes: tuple[str, ...],
    cells: tuple[Expression, Expression | None, Expression | None],
    profiles: Profiles,
    effect: CovariateEffect,
    spectrum: Spectrum,
    training: Training,
    accelerator: Accelerator,
    *,
    checkpoint: Checkpoint | None,
    state: State | None,
    cell_name: Callable[[int], str],
    processes: Processes,
    tell: Callable[[Job], None],
) -> tuple[TwoTowers, History, int]:
    """The module of the recipe, trained; its history, and the number of axes with a signal at the start.

    `cells` are those of training, of validation, and the validation cells watched during training. `tell` tells other
    processes where to start.
    """
    known, held_out, watched = cells
    if options.published is not None:
        log.info("training on %d cells x %d genes, gamma %g", *known.shape, options.gamma)
        published, history = _recipe.train(
            options, known, watched, profiles, training, accelerator, n_batches=setup.n_batches,
            checkpoint=checkpoint, state=state,
        )  # fmt: skip
        return published, history, options.n_latent
    module, n_signal = _build.build_module(
        options, known, held_out, profiles, effect, spectrum, n_batches=setup.n_batches
    )
    log.info("training on %d cells x %d genes, %d axes with a signal", *known.shape, n_signal)
    job = Job(
        module=module,
        training=known,
        validation=watched,
        weights=Weights(1.0, _build.kl_scale(options, known), options.gamma),
        options=training.options,
        batch_size=training.batch_size,
        feature_batch_size=training.feature_batch_size,
        max_epochs=training.max_epochs,
        early_stopping=training.early_stopping,
        seed=options.seed,
        genes=genes,
        cell_name=cell_name,
        processes=processes,
        own=processes.own(known.shape[0]) if processes.several else None,
    )
    if processes.several:
        tell(job)
    history = _loop.run(job, accelerator, progress=training.progress, checkpoint=checkpoint, state=state)
    return module, history, n_signal


def stored_profile(adata: AnnData, options: _build.Options, genes: tuple[str, ...]) -> NDArray[np.float32] | None:
    """Rows of the `varm` array that the options name, or None where profiles come from the cells."""
    if options.profiles in ("principal", "cells"):
        return None
    return read_stored(adata, options.profiles, genes)


def split_rows(adata: AnnData, split: Split) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of training and of validation cells, each in the order of their names."""
    names = adata.obs_names.to_numpy(dtype=object)
    held = split.held(names)
    order = np.argsort(names, kind="stable")
    held = held[order]
    return order[~held], order[held]


def _without_names(options: TrainOptions) -> dict[str, Any]:
    """Options as they are kept: of validation cells that were named, how many, and a hash of the names."""
    cells = options.validation_cells
    kept = {name: value for name, value in asdict(options).items() if name not in WHERE}
    return kept | {"validation_cells": None if cells is None else _identity.of_names(sorted(cells))}


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("sivae-tools", "torch", "accelerate", "anndata", "numpy", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
