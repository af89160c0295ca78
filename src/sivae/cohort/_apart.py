"""One model for each individual: its gene space, measured in the same way as one that is read from a shared model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sivae import _keys
from sivae.cohort._separate import fit_separately
from sivae.cohort._shared import Spaces
from sivae.data._setup import read_record
from sivae.graph import _cohort, _hubs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.cohort._separate import Separate

    Array = NDArray[np.float64]


def fit_spaces(
    adata: AnnData,
    sample_key: str,
    *,
    genes: Sequence[str],
    n_cells: Mapping[str, int],
    n_latent: int,
    n_jobs: int | None,
    folder: Path | None,
    edge_share: float,
    seed: int,
) -> tuple[Spaces, Separate]:
    """Gene spaces of the individuals whose model could be trained, by name as `Individuals` are; what was trained."""
    found = fit_separately(
        adata, sample_key, genes=genes, model_options={"n_latent": n_latent}, train_options={},
        setup=setup_arguments(adata), n_jobs=n_jobs, folder=folder, seed=seed, min_cells=1,
    ).by_name()  # fmt: skip
    weight_s = np.array([n_cells[name] for name in found.individuals], np.float64)
    return spaces_of(found, weight_s, edge_share=edge_share), found


def setup_arguments(adata: AnnData) -> dict[str, Any]:
    """Arguments of `SiVAE.setup_anndata` that the AnnData was set up with."""
    record = read_record(adata)
    return {
        "layer": record.layer or None,
        "batch_key": record.batch_key or None,
        "categorical_covariate_keys": list(record.categorical_covariate_keys) or None,
        "continuous_covariate_keys": list(record.continuous_covariate_keys) or None,
        "size_factor_key": record.size_factor_key or None,
        "normalize": record.normalize,
    }


def spaces_of(found: Separate, weight_s: Array, *, edge_share: float) -> Spaces:
    """Centralities of aligned positions; errors are those of the positions, by the delta method."""
    position_sgk, variance_sgk = found.position_sgk, found.variance_sgk
    noise_sg = variance_sgk.mean(axis=2)
    cohort = _cohort.cohort_of(position_sgk, weight_s, noise_sg)
    layers: dict[str, list[Array]] = {}
    for s, (v_gk, variance_gk) in enumerate(zip(position_sgk, variance_sgk, strict=True)):
        for name, values in _centralities(v_gk, variance_gk, cohort, s, edge_share=edge_share).items():
            layers.setdefault(name, []).append(values)
    layer = {name: np.array(values) for name, values in layers.items()}
    layer[_keys.EXPLAINED_VARIANCE] = found.explained_sg.astype(np.float64)
    for name, values in layer.items():
        layer[name] = np.where(found.varies_sg, values, np.nan)
    drawn_sgk = np.array([cohort.shrink(v_gk, noise_g) for v_gk, noise_g in zip(position_sgk, noise_sg, strict=True)])
    return Spaces(drawn_sgk, position_sgk, cohort.mean_gk, layer, None, 0)


def _centralities(
    v_gk: Array, variance_gk: Array, cohort: _cohort.Cohort, s: int, *, edge_share: float
) -> dict[str, Array]:
    others_gk = cohort.others_gk(v_gk, s)
    direction_gk = _cohort.signed_sum(others_gk, others_gk)
    length_g = np.linalg.norm(v_gk, axis=1)
    along_gk = others_gk / cohort.length_g[:, None]
    outward_gk = v_gk / np.maximum(length_g, np.finfo(float).tiny)[:, None]
    n_others = max(len(v_gk) - 1, 1)

    def error(weight_gk: Array) -> Array:
        return np.asarray(np.sqrt((weight_gk**2 * variance_gk).sum(axis=1)))

    return {
        _keys.PROJECTION: _cohort.projection(v_gk, others_gk, cohort.length_g),
        _keys.PROJECTION + _keys.SE_SUFFIX: error(along_gk),
        _keys.NORM: length_g,
        _keys.NORM + _keys.SE_SUFFIX: error(outward_gk),
        _keys.STRENGTH: _cohort.strength(v_gk, direction_gk),
        _keys.STRENGTH + _keys.SE_SUFFIX: error(direction_gk / n_others),
        _keys.DEGREE: _hubs.degree(v_gk, share=edge_share),
    }
