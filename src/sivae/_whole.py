"""Files that are whole or absent: written under a temporary name, then moved."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sivae._beside import temporary
from sivae._errors import ArtefactError, SiVAEError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def check_place(path: Path, *, what: str, example: str) -> Path:
    """Refuse a place where no file can be written, before there is anything to write.

    Raises
    ------
    ArtefactError
        If it is a folder, or in no folder that can be written.
    """
    if path.is_dir():
        raise ArtefactError(f"{path} is a folder, expected a file to write. Name one in it: {path / example}")
    if not path.parent.is_dir():
        raise ArtefactError(
            f"{what} could not be written to {path}: there is no folder {path.parent}, expected one. Make it first."
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ArtefactError(
            f"{what} could not be written to {path}: expected a folder that can be written. Choose another."
        )
    return path


def write_text(path: Path, parts: Iterable[str], *, what: str) -> Path:
    """Write a text file; one that is there is replaced when the new one is whole.

    Raises
    ------
    ArtefactError
        If it cannot be written.
    """
    return write_bytes(path, (part.encode("utf-8") for part in parts), what=what)


@contextmanager
def whole_file(path: Path, *, what: str) -> Iterator[Path]:
    """Yield a temporary place beside a file; what is written there takes the file's place at the end.

    Raises
    ------
    ArtefactError
        If it cannot be written; nothing is left of it after this or any other error.
    """
    try:
        with temporary(path, folder=True) as folder:
            file = folder / path.name
            try:
                yield file
                file.replace(path)
            finally:
                file.unlink(missing_ok=True)
                folder.rmdir()
    except SiVAEError:
        raise
    except OSError as error:
        raise ArtefactError(f"{what} could not be written to {path}: {error}. Choose another place.") from error


def write_bytes(path: Path, parts: Iterable[bytes], *, what: str) -> Path:
    """Write a file; one that is there is replaced when the new one is whole.

    Raises
    ------
    ArtefactError
        If it cannot be written.
    """
    try:
        with temporary(path, folder=False) as made:
            try:
                with made.open("wb") as file:
                    file.writelines(parts)
                made.chmod(0o644)
                made.replace(path)
            except BaseException:
                made.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ArtefactError(f"{what} could not be written to {path}: {error}. Choose another place.") from error
    return path
