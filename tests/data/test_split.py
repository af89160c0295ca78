"""The split depends on names alone."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sivae._errors import SetupError
from sivae.data._profiles import labelled_cells
from sivae.data._split import Split, is_validation, validation_threshold

NAMES = [f"cell-{i}" for i in range(200)]


def held(names, fraction=0.25):
    return set(np.array(names)[is_validation(names, validation_threshold(names, fraction=fraction))])


@settings(max_examples=50, deadline=None)
@given(data=st.data(), fraction=st.sampled_from([0.1, 0.25, 0.5]))
def test_other_cells_and_order_do_not_matter(data, fraction):
    some = data.draw(st.lists(st.sampled_from(NAMES), min_size=60, unique=True))
    assume(len(held(some, fraction)) > 0.5 * fraction * len(some) + 1)  # else the rule for few cells holds
    assert held(some, fraction) == held(NAMES, fraction) & set(some)


def test_share_is_that_asked():
    names = [f"c{i}" for i in range(20_000)]
    for fraction in (0.05, 0.3):
        assert len(held(names, fraction)) / 20_000 == pytest.approx(fraction, abs=0.01)


def test_few_cells_still_leave_some_for_validation():
    for first in range(0, 180, 6):
        chosen = held(NAMES[first : first + 12], 0.1)
        assert 1 <= len(chosen) <= 6


def test_no_validation_cells_where_none_are_asked():
    assert held(NAMES, 0.0) == set()


def test_too_few_cells():
    with pytest.raises(SetupError, match="9 cells are too few .* at least 10"):
        validation_threshold(NAMES[:9], fraction=0.1)


def test_named_cells_validate_and_no_others():
    split = Split.of(NAMES, fraction=0.25, validation=NAMES[3:9])
    assert list(np.flatnonzero(split.held(NAMES))) == list(range(3, 9))
    assert list(np.flatnonzero(split.held(NAMES[5:20]))) == [0, 1, 2, 3]


def test_without_names_the_hash_decides():
    split = Split.of(NAMES, fraction=0.25, validation=None)
    assert np.array_equal(split.held(NAMES), is_validation(NAMES, split.threshold))


def test_too_few_cells_left_to_train_on_are_refused():
    with pytest.raises(SetupError, match="5 cells are too few"):
        Split.of(NAMES[:20], fraction=0.1, validation=NAMES[:15])


def test_a_sample_by_label_keeps_the_shares():
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    chosen = labelled_cells(labels, 20)
    assert [sum(labels[row] == kind for row in chosen) for kind in "abc"] == [12, 6, 2]
    assert list(chosen) == sorted(set(chosen))
    assert list(labelled_cells(labels, 500)) == list(range(100))
    assert set(labelled_cells(labels, 5, only="c")) <= set(range(90, 100))
