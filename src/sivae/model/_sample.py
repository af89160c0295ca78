"""New cells from the prior: draws of z, and of values given z."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sivae._rng import numpy_generator
from sivae.data._scaling import Scaling
from sivae.model._linear import LinearPart
from sivae.model._predict import GeneTable, joint, log_softmax, predictor
from sivae.nn._two_towers import TwoTowers

Array = NDArray[np.float32]


def draw(
    module: TwoTowers,
    table: GeneTable,
    linear: LinearPart,
    scaling: Scaling,
    n_cells: int,
    *,
    library_size: float,
    seed: int,
) -> tuple[Array, Array]:
    """Positions z ~ N(0, I), (n, k), and values drawn given them at the average covariates, (n, g).

    Counts at a library of that size; under the Normal, values back on the count scale (clipped at 0), or on that of the
    data where these were not log-transformed. Axes that are not used stay at the prior and move nothing.
    """
    rng = numpy_generator(seed, "sample")
    z_nk = rng.standard_normal((n_cells, len(module.used_k))).astype(np.float32)
    design_nb = np.zeros((n_cells, module.offset_gb.shape[1]), np.float32)
    used_nk = z_nk * module.used_k.numpy()
    remainder_nd = linear.remainder(used_nk, joint(module, used_nk, design_nb), design_nb).astype(np.float32)
    eta_ng = predictor(table, used_nk, remainder_nd, design_nb)
    if module.softmax:
        eta_ng = log_softmax(eta_ng)
    noise_ng = _noise(module, used_nk, design_nb, eta_ng.shape)
    if module.likelihood.counts:
        mean_ng = library_size * np.exp(np.minimum(eta_ng.astype(np.float64), 10.0))
        return z_nk, _counts(module.likelihood.name, mean_ng, noise_ng, table.inflation_g, rng)
    values_ng = (eta_ng + noise_ng * rng.standard_normal(eta_ng.shape)) * scaling.sd_g + scaling.mean_g
    if scaling.log:
        values_ng = np.maximum(np.expm1(values_ng), 0.0) * (library_size / scaling.target)
    return z_nk, values_ng.astype(np.float32)


@torch.no_grad()
def _noise(module: TwoTowers, z_nk: Array, design_nb: Array, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Sigma or theta of every cell and gene; ones where there is none."""
    if not module.likelihood.noisy:
        return np.ones(shape)
    genes_g = torch.arange(shape[1])
    log_noise = module.log_noise(torch.from_numpy(z_nk), torch.from_numpy(design_nb), genes_g)
    noise: NDArray[np.float64] = torch.exp(module.likelihood.clamp_noise(log_noise)).expand(shape).double().numpy()
    return noise


def _counts(
    name: str,
    mean_ng: NDArray[np.float64],
    theta_ng: NDArray[np.float64],
    inflation_g: Array,
    rng: np.random.Generator,
) -> Array:
    """Draws of a count likelihood; the negative binomial is a Poisson of a gamma."""
    if name in ("nb", "zinb"):
        mean_ng = mean_ng * rng.gamma(theta_ng) / theta_ng
    y_ng = rng.poisson(mean_ng)
    if name == "zinb":
        y_ng[rng.random(y_ng.shape) < inflation_g] = 0
    return np.asarray(y_ng > 0 if name == "bernoulli" else y_ng, np.float32)
