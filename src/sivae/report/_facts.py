"""What was done, read from the AnnData: data, model, training, options, versions, timings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae import _keys
from sivae._errors import SetupError
from sivae.pl import _history, _read

if TYPE_CHECKING:
    from anndata import AnnData

LIKELIHOODS: Final = {
    "normal": "normal, on standardised values",
    "nb": "negative binomial, on counts",
    "zinb": "zero-inflated negative binomial, on counts",
    "poisson": "Poisson, on counts",
    "bernoulli": "Bernoulli with complementary log-log link, on values read as 0 or 1",
}
DISPERSIONS: Final = {
    "gene": "one per gene",
    "gene-batch": "one per gene and batch",
    "gene-cell": "per gene and cell, from the cell's joint layer",
    "cell": "one per cell, shared by all genes",
}
NOISELESS: Final = ("poisson", "bernoulli")
"""Likelihoods without a noise parameter."""
STOPPED: Final = {
    "plateau": "because the validation loss no longer improved",
    "all steps done": "after all steps planned",
    "interrupted": "because it was interrupted",
}


def number(value: float, digits: int = 3) -> str:
    """Write a number with a true minus sign; "–" for one that is not known."""
    if not np.isfinite(value):
        return "–"
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def record(adata: AnnData) -> dict[str, Any]:
    """Return `uns["sivae"]`, checked to be that of a trained model."""
    found = dict(adata.uns.get(_keys.UNS, {}))
    missing = [key for key in ("setup", "options", "facts", "history") if key not in found]
    if missing:
        raise SetupError(
            f"Found no {', '.join(missing)} in uns[{_keys.UNS!r}], expected what training leaves. "
            "Call model.annotate(adata) first."
        )
    return found


def collect(adata: AnnData, *, label: str | None, recipe: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Return every fact that the page states outside its axes and tables of genes, as text.

    `recipe` are the first rows of the table of the model, where the recipe is not the default one.
    """
    found = record(adata)
    setup, options, facts, run = (dict(found.get(key, {})) for key in ("setup", "options", "facts", "run"))
    return {
        "title": str(run.get("source", "")) or "Cells and genes in one map",
        "label": label,
        "data": _data(adata, setup, facts, run),
        "model": [*recipe, *_model(adata, options, facts)],
        "training": training(adata),
        "r2": explained(adata),
        "n_cells": f"{adata.n_obs:,}",
        "n_modelled": f"{int(_read.modelled(adata).sum()):,}",
        "k": int(options["n_latent"]),
        "likelihood": _likelihood(options),
        "normalize": str(setup.get("normalize", "")),
        "gamma": f"{float(options['gamma']):g}",
        "options": _flat({**_read_options(options), **dict(facts.get("train_options", {})), **_blocks(facts)}),
        "versions": _flat(dict(facts.get("versions", {}))),
        "seconds": [(str(k), number(float(v), 1)) for k, v in dict(run.get("seconds", {})).items()],
        "hashes": [(words, str(run[key])) for key, words in _HASHES.items() if key in run],
    }


_HASHES: Final = {"sha256": "SHA-256 of the data", "genes_sha256": "SHA-256 of the list of modelled genes"}


def _likelihood(options: Mapping[str, Any]) -> str:
    if published(options) and not options["published"]["variational"]:
        return "squared error, on standardised values"
    return LIKELIHOODS.get(str(options["likelihood"]), str(options["likelihood"]))


def _read_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the recipe reads: the published one has sizes of its own."""
    return {name: value for name, value in options.items() if name != "architecture" or not published(options)}


def _blocks(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: facts[key] for key in ("batch_size", "feature_batch_size") if key in facts}


def _data(
    adata: AnnData, setup: Mapping[str, Any], facts: Mapping[str, Any], run: Mapping[str, Any]
) -> list[tuple[str, str]]:
    trained, embedded = _read.modelled(adata), np.isfinite(_read.gene_positions(adata)).all(axis=1)
    covariates = [str(setup.get("batch_key", "")), *map(str, setup.get("categorical_covariate_keys", ()))]
    covariates += [str(key) for key in setup.get("continuous_covariate_keys", ())]
    rows = [
        ("Cells", f"{adata.n_obs:,}"),
        ("Genes in the data", f"{adata.n_vars:,}"),
        ("Genes modelled", f"{int(trained.sum()):,}"),
        ("Genes placed afterwards", f"{int((embedded & ~trained).sum()):,}"),
        ("Training cells", f"{int(facts['n_training_cells']):,}"),
        ("Validation cells", f"{int(facts['n_validation_cells']):,}"),
        ("Values", f"layer {setup['layer']}" if setup.get("layer") else "X"),
        ("Covariates", ", ".join(name for name in covariates if name) or "none"),
    ]
    shares = dict(facts.get("covariates", {}))
    for name, share in zip(shares.get("name", ()), shares.get("variance_share", ()), strict=True):
        rows.append((f"Variance taken off for {name}", f"{number(100 * float(share), 1)} %"))
    if setup.get("size_factor_key"):
        rows.append(("Size factor", str(setup["size_factor_key"])))
    return [*rows, ("How genes were chosen", str(run["chosen"]))] if run.get("chosen") else rows


def _model(adata: AnnData, options: Mapping[str, Any], facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    unused = np.flatnonzero(_read.unused_axes(adata)) + 1
    likelihood, dispersion = str(options["likelihood"]), str(options.get("dispersion", "gene"))
    noise = "none" if likelihood in NOISELESS else DISPERSIONS.get(dispersion, dispersion)
    if published(options) and not options["published"]["variational"]:
        noise = "one for all, the root mean squared error"
    return [
        ("Likelihood", _likelihood(options)),
        ("Noise parameter", noise),
        ("Axes", f"{int(options['n_latent'])}"),
        *([] if published(options) else [("Axes with a signal at the start", f"{int(facts['n_signal_axes'])}")]),
        ("Unused at the end", ", ".join(f"axis {axis}" for axis in unused) or "no axis"),
        ("Weight of the linear term (gamma)", f"{float(options['gamma']):g}"),
        ("Seed", f"{int(options['seed'])}"),
    ]


def published(options: Mapping[str, Any]) -> bool:
    """Whether the model is of the published recipe: a random start and phases, loadings as trained."""
    return str(options.get("recipe", "default")) == "choi2023"


def training(adata: AnnData) -> dict[str, Any]:
    """Return what the validation loss says about training, as numbers and as text."""
    facts = dict(record(adata)["facts"])
    columns = _history.read_history(adata)
    validation = columns.get("validation_loss", np.array([np.nan]))
    known = bool(np.isfinite(validation).any())
    start = float(validation[0]) if known else np.nan
    best = float(validation[_history.best_row(columns)]) if known else np.nan
    return {
        "known": known,
        "start": number(start), "best": number(best), "last": number(float(validation[-1])),
        "gain": number(start - best), "best_step": int(facts["best_step"]), "last_step": int(columns["step"][-1]),
        "improved": bool(best < start), "end_is_worse": bool(validation[-1] > start),
        "stopped": STOPPED.get(str(facts["stopped"]), str(facts["stopped"])),
        "plateau": str(facts["stopped"]) == "plateau",
        "seconds": number(float(columns["seconds"][-1]), 1) if "seconds" in columns else "–",
    }  # fmt: skip


def explained(adata: AnnData) -> dict[str, str]:
    """Return how well modelled genes are explained on validation cells."""
    r2_g = adata.var[_keys.R2].to_numpy(dtype=np.float64)[_read.modelled(adata)]
    r2_g = r2_g[np.isfinite(r2_g)]
    if not len(r2_g):
        return {"median": "–", "top": "–", "n_above": "–", "n": "0"}
    return {
        "median": number(float(np.median(r2_g))),
        "top": number(float(np.quantile(r2_g, 0.9))),
        "n_above": f"{int((r2_g > 0).sum()):,}",
        "n": f"{len(r2_g):,}",
    }


def _flat(entries: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested entries to rows of text."""
    rows: list[tuple[str, str]] = []
    for key, value in entries.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            listed = isinstance(value, list | tuple | np.ndarray)
            text = ", ".join(map(str, np.asarray(value).ravel())) if listed else str(value)
            rows.append((f"{prefix}{key}", text if text else "not set"))
    return rows
