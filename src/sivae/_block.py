"""Some cells by some genes: the unit of work that data prepares and the model reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class Counts:
    """Non-zero counts of a block in coordinate form; everything else in the block is zero."""

    row: Tensor  # (nnz,) cell of the block
    column: Tensor  # (nnz,) gene of the block
    value: Tensor  # (nnz,) count


@dataclass(frozen=True)
class Block:
    """One block of cells and genes.

    `x_cg` holds every modelled gene, because a cell is encoded from all of them; `y` only the genes `f` of the block.
    The weights are inverse inclusion probabilities: sums over cells (genes) of the block times the weight estimate
    the mean over all cells (genes) without bias, whatever the size of the last block.
    """

    x_cg: Tensor  # (cells, all genes) standardised input of the cell encoder
    design_cb: Tensor  # (cells, covariate columns)
    log_library_c: Tensor  # (cells,) log of the counts over the modelled genes; zero where no counts
    genes_f: Tensor  # (genes of the block,) positions among the modelled genes
    y: Tensor | Counts  # (cells, genes of the block)
    cell_weight: float  # per cell: number of cell blocks / N
    gene_weight: float  # per gene: number of gene blocks / G

    def to(self, device: object) -> Block:
        """Move every tensor to a device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)  # type: ignore[call-overload,no-any-return]

        y = (
            Counts(move(self.y.row), move(self.y.column), move(self.y.value))
            if isinstance(self.y, Counts)
            else move(self.y)
        )
        return replace(
            self,
            x_cg=move(self.x_cg),
            design_cb=move(self.design_cb),
            log_library_c=move(self.log_library_c),
            genes_f=move(self.genes_f),
            y=y,
        )
