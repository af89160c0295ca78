"""What the rest of the package asks of a model of cells and genes, whichever recipe it is of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from sivae.nn._dispersion import Dispersion
    from sivae.nn._likelihoods import Likelihood
    from sivae.nn._published_tower import PublishedTower
    from sivae.nn._tower import Tower


@dataclass(frozen=True)
class Posterior:
    """Gaussian over the latent axes, one row per cell or gene."""

    mean_rk: Tensor
    sd_rk: Tensor

    def sample(self, generator: torch.Generator | None) -> Tensor:
        """One draw per row; the mean where no generator is given."""
        if generator is None:
            return self.mean_rk
        noise_rk = torch.randn(self.mean_rk.shape, generator=generator).to(self.mean_rk.device)
        return self.mean_rk + self.sd_rk * noise_rk


class TwoTowers(nn.Module, ABC):
    """Abstract. A cell tower, a feature tower, and a predictor made of both."""

    likelihood: Likelihood
    dispersion: Dispersion
    cell_tower: Tower | PublishedTower
    feature_tower: Tower | PublishedTower
    embeds_genes = True
    """Whether there is a feature tower that is trained."""
    loadings_are_means = False
    """Whether loadings are the posterior means of v; else the joint layer is regressed on z to make them unique."""
    softmax = False
    """Whether the shares of the modelled genes sum to one in every cell."""
    encodes_covariates: bool
    decodes_covariates: bool
    n_joint: int
    """Width of the joint layer of the cells."""
    profile_gq: Tensor
    bias_g: nn.Parameter
    offset_gb: Tensor
    log_noise_g: nn.Parameter
    zero_logit_g: Tensor | None
    scale_g: Tensor
    shift_bg: Tensor
    log_gain_bg: Tensor
    used_k: Tensor

    @abstractmethod
    def encode_cells(self, x_cg: Tensor, design_cb: Tensor, generator: torch.Generator | None = None) -> Posterior:
        """q(z | x)."""

    @abstractmethod
    def decode_cells(self, z_ck: Tensor, design_cb: Tensor) -> Tensor:
        """Joint layer of cells, (c, d)."""

    @abstractmethod
    def cell_layers(self, z_ck: Tensor, design_cb: Tensor) -> list[Tensor]:
        """Every layer of the cell decoder, the joint layer last, (c, .) each."""

    @abstractmethod
    def feature_layers(self, v_fk: Tensor) -> list[Tensor]:
        """Every layer of the feature decoder, the joint layer last, (f, .) each."""

    @abstractmethod
    def without_covariates(self, x_cg: Tensor, design_cb: Tensor, genes: Tensor | slice = slice(None)) -> Tensor:
        """What the encoder reads of the rows, (c, g); the rows may be of some `genes` alone."""

    @abstractmethod
    def encode_features(self, profile_fq: Tensor) -> Posterior:
        """q(v | p)."""

    @abstractmethod
    def log_noise(self, z_ck: Tensor, design_cb: Tensor, genes_f: Tensor) -> Tensor:
        """Logarithm of the noise of cells c and genes f: (f,), or broadcasting against (c, f)."""

    def average_log_noise(self, h_d: Tensor) -> Tensor:
        """Logarithm of the noise of every gene at a joint layer h (d,) and the average batch, (g,)."""
        genes_g = torch.arange(len(self.bias_g), device=self.bias_g.device)
        design_1b = self.offset_gb.new_zeros((1, self.offset_gb.shape[1]))
        noise: Tensor = self.dispersion(self.log_noise_g, genes_g, h_d[None], design_1b)
        return noise.expand(1, len(genes_g))[0]

    def zero_logit(self, genes_f: Tensor) -> Tensor | None:
        """Logit of the zero inflation, (f,); None where the likelihood has none."""
        return None if self.zero_logit_g is None else self.zero_logit_g.index_select(0, genes_f)
