"""What a page holds: an account in JSON, and arrays as deflated bytes beside it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from sivae.explorer._codes import deflate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KINDS: Final = {"f": "<f4", "i": "<i4", "u": "<u2"}
"""How numbers are written, by kind of array: floats, whole numbers, codes of categories."""


@final
@dataclass
class Blobs:
    """Named arrays, deflated and in base64."""

    texts: dict[str, str] = field(default_factory=dict)

    def add(self, content: bytes, *, packed: bool = False) -> str:
        """Keep bytes; returns the name under which the page finds them."""
        name = f"blob{len(self.texts)}"
        self.texts[name] = base64.b64encode(content if packed else deflate(content)).decode("ascii")
        return name

    def numbers(self, values: NDArray[Any]) -> str:
        """Keep an array of floats, whole numbers or codes (unsigned)."""
        return self.add(np.ascontiguousarray(values, dtype=KINDS[values.dtype.kind]).tobytes())

    def names(self, values: Sequence[str]) -> str:
        """Keep a list of names."""
        return self.add(json.dumps(list(values)).encode())

    @property
    def size(self) -> int:
        """Bytes of all of them in the page."""
        return sum(len(text) for text in self.texts.values())


def as_json(account: Any) -> str:
    """JSON that is safe inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(account, allow_nan=False, separators=(",", ":"))  # ASCII alone: U+2028 is written as an escape
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def known(values: NDArray[Any], digits: int = 6) -> list[float | None]:
    """Numbers for JSON: None where one is not finite, and no more digits than are read."""
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in np.asarray(values, np.float64)]
