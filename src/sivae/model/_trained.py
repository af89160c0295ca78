"""Everything that training leaves behind beside the module, and its way into tables and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sivae.data._expression import Design, Reader
from sivae.data._scaling import Scaling
from sivae.data._setup import Setup
from sivae.data._split import Split
from sivae.model._build import Options
from sivae.model._linear import LinearPart
from sivae.model._predict import GeneTable
from sivae.nn._module import Architecture
from sivae.nn._published_options import PublishedOptions
from sivae.stats._spectrum import Spectrum


@dataclass(frozen=True)
class Trained:
    """State of a trained model; no expression values and no cell names."""

    reader: Reader
    table: GeneTable
    linear: LinearPart
    joint_covariance: NDArray[np.float64]
    spectrum: Spectrum
    history: dict[str, Any]
    facts: dict[str, Any]
    rotation_kk: NDArray[np.float64]
    rotation: str = "none"
    stored_gq: NDArray[np.float32] | None = None
    """Rows of the `varm` array that profiles were taken from, where they were."""
    validation_m: NDArray[np.float64] | None = None
    """Hashes of the validation cells, where they were named."""

    def split(self) -> Split:
        """Which cells validated."""
        return Split(float(self.facts["validation_threshold"]), self.validation_m)

    def loadings(self, table: GeneTable | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and variance of v in the rotated axes, (g, k) each; of the modelled genes if no table is given."""
        table = self.table if table is None else table
        variance_gk = np.einsum("ik,gij,jk->gk", self.rotation_kk, table.covariance_gkk, self.rotation_kk)
        return table.loading_gk @ self.rotation_kk, variance_gk

    def rotated_covariance(self) -> NDArray[np.float64]:
        """Covariance of (z, remainder of h) with z in the rotated axes, (k+d, k+d)."""
        k = len(self.rotation_kk)
        turn = np.eye(len(self.joint_covariance))
        turn[:k, :k] = self.rotation_kk
        return np.asarray(turn.T @ self.joint_covariance @ turn)

    def to_tables(self) -> dict[str, NDArray[Any]]:
        """Every array by name."""
        scaling, design = self.reader.scaling, self.reader.design
        tables = {f"gene/{name}": getattr(self.table, name) for name in GeneTable.__dataclass_fields__}
        if self.stored_gq is not None:
            tables["stored_gq"] = self.stored_gq
        if self.validation_m is not None:
            tables["validation_m"] = self.validation_m
        return tables | {
            "scaling/mean_g": scaling.mean_g,
            "scaling/sd_g": scaling.sd_g,
            "scaling/share_g": scaling.share_g,
            "design/mean_b": design.mean_b,
            "design/sd_b": design.sd_b,
            "linear/intercept_d": self.linear.intercept_d,
            "linear/slope_kd": self.linear.slope_kd,
            "linear/design_bd": self.linear.design_bd,
            "spectrum/values_q": self.spectrum.values_q,
            "spectrum/vectors_gq": self.spectrum.vectors_gq,
            "joint_covariance": self.joint_covariance,
            "rotation_kk": self.rotation_kk,
        }

    def to_config(self) -> dict[str, Any]:
        """Everything that is not an array."""
        scaling = self.reader.scaling
        return {
            "setup": self.reader.setup.to_record(),
            "genes": list(self.reader.genes),
            "scaling": {"log": scaling.log, "target": scaling.target, "unit": scaling.unit},
            "binary": self.reader.binary,
            "n_training_cells": self.spectrum.n_cells,
            "rotation": self.rotation,
            "history": self.history,
            "facts": self.facts,
        }

    @classmethod
    def from_saved(cls, config: dict[str, Any], tables: dict[str, NDArray[Any]]) -> Trained:
        """The inverse of `to_config` and `to_tables`."""
        scaling = Scaling(
            bool(config["scaling"]["log"]),
            float(config["scaling"]["target"]),
            tables["scaling/mean_g"],
            tables["scaling/sd_g"],
            tables["scaling/share_g"],
            float(config["scaling"]["unit"]),
        )
        design = Design(tables["design/mean_b"], tables["design/sd_b"])
        spectrum = Spectrum(tables["spectrum/values_q"], tables["spectrum/vectors_gq"], int(config["n_training_cells"]))
        setup = Setup.from_record(config["setup"])
        return cls(
            reader=Reader(setup, tuple(config["genes"]), design, scaling, bool(config["binary"])),
            table=GeneTable(**{name: tables[f"gene/{name}"] for name in GeneTable.__dataclass_fields__}),
            linear=LinearPart(
                tables["linear/intercept_d"],
                tables["linear/slope_kd"],
                tables["linear/design_bd"],
                published=loadings_are_means(config["options"]),
            ),
            joint_covariance=tables["joint_covariance"],
            spectrum=spectrum,
            history=config["history"],
            facts=config["facts"],
            rotation_kk=tables["rotation_kk"],
            rotation=config["rotation"],
            stored_gq=None if config["options"]["profiles"] in ("principal", "cells") else tables["stored_gq"],
            validation_m=tables.get("validation_m"),
        )


def loadings_are_means(options: dict[str, Any]) -> bool:
    """Whether it is the published recipe with a feature tower."""
    published = options.get("published")
    return published is not None and published["model"] == "sivae"


def options_to_config(options: Options) -> dict[str, Any]:
    """The constructor's choices as JSON can hold them."""
    return asdict(options)


def options_from_config(saved: dict[str, Any]) -> Options:
    """The inverse of `options_to_config`."""
    shape: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in saved["architecture"].items()
    }
    published = saved.get("published")
    if published is not None:
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in published.items()
        }
        published = PublishedOptions(**tuples)
    return Options(**{**saved, "architecture": Architecture(**shape), "published": published})
