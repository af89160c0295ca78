"""What tools ask of a model, where they need one: anything with these methods will do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]
    Positions: TypeAlias = NDArray[np.intp]


class Explained(Protocol):
    """What a model does with some cells."""

    @property
    def genes(self) -> tuple[str, ...]:
        """Modelled genes."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes."""

    @property
    def n_cells(self) -> int:
        """Cells."""

    def layer(self) -> tuple[Array, Array, Array, Array]:
        """Positions z (n, k), joint layer h (n, d) without its linear part, loadings v (g, k), joint layer w (g, d)."""

    @property
    def widths(self) -> Mapping[str, tuple[int, ...]]:
        """Widths of the layers of each decoder, "cells" and "genes"; the last is the joint layer."""

    def cell_layer(self, number: int) -> Array:
        """A layer of the cell decoder, counted from 1, (n, .)."""

    def gene_layer(self, number: int) -> Array:
        """A layer of the gene decoder, counted from 1, (g, .)."""

    def decode(self, z_mk: Array) -> Array:
        """Prediction z.v + h.w at given positions and the average covariates, on the scale of the loadings, (m, g)."""

    def decoder(self, unit_n: Positions, n_units: int, genes: Positions) -> Mapping[str, Array]:
        """Mean of each part of the predictor over the cells of a unit, (u, f) each, by name."""

    def encoder(
        self, unit_n: Positions, n_units: int, genes: Positions, axes: Positions, *, tolerance: float
    ) -> Mapping[str, Array]:
        """Mean contribution of genes to z over the cells of a unit.

        "linear" and "nonlinear" (u, f, a); the same of all other genes, "other_linear" and "other_nonlinear" (u, a);
        "baseline" (u, a).
        """


class Explainer(Protocol):
    """A model whose predictions can be taken apart."""

    def explain(self, adata: AnnData | None = None) -> Explained:
        """Take apart what the model does with the cells of an AnnData."""
