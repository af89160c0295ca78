"""What makes a training the same one as that which wrote a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sivae.data._expression import Expression


def of_names(names: Iterable[str]) -> str:
    """Number of names, and a hash of them in the order given."""
    digest, n = hashlib.sha256(), 0
    for name in names:
        digest.update(f"\n{name}".encode() if n else str(name).encode())
        n += 1
    return f"{n} with sha256 {digest.hexdigest()[:16]}"


def of_data(
    genes: Iterable[str], training_cells: Iterable[str], validation_cells: Iterable[str], values: str
) -> dict[str, Any]:
    """The data's part of the identity, entry by entry, so that an error can say which differs."""
    cells = {"training_cells": of_names(training_cells), "validation_cells": of_names(validation_cells)}
    return {"genes": of_names(genes), **cells, "values": values}


def of_values(training: Expression, validation: Expression | None, stored_gq: NDArray[np.float32] | None) -> str:
    """Hash of what is at hand anyway: libraries of cells, mean, sd and share of genes, covariates, profiles in `varm`.

    Not every value enters: cells that trade values which leave all of these as they were are not told apart.
    """
    digest = hashlib.sha256(np.float64(training.scaling.target).tobytes())
    scaling = training.scaling
    arrays = [training.library_n, scaling.mean_g, scaling.sd_g, scaling.share_g, training.design_nb]
    if validation is not None:
        arrays += [validation.library_n, validation.design_nb]
    if stored_gq is not None:
        arrays.append(stored_gq)
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return f"sha256 {digest.hexdigest()[:16]}"


def noted(device: torch.device, versions: dict[str, str]) -> dict[str, Any]:
    """What the last bits of a training depend on."""
    return {"threads": torch.get_num_threads(), "device": device.type, "versions": versions}
