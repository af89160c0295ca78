"""Cells by modelled genes, ready to be cut into blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sivae._block import Block, Counts
from sivae._checks import check_names
from sivae._errors import GeneMismatchError, SetupError, some, warn
from sivae._values import frame, values_of
from sivae.data._matrix import Matrix
from sivae.data._rows import ROWS, Cells, Held, Rows, as_rows, is_by_gene, read_matrix, slices, streamed, takes_much
from sivae.data._scaling import Scaling
from sivae.data._setup import Setup, category_names, is_numeric, refuse_missing, refuse_wrong

MISSING_SHARE = 0.2
"""Share of the modelled genes that query data may lack: each is taken at its training mean."""


@dataclass(frozen=True)
class Design:
    """Covariate columns: one per category, then one per continuous covariate, all centred on the training cells."""

    mean_b: NDArray[np.float32]
    sd_b: NDArray[np.float32]

    @classmethod
    def fit(cls, adata: AnnData, setup: Setup) -> Design:
        """Centre (and scale, where continuous) on the cells given."""
        raw = _raw_design(adata, setup)
        n_dummies = sum(len(values) for values in setup.categories.values())
        sd = raw.std(axis=0)
        sd[:n_dummies] = 1.0
        sd[sd == 0] = 1.0
        return cls(raw.mean(axis=0), sd)

    def of(self, adata: AnnData, setup: Setup) -> NDArray[np.float32]:
        """Design rows of cells, (cells, columns).

        A category of which no training cell was (all of its cells validate) is read as the average of the others.

        Raises
        ------
        SetupError
            If a column is missing, is not known for a cell, or holds a category that set-up did not see.
        """
        raw_nb = _raw_design(adata, setup)
        design_nb = ((raw_nb - self.mean_b) / self.sd_b).astype(np.float32)
        for key in setup.categorical_keys:
            columns = setup.columns[key]
            unseen_n = raw_nb[:, columns][:, self.mean_b[columns] == 0].any(axis=1)
            design_nb[unseen_n, columns] = 0.0
        return design_nb


def _raw_design(adata: AnnData, setup: Setup) -> NDArray[np.float32]:
    columns, obs = [np.zeros((adata.n_obs, 0), np.float32)], frame(adata.obs)
    for key in (*setup.categorical_keys, *setup.continuous_covariate_keys):
        if key not in obs:
            raise SetupError(
                f"obs has no column {key!r}, which the model was set up with; it has: {some(obs, 20) or 'none'}. "
                f"Write into obs[{key!r}] what is known of these cells."
            )
        refuse_missing(obs, key)
    for key in setup.categorical_keys:
        values, known = category_names(obs[key]), setup.categories[key]
        if is_numeric(obs[key]):
            known = [name.removesuffix(".0") for name in known]  # as set-up wrote them at first
        unknown = sorted(set(values) - set(known))
        if unknown:
            _refuse_unknown(key, unknown, known, is_batch=key == setup.batch_key)
        columns.append((values[:, None] == np.array(known)[None, :]).astype(np.float32))
    for key in setup.continuous_covariate_keys:
        columns.append(_numbers(obs, key)[:, None])
    return np.concatenate(columns, axis=1)


def _numbers(obs: pd.DataFrame, key: str, *, positive: bool = False) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # what is beyond 32 bits is refused as infinite
            values = obs[key].to_numpy(np.float32)
    except (TypeError, ValueError):
        raise SetupError(
            f"obs[{key!r}] is not numeric ({obs[key].dtype}), expected numbers as in the training cells. "
            "Convert it or write into it what is known of these cells."
        ) from None
    refuse_wrong(values, obs, key, positive=positive)
    return values


def _refuse_unknown(key: str, unknown: list[str], known: list[str], *, is_batch: bool) -> None:
    vain = (
        " transform_batch does not help: it chooses among the same batches, and these cells would still be placed "
        "uncorrected."
        if is_batch
        else ""
    )
    raise SetupError(
        f"obs[{key!r}] holds {some(unknown)}, which the training cells had not; they had: {some(known, 20)}. What a "
        f"new one does to each gene is not known.{vain} Train again with these cells, or write into obs[{key!r}] the "
        "known one that they were made like."
    )


@final
class Expression:
    """Values of cells n x modelled genes g, with what every block needs of them.

    Wherever the values lie, blocks are the same; what is not held in memory is read a block at a time.

    Parameters
    ----------
    values_ng
        Stored values (counts, or already normalised values): CSR or dense, or rows that are read when asked for.
    library_n
        Counts over the modelled genes, or the size factor; ones where values are not counts.
    scaling
        Statistics of the training cells.
    design_nb
        Covariate columns.
    missing_g
        Genes that the data lack, taken at their training mean.
    """

    def __init__(
        self,
        values_ng: Matrix | Rows,
        library_n: NDArray[np.float32],
        scaling: Scaling,
        design_nb: NDArray[np.float32],
        missing_g: NDArray[np.bool_] | None = None,
    ) -> None:
        self.rows, self.library_n, self.scaling, self.design_nb = as_rows(values_ng), library_n, scaling, design_nb
        self.missing_g = missing_g
        self.log_library_n = np.log(np.maximum(library_n, 1e-12)).astype(np.float32)
        held = isinstance(self.rows, Held)
        self._transformed_ng = self._transform(self.values(), slice(None)) if held else None

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return self.rows.shape

    def take(self, cells: NDArray[np.intp]) -> Expression:
        """Some of the cells, in the order asked, held in memory."""
        return Expression(
            self.values(cells), self.library_n[cells], self.scaling, self.design_nb[cells], self.missing_g
        )

    def values(self, cells: Cells = slice(None)) -> Matrix:
        """Stored values of some of the cells."""
        return self.rows.read(cells)

    def transformed(self, cells: Cells = slice(None)) -> Matrix:
        """Values of some of the cells before centring."""
        if self._transformed_ng is None:
            return self._transform(self.values(cells), cells)
        return self._transformed_ng[cells]

    def _transform(self, values_cg: Matrix, cells: Cells) -> Matrix:
        transformed_cg = self.scaling.transform(values_cg, self.library_n[cells])
        if self.missing_g is not None and self.missing_g.any():
            return _fill(transformed_cg, self.missing_g, self.scaling.mean_g)
        return transformed_cg

    def standardised(self, cells: Cells) -> NDArray[np.float32]:
        """Dense standardised rows, (cells, genes)."""
        return self.scaling.standardise(self.transformed(cells))

    def cells(self, most: int = ROWS) -> Iterator[slice]:
        """Cells from first to last, as many at a time as can be dense."""
        return slices(*self.shape, most=most)

    def row_blocks(self, size: int = ROWS) -> Iterator[NDArray[np.float32]]:
        """Standardised rows from first to last."""
        for cells in self.cells(size):
            yield self.standardised(cells)

    def block(
        self,
        cells: NDArray[np.intp],
        genes: NDArray[np.intp],
        *,
        counts: bool,
        cell_weight: float | None = None,
        gene_weight: float | None = None,
    ) -> Block:
        """The block of some cells and genes; the weights default to those of a block that is all there is."""
        values_cg = self.values(cells) if counts else None
        if values_cg is None or self._transformed_ng is not None:
            x_cg = torch.from_numpy(self.standardised(cells))
        else:  # read once
            x_cg = torch.from_numpy(self.scaling.standardise(self._transform(values_cg, cells)))
        genes_f = torch.from_numpy(genes)
        return Block(
            x_cg=x_cg,
            design_cb=torch.from_numpy(self.design_nb[cells]),
            log_library_c=torch.from_numpy(self.log_library_n[cells]) if counts else x_cg.new_zeros(len(cells)),
            genes_f=genes_f,
            y=x_cg.index_select(1, genes_f) if values_cg is None else as_counts(values_cg[:, genes]),
            cell_weight=1.0 / len(cells) if cell_weight is None else cell_weight,
            gene_weight=1.0 / len(genes) if gene_weight is None else gene_weight,
        )


def as_counts(values_cf: Matrix) -> Counts:
    """The non-zeros of some cells and genes."""
    coo = sparse.coo_matrix(values_cf)
    return Counts(
        torch.from_numpy(coo.row.astype(np.int64)),
        torch.from_numpy(coo.col.astype(np.int64)),
        torch.from_numpy(coo.data.astype(np.float32)),
    )


@dataclass(frozen=True)
class Reader:
    """Reads the modelled genes of any AnnData by name, the way the training data were read."""

    setup: Setup
    genes: tuple[str, ...]
    design: Design
    scaling: Scaling
    binary: bool = False
    """Values are read as 0 or 1."""

    def values(self, adata: AnnData, at: NDArray[np.intp]) -> Matrix:
        """Stored values of the genes at these positions (-1: zeros), as 0 or 1 where the model reads them so."""
        return read_matrix(adata, self.setup, at, binary=self.binary)

    def read(self, adata: AnnData, rows: Rows | None = None) -> Expression:
        """Expression of every cell of `adata`, genes in the order of the model.

        `rows` are their values, where they were read before. Otherwise values that lie outside memory and would take
        much of it are read when they are asked for, unless they are stored gene by gene.

        Raises
        ------
        GeneMismatchError
            If more than a fifth of the modelled genes are missing. Fewer are reported and taken at their mean.
        """
        check_names(adata, "var_names")
        at = adata.var_names.get_indexer(list(self.genes))
        missing = at < 0
        if missing.any():
            self._judge_missing(missing, adata)
        if rows is None:
            opened = values_of(adata, self.setup.layer or None)
            if takes_much(opened, len(at)) and not is_by_gene(opened):
                rows = streamed(adata, opened, self.setup, at, binary=self.binary)
        values = as_rows(self.values(adata, at)) if rows is None else rows
        library = library_size(values, adata, self.setup, unit=self.scaling.unit)
        if not self.setup.size_factor_key and self.scaling.log:
            library = library / np.float32(max(1.0 - float(self.scaling.share_g[missing].sum()), 1e-3))
        return Expression(values, library, self.scaling, self.design.of(adata, self.setup), missing)

    def _judge_missing(self, missing: NDArray[np.bool_], adata: AnnData) -> None:
        names = [gene for gene, gone in zip(self.genes, missing, strict=True) if gone]
        share = len(names) / len(self.genes)
        found = f"{len(names)} of the {len(self.genes)} modelled genes are not in the data ({some(names)})"
        if share > MISSING_SHARE:
            raise GeneMismatchError(
                f"{found}; at most {MISSING_SHARE:.0%} may be missing. Check that var_names are of the same kind: the "
                f"model has {some(self.genes, 2)}, the data have {some(adata.var_names, 2) or 'no gene'}."
            )
        warn(f"{found}; each is taken at its mean over the training cells.")


def _fill(transformed_ng: Matrix, missing: NDArray[np.bool_], mean_g: NDArray[np.float32]) -> Matrix:
    if sparse.issparse(transformed_ng):
        constant = sparse.csr_matrix((missing * mean_g)[None, :])
        ones = sparse.csr_matrix(np.ones((transformed_ng.shape[0], 1), np.float32))
        return sparse.csr_matrix(transformed_ng + ones @ constant, dtype=np.float32)
    return np.where(missing, mean_g, transformed_ng).astype(np.float32)


def size_factor_unit(values_ng: Rows, adata: AnnData, setup: Setup) -> float:
    """Counts per unit of size factor over the cells given; 1 without size factors or counts."""
    if not setup.size_factor_key or setup.normalize == "none":
        return 1.0
    factors = np.asarray(frame(adata.obs)[setup.size_factor_key], np.float64)
    total = sum(float(values_cg.sum(dtype=np.float64)) for _, values_cg in values_ng.blocks())
    return float(total / factors.sum()) if total > 0 else 1.0


def library_size(values_ng: Rows, adata: AnnData, setup: Setup, *, unit: float) -> NDArray[np.float32]:
    """Counts of each cell over the genes given, or its size factor times `unit`; ones where nothing is normalised.

    Raises
    ------
    SetupError
        If a cell has no counts over these genes.
    """
    if setup.size_factor_key:
        key, obs = setup.size_factor_key, frame(adata.obs)
        if key not in obs:
            raise SetupError(
                f"obs has no column {key!r}, the size factor that the model was set up with; it has: "
                f"{some(obs, 20) or 'none'}. Write the cells' size factors into obs[{key!r}]."
            )
        return _numbers(obs, key, positive=True) * np.float32(unit)
    if not setup.counts and setup.normalize == "none":
        return np.ones(values_ng.shape[0], np.float32)
    library = np.zeros(values_ng.shape[0])
    for cells, values_cg in values_ng.blocks():
        library[cells] = np.asarray(values_cg.sum(axis=1, dtype=np.float64)).ravel()
    if (library <= 0).any():
        empty = np.flatnonzero(library <= 0)
        matrix = f"layers[{setup.layer!r}]" if setup.layer else "X"
        many = f"{len(empty)} cells have" if len(empty) > 1 else "1 cell has"
        raise SetupError(
            f"{many} no counts over the {values_ng.shape[1]} modelled genes, the first being "
            f"{str(adata.obs_names[empty[0]])!r}; expected some in every cell. Drop empty cells: "
            f"adata = adata[adata[:, genes].{matrix}.sum(1) > 0].copy()."
        )
    return library.astype(np.float32)
