"""One encoder-decoder of the published model: perceptrons alone, no linear skip, random start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sivae.nn._tower import Mlp, beside

LEAST_SD = 1e-5


@final
class PublishedTower(nn.Module):
    """Rows (r, p) -> latent mean and sd (r, k) -> last hidden layer -> output, where there is one.

    Hidden layers of the encoder have ReLU; mean and sd = softplus(.) + 1e-5 are linear in its last one, the sd's kernel
    starting at zero. The decoder's last layer is linear. Kernels start by Glorot's normal, biases at zero. (The
    constants that say "no skip" let it be read as a `Tower`.)
    """

    linear_mean = False

    def __init__(
        self,
        n_input: int,
        *,
        n_latent: int,
        encoder: Sequence[int],
        decoder: Sequence[int],
        generator: torch.Generator,
        n_covariates: int = 0,
        n_output: int | None = None,
    ) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.encoder = Mlp([n_input + n_covariates, *encoder, 2 * n_latent], generator=generator)
        self.decoder = Mlp([n_latent + n_covariates, *decoder], generator=generator)
        width = decoder[-1] if decoder else n_latent + n_covariates
        self.output = None if n_output is None else glorot_linear(width, n_output, generator)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                glorot(layer, generator)
        with torch.no_grad():
            heads: Tensor = self.encoder.layers[-1].weight  # type: ignore[assignment]
            # Mean and sd are two layers, so Glorot's width is that of the mean alone.
            nn.init.xavier_normal_(heads[:n_latent], generator=generator)
            heads[n_latent:] = 0.0
        self.skip_pk: Tensor
        self.input_scale: Tensor
        self.register_buffer("skip_pk", torch.zeros(n_input, n_latent), persistent=False)
        self.register_buffer("input_scale", torch.ones(()), persistent=False)

    def encode(self, x_rp: Tensor, covariates_rb: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Posterior mean and standard deviation of each row, (r, k) each."""
        output = self.encoder(beside(x_rp, covariates_rb))
        return output[:, : self.n_latent], F.softplus(output[:, self.n_latent :]) + LEAST_SD

    def decode(self, latent_rk: Tensor, covariates_rb: Tensor | None = None) -> Tensor:
        """Output of each row, or its last hidden layer."""
        last_rd: Tensor = self.decoder(beside(latent_rk, covariates_rb))
        return last_rd if self.output is None else self.output(last_rd)

    def layers(self, latent_rk: Tensor, covariates_rb: Tensor | None = None) -> list[Tensor]:
        """Every hidden layer of the decoder; all but the last after ReLU."""
        return self.decoder.each(beside(latent_rk, covariates_rb))

    def hidden_kernels(self) -> list[Tensor]:
        """Kernels of hidden layers; those of mean, sd and output are not among them."""
        hidden = [*self.encoder.layers[:-1], *self.decoder.layers]
        return [layer.weight for layer in hidden if isinstance(layer, nn.Linear)]


def glorot_linear(n_input: int, n_output: int, generator: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """A layer that begins at Glorot's normal; no other randomness than the generator's is touched."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_input, n_output, bias=bias)  # type: ignore[no-untyped-call]
    glorot(layer, generator)
    return layer


@torch.no_grad()
def glorot(layer: nn.Linear, generator: torch.Generator) -> None:
    """Glorot's normal for the kernel, zero for the bias."""
    nn.init.xavier_normal_(layer.weight, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
