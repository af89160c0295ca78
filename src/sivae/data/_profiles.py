"""What the feature encoder reads of a gene: a row of fixed width, (genes, q)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from sivae.data._expression import Expression
from sivae.stats._spectrum import Spectrum

Array = NDArray[np.float32]


class Profiles(ABC):
    """Abstract. Profiles of genes from their standardised values in the training cells."""

    name: ClassVar[str]

    @abstractmethod
    def of_modelled(self) -> Array:
        """Profiles of the genes that the model is trained on, (g, q)."""

    @abstractmethod
    def of_values(self, x_nf: Array) -> Array:
        """Profiles of genes from their standardised, covariate-centred values in the training cells, (f, q)."""


@final
class PrincipalProfiles(Profiles):
    """p = V S / sqrt(N) of the truncated SVD X = U S V' of the training matrix; p = U'x / sqrt(N) for a new gene.

    Inner products of profiles approximate X'X / N, and the width does not depend on N (docs/how_it_works.md).
    `scores_nq` is sqrt(N) U = X V / (S / sqrt(N)), remade from the training cells and never stored.
    """

    name = "principal"

    def __init__(self, spectrum: Spectrum, scores_nq: Array) -> None:
        self.spectrum, self.scores_nq = spectrum, scores_nq

    @classmethod
    def scores(cls, expression: Expression, shift_bg: Array, spectrum: Spectrum) -> Array:
        """sqrt(N) U of the training cells, (n, q)."""
        # An axis beyond the rank of the data has no variance and says nothing of a gene.
        seen_q = spectrum.values_q > 1e-8 * spectrum.values_q[0]
        inverse_q = np.where(seen_q, 1.0 / np.sqrt(np.where(seen_q, spectrum.values_q, 1.0)), 0.0)
        weights = (spectrum.vectors_gq * inverse_q).astype(np.float32)
        blocks = []
        for start in range(0, expression.shape[0], 1024):
            cells = slice(start, start + 1024)
            blocks.append((expression.standardised(cells) - expression.design_nb[cells] @ shift_bg) @ weights)
        return np.concatenate(blocks)

    def of_modelled(self) -> Array:
        return (self.spectrum.vectors_gq * np.sqrt(self.spectrum.values_q)).astype(np.float32)

    def of_values(self, x_nf: Array) -> Array:
        return (x_nf.T @ self.scores_nq / len(x_nf)).astype(np.float32)


@final
class CellProfiles(Profiles):
    """The paper's input: a gene's values over the training cells, or over a sample of at most `n_profile` of them."""

    name = "cells"

    def __init__(self, x_ng: Array, cells: NDArray[np.intp]) -> None:
        self.x_ng, self.cells = x_ng, cells

    def of_modelled(self) -> Array:
        return np.ascontiguousarray(self.x_ng[self.cells].T)

    def of_values(self, x_nf: Array) -> Array:
        return np.ascontiguousarray(x_nf[self.cells].T)


def covariate_shift(expression: Expression) -> Array:
    """Least-squares coefficients of the standardised values on the design, (b, g): what batch-centring removes.

    The system is solved by pseudo-inverse, because centred dummy columns of one factor add up to zero.
    """
    design = expression.design_nb.astype(np.float64)
    if design.shape[1] == 0:
        return np.zeros((0, expression.shape[1]), np.float32)
    cross = np.zeros((design.shape[1], expression.shape[1]))
    for start in range(0, expression.shape[0], 1024):
        cells = slice(start, start + 1024)
        cross += design[cells].T @ expression.standardised(cells)
    return (np.linalg.pinv(design.T @ design, rcond=1e-6, hermitian=True) @ cross).astype(np.float32)
