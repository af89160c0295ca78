"""The model card: what a saved model was trained on, how, how it is loaded and read, and its limits; in Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sivae._whole import names_hash

SHOWN: Final = 10
"""Genes named in the card."""
LONGEST: Final = 60
"""Characters of a name that are shown."""
SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#|~:@$]|(?<=www)\.)", re.IGNORECASE)
DOI: Final = "10.1186/s13059-023-02850-y"
LIKELIHOODS: Final = {
    "normal": "Normal, on standardised values",
    "nb": "negative binomial, on counts",
    "zinb": "zero-inflated negative binomial, on counts",
    "poisson": "Poisson, on counts",
    "bernoulli": "Bernoulli, on values read as 0 or 1",
}
STOPPED: Final = {
    "plateau": "ended because the validation loss no longer improved",
    "all steps done": "all steps planned were done",
    "interrupted": "interrupted by the user",
}
LOAD: Final = """\
from sivae import SiVAE

model = SiVAE.load(".")  # the folder of this file
loadings = model.get_feature_representation()  # genes x axes
"""
CHECK: Final = "sha256sum --check checksums.sha256"


def of_model(config: Mapping[str, Any]) -> str:
    """The card, from what `config.json` holds and nothing else: the same model gives the same bytes.

    Parameters
    ----------
    config
        As it is saved.

    Returns
    -------
    Markdown. Names from the data (genes, columns, layer) are escaped for Markdown and HTML; no cell is named.
    """
    genes, options = list(map(str, config["genes"])), config["options"]
    parts = {
        f"siVAE model of {len(genes):,} genes in {options['n_latent']} axes": _intro(),
        "Data": _list(_data(config)),
        "Genes": _list(_genes(genes)),
        "Training": _list(_training(config)),
        "How to load it": _load(),
        "How to read it": _reading(),
        "Limits": _limits(),
        "Citation": _citation(),
    }
    marks = ["#", *["##"] * (len(parts) - 1)]
    return "\n".join(f"{mark} {title}\n\n{text}" for mark, (title, text) in zip(marks, parts.items(), strict=True))


def escape(text: object) -> str:
    """A name as Markdown and HTML show it: nothing in it is markup, a link or a line end; cut where it is long."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))
    shown = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
    return SPECIAL.sub(r"\\\1", html.escape(shown, quote=True)).replace("&\\#x27;", "&#x27;")


def _list(rows: Sequence[tuple[str, str]]) -> str:
    return "".join(f"- {name}: {value}\n" for name, value in rows if value)


def _intro() -> str:
    return (
        "siVAE places cells and genes in the same axes. This folder holds a trained model: no expression values, no\n"
        "names of cells. Its sizes, options and genes are in `config.json`, its numbers in `weights.safetensors` and\n"
        "`tables.safetensors`, the SHA-256 of each file in `checksums.sha256`.\n"
    )


def _data(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    setup, facts = config["setup"], config["facts"]
    values = f"layer {escape(setup['layer'])}" if setup["layer"] else "X"
    kind = "whole numbers (counts)" if setup["counts"] else "numbers taken as they are"
    if config.get("binary"):
        kind += ", read as 0 or 1"
    if setup["normalize"] == "log1p":
        kind += "; modelled after division by the cell's size and log1p where the likelihood is Normal"
    columns = [f"{escape(key)} ({len(setup['categories'][key]):,} categories)" for key in _categorical(setup)]
    columns += [f"{escape(key)} (a number)" for key in setup["continuous_covariate_keys"]]
    batch = f"; {escape(setup['batch_key'])} is the batch" if setup["batch_key"] else ""
    return [
        ("Training cells", f"{int(facts['n_training_cells']):,}"),
        ("Validation cells", f"{int(facts.get('n_validation_cells', 0)):,}"),
        ("Values", f"{values}, {kind}"),
        ("Size factors", f"column {escape(setup['size_factor_key'])}" if setup["size_factor_key"] else ""),
        ("Covariates kept out of the map", (", ".join(columns) + batch) or "none"),
    ]


def _categorical(setup: Mapping[str, Any]) -> list[str]:
    return [*([setup["batch_key"]] if setup["batch_key"] else []), *setup["categorical_covariate_keys"]]


def _genes(genes: Sequence[str]) -> list[tuple[str, str]]:
    first = ", ".join(escape(gene) for gene in genes[:SHOWN])
    more = f" and {len(genes) - SHOWN:,} more" if len(genes) > SHOWN else ""
    return [
        ("Number", f"{len(genes):,}"),
        ("First by name", first + more),
        ("SHA-256 of the sorted names, joined by line ends", f"`{names_hash(genes)}`"),
    ]


def _training(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    options, facts = config["options"], config["facts"]
    likelihood = str(options["likelihood"])
    noise = "" if likelihood in ("poisson", "bernoulli") else f"per {options.get('dispersion', 'gene')}"
    versions = ", ".join(f"{escape(name)} {escape(number)}" for name, number in facts.get("versions", {}).items())
    stopped, last = str(facts["stopped"]), facts.get("last_step", config["history"]["step"][-1])
    return [
        ("Recipe", escape(options.get("recipe", "default"))),
        ("Likelihood", LIKELIHOODS.get(likelihood, escape(likelihood))),
        ("Noise", noise),
        ("Axes", f"{int(options['n_latent'])}, rotation {escape(config['rotation'])}"),
        ("Weight of the linear term (gamma)", f"{float(options['gamma']):g}"),
        ("Seed", f"{int(options['seed'])}"),
        ("Steps", f"{last:g}, {STOPPED.get(stopped, escape(stopped))}; best step {facts['best_step']}"),
        ("Validation loss per cell", _losses(config["history"], int(facts["best_step"]))),
        ("Versions", versions),
    ]


def _losses(history: Mapping[str, Sequence[float]], best_step: int) -> str:
    """Validation loss at the start and at the best step; empty where nobody watched."""
    steps, losses = list(history["step"]), list(history.get("validation_loss", ()))
    known = [(step, loss) for step, loss in zip(steps, losses, strict=False) if loss == loss]
    at_best = [loss for step, loss in known if step == best_step]
    if not known:
        return "none: no validation cells"
    kept = f", {at_best[-1]:.4f} at the best step" if at_best else ""
    return f"{known[0][1]:.4f} at step {known[0][0]:g}{kept}"


def _load() -> str:
    return (
        f"Install `sivae-tools`, then, in this folder:\n\n```python\n{LOAD}```\n\n"
        "`model.get_latent_representation(adata)` places cells: `adata` has these genes by name, with values of the\n"
        "same kind as above. Loading runs no code from the folder and refuses a file that is not as it was written.\n"
        f"To check the files without siVAE: `{CHECK}`. Arrays can be read with any reader of safetensors.\n"
    )


def _reading() -> str:
    return (
        "- The loading of a gene on an axis is the change of the gene, on its standardised scale, when a cell moves\n"
        "  by one along the axis; for counts, that of the log rate in units of the gene's scale.\n"
        "- Genes far out on an axis say what it stands for. Genes near the origin follow no axis.\n"
        "- The sign of an axis has no meaning by itself.\n"
        "- Each loading has a width (`return_dist=True`); it covers what the data leave open given this model.\n"
    )


def _limits() -> str:
    return (
        "- Loadings describe how genes vary together in the training cells. They say nothing of cause.\n"
        "- Cells of other tissues, species or assays get a position as well; it need not mean anything.\n"
        "- Another seed, other genes or another number of axes gives other axes; compare several before relying on\n"
        "  one.\n"
        "- Checksums show damage. They do not show who made the folder.\n"
        "- The names of genes, columns and categories are in `config.json`.\n"
    )


def _citation() -> str:
    return (
        "Choi Y, Li R, Quon G. siVAE: interpretable deep generative models for single-cell transcriptomes.\n"
        f"Genome Biology 24:29 (2023). [doi:{DOI}](https://doi.org/{DOI})\n"
    )
