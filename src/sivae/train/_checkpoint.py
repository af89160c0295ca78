"""A training that stopped half-way, kept in one file: safetensors with JSON in its header, no pickle.

The file is written beside its place and moved there, so the checkpoint before it is whole until the new one is. It
holds weights, their moving average, the best ones, the optimizer's moments and what the checks found; blocks and noise
are functions of the seed and the step (`_order`), so the step is all that is kept of them. It holds no expression
values and no names of cells.
"""

from __future__ import annotations

import json
import math
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sivae._errors import ArtefactError, some, warn

FORMAT = 1
FILE = "checkpoint.safetensors"
SHARE = 0.05
"""Largest share of the time of training that writing may take, where writing is not asked for at every check."""


@dataclass(frozen=True)
class State:
    """A training between two steps: all that the rest of it depends on."""

    step: int
    tensors: dict[str, torch.Tensor]
    record: dict[str, Any]


@final
class Checkpoint:
    """The checkpoint of one training in a folder.

    Parameters
    ----------
    folder
        Where it lies; made if it is not there.
    identity
        What must agree for a training to be the same one, as JSON can hold it.
    noted
        What should agree for the same bytes, such as the number of threads; a difference is a warning.
    seconds
        Least time between two writings; 0 writes every state that is offered.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], noted: dict[str, Any], *, seconds: float) -> None:
        self.file, self._part = folder / FILE, folder / f"{FILE}.part"
        self._identity, self._noted = _plain(identity), _plain(noted)
        self._seconds, self._cost, self._written_at = seconds, 0.0, -math.inf
        self._latest: State | None = None

    def read(self) -> State | None:
        """The state in the folder, if there is one; nothing is changed but that the folder is there afterwards.

        Raises
        ------
        ArtefactError
            If the checkpoint is damaged, of a newer format or of another training, or the folder cannot be written.
        """
        if not self.file.is_file():
            self._try_folder()
            return None
        found, tensors, crc = _load(self.file)
        if found["format"] > FORMAT:
            raise ArtefactError(
                f"{self.file} has format {found['format']}, expected up to {FORMAT}. Update sivae-tools."
            )
        if crc != _crc(found, tensors):
            raise damaged(self.file, "its checksum does not match")
        differences = _differences(found["identity"], self._identity)
        if differences:
            raise ArtefactError(
                f"{self.file} is the checkpoint of another training: {some(differences)}. Continue that one with its "
                "own data and settings, choose another folder, or remove the file."
            )
        changed = _differences(found["noted"], self._noted)
        if changed:
            warn(
                f"The checkpoint was written otherwise than it is continued ({some(changed)}). The training goes on, "
                "but its last bits may differ from those of an undisturbed one."
            )
        self._written_at = time.perf_counter()
        return State(found["step"], tensors, found["record"])

    def offer(self, state: State) -> None:
        """Remember the latest state, and write it if it is time.

        Raises
        ------
        ArtefactError
            If the first one cannot be written. Later a failure is a warning: the checkpoint before it stays.
        """
        self._latest = state
        if self._written_at == -math.inf:
            if self.file.is_file():
                raise ArtefactError(f"Another training has begun to write {self.file}. Choose another folder.")
            self._write(state)
        elif time.perf_counter() - self._written_at >= self._wait():
            self.flush()

    def flush(self) -> None:
        """Write the latest state, if it is not written yet."""
        if self._latest is not None:
            try:
                self._write(self._latest)
            except ArtefactError as error:
                warn(f"{error} The training goes on; the checkpoint before this one stays.")

    def remove(self) -> None:
        """Remove the file; the folder stays."""
        remove(self.file.parent)

    def _wait(self) -> float:
        return max(self._seconds, self._cost / SHARE) if self._seconds > 0 else 0.0

    def _write(self, state: State) -> None:
        started = time.perf_counter()
        found = {"format": FORMAT, "identity": self._identity, "noted": self._noted}
        found = _plain(found | {"step": state.step, "record": state.record})
        header = {"sivae": json.dumps(found), "crc32": str(_crc(found, state.tensors))}
        try:
            save_file(state.tensors, self._part, header)
            _sync(self._part)
            self._part.replace(self.file)
            if os.name == "posix":
                _sync(self.file.parent)
        except (OSError, SafetensorError) as error:
            self._part.unlink(missing_ok=True)
            raise ArtefactError(f"The checkpoint {self.file} cannot be written: {error}.") from error
        self._latest, self._written_at = None, time.perf_counter()
        self._cost = self._written_at - started

    def _try_folder(self) -> None:
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._part.touch()
            self._part.unlink()
        except OSError as error:
            raise ArtefactError(
                f"No checkpoint can be written to {self._part.parent}: {error}. Choose another folder."
            ) from error


def holds_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint in the folder."""
    return (folder / FILE).is_file()


def remove(folder: Path) -> None:
    """Remove the checkpoint in a folder, if there is one; the folder stays."""
    for name in (FILE, f"{FILE}.part"):
        (folder / name).unlink(missing_ok=True)


def damaged(file: Path, reason: object) -> ArtefactError:
    """The error for a file that cannot be used."""
    return ArtefactError(
        f"The checkpoint {file} cannot be read: {reason}. It is damaged: remove it to train from the start."
    )


def _load(file: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor], int]:
    try:
        with safe_open(file, framework="pt") as handle:
            header = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        found, crc = json.loads(header["sivae"]), int(header["crc32"])
        if not {"format", "identity", "noted", "step", "record"} <= set(found):
            raise ValueError("parts are missing")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise damaged(file, error or type(error).__name__) from error
    return found, tensors, crc


def _crc(found: dict[str, Any], tensors: dict[str, torch.Tensor]) -> int:
    crc = zlib.crc32(json.dumps(found, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.view(-1).numpy().data, crc)
    return crc


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    return dict(json.loads(json.dumps(value)))


def _differences(found: dict[str, Any], expected: dict[str, Any], prefix: str = "") -> list[str]:
    """Every entry that differs, in words."""
    words = []
    for key in dict.fromkeys([*found, *expected]):
        one, two = found.get(key, "nothing"), expected.get(key, "nothing")
        if isinstance(one, dict) and isinstance(two, dict):
            words += _differences(one, two, f"{prefix}{key}.")
        elif one != two:
            words.append(f"{prefix}{key} is {one!r} there and {two!r} here")
    return words


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
