"""Files that are whole or absent."""

from __future__ import annotations

import pytest

from sivae import _whole
from sivae._errors import ArtefactError


def breaking(error):
    yield b"half"
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path, error):
    path = tmp_path / "file"
    _whole.write_bytes(path, [b"old"], what="It")
    with pytest.raises(error):
        _whole.write_bytes(path, breaking(error), what="It")
    assert path.read_bytes() == b"old" and [found.name for found in tmp_path.iterdir()] == ["file"]
    _whole.write_bytes(path, [b"n", b"ew"], what="It")
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o644


def test_text_is_utf8_with_one_kind_of_line_ends(tmp_path):
    _whole.write_text(tmp_path / "file", ["Ä\n", "b"], what="It")
    assert (tmp_path / "file").read_bytes() == "Ä\nb".encode()


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(ArtefactError, match="It could not be written to .*: .* Choose another place."):
        _whole.write_bytes(tmp_path / "gone" / "file", [b""], what="It")
