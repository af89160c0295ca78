"""Training in a notebook is silent where nobody asked for a bar."""

import subprocess
import sys

# A kernel as tqdm recognizes one, without ipywidgets. (tqdm catches its own warning where warnings are errors.)
NOTEBOOK = """
import sys, types, warnings
sys.modules |= {"ipykernel.zmqshell": None, "ipywidgets": None, "IPython": types.SimpleNamespace(get_ipython=object)}
"""


def run(code):
    text = NOTEBOOK + "warnings.simplefilter('always')\n" + code
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120, check=False)


def test_a_notebook_without_widgets_is_not_told_so():
    assert "TqdmWarning" in run("import tqdm.auto").stderr, "the notebook of this test is not one to tqdm"
    done = run("import sivae.train._loop")
    assert done.returncode == 0, done.stderr
    assert "IProgress" not in done.stderr
