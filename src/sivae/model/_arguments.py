"""Arguments of the model, its training and its getters: of the right kind, in range, possible on the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from sivae._checks import a_path, check_genes, check_names, names, number, one_of, whole_number
from sivae._errors import CellMismatchError, GeneMismatchError, OptionError, SetupError, some
from sivae.data._expression import Design, Expression
from sivae.data._kind import describe
from sivae.data._setup import Setup
from sivae.data._split import refuse_few
from sivae.model._build import Options, default_width
from sivae.nn._dispersion import DISPERSIONS, PerCell, PerGene, PerGeneBatch
from sivae.nn._likelihoods import LIKELIHOODS, Normal
from sivae.nn._module import Architecture
from sivae.nn._two_towers import TwoTowers
from sivae.train._options import TrainOptions


def resolve(
    adata: AnnData,
    setup: Setup,
    *,
    n_latent: int,
    likelihood: str,
    gamma: float,
    decoder: str,
    kl_scale: str,
    profiles: str,
    n_profile: int | None,
    architecture: Architecture | None,
    seed: int,
    dispersion: str,
) -> Options:
    """The options of a model of these data.

    Raises
    ------
    SetupError
        If the data are too few, or their names occur twice.
    OptionError
        Naming the option, the value found and those expected.
    """
    check_names(adata, "obs_names", "var_names")
    n_latent = whole_number("n_latent", n_latent, least=-(2**31))
    if not 1 <= n_latent <= adata.n_vars:
        raise OptionError(
            f"n_latent is {n_latent}; expected 1 to {adata.n_vars}, the number of genes. Choose a number of axes there."
        )
    if architecture is not None and not isinstance(architecture, Architecture):
        raise OptionError(
            f"architecture is a {type(architecture).__name__}; expected sivae.Architecture. "
            "Write architecture=sivae.Architecture(n_joint=32), for example."
        )
    hint = "Leave it out to have it chosen."
    if not isinstance(profiles, str):
        raise OptionError(
            f"profiles is {profiles!r}; expected 'principal', 'cells' or the name of an array in varm. "
            "Name one of these."
        )
    n_profile = default_width(profiles, n_latent) if n_profile is None else n_profile
    n_profile = whole_number("n_profile", n_profile, least=-(2**31), hint=hint)
    if n_profile < 1 or (profiles == "principal" and n_profile < n_latent):
        raise OptionError(f"n_profile is {n_profile}; expected at least n_latent, {n_latent}. {hint}")
    expected = "a finite number of at least 0"
    options = Options(
        n_latent,
        likelihood,
        number("gamma", gamma, allowed=lambda g: 0 <= g < np.inf, expected=expected, hint="1 is the default."),
        decoder,
        kl_scale,
        profiles,
        n_profile,
        architecture or Architecture(),
        whole_number("seed", seed, least=0, hint="0 is the default."),
        dispersion,
    )
    _check_words(options)
    _check_noise(options, setup, adata)
    refuse_few(adata.n_obs)
    return options


def _check_words(options: Options) -> None:
    one_of("likelihood", options.likelihood, ("auto", *LIKELIHOODS))
    one_of("dispersion", options.dispersion, DISPERSIONS)
    one_of("decoder", options.decoder, ("residual", "published"))
    one_of("kl_scale", options.kl_scale, ("bound", "published"))


def _check_noise(options: Options, setup: Setup, adata: AnnData) -> None:
    """Refuse a likelihood that the values do not fit, and a dispersion that the likelihood or set-up does not have."""
    name, dispersion = options.likelihood, options.dispersion
    normal = name in ("auto", Normal.name)
    if not normal and not (setup.counts and setup.normalize == "log1p"):
        raise OptionError(
            f"likelihood={name!r} needs whole-number counts and normalize='log1p'; this AnnData was set up with "
            f"{'counts' if setup.counts else 'values that are not counts'} and normalize={setup.normalize!r}. "
            f"{_why_no_counts(setup, adata)}"
            "Name the layer that holds counts in setup_anndata, or use likelihood='normal'."
        )
    if dispersion == PerGene.name:
        return
    if not normal and not LIKELIHOODS[name].noisy:
        raise OptionError(
            f"dispersion is {dispersion!r}, but likelihood={name!r} has no noise parameter; expected 'gene'. "
            "Leave dispersion out, or use likelihood='nb'."
        )
    if dispersion == PerCell.name and not normal:
        raise OptionError(
            f"dispersion is 'cell' with likelihood={name!r}; expected likelihood='normal', whose genes are on one "
            "scale. For counts use dispersion='gene-cell'."
        )
    if dispersion == PerGeneBatch.name and not setup.batch_key:
        raise OptionError(
            "dispersion is 'gene-batch', but this AnnData was set up without a batch_key; expected one. "
            "Name it in setup_anndata, or use dispersion='gene'."
        )


def _why_no_counts(setup: Setup, adata: AnnData) -> str:
    """Which value is no count, whether they look log-normalised, and which layers there are."""
    if setup.counts:
        return ""
    layers = [name for name in adata.layers if name != setup.layer]
    others = f" Other layers: {some(layers)}." if layers else ""
    return f"{describe(adata, setup.layer or None)}.{others} "


# ------------------------------------------------------------------------------------------------------------ getters


def genes_at(
    gene_list: Sequence[str] | None, own: tuple[str, ...], known: Sequence[str]
) -> tuple[list[str], NDArray[np.intp]]:
    """Names of the genes wanted, all `own` if None, and where they stand among the `known`.

    Raises
    ------
    OptionError, GeneMismatchError
        If it is no list of names, or names a gene that is not known.
    """
    wanted = list(own) if gene_list is None else names("gene_list", gene_list)
    at = pd.Index(known).get_indexer(pd.Index(wanted, dtype=object))
    if (at < 0).any():
        unknown = [name for name, row in zip(wanted, at, strict=True) if row < 0]
        raise GeneMismatchError(
            f"The model was not trained on {some(unknown)}; see model.genes for those it was. "
            "Expected some of these: leave out the others."
        )
    return wanted, at


def check_transform_batch(batch: str, setup: Setup, design: Design) -> None:
    """Refuse a batch that is not known.

    Raises
    ------
    OptionError
        Naming those that are.
    """
    if not setup.batch_key:
        raise OptionError(
            f"transform_batch is {batch!r}, expected nothing: this model was set up without a batch_key. "
            "Leave it out, or train with one."
        )
    known = setup.categories[setup.batch_key]
    if batch not in known:
        raise OptionError(f"transform_batch is {batch!r}; the batches are: {some(known, 20)}. Choose one of these.")
    if design.mean_b[known.index(batch)] == 0:
        raise OptionError(
            f"transform_batch is {batch!r}, of which no cell was trained on, so that nothing is known "
            "of it. Choose another batch."
        )


def check_profiles(module: TwoTowers, what: str) -> None:
    """Refuse what needs the profiles of the genes where they are not there.

    Raises
    ------
    CellMismatchError
        If so.
    """
    if module.embeds_genes and not module.profile_gq.any():
        raise CellMismatchError(
            f"{what} needs the profiles of the genes, which profiles='cells' keeps out of the saved model "
            "because they are expression values. Train again, or use profiles='principal'."
        )


# ----------------------------------------------------------------------------------------------------------- training


def check_training(
    adata: AnnData,
    genes: tuple[str, ...],
    *,
    max_epochs: int | None,
    batch_size: int,
    feature_batch_size: int,
    checkpoint_dir: str | Path | None,
    options: TrainOptions | None,
) -> Path | None:
    """Refuse arguments of `train` that cannot work, and data that changed since the model was made; the folder.

    Raises
    ------
    OptionError, SetupError, GeneMismatchError
        Naming the argument, or the names that are there twice or no longer.
    """
    sizes = {"max_epochs": max_epochs, "batch_size": batch_size, "feature_batch_size": feature_batch_size}
    for name, value in sizes.items():
        if value is not None or name != "max_epochs":
            whole_number(name, value, least=1, hint="Leave it out to take the default.")
    if options is not None and not isinstance(options, TrainOptions):
        raise OptionError(
            f"options is a {type(options).__name__}; expected sivae.TrainOptions. "
            "Write options=sivae.TrainOptions(patience=20), for example."
        )
    check_names(adata, "obs_names", "var_names")
    check_genes(adata, genes)
    return None if checkpoint_dir is None else a_path("checkpoint_dir", checkpoint_dir)


def check_training_values(known: Expression, genes: tuple[str, ...], n_latent: int) -> None:
    """Refuse more axes than cells or genes, and values that say nothing.

    Raises
    ------
    OptionError, SetupError
        If so.
    """
    n, g = known.shape
    if n_latent > min(n, g):
        raise OptionError(
            f"n_latent is {n_latent}; expected at most {min(n, g)}, because {n} cells of {g} genes are left for "
            "training. Ask for fewer axes."
        )
    if not (known.scaling.sd_g > 0).any():
        what = f"The only gene, {genes[0]!r}, is" if g == 1 else f"All {g} genes ({some(genes)}) are"
        own = " A single gene is all of its cells' counts, and constant after division by them." if g == 1 else ""
        raise SetupError(
            f"{what} constant over the {n} training cells as modelled; expected genes that vary.{own} "
            "Check that this is the right matrix, and model more genes."
        )
