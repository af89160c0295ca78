"""Files and folders of a run: read with plain errors, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from sivae._beside import temporary
from sivae._errors import ArtefactError

FORMAT: Final = 2
"""Of `run.json`. 1: until 0.2. 2: checksums of every file, hashes of results, machine and threads. Each has an example
in tests/archive."""
RECORD, CELLS, MODEL, TABLES, FIGURES = "run.json", "adata.h5ad", "model", "tables", "figures"
REPORT, EXPLORER = "report.html", "explorer.html"
COHORT = "cohort"
"""Kind of a run over individuals, in its record."""


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or of the sorted names and contents of a folder.

    Raises
    ------
    ArtefactError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for file in [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file()):
            if file != path:
                digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as handle:
                for block in iter(lambda: handle.read(1 << 20), b""):
                    digest.update(block)
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error}. Check that it is in place and may be read.") from error
    return digest.hexdigest()


def hashes(data: Path, gene_sets: str | None) -> dict[str, str]:
    """SHA-256 of what a run is made of, as its record names them."""
    sets = {} if gene_sets is None else {"gene_sets_sha256": file_hash(Path(gene_sets))}
    return {"sha256": file_hash(data)} | sets


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in plain words that the files of a run cannot be written.

    Raises
    ------
    ArtefactError
        If so.
    """
    try:
        yield
    except ArtefactError as error:
        raise ArtefactError(f"{path} could not be written, and nothing is left of it: {error}") from error
    except OSError as error:
        raise ArtefactError(
            f"{path} could not be written, and nothing is left of it: {error}. Check that there is room, or choose "
            "another place with -o."
        ) from error


def refuse_existing(path: Path, option: str = "-o") -> None:
    """Refuse a place that is taken."""
    if os.path.lexists(path):
        raise ArtefactError(
            f"{path} exists, expected a new name: nothing is overwritten. Choose another with {option}."
        )


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that becomes it at the end, or vanishes with the first error."""
    with _beside(path, "-o") as folder:
        yield folder
        refuse_existing(path)
        folder.chmod(0o755)
        folder.rename(path)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield the name of a file to write, which becomes `path` at the end, or vanishes with the first error."""
    with _beside(path, "-o") as folder:
        file = folder / path.name
        try:
            yield file
            refuse_existing(path)
            file.rename(path)
            folder.rmdir()
        except OSError as error:
            if isinstance(error, ArtefactError):
                raise
            raise ArtefactError(f"{path} cannot be written: {error}. Choose another place with -o.") from error


def check_place(path: Path) -> None:
    """Refuse a place that is taken or cannot be written, before there is anything to write; nothing stays behind."""
    with suppress(_Tried), _beside(path, "-o"):
        raise _Tried


class _Tried(Exception):
    """The place can be written."""


@contextmanager
def _beside(path: Path, option: str) -> Iterator[Path]:
    """Yield a new folder beside `path`; it and the folders made for it vanish with the first error."""
    refuse_existing(path, option)
    made: list[Path] = []
    with ExitStack() as stack:
        try:
            made = [parent for parent in [path.parent, *path.parent.parents] if not parent.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(temporary(path, folder=True))
        except OSError as error:
            _remove_empty(made)
            raise ArtefactError(
                f"{path} cannot be written: {error}; expected a folder that can be. Choose another place with {option}."
            ) from error
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            _remove_empty(made)
            raise


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
