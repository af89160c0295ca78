"""Readers of files that others made, given files that are damaged at random: a SiVAEError or a result, nothing else.

`make fuzz` does the same for longer, led by what the code does (scripts/fuzz.py); what it found is tested here by name.
"""

import pytest
from fuzzing import Artefacts, GeneSets, mutated


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


def test_gene_sets_changed_at_random(tmp_path):
    sets = GeneSets(tmp_path)
    read = [sets(data) for data in mutated(sets.seeds(), 3000, 0)]
    assert 0.1 < sum(read) / len(read) < 0.9
