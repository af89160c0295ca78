"""The bar: shown where asked for, hidden by tqdm's own variable, and silent where a notebook has no widgets."""

import subprocess
import sys

import pytest

from sivae.train._bar import bar


def test_a_bar_that_is_not_shown_is_disabled():
    with bar(3, shown=False) as hidden:
        assert hidden.disable


def written(code, **variables):
    import os

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True,
        env={**os.environ, **variables},
    )  # fmt: skip
    return done.stderr


SHOW = "from sivae.train._bar import bar\nwith bar(3, shown=True) as b:\n    b.update()"


def test_a_bar_is_written_unless_tqdm_is_told_not_to():
    assert "siVAE" in written(SHOW)
    assert written(SHOW, TQDM_DISABLE="1") == ""


@pytest.mark.parametrize("first", ["import sivae; sivae.TrainOptions", "import sivae; sivae.SiVAE"])
def test_a_notebook_without_widgets_is_told_nothing(first):
    # tqdm.auto warns when it is imported in a kernel that lacks ipywidgets.
    pytest.importorskip("ipykernel")
    kernel = (
        "import sys, IPython, ipykernel.zmqshell\n"
        "IPython.get_ipython = lambda: 'a shell in a notebook'\n"
        "sys.modules['ipywidgets'] = None\n"
    )
    assert "IProgress" in written(kernel + "import tqdm.auto")
    assert written(kernel + first) == ""
