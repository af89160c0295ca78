"""Templates filled in; every name and number is escaped by the template engine."""

from __future__ import annotations

import base64
from importlib import resources
from typing import TYPE_CHECKING, Any

from sivae import __version__
from sivae._extras import require

if TYPE_CHECKING:
    from collections.abc import Mapping


def render(template: str, *, pictures: Mapping[str, bytes], values: Mapping[str, Any]) -> str:
    """Return a page: a template of this folder, with pictures as base64 and the version of the package."""
    jinja2 = require("jinja2", extra="report")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_read),
    )
    packed = {name: base64.b64encode(data).decode("ascii") for name, data in pictures.items()}
    text: str = environment.get_template(template).render(pictures=packed, version=__version__, **values)
    return text


def _read(name: str) -> str:
    return resources.files("sivae.report").joinpath(name).read_text(encoding="utf-8")
