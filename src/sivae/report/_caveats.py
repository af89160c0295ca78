"""How far to trust the result, in plain language: what always holds, and what was found here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sivae import _keys
from sivae._errors import some
from sivae._values import has_values, values_of
from sivae.pl import _read
from sivae.report import _confounding, _facts, _published
from sivae.stats import totals

if TYPE_CHECKING:
    from anndata import AnnData

    from sivae.stats import Totals

SPARSE: Final = 0.01
"""Genes seen in a smaller share of the cells are called sparse."""
LOW_R2: Final = 0.05
FEW_VALIDATION: Final = 100
MINIMUM_CELLS: Final = 10
DEPTH: Final = 0.7
"""Correlation of an axis with the log of the cells' counts from which it is named; below, kinds of cell explain it."""


def find(adata: AnnData, *, label: str | None = None) -> list[str]:
    """Return the caveats that apply, those found in these data first."""
    association, map_words = ALWAYS
    interval = INTERVAL[_facts.published(dict(_facts.record(adata)["options"]))]
    counted = _counted(adata)
    found = [*_confounding.find(adata, label), *_training(adata), *_axes(adata), *_depth(adata, counted)]
    found += _genes(adata, counted)
    return [*found, association, interval, map_words]


ALWAYS: Final = (
    "A loading says that a gene goes with an axis in these cells. It shows association, not regulation: a gene far out "
    "on an axis need not cause anything.",
    "Two axes show only part of the map. Groups that overlap in one pair of axes can be apart in another.",
)

INTERVAL: Final = {
    False: "The interval of a loading says where it would lie in another sample of as many cells like these. It does "
    "not cover other donors, or another choice of genes.",
    True: "The interval of a loading is the model's own uncertainty given these cells. It does not cover the choice of "
    "cells, donors or genes.",
}
"""Of this package's recipe, and (True) of the published one, whose variances are those that training fits."""


def _training(adata: AnnData) -> list[str]:
    state, facts = _facts.training(adata), dict(_facts.record(adata)["facts"])
    published = _facts.published(dict(_facts.record(adata)["options"]))
    found = _published.caveats(adata)
    if not state["known"]:
        found.append(
            "No cells were kept for validation, so nothing here shows how the model does on cells it has not seen."
        )
    elif published:
        pass
    elif not state["improved"]:
        found.append(
            "Training did not beat its start on validation cells, so the start was kept. The map is that of a linear "
            "model, close to principal components."
        )
    elif state["end_is_worse"]:
        found.append(
            "At its end training was worse on validation cells than at its start. The best step was kept, but the "
            "model was fitting these cells' noise: more cells, fewer axes or a smaller learning rate may help."
        )
    late = state["best_step"] >= 0.95 * state["last_step"] > 0
    if state["known"] and not published and not state["plateau"] and late:
        found.append("The validation loss was still falling when training ended: more epochs may give a better map.")
    if state["known"] and int(facts["n_validation_cells"]) < FEW_VALIDATION:
        found.append(
            f"Only {int(facts['n_validation_cells'])} cells were kept for validation. Numbers computed on them, such "
            "as the share of a gene's variance explained, are rough."
        )
    return found


def _axes(adata: AnnData) -> list[str]:
    unused, facts = np.flatnonzero(_read.unused_axes(adata)) + 1, dict(_facts.record(adata)["facts"])
    k = _read.gene_positions(adata).shape[1]
    if len(unused):
        words = f"Axis {unused[0]} is" if len(unused) == 1 else f"Axes {some(unused, 20)} are"
        return [f"{words} unused: cells hardly differ there, and its genes mean nothing. Fewer axes hold the same map."]
    if int(facts["n_signal_axes"]) >= k and not _facts.published(dict(_facts.record(adata)["options"])):
        return [
            f"All {k} axes stand above the noise. The data may hold more: try more axes if expected groups are missing."
        ]
    return []


def _depth(adata: AnnData, counted: Totals | None) -> list[str]:
    """Axes along which the number of counts changes: log1p does not take depth away in full."""
    if counted is None:
        return []
    z_ck, used_k = _read.cell_positions(adata), ~_read.unused_axes(adata)
    rows = np.isfinite(z_ck).all(axis=1) & (counted.library_c > 0)
    z_ck, log_c = z_ck[rows], np.log(counted.library_c[rows])
    if len(log_c) < MINIMUM_CELLS:
        return []
    z_ck, log_c = z_ck - z_ck.mean(axis=0), log_c - log_c.mean()
    r_k = z_ck.T @ log_c / np.maximum(np.sqrt((z_ck**2).sum(axis=0) * (log_c @ log_c)), 1e-12)
    return [
        f"Axis {k + 1} goes with the number of counts of a cell (correlation of its logarithm {r_k[k]:.2f}). That may "
        "be sequencing depth, with which all genes change, or kinds of cell that hold more RNA. With log counts as a "
        "continuous covariate an axis of depth goes away."
        for k in np.flatnonzero(used_k & (np.abs(r_k) >= DEPTH))
    ]


def _genes(adata: AnnData, counted: Totals | None) -> list[str]:
    trained = _read.modelled(adata)
    found = []
    r2_g = adata.var[_keys.R2].to_numpy(dtype=np.float64)[trained]
    known = r2_g[np.isfinite(r2_g)]
    if len(known) and np.median(known) < LOW_R2:
        found.append(
            f"Half of the modelled genes have at most {_facts.number(float(np.median(known)))} of their variance "
            "explained on validation cells. Single counts are noisy, so this is common; read single genes with care."
        )
    if (known <= 0).any():
        found.append(
            f"{int((known <= 0).sum()):,} of {len(known):,} modelled genes are not explained better than by their "
            "mean. Their place on the map says little."
        )
    n_sparse = 0 if counted is None else int((counted.seen_g[trained] < SPARSE * adata.n_obs).sum())
    if n_sparse:
        found.append(
            f"{n_sparse:,} modelled genes are seen in fewer than 1 % of the cells. Their loadings rest on few cells."
        )
    later = np.isfinite(_read.gene_positions(adata)).all(axis=1) & ~trained
    if later.any():
        found.append(
            f"{int(later.sum()):,} genes were placed on the map after training, from their values in the training "
            "cells. They are not in the tables of axes."
        )
    return found


def _counted(adata: AnnData) -> Totals | None:
    """Sums of the values; None where they are not there or are not counts."""
    layer = _read.values_layer(adata, None)
    if str(dict(_facts.record(adata)["setup"]).get("normalize", "")) != "log1p" or not has_values(adata, layer):
        return None
    return totals(values_of(adata, layer))
