"""Weights and moments of a training as named tensors, and back: what checkpoints of every recipe are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from sivae._errors import ArtefactError

Tensors = dict[str, torch.Tensor]


def pack(parts: Mapping[str, Mapping[str, torch.Tensor]]) -> Tensors:
    """Copies of all tensors in main memory, named part/name."""
    return {
        f"{part}/{name}": value.detach().to("cpu", copy=True).contiguous()
        for part, tensors in parts.items()
        for name, value in tensors.items()
    }


def unpack(tensors: Tensors, *parts: str) -> dict[str, Tensors]:
    """The inverse of `pack`; parts that hold nothing are there, empty."""
    found: dict[str, Tensors] = {part: {} for part in parts}
    for name, value in tensors.items():
        part, rest = name.split("/", 1)
        found[part][rest] = value
    return found


def moments(optimizer: torch.optim.Optimizer) -> Tensors:
    """What an optimizer remembers of each parameter, named number/name."""
    return {
        f"{at}/{name}": value
        for at, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def load_moments(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """The inverse of `moments`."""
    found: dict[int, Tensors] = {}
    for name, value in tensors.items():
        at, rest = name.split("/")
        found.setdefault(int(at), {})[rest] = value
    optimizer.load_state_dict({"state": found, "param_groups": optimizer.state_dict()["param_groups"]})


@contextmanager
def fitting_together() -> Iterator[None]:
    """Turn what comes of parts of another shape into a plain error."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtefactError(
            f"The parts of the checkpoint do not fit together ({error}). Remove it to train from the start."
        ) from error
