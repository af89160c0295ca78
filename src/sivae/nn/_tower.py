"""One encoder-decoder: rows of a matrix to a Gaussian in the latent axes, and on to the joint layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOG_SD_RANGE = (-7.0, 1.0)


class Mlp(nn.Module):
    """Linear layers with ReLU between them and none after the last (Methods: the last hidden layer is linear).

    Of a single width it is the identity.
    """

    def __init__(self, widths: Sequence[int], *, generator: torch.Generator, layer_norm: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [_linear(a, b, generator) for a, b in zip(widths, widths[1:], strict=False)]
        self.layers = nn.ModuleList(layers or [nn.Identity()])
        self.norms = nn.ModuleList(nn.LayerNorm(width) if layer_norm else nn.Identity() for width in widths[1:-1])

    mixed = False
    """Whether products are made of bfloat16 numbers (`mixed_precision`)."""

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """The last layer; of `scale` times the row where it is given, which multiplies the product: it is smaller."""
        if not self.mixed:
            return self._forward(x, scale)
        with torch.autocast(x.device.type, torch.bfloat16):
            return self._forward(x, scale).to(x.dtype)

    def each(self, x: Tensor) -> list[Tensor]:
        """Every layer, those before the last after their ReLU; without layers the row itself."""
        found = []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number < len(self.norms):
                x = F.relu(self.norms[number](x))
            found.append(x)
        return found

    def _forward(self, x: Tensor, scale: Tensor | None) -> Tensor:
        for number, layer in enumerate(self.layers):
            if scale is not None and number == 0 and isinstance(layer, nn.Linear):
                x = F.linear(x, layer.weight) * scale + layer.bias
            else:
                x = layer(x)
            if number < len(self.norms):
                x = F.relu(self.norms[number](x))
        return x


class Tower(nn.Module):
    """Rows (r, p) -> latent mean and sd (r, k) -> joint layer (r, d).

    The encoder is a linear map (the skip, set by the spectral start) plus a multilayer perceptron whose last layer
    starts at zero, so that at step 0 the mean is exactly linear in the row. With `linear_mean` the perceptron gives
    the width of the posterior only. Covariates, where there are any, are further inputs of both perceptrons, never of
    the linear map.
    """

    def __init__(
        self,
        n_input: int,
        *,
        n_latent: int,
        encoder: Sequence[int],
        decoder: Sequence[int],
        generator: torch.Generator,
        layer_norm: bool = False,
        linear_mean: bool = False,
        n_encoded_covariates: int = 0,
        n_decoded_covariates: int = 0,
    ) -> None:
        super().__init__()
        self.n_latent, self.linear_mean = n_latent, linear_mean
        self.skip_pk = nn.Parameter(torch.zeros(n_input, n_latent))
        self.log_sd_k = nn.Parameter(torch.zeros(n_latent))
        n_output = n_latent if linear_mean else 2 * n_latent
        self.encoder = Mlp(
            [n_input + n_encoded_covariates, *encoder, n_output], generator=generator, layer_norm=layer_norm
        )
        nn.init.zeros_(self.encoder.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.encoder.layers[-1].bias)  # type: ignore[arg-type]
        self.decoder = Mlp([n_latent + n_decoded_covariates, *decoder], generator=generator)
        self.input_scale: Tensor
        self.register_buffer("input_scale", torch.ones(()))

    def encode(
        self, x_rp: Tensor, mlp_input_rp: Tensor | None = None, *, covariates_rb: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Posterior mean and standard deviation of each row, (r, k) each.

        `mlp_input_rp` replaces the row for the non-linear part (a corrupted copy in training).
        """
        source_rp = x_rp if mlp_input_rp is None else mlp_input_rp
        if covariates_rb is not None:
            covariates_rb = covariates_rb / self.input_scale
        output = self.encoder(beside(source_rp, covariates_rb), self.input_scale)
        # A product with few columns is several times slower than its transpose, here and backward.
        mean_rk, log_sd_rk = (self.skip_pk.T.contiguous() @ x_rp.T).T, output[:, -self.n_latent :]
        if not self.linear_mean:
            mean_rk = mean_rk + output[:, : self.n_latent]
        return mean_rk, bounded_sd(self.log_sd_k + log_sd_rk)

    def decode(self, latent_rk: Tensor, covariates_rb: Tensor | None = None) -> Tensor:
        """Joint layer of each row, (r, d)."""
        joint_rd: Tensor = self.decoder(beside(latent_rk, covariates_rb))
        return joint_rd

    def layers(self, latent_rk: Tensor, covariates_rb: Tensor | None = None) -> list[Tensor]:
        """Every layer of the decoder, the joint layer last."""
        return self.decoder.each(beside(latent_rk, covariates_rb))


@contextmanager
def mixed_precision(module: nn.Module, *, on: bool) -> Iterator[None]:
    """Let the perceptrons of a module make their products of bfloat16 numbers inside the context.

    Weights, the linear maps, the predictor and the loss stay in float32.
    """
    perceptrons = [part for part in module.modules() if isinstance(part, Mlp)]
    for part in perceptrons:
        part.mixed = on
    try:
        yield
    finally:
        for part in perceptrons:
            part.mixed = False


def beside(row_rp: Tensor, covariates_rb: Tensor | None) -> Tensor:
    """The row with its covariates as further columns; leading axes may differ, as for a cell with many genes hidden."""
    if covariates_rb is None:
        return row_rp
    return torch.cat([row_rp, covariates_rb.expand(*row_rp.shape[:-1], -1)], dim=-1)


def bounded_sd(log_sd: Tensor) -> Tensor:
    """Standard deviation with its logarithm kept in a range where nothing overflows."""
    return torch.exp(log_sd.clamp(*LOG_SD_RANGE))


def _linear(n_input: int, n_output: int, generator: torch.Generator) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_input, n_output)  # type: ignore[no-untyped-call]
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
