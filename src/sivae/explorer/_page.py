"""The page: markup, style, scripts and data in one text, with a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources
from typing import TYPE_CHECKING, Final

from sivae.explorer._blobs import as_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sivae.explorer._payload import Payload

SCRIPTS: Final = (
    "data", "statistics", "colors", "points", "map", "draw", "pointer", "legend", "card", "selection", "search",
    "export", "main",
)  # fmt: skip
"""In the order in which they are joined, inside one function: nothing of them is global."""
LIBRARY: Final = "twgl.min.js"


def parts(payload: Payload) -> Iterator[str]:
    """The text of the page, a part at a time."""
    library, script, style = _text("vendor", LIBRARY), _script(), _text("page", "explorer.css")
    policy = (
        f"default-src 'none'; script-src '{_hash(library)}' '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    fields = {
        "POLICY": policy,
        "TITLE": html.escape(payload.account["title"]),
        "STYLE": f"<style>{style}</style>",
        "LIBRARY": f"<script>{library}</script>",
        "SCRIPT": f"<script>{script}</script>",
    }
    for number, part in enumerate(_text("page", "page.html").split("@@")):
        if number % 2 == 0:
            yield part
        elif part == "DATA":
            yield from _data(payload)
        else:
            yield fields[part]


def _data(payload: Payload) -> Iterator[str]:
    yield f'<script type="application/json" id="account">{as_json(payload.account)}</script>\n'
    for name, text in payload.blobs.texts.items():
        yield f'<script type="application/octet-stream" id="{name}">{text}</script>\n'


def _script() -> str:
    joined = "\n".join(_text("page", f"{name}.js") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{joined}\n}})();\n'


def _text(folder: str, name: str) -> str:
    return resources.files("sivae.explorer").joinpath(folder, name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
