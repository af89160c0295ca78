"""The published model on one page: Choi, Li, Quon, Genome Biology 2023, 24:29 (doi 10.1186/s13059-023-02850-y).

Axes: c cells of a block, g genes, k latent, d width of the cell decoder's last hidden layer, q profile, b covariates.

    cell tower      x_cg, design_cb -> z_ck ~ N(mean, sd);  z_ck, design_cb -> y_cd
    feature tower   p_gq -> v_gk ~ N(mean, sd) -> w_gd
    predictor       mu_cg = y_c . w_g + bias_g                        Normal, sigma_c = softplus(a . y_c + a0) + 1e-5
                    mu_cg = library_c softmax_g(y_c . w_g + bias_g)   negative binomial, theta_g

It is trained in three phases, each with its own objective (`cells`, `genes`, `joint` below): the cell VAE with a kernel
W_s in the place of w; the feature VAE, regressing W_s; and both, without W_s, where the objective is

    nll + beta_z KL(z) + beta_v KL(v) + gamma |x - z.v - bias|^2 + hidden_gamma sum_l |x - h^l.u^l - bias|^2 + penalties

with sums over genes, and means over cells; KL(v) is a mean over genes. Under counts the squared errors are the negative
log likelihoods of the same linear predictors. Where a plain VAE is asked for, there is the first phase alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sivae._block import Block
from sivae.nn._dispersion import PerCell, make_dispersion
from sivae.nn._likelihoods import Likelihood
from sivae.nn._objective import Weights, gaussian_kl
from sivae.nn._published_options import PublishedOptions
from sivae.nn._published_tower import LEAST_SD, PublishedTower, glorot_linear
from sivae.nn._two_towers import Posterior, TwoTowers

LOG_THETA = 1.0


@dataclass(frozen=True)
class PublishedTerms:
    """The terms of the objective of a phase."""

    nll: Tensor  # sum over genes, mean over cells; in the second phase sum over d, mean over genes
    kl_cells: Tensor  # mean over cells
    kl_features: Tensor  # mean over genes
    nll_linear: Tensor  # squared error of z.v + bias (counts: nll), as nll
    nll_hidden: Tensor  # the same of each pair of hidden layers
    penalty: Tensor
    squared_error: Tensor  # of the predictor; told, not minimised; NaN for counts

    def loss(self, weights: Weights, hidden_gamma: float) -> Tensor:
        """The scalar that a phase minimises."""
        return (
            self.nll
            + weights.kl_cells * self.kl_cells
            + weights.kl_features * self.kl_features
            + weights.gamma * self.nll_linear
            + hidden_gamma * self.nll_hidden
            + self.penalty
        )

    def as_floats(self) -> dict[str, float]:
        """The values by name."""
        return {name: float(getattr(self, name).detach()) for name in self.__dataclass_fields__}


@final
class PublishedModule(TwoTowers):
    """Both towers, the predictor, and the objective of each phase."""

    cell_tower: PublishedTower
    feature_tower: PublishedTower
    pretrained_tower: PublishedTower
    pretrained_mean_gk: Tensor
    pretrained_sd_gk: Tensor
    encodes_covariates = decodes_covariates = True

    def __init__(
        self,
        profile_gq: Tensor,
        *,
        n_latent: int,
        n_design: int,
        likelihood: Likelihood,
        options: PublishedOptions,
        generator: torch.Generator,
        dispersion: str,
        n_batches: int = 0,
    ) -> None:
        super().__init__()
        n_genes, n_profile = profile_gq.shape
        o = self.options = options
        self.likelihood, self.softmax, self.embeds_genes = likelihood, likelihood.counts, o.has_features
        self.loadings_are_means = o.has_features
        decoder = () if o.linear_decoder else tuple(o.decoder)
        self.n_joint = decoder[-1] if decoder else n_latent + n_design
        self.cell_tower = PublishedTower(
            n_genes,
            n_latent=n_latent,
            encoder=o.encoder,
            decoder=decoder,
            generator=generator,
            n_covariates=n_design,
        )
        self.start_gd = glorot_linear(
            self.n_joint, n_genes, generator, bias=False
        )  # W_s; its bias is bias_g, which stays
        if o.has_features:
            self.feature_tower = PublishedTower(
                n_profile,
                n_latent=n_latent,
                encoder=o.encoder,
                decoder=decoder[:-1],
                generator=generator,
                n_output=self.n_joint,
            )
            self.target_head = glorot_linear(
                decoder[-2] if decoder else n_latent, 1, generator
            )  # a . u_g + a0, second phase
            self.pretrained_tower = copy.deepcopy(self.cell_tower).requires_grad_(requires_grad=False)
            for name in ("pretrained_mean_gk", "pretrained_sd_gk"):
                self.register_buffer(name, torch.full((n_genes, n_latent), torch.nan))
        self.bias_g = nn.Parameter(torch.zeros(n_genes))
        self.log_noise_g = nn.Parameter(torch.full((n_genes,), LOG_THETA if likelihood.counts else 0.0))
        self.dispersion = make_dispersion(dispersion, n_genes=n_genes, n_batches=n_batches, n_joint=self.n_joint)
        self.zero_logit_g = None
        constants = {
            "profile_gq": profile_gq, "scale_g": torch.ones(n_genes), "used_k": torch.ones(n_latent),
            "offset_gb": torch.zeros(n_genes, n_design), "shift_bg": torch.zeros(n_design, n_genes),
            "log_gain_bg": torch.zeros(n_design, n_genes),
        }  # fmt: skip
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    # ------------------------------------------------------------------------------------------------- the towers

    def encode_cells(self, x_cg: Tensor, design_cb: Tensor, generator: torch.Generator | None = None) -> Posterior:
        """q(z | x), of a cell over all genes and its covariates."""
        return Posterior(*self.cell_tower.encode(x_cg, design_cb))

    def decode_cells(self, z_ck: Tensor, design_cb: Tensor) -> Tensor:
        """Last hidden layer y of cells, (c, d)."""
        return self.cell_tower.decode(z_ck, design_cb)

    def cell_layers(self, z_ck: Tensor, design_cb: Tensor) -> list[Tensor]:
        """Hidden layers h^l of the cell decoder, y last, (c, .) each."""
        return self.cell_tower.layers(z_ck, design_cb)

    def feature_layers(self, v_fk: Tensor) -> list[Tensor]:
        """Hidden layers u^l of the feature decoder, w last, (f, .) each."""
        tower = self.feature_tower
        hidden = [] if isinstance(tower.decoder.layers[0], nn.Identity) else tower.layers(v_fk)
        return [*hidden, tower.decode(v_fk)]

    def without_covariates(self, x_cg: Tensor, design_cb: Tensor, genes: Tensor | slice = slice(None)) -> Tensor:
        """The rows as they are."""
        return x_cg

    def encode_features(self, profile_fq: Tensor) -> Posterior:
        """q(v | p), of a gene over its profile."""
        return Posterior(*self.feature_tower.encode(profile_fq))

    def log_noise(self, z_ck: Tensor, design_cb: Tensor, genes_f: Tensor) -> Tensor:
        """Logarithm of the noise of cells c and genes f: (f,), or broadcasting against (c, f)."""
        y_cd = self.decode_cells(z_ck, design_cb) if self.dispersion.reads_cells else None
        noise: Tensor = self.dispersion(self.log_noise_g[genes_f], genes_f, y_cd, design_cb)
        return noise

    # -------------------------------------------------------------------------------------------------- the phases

    def forward(
        self, block: Block, generator: torch.Generator | None = None, *, linear: bool = True, hidden: bool = False
    ) -> PublishedTerms:
        """The terms that the model is judged by: those of its last phase."""
        if not self.embeds_genes:
            return self.cells(block, generator)
        return self.joint(block, generator, linear=linear, hidden=hidden)

    def cells(self, block: Block, generator: torch.Generator | None) -> PublishedTerms:
        """First phase: the cell VAE, W_s in the place of w."""
        q_z = self.encode_cells(block.x_cg, block.design_cb)
        y_cd = self.decode_cells(self._draw(q_z, generator), block.design_cb)
        weight_gd: Tensor = self.start_gd.weight
        main = self._cell_terms(block, y_cd, weight_gd)
        zero = y_cd.new_zeros(())
        kl = block.cell_weight * gaussian_kl(q_z.mean_rk, q_z.sd_rk).sum() if self.options.variational else zero
        return PublishedTerms(main[0], kl, zero, zero, zero, self.cell_penalty(start=True), main[1])

    def genes(self, genes_f: Tensor, target_fd: Tensor, generator: torch.Generator | None) -> PublishedTerms:
        """Second phase: the feature VAE regresses the rows of W_s, with one sigma per gene from its last layer."""
        tower = self.feature_tower
        assert tower.output is not None
        q_v = self.encode_features(self.profile_gq[genes_f])
        last_fh = tower.decoder(q_v.sample(generator))
        sigma_f1 = F.softplus(self.target_head(last_fh)) + LEAST_SD
        error_fd = target_fd - tower.output(last_fh)
        nll_fd = 0.5 * (error_fd / sigma_f1).square() + torch.log(sigma_f1) + 0.5 * math.log(2 * math.pi)
        nll = nll_fd.sum(dim=1).mean()
        kl, zero = gaussian_kl(q_v.mean_rk, q_v.sd_rk).mean(), error_fd.new_zeros(())
        squared = error_fd.square().sum(dim=1).mean()
        return PublishedTerms(nll, zero, kl, zero, zero, self.feature_penalty(target=True), squared)

    def joint(
        self, block: Block, generator: torch.Generator | None, *, linear: bool = True, hidden: bool = False
    ) -> PublishedTerms:
        """Third phase: both towers; W_s is in no term."""
        q_z = self.encode_cells(block.x_cg, block.design_cb)
        q_v = self.encode_features(self.profile_gq[block.genes_f])
        z_ck, v_gk = q_z.sample(generator), q_v.sample(generator)
        y_cd, w_gd = self.decode_cells(z_ck, block.design_cb), self.feature_tower.decode(v_gk)
        nll, squared = self._cell_terms(block, y_cd, w_gd)
        zero = nll.new_zeros(())
        return PublishedTerms(
            nll=nll,
            kl_cells=block.cell_weight * gaussian_kl(q_z.mean_rk, q_z.sd_rk).sum(),
            kl_features=block.gene_weight * gaussian_kl(q_v.mean_rk, q_v.sd_rk).sum(),
            nll_linear=self._linear_error(block, [(z_ck, v_gk)]) if linear else zero,
            nll_hidden=self._linear_error(block, self._hidden_pairs(z_ck, v_gk, block)) if hidden else zero,
            penalty=self.cell_penalty(start=False) + self.feature_penalty(target=False),
            squared_error=squared,
        )

    def keep_pretrained(self) -> None:
        """Remember the embeddings of the first two phases, before the third changes them."""
        self.pretrained_tower.load_state_dict(self.cell_tower.state_dict())
        with torch.no_grad():
            q_v = self.encode_features(self.profile_gq)
            self.pretrained_mean_gk = q_v.mean_rk.clone()
            self.pretrained_sd_gk = q_v.sd_rk.clone()

    # --------------------------------------------------------------------------------------------------- the terms

    def predictor(self, left_cd: Tensor, right_gd: Tensor) -> Tensor:
        """left.right + bias; for counts the logarithm of the softmax over genes, (c, g)."""
        eta_cg = left_cd @ right_gd.T + self.bias_g
        return F.log_softmax(eta_cg, dim=1) if self.softmax else eta_cg

    def _draw(self, q: Posterior, generator: torch.Generator | None) -> Tensor:
        return q.sample(generator) if self.options.variational else q.mean_rk

    def _cell_terms(self, block: Block, y_cd: Tensor, w_gd: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log likelihood, and squared error, sum over genes and mean over cells."""
        eta_cg = self.predictor(y_cd, w_gd)
        squared = eta_cg.new_tensor(torch.nan)
        if isinstance(block.y, Tensor):
            squared = block.cell_weight * (block.y - eta_cg).square().sum()
            if not self.options.variational:
                return squared, squared
        noise = self.dispersion(self.log_noise_g[block.genes_f], block.genes_f, y_cd, block.design_cb)
        nll_g = self.likelihood.nll([eta_cg], block.y, noise, block.log_library_c)[0]
        return block.cell_weight * nll_g.sum(), squared

    def _linear_error(self, block: Block, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Squared error of left.right + bias (counts: negative log likelihood), summed over pairs of layers."""
        total = block.x_cg.new_zeros(())
        for left, right in pairs:
            eta_cg = self.predictor(left, right)
            if isinstance(block.y, Tensor):
                total = total + (block.y - eta_cg).square().sum()
            else:
                noise_g = self.log_noise_g[block.genes_f]
                total = total + self.likelihood.nll([eta_cg], block.y, noise_g, block.log_library_c)[0].sum()
        return block.cell_weight * total

    def _hidden_pairs(self, z_ck: Tensor, v_gk: Tensor, block: Block) -> list[tuple[Tensor, Tensor]]:
        """Hidden layers of equal place and width in both decoders; the last one of the cells is the main output's."""
        if self.options.linear_decoder:
            return []
        left = self.cell_tower.layers(z_ck, block.design_cb)[:-1]
        return list(zip(left, self.feature_tower.layers(v_gk), strict=True))

    def cell_penalty(self, *, start: bool) -> Tensor:
        """Penalty of the cell tower's kernels, with `start` that of W_s as well."""
        o = self.options
        hidden = self.cell_tower.hidden_kernels()
        final_kernels: list[Tensor] = [p for name, p in self.dispersion.named_parameters() if name.startswith("weight")]
        if start:
            final_kernels.append(self.start_gd.weight)
        if o.l1_scale > o.l2_scale:
            return o.l1_scale * _total(hidden, power=1, like=self.bias_g) + _squares(
                final_kernels, o.l2_scale_final, self.bias_g
            )
        return _squares(hidden, o.l2_scale, self.bias_g) + _squares(final_kernels, o.l2_scale_final, self.bias_g)

    def feature_penalty(self, *, target: bool) -> Tensor:
        """Penalty of the feature tower's kernels, with `target` that of the second phase's noise as well."""
        o, tower = self.options, self.feature_tower
        assert tower.output is not None
        final_kernels = [tower.output.weight, *([self.target_head.weight] if target else [])]
        return _squares(tower.hidden_kernels(), o.feature_l2_scale, self.bias_g) + _squares(
            final_kernels, o.feature_l2_scale_final, self.bias_g
        )

    def trained_in(self, phase: str) -> list[nn.Parameter]:
        """Parameters that a phase moves: those that are in one of its terms."""
        noise: list[nn.Parameter] = []
        if self.options.variational:
            noise = list(self.dispersion.parameters())
            if self.dispersion.name != PerCell.name:
                noise.append(self.log_noise_g)
        cells = [*self.cell_tower.parameters(), self.bias_g, *noise]
        if phase == "cells":
            return [*cells, *self.start_gd.parameters()]
        if phase == "genes":
            return [*self.feature_tower.parameters(), *self.target_head.parameters()]
        return [*cells, *self.feature_tower.parameters()]


def _total(kernels: Sequence[Tensor], *, power: int, like: Tensor) -> Tensor:
    total = like.new_zeros(())
    for kernel in kernels:
        total = total + (kernel.abs() if power == 1 else kernel.square()).sum()
    return total


def _squares(kernels: Sequence[Tensor], scale: float, like: Tensor) -> Tensor:
    """Scale times half the squared norm of the kernels."""
    return like.new_zeros(()) if scale == 0 else 0.5 * scale * _total(kernels, power=2, like=like)
