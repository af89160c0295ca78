"""Sphinx configuration: builds without network."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "siVAE"
author = "siVAE developers"
copyright = "2026, siVAE developers"
release = version_of("sivae-tools")
version = ".".join(release.split(".")[:2])

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "sphinx_book_theme"
html_title = "siVAE"
html_theme_options = {"show_toc_level": 2, "use_download_button": False}
html_copy_source = False

napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
