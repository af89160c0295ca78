"""The model on one page: two towers, one predictor, one objective. Read this first.

Axes: c cells of a block, g all modelled genes, f genes of a block, k latent, d joint, q profile, b covariate columns.

    cell tower      x_cg, design_cb -> z_ck ~ N(mean, sd);  z_ck, design_cb -> h_cd
    feature tower   p_fq -> v_fk ~ N(mean, sd) -> w_fd
    predictor       eta_cf = bias_f + design_cb offset_fb + s_cf (z_ck . v_fk + h_cd . w_fd)     "residual"
                    eta_cf = bias_f + design_cb offset_fb + s_cf (h_cd . w_fd)                   "published"
    linear          eta_cf = bias_f + design_cb offset_fb + s_cf (z_ck . v_fk)
    noise           log noise_f, or with a part that depends on batch or cell (`_dispersion.py`)

s_cf is s_f times, for the Normal, the gain of the cell's batch: a batch can stretch the log values of a gene.

Source: Choi, Li, Quon, Genome Biology 2023, 24:29, Methods (doi 10.1186/s13059-023-02850-y), which has the predictor
"published"; the linear part, the scale s and the profiles are this package's (docs/how_it_works.md gives the reasons).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from sivae._block import Block
from sivae._checks import flag, number, whole_number
from sivae._errors import OptionError
from sivae.nn._dispersion import make_dispersion
from sivae.nn._likelihoods import Likelihood, ZeroInflatedNegativeBinomial
from sivae.nn._objective import Terms, gaussian_kl
from sivae.nn._tower import Tower
from sivae.nn._two_towers import Posterior, TwoTowers


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes and regularisation of the two towers.

    Parameters
    ----------
    cell_encoder, feature_encoder
        Widths of the hidden layers of the encoders.
    cell_decoder, feature_decoder
        Widths of the hidden layers of the decoders, before the joint layer.
    n_joint
        Width d of the joint layer, whose product h.w is the non-linear part of the predictor.
    linear_features
        The mean of a gene's posterior is linear in its profile; its width is not. A perceptron in the mean learns the
        noise of rarely seen genes (docs/defaults.md). With profiles from `varm` it changes little: on planted arrays
        that were warped, folded or periodic functions of the loadings, variance explained of genes never trained on was
        .158 to .182 linear and .160 to .182 with a perceptron (.168 and .181 at most apart, periodic).
    input_dropout
        Share of a cell's genes hidden from the non-linear part of its encoder at each step.
    layer_norm
        Normalise the hidden layers of the encoders.
    encode_covariates, decode_covariates
        Give the covariate columns to the perceptron of the cell encoder, and to the cell decoder. (The encoder always
        takes off their shift and gain, and the predictor always has an offset per gene and column.) With both, the
        model can code the same kind of cell differently in each batch, and does where batches hold other shares of the
        kinds (docs/defaults.md).
    sigma_floor
        Smallest noise sd of a gene under the Normal likelihood, in units of the gene's own sd.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> small = sivae.Architecture(cell_encoder=(32,), n_joint=16, input_dropout=0)
    >>> sivae.SiVAE(adata, n_latent=3, architecture=small).options.architecture.n_joint
    16
    """

    cell_encoder: tuple[int, ...] = (128,)
    feature_encoder: tuple[int, ...] = (128,)
    cell_decoder: tuple[int, ...] = (128, 128)
    feature_decoder: tuple[int, ...] = (128, 128)
    n_joint: int = 64
    linear_features: bool = True
    input_dropout: float = 0.1
    layer_norm: bool = True
    encode_covariates: bool = False
    decode_covariates: bool = True
    sigma_floor: float = 0.3

    def __post_init__(self) -> None:
        for name in ("cell_encoder", "feature_encoder", "cell_decoder", "feature_decoder"):
            widths = getattr(self, name)
            if not isinstance(widths, tuple | list):
                raise OptionError(f"Architecture.{name} is {widths!r}; expected a tuple of widths. Write ({widths},).")
            for width in widths:
                whole_number(f"Architecture.{name}", width, least=1, hint="Give widths of at least 1.")
        whole_number("Architecture.n_joint", self.n_joint, least=1, hint="64 is the default.")
        for name in ("linear_features", "layer_norm", "encode_covariates", "decode_covariates"):
            flag(f"Architecture.{name}", getattr(self, name), "Leave it out to take the default.")
        number(
            "Architecture.input_dropout",
            self.input_dropout,
            allowed=lambda share: 0 <= share < 1,
            expected="at least 0, less than 1",
            hint="0.1 is the default.",
        )
        number(
            "Architecture.sigma_floor",
            self.sigma_floor,
            allowed=lambda floor: floor > 0,
            expected="more than 0",
            hint="0.3 is the default.",
        )


@final
class SiVAEModule(TwoTowers):
    """Both towers, the predictor and the objective of a block."""

    cell_tower: Tower
    feature_tower: Tower

    def __init__(
        self,
        profile_gq: Tensor,
        *,
        n_latent: int,
        n_design: int,
        likelihood: Likelihood,
        decoder: str,
        architecture: Architecture,
        generator: torch.Generator,
        dispersion: str = "gene",
        n_batches: int = 0,
    ) -> None:
        super().__init__()
        n_genes, n_profile = profile_gq.shape
        self.likelihood, self.residual, self.architecture = likelihood, decoder == "residual", architecture
        a = architecture
        self.encodes_covariates, self.decodes_covariates = a.encode_covariates, a.decode_covariates
        self.n_joint = a.n_joint
        self.cell_tower = Tower(
            n_genes,
            n_latent=n_latent,
            encoder=a.cell_encoder,
            decoder=(*a.cell_decoder, a.n_joint),
            generator=generator,
            layer_norm=a.layer_norm,
            n_encoded_covariates=n_design * a.encode_covariates,
            n_decoded_covariates=n_design * a.decode_covariates,
        )
        self.feature_tower = Tower(
            n_profile,
            n_latent=n_latent,
            encoder=a.feature_encoder,
            decoder=(*a.feature_decoder, a.n_joint),
            generator=generator,
            layer_norm=a.layer_norm,
            linear_mean=a.linear_features,
        )
        self.bias_g = nn.Parameter(torch.zeros(n_genes))
        self.offset_gb = nn.Parameter(torch.zeros(n_genes, n_design))
        self.log_noise_g = nn.Parameter(torch.zeros(n_genes))
        self.dispersion = make_dispersion(dispersion, n_genes=n_genes, n_batches=n_batches, n_joint=a.n_joint)
        inflated = likelihood.name == ZeroInflatedNegativeBinomial.name
        self.zero_logit_g = nn.Parameter(torch.zeros(n_genes)) if inflated else None
        self.register_buffer("profile_gq", profile_gq, persistent=False)
        self.register_buffer("scale_g", torch.ones(n_genes))  # s_g
        self.register_buffer("shift_bg", torch.zeros(n_design, n_genes))  # what the encoder subtracts per covariate
        self.register_buffer("log_gain_bg", torch.zeros(n_design, n_genes))  # what it divides by, in logarithms
        self.register_buffer("used_k", torch.ones(n_latent))  # 0 closes an axis with nothing to say

    def encode_cells(self, x_cg: Tensor, design_cb: Tensor, generator: torch.Generator | None = None) -> Posterior:
        """q(z | x): a cell over all genes; with a generator, some genes are hidden from the non-linear part."""
        x_cg = self.without_covariates(x_cg, design_cb)
        rate = self.architecture.input_dropout
        corrupted_cg = None
        if self.training and generator is not None and rate > 0:
            corrupted_cg = _with_hidden(x_cg, rate, generator)
        encoded_cb = design_cb if self.encodes_covariates else None
        return self._closed(*self.cell_tower.encode(x_cg, corrupted_cg, covariates_rb=encoded_cb))

    def decode_cells(self, z_ck: Tensor, design_cb: Tensor) -> Tensor:
        """Joint layer h of cells, (c, d)."""
        return self.cell_tower.decode(z_ck, design_cb if self.decodes_covariates else None)

    def cell_layers(self, z_ck: Tensor, design_cb: Tensor) -> list[Tensor]:
        """Layers of the cell decoder, h last, (c, .) each."""
        return self.cell_tower.layers(z_ck, design_cb if self.decodes_covariates else None)

    def feature_layers(self, v_fk: Tensor) -> list[Tensor]:
        """Layers of the feature decoder, w last, (f, .) each."""
        return self.feature_tower.layers(v_fk)

    def without_covariates(self, x_cg: Tensor, design_cb: Tensor, genes: Tensor | slice = slice(None)) -> Tensor:
        """Rows without the linear effect of their covariates, (c, g); the rows may be of some `genes` alone."""
        if design_cb.shape[1] == 0:
            return x_cg
        shift_bg, log_gain_bg = self.shift_bg[:, genes], self.log_gain_bg[:, genes]
        return (x_cg - design_cb @ shift_bg) * torch.exp(-design_cb @ log_gain_bg)

    def encode_features(self, profile_fq: Tensor) -> Posterior:
        """q(v | p): a gene over its profile."""
        return self._closed(*self.feature_tower.encode(profile_fq))

    def _closed(self, mean_rk: Tensor, sd_rk: Tensor) -> Posterior:
        """On an unused axis the posterior is the prior, so that it costs nothing and nothing is read from it."""
        return Posterior(mean_rk * self.used_k, sd_rk * self.used_k + (1 - self.used_k))

    def predict(self, z_ck: Tensor, v_fk: Tensor, design_cb: Tensor, genes_f: Tensor) -> tuple[Tensor, Tensor]:
        """Full and linear predictor of cells c and genes f, (c, f) each."""
        z_ck, v_fk = z_ck * self.used_k, v_fk * self.used_k
        h_cd, w_fd = self.decode_cells(z_ck, design_cb), self.feature_tower.decode(v_fk)
        scale_f1 = self.scale_g.index_select(0, genes_f)[:, None]
        start = self.bias_g.index_select(0, genes_f)  # (f,), or (c, f) where there are covariates
        if design_cb.shape[1]:
            start = start + design_cb @ self.offset_gb.index_select(0, genes_f).T
        if design_cb.shape[1] and not self.likelihood.counts:
            gain_cf = torch.exp(design_cb @ self.log_gain_bg[:, genes_f])
            linear_cf = start + gain_cf * (z_ck @ (scale_f1 * v_fk).T)
            product_cf = gain_cf * (h_cd @ (scale_f1 * w_fd).T)
            return (linear_cf if self.residual else start) + product_cf, linear_cf
        linear_cf = torch.addmm(start, z_ck, (scale_f1 * v_fk).T)
        return torch.addmm(linear_cf if self.residual else start, h_cd, (scale_f1 * w_fd).T), linear_cf

    def log_noise(self, z_ck: Tensor, design_cb: Tensor, genes_f: Tensor) -> Tensor:
        """Logarithm of the noise of cells c and genes f: (f,), or broadcasting against (c, f)."""
        h_cd = self.decode_cells(z_ck * self.used_k, design_cb) if self.dispersion.reads_cells else None
        noise: Tensor = self.dispersion(self.log_noise_g.index_select(0, genes_f), genes_f, h_cd, design_cb)
        return noise

    def forward(self, block: Block, generator: torch.Generator | None = None, *, linear: bool = True) -> Terms:
        """The terms of the objective for one block; posterior means instead of draws where no generator is given.

        `linear` False skips the interpretability term (its value is then zero).
        """
        q_z = self.encode_cells(block.x_cg, block.design_cb, generator)
        q_v = self.encode_features(self.profile_gq.index_select(0, block.genes_f))
        z_ck, v_fk = q_z.sample(generator), q_v.sample(generator)
        eta_cf, linear_cf = self.predict(z_ck, v_fk, block.design_cb, block.genes_f)
        etas = [eta_cf, linear_cf] if linear else [eta_cf]
        log_noise = self.log_noise(z_ck, block.design_cb, block.genes_f)
        zero_logit_f = self.zero_logit(block.genes_f)
        nll_f = self.likelihood.nll(etas, block.y, log_noise, block.log_library_c, zero_logit_f)
        n_genes = len(self.bias_g)
        per_entry = n_genes * block.cell_weight * block.gene_weight
        return Terms(
            nll=per_entry * nll_f[0].sum(),
            kl_cells=block.cell_weight * gaussian_kl(q_z.mean_rk, q_z.sd_rk).sum(),
            kl_features=block.gene_weight * gaussian_kl(q_v.mean_rk, q_v.sd_rk).sum(),
            nll_linear=per_entry * nll_f[1].sum() if linear else eta_cf.new_zeros(()),
        )


def _with_hidden(x_cg: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """A copy in which each entry is zero with probability `rate`, independently.

    A Poisson number of positions, of mean -log(1 - rate) an entry, is drawn with replacement: how often each entry is
    drawn is then Poisson and independent of the others. Many fewer random numbers than one an entry.
    """
    mean = torch.tensor(-math.log1p(-rate) * x_cg.numel(), dtype=torch.float64)
    n_drawn = int(torch.poisson(mean, generator=generator))
    at = torch.empty(n_drawn, dtype=torch.int64).random_(0, max(1, x_cg.numel()), generator=generator)
    hidden_cg = x_cg.clone(memory_format=torch.contiguous_format)
    hidden_cg.view(-1).index_fill_(0, at.to(x_cg.device), 0.0)
    return hidden_cg
