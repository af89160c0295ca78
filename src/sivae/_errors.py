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

import re
import sys
import warnings
from pathlib import Path
from typing import Final

PACKAGE: Final = str(Path(__file__).parent)
LONGEST_WORD: Final = 250
"""Letters of a name that a message shows in full: names come from data."""


class SiVAEError(Exception):
    """Root of every error that siVAE raises on purpose."""

    everywhere = False
    """Raised in every process of a training alike, so that the first one's word is enough."""

    def __str__(self) -> str:
        # KeyError would print the repr of its message.
        return one_line(str(self.args[0])) if self.args else ""


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
    """Issue a `SiVAEWarning` that points at the first line outside of the package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(one_line(message), SiVAEWarning, stacklevel=level)


def one_line(text: str) -> str:
    """Text that holds names from data, as one line: what is no letter is written out, endless words are cut."""
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda word: f"{word[0][:100]}...{word[0][-50:]}", text)


def some(names: object, limit: int = 5) -> str:
    """Write the first few of many names: "A, B, C, D, E and 7 more"."""
    listed = [str(name) for name in names]  # type: ignore[attr-defined]
    text = ", ".join(listed[:limit])
    return text if len(listed) <= limit else f"{text} and {len(listed) - limit} more"
