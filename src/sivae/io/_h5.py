"""New HDF5 files on disks that fill up.

Where a write fails, HDF5 keeps what it could not write, tries again whenever anything is closed, and in the end takes
the process down. Here it writes through Python, which takes note of the first failure and lets the rest go; the failure
is raised once the file is closed.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@final
class Steady(io.RawIOBase):
    """A file whose writes always succeed, as far as their caller can tell; `error` is the first that did not."""

    def __init__(self, raw: io.FileIO) -> None:
        self.raw = raw
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        if self.error is not None:
            self.raw.seek(size, io.SEEK_CUR)
            return size
        try:
            while left:
                left = left[self.raw.write(left) :]
        except OSError as error:
            self.error = error
            self.raw.seek(len(left), io.SEEK_CUR)
        return size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        found = self.raw.readinto(view) or 0
        if self.error is not None:  # what was not written is read as zeros
            view[found:] = bytes(len(view) - found)
            return len(view)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.raw.seek(offset, whence)

    def tell(self) -> int:
        return self.raw.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            return self.raw.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return self.tell() if size is None else size

    def check(self) -> None:
        """Raise the first failure, if there was one."""
        if self.error is not None:
            raise self.error


@contextmanager
def new_file(path: Path) -> Iterator[tuple[Any, Steady]]:
    """Yield an open HDF5 file, and what it is written through: its `check` says early that a write has failed.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    import h5py

    with io.FileIO(path, "x+") as raw:
        steady = Steady(raw)
        try:
            with h5py.File(steady, "w") as file:
                yield file, steady
        finally:
            steady.check()
