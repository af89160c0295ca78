"""The published recipe: its defaults, what it can work on, and its training in phases."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray

from sivae._checks import one_of
from sivae._errors import OptionError, SetupError, some
from sivae._rng import torch_generator
from sivae._values import frame
from sivae.data._covariates import CovariateEffect
from sivae.data._expression import Expression
from sivae.data._profiles import Profiles, labelled_cells
from sivae.model._build import Options, kl_scale
from sivae.nn._dispersion import LEAST_SIGMA, PerCell, PerGene
from sivae.nn._likelihoods import NegativeBinomial, Normal, make_likelihood
from sivae.nn._published import PublishedModule
from sivae.nn._published_options import PublishedOptions
from sivae.train import _stages

if TYPE_CHECKING:
    from accelerate import Accelerator

    from sivae.model._fit import Training
    from sivae.train._checkpoint import Checkpoint, State
    from sivae.train._history import History

CELLS: Final = 1024
DEFAULT, PUBLISHED = "default", "choi2023"
GAMMA: Final = {DEFAULT: 0.5, PUBLISHED: 0.05}
OWN: Final[dict[str, dict[str, str]]] = {
    DEFAULT: {"decoder": "residual", "kl_scale": "bound", "profiles": "principal", "dispersion": PerGene.name},
    PUBLISHED: {"decoder": "published", "kl_scale": "published", "profiles": "cells", "dispersion": PerCell.name},
}
"""What each recipe does where nothing else is asked for."""


def chosen(recipe: object, asked: dict[str, Any]) -> dict[str, Any]:
    """The choices asked for, None replaced by what the recipe does.

    Raises
    ------
    OptionError
        If there is no such recipe, or it has no such likelihood.
    """
    one_of("recipe", recipe, OWN)
    if recipe == PUBLISHED:
        one_of("likelihood", asked["likelihood"], ("auto", Normal.name, NegativeBinomial.name))
    own: dict[str, Any] = {"gamma": GAMMA[str(recipe)]} | OWN[str(recipe)]
    if recipe == PUBLISHED and asked["likelihood"] == NegativeBinomial.name:
        own["dispersion"] = PerGene.name
    return {name: own[name] if value is None and name in own else value for name, value in asked.items()}


def settings(recipe: str, published: object, architecture: object) -> PublishedOptions | None:
    """The settings of the recipe; None for the default one.

    Raises
    ------
    OptionError
        If settings of the other recipe are given.
    """
    if recipe == DEFAULT:
        if published is not None:
            raise OptionError(
                "published is given, but recipe is 'default'; expected nothing. Write recipe='choi2023', or leave "
                "published out."
            )
        return None
    if architecture is not None:
        raise OptionError(
            "architecture is given, but recipe is 'choi2023'; expected nothing, because its sizes are in "
            "published=sivae.PublishedOptions(encoder=..., decoder=...). Leave architecture out."
        )
    if published is not None and not isinstance(published, PublishedOptions):
        raise OptionError(
            f"published is a {type(published).__name__}; expected sivae.PublishedOptions. "
            "Write published=sivae.PublishedOptions(iterations=500), for example."
        )
    return published or PublishedOptions()


def check(options: Options, adata: AnnData) -> None:
    """Refuse what the published model does not have.

    Raises
    ------
    OptionError, SetupError
        Naming it.
    """
    p = options.published
    if p is None:
        return
    one_of("decoder", options.decoder, ("published",))
    if options.likelihood == NegativeBinomial.name and not p.variational:
        raise OptionError(
            "PublishedOptions.variational is False with likelihood='nb'; expected likelihood='normal', because a "
            "deterministic autoencoder minimises the squared error. Use likelihood='normal'."
        )
    key, obs = p.feature_label_key, frame(adata.obs)
    if key is not None and options.profiles != "cells":
        raise OptionError(
            f"PublishedOptions.feature_label_key is {key!r} with profiles={options.profiles!r}; expected "
            "profiles='cells', which a label can choose. Leave one of the two out."
        )
    if key is not None and key not in obs:
        raise SetupError(
            f"obs has no column {key!r}, which PublishedOptions.feature_label_key names; it has: "
            f"{some(obs, 20) or 'none'}. Name one of these."
        )


def block_sizes(options: Options, training: Training, n_cells: int, n_genes: int) -> dict[str, int]:
    """Cells and genes of a block, as they were trained on."""
    p = options.published
    if p is None:
        return {"batch_size": training.batch_size, "feature_batch_size": training.feature_batch_size}
    return {"batch_size": _stages.rows_of(p, n_cells), "feature_batch_size": _stages.rows_of(p, n_genes)}


def read_options(options: Options, train_options: dict[str, Any]) -> dict[str, Any]:
    """The training options that were read: phases have rates, decay and clipping of their own."""
    if options.published is None:
        return train_options
    return {name: value for name, value in train_options.items() if name in _stages.READ}


def check_projection(recipe: str, likelihood: str) -> None:
    """Refuse genes to be placed after training where they will have no place.

    Raises
    ------
    OptionError
        Saying why, and what can be done instead.
    """
    if recipe == PUBLISHED and likelihood == NegativeBinomial.name:
        raise OptionError(
            "Found --project-rest with --recipe choi2023 and --likelihood nb; expected genes that are all modelled, "
            "because the model has a softmax over them, in which no other gene has a place. Leave --project-rest out, "
            "model every gene (--n-genes all), or use --likelihood normal."
        )


def no_effect(training: Expression) -> CovariateEffect:
    """Nothing is taken off for covariates: they are inputs of the cell tower, and the feature tower has none."""
    zeros_bg = np.zeros((training.design_nb.shape[1], training.shape[1]), np.float32)
    return CovariateEffect(zeros_bg, zeros_bg.copy())


def profile_cells(options: Options, adata: AnnData, train_rows: NDArray[np.intp]) -> NDArray[np.intp] | None:
    """Training cells that the feature encoder is shown; None where labels have no part in it."""
    p = options.published
    if p is None or p.feature_label_key is None or options.profiles != "cells":
        return None
    labels = frame(adata.obs)[p.feature_label_key].astype(str).to_numpy()[train_rows]
    return labelled_cells(labels.tolist(), options.n_profile, only=p.feature_label)


def blank_module(
    options: Options, profile_gq: NDArray[np.float32], n_design: int, *, n_batches: int = 0
) -> PublishedModule:
    """The published model at its random start."""
    assert options.published is not None
    return PublishedModule(
        torch.from_numpy(profile_gq),
        n_latent=options.n_latent,
        n_design=n_design,
        likelihood=make_likelihood(options.likelihood, LEAST_SIGMA),
        options=options.published,
        generator=torch_generator(options.seed, "weights"),
        dispersion=options.dispersion,
        n_batches=n_batches,
    )


def train(
    options: Options,
    known: Expression,
    watched: Expression | None,
    profiles: Profiles,
    training: Training,
    accelerator: Accelerator,
    *,
    n_batches: int,
    checkpoint: Checkpoint | None = None,
    state: State | None = None,
) -> tuple[PublishedModule, History]:
    """The published model, trained in phases, from a state if there is one."""
    module = blank_module(options, profiles.of_modelled(), known.design_nb.shape[1], n_batches=n_batches)
    job = _stages.StagedJob(
        module=module,
        training=known,
        validation=watched,
        gamma=options.gamma,
        feature_scale=kl_scale(options, known),
        options=training.options,
        max_epochs=training.max_epochs,
        seed=options.seed,
    )
    history = _stages.run(job, accelerator, progress=training.progress, checkpoint=checkpoint, state=state)
    if not module.options.variational:
        _set_noise(module.to("cpu"), known)
    return module, history


def interrupted_words(p: PublishedOptions, best_step: int, stage: float) -> tuple[str, str]:
    """What an interrupted training keeps, and the phase in which it was interrupted."""
    kept = "the model keeps its weights of that moment."
    if p.early_stopping and stage != _stages.STAGES["genes"]:
        kept = f"the model keeps the weights of step {best_step}, the best at a check of that phase."
    if p.has_features and stage < _stages.STAGES["joint"]:
        kept += " Phase 3 has not begun, so the maps of cells and of genes do not belong together yet."
    name = next(name for name, number in _stages.STAGES.items() if number == stage)
    return kept, f", in phase {_stages.phase_words(name)}"


@torch.no_grad()
def _set_noise(module: PublishedModule, known: Expression) -> None:
    """One sigma for all cells and genes where training had none: the root mean squared error of the training cells."""
    (n, g), total = known.shape, 0.0
    for start in range(0, n, CELLS):
        rows = np.arange(start, min(start + CELLS, n))
        total += len(rows) * float(module.cells(known.block(rows, np.arange(g), counts=False), None).squared_error)
    module.log_noise_g.fill_(0.5 * np.log(max(total / (n * g), LEAST_SIGMA**2)))
    module.dispersion.start(module.log_noise_g)


def with_recipe(options: Options, recipe: str, published: PublishedOptions | None) -> Options:
    """The options of that recipe."""
    return replace(options, recipe=recipe, published=published)
