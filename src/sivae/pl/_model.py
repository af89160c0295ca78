"""What plots ask of a model, where they need one: anything with these methods will do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]


class Decoded(Protocol):
    """What a model predicts."""

    @property
    def genes(self) -> tuple[str, ...]:
        """Modelled genes."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes."""

    def decode(self, z_mk: Array) -> Array:
        """Prediction z.v + h.w at given positions and the average covariates, on the scale of the loadings, (m, g)."""


class Decoder(Protocol):
    """A model that predicts at any position (`sivae.SiVAE` is one)."""

    def explain(self, adata: AnnData | None = None) -> Decoded:
        """Make ready to predict; the cells do not matter here."""
