"""What README, CONTRIBUTING and the pages under docs/ name is there: functions, arguments, commands, options, links."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import tomllib

import click
import pages
import pytest
import typer

import sivae
from sivae import SiVAE, cli

ALL = pages.pages()
every_page = pytest.mark.parametrize("page", ALL, ids=pages.name)
NAMESPACES = (SiVAE, sivae, sivae.tl, sivae.pl, sivae.pp, sivae.io, sivae.cohort, sivae.datasets)


LANGUAGES = ("python", "bash", "text", "{code-cell}")


def code(page) -> list[str]:
    """Inline code and the lines of blocks of Python and shell."""
    shown = [block for block in pages.blocks(page) if block.language.split()[0] in LANGUAGES]
    return pages.inline(page) + [line.lstrip("!") for block in shown for line in block.text.split("\n")]


# ---------------------------------------------------------------------------------------------------------- Python


def resolve(name: str) -> object:
    """Find a dotted name below the package; modules are imported."""
    found: object = sivae
    for part in name.split(".")[1:]:
        if not hasattr(found, part) and inspect.ismodule(found):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
    return found


def names_in(page) -> set[str]:
    text = page.read_text(encoding="utf-8")
    return {found.rstrip(".") for found in re.findall(r"(?<![\w/.@-])sivae(?:\.[A-Za-z_]\w*)+", text)}


@every_page
def test_names_are_there(page):
    for name in sorted(names_in(page)):
        resolve(name)


@every_page
def test_names_of_other_packages_are_there(page):
    """Functions of anndata and scanpy that a page sends its reader to."""
    for name in sorted(set(re.findall(r"(?<![\w.])(?:anndata|scanpy)(?:\.[A-Za-z_]\w*)+", "\n".join(code(page))))):
        root = name.partition(".")[0]
        found = pytest.importorskip(root)
        for depth, part in enumerate(name.split(".")[1:], 1):
            if not hasattr(found, part):
                importlib.import_module(".".join(name.split(".")[: depth + 1]))
            found = getattr(found, part)


@every_page
def test_members_of_the_model_are_there(page):
    text = "\n".join(code(page))
    named = set(re.findall(r"\bSiVAE\.(\w+)", text)) | set(re.findall(r"(?<![\w.])model\.(\w+)\(", text))
    missing = {name for name in named if not hasattr(SiVAE, name)}
    assert not missing


@every_page
def test_errors_are_there(page):
    from sivae import _errors

    named = set(re.findall(r"\b\w+Error\b", "\n".join(pages.inline(page))))
    missing = {name for name in named if not hasattr(_errors, name)}
    assert not missing


def calls(text: str) -> list[ast.Call]:
    """Parse the calls in a piece of code; none where it is no expression."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def called(call: ast.Call) -> object | None:
    """What is called, where it is ours and can be told; `hubs(...)` is looked for in every namespace."""
    words = ast.unparse(call.func).split(".")
    if words[0] == "sivae":
        return resolve(".".join(words))
    if words[0] in ("model", "SiVAE") and len(words) == 2:
        return getattr(SiVAE, words[1])
    if len(words) == 1:
        return next((getattr(space, words[0]) for space in NAMESPACES if hasattr(space, words[0])), None)
    return None


@every_page
def test_arguments_are_there(page):
    for text in pages.inline(page):
        for call in calls(text):
            found = called(call)
            if found is None:
                continue
            known = inspect.signature(found).parameters
            wrong = {word.arg for word in call.keywords} - set(known)
            assert not wrong, f"{text}: {wrong}"


@every_page
def test_fields_are_there(page):
    """Fields of AnnData are written as the package writes them."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (pages.ROOT / "src" / "sivae").rglob("*.py"))
    named = set(re.findall(r"""["'](X_sivae\w*|sivae_\w+)["']""", page.read_text(encoding="utf-8")))
    # A module of the model may be named by its number, a standard error by its layer.
    missing = {name for name in named if name not in source and name.removesuffix("_se") not in source}
    assert not missing


# --------------------------------------------------------------------------------------------------- command line


COMMANDS: dict[str, click.Command] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def ours(text: str) -> list[list[str]]:
    """Words of every call of `sivae` in a line, from the command on; inline `fit --genes` counts as one."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return []
    found = [words[place + 1 :] for place, word in enumerate(words) if word == "sivae"]
    bare = words and words[0] in COMMANDS and any(word.startswith("-") for word in words)
    return [*found, words] if bare else found


def wrong_words(words: list[str]) -> list[str]:
    """Return what a command does not know: itself, or options."""
    while words and words[0] in ("--debug", "--version"):
        words = words[1:]
    if not words or words[0] in ("COMMAND", "--help"):
        return []
    if words[0] not in COMMANDS:
        return [words[0]] if re.fullmatch("[a-z-]+", words[0]) else []
    known = options_of(COMMANDS[words[0]]) | {"--help"}
    named = (word.split("=")[0] for word in words[1:] if re.match(r"--?[a-zA-Z]", word))
    return [f"{words[0]} {word}" for word in named if word not in known]


@every_page
def test_commands_and_options_are_there(page):
    wrong = [found for text in code(page) for words in ours(text) for found in wrong_words(words)]
    assert not wrong


OTHERS: set[str] = set()
"""Options of other programs that a page names by themselves."""


@every_page
def test_an_option_by_itself_belongs_to_a_command(page):
    known = {name for command in COMMANDS.values() for name in options_of(command)} | {"--help", "--debug"}
    named = {text.split("=")[0].split()[0] for text in pages.inline(page) if re.match(r"--[a-z]", text)}
    assert not named - known - OTHERS


def test_extras_are_described():
    declared = set(tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    install = (pages.ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    row = re.compile(r"^\| `(\w+)` \| [\w (),-]+ \|", re.MULTILINE)
    assert set(row.findall(install)) == declared
    assert set(row.findall((pages.ROOT / "README.md").read_text(encoding="utf-8"))) == declared - {"compare"}


@every_page
def test_benchmarks_are_there(page):
    if not (pages.ROOT / "bench").is_dir():
        pytest.skip("no bench/ in this release")
    text = re.sub(r"\s+", " ", page.read_text(encoding="utf-8"))
    named = set(re.findall(r"python -m bench ([a-z_]+)", text)) | set(re.findall(r"`bench ([a-z_]+)`", text))
    missing = {name for name in named - {"table"} if not (pages.ROOT / "bench" / f"{name}.py").exists()}
    assert not missing


def test_paths_of_contributing_are_there():
    """A row of "where to change what" names files that exist."""
    page = pages.ROOT / "CONTRIBUTING.md"
    paths = [path for top in ("src", "tests", "bench") for path in (pages.ROOT / top).rglob("*")]
    ends = {"/".join(path.parts[-depth:]) for path in paths for depth in (1, 2, 3)}
    missing = []
    for row in [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]:
        for name in re.findall(r"`([\w./]+(?:\.py|\.html|\.css|\.js|\.sh|\.md|/))`", row):
            if not (pages.ROOT / name).exists() and name.rstrip("/") not in ends:
                missing.append(name)
    assert not missing


# ---------------------------------------------------------------------------------------------------------- links


def anchors(page) -> set[str]:
    """Anchors as GitHub and MyST make them of headings, and those that are given."""
    text = pages.prose(page)
    found, seen = set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE)), {}
    for heading in re.findall(r"^#{1,6} +(.+?) *$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        again = seen.get(slug, 0)
        found.add(f"{slug}-{again}" if again else slug)
        seen[slug] = again + 1
    return found | set(re.findall(r'<a (?:id|name)="([\w-]+)"', text))


def links(page) -> list[str]:
    text = re.sub(r"(?<!`)`[^`\n]+`(?!`)", "", pages.prose(page))
    return [target for target in re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", text) if ":" not in target.split("/")[0]]


def broken(page) -> list[str]:
    wrong = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            wrong.append(f"{target}: no such file")
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            wrong.append(f"{target}: no such heading")
    return wrong


@every_page
def test_links_lead_somewhere(page):
    assert not broken(page)


# --------------------------------------------------------------------------------------- the tests can fail at all


def test_what_is_wrong_is_found(tmp_path):
    assert wrong_words(["fit", "cells.h5ad", "-o", "run", "--nothing"]) == ["fit --nothing"]
    assert wrong_words(["nothing"]) == ["nothing"]
    assert ours("a sentence about sivae fit --seed 1  # not --this") == [["fit", "--seed", "1"]]
    with pytest.raises(ModuleNotFoundError):
        resolve("sivae.tl.nothing")
    with pytest.raises(AttributeError):
        resolve("sivae.SiVAE.nothing")
    (call,) = calls("hubs(score='norm')")
    assert called(call) is sivae.tl.hubs
    page = tmp_path / "page.md"
    page.write_text("# A, b\n[a](#a-b) [b](#c) [c](none.md) [d](https://example.org) `[e](none.md)`\n")
    assert broken(page) == ["#c: no such heading", "none.md: no such file"]
