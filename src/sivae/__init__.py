"""siVAE: cells and genes in one map, so that genes explain the axes on which cells lie.

Choi, Li, Quon. Genome Biology 24:29 (2023), doi 10.1186/s13059-023-02850-y.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sivae import cohort, datasets, errors, explorer, io, pl, pp, report, tl
    from sivae.model._ensemble import ensemble
    from sivae.model._sivae import SiVAE
    from sivae.nn._module import Architecture
    from sivae.nn._published_options import PublishedOptions
    from sivae.train._options import TrainOptions

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "PublishedOptions",
    "SiVAE",
    "TrainOptions",
    "__version__",
    "cohort",
    "datasets",
    "ensemble",
    "errors",
    "explorer",
    "io",
    "pl",
    "pp",
    "report",
    "tl",
]

_OBJECTS = {
    "SiVAE": "sivae.model._sivae",
    "Architecture": "sivae.nn._module",
    "PublishedOptions": "sivae.nn._published_options",
    "TrainOptions": "sivae.train._options",
    "ensemble": "sivae.model._ensemble",
}


def __getattr__(name: str) -> Any:
    # Nothing heavy is imported until it is used.
    if name in _OBJECTS:
        return getattr(importlib.import_module(_OBJECTS[name]), name)
    if name in __all__:
        return importlib.import_module(f"sivae.{name}")
    raise AttributeError(f"module 'sivae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
