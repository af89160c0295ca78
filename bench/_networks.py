"""The small networks of the publication (C.7, C.8, doi 10.1186/s13059-023-02850-y): a gene from its neighbors, all
genes from one. Bench only: the package has closed forms for both."""

from __future__ import annotations

import numpy as np
import torch

from sivae._rng import torch_generator


def predicted(
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    *,
    widths: tuple[int, ...],
    latent: int,
    iterations: int,
    batch: int,
    l2: float,
    decay: float = 0.9,
    seed: int = 0,
) -> np.ndarray:
    """What a perceptron learns of y (n, targets) from x (n, inputs), on test cells.

    ReLU, but for hidden layer `latent`, which is linear; a tenth of the units of the other hidden layers dropped;
    squared error plus `l2` times half the squared weights; Adam at 1e-3, times `decay` every 1,000 steps; weights as
    Glorot's.
    """
    sizes = (x_train.shape[1], *widths, y_train.shape[1])
    generator = torch_generator(seed, "small network")
    weights = [_glorot(a, b, generator) for a, b in zip(sizes, sizes[1:], strict=False)]
    biases = [torch.zeros(b, requires_grad=True) for b in sizes[1:]]
    optimiser = torch.optim.Adam([*weights, *biases], lr=1e-3)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1000, decay)
    x, y, new = (torch.from_numpy(np.asarray(values, np.float32)) for values in (x_train, y_train, x_test))
    for _ in range(iterations):
        cells = torch.randperm(len(x), generator=generator)[:batch]
        error = ((_passed(x[cells], weights, biases, latent, generator) - y[cells]) ** 2).mean()
        loss = error + l2 / 2 * sum((weight**2).sum() for weight in weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return np.asarray(_passed(new, weights, biases, latent, None).numpy())


def _glorot(a: int, b: int, generator: torch.Generator) -> torch.Tensor:
    bound = (6 / (a + b)) ** 0.5
    return ((torch.rand(a, b, generator=generator) * 2 - 1) * bound).requires_grad_()


def _passed(
    x: torch.Tensor,
    weights: list[torch.Tensor],
    biases: list[torch.Tensor],
    latent: int,
    generator: torch.Generator | None,
) -> torch.Tensor:
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = x @ weight + bias
        if layer < len(weights) - 1 and layer != latent:
            x = torch.relu(x)
            if generator is not None:
                x = x * (torch.rand(x.shape, generator=generator) < 0.9) / 0.9
    return x


def gene_from_neighbors(
    near: np.ndarray, gene: int, x_train: np.ndarray, x_test: np.ndarray, *, iterations: int = 3000
) -> float:
    """R2 on test cells of the published 20-20-20-5 network: a fifth of the cells a step, l2 1e-2."""
    found = predicted(
        x_train[:, near], x_train[:, [gene]], x_test[:, near],
        widths=(20, 20, 20, 5), latent=3, iterations=iterations, batch=max(1, len(x_train) // 5), l2=1e-2,
    )[:, 0]  # fmt: skip
    truth = x_test[:, gene]
    return float(1 - ((truth - found) ** 2).sum() / ((truth - x_train[:, gene].mean()) ** 2).sum())


def all_from_gene(gene: int, x_train: np.ndarray, x_test: np.ndarray, *, iterations: int) -> float:
    """Overall share of variance on test cells that the published 2-128-512-1024 network explains from one gene."""
    found = predicted(
        x_train[:, [gene]], x_train, x_test[:, [gene]],
        widths=(2, 128, 512, 1024), latent=0, iterations=iterations, batch=200, l2=5e-3, decay=0.8,
    )  # fmt: skip
    others = np.arange(x_train.shape[1]) != gene
    left = ((x_test - found) ** 2)[:, others].sum()
    return float(1 - left / ((x_test - x_train.mean(axis=0)) ** 2)[:, others].sum())
