"""Whether the files of a run, or of a saved model, are as they were written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from sivae._errors import ArtefactError
from sivae._run._files import RECORD
from sivae._whole import SUMS, UNLISTED, check_sums

if TYPE_CHECKING:
    from pathlib import Path

WRITTEN: Final = "as written"


def verify(folder: Path) -> dict[str, str]:
    """What was found of each file, by name: as written, missing, changed, not listed, a link out of the folder.

    A saved model inside a run has checksums of its own, and those files are in the run's as well.

    Raises
    ------
    ArtefactError
        If it is neither run nor saved model, has no checksums, or these are damaged.
    """
    if not os.path.lexists(folder / SUMS):
        raise ArtefactError(_no_sums(folder))
    return {name: what or WRITTEN for name, what in check_sums(folder).items()}


def harmed(found: dict[str, str]) -> list[str]:
    """Files that are not as they were written; one that is not listed harms nothing."""
    return [name for name, what in found.items() if what not in (WRITTEN, UNLISTED)]


def _no_sums(folder: Path) -> str:
    run, model = ((folder / name).is_file() for name in (RECORD, "config.json"))
    if not (run or model):
        return f"Found no {SUMS} in {folder}, expected the folder of a run or of a saved model. Check the path."
    what = "Runs before format 2" if run else "Saved models before format 4"
    again = "make the run again" if run else "load the model and save it again"
    return (
        f"Found no {SUMS} in {folder}. {what} have none, and cannot be verified: {again}. A newer one: copy it again."
    )
