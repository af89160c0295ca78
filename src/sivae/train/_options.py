"""How long and how hard to train."""

from __future__ import annotations

from dataclasses import dataclass

from sivae._errors import OptionError


@dataclass(frozen=True)
class TrainOptions:
    """Everything about training that is not a size of a block.

    Parameters
    ----------
    learning_rate
        Peak of the schedule: linear warm-up, then a cosine down to a twentieth.
    skip_rate
        Learning rate of the encoders' linear skips, relative to the others. Slow, because the spectral start is
        near their optimum and free ones over-fit (docs/defaults.md); 0 keeps them as they start.
    warmup_steps
        Steps of the linear warm-up of the learning rate.
    weight_decay
        Decoupled weight decay of the perceptrons' kernels (skips, biases and noise are free).
    kl_warmup_steps
        Steps over which both KL weights rise linearly from 0; 0 is full weight from the first step, which the
        spectral start allows because its posterior widths are already in balance.
    clip_norm
        Largest norm of the gradient.
    average_decay
        Decay of the moving average of the weights that is validated and kept; 0 keeps the weights themselves.
    checks
        Number of times that the validation loss is looked at.
    patience
        Checks without a better validation loss after which training stops.
    min_improvement
        Smallest relative gain of the validation loss that counts.
    max_steps
        Steps; None lets `max_epochs`, or else the size of the data, decide.
    validation_fraction
        Share of the cells kept for validation, chosen by a hash of their names.
    max_validation_cells
        Validation cells looked at during training (all of them at the end).
    checkpoint_seconds
        Least time between two checkpoints, where there are any; they also wait until writing has taken less than a
        twentieth of the time. 0 writes one at every check.
    keep_checkpoint
        Leave the last checkpoint when training ends. The same training then has nothing left to do and gives the same
        model at once; without it a checkpoint is removed when its training has ended.
    """

    learning_rate: float = 2e-3
    skip_rate: float = 0.1
    warmup_steps: int = 50
    weight_decay: float = 1e-2
    kl_warmup_steps: int = 0
    clip_norm: float = 100.0
    average_decay: float = 0.98
    checks: int = 60
    patience: int = 12
    min_improvement: float = 1e-5
    max_steps: int | None = None
    validation_fraction: float = 0.1
    max_validation_cells: int = 2000
    checkpoint_seconds: float = 30.0
    keep_checkpoint: bool = False

    def __post_init__(self) -> None:
        for name in ("learning_rate", "clip_norm", "checks", "patience", "max_validation_cells", "max_steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OptionError(f"TrainOptions.{name} is {value}; expected more than 0.")
        for name in (
            "skip_rate",
            "warmup_steps",
            "weight_decay",
            "kl_warmup_steps",
            "min_improvement",
            "checkpoint_seconds",
        ):
            if not getattr(self, name) >= 0:
                raise OptionError(f"TrainOptions.{name} is {getattr(self, name)}; expected at least 0.")
        for name in ("validation_fraction", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"TrainOptions.{name} is {getattr(self, name)}; expected at least 0 and less than 1.")


def default_steps(n_cells: int) -> int:
    """Steps of a default training: enough for small data, a few passes for very large."""
    return int(min(max(2500, n_cells // 4), 40_000))
