"""What holds for the package as a whole: cost of importing it, its public surface, and what its files may say."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sivae

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "accelerate", "anndata", "pandas", "matplotlib", "dask", "zarr", "h5py", "psutil")
NAMESPACES = [name for name in sivae.__all__ if inspect.ismodule(getattr(sivae, name))]


# -------------------------------------------------------------------------------------------------- cost of importing


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(name for name in {HEAVY} if name in sys.modules))"
    return set(fresh(code).split())


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import sivae") == set()


def test_importing_the_command_line_loads_nothing_heavy():
    assert loaded_by("import sivae.cli") == set()


def test_importing_sets_no_handler_and_no_filter():
    code = (
        "import logging, warnings; before = list(warnings.filters)\n"
        "import sivae\n"
        "assert warnings.filters == before, 'a warning filter was set'\n"
        "assert not logging.getLogger().handlers, 'a handler was set on the root logger'\n"
        "assert logging.getLogger('sivae').level == 0, 'a level was set'\n"
    )
    fresh(code)


def test_dir_lists_the_public_names_without_loading_them():
    code = "import sys, sivae\nassert dir(sivae) == sivae.__all__\nassert 'torch' not in sys.modules"
    fresh(code)


# ----------------------------------------------------------------------------------------------------- public surface


def public_callables() -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield public functions, classes and their public methods, by dotted name."""
    for name in sivae.__all__:
        value = getattr(sivae, name)
        if inspect.isclass(value):
            yield from members_of(name, value)
    for space in NAMESPACES:
        module = importlib.import_module(f"sivae.{space}")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) and issubclass(value, Exception):
                continue  # to be caught, not called
            if inspect.isclass(value):
                yield from members_of(f"{space}.{name}", value)
            elif callable(value):
                yield f"{space}.{name}", value


def members_of(prefix: str, cls: type) -> Iterator[tuple[str, Callable[..., object]]]:
    yield prefix, cls
    for name, value in vars(cls).items():
        inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        if inspect.isfunction(inner) and not name.startswith("_"):
            yield f"{prefix}.{name}", inner


CALLABLES = dict(public_callables())
every_callable = pytest.mark.parametrize("name", CALLABLES)


def parameters(name: str) -> list[inspect.Parameter]:
    """List the parameters of a public callable, without self and cls."""
    found = inspect.signature(CALLABLES[name]).parameters.values()
    return [parameter for parameter in found if parameter.name not in ("self", "cls")]


def is_dataclass(name: str) -> bool:
    return hasattr(CALLABLES[name], "__dataclass_fields__")


def test_the_walk_finds_what_there_is():
    assert {"datasets", "explorer", "pl", "pp", "report"} <= set(NAMESPACES)
    assert {"SiVAE", "SiVAE.setup_anndata", "SiVAE.train", "SiVAE.load", "pp.select_genes"} <= set(CALLABLES)


@pytest.mark.parametrize("module", ["sivae", *(f"sivae.{space}" for space in NAMESPACES)])
def test_all_is_sorted_and_holds(module: str):
    found = importlib.import_module(module)
    assert list(found.__all__) == sorted(found.__all__)
    missing = [name for name in found.__all__ if not hasattr(found, name)]
    assert not missing


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sivae.nothing


@every_callable
def test_no_kwargs(name: str):
    loose = [p.name for p in parameters(name) if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    assert not loose, f"{name} takes {loose}; name every argument"


@every_callable
def test_at_most_three_positional_arguments(name: str):
    positional = [p.name for p in parameters(name) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    assert len(positional) <= 3, f"{name} takes {positional} by position; put * after the third"


@every_callable
def test_flags_are_keyword_only(name: str):
    flags = [p.name for p in parameters(name) if isinstance(p.default, bool) and p.kind is not p.KEYWORD_ONLY]
    assert is_dataclass(name) or not flags, f"{name} takes the flags {flags} by position"


@every_callable
def test_docstring_describes_every_parameter(name: str):
    text = inspect.getdoc(CALLABLES[name]) or ""
    assert text, f"{name} has no docstring"
    wanted = {p.name for p in parameters(name)}
    if wanted <= {"adata", "per_feature"}:
        return  # one line says it
    assert re.search(r"^Parameters\n-{10}$", text, re.MULTILINE), f"{name} has no section Parameters"
    section = re.split(r"\n\n\w[\w ]*\n-{3,}\n", text.split("Parameters\n----------\n", 1)[1])[0]
    listed = {word for line in section.splitlines() if line[:1].strip() for word in re.findall(r"\w+", line)}
    assert wanted <= listed, f"the docstring of {name} does not list {sorted(wanted - listed)}"


# ----------------------------------------------------------------------------------------------- what the files say

# Spelled in pieces, so that this file does not hold what it forbids.
FORBIDDEN = {
    "a registry's host": re.compile("pypi" + r"\.org|pytho" + r"nhosted|conda\.ana" + r"conda|download\.pyto" + r"rch"),
    "a path of one machine": re.compile(r"(?<![\w.])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me|opt|Us" + r"ers)/\w"),
}
TEXT = set(" .cff .cfg .css .csv .html .ini .js .json .md .py .sh .svg .toml .txt .yml".split(" "))


def tracked_files() -> list[Path]:
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: the files of the project cannot be told from others")
    names = [name for name in done.stdout.split("\0") if name]
    return [path for name in names if (path := ROOT / name).is_file() and path.suffix in TEXT]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_names(what: str):
    found = []
    for path in tracked_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if FORBIDDEN[what].search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found, f"{what} is named in:\n" + "\n".join(found)


def test_constraints_pin_every_package_once():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    names = [line.split("==")[0].lower() for line in lines]
    assert len(set(names)) == len(names)
    assert any(line.startswith("torch==") for line in lines)


def test_the_version_is_said_once():
    import tomllib

    text = (ROOT / "pyproject.toml").read_text()
    version = tomllib.loads(text)["project"]["version"]
    assert sivae.__version__ == version
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
