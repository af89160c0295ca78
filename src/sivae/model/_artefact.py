"""The folder that holds a trained model: safetensors and JSON, no expression values, no cell names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sivae._beside import temporary
from sivae._errors import ArtefactError

FORMAT = 3
"""1: until 0.1. 2: dispersion, zero inflation, values read as 0 or 1, noise on the scale of v, derivative of z. 3:
recipes, validation cells that were named."""
CONFIG, WEIGHTS, TABLES = "config.json", "weights.safetensors", "tables.safetensors"


def write(
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, torch.Tensor],
    tables: dict[str, NDArray[Any]],
    *,
    overwrite: bool,
) -> None:
    """Write the folder under a temporary name beside its place, then move it there.

    Raises
    ------
    ArtefactError
        If the place is taken and `overwrite` is False, or cannot be written.
    """
    if folder.exists() and not overwrite:
        raise ArtefactError(f"{folder} exists. Choose another folder or pass overwrite=True.")
    if folder.exists() and not (folder / CONFIG).is_file():
        raise ArtefactError(
            f"{folder} exists and is not a saved model (it has no {CONFIG}), so it is not replaced. "
            "Choose another folder."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with temporary(folder, folder=True) as made:
            try:
                save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, made / WEIGHTS)
                save_file({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in tables.items()}, made / TABLES)
                text = json.dumps(config | {"format": FORMAT}, indent=1, allow_nan=True)
                (made / CONFIG).write_text(text, encoding="utf-8")
                made.chmod(0o755)
                for file in made.iterdir():
                    file.chmod(0o644)
                _move(made, folder)
            except BaseException:
                shutil.rmtree(made, ignore_errors=True)
                raise
    except (OSError, SafetensorError) as error:
        raise ArtefactError(
            f"The model could not be written to {folder}: {error}. Choose another folder, one that can be written."
        ) from error


def _move(made: Path, folder: Path) -> None:
    """Put a folder in its place. One that is there steps aside, whole, and is removed when the new one is in."""
    if not folder.exists():
        made.rename(folder)
        return
    aside = made.with_name(f"{made.name}-before")
    folder.rename(aside)
    try:
        made.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
    if aside.is_symlink():
        aside.unlink()
    else:
        shutil.rmtree(aside, ignore_errors=True)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, NDArray[Any]]]:
    """Read what `write` wrote: configuration, weights, tables.

    Raises
    ------
    ArtefactError
        If the folder is not a saved model, is damaged, or is of a newer format.
    """
    if not (folder / CONFIG).is_file():
        raise ArtefactError(
            f"{folder} is not a saved model: there is no {CONFIG} in it. Expected the folder that model.save wrote; "
            "check the path."
        )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ArtefactError(
            f"{folder / CONFIG} cannot be read: {error}. The folder is damaged: copy it again."
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ArtefactError(f"{folder / CONFIG} has no format number; it is not a siVAE model. Check the path.")
    if config["format"] > FORMAT:
        raise ArtefactError(f"{folder} has format {config['format']}; this version reads up to {FORMAT}. Update siVAE.")
    try:
        weights = load_file(folder / WEIGHTS)
        tables = {name: tensor.numpy() for name, tensor in load_file(folder / TABLES).items()}
    except (OSError, SafetensorError, ValueError) as error:
        raise ArtefactError(
            f"The weights in {folder} cannot be read: {error}. The folder is damaged: copy it again."
        ) from error
    return config, weights, tables
