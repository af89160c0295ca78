"""Genes that were never trained on, embedded from their values in the training cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sivae._values import part_of, values_of
from sivae.data._expression import Expression, Reader
from sivae.data._matrix import Matrix, as_matrix
from sivae.data._profiles import PrincipalProfiles, Profiles
from sivae.data._scaling import Scaling
from sivae.model._build import SCALE_CAP, Options, make_profiles
from sivae.model._evidence import batch_groups
from sivae.model._finish import with_evidence
from sivae.model._linear import LinearPart, gene_posterior
from sivae.model._predict import GeneTable, encode, joint
from sivae.nn._module import SiVAEModule
from sivae.nn._spectral import log_scale
from sivae.stats._null import permutation_pvalues, quantile_strata
from sivae.stats._spectrum import Spectrum

VALUES_AT_ONCE = 20_000_000
"""Cells times genes that are embedded at a time."""
VALUES_READ = 2**25
"""Stored values that are read at a time: each reading is a pass over the data, unless they are stored gene by gene."""


def embed(
    module: SiVAEModule,
    *,
    options: Options,
    reader: Reader,
    spectrum: Spectrum,
    linear: LinearPart,
    training: Expression,
    validation: Expression | None,
    new: AnnData,
    rows: NDArray[np.intp],
    validation_rows: NDArray[np.intp],
) -> GeneTable:
    """The table of every gene of `new`, in chunks of genes.

    `rows` and `validation_rows` are where the training and validation cells stand in `new`. A gene's profile, scale,
    bias, offsets and noise come from the training cells; its evidence from the validation cells, which it is not
    encoded from.
    """
    profiles = make_profiles(options, training, module.shift_bg.numpy(), spectrum)
    z_nk, _ = encode(module, training)
    cells = [(training, z_nk, linear.remainder(z_nk, joint(module, z_nk)).astype(np.float32))]
    if validation is not None:
        z, _ = encode(module, validation)
        cells.append((validation, z, linear.remainder(z, joint(module, z)).astype(np.float32)))
    result: GeneTable | None = None
    for values in _chunks(new, reader.setup.layer or None, np.concatenate([rows, validation_rows]), len(rows)):
        parts = [values[: len(rows)], values[len(rows) :]][: len(cells)]
        part = _embed_chunk(module, profiles, linear, cells, parts, residual=options.decoder == "residual")
        result = part if result is None else result.append(part)
    assert result is not None
    return result


def _chunks(new: AnnData, layer: str | None, rows: NDArray[np.intp], n_training: int) -> Iterator[Matrix]:
    """The values of every gene in the rows given, some genes at a time."""
    cells, chunk = part_of(new, rows), max(16, VALUES_AT_ONCE // max(1, n_training))
    stored = values_of(new, layer).stored
    share = stored.size / max(1, stored.shape[0] * stored.shape[1])
    reading = chunk * max(1, int(VALUES_READ / max(1.0, share * len(rows) * chunk)))
    for start in range(0, new.n_vars, reading):
        genes = np.arange(start, min(start + reading, new.n_vars))
        values: Any = as_matrix(cells, layer, genes)
        if isinstance(values, np.ndarray):
            yield from (values[:, first : first + chunk] for first in range(0, len(genes), chunk))
        else:
            by_gene = values.tocsc()
            yield from (by_gene[:, first : first + chunk].tocsr() for first in range(0, len(genes), chunk))


def _embed_chunk(
    module: SiVAEModule,
    profiles: Profiles,
    linear: LinearPart,
    cells: list[tuple[Expression, NDArray[np.float32], NDArray[np.float32]]],
    values: list[Matrix],
    *,
    residual: bool,
) -> GeneTable:
    training = cells[0][0]
    counts = module.likelihood.counts
    scaling = Scaling.fit(values[0], training.library_n, log=training.scaling.log, target=training.scaling.target)
    x_nf = scaling.standardise(_dense(scaling.transform(values[0], training.library_n)))
    shift_bf = (
        np.linalg.pinv(training.design_nb.astype(np.float64), rcond=1e-6) @ x_nf
        if training.design_nb.shape[1]
        else np.zeros((0, x_nf.shape[1]))
    )
    x_centred = (x_nf - training.design_nb @ shift_bf).astype(np.float32)
    encoded = _encode(
        module,
        profiles.of_values(x_centred),
        linear,
        scaling,
        residual=residual,
        principal=isinstance(profiles, PrincipalProfiles),
    )
    scale_f = encoded.scale_g
    offset_fb = (scale_f[:, None] * shift_bf.T).astype(np.float32)
    _, z, remainder = cells[0]
    start_nf = training.design_nb @ offset_fb.T + scale_f * (z @ encoded.loading_gk.T + remainder @ encoded.joint_gd.T)
    y_nf = _dense(values[0])
    if counts:
        bias_f, noise_f = _count_bias(y_nf, start_nf, training.library_n)
    else:
        bias_f = (x_nf - start_nf).mean(axis=0)
        noise_f = np.sqrt(((x_nf - start_nf - bias_f) ** 2).mean(axis=0))
    table = GeneTable(
        **{
            name: getattr(encoded, name)
            for name in ("loading_gk", "covariance_gkk", "joint_gd", "scale_g", "r2_g", "connected_p_g")
        },
        bias_g=bias_f.astype(np.float32),
        offset_gb=offset_fb,
        noise_g=noise_f.astype(np.float32),
    )
    if len(cells) == 1:
        return table
    return _judge(table, cells[1], values[1], scaling, start_nf + bias_f, x_nf, counts=counts)


def _encode(
    module: SiVAEModule,
    profile_fq: NDArray[np.float32],
    linear: LinearPart,
    scaling: Scaling,
    *,
    residual: bool,
    principal: bool,
) -> GeneTable:
    """Loading and joint layer of new genes; bias, offsets and noise are filled in by the caller."""
    loading, covariance, w_fd = gene_posterior(module, profile_fq, linear, residual=residual, principal=principal)
    scale = np.ones(len(loading), np.float32)
    if module.likelihood.counts:
        scale = log_scale(torch.from_numpy(scaling.mean_g), torch.from_numpy(scaling.sd_g), SCALE_CAP).numpy()
    nothing = np.full(len(loading), np.nan, np.float32)
    return GeneTable(
        loading.astype(np.float32), covariance.astype(np.float32), w_fd.astype(np.float32),
        nothing, np.zeros((len(loading), 0), np.float32), scale, nothing, nothing, nothing.astype(np.float64),
    )  # fmt: skip


def _count_bias(
    y_nf: NDArray[np.float32], start_nf: NDArray[np.floating], library_n: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bias that makes expected and observed totals equal, in closed form, and inverse dispersion by moments."""
    mean_nf = library_n[:, None].astype(np.float64) * np.exp(np.clip(start_nf, -20.0, 20.0))
    bias_f = np.log(np.maximum(y_nf.sum(axis=0, dtype=np.float64), 0.5) / mean_nf.sum(axis=0))
    mean_nf *= np.exp(bias_f)
    excess_f = ((y_nf - mean_nf) ** 2 - mean_nf).sum(axis=0)
    return bias_f, np.clip((mean_nf**2).sum(axis=0) / np.maximum(excess_f, 1e-6), 1e-2, 1e3)


def _judge(
    table: GeneTable,
    cells: tuple[Expression, NDArray[np.float32], NDArray[np.float32]],
    values: Matrix,
    scaling: Scaling,
    eta_nf: NDArray[np.floating],
    x_nf: NDArray[np.float32],
    *,
    counts: bool,
) -> GeneTable:
    """Evidence on validation cells; no cell was encoded from these genes, so nothing need be masked."""
    validation, z, remainder = cells
    x_cf = scaling.standardise(_dense(scaling.transform(values, validation.library_n)))
    eta_cf = table.bias_g + validation.design_nb @ table.offset_gb.T
    eta_cf = eta_cf + table.scale_g * (z @ table.loading_gk.T + remainder @ table.joint_gd.T)
    if counts:
        eta_nf, eta_cf = (
            scaling.standardise(np.log1p(scaling.target * np.exp(np.minimum(eta, 10.0)))) for eta in (eta_nf, eta_cf)
        )
    mean_y, mean_x = eta_nf.mean(axis=0), x_nf.mean(axis=0)
    variance = ((eta_nf - mean_y) ** 2).mean(axis=0)
    slope = np.where(
        variance > 1e-10, ((eta_nf - mean_y) * (x_nf - mean_x)).mean(axis=0) / np.maximum(variance, 1e-10), 0
    )
    error = ((x_cf - mean_x - slope * (eta_cf - mean_y)) ** 2).sum(axis=0)
    base = ((x_cf - mean_x) ** 2).sum(axis=0)
    r2 = np.where(base > 1e-9, np.maximum(1 - error / np.maximum(base, 1e-9), -1.0), 0.0)
    strata = quantile_strata(validation.library_n, batch_groups(validation.design_nb))
    return with_evidence(table, r2, permutation_pvalues(x_cf, eta_cf, strata))


def _dense(matrix: Matrix) -> NDArray[np.float32]:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
