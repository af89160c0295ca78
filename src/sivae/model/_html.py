"""A model as a notebook shows it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from sivae.data._setup import Setup
from sivae.model._build import Options


def model_html(
    options: Options, setup: Setup, *, n_cells: int | None, n_genes: int, facts: Mapping[str, Any] | None
) -> str:
    """A short table of data, likelihood, axes and training; everything that comes from the data is escaped.

    Parameters
    ----------
    options, setup
        Of the model.
    n_cells
        Cells of the AnnData at hand; None where there is none.
    n_genes
        Modelled genes.
    facts
        Of the training; None before it.
    """
    names = [setup.batch_key, *setup.categorical_covariate_keys, *setup.continuous_covariate_keys]
    values = f"layer {setup.layer}" if setup.layer else "X"
    rows = {
        "data": f"{'' if n_cells is None else f'{n_cells:,} cells x '}{n_genes:,} genes",
        "values": f"{values}, {'log1p of size-corrected counts' if setup.normalize == 'log1p' else 'as stored'}",
        "covariates": ", ".join(str(name) for name in names if name) or "none",
        "likelihood": f"{options.likelihood}, noise per {options.dispersion}",
        "recipe": f"{options.recipe}, gamma {options.gamma:g}",
        "axes": f"{options.n_latent}",
        "training": _training(facts),
    }
    cell = "text-align:left;padding:0.1em 0.8em 0.1em 0"
    body = "".join(
        f'<tr><th style="{cell}">{escape(name)}</th><td style="{cell}">{escape(text)}</td></tr>'
        for name, text in rows.items()
    )
    return f"<div><strong>SiVAE</strong><table>{body}</table></div>"


def _training(facts: Mapping[str, Any] | None) -> str:
    if facts is None:
        return "not trained"
    cells = f" on {int(facts['n_training_cells']):,} cells" if "n_training_cells" in facts else ""
    return f"trained{cells}, best step {facts['best_step']} ({facts['stopped']})"
