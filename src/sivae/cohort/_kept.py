"""Results of individuals on disk: one file each, whole or absent, with a fingerprint of what it was made from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sivae._errors import ArtefactError
from sivae._whole import write_bytes

FORMAT: Final = 1
HEADER: Final = "sivae"
"""Key of the JSON text in the file's header: format, fingerprint, facts, notes, checksum of the arrays."""


@dataclass(frozen=True)
class Result:
    """What a task found for one individual.

    Parameters
    ----------
    arrays
        Flat arrays of numbers or booleans, by name.
    facts
        What JSON can hold.
    notes
        Texts of the warnings given on the way.
    """

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()


def digest(*arrays: NDArray[Any]) -> str:
    """Hash of arrays: kinds, shapes and values."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        values = np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()[:32]


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Hash of everything that a result depends on, the version of this package included."""
    try:
        package = version("sivae-tools")
    except PackageNotFoundError:
        package = "unknown"
    text = json.dumps({"format": FORMAT, "version": package, "identity": identity}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def place(folder: Path, name: str) -> Path:
    """The file of an individual, whatever its name is made of."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:60]
    return folder / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.safetensors"


def make_folder(folder: Path) -> Path:
    """The folder, made where there is none.

    Raises
    ------
    ArtefactError
        If it cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtefactError(
            f"Results could not be kept in {folder}: {error}. Expected a folder that can be written; choose another."
        ) from error
    return folder


def write(path: Path, result: Result, print_of_inputs: str) -> None:
    """Write a result and the fingerprint of its inputs.

    Raises
    ------
    ArtefactError
        If it cannot be written.
    """
    from safetensors.numpy import save

    header = {
        "format": FORMAT,
        "fingerprint": print_of_inputs,
        "checksum": _checksum(result.arrays),
        "facts": result.facts,
        "notes": list(result.notes),
    }
    write_bytes(path, [save(result.arrays, {HEADER: json.dumps(header)})], what="The result of an individual")


def read(path: Path, print_of_inputs: str) -> Result | None:
    """Read a result of these very inputs; None where there is none.

    Raises
    ------
    ArtefactError
        If the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()[HEADER])
            if header["format"] != FORMAT or header["fingerprint"] != print_of_inputs:
                return None
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if header["checksum"] != _checksum(arrays):
            raise ValueError("its numbers are not those that were written")
        return Result(arrays, header["facts"], tuple(header["notes"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path} is damaged ({type(error).__name__}: {error}).") from error


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    names = sorted(arrays)
    return digest(*(arrays[name] for name in names)) + digest(np.array(names, dtype=np.str_))
