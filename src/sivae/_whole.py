"""Files that are whole or absent: written under a temporary name, then moved; and sums that say if they still are.

The sums of a folder are a file that `sha256sum -c` reads as well. Its last line, to that program a comment, is the sum
of the lines before it, so that damage to the sums is told from damage to a file. They show damage, not intent: whoever
changes a file on purpose can write its sum anew.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from sivae._beside import temporary
from sivae._errors import ArtefactError, SiVAEError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SUMS: Final = "checksums.sha256"
"""Name of the file with the sums of a folder."""
OWN: Final = "# sha256 of the lines above: "
LINE: Final = re.compile(r"([0-9a-f]{64})  ([^\x00-\x1f\x7f\\]+)")
MISSING, CHANGED, UNLISTED, OUTSIDE = "missing", "changed", "not listed", "a link out of the folder"
"""What can be found of a file beside "as written"."""


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


# ---------------------------------------------------------------------------------------------------------------- sums


def sha256(path: Path) -> str:
    """SHA-256 of a file.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def names_hash(names: Iterable[str]) -> str:
    """SHA-256 of names, sorted and joined by line ends."""
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogatepass")).hexdigest()


def write_sums(folder: Path) -> None:
    """Write the sums of all files in a folder that is not in its place yet."""
    sums = {name: sha256(folder / name) for name in _files(folder)}
    (folder / SUMS).write_text(_render(sums), encoding="utf-8")


def renew_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the sums of some files anew, the others as they are; nothing where a folder has no sums.

    Raises
    ------
    ArtefactError
        If the sums there are damaged, or cannot be written.
    """
    if (folder / SUMS).exists():
        sums = read_sums(folder) | {name: sha256(folder / name) for name in names}
        write_text(folder / SUMS, [_render(sums)], what="The checksums")


def read_sums(folder: Path) -> dict[str, str]:
    """Sums by name of file; names are relative, with /, and stay in the folder.

    Raises
    ------
    ArtefactError
        If they are missing or damaged.
    """
    path = folder / SUMS
    try:
        found = read_regular(path, within=folder).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtefactError(_damaged_sums(path)) from error
    rows = [LINE.fullmatch(line) for line in found.split("\n")[:-2]]
    sums = {row[2]: row[1] for row in rows if row is not None}
    if found != _render(sums):
        raise ArtefactError(_damaged_sums(path))
    for name in sums:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or place.as_posix() != name or ":" in name:
            raise ArtefactError(f"{path} lists {name!r}, which is no file of the folder. Do not use this folder.")
    return sums


def check_sums(folder: Path) -> dict[str, str]:
    """What was found of each file, by name: "" as written, or `MISSING`, `CHANGED`, `UNLISTED`, `OUTSIDE`.

    Raises
    ------
    ArtefactError
        If the sums are missing or damaged, or a file cannot be read.
    """
    sums, found = read_sums(folder), {}
    for name, expected in sums.items():
        path = folder / name
        if not os.path.lexists(path):
            found[name] = MISSING
        elif leads_out(path, folder):
            found[name] = OUTSIDE
        elif not path.is_file():
            found[name] = CHANGED
        else:
            try:
                found[name] = "" if sha256(path) == expected else CHANGED
            except OSError as error:
                raise ArtefactError(f"{path} cannot be read: {error}. Check that it may be read.") from error
    others = [name for name in _entries(folder) if name not in sums and name != SUMS]
    return dict(sorted((found | dict.fromkeys(others, UNLISTED)).items()))


def read_regular(path: Path, *, within: Path) -> bytes:
    """The bytes of a file; no link out of the folder is followed, and no device or pipe opened.

    Raises
    ------
    ArtefactError
        If there is no such file, or it cannot be read.
    """
    if not os.path.lexists(path):
        raise ArtefactError(f"Found no {path.name} in {path.parent}: the folder is not whole. Copy it again.")
    if leads_out(path, within):
        raise ArtefactError(
            f"{path} is a link out of its folder, expected a file. Put the file itself there, or copy the folder again."
        )
    if not path.is_file():
        raise ArtefactError(f"{path} is no regular file. Copy the folder again.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtefactError(
            f"{path} cannot be read: {error}. Check that it may be read, or copy the folder again."
        ) from error


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path leads out of a folder through links; also where they lead in a circle."""
    try:
        return not path.resolve(strict=False).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return True


def _damaged_sums(path: Path) -> str:
    return f"{path} is damaged: its lines are not those that were written. Copy the folder again."


def _render(sums: Mapping[str, str]) -> str:
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    return f"{text}{OWN}{hashlib.sha256(text.encode()).hexdigest()}\n"


def _entries(folder: Path) -> Iterator[str]:
    """Names of all that is no folder; links are not followed."""
    for place, folders, names in os.walk(folder):
        paths = [Path(place) / name for name in (*names, *folders)]
        for path in paths[: len(names)] + [path for path in paths[len(names) :] if path.is_symlink()]:
            yield path.relative_to(folder).as_posix()


def _files(folder: Path) -> list[str]:
    return sorted(name for name in _entries(folder) if name != SUMS)
