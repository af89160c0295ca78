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

FACTS: Final = ("n_training_cells", "validation_threshold", "best_step", "stopped")
"""What is asked of the facts wherever a model is shown or used."""
LARGEST: Final = 2**31


def check(config: Mapping[str, Any], tables: Mapping[str, NDArray[Any]]) -> None:
    """Refuse configuration and tables that contradict each other, of which some getter would make nonsense.

    Raises
    ------
    ValueError
        If so; it says which.
    """
    genes, order = config["genes"], config["gene_order"]
    if not all(isinstance(name, str) for name in genes) or len(set(genes)) < len(genes) or not genes:
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
    gone = [name for name in FACTS if name not in config["facts"]]
    if gone:
        raise ValueError(f"facts lack {', '.join(gone)}")


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
        if needed > there or needed > LARGEST:
            raise ValueError(f"sizes {chain} need more than the {there} weights that there are")
