"""Whether the parts of a saved model fit together: the last letters of a table's name are its axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from sivae.model._build import Options
from sivae.model._trained import loadings_are_means

TEXT, WHOLE, NUMBER, FLAG, NAMES, TABLE = "a text", "a whole number", "a number", "true or false", "names", "a table"
KINDS: Final = {
    "genes": NAMES, "gene_order": NAMES, "rotation": TEXT, "n_training_cells": WHOLE, "n_profile": WHOLE,
    "binary": FLAG,
    "history": TABLE, "facts": TABLE, "setup": TABLE, "options": TABLE, "scaling": TABLE,
    "scaling/log": FLAG, "scaling/target": NUMBER, "scaling/unit": NUMBER,
    "facts/n_training_cells": WHOLE, "facts/validation_threshold": NUMBER, "facts/best_step": WHOLE,
    "facts/stopped": TEXT,
    "setup/layer": TEXT, "setup/batch_key": TEXT, "setup/size_factor_key": TEXT, "setup/normalize": TEXT,
    "setup/counts": FLAG, "setup/categories": TABLE, "setup/categorical_covariate_keys": NAMES,
    "setup/continuous_covariate_keys": NAMES,
    "options/n_latent": WHOLE, "options/likelihood": TEXT, "options/gamma": NUMBER, "options/seed": WHOLE,
    "options/decoder": TEXT, "options/kl_scale": TEXT, "options/profiles": TEXT, "options/n_profile": WHOLE,
    "options/architecture": TABLE, "options/dispersion": TEXT, "options/recipe": TEXT,
}  # fmt: skip
"""What a configuration has to hold."""
SOME: Final = {
    "facts/n_validation_cells": WHOLE, "facts/last_step": WHOLE, "facts/versions": TABLE, "facts/covariates": TABLE,
    "facts/train_options": TABLE,
}  # fmt: skip
"""What it may hold."""
DEFAULTS: Final = {"options/dispersion", "options/recipe"}
"""What older ones lack."""
LARGEST: Final = 2**128
"""Of a whole number, so that it can be a float as well; seeds can be long."""


def check(config: Mapping[str, Any], tables: Mapping[str, NDArray[Any]]) -> None:
    """Refuse configuration and tables that contradict each other, of which some getter would make nonsense.

    Raises
    ------
    ValueError
        If so; it says which.
    """
    _check_kinds(config)
    genes, order = config["genes"], config["gene_order"]
    if len(set(genes)) < len(genes) or not genes:
        raise ValueError("genes are no list of different names")
    if sorted(genes) != sorted(order):
        raise ValueError("gene_order does not hold the genes")
    known = {"g": len(genes), "k": int(config["options"]["n_latent"])}
    known["b"] = _design_width(config["setup"])
    for name, shape in _shapes(tables):
        for letter, size in shape:
            if known.setdefault(letter, size) != size:
                raise ValueError(f"{name} has {size} along {letter}, expected {known[letter]}")
    width = known["d"] + (known["k"] if loadings_are_means(config["options"]) else 0)
    if known["d of joint"] != width:
        raise ValueError(f"gene/joint_gd has {known['d of joint']} along d, expected {width}")
    joint = tables["joint_covariance"].shape
    if joint != (known["k"] + width,) * 2:
        raise ValueError(f"joint_covariance has shape {joint}")
    _check_history(config["history"])


def _check_kinds(config: Mapping[str, Any]) -> None:
    for path, kind in (KINDS | SOME).items():
        *parents, name = path.split("/")
        part: Any = config
        for parent in parents:
            part = part[parent]
        if name not in part:
            if path in SOME or path in DEFAULTS:
                continue
            raise ValueError(f"{path} is missing")
        if not _is(part[name], kind):
            raise ValueError(f"{path} is {str(part[name])[:40]!r}, expected {kind}")
    lists = [*config["setup"]["categories"].values()]
    if not all(_is(names, NAMES) for names in lists):
        raise ValueError("categories are no lists of names")


def _is(value: object, kind: str) -> bool:
    if kind == NAMES:
        return isinstance(value, list) and all(isinstance(name, str) for name in value)
    if kind in (TEXT, FLAG, TABLE):
        return isinstance(value, {TEXT: str, FLAG: bool, TABLE: dict}[kind])
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST
    return whole or (kind == NUMBER and isinstance(value, float))


def _design_width(setup: Mapping[str, Any]) -> int:
    keys = [*([setup["batch_key"]] if setup["batch_key"] else []), *setup["categorical_covariate_keys"]]
    return sum(len(setup["categories"][key]) for key in keys) + len(setup["continuous_covariate_keys"])


def _shapes(tables: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    for name, table in tables.items():
        group, _, rest = name.rpartition("/")
        letters = rest.rpartition("_")[2] if "_" in rest and rest != "joint_covariance" else ""
        if not letters:
            continue
        if len(letters) != table.ndim:
            raise ValueError(f"{name} has {table.ndim} axes, expected {len(letters)}")
        own = {"q": f"q of {group}"}  # profiles stored in varm have a width of their own
        if name == "gene/joint_gd":
            own["d"] = "d of joint"
        yield name, [(own.get(letter, letter), size) for letter, size in zip(letters, table.shape, strict=True)]


def _check_history(history: Mapping[str, Sequence[float]]) -> None:
    if not all(isinstance(values, list) and all(_is(v, NUMBER) for v in values) for values in history.values()):
        raise ValueError("the columns of the history are no lists of numbers")
    columns = {name: np.asarray(values, dtype=float) for name, values in history.items()}
    if "step" not in columns or {column.shape for column in columns.values()} != {columns["step"].shape}:
        raise ValueError("the columns of the history have different lengths")
    if columns["step"].ndim != 1 or not len(columns["step"]):
        raise ValueError("the history has no rows")


def check_sizes(options: Options, n_profile: int, weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse sizes that need more numbers than there are, before memory is asked for.

    Raises
    ------
    ValueError
        If so.
    """
    there = sum(tensor.numel() for tensor in weights.values())
    if options.published is None:
        a = options.architecture
        chains = [(n_profile, *a.feature_encoder, options.n_latent), (*a.cell_encoder, options.n_latent),
                  (*a.cell_decoder, a.n_joint), (*a.feature_decoder, a.n_joint)]  # fmt: skip
    else:
        width = n_profile if options.published.has_features else 1
        chains = [(width, *options.published.encoder), (*options.published.encoder, options.n_latent)]
        if not options.published.linear_decoder:
            chains.append(options.published.decoder)
    for chain in chains:
        needed = max([*(a * b for a, b in pairwise(chain)), *chain])
        if needed > there:
            raise ValueError(f"sizes {chain} need more than the {there} weights that there are")
