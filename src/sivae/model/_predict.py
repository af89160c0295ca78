"""Cells through a trained model, in batches and without gradients: arrays out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from sivae.data._expression import Expression
from sivae.model._linear import LinearPart
from sivae.nn._published import PublishedModule
from sivae.nn._two_towers import TwoTowers
from sivae.stats._spectrum import Spectrum

Array = NDArray[np.float32]
BATCH = 1024


@dataclass(frozen=True)
class GeneTable:
    """What the trained model knows of each gene, in the coordinates of the unique linear part.

    One row per gene; `loading_gk` and `covariance_gkk` are v and its width, `noise_g` is sigma_g or theta_g (where the
    noise depends on batch or cell, at the training cells' average; NaN where there is none), `noise_variance_g` what
    the noise amounts to on the scale of v, `encoder_gk` the mean derivative of z by the gene (0 for genes that the
    encoder does not read), `inflation_g` the zero inflation (NaN where there is none), `log_gain_gb` stretches the
    product with z and h in each batch (zero for counts).
    """

    loading_gk: Array
    covariance_gkk: Array
    joint_gd: Array
    bias_g: Array
    offset_gb: Array
    log_gain_gb: Array
    scale_g: Array
    noise_g: Array
    r2_g: Array
    connected_p_g: Array
    inflation_g: Array
    noise_variance_g: Array
    encoder_gk: Array

    def take(self, genes: NDArray[np.intp]) -> GeneTable:
        """Some of the genes."""
        return GeneTable(*(getattr(self, name)[genes] for name in self.__dataclass_fields__))

    def append(self, other: GeneTable) -> GeneTable:
        """The genes of both."""
        names = self.__dataclass_fields__
        return GeneTable(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


@torch.no_grad()
def encode(module: TwoTowers, expression: Expression) -> tuple[Array, Array]:
    """Posterior mean and sd of z of every cell, (n, k) each."""
    device = module.bias_g.device

    def blocks() -> Iterator[tuple[slice, tuple[Array, ...]]]:
        for cells in expression.cells(BATCH):
            x_cg = torch.from_numpy(expression.standardised(cells)).to(device)
            q_z = module.encode_cells(x_cg, torch.from_numpy(expression.design_nb[cells]).to(device))
            yield cells, (q_z.mean_rk.cpu().numpy(), q_z.sd_rk.cpu().numpy())

    mean_nk, sd_nk = _gathered(blocks(), expression.shape[0])
    return mean_nk, sd_nk


def _gathered(blocks: Iterator[tuple[slice, tuple[Array, ...]]], n: int) -> tuple[Array, ...]:
    """Arrays of n rows from those of blocks, filled as they come: many small ones that stay would split the memory."""
    whole: tuple[Array, ...] | None = None
    for rows, parts in blocks:
        if whole is None:
            whole = tuple(np.empty((n, part.shape[1]), part.dtype) for part in parts)
        for array, part in zip(whole, parts, strict=True):
            array[rows] = part
    assert whole is not None
    return whole


@torch.no_grad()
def encode_pretrained(module: PublishedModule, expression: Expression) -> tuple[Array, Array]:
    """Posterior mean and sd of z of every cell as before the last phase, (n, k) each."""

    def blocks() -> Iterator[tuple[slice, tuple[Array, ...]]]:
        for cells in expression.cells(BATCH):
            design_cb = torch.from_numpy(expression.design_nb[cells])
            mean_ck, sd_ck = module.pretrained_tower.encode(torch.from_numpy(expression.standardised(cells)), design_cb)
            yield cells, (mean_ck.numpy(), sd_ck.numpy())

    mean_nk, sd_nk = _gathered(blocks(), expression.shape[0])
    return mean_nk, sd_nk


@torch.no_grad()
def joint(module: TwoTowers, z_nk: Array, design_nb: Array) -> Array:
    """Joint layer h as the decoder gives it, (n, d)."""
    device = module.bias_g.device
    parts = []
    for start in range(0, len(z_nk), BATCH):
        z_ck, design_cb = (torch.from_numpy(a[start : start + BATCH]).to(device) for a in (z_nk, design_nb))
        parts.append(module.decode_cells(z_ck, design_cb).cpu().numpy())
    return np.concatenate(parts)


def predictor(table: GeneTable, z_ck: Array, remainder_cd: Array, design_cb: Array) -> Array:
    """eta_cg = bias + design offset + s gain (z.v + h.w), (c, g)."""
    product_cg = z_ck @ table.loading_gk.T + remainder_cd @ table.joint_gd.T
    if design_cb.shape[1]:
        product_cg = product_cg * np.exp(design_cb @ table.log_gain_gb.T)
    return np.asarray(table.bias_g + design_cb @ table.offset_gb.T + table.scale_g * product_cg, np.float32)


def predictor_blocks(
    module: TwoTowers,
    table: GeneTable,
    linear: LinearPart,
    expression: Expression,
    design_nb: Array | None = None,
    *,
    genes: NDArray[np.intp] | None = None,
) -> Iterator[tuple[slice, Array]]:
    """The predictor of every cell at its own posterior mean, block by block of cells.

    `table` has all modelled genes; of these the predictor is given of some, if `genes` says so. `design_nb` replaces
    the covariates of the decoder (not those of the encoder).
    """
    if genes is not None and not module.softmax:
        table = table.take(genes)
    design_nb = expression.design_nb if design_nb is None else design_nb
    for cells in expression.cells(BATCH):
        z_ck, _ = encode(module, expression.take(np.arange(cells.start, cells.stop)))
        design_cb = design_nb[cells]
        remainder_cd = linear.remainder(z_ck, joint(module, z_ck, design_cb), design_cb).astype(np.float32)
        eta_cg = predictor(table, z_ck, remainder_cd, design_cb)
        if module.softmax:
            eta_cg = log_softmax(eta_cg) if genes is None else log_softmax(eta_cg)[:, genes]
        yield cells, eta_cg


def log_softmax(eta_cg: Array) -> Array:
    """Logarithm of shares that sum to one over all genes."""
    return np.asarray(eta_cg - logsumexp(eta_cg, axis=1, keepdims=True), np.float32)


def to_standardised(eta_cg: Array, expression: Expression, *, counts: bool) -> Array:
    """Predictor on the standardised scale of the encoder's input: as is, or log1p(target exp(eta)) standardised."""
    if not counts:
        return eta_cg
    return expression.scaling.standardise(np.log1p(expression.scaling.target * np.exp(np.minimum(eta_cg, 10.0))))


def to_rate(eta_cg: Array, expression: Expression, genes: NDArray[np.intp], *, counts: bool) -> Array:
    """Expected share of the library, (c, g); for values that were not log-transformed, the values themselves."""
    scaling = expression.scaling.take(genes)
    if counts:
        return np.exp(np.minimum(eta_cg, 10.0))
    values = eta_cg * scaling.sd_g + scaling.mean_g
    if not scaling.log:
        return np.asarray(values, np.float32)
    return np.asarray(np.maximum(np.expm1(values), 0.0) / scaling.target, np.float32)


def gene_nll(module: TwoTowers, table: GeneTable, linear: LinearPart, expression: Expression) -> NDArray[np.float64]:
    """Negative log likelihood at posterior means, summed over cells, (g,)."""
    likelihood, genes = module.likelihood, np.arange(expression.shape[1])
    total = np.zeros(len(genes))
    for cells, eta_cg in predictor_blocks(module, table, linear, expression):
        block = expression.block(np.arange(cells.start, cells.stop), genes, counts=likelihood.counts)
        log_noise, zero_logit_g = _noise(module, expression.take(np.arange(cells.start, cells.stop)))
        eta = torch.from_numpy(eta_cg)
        total += likelihood.nll([eta], block.y, log_noise, block.log_library_c, zero_logit_g)[0].double().numpy()
    return total


@torch.no_grad()
def _noise(module: TwoTowers, expression: Expression) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logarithm of the noise at posterior means, (g,) or broadcasting against (n, g), and logit of zero inflation."""
    device = module.bias_g.device
    genes_g = torch.arange(expression.shape[1], device=device)
    z_nk = encode(module, expression)[0] if module.dispersion.reads_cells else np.zeros((0, 0), np.float32)
    design_nb = torch.from_numpy(expression.design_nb).to(device)
    zero_logit_g = module.zero_logit(genes_g)
    log_noise = module.log_noise(torch.from_numpy(z_nk).to(device), design_nb, genes_g)
    return log_noise.cpu(), None if zero_logit_g is None else zero_logit_g.cpu()


def principal_profile(spectrum: Spectrum) -> Array:
    """Profiles of the modelled genes, V S / sqrt(N), (g, q)."""
    return np.asarray(spectrum.vectors_gq * np.sqrt(spectrum.values_q), np.float32)
