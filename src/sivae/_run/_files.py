"""Files and folders of a run: read with plain errors, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sivae._errors import ArtefactError

if TYPE_CHECKING:
    from sivae._run._cells import Cells

FORMAT: Final = 1
"""Of `run.json`."""
RECORD, CELLS, MODEL, REPORT = "run.json", "adata.h5ad", "model", "report.html"


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or of the sorted names and contents of a folder."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file()):
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as handle:
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def names_hash(names: list[str]) -> str:
    """SHA-256 of names, sorted and joined by line ends."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def refuse_existing(path: Path, option: str = "-o") -> None:
    """Refuse a place that is taken."""
    if os.path.lexists(path):
        raise ArtefactError(
            f"{path} exists, expected a new name: nothing is overwritten. Choose another with {option}."
        )


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that becomes it at the end, or vanishes with the first error."""
    refuse_existing(path)
    made = [parent for parent in [path.parent, *path.parent.parents] if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise ArtefactError(f"{path} cannot be written: {error}. Choose another place.") from error
    try:
        yield temporary
        refuse_existing(path)
        temporary.chmod(0o755)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        raise


def write_cells(cells: Cells, out: Path) -> None:
    """Write an AnnData under a temporary name, then move it."""
    temporary = out.with_name(f".{out.stem}-{os.getpid()}.h5ad")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        cells.write_h5ad(temporary)
        refuse_existing(out)
        temporary.rename(out)
    except OSError as error:
        raise (
            error if isinstance(error, ArtefactError) else ArtefactError(f"{out} cannot be written: {error}.")
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
