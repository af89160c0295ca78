"""The site: lists of names are complete, and scripts are the tutorials they were written from."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sivae

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SPACES = sorted(page.stem for page in (DOCS / "api").glob("*.md") if page.stem not in ("index", "model"))
TUTORIALS = sorted(page.stem for page in (DOCS / "tutorials").glob("*.md") if page.stem != "index")


def test_every_namespace_has_a_page():
    import types

    assert SPACES == sorted(name for name in sivae.__all__ if isinstance(getattr(sivae, name), types.ModuleType))


@pytest.mark.parametrize("space", SPACES)
def test_a_page_of_the_api_lists_every_name(space):
    text = (DOCS / "api" / f"{space}.md").read_text(encoding="utf-8")
    listed = re.findall(r"^   (\w+)$", text, re.MULTILINE)
    assert listed == list(importlib.import_module(f"sivae.{space}").__all__)


@pytest.mark.parametrize("folder", ["", "tutorials", "api"])
def test_every_page_can_be_reached(folder):
    place = DOCS / folder
    listed = set()
    for block in re.findall(r"```\{toctree\}\n(.*?)```", (place / "index.md").read_text(encoding="utf-8"), re.DOTALL):
        listed |= {line for line in block.splitlines() if line and not line.startswith(":")}
    pages = {page.stem for page in place.glob("*.md")} - {"index"}
    inner = {name for name in listed if "/" in name}
    assert listed - inner == pages


def test_examples_are_those_of_the_tutorials():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "examples.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in (ROOT / "examples").glob("*.py")) == TUTORIALS


@pytest.mark.parametrize("name", TUTORIALS)
def test_an_example_is_python_and_says_what_it_is(name):
    tree = ast.parse((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8"))
    assert f"docs/tutorials/{name}.md" in (ast.get_docstring(tree) or "")


def examples():
    spec = importlib.util.spec_from_file_location("examples_script", ROOT / "scripts" / "examples.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_tutorial_becomes_a_script_that_runs(tmp_path):
    page = (
        "# A title\n\n## A heading\n\n```{code-cell} python\n:tags: [remove-input]\nx = 3\nx + 4\n```\n\nProse.\n\n"
        "```{code-cell} python\n!echo 'two words'\n```\n\n```{code-cell} python\nplt.plot([1, 2]);\n```\n"
    )
    text = examples().script(page, "made")
    assert "# A heading" in text and ":tags:" not in text
    (tmp_path / "made.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "made.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
        env={"MPLBACKEND": "Agg", "PATH": "/usr/bin:/bin", "MPLCONFIGDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.split() == ["two", "words", "7"] or done.stdout.split() == ["7", "two", "words"]
    assert (tmp_path / "made-1.png").stat().st_size > 1000
