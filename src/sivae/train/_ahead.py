"""The next block is read while a step is made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar, final

Made = TypeVar("Made")


@final
class Ahead(Generic[Made]):
    """What a function makes of 1, 2, 3, ..., each made in a thread of its own before it is asked for.

    The function sees one number at a time, in rising order but for the first; so what it makes is the same as without a
    thread.

    Parameters
    ----------
    make
        The function.
    last
        The last number there will be.
    on
        False makes everything when it is asked for, without a thread.
    """

    def __init__(self, make: Callable[[int], Made], *, last: int, on: bool = True) -> None:
        self._make, self._last, self._on = make, last, on
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sivae-ahead")
        self._next: tuple[int, Future[Made]] | None = None

    def take(self, number: int) -> Made:
        """What is made of a number; what made it fail is raised here."""
        if not self._on:
            return self._make(number)
        if self._next is None or self._next[0] != number:
            self._next = number, self._thread.submit(self._make, number)
        made = self._next[1].result()
        self._next = (number + 1, self._thread.submit(self._make, number + 1)) if number < self._last else None
        return made

    def close(self) -> None:
        """End the thread; what it was making is dropped, and the function, which may hold whoever asked."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._next = None
        del self._make
