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
from anndata import AnnData
from numpy.typing import NDArray

from sivae._values import part_of
from sivae.data._confounding import check_covariates, covariate_facts, warn_if_confounded
from sivae.data._covariates import CovariateEffect, covariate_effect
from sivae.data._expression import Expression, Reader
from sivae.data._profiles import Profiles, read_stored
from sivae.data._rows import Held
from sivae.data._setup import Setup
from sivae.data._split import Split
from sivae.data._spool import Spool, spooled
from sivae.model import _build, _identity, _recipe
from sivae.model._arguments import check_training_values
from sivae.model._finish import finish
from sivae.model._trained import Trained
from sivae.nn._objective import Weights
from sivae.nn._two_towers import TwoTowers
from sivae.stats._spectrum import Spectrum, principal_axes
from sivae.train import _loop
from sivae.train._checkpoint import Checkpoint, State
from sivae.train._history import History
from sivae.train._options import TrainOptions

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
        free = ("checkpoint_seconds", "keep_checkpoint", "spool", "spool_folder", "validation_cells")  # cells by name
        options = {name: value for name, value in asdict(self.options).items() if name not in free}
        return {name: getattr(self, name) for name in IDENTITY} | {"options": options}


IDENTITY = ("max_epochs", "batch_size", "feature_batch_size", "early_stopping")


def fit(
    adata: AnnData, setup: Setup, genes: tuple[str, ...], options: _build.Options, training: Training
) -> tuple[TwoTowers, Trained]:
    """Split, decompose, start, train, finish. Cells and genes are taken in the order of their names."""
    o = training.options
    with spooled(adata, setup, genes, binary=options.binary, choice=o.spool, folder=o.spool_folder) as spool:
        return _fit(adata, setup, genes, options, training, spool)


def _fit(
    adata: AnnData,
    setup: Setup,
    genes: tuple[str, ...],
    options: _build.Options,
    training: Training,
    spool: Spool | None,
) -> tuple[TwoTowers, Trained]:
    accelerator = _loop.make_accelerator(training.accelerator)
    o = training.options
    split = Split.of(adata.obs_names, fraction=o.validation_fraction, validation=o.validation_cells)
    train_rows, validation_rows = split_rows(adata, split)
    own = (None, None) if spool is None else (spool.part(train_rows), spool.part(validation_rows))
    reader, known = _build.make_reader(part_of(adata, train_rows), setup, genes, binary=options.binary, rows=own[0])
    check_training_values(known, genes, options.n_latent)
    held_out = read_held(reader, part_of(adata, validation_rows), own[1]) if len(validation_rows) else None
    stored_gq = stored_profile(adata, options, genes)
    shown = _recipe.profile_cells(options, adata, train_rows)
    checkpoint = None
    if training.checkpoint_dir is not None:
        chosen = {"recipe": options.recipe} | asdict(options)
        if shown is not None:
            chosen["cells_shown"] = _identity.of_names(adata.obs_names[train_rows[shown]])
        names = adata.obs_names[train_rows], adata.obs_names[validation_rows]
        data = _identity.of_data(genes, *names, _identity.of_values(known, held_out, stored_gq))
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
    spectrum = _spectrum(options, known, effect)
    profiles = _build.make_profiles(options, known, effect, spectrum, stored_gq=stored_gq, cells=shown, new=False)
    cells = known, held_out, _first(held_out, o.max_validation_cells)
    module, history, n_signal = _train(
        options, setup, genes, cells, profiles, effect, spectrum, training, accelerator,
        checkpoint=checkpoint, state=state, cell_name=lambda row: str(adata.obs_names[train_rows[row]]),
    )  # fmt: skip
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
    facts: dict[str, Any] = {
        "n_training_cells": known.shape[0],
        "n_validation_cells": len(validation_rows),
        "n_signal_axes": n_signal,
        "validation_threshold": split.threshold,
        "covariates": covariates,
        "train_options": _recipe.read_options(options, _without_names(o)),
        **_recipe.block_sizes(options, training, *known.shape),
        "versions": versions(),
        **history.facts(),
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
) -> tuple[TwoTowers, History, int]:
    """The module of the recipe, trained; its history, and the number of axes with a signal at the start.

    `cells` are those of training, of validation, and the validation cells watched during training.
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
    job = _loop.Job(
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
    )
    history = _loop.run(job, accelerator, progress=training.progress, checkpoint=checkpoint, state=state)
    return module, history, n_signal


def stored_profile(adata: AnnData, options: _build.Options, genes: tuple[str, ...]) -> NDArray[np.float32] | None:
    """Rows of the `varm` array that the options name, or None where profiles come from the cells."""
    if options.profiles in ("principal", "cells"):
        return None
    return read_stored(adata, options.profiles, genes)


def split_rows(adata: AnnData, split: Split) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of training and of validation cells, each in the order of their names."""
    names = adata.obs_names.to_numpy().astype(str)
    held = split.held(names.tolist())
    order = np.argsort(names, kind="stable")
    return order[~held[order]], order[held[order]]


def _without_names(options: TrainOptions) -> dict[str, Any]:
    """Options as they are kept: of validation cells that were named, how many, and a hash of the names."""
    cells = options.validation_cells
    kept = {name: value for name, value in asdict(options).items() if name not in ("spool", "spool_folder")}
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
