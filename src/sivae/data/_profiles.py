"""What the feature encoder reads of a gene: a row of fixed width, (genes, q)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from sivae._errors import GeneMismatchError, SetupError, some
from sivae.data._covariates import CovariateEffect
from sivae.data._expression import Expression
from sivae.stats._spectrum import Spectrum

Array = NDArray[np.float32]
LEAST_SD = 1e-8


class Profiles(ABC):
    """Abstract. Profiles of genes, from their values in the training cells or from elsewhere."""

    name: ClassVar[str]

    @abstractmethod
    def of_modelled(self) -> Array:
        """Profiles of the genes that the model is trained on, (g, q)."""

    @abstractmethod
    def of_new(self, x_nf: Array, stored_fq: Array | None = None) -> Array:
        """Profiles of other genes, (f, q).

        Parameters
        ----------
        x_nf
            Standardised values in the training cells, without the effect of covariates.
        stored_fq
            Rows of the `varm` array, where the profiles are one.
        """


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
    def scores(cls, expression: Expression, effect: CovariateEffect, spectrum: Spectrum) -> Array:
        """sqrt(N) U of the training cells, (n, q)."""
        # An axis beyond the rank of the data has no variance and says nothing of a gene.
        seen_q = spectrum.values_q > 1e-8 * spectrum.values_q[0]
        inverse_q = np.where(seen_q, 1.0 / np.sqrt(np.where(seen_q, spectrum.values_q, 1.0)), 0.0)
        weights = (spectrum.vectors_gq * inverse_q).astype(np.float32)
        return np.concatenate([rows @ weights for rows in effect.blocks(expression)()])

    def of_modelled(self) -> Array:
        return (self.spectrum.vectors_gq * np.sqrt(self.spectrum.values_q)).astype(np.float32)

    def of_new(self, x_nf: Array, stored_fq: Array | None = None) -> Array:
        return (x_nf.T @ self.scores_nq / len(x_nf)).astype(np.float32)


@final
class CellProfiles(Profiles):
    """The paper's input: a gene's values over the training cells, or over a sample `cells` of them."""

    name = "cells"

    def __init__(self, x_qg: Array, cells: NDArray[np.intp]) -> None:
        self.x_qg, self.cells = x_qg, cells

    def of_modelled(self) -> Array:
        return np.ascontiguousarray(self.x_qg.T)

    def of_new(self, x_nf: Array, stored_fq: Array | None = None) -> Array:
        return np.ascontiguousarray(x_nf[self.cells].T)


@final
class StoredProfiles(Profiles):
    """Rows of a `varm` array, matched by gene name: vectors of proteins, texts, motifs.

    Columns are centred and scaled over the modelled genes, and a column that is constant there is zero.
    """

    name = "varm"

    def __init__(self, stored_gq: Array) -> None:
        self.stored_gq = stored_gq
        self.mean_q, self.sd_q = stored_gq.mean(axis=0), stored_gq.std(axis=0)

    def of_modelled(self) -> Array:
        return self._scaled(self.stored_gq)

    def of_new(self, x_nf: Array, stored_fq: Array | None = None) -> Array:
        assert stored_fq is not None
        return self._scaled(stored_fq)

    def _scaled(self, stored_fq: Array) -> Array:
        used_q = self.sd_q > LEAST_SD
        return np.asarray((stored_fq - self.mean_q) / np.where(used_q, self.sd_q, 1.0) * used_q, np.float32)


def sample_cells(n_cells: int, most: int) -> NDArray[np.intp]:
    """All cells, or a fixed sample of `most` of them, in rising order."""
    if n_cells <= most:
        return np.arange(n_cells)
    return np.sort(np.random.default_rng(0).permutation(n_cells)[:most])


def labelled_cells(labels: Sequence[str], most: int, *, only: str | None = None) -> NDArray[np.intp]:
    """A fixed sample of at most `most` cells with the labels' own shares, in rising order; of one label alone if given.

    Raises
    ------
    SetupError
        If no cell has that label.
    """
    codes, known = pd.factorize(np.asarray(labels, dtype=object), sort=True)
    rows = np.arange(len(codes))
    if only is not None:
        rows = np.flatnonzero(np.asarray(labels, dtype=object) == only)
        if len(rows) == 0:
            raise SetupError(
                f"No training cell has the label {only!r}; expected one of {some(known, 20)}. Choose one of these."
            )
    if len(rows) <= most:
        return rows
    order = rows[np.lexsort((np.random.default_rng(0).random(len(rows)), codes[rows]))]
    places = np.floor((np.arange(most) + 0.5) * len(rows) / most).astype(np.intp)
    return np.sort(order[places])


def read_stored(adata: AnnData, key: str, genes: Sequence[str]) -> Array:
    """Rows of `varm[key]` for the named genes, (g, q).

    Raises
    ------
    SetupError
        If there is no such array, or it is not a table of finite numbers.
    GeneMismatchError
        If genes are missing.
    """
    if key not in adata.varm:
        raise SetupError(
            f"There is no varm[{key!r}] to take profiles from; varm holds: {some(adata.varm, 20) or 'nothing'}. "
            "Choose one of them, or profiles='principal' or 'cells'."
        )
    at = adata.var_names.get_indexer(pd.Index(genes))
    if (at < 0).any():
        gone = [gene for gene, row in zip(genes, at, strict=True) if row < 0]
        raise GeneMismatchError(f"{len(gone)} genes are not in the AnnData that holds varm[{key!r}]: {some(gone)}.")
    raw: Any = adata.varm[key]
    dense: NDArray[Any] = raw.toarray() if hasattr(raw, "toarray") else np.asarray(raw)
    if dense.ndim != 2 or dense.shape[1] == 0 or dense.dtype.kind not in "biuf":
        raise SetupError(f"varm[{key!r}] has shape {dense.shape} and type {dense.dtype}; expected genes x numbers.")
    stored_gq: Array = dense[at].astype(np.float32)
    finite = np.isfinite(stored_gq).all(axis=1)
    if not finite.all():
        raise SetupError(
            f"varm[{key!r}] is not finite for {int((~finite).sum())} genes, the first being "
            f"{genes[int(np.flatnonzero(~finite)[0])]!r}. Fill it in or drop these genes."
        )
    return stored_gq
