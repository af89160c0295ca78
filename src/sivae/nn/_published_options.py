"""Settings of the published model and its training, with the published defaults, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from sivae._checks import number, one_of, whole_number
from sivae._errors import OptionError

HINT: Final = "Leave it out to take the published default."


@dataclass(frozen=True, kw_only=True)
class PublishedOptions:
    """Settings of `SiVAE(recipe="choi2023")`: architecture, weights of the terms and the three phases of training.

    Parameters
    ----------
    model
        "sivae": both towers, three phases; "vae": the plain cell VAE, which is the first phase alone.
    encoder, decoder
        Widths of hidden layers. Encoders have ReLU after each. The decoders' last layer is linear; the feature decoder
        has all of `decoder` but the last, and a linear layer to that width.
    linear_decoder
        No hidden layers in the decoders: y = z, and the feature decoder is one linear map. With `model="vae"` it is a
        VAE with a linear decoder, as LDVAE.
    variational
        False: no divergence and no draws, and squared error for the likelihood (a deterministic autoencoder); for
        `model="vae"` alone.
    pretrain
        False skips the first two phases. A joint fit from a random start stalls easily, which is warned of.
    iterations
        Steps of each phase; `train(max_epochs=)` and `TrainOptions(max_steps=)` cap them.
    batch_size
        Cells of a step, and genes of a step of the second phase; up to 1 it is a fraction of them.
    learning_rate, decay_rate
        Adam with learning_rate * decay_rate^(step / 1000), fresh in each phase.
    l2_scale, l2_scale_final
        Penalty, scale / 2 times the squared norm of the kernel, of the cell tower's hidden layers, and of its output
        and noise heads. Biases and the layers of the posteriors are free.
    feature_l2_scale, feature_l2_scale_final
        The same of the feature tower.
    l1_scale
        Where it is above `l2_scale`, l1_scale times the absolute kernel replaces the penalty of the cell tower's
        hidden layers.
    beta, feature_beta
        Final weights of the divergences of cells (mean over cells) and genes (mean over genes).
    kl_warmup
        Steps over which these weights rise from 0, counted by each tower over all phases; up to 1 it is a fraction of
        `iterations`. At most half of the tower's steps, so that training ends at the full weights.
    hidden_gamma
        Weight of the interpretability terms of the hidden layers that both decoders have.
    clip_norm
        Largest norm of the gradient in the second phase.
    early_stopping
        End the first and the third phase when the validation loss stops improving (`TrainOptions(patience=...)`), and
        keep the best weights of the phase. Off in the published runs, which keep the last.
    feature_label_key
        Column of `obs`: a sample of cells for the feature encoder (`n_profile`) has its shares.
    feature_label
        Only cells with this label there are shown to the feature encoder.

    Examples
    --------
    >>> import sivae
    >>> sivae.PublishedOptions.preset("fetal liver").learning_rate
    0.002
    """

    model: Literal["sivae", "vae"] = "sivae"
    encoder: tuple[int, ...] = (1024, 512, 128)
    decoder: tuple[int, ...] = (128, 512, 1024)
    linear_decoder: bool = False
    variational: bool = True
    pretrain: bool = True
    iterations: int = 2000
    batch_size: float = 128
    learning_rate: float = 5e-4
    decay_rate: float = 0.9
    l2_scale: float = 1e-4
    l2_scale_final: float = 1e-4
    feature_l2_scale: float = 1e-5
    feature_l2_scale_final: float = 0.0
    l1_scale: float = 0.0
    beta: float = 1.0
    feature_beta: float = 1.0
    kl_warmup: float = 1000
    hidden_gamma: float = 0.0
    clip_norm: float = 5.0
    early_stopping: bool = False
    feature_label_key: str | None = None
    feature_label: str | None = None

    def __post_init__(self) -> None:
        one_of("PublishedOptions.model", self.model, ("sivae", "vae"))
        for name in ("encoder", "decoder"):
            widths = getattr(self, name)
            if not isinstance(widths, tuple | list) or not widths:
                raise OptionError(f"PublishedOptions.{name} is {widths!r}; expected a tuple of widths. {HINT}")
            for width in widths:
                whole_number(f"PublishedOptions.{name}", width, least=1, hint=HINT)
            object.__setattr__(self, name, tuple(int(width) for width in widths))
        if len(self.decoder) < 2:
            raise OptionError(
                f"PublishedOptions.decoder is {self.decoder!r}; expected two widths or more, of which the feature "
                "decoder has all but the last. For none write linear_decoder=True."
            )
        whole_number("PublishedOptions.iterations", self.iterations, least=1, hint=HINT)
        for names, allowed, expected in RANGES:
            for name in names:
                number(f"PublishedOptions.{name}", getattr(self, name), allowed=allowed, expected=expected, hint=HINT)
        for name in ("linear_decoder", "variational", "pretrain", "early_stopping"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"PublishedOptions.{name} is {getattr(self, name)!r}; expected True or False. {HINT}")
        if not self.variational and self.model != "vae":
            raise OptionError(
                "PublishedOptions.variational is False with model='sivae'; expected model='vae', because only a cell "
                "autoencoder can be deterministic. Write PublishedOptions(model='vae', variational=False)."
            )
        for name in ("feature_label_key", "feature_label"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), str):
                raise OptionError(f"PublishedOptions.{name} is {getattr(self, name)!r}; expected one name. Give text.")
        if self.feature_label is not None and self.feature_label_key is None:
            raise OptionError(
                f"PublishedOptions.feature_label is {self.feature_label!r}, but feature_label_key is not given; "
                "expected the column of obs that holds it. Name it."
            )

    @property
    def has_features(self) -> bool:
        """Whether there is a feature tower."""
        return self.model == "sivae"

    @classmethod
    def preset(cls, name: Literal["tutorial", "fetal liver", "ipsc", "images"]) -> PublishedOptions:
        """Settings of one of the published runs; the defaults are those of "ipsc".

        Parameters
        ----------
        name
            "tutorial", "fetal liver", "ipsc" or "images".

        Returns
        -------
        Options. The weight gamma of the run, which is an argument of the model, is not among them: the tutorial and
        the fetal liver had 0, "ipsc" 0.05, "images" 0.1.

        Examples
        --------
        >>> import sivae
        >>> sivae.PublishedOptions.preset("images").encoder
        (512, 128, 32)
        """
        one_of("name", name, PRESETS)
        return cls(**PRESETS[name])


PRESETS: Final[dict[str, dict[str, Any]]] = {
    "tutorial": {"batch_size": 0.2, "learning_rate": 1e-4, "l2_scale": 1e-3, "l2_scale_final": 5e-3},
    "fetal liver": {"learning_rate": 2e-3, "l2_scale": 1e-3, "l2_scale_final": 1e-3},
    "ipsc": {},
    "images": {
        "encoder": (512, 128, 32), "decoder": (32, 128, 512), "batch_size": 2000, "learning_rate": 1e-3,
        "decay_rate": 0.8, "l2_scale": 5e-3, "l2_scale_final": 5e-3, "kl_warmup": 0.5,
    },
}  # fmt: skip

PRESET_GAMMA: Final = {"tutorial": 0.0, "fetal liver": 0.0, "ipsc": 0.05, "images": 0.1}
"""The weight gamma of each published run."""

RANGES: Final[tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...]] = (
    (("batch_size", "learning_rate", "clip_norm"), lambda value: value > 0, "more than 0"),
    (("decay_rate",), lambda value: 0 < value <= 1, "more than 0, at most 1"),
    (
        (
            "l2_scale", "l2_scale_final", "feature_l2_scale", "feature_l2_scale_final", "l1_scale", "beta",
            "feature_beta", "kl_warmup", "hidden_gamma",
        ),
        lambda value: value >= 0,
        "at least 0",
    ),
)  # fmt: skip
