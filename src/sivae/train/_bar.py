"""The progress bar, in a terminal or a notebook."""

from __future__ import annotations

import warnings
from typing import Any

with warnings.catch_warnings():
    # A notebook without ipywidgets gets a bar of text; tqdm warns of it once, when it is imported.
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm


def bar(total: int, *, shown: bool, what: str = "siVAE", unit: str = "step", initial: int = 0) -> tqdm[Any]:
    """A bar of steps done; tqdm's own variables hold as well, such as TQDM_DISABLE=1 for logs and pages."""
    if not shown:
        return tqdm(total=total, initial=initial, disable=True)
    return tqdm(total=total, initial=initial, desc=what, unit=unit)
