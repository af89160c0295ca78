"""Temporary files and folders beside the place of a result: what a killed process left is removed by a later one.

While its process lives, a temporary file or folder is locked (flock), and the system drops the lock with the process,
whatever ends it. Whoever makes another one for the same place removes those that nobody holds. The names say which
machine they were made on, because not every shared file system shows the locks of other machines; what those left, and
what is left where there are no such locks (Windows), is not removed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import time
import zlib
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES: Final = 20
PAUSE: Final = 0.05
"""Seconds between two tries to be the only one that makes or removes something in a folder."""


@contextmanager
def temporary(path: Path, *, folder: bool) -> Iterator[Path]:
    """Yield a new folder, or an empty file, beside `path`; whoever asked for it moves or removes it.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    with ExitStack() as held, ExitStack() as dead:
        with _alone(path.parent) as alone:
            if alone:  # else one that was just made could be taken for one that nobody holds
                abandoned = [old for old in _siblings(path) if _lock(old, dead)]
            else:
                abandoned = []
            made = _make(path, folder=folder)
            _lock(made, held)
        for old in abandoned:
            shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
        dead.close()
        yield made


def _make(path: Path, *, folder: bool) -> Path:
    if folder:
        return Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    handle, name = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
    os.close(handle)
    return Path(name)


def _prefix(path: Path) -> str:
    return f".{path.name}-{zlib.crc32(platform.node().encode()):08x}-"


def _siblings(path: Path) -> list[Path]:
    """What was made on this machine for the same place; links are no such thing."""
    ours = re.compile(re.escape(_prefix(path)) + "[a-z0-9_]{8}")
    with suppress(OSError):
        return [old for old in path.parent.iterdir() if ours.fullmatch(old.name) and not old.is_symlink()]
    return []


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether this process alone makes and looks for temporary files in the folder just now."""
    with ExitStack() as stack:
        for _ in range(TRIES):
            if _lock(folder, stack):
                yield True
                return
            if sys.platform == "win32":
                break
            time.sleep(PAUSE)
        yield False


def _lock(path: Path, stack: ExitStack) -> bool:
    """Lock a file or folder until the stack is closed; False if somebody holds it, or it cannot be locked."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return False
    stack.callback(os.close, handle)
    return True
