"""Memory of this program: how much it may still take, and giving back what it no longer uses.

What the machine has free says nothing of a limit set for the job alone, which ends a program that goes beyond it. Such
limits are those of control groups (containers, most schedulers) and of the address space (`ulimit -v`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path("/")
GROUPS: Final = Path("sys/fs/cgroup")
UNLIMITED: Final = 2**60
"""What no machine has; control groups of version 1 say "no limit" with a number beyond it."""


def available(root: Path = ROOT) -> int:
    """Bytes that this program may still take: the least of what is free and what its limits leave.

    Parameters
    ----------
    root
        Where `proc` and `sys` are.
    """
    import psutil

    left = [int(psutil.virtual_memory().available), *_left_in_groups(root), *_left_of_addresses()]
    return max(0, min(left))


def _left_in_groups(root: Path) -> list[int]:
    """What each control group of this process leaves: its own, and those around it."""
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            top, names = root / GROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / GROUPS / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        inner = top / path.strip("/")
        # In a container the path may be that of the host, while the group itself is mounted at the top.
        groups = [inner, *(group for group in inner.parents if group.is_relative_to(top))]
        found += [left for group in dict.fromkeys(groups) if (left := _left(group, *names)) is not None]
    return found


def _left(group: Path, limit_name: str, used_name: str, cache_name: str) -> int | None:
    """Limit less use; what the kernel keeps of files only as long as nobody needs the room is no use."""
    limit, used = _number(_text(group / limit_name)), _number(_text(group / used_name))
    if limit is None or used is None or limit >= UNLIMITED:
        return None
    entries = dict(line.split(None, 1) for line in _text(group / "memory.stat").splitlines() if " " in line)
    cache = _number(entries.get(cache_name, "0")) or 0
    return limit - max(0, used - cache)


def _left_of_addresses() -> list[int]:
    try:
        import resource
    except ImportError:  # no such limit there
        return []
    import psutil

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return []
    return [limit - int(psutil.Process().memory_info().vms)]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def give_back() -> None:
    """Hand memory that was freed back to the operating system, where the C library would keep it (glibc).

    Between stages that need different arrays, what is kept is of no use, and peaks would depend on what came before.
    """
    if sys.platform != "linux":
        return
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
