"""What the source may not do: run text, unpickle, start programs, reach a network, write markup unescaped."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "sivae"
FILES = sorted(SOURCE.rglob("*.py"))

MODULES = {
    "pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle", "subprocess", "pty",
    "code", "codeop", "runpy", "socket", "ssl", "socketserver", "asyncio", "http", "urllib", "urllib3", "requests",
    "httpx", "aiohttp", "ftplib", "smtplib", "poplib", "imaplib", "telnetlib", "xmlrpc", "webbrowser", "pooch",
    "fsspec", "tarfile", "zipfile", "yaml", "ctypes", "cffi", "multiprocessing", "xml", "lxml", "huggingface_hub",
    "torch.hub",
}  # fmt: skip
"""Modules that run, unpickle, unpack, load libraries or speak with other machines."""
CALLS = {
    "eval", "exec", "compile", "__import__", "breakpoint", "input", "os.system", "os.popen", "os.startfile", "os.fork",
    "pickle.load", "pickle.loads", "pickle.dump", "pickle.dumps", "torch.load", "torch.save", "torch.jit.load",
    "torch.jit.save", "torch.package", "joblib.load", "joblib.dump", "np.load", "numpy.load", "np.save", "numpy.save",
    "np.savez", "np.savez_compressed", "np.fromregex", "np.DataSource", "pd.read_pickle", "pandas.read_pickle",
    "pd.read_hdf", "pd.HDFStore", "pd.eval", "pd.read_html", "pd.read_clipboard", "tempfile.mktemp",
    "shutil.unpack_archive", "torch.compile",
}  # fmt: skip
"""Functions by the name under which they are called."""
METHODS = {
    "to_pickle", "to_hdf", "read_pickle", "query", "extractall", "all_gather_object", "gather_object",
    "broadcast_object_list", "broadcast_object", "scatter_object_list", "send_object_list",
    "recv_object_list", "register_for_checkpointing", "load_state", "save_state", "load_module", "from_string",
}  # fmt: skip
"""Methods of whatever object: they pickle, evaluate text, unpack, or fill in templates that are not files of ours."""
STARTS = re.compile(r"os\.(exec|spawn|posix_spawn)\w*")
WORDS = {"allow_pickle", "shell", "weights_only", "trust_remote_code", "autoescape"}
"""Arguments that say that one of these is done."""

ALLOWED = {
    ("_memory.py", "ctypes"): "gives freed memory back (malloc_trim of the C library of the process); loads no file",
    ("cohort/_engine.py", "multiprocessing"): "the name of an error of joblib's back end; starts nothing",
    ("graph/_relevance.py", "query"): "of a tree of SciPy: nearest points, no text",
    ("report/_page.py", "autoescape"): "True: the value is tested below",
}
"""File and what it does, with the reason."""


def dotted(node):
    """The name of what is called, as far as it is one."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def real_names(tree):
    """What imported names stand for: `from os import system as s` makes `s` os.system."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def findings(text):
    """What a source does that is forbidden."""
    tree = ast.parse(text)
    names, found = real_names(tree), set()
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    found |= {m for m in MODULES for name in [*modules, *names.values()] if name == m or name.startswith(f"{m}.")}
    found |= CALLS & set(names.values())
    for node in ast.walk(tree):
        name = dotted(node) if isinstance(node, ast.Attribute | ast.Name) else ""
        first, _, rest = name.partition(".")
        full = f"{names.get(first, first)}{'.' if rest else ''}{rest}"
        full = full.removeprefix("builtins.")
        for one in {name, full, full.replace("numpy.", "np."), full.replace("pandas.", "pd.")} - {""}:
            if one in CALLS or STARTS.fullmatch(one):
                found.add(one)
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            found.add(node.attr)
        if isinstance(node, ast.Call):
            found |= {word.arg for word in node.keywords if word.arg in WORDS}
            constant = isinstance(node.args[0], ast.Constant) if node.args else False
            if dotted(node.func).endswith(("import_module", "require")) and constant:
                target = str(node.args[0].value)
                found |= {m for m in MODULES if target == m or target.startswith(f"{m}.")}
            if dotted(node.func) == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
                found |= {node.args[1].value} & (CALLS | METHODS)
    return found


def place(path):
    return path.relative_to(SOURCE).as_posix()


def test_the_source_does_nothing_that_is_forbidden():
    found = {(place(path), what) for path in FILES for what in findings(path.read_text(encoding="utf-8"))}
    assert found == set(ALLOWED)


CAUGHT = [
    ("eval('1')", "eval"), ("x = exec\nx('1')", "exec"), ("import builtins\nbuiltins.eval('1')", "eval"),
    ("import pickle", "pickle"), ("from pickle import loads", "pickle"),
    ("import torch\ntorch.load('x')", "torch.load"),
    ("from torch import load as f\nf('x')", "torch.load"), ("import numpy as np\nnp.load('x')", "np.load"),
    ("import numpy\nnumpy.load('x')", "np.load"), ("from numpy import load\nload('x')", "np.load"),
    ("import joblib\njoblib.dump(1, 'x')", "joblib.dump"), ("f(x, allow_pickle=True)", "allow_pickle"),
    ("import pandas as pd\npd.read_pickle('x')", "pd.read_pickle"), ("frame.to_pickle('x')", "to_pickle"),
    ("import os\nos.system('x')", "os.system"), ("from os import system as s\ns('x')", "os.system"),
    ("import os\nos.execv('x', [])", "os.execv"), ("import subprocess", "subprocess"),
    ("frame.query('a > 1')", "query"),
    ("import urllib.request", "urllib"), ("from urllib import request", "urllib"), ("import socket", "socket"),
    ("import importlib\nimportlib.import_module('pickle')", "pickle"), ("require('requests', extra='x')", "requests"),
    ("import torch.distributed as d\nd.all_gather_object([], 1)", "all_gather_object"),
    ("getattr(x, 'eval')('1')", "eval"),
    ("import tarfile", "tarfile"), ("jinja2.Environment(autoescape=False)", "autoescape"), ("f(shell=True)", "shell"),
    ("env.from_string(text)", "from_string"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "what"), CAUGHT)
def test_it_would_be_found(text, what):
    assert what in findings(text)


def test_modules_are_imported_by_names_of_ours_alone():
    """A name that is worked out goes to import_module in two places, of which neither reads it from data."""
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and dotted(node.func).endswith("import_module"):
                found.add(place(path))
    assert found == {"__init__.py", "_extras.py"}


def test_templates_are_escaped_and_are_files_of_ours():
    text = (SOURCE / "report" / "_page.py").read_text(encoding="utf-8")
    assert "autoescape=True" in text and "StrictUndefined" in text
    uses = {path for path in FILES if re.search(r"jinja2\.|Markup\b|markupsafe", path.read_text(encoding="utf-8"))}
    assert {place(path) for path in uses} == {"report/_page.py"}
    for page in (SOURCE / "report").glob("*.html"):
        filled = page.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape|\|\s*tojson|\|\s*xmlattr|<script|\bon[a-z]+\s*=", filled), page
        assert not re.search(r"<[^>]*=\{\{", filled), f"{page.name}: an attribute without quotes"
        addresses = re.findall(r"(?:src|href)=\"([^\"]*)\"", filled)
        inside = ("#", "data:image/png;base64,{{", "https://doi.org/")
        assert all(to.startswith(inside) for to in addresses), page


SCRIPT = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment|DOMParser|"
    r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|\bimport\(|srcdoc|localStorage|\.cookie|postMessage|"
    r"setTimeout\([\"'`]|https?://(?!www\.w3\.org/)"
)


@pytest.mark.parametrize("path", sorted((SOURCE / "explorer" / "page").iterdir()), ids=lambda path: path.name)
def test_the_page_of_the_explorer_sets_text_and_asks_for_nothing(path):
    found = SCRIPT.search(path.read_text(encoding="utf-8"))
    assert found is None, f"{path.name}: {found}"


def test_markup_of_models_in_notebooks_is_made_in_one_place():
    uses = {
        place(path) for path in FILES if re.search(r"_repr_html_|</t[dh]>|<table", path.read_text(encoding="utf-8"))
    }
    assert uses == {"model/_sivae.py", "model/_html.py"}
