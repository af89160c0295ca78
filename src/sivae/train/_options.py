"""How long and how hard to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sivae._checks import a_path, flag, names, number, one_of, whole_number


@dataclass(frozen=True, kw_only=True)
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
        Checks without a better validation loss, after the warm-up, after which training stops.
    min_improvement
        Smallest relative gain of the validation loss that counts.
    max_steps
        Steps; None lets `max_epochs`, or else the size of the data, decide.
    validation_fraction
        Share of the cells kept for validation, chosen by a hash of their names.
    validation_cells
        Names of the cells kept for validation, instead of that share: those of an earlier split, or of
        `sivae.pp.split_cells` or `sivae.pp.k_folds`. A saved model keeps hashes of them, not the names.
    max_validation_cells
        Validation cells looked at during training (all of them at the end).
    checkpoint_seconds
        Least time between two checkpoints, where there are any; they also wait until writing has taken less than a
        twentieth of the time. 0 writes one at every check.
    keep_checkpoint
        Leave the last checkpoint when training ends. The same training then has nothing left to do and gives the same
        model at once; without it a checkpoint is removed when its training has ended.
    precision
        Numbers that the perceptrons' products are made of while training: "float32", or "bfloat16", which is faster on
        devices that have it in hardware. Everything else, the loss and the validation among it, is in float32.
    on_device
        Where blocks are made: on the device that trains, from values that were copied to it once ("always"; sparse
        values in memory alone), in main memory ("never"), or ("auto") on the device where that is a CUDA one and they
        take less than half of its free memory. Blocks are the same.
    spool
        Where the values of the modelled genes are while training: in a temporary file ("always"), in memory ("never"),
        or ("auto") in a file where they lie in one, or in a Dask array, and would take more than a quarter of the
        memory that is available. The trained model is the same to the last bit.
    spool_folder
        Folder of that temporary file; the system's for temporary files if None.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=3)
    >>> options = sivae.TrainOptions(max_steps=4, checks=2, validation_fraction=0.2)
    >>> history = model.train(options=options, progress=False)
    >>> history["step"].tolist()
    [0.0, 2.0, 4.0]
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
    validation_cells: tuple[str, ...] | None = None
    max_validation_cells: int = 2000
    checkpoint_seconds: float = 30.0
    keep_checkpoint: bool = False
    precision: str = "float32"
    on_device: str = "auto"
    spool: str = "auto"
    spool_folder: str | None = None

    def __post_init__(self) -> None:
        hint = "Leave it out to take the default."
        if self.validation_cells is not None:
            object.__setattr__(
                self, "validation_cells", tuple(names("TrainOptions.validation_cells", self.validation_cells))
            )
        one_of("TrainOptions.precision", self.precision, PRECISIONS)
        one_of("TrainOptions.on_device", self.on_device, SPOOLS)
        one_of("TrainOptions.spool", self.spool, SPOOLS)
        if self.spool_folder is not None:
            object.__setattr__(self, "spool_folder", str(a_path("TrainOptions.spool_folder", self.spool_folder)))
        for name in ("checks", "patience", "max_validation_cells", "max_steps"):
            if getattr(self, name) is not None or name != "max_steps":
                whole_number(f"TrainOptions.{name}", getattr(self, name), least=1, hint=hint)
        flag("TrainOptions.keep_checkpoint", self.keep_checkpoint, hint)
        for name in ("warmup_steps", "kl_warmup_steps"):
            whole_number(f"TrainOptions.{name}", getattr(self, name), least=0, hint=hint)
        for options, allowed, expected in RANGES:
            for name in options:
                number(f"TrainOptions.{name}", getattr(self, name), allowed=allowed, expected=expected, hint=hint)


PRECISIONS: Final = ("float32", "bfloat16")
SPOOLS: Final = ("auto", "always", "never")
RANGES: Final[tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...]] = (
    (("learning_rate", "clip_norm"), lambda value: value > 0, "more than 0"),
    (
        ("skip_rate", "weight_decay", "min_improvement", "checkpoint_seconds"),
        lambda value: value >= 0,
        "at least 0",
    ),
    (("validation_fraction", "average_decay"), lambda value: 0 <= value < 1, "at least 0 and less than 1"),
)


def default_steps(n_cells: int) -> int:
    """Steps of a default training: enough for small data, a few passes for very large."""
    return int(min(max(2500, n_cells // 4), 40_000))
