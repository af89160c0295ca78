"""Hashes of what a run has found, without what tells the time: equal for two runs that are the same to the last bit."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from sivae._run._files import CELLS, FIGURES, MODEL, TABLES
from sivae._whole import sha256

if TYPE_CHECKING:
    from pathlib import Path

HISTORY: Final = "history.csv"
TIMED: Final = {
    "config.json": (
        "history/seconds", "facts/stage_seconds", "facts/resumed_at", "facts/train_options/keep_checkpoint",
    ),
    HISTORY: ("seconds",),
    CELLS: (
        "uns/sivae/history/seconds", "uns/sivae/facts/stage_seconds", "uns/sivae/facts/resumed_at",
        "uns/sivae/facts/train_options/keep_checkpoint", "uns/sivae/run/seconds", "uns/sivae/run/source",
    ),
}  # fmt: skip
"""What is left out of each: times, whether training went on from a checkpoint, and the name of the data file."""
COPIED: Final = ("X", "layers", "raw")
"""Parts of the annotated cells that are those of the data, whose hash is known."""


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of model, tables, figures and annotated cells, by name of file.

    The pages are left out: they are made of these, and tell the name of the data, and times. So are files of checksums.
    """
    paths = [folder / MODEL / name for name in ("weights.safetensors", "tables.safetensors", "README.md")]
    paths += sorted(path for path in (folder / TABLES).glob("*.csv") if path.name != HISTORY)
    paths += sorted((folder / FIGURES).glob("*.png"))
    found = {path.relative_to(folder).as_posix(): sha256(path) for path in paths}
    found[f"{MODEL}/config.json"] = _config(folder / MODEL / "config.json")
    found[f"{TABLES}/{HISTORY}"] = _history(folder / TABLES / HISTORY)
    found[CELLS] = _cells(folder / CELLS)
    return dict(sorted(found.items()))


def _config(path: Path) -> str:
    config = json.loads(path.read_text(encoding="utf-8"))
    for timed in TIMED["config.json"]:
        *parents, name = timed.split("/")
        part: Any = config
        for parent in parents:
            part = part.get(parent, {})
        part.pop(name, None)
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _history(path: Path) -> str:
    """Of the text of the other columns: fields are numbers, without commas of their own."""
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [at for at, name in enumerate(rows[0]) if name not in TIMED[HISTORY]]
    text = "\n".join(",".join(row[at] for at in kept) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def _cells(path: Path) -> str:
    """Of names, types, shapes, values and attributes, whatever their layout in the file."""
    import h5py

    digest = hashlib.sha256()

    def add(name: str, item: Any) -> None:
        if name.partition("/")[0] in COPIED or name in TIMED[CELLS]:
            return
        if any(name.startswith(f"{timed}/") for timed in TIMED[CELLS]):
            return
        attributes = {key: _plain(value) for key, value in sorted(item.attrs.items())}
        digest.update(f"\n{name} {json.dumps(attributes, default=str)} ".encode())
        if isinstance(item, h5py.Dataset):
            values = item[()]
            digest.update(f"{item.dtype.str} {item.shape} ".encode())
            digest.update(json.dumps(_plain(values)).encode() if item.dtype.hasobject else values.tobytes())

    with h5py.File(path, "r") as file:
        file.visititems(add)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Text and lists of text, or numbers, as JSON can hold them."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
