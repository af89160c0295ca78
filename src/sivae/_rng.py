"""Randomness is an argument: generators from one seed and a purpose."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


def numpy_generator(seed: int, purpose: str = "", *, index: int = 0) -> np.random.Generator:
    """Make a NumPy generator; equal seeds with different purposes or indices give independent streams."""
    return np.random.default_rng([seed, _number(purpose), index])


def torch_generator(seed: int, purpose: str = "", *, index: int = 0) -> torch.Generator:
    """Make a torch generator on the CPU; equal seeds with different purposes or indices give independent streams."""
    import torch

    state = np.random.SeedSequence([seed, _number(purpose), index]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def name_fractions(names: Sequence[str], seed: int) -> np.ndarray:
    """Map each name to a number in [0, 1) that depends on the name and the seed alone, not on its position."""
    key = str(seed).encode()
    digests = (hashlib.blake2b(str(name).encode(), digest_size=8, key=key).digest() for name in names)
    return np.fromiter((int.from_bytes(digest, "big") / 2**64 for digest in digests), np.float64, len(names))


def _number(purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=4).digest(), "big")
