"""What the noise of an entry depends on: its gene, its gene and batch, its gene and cell, or its cell.

Everything is in logarithms; a block's noise broadcasts against (cells c, genes f). "gene" is a number per gene, which
the others start from. The paper's default is "cell"; its `diagonal` option that depends on the cell is "gene-cell"
(Choi, Li, Quon 2023, Methods, and the authors' code).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_SIGMA = 1e-5


class Dispersion(nn.Module, ABC):
    """Abstract. The logarithm of the noise of a block, from that of its genes."""

    name: ClassVar[str]
    reads_cells: ClassVar[bool]
    """Whether the joint layer of the cells is looked at."""

    @abstractmethod
    def forward(self, log_noise_f: Tensor, genes_f: Tensor, h_cd: Tensor | None, design_cb: Tensor) -> Tensor:
        """Logarithm of the noise, (f,), or broadcasting against (c, f)."""

    @abstractmethod
    def start(self, log_noise_g: Tensor) -> None:
        """Begin at the noise of the genes."""


@final
class PerGene(Dispersion):
    """One number per gene."""

    name = "gene"
    reads_cells = False

    def forward(self, log_noise_f: Tensor, genes_f: Tensor, h_cd: Tensor | None, design_cb: Tensor) -> Tensor:
        return log_noise_f

    def start(self, log_noise_g: Tensor) -> None:
        return


@final
class PerGeneBatch(Dispersion):
    """log noise = log_noise_g + (batch_c - average).offset_g, the batch as centred dummy columns of the design.

    `log_noise_g` is so the average over training cells.
    """

    name = "gene-batch"
    reads_cells = False

    def __init__(self, n_genes: int, n_batches: int) -> None:
        super().__init__()
        self.offset_gb = nn.Parameter(torch.zeros(n_genes, n_batches))

    def forward(self, log_noise_f: Tensor, genes_f: Tensor, h_cd: Tensor | None, design_cb: Tensor) -> Tensor:
        # The batch columns come first in the design.
        return log_noise_f + design_cb[:, : self.offset_gb.shape[1]] @ self.offset_gb[genes_f].T

    def start(self, log_noise_g: Tensor) -> None:
        self.offset_gb.zero_()


@final
class PerGeneCell(Dispersion):
    """log noise = log_noise_g + h_c.u_g, from the joint layer of the cell; u starts at zero."""

    name = "gene-cell"
    reads_cells = True

    def __init__(self, n_genes: int, n_joint: int) -> None:
        super().__init__()
        self.weight_gd = nn.Parameter(torch.zeros(n_genes, n_joint))

    def forward(self, log_noise_f: Tensor, genes_f: Tensor, h_cd: Tensor | None, design_cb: Tensor) -> Tensor:
        assert h_cd is not None
        return log_noise_f + h_cd @ self.weight_gd[genes_f].T

    def start(self, log_noise_g: Tensor) -> None:
        self.weight_gd.zero_()


@final
class PerCell(Dispersion):
    """sigma_c = softplus(a.h_c + a0) + 1e-5, shared by all genes (the paper's default); a starts at zero."""

    name = "cell"
    reads_cells = True

    def __init__(self, n_joint: int) -> None:
        super().__init__()
        self.weight_d = nn.Parameter(torch.zeros(n_joint))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, log_noise_f: Tensor, genes_f: Tensor, h_cd: Tensor | None, design_cb: Tensor) -> Tensor:
        assert h_cd is not None
        return torch.log(F.softplus(h_cd @ self.weight_d + self.bias) + LEAST_SIGMA)[:, None]

    def start(self, log_noise_g: Tensor) -> None:
        """Begin at the root mean square of sigma_g; a0 is the inverse of softplus there."""
        sigma = torch.exp(2.0 * log_noise_g).mean().sqrt()
        self.weight_d.zero_()
        self.bias.copy_(sigma + torch.log(-torch.expm1(-sigma)))


DISPERSIONS = (PerGene.name, PerGeneBatch.name, PerGeneCell.name, PerCell.name)


def make_dispersion(name: str, *, n_genes: int, n_batches: int, n_joint: int) -> Dispersion:
    """The dispersion of that name."""
    if name == PerGeneBatch.name:
        return PerGeneBatch(n_genes, n_batches)
    if name == PerGeneCell.name:
        return PerGeneCell(n_genes, n_joint)
    return PerCell(n_joint) if name == PerCell.name else PerGene()
