"""From training data to a module at its spectral start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sivae._rng import torch_generator
from sivae.data._covariates import CovariateEffect
from sivae.data._expression import Design, Expression, Reader, library_size, size_factor_unit
from sivae.data._profiles import CellProfiles, PrincipalProfiles, Profiles, StoredProfiles, sample_cells
from sivae.data._rows import Columns, Held, Rows, gene_slices, read_matrix, slices
from sivae.data._scaling import Scaling
from sivae.data._setup import Setup
from sivae.nn._likelihoods import Bernoulli, make_likelihood
from sivae.nn._module import Architecture, SiVAEModule
from sivae.nn._published_options import PublishedOptions
from sivae.nn._spectral import Sample, log_scale, spectral_start
from sivae.stats._spectrum import LEAST_HELD_OUT, PERMUTATION_CELLS, Spectrum, noise_edge, passing, signal_strength

START_CELLS = 5000
"""Training cells on which counts are refitted at the start."""
PRINCIPAL_WIDTH = 128
MOST_PROFILE_CELLS = 10_000
"""Cells that profiles of cells hold at most, as in the paper."""
SCALE_CAP = 10.0
"""Cap of s_g for counts (docs/defaults.md has the measurement)."""


@dataclass(frozen=True)
class Options:
    """The constructor's choices, resolved."""

    n_latent: int
    likelihood: str
    gamma: float
    decoder: str
    kl_scale: str
    profiles: str
    n_profile: int
    architecture: Architecture
    seed: int
    dispersion: str = "gene"
    recipe: str = "default"
    published: PublishedOptions | None = None
    """Settings of the recipe "choi2023"; None for the default recipe."""

    @property
    def binary(self) -> bool:
        """Whether the likelihood reads values as 0 or 1."""
        return self.likelihood == Bernoulli.name


def make_reader(
    adata: AnnData, setup: Setup, genes: tuple[str, ...], *, binary: bool = False, rows: Rows | None = None
) -> tuple[Reader, Expression]:
    """Fit scaling and design on the training cells of `adata` (all of its cells), and read them.

    `rows` are their values, where they were read before; without them they are held in memory.
    """
    at = adata.var_names.get_indexer(list(genes))
    values = Held(read_matrix(adata, setup, at, binary=binary)) if rows is None else rows
    unit = size_factor_unit(values, adata, setup)
    library = library_size(values, adata, setup, unit=unit)
    scaling = replace(Scaling.fit(values, library, log=setup.normalize == "log1p", target=None), unit=unit)
    reader = Reader(setup, genes, Design.fit(adata, setup), scaling, binary)
    return reader, Expression(values, library, scaling, reader.design.of(adata, setup))


def make_profiles(
    options: Options,
    training: Expression,
    effect: CovariateEffect,
    spectrum: Spectrum,
    *,
    stored_gq: NDArray[np.float32] | None,
    cells: NDArray[np.intp] | None = None,
    new: bool = True,
) -> Profiles:
    """The profiles named by the options, from training cells alone or from a `varm` array.

    `cells` are the training cells that profiles of cells hold; a fixed sample if not given. Profiles of `new` genes
    need a row of scores for every training cell.
    """
    if stored_gq is not None:
        return StoredProfiles(stored_gq)
    if options.profiles == "principal":
        scores_nq = PrincipalProfiles.scores(training, effect, spectrum) if new else np.empty((0, 0), np.float32)
        return PrincipalProfiles(spectrum, scores_nq)
    cells = sample_cells(training.shape[0], options.n_profile) if cells is None else cells
    return CellProfiles(effect.remove(training.standardised(cells), training.design_nb[cells]), cells)


def default_width(profiles: str, n_latent: int) -> int:
    """Columns of a profile: principal axes, or cells at most."""
    return (
        max(PRINCIPAL_WIDTH, n_latent) if isinstance(profiles, str) and profiles == "principal" else MOST_PROFILE_CELLS
    )


def build_module(
    options: Options,
    training: Expression,
    validation: Expression | None,
    profiles: Profiles,
    effect: CovariateEffect,
    spectrum: Spectrum,
    *,
    n_batches: int = 0,
) -> tuple[SiVAEModule, int]:
    """A module at its start, and the number of axes with a signal.

    Validation cells decide which weak axes are kept; no gene vector is made from their values.
    """
    module = blank_module(options, profiles.of_modelled(), training.design_nb.shape[1], n_batches=n_batches)
    module.shift_bg.copy_(torch.from_numpy(effect.shift_bg))
    module.log_gain_bg.copy_(torch.from_numpy(effect.log_gain_bg))
    scaling = training.scaling
    counts = module.likelihood.counts
    if counts:
        module.scale_g.copy_(log_scale(torch.from_numpy(scaling.mean_g), torch.from_numpy(scaling.sd_g), SCALE_CAP))
    n, g = training.shape
    held_out = None
    if validation is not None and validation.shape[0] >= LEAST_HELD_OUT:
        held_out = _without_covariates(validation, effect)
    edge, passed = _edge(training)
    strength_k = signal_strength(spectrum, edge, g, options.n_latent, held_out, passed=passed)
    v_gk = torch.from_numpy((spectrum.vectors_gq[:, : options.n_latent] * strength_k).astype(np.float32))
    spectral_start(module, v_gk, _sample(training, counts=counts), kl_weight=kl_scale(options, training))
    return module, int((strength_k > 0).sum())


def blank_module(
    options: Options, profile_gq: NDArray[np.float32], n_design: int, *, n_batches: int = 0
) -> SiVAEModule:
    """A module of the right shape, its perceptrons random from the seed."""
    return SiVAEModule(
        torch.from_numpy(profile_gq),
        n_latent=options.n_latent,
        n_design=n_design,
        likelihood=make_likelihood(options.likelihood, options.architecture.sigma_floor),
        decoder=options.decoder,
        architecture=options.architecture,
        generator=torch_generator(options.seed, "weights"),
        dispersion=options.dispersion,
        n_batches=n_batches,
    )


def kl_scale(options: Options, training: Expression) -> float:
    """s_v: G / N gives the evidence bound, 1 the published mean over genes."""
    if options.kl_scale == "bound":
        return training.shape[1] / training.shape[0]
    return 1.0


def _without_covariates(
    validation: Expression, effect: CovariateEffect, most: int = 2000
) -> Iterator[NDArray[np.float32]]:
    n, g = validation.shape
    for cells in slices(min(n, most), g, most=most):
        yield effect.remove(validation.standardised(cells), validation.design_nb[cells])


def _edge(training: Expression) -> tuple[float, float]:
    """Edge of the noise, and the eigenvalue that noise seldom passes."""
    n = training.shape[0]
    cells = (
        np.arange(n) if n <= PERMUTATION_CELLS else np.sort(np.random.default_rng(0).permutation(n)[:PERMUTATION_CELLS])
    )
    rows = training.transformed(cells)
    clipped = sparse.csc_matrix(rows, dtype=np.float64)
    top_g = training.scaling.mean_g + 10.0 * training.scaling.sd_g
    clipped.data = np.minimum(clipped.data, np.repeat(top_g, np.diff(clipped.indptr)))
    clipped = clipped[:, training.scaling.sd_g > 0]
    edge = noise_edge(clipped, n, seed=0)
    return edge, passing(edge, *clipped.shape)


def _sample(training: Expression, *, counts: bool) -> Sample:
    n, g = training.shape
    cells = np.arange(n) if n <= START_CELLS else np.sort(np.random.default_rng(0).permutation(n)[:START_CELLS])

    def rows() -> Iterator[torch.Tensor]:
        for part in slices(len(cells), g, most=len(cells)):
            yield torch.from_numpy(training.standardised(cells[part]))

    def columns() -> Iterator[tuple[slice, torch.Tensor]]:
        by_gene = Columns(training.values(cells))
        for genes in gene_slices(len(cells), g):
            yield genes, torch.from_numpy(by_gene.dense(genes))

    return Sample(
        rows=rows,
        design_nb=torch.from_numpy(training.design_nb[cells]),
        library_n=torch.exp(torch.from_numpy(training.log_library_n[cells])),
        counts=columns if counts else None,
    )
