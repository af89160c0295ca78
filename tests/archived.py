"""Runs and saved models of every format, unpacked."""

import json
import zipfile
from pathlib import Path

PLACE = Path(__file__).parent / "archive"
NAMES = sorted(path.stem for path in PLACE.glob("*.zip"))
"""The last is that of the present formats."""


def unpack(name, folder):
    """A run of the archive in a new folder; and what it gave when it was written."""
    with zipfile.ZipFile(PLACE / f"{name}.zip") as packed:
        packed.extractall(folder)
    return folder, json.loads((PLACE / f"{name}.json").read_text())
