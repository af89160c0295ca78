"""Whether it is connectivity, or what goes with it: expression, detection, depth, number of cells, composition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from sivae import _keys
from sivae.cohort._phenotype import dense

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.stats._given import Given

    Array: TypeAlias = NDArray[np.float64]

CONTROLS: Final = {
    "expression": "follows mean expression",
    "detection": "follows detection",
    "depth": "follows depth",
    "cells": "follows number of cells",
    "composition": "follows composition",
}
"""Controls in the order in which the verdict names them."""
ASSOCIATED: Final = "associated"
NOT_ASSOCIATED: Final = "not associated"
NOT_MATCHED: Final = "not with equal numbers of cells"
UNTESTED: Final = "untested"
VERDICTS: Final = (ASSOCIATED, NOT_ASSOCIATED, *CONTROLS.values(), NOT_MATCHED, UNTESTED)

NOMINAL: Final = 0.05
"""p above which an effect is not seen."""
CANDIDATE: Final = 0.01
"""p below which a control goes with the phenotype, so that it may stand behind it."""
HALF: Final = 0.5
"""Share of the effect that has to remain given a control."""
MANY: Final = 12
"""Individuals from which two components of the composition are taken, instead of one."""


def read_controls(samples: AnnData, rows: NDArray[np.intp]) -> dict[str, Array]:
    """Controls that there are, individuals (rows) x genes x columns; a second axis of 1 for those of individuals.

    Depth and number of cells by their logarithms; the composition by the first two principal components of its
    centered log ratios, the first alone for fewer than 12 individuals or two cell types.
    """
    controls = {}
    for name, key in (("expression", _keys.MEAN_EXPRESSION), ("detection", _keys.DETECTION)):
        if key in samples.layers:
            controls[name] = dense(samples.layers[key])[rows][:, :, None]
    for name, key in (("depth", _keys.DEPTH), ("cells", _keys.N_CELLS)):
        if key in samples.obs:
            values_s = samples.obs[key].to_numpy(dtype=np.float64, na_value=np.nan)[rows]
            with np.errstate(divide="ignore", invalid="ignore"):
                controls[name] = np.log(values_s)[:, None, None]
    if _keys.COMPOSITION in samples.obsm:
        share_st = np.asarray(samples.obsm[_keys.COMPOSITION], np.float64)[rows]
        if share_st.shape[1] > 1:
            controls["composition"] = composition_axes(share_st)[:, None, :]
    return controls


def read_draws(samples: AnnData, rows: NDArray[np.intp]) -> NDArray[np.floating] | None:
    """Projections from draws of equally many cells, individuals (rows) x genes x draws; None where there are none.

    `obsm` stays whole when genes of an AnnData are chosen: genes are found by the names in `uns`, or, without these,
    draws of another number of genes are not read.
    """
    if _keys.MATCHED not in samples.obsm:
        return None
    matched_sgr = np.asarray(samples.obsm[_keys.MATCHED])
    genes = dict(samples.uns.get(_keys.COHORT, {})).get("genes")
    if genes is not None:
        place = {str(gene): number for number, gene in enumerate(genes)}
        at = [place.get(str(gene), -1) for gene in samples.var_names]
        matched_sgr = np.where(np.array(at)[None, :, None] >= 0, matched_sgr[:, at], np.nan)
    fits = matched_sgr.shape[1] == samples.n_vars and matched_sgr.shape[2] > 0
    return matched_sgr[rows] if fits else None


def composition_axes(share_st: NDArray[np.floating]) -> Array:
    """First principal components of the centered log ratios of shares of cell types, (S, 1 or 2).

    A share of 0 counts as half of the smallest share above 0.
    Source: Aitchison 1983, Biometrika 70:57 (doi 10.1093/biomet/70.1.57).
    """
    share_st = np.asarray(share_st, np.float64)
    if not np.isfinite(share_st).all() or not (share_st > 0).any():
        return np.full((len(share_st), 1), np.nan)
    log_st = np.log(np.where(share_st > 0, share_st, share_st[share_st > 0].min() / 2))
    ratio_st = log_st - log_st.mean(axis=1, keepdims=True)
    ratio_st -= ratio_st.mean(axis=0)
    u_sk, length_k, _ = np.linalg.svd(ratio_st, full_matrices=False)
    n_axes = 2 if len(share_st) >= MANY and share_st.shape[1] > 2 else 1
    return np.asarray(u_sk[:, :n_axes] * length_k[:n_axes], np.float64)


def verdicts(
    effect_g: Array,
    q_g: Array,
    *,
    fdr: float,
    given: dict[str, Given],
    matched: tuple[Array, Array] | None = None,
) -> NDArray[np.str_]:
    """One word or a few for each gene, (g,).

    A gene that is associated follows a control if the effect given it is less than half of what it was, or if the
    control itself goes with the phenotype (p below 0.01) and the effect given it is not nominally significant (p above
    0.05). Half alone keeps genes that cannot be told from followers, where control and phenotype nearly coincide;
    p alone turns away true genes whose control goes with the phenotype by chance, and keeps one follower in twenty.

    Parameters
    ----------
    effect_g, q_g
        Effect of the phenotype, and its q-value; NaN for genes that were not tested.
    fdr
        False discovery rate.
    given
        By control, what is left given it.
    matched
        Effect and p with equal numbers of cells.
    """
    result = np.full(len(effect_g), ASSOCIATED, dtype=object)
    open_g = np.isfinite(q_g) & (q_g <= fdr)
    result[~open_g] = NOT_ASSOCIATED
    result[~np.isfinite(q_g)] = UNTESTED
    for name in [name for name in CONTROLS if name in given]:
        left = given[name]
        unclear_g = (left.control_p_g < CANDIDATE) & (left.p_g > NOMINAL)
        gone_g = open_g & (_less_than_half(left.effect_g, effect_g) | unclear_g)
        result[gone_g], open_g = CONTROLS[name], open_g & ~gone_g
    if matched is not None:
        result[open_g & _less_than_half(matched[0], effect_g) & (matched[1] > NOMINAL)] = NOT_MATCHED
    return result.astype(str)


def _less_than_half(left_g: Array, effect_g: Array) -> NDArray[np.bool_]:
    return np.asarray(left_g * np.sign(effect_g) < HALF * np.abs(effect_g))
