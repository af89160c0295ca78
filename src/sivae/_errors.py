"""Errors and warnings, each saying what was found, what was expected and what to do next.

SiVAEError
|-- SetupError            the AnnData does not hold what set-up asks for (also a ValueError)
|-- GeneMismatchError     genes of the data and of the model do not match (also a KeyError)
|-- CellMismatchError     training cells are needed and not there (also a KeyError)
|-- OptionError           an option has a value that cannot work (also a ValueError)
|-- NotTrainedError       a result is asked for before train() (also a RuntimeError)
|-- DivergedError         training met a value that is not finite (also a FloatingPointError)
|-- ArtefactError         a saved model or run cannot be read or written (also an OSError)
|-- ProcessError          another process of the same training has failed (also a RuntimeError)
`-- MissingExtraError     an optional dependency is not installed (also an ImportError)
SiVAEWarning              (a UserWarning)
"""

from __future__ import annotations

import warnings


class SiVAEError(Exception):
    """Root of every error that siVAE raises on purpose."""

    everywhere = False
    """Raised in every process of a training alike, so that the first one's word is enough."""

    def __str__(self) -> str:
        # KeyError would print the repr of its message.
        return str(self.args[0]) if self.args else ""


class SetupError(SiVAEError, ValueError):
    """The AnnData does not hold what set-up asks for."""


class GeneMismatchError(SiVAEError, KeyError):
    """Genes of the data and of the model do not match."""


class CellMismatchError(SiVAEError, KeyError):
    """Training cells are needed and are not there."""


class OptionError(SiVAEError, ValueError):
    """An option has a value that cannot work."""


class NotTrainedError(SiVAEError, RuntimeError):
    """A result is asked for before `train()`."""


class DivergedError(SiVAEError, FloatingPointError):
    """Training met a value that is not finite."""


class ArtefactError(SiVAEError, OSError):
    """A saved model or run cannot be read or written."""


class ProcessError(SiVAEError, RuntimeError):
    """Another process of the same training has failed, or is gone."""


class MissingExtraError(SiVAEError, ImportError):
    """An optional dependency is not installed."""


class SiVAEWarning(UserWarning):
    """Something the user should know that does not stop the work."""


def warn(message: str) -> None:
    """Issue a `SiVAEWarning` that points at the caller of the public function."""
    warnings.warn(message, SiVAEWarning, stacklevel=3)


def some(names: object, limit: int = 5) -> str:
    """Write the first few of many names: "A, B, C, D, E and 7 more"."""
    listed = [str(name) for name in names]  # type: ignore[attr-defined]
    text = ", ".join(listed[:limit])
    return text if len(listed) <= limit else f"{text} and {len(listed) - limit} more"
