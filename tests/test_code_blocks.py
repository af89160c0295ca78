"""Every block of code in README, CONTRIBUTING and the pages under docs/ runs as it is written.

Each page has a folder of its own that holds small files under the names that the pages use, and one namespace: its
blocks run in order. Trainings are short: a default one takes `STEPS` steps, a phase of a published run
`ITERATIONS`. A block that runs on no machine of ours is marked `text`; a single line is named in `ELSEWHERE`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import anndata
import matplotlib
import numpy as np
import pages
import pytest
from typer.testing import CliRunner

import sivae
from sivae import cli

matplotlib.use("Agg")

STEPS, ITERATIONS = 60, 10
DATA = {"text", "json", "toml", "yaml", "csv", "dockerfile", "bibtex"}
"""Languages of blocks that are to be read, not run. Directives, such as `{code-cell}`, are the site's to run."""
ELSEWHERE = {
    r"pip install": "changes the environment; the extras that it names are looked up",
    r"git clone ": "needs a network",
    r"(sudo )?apt-get ": "needs a network, and rights",
    r"(conda|mamba) ": "another environment",
    r"docker ": "needs an engine",
    r"cd ": "a place in a clone",
    r"make ": "builds an environment; its targets are looked up",
    r"\.venv/bin/ruff ": "changes the source tree; `make lint` has it",
    r"python -m bench": "takes hours; its names are looked up",
    r"torchrun --nproc-per-node 2 script\.py": "the script runs by itself; tests/model/test_together.py starts two",
    r"torchrun --nproc-per-node 4 ": "needs four cores; docs/scaling.md runs the same with two processes",
    r"torchrun --nproc-per-node 8 ": "needs eight GPUs",
    r"accelerate launch --multi_gpu --num_processes 8 ": "needs eight GPUs",
    r"torchrun --nnodes 2 ": "needs two machines",
}
"""Beginnings of lines that do not run here, and why."""
LAUNCHED = f"""
import sivae.train._job
sivae.train._job.default_steps = lambda _n_cells: {STEPS}
"""
"""What Python runs when another process starts in such a folder."""
NO_DATA = {
    "sivae.pl.loading_images(adata, shape=(28, 28))": "genes that are pixels",
    'sivae.pl.loading_scatter(adata, 0, other="PCs")': "a principal component analysis by scanpy",
    "sivae.pl.power(table)": "the table of sivae.cohort.power, minutes",
}
"""Calls that a table names and that need other data than the page makes, and which."""
MARKERS = ["CD3D", "CD3E", "LYZ", "CST3", "CD79A", "MS4A1", "NKG7"]


# ------------------------------------------------------------------------------------------------------ stand-ins


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files that pages name, small: blood cells of eight donors, further cells, gene sets."""
    folder = tmp_path_factory.mktemp("files")
    adata = sivae.datasets.pbmc700()
    spread = adata.var_names[np.argsort(-np.asarray(adata.X.power(2).mean(axis=0)).ravel())]
    adata = adata[:, [*MARKERS, *spread.difference(MARKERS, sort=False)[:143]]].copy()
    who = np.arange(adata.n_obs) % 8
    adata.obs["donor"] = [f"donor{number + 1}" for number in who]
    adata.obs["age"] = 20.0 + 7 * who
    adata.obs["sex"] = np.array(list("fmmffmfm"))[who]
    adata.obs["batch"] = np.where(np.arange(adata.n_obs) // 8 % 2, "second", "first")
    adata.layers["counts"] = adata.X.copy()
    adata.write_h5ad(folder / "cells.h5ad")
    adata[:600].copy().write_h5ad(folder / "million.h5ad")
    adata[600:].copy().write_h5ad(folder / "new_cells.h5ad")
    sets = {"T cell": ["CD3D", "CD3E", *adata.var_names[10:25]], "B cell": ["CD79A", "MS4A1", *adata.var_names[30:45]]}
    sets |= {"targets": [f"gene_{number}" for number in range(1, 21)], "others": [f"gene_{n}" for n in range(90, 110)]}
    lines = ["\t".join([name, "made up", *genes]) for name, genes in sets.items()]
    (folder / "sets.gmt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def folder(files, tmp_path, monkeypatch):
    """A folder with these files, in which a page's blocks run; trainings are short."""
    from sivae.nn import _published_options
    from sivae.train import _job

    for path in files.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_job, "default_steps", lambda _n_cells: STEPS)
    (tmp_path / "at_start").mkdir()
    (tmp_path / "at_start" / "sitecustomize.py").write_text(LAUNCHED)
    for name, preset in _published_options.PRESETS.items():
        monkeypatch.setitem(_published_options.PRESETS, name, {**preset, "iterations": ITERATIONS})
    return tmp_path


# -------------------------------------------------------------------------------------------------------- running


def run_python(block: pages.Block, page: str, namespace: dict[str, object]) -> None:
    """Run a block; an error names its line on the page. One whose first line is `# NAME.py` is that file as well."""
    import matplotlib.pyplot as plt

    if script := re.match(r"# (\w+\.py)\n", block.text):
        Path(script[1]).write_text(block.text)
    code = compile("\n" * (block.line - 1) + block.text, page, "exec")
    with warnings.catch_warnings():
        # scanpy and umap-learn speak of their own dependencies.
        warnings.filterwarnings("ignore", module=r"(scanpy|umap|numba|pynndescent)\b")
        warnings.filterwarnings("ignore", message=".*n_jobs value 1 overridden.*")
        exec(code, namespace)
    plt.close("all")


def elsewhere(line: str) -> str | None:
    """Why a line does not run here; None if it does."""
    return next((why for start, why in ELSEWHERE.items() if re.match(start, line)), None)


def run_command(line: str) -> None:
    """Run a line of a shell: ours in this process, with its real arguments; others in one of their own."""
    words = shlex.split(line, comments=True)
    settings = {}
    while re.match(r"[A-Z_]+=", words[0]):
        key, _, value = words.pop(0).partition("=")
        settings[key] = value
    if words[0] == "sivae":
        done = CliRunner().invoke(cli.app, words[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
        return
    assert words[0] in ("python", "torchrun"), (
        f"`{line}`: mark the block as text, or say in ELSEWHERE why it cannot run"
    )
    here = Path(sys.executable).with_name(words[0])
    # Without a GPU, as on the machines that run the tests.
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "default", **settings}
    env["PYTHONPATH"] = os.pathsep.join([str(Path("at_start").absolute()), *sys.path])
    with subprocess.Popen(
        [here, *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as process:
        try:
            said, _ = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun then ends what it started
            raise
    assert process.returncode == 0, f"{line}\n{said[-4000:]}"


def run(page: Path) -> dict[str, object]:
    """Run the blocks of a page in order and return what they left behind."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in pages.blocks(page):
        if block.language == "python":
            run_python(block, pages.name(page), namespace)
        elif block.language == "bash":
            for line in pages.commands(block):
                if elsewhere(line) is None:
                    run_command(line)
    return namespace


def run_calls(page: Path, namespace: dict[str, object]) -> int:
    """Run the plots that a page's tables name, with what its blocks left; return how many."""
    calls = [text for text in pages.inline(page) if re.match(r"sivae\.pl\.\w+\(", text) and text not in NO_DATA]
    for call in calls:
        line = page.read_text(encoding="utf-8").partition(f"`{call}`")[0].count("\n") + 1
        run_python(pages.Block("python", line, call), pages.name(page), namespace)
    return len(calls)


# ---------------------------------------------------------------------------------------------------------- tests


def languages(page: Path) -> set[str]:
    return {block.language for block in pages.blocks(page)}


def trains(page: Path) -> bool:
    """Whether a page has blocks to run: they train, which takes seconds."""
    blocks = pages.blocks(page)
    return any(
        block.language == "python" or (block.language == "bash" and any(map(runs, pages.commands(block))))
        for block in blocks
    )


def runs(line: str) -> bool:
    return elsewhere(line) is None


ALL = pages.pages()
every_page = pytest.mark.parametrize("page", ALL, ids=pages.name)


@every_page
def test_each_block_says_what_it_is(page):
    unknown = [
        f"line {block.line}: {block.language!r}"
        for block in pages.blocks(page)
        if block.language not in {"python", "bash", *DATA} and not block.language.startswith("{")
    ]
    assert not unknown, f"expected python, bash, or text for what does not run: {unknown}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in ALL if trains(page)], ids=pages.name)
def test_blocks_run(page, folder):
    namespace = run(page)
    if page.name == "plots.md":
        assert run_calls(page, namespace) > 30


def bash_lines() -> list[tuple[str, str]]:
    blocks = [(page, block) for page in ALL for block in pages.blocks(page) if block.language == "bash"]
    return [(pages.name(page), line) for page, block in blocks for line in pages.commands(block)]


def test_what_runs_elsewhere_is_there():
    lines = [line for _, line in bash_lines()]
    makefile = pages.ROOT / "Makefile"
    if makefile.exists():
        targets = set(re.findall(r"^([a-z-]+):", makefile.read_text(), re.MULTILINE))
        named = {word for line in lines if re.match(r"make ", line) for word in shlex.split(line, comments=True)[1:]}
        wrong = {word for word in named if "=" not in word} - targets
        assert not wrong, f"the Makefile has no {wrong}"
    extras = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {extra for line in lines for part in re.findall(r"\[([\w,-]+)\]", line) for extra in part.split(",")}
    assert asked <= set(extras)


# --------------------------------------------------------------------------------------- the tests can fail at all


def a_page(text: str) -> list[pages.Block]:
    return pages.split(text)[0]


def test_blocks_are_found_where_they_are():
    found = a_page("a\n```python\nx = 1\n```\n\n````text\n```python\nno\n```\n````\n```{code-cell}\ny\n```\n")
    assert [(block.language, block.line) for block in found] == [("python", 3), ("text", 7), ("{code-cell}", 12)]
    assert found[0].text == "x = 1\n"
    with pytest.raises(AssertionError, match="has no end"):
        a_page("```python\nx = 1\n")


def test_an_error_names_the_line_of_the_page():
    (block,) = a_page("one\n\n```python\n\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        run_python(block, "page.md", {})
    assert caught.traceback[-1].lineno == 4  # counted from 0


@pytest.mark.parametrize("line", ["sivae fit cells.h5ad", "sivae fit cells.h5ad -o run --nothing", "curl example"])
def test_a_line_that_does_not_run_is_an_error(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match=re.escape(line)):
        run_command(line)


def test_stand_ins_are_what_pages_say(files):
    cells = anndata.read_h5ad(files / "cells.h5ad")
    assert set(MARKERS) <= set(cells.var_names)
    assert {"donor", "age", "sex", "cell_type", "batch"} <= set(cells.obs)
