"""The folder that holds a trained model: safetensors and JSON, no expression values, no cell names."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from sivae._beside import temporary
from sivae._errors import ArtefactError, some
from sivae._whole import SUMS, read_regular, read_sums, write_sums

FORMAT: Final = 4
"""1: until 0.1. 2: dispersion, zero inflation, values read as 0 or 1, noise on the scale of v, derivative of z. 3:
recipes, validation cells that were named. 4: checksums, a model card. Each has an example in tests/archive."""
FIRST_WITH_SUMS: Final = 4
CONFIG, WEIGHTS, TABLES, CARD = "config.json", "weights.safetensors", "tables.safetensors", "README.md"
TYPES: Final = (torch.float32, torch.float64)


def write(
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, torch.Tensor],
    tables: dict[str, NDArray[Any]],
    *,
    card: str,
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
                (made / CARD).write_text(card, encoding="utf-8")
                write_sums(made)
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
    """Read what `write` wrote: configuration, weights, tables; each file is read once, checked, then taken apart.

    Raises
    ------
    ArtefactError
        If the folder is not a saved model, is damaged, or is of a newer format; the file is named.
    """
    if not any(os.path.lexists(folder / name) for name in (CONFIG, SUMS)):
        raise ArtefactError(
            f"{folder} is not a saved model: there is no {CONFIG} in it. Expected the folder that model.save wrote; "
            "check the path."
        )
    sums = read_sums(folder) if os.path.lexists(folder / SUMS) else None
    config = _config(folder / CONFIG, _content(folder, CONFIG, sums))
    if config["format"] > FORMAT:
        raise ArtefactError(f"{folder} has format {config['format']}; this version reads up to {FORMAT}. Update siVAE.")
    if config["format"] >= FIRST_WITH_SUMS:
        if sums is None:
            raise ArtefactError(f"Found no {SUMS} in {folder}: the folder is damaged. Copy it again.")
        _content(folder, CARD, sums)
    weights = _tensors(folder / WEIGHTS, _content(folder, WEIGHTS, sums))
    tables = _tensors(folder / TABLES, _content(folder, TABLES, sums))
    return config, weights, {name: tensor.numpy() for name, tensor in tables.items()}


def _content(folder: Path, name: str, sums: dict[str, str] | None) -> bytes:
    """A file's bytes, checked where there are sums."""
    raw = read_regular(folder / name, within=folder)
    if sums is not None and sums.get(name) != hashlib.sha256(raw).hexdigest():
        raise ArtefactError(
            f"{folder / name} is not as it was written: its SHA-256 is not that in {SUMS}. The folder is damaged: copy "
            "it again. Notes of your own belong in another file."
        )
    return raw


def _config(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        config = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}. The folder is damaged: copy it again.") from error
    number = config.get("format") if isinstance(config, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ArtefactError(f"{path} has no format number; it is not a siVAE model. Check the path.")
    return dict(config)


def _tensors(path: Path, raw: bytes) -> dict[str, torch.Tensor]:
    try:
        found = load(raw)
        strange = [name for name, tensor in found.items() if tensor.dtype not in TYPES]
    except Exception as error:  # safetensors raises what it likes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtefactError(
            f"The numbers in {path} cannot be read: {reason}. The folder is damaged: copy it again."
        ) from error
    if strange:
        raise ArtefactError(
            f"{path} holds {some(strange)} as {found[strange[0]].dtype}, expected {some(TYPES)}. The folder is "
            "damaged: copy it again."
        )
    return found
