"""What tables of bad input share: spoilers of an AnnData, and what a refusal has to be."""

import matplotlib.pyplot as plt
import pytest
from doors import CALLS, files, fingerprint


def gone(place, key):
    """A spoiler: an entry of the AnnData is not there."""

    def spoil(adata):
        del getattr(adata, place)[key]
        return adata

    return spoil


def refused(world, door, given, error, words):
    """The door refuses in these words: other arguments, or a spoiler of its first one; nothing is changed or left."""
    function, base = CALLS[door](world)
    key = next((key for key in ("adata", "samples", "adata_or_frame") if key in base), "table")
    given = base | ({key: given(base[key])} if callable(given) else given)
    figures = plt.get_fignums()

    def state():
        return files(world.folder), fingerprint(given[key]) if hasattr(given.get(key), "obsm") else ""

    before = state()
    with pytest.raises(error) as caught:
        function(**given)
    said = str(caught.value)
    assert type(caught.value) is error, repr(caught.value)
    missing = [word for word in words if word not in said]
    assert not missing, f"{missing} not in {said}"
    assert said.isprintable() and len(said) < 1500
    assert state() == before
    assert plt.get_fignums() == figures, "a figure was left"
