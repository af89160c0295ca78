"""Cells kept on the device that trains, so that a block is made there of a few numbers."""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from sivae._block import Block, Counts
from sivae._errors import OptionError
from sivae.data._expression import Expression
from sivae.data._rows import Held
from sivae.data._scaling import CLIP

SHARE: Final = 0.5
"""Share of the device's free memory that cells may take before they are brought block by block."""


@final
class Resident:
    """Stored values of cells on a device; blocks equal those of the expression.

    Parameters
    ----------
    expression
        Cells whose values are held in memory as CSR (`is_possible`).
    device
        Where they are copied to.
    """

    def __init__(self, expression: Expression, device: torch.device) -> None:
        values: Any = expression.values()
        transformed: Any = expression.transformed()
        scaling, (_, self._n_genes) = expression.scaling, expression.shape

        def put(array: Any) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self._device = device
        self._begin_n, self._length_n = put(values.indptr[:-1].astype(np.int64)), put(np.diff(values.indptr))
        self._gene_e = put(values.indices.astype(np.int32))  # e: stored entries
        self._value_e, self._transformed_e = put(values.data), put(transformed.data)
        self._mean_g, self._inverse_sd_g = put(scaling.mean_g), put(scaling.inverse_sd_g)
        self._zero_g = put(scaling.zero_g)
        self._design_nb, self._log_library_n = put(expression.design_nb), put(expression.log_library_n)

    def block(
        self,
        cells: NDArray[np.intp],
        genes: NDArray[np.intp],
        *,
        counts: bool,
        cell_weight: float,
        gene_weight: float,
    ) -> Block:
        """The block of some cells and genes, made on the device."""
        cells_c, genes_f = (torch.from_numpy(part).to(self._device) for part in (cells, genes))
        row_e, entry_e = self._entries(cells_c)
        gene_e = self._gene_e.index_select(0, entry_e).long()
        x_cg = self._standardised(len(cells), row_e, gene_e, self._transformed_e.index_select(0, entry_e))
        log_library_c = self._log_library_n.index_select(0, cells_c)
        return Block(
            x_cg=x_cg,
            design_cb=self._design_nb.index_select(0, cells_c),
            log_library_c=log_library_c if counts else torch.zeros_like(log_library_c),
            genes_f=genes_f,
            y=self._counts(row_e, gene_e, entry_e, genes_f) if counts else x_cg.index_select(1, genes_f),
            cell_weight=cell_weight,
            gene_weight=gene_weight,
        )

    def _entries(self, cells_c: Tensor) -> tuple[Tensor, Tensor]:
        """Of every stored entry of some cells: its row in the block, and its place among all entries."""
        length_c = self._length_n.index_select(0, cells_c)
        row_e = torch.repeat_interleave(torch.arange(len(cells_c), device=self._device), length_c)
        shift_c = self._begin_n.index_select(0, cells_c) - (length_c.cumsum(0) - length_c)
        return row_e, torch.arange(len(row_e), device=self._device) + shift_c.index_select(0, row_e)

    def _standardised(self, n_cells: int, row_e: Tensor, gene_e: Tensor, transformed_e: Tensor) -> Tensor:
        x_cg = self._zero_g.repeat(n_cells, 1)
        value_e = (transformed_e - self._mean_g.index_select(0, gene_e)) * self._inverse_sd_g.index_select(0, gene_e)
        x_cg.view(-1).index_copy_(0, row_e * self._n_genes + gene_e, value_e.clamp(-CLIP, CLIP))
        return x_cg

    def _counts(self, row_e: Tensor, gene_e: Tensor, entry_e: Tensor, genes_f: Tensor) -> Counts:
        """The non-zeros of some genes."""
        place_g = torch.full((self._n_genes,), -1, dtype=torch.int64, device=self._device)
        place_g[genes_f] = torch.arange(len(genes_f), device=self._device)
        column_e = place_g.index_select(0, gene_e)
        inside_e = column_e >= 0
        return Counts(row_e[inside_e], column_e[inside_e], self._value_e.index_select(0, entry_e[inside_e]))


def is_possible(expression: Expression) -> bool:
    """Whether the cells are held in memory as CSR, and no gene of theirs was filled in."""
    filled = expression.missing_g is not None and bool(expression.missing_g.any())
    return isinstance(expression.rows, Held) and sparse.issparse(expression.rows.matrix) and not filled


def check_possible(choice: str, expression: Expression) -> None:
    """Refuse `TrainOptions.on_device` "always" where it cannot be.

    Raises
    ------
    OptionError
        If the values are not sparse ones in memory.
    """
    if choice == "always" and not is_possible(expression):
        raise OptionError(
            "TrainOptions.on_device is 'always', but the values are dense or in a temporary file; expected sparse ones "
            "in memory. Take 'auto', or spool='never'."
        )


def fits(expression: Expression, device: torch.device) -> bool:
    """Whether the cells would take no more than a share of the free memory of a device other than the CPU."""
    if device.type != "cuda" or not is_possible(expression):  # other devices do not say what is free
        return False
    free, _ = torch.cuda.mem_get_info(device)
    values: Any = expression.values()
    return bool(12 * values.nnz < SHARE * free)
