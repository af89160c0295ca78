"""Which vectors stand for genes under each metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, final, get_args

import numpy as np

from sivae._errors import OptionError, SetupError
from sivae.graph._implied import correlation_factors, noise_variance, signal_factors, unit_factors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sivae._space import GeneSpace

    Array: TypeAlias = NDArray[np.float64]

Metric = Literal["auto", "balanced", "correlation", "cosine", "euclidean", "joint"]
METRICS: Final[tuple[str, ...]] = get_args(Metric)
AUTO: Final = "balanced"
"""Chosen by measurement: docs/defaults.md."""
ALIKE: Final = {"correlation": 1.0, "balanced": 10.0, "joint": np.inf}
"""Genes averaged under each metric of correlation; 10 by measurement."""


@final
@dataclass(frozen=True)
class Similarity:
    """Vectors of the genes and how they are compared."""

    metric: str
    points_gm: Array
    inner: bool
    """Compared by inner product, or else by Euclidean distance."""


def similarity_of(space: GeneSpace, metric: str) -> Similarity:
    """Vectors of the genes under a metric.

    Raises
    ------
    OptionError
        If there is no such metric.
    SetupError
        If the AnnData lacks what the metric needs.
    """
    if metric not in METRICS:
        raise OptionError(f"Found metric={metric!r}, expected one of {', '.join(METRICS)}. Choose one of these.")
    metric = AUTO if metric == "auto" else metric
    if metric in ("balanced", "correlation"):
        return Similarity(metric, correlation_of(space, alike=ALIKE[metric]), inner=True)
    if metric == "joint":
        if space.w_gd is None or space.covariance is None:
            raise SetupError(
                f"metric='joint' needs the joint layer and its covariance, which varm[{space.rep!r}] does not come "
                "with. Leave use_rep out and call model.annotate(adata), or take metric='cosine'."
            )
        return Similarity(metric, unit_factors(signal_of(space)), inner=True)
    if metric == "cosine":
        return Similarity(metric, unit_factors(space.v_gk), inner=True)
    return Similarity(metric, space.v_gk, inner=False)


def signal_of(space: GeneSpace) -> Array:
    """Vectors whose inner products are the covariance of the genes' predictions; of the linear part if alone known."""
    if space.w_gd is None or space.covariance is None:
        return signal_factors(space.v_gk, None, space.covariance_kk)
    return signal_factors(space.v_gk, space.w_gd, space.covariance)


def correlation_of(space: GeneSpace, *, alike: float = 1.0) -> Array:
    """Vectors whose inner products are implied correlations, of averages of `alike` genes."""
    return correlation_factors(signal_of(space), noise_of(space), alike=alike)


def noise_of(space: GeneSpace) -> Array:
    """Variance of each gene beside its signal, (g,).

    Raises
    ------
    SetupError
        If the noise of a gene is not known, and that of others is.
    """
    unknown = np.zeros(len(space.names), bool) if space.noise_g is None else ~np.isfinite(space.noise_g)
    if unknown.any():
        first = space.names[int(np.flatnonzero(unknown)[0])]
        raise SetupError(
            f"{int(unknown.sum())} genes have a position and no noise variance, the first being {first!r}. "
            "Call model.annotate(adata) again, or take metric='cosine'."
        )
    return noise_variance(signal_of(space), space.noise_g)


def name_order(space: GeneSpace) -> NDArray[np.intp]:
    """The genes in order of their names."""
    return np.asarray(np.argsort(np.array(space.names), kind="stable"), np.intp)


def by_name(space: GeneSpace) -> GeneSpace:
    """The same genes in the order of their names, so that results do not depend on theirs in the AnnData."""
    return space.take(name_order(space))
