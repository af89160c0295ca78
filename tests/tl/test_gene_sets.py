"""GMT files as they are found in the wild, and sets that meet the genes at hand."""

import gzip

import numpy as np
import pytest

from sivae._errors import ArtefactError, GeneMismatchError, OptionError, SiVAEWarning
from sivae.tl import _gene_sets, read_gmt
from sivae.tl._gene_sets import as_sets, membership


def write(tmp_path, data, name="a.gmt"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_plain_file(tmp_path):
    path = write(tmp_path, "A\thttp://a\tX\tY\nB\tb\tY\tZ\tX\n")
    assert read_gmt(path) == {"A": ["X", "Y"], "B": ["Y", "Z", "X"]}
    assert read_gmt(str(path)) == as_sets(path)


def test_a_packed_file(tmp_path):
    assert read_gmt(write(tmp_path, gzip.compress(b"A\ta\tX\n"), "a.gmt.gz")) == {"A": ["X"]}


def test_line_ends_marks_blank_lines_tabs_weights_and_repeats(tmp_path):
    data = b"\xef\xbb\xbfA\ta\tX\tY\t\tX\t\r\n\r\n   \r\nB\t\t Z ,\tHLA-A,1.0\tIL2,-2e-1\r\nempty\tnothing\r\n\n"
    assert read_gmt(write(tmp_path, data)) == {"A": ["X", "Y"], "B": ["Z ,", "HLA-A", "IL2"], "empty": []}


def test_no_line_end_at_the_end(tmp_path):
    assert read_gmt(write(tmp_path, "A\ta\tX")) == {"A": ["X"]}


def test_sets_that_come_twice(tmp_path):
    assert read_gmt(write(tmp_path, "A\ta\tX\tY\nA\tb\tY\tX\n")) == {"A": ["X", "Y"]}
    path = write(tmp_path, "A\ta\tX\nA\tb\tY\nA\tc\tZ\n", "b.gmt")
    with pytest.warns(SiVAEWarning, match="holds A more than once"):
        assert read_gmt(path) == {"A": ["X"], "A (2)": ["Y"], "A (3)": ["Z"]}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"A\ta\tX\nB\tb\tG\xe9ne\n", "line 2 is not text in UTF-8"),
        ("A a X Y\n", "line 1 is 'A a X Y', expected the set's name"),
        ("\ta\tX\n", "line 1 is"),
        ("", "holds no gene set"),
        ("\n\n", "holds no gene set"),
    ],
)
def test_files_that_are_no_gmt(tmp_path, data, text):
    with pytest.raises(ArtefactError, match=text):
        read_gmt(write(tmp_path, data))


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(_gene_sets, "LONGEST", 20)
    with pytest.raises(ArtefactError, match="line 2 is longer than 20 bytes"):
        read_gmt(write(tmp_path, "A\ta\tX\nB\tb\t" + "GENE\t" * 10))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ArtefactError, match=r"cannot be read as gene sets.*No such file"):
        read_gmt(tmp_path / "no.gmt")
    with pytest.raises(ArtefactError, match="cannot be read as gene sets"):
        read_gmt(write(tmp_path, "A\ta\tX\n", "a.gmt.gz"))
    whole = gzip.compress(b"A\ta\tX\n" * 50)
    with pytest.raises(ArtefactError, match="cannot be read as gene sets"):
        read_gmt(write(tmp_path, whole[:-12], "b.gmt.gz"))
    with pytest.raises(ArtefactError, match="cannot be read as gene sets"):
        read_gmt(tmp_path)


def test_mappings(tmp_path):
    assert as_sets({"A": ("X", "Y", "X")}) == {"A": ["X", "Y"]}
    with pytest.raises(OptionError, match="genes of A are one text"):
        as_sets({"A": "CD3D"})
    with pytest.raises(OptionError, match="of type list"):
        as_sets(["A"])


def test_membership_is_by_name():
    found = membership({"A": ["X", "Q"], "B": ["Z", "X"], "C": []}, ["X", "Y", "Z"])
    np.testing.assert_array_equal(found.toarray(), [[1, 0, 0], [1, 0, 1], [0, 0, 0]])


def test_case_can_be_ignored():
    found = membership({"A": ["CD3D", "cd3d", "LYZ"]}, ["Cd3d", "Lyz2"], match_case=False)
    np.testing.assert_array_equal(found.toarray(), [[1, 0]])


def test_when_nothing_matches_the_error_says_why():
    with pytest.raises(GeneMismatchError, match=r"1 would match but for the case \(CD3D and Cd3d\).*match_case=False"):
        membership({"A": ["CD3D", "LYZ"]}, ["Cd3d", "Lyz2"])
    with pytest.raises(GeneMismatchError, match=r"Nearest to CD3D1: CD3D"):
        membership({"A": ["CD3D1"]}, ["CD3D", "LYZ"])
    with pytest.raises(GeneMismatchError, match="same kind of names"):
        membership({"A": ["ENSG01"]}, ["LYZ"])
