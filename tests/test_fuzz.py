"""Readers of files that others made, given files that are damaged at random: a SiVAEError or a result, nothing else.

`make fuzz` does the same for longer, led by what the code does (scripts/fuzz.py); what it found is tested here by name.
"""

import gzip

import pytest
from fuzzing import Artefacts, GeneSets, drawn, mutated

from sivae._errors import ArtefactError
from sivae.tl import read_gmt


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    return Artefacts(tmp_path_factory.mktemp("fuzz"))


def test_seeds_are_read(artefacts, tmp_path):
    assert all(artefacts(seed) for seed in artefacts.seeds())
    sets = GeneSets(tmp_path)
    assert [sets(seed) for seed in sets.seeds()] == [True] * 4 + [False] * 8


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_saved_models_changed_at_random(artefacts, seed):
    read = [artefacts(data) for data in mutated(artefacts.seeds(), 1000 if seed else 150, seed)]
    assert 0.02 < sum(read) / len(read) < 0.9  # some changes are none, or of a number in an old format


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_entries_and_arrays_changed_at_random(artefacts, seed):
    """What is read is used: every getter answers, and it is saved again."""
    read = [artefacts(data) for data in drawn(1000 if seed else 100, seed)]
    assert 0.05 < sum(read) / len(read) < 0.6


# what fuzzing found, as (model, file or what is changed, sums) and edits


FOUND = {
    "number of training cells is a dictionary": "0205019386df",
    "dispersion is a list": "0005014a27f1ded0f9",
    "step is a list": "020501faabe1",
    "versions are a number": "000501e4368b8f0e3de660ec4f2e04",
    "loss is a text": "020501887531",
    "weights and tables of whole numbers": "020701c4ad",
}


@pytest.mark.parametrize("find", FOUND)
def test_what_fuzzing_found_in_saved_models(artefacts, find):
    assert artefacts(bytes.fromhex(FOUND[find])) in (True, False)


def test_what_fuzzing_found_in_gene_sets(tmp_path):
    """A gzipped file with damage inside raised zlib.error."""
    raw = bytearray(gzip.compress(b"one\t\tA\tB\n" * 50, mtime=0))
    raw[10] = 0xFF
    (tmp_path / "sets.gmt.gz").write_bytes(raw)
    with pytest.raises(ArtefactError, match="cannot be read as gene sets: Error -3 .* Name a .gmt or .gmt.gz file"):
        read_gmt(tmp_path / "sets.gmt.gz")
    # a weight without a gene was a gene without a name
    (tmp_path / "sets.gmt").write_text("one\t\tA\t,1.0\tB,2\n")
    assert read_gmt(tmp_path / "sets.gmt") == {"one": ["A", "B"]}


def test_gene_sets_changed_at_random(tmp_path):
    sets = GeneSets(tmp_path)
    read = [sets(data) for data in mutated(sets.seeds(), 3000, 0)]
    assert 0.1 < sum(read) / len(read) < 0.9
