"""What a launcher (torchrun, accelerate launch, mpirun) says in the environment: which process this is, of how many."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

WORLD: Final = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
RANK: Final = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
LOCAL_WORLD: Final = ("LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE")


def world() -> int:
    """Number of processes; 1 where nothing launched several."""
    return max(1, _number(WORLD, 1))


def rank() -> int:
    """Number of this process, from 0."""
    return max(0, _number(RANK, 0)) if world() > 1 else 0


def local_world() -> int:
    """Number of processes on this machine; of all where the launcher does not say."""
    return max(1, _number(LOCAL_WORLD, world()))


def is_alone_by_mistake() -> bool:
    """Whether `accelerate launch --cpu` was asked for several processes: without mpirun's host file it starts one."""
    asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_ADDR" in os.environ
    return asked and not any(name in os.environ for name in WORLD)


@contextmanager
def alone() -> Iterator[None]:
    """Take out of the environment what launchers say, for work that is this process's own."""
    names = (*WORLD, *RANK, *LOCAL_WORLD, "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    said = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(said)


def _number(names: tuple[str, ...], default: int) -> int:
    for name in names:
        text = os.environ.get(name, "")
        if text.isdecimal():
            return int(text)
    return default
