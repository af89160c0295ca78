"""Saved models of older formats, brought to today's."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Parts: TypeAlias = tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, NDArray[Any]]]


def as_of_today(config: dict[str, Any], weights: dict[str, torch.Tensor], tables: dict[str, NDArray[Any]]) -> Parts:
    """What models of format 1 lack, set to what they did.

    None of them knew zero inflation or values read as 0 or 1, or kept noise on the scale of v and derivatives (NaN). At
    first a batch had no gain, covariates were no inputs of the perceptrons, and profiles of cells held every training
    cell.
    """
    if int(config["format"]) >= 2:
        return config, weights, tables
    shape_gb, n_joint = tables["gene/offset_gb"].shape, len(tables["linear/intercept_d"])
    then: dict[str, NDArray[Any]] = {
        "gene/inflation_g": np.full(shape_gb[0], np.nan, np.float32),
        "gene/noise_variance_g": np.full(shape_gb[0], np.nan, np.float32),
        "gene/encoder_gk": np.full(tables["gene/loading_gk"].shape, np.nan, np.float32),
        "gene/log_gain_gb": np.zeros(shape_gb, np.float32),
        "linear/design_bd": np.zeros((shape_gb[1], n_joint)),
    }
    no_gain = {"log_gain_bg": torch.zeros_like(weights["shift_bg"])}
    return {**config, "binary": False, "options": _options(config)}, no_gain | weights, then | tables


def _options(config: dict[str, Any]) -> dict[str, Any]:
    options = dict(config["options"])
    options["architecture"] = {"encode_covariates": False, "decode_covariates": False} | options["architecture"]
    if options["profiles"] == "cells":
        options["n_profile"] = max(int(options["n_profile"]), int(config["n_profile"]))
    return options
