"""Files that reach into other files: an HDF5 file can name any other one as the place of its values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sivae._errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def check_links(file: Any, path: Path) -> None:
    """Refuse an HDF5 file of which a part lies in another file, so that none is read that was not named.

    Raises
    ------
    SetupError
        If so; part and file are named.
    """
    for name, place in _elsewhere(file, set()):
        raise SetupError(
            f"{path} says that its {name} lies in another file ({place}), expected everything in one. Read it with "
            "anndata where you trust it, and write it again."
        )


def _elsewhere(group: Any, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Names of parts that lie in other files, and of these files."""
    import h5py

    seen.add(h5py.h5o.get_info(group.id).addr)
    for name in group:
        link = group.get(name, getlink=True)
        where = f"{group.name.rstrip('/')}/{name}".lstrip("/")
        if isinstance(link, h5py.ExternalLink):
            yield where, link.filename
            continue
        item = group.get(name)
        if isinstance(item, h5py.Dataset):
            for place in _files(item):
                yield where, place
        elif isinstance(item, h5py.Group) and h5py.h5o.get_info(item.id).addr not in seen:
            yield from _elsewhere(item, seen)


def _files(data: Any) -> list[str]:
    """Other files that hold the values of a data set."""
    sources = [source.file_name for source in data.virtual_sources()] if data.is_virtual else []
    return [*(str(part[0]) for part in data.external or ()), *(name for name in sources if name != ".")]
