"""What is computed once, when training ends: unique linear part, gene table, joint covariance, evidence."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sivae.data._expression import Expression
from sivae.data._profiles import PrincipalProfiles, Profiles
from sivae.model._evidence import connected_pvalues, explained
from sivae.model._linear import LinearPart, gene_posterior
from sivae.model._predict import GeneTable, encode, joint
from sivae.nn._module import SiVAEModule

CHUNK = 2000


def finish(
    module: SiVAEModule,
    training: Expression,
    validation: Expression | None,
    profiles: Profiles,
    *,
    residual: bool,
    seed: int,
) -> tuple[GeneTable, LinearPart, NDArray[np.float64]]:
    """Gene table, linear part of h, and covariance of (z, remainder of h) over training cells, (k+d, k+d)."""
    z_nk, _ = encode(module, training)
    h_nd = joint(module, z_nk)
    linear = LinearPart.fit(z_nk, h_nd)
    covariance = np.cov(np.concatenate([z_nk, linear.remainder(z_nk, h_nd)], axis=1), rowvar=False)
    table = gene_table(
        module,
        profiles.of_modelled(),
        linear,
        h_nd.mean(axis=0),
        residual=residual,
        principal=isinstance(profiles, PrincipalProfiles),
    )
    if validation is not None:
        r2_g = explained(module, table, linear, training, validation)
        p_g = connected_pvalues(module, table, linear, validation, seed=seed)
        table = with_evidence(table, r2_g, p_g)
    return table, linear, np.atleast_2d(covariance)


def gene_table(
    module: SiVAEModule,
    profile_gq: NDArray[np.float32],
    linear: LinearPart,
    average_h_d: NDArray[np.float32],
    *,
    residual: bool,
    principal: bool,
) -> GeneTable:
    """The table of the modelled genes, without evidence yet (NaN); noise is that at the average cell."""
    parts = [
        gene_posterior(module, profile_gq[start : start + CHUNK], linear, residual=residual, principal=principal)
        for start in range(0, len(profile_gq), CHUNK)
    ]
    loading, covariance, w_gd = (np.concatenate(arrays).astype(np.float32) for arrays in zip(*parts, strict=True))
    scale_g = module.scale_g.numpy().copy()
    bias_g = module.bias_g.detach().numpy() + scale_g * (w_gd @ linear.intercept_d)
    nan_g = np.full(len(loading), np.nan, np.float32)
    return GeneTable(
        loading_gk=loading,
        covariance_gkk=covariance,
        joint_gd=w_gd,
        bias_g=bias_g.astype(np.float32),
        offset_gb=module.offset_gb.detach().numpy().copy(),
        scale_g=scale_g,
        noise_g=_noise(module, average_h_d),
        r2_g=nan_g,
        connected_p_g=nan_g.copy(),
        inflation_g=nan_g.copy() if module.zero_logit_g is None else module.zero_logit_g.detach().sigmoid().numpy(),
    )


@torch.no_grad()
def _noise(module: SiVAEModule, average_h_d: NDArray[np.float32]) -> NDArray[np.float32]:
    if not module.likelihood.noisy:
        return np.full(len(module.bias_g), np.nan, np.float32)
    log_noise_g = module.average_log_noise(torch.from_numpy(average_h_d))
    return torch.exp(module.likelihood.clamp_noise(log_noise_g)).numpy()


def with_evidence(table: GeneTable, r2_g: NDArray[np.floating], p_g: NDArray[np.floating]) -> GeneTable:
    """The same table with evidence per gene."""
    values = {name: getattr(table, name) for name in table.__dataclass_fields__}
    return GeneTable(**{**values, "r2_g": r2_g.astype(np.float32), "connected_p_g": p_g.astype(np.float64)})
