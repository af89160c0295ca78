"""Orders of individuals for permutation tests: all of them where they are few, random ones otherwise. Arrays only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations
from math import factorial, prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

Orders = NDArray[np.intp]

MOST_ARRANGEMENTS: Final = 20_000
"""As many distinct arrangements of the phenotype are all looked at."""
MOST_PERMUTED: Final = 7
"""All orders of residuals are looked at for so few individuals: 7! = 5,040."""


def n_arrangements(x_s: NDArray[np.floating]) -> int:
    """Number of distinct arrangements of values over individuals, S! / (n_1! n_2! ...) with n_i the ties."""
    counts = np.unique(x_s, return_counts=True)[1]
    return factorial(len(x_s)) // prod(factorial(int(n)) for n in counts)


def arrangements(x_s: NDArray[np.floating]) -> Orders:
    """Orders b for which the rows of `x_s[order_bs]` are the distinct arrangements of the values, each once, (B, S).

    The places of each value in turn are chosen among those that are left.
    """
    code_s, counts = np.unique(x_s, return_inverse=True, return_counts=True)[1:]
    code_bs = np.zeros((1, len(x_s)), np.intp)
    free_bf = np.arange(len(x_s))[None]
    for code, n in enumerate(counts):
        left = np.arange(free_bf.shape[1])
        chosen_an = np.array(list(combinations(left, int(n))), np.intp)
        rest_af = np.array([np.setdiff1d(left, row) for row in chosen_an], np.intp).reshape(len(chosen_an), -1)
        code_bs = np.repeat(code_bs, len(chosen_an), axis=0)
        np.put_along_axis(code_bs, free_bf[:, chosen_an].reshape(len(code_bs), -1), code, axis=1)
        free_bf = free_bf[:, rest_af].reshape(len(code_bs), -1)
    order_bs = np.empty_like(code_bs)
    # The k-th place of a value takes the k-th individual that has it.
    at_bs = np.argsort(code_bs, axis=1, kind="stable")
    np.put_along_axis(order_bs, at_bs, np.argsort(code_s, kind="stable")[None], axis=1)
    return order_bs


def every_order(n_individuals: int) -> Orders:
    """All S! orders of individuals, (S!, S)."""
    return np.array(list(permutations(range(n_individuals))), np.intp)


def few_orders(x_s: NDArray[np.floating], *, plain: bool) -> Orders | None:
    """All orders that tell something, (B, S), or None where they are too many.

    `plain`: no covariates, so that individuals with equal phenotypes are interchangeable.
    """
    if plain and n_arrangements(x_s) <= MOST_ARRANGEMENTS:
        return arrangements(x_s)
    return every_order(len(x_s)) if len(x_s) <= MOST_PERMUTED else None


def random_orders(n_individuals: int, n_orders: int, *, seed: int, rows: int) -> Iterator[Orders]:
    """Yield random orders, `rows` at a time, (rows, S): the same for a seed, however many at a time."""
    generator = np.random.default_rng(seed)
    for start in range(0, n_orders, rows):
        n = min(rows, n_orders - start)
        yield generator.permuted(np.tile(np.arange(n_individuals), (n, 1)), axis=1)
