"""Errors and warnings, to be caught by name; each says what was found, what was expected and what to do next."""

from sivae._errors import (
    ArtefactError,
    CellMismatchError,
    DivergedError,
    GeneMismatchError,
    MissingExtraError,
    NotTrainedError,
    OptionError,
    ProcessError,
    SetupError,
    SiVAEError,
    SiVAEWarning,
)

__all__ = [
    "ArtefactError",
    "CellMismatchError",
    "DivergedError",
    "GeneMismatchError",
    "MissingExtraError",
    "NotTrainedError",
    "OptionError",
    "ProcessError",
    "SetupError",
    "SiVAEError",
    "SiVAEWarning",
]
