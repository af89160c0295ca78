"""What cannot be told apart from a batch, in plain language; nothing where nothing was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae._errors import some
from sivae.report import _facts
from sivae.stats._contingency import cramers_v, cross_counts, sole_column

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

LEAST_CELLS: Final = 20
"""Cells of a label that is said to lie in one batch alone."""
ONE_FOLLOWS: Final = 0.9
"""Cramér's V above which labels and batches are said to be confounded."""
NEARLY_ALL: Final = 0.95


def find(adata: AnnData, label: str | None) -> list[str]:
    """Return what is confounded with the batch: groups of cells that training found, and the labels of a column."""
    batch_key = str(dict(_facts.record(adata)["setup"]).get("batch_key", ""))
    if not batch_key or batch_key not in adata.obs:
        return []
    found = _groups(dict(_facts.record(adata)["facts"]), batch_key)
    return found + ([] if label in (None, batch_key) else of_labels(adata.obs, str(label), batch_key))


def _groups(facts: dict[str, Any], batch_key: str) -> list[str]:
    """Return words for groups of alike training cells that one batch alone holds."""
    covariates, n_training = dict(facts.get("covariates", {})), int(facts["n_training_cells"])
    batches = [str(name) for name in covariates.get("lone_batch", ())]
    cells = [int(number) for number in covariates.get("lone_cells", ())]
    if not batches:
        return []
    if sum(cells) >= NEARLY_ALL * n_training:
        return [
            f"Nearly every group of alike cells lies in a single batch ({batch_key}): kinds of cells and batches are "
            "confounded. What differs between batches is taken off as their effect; how much of it was biology, "
            "these cells cannot tell. Do not compare cells of different batches on this map."
        ]
    return [
        f"{number:,} training cells form groups that only batch {batch} ({batch_key}) holds. They may be a kind of "
        "cell that no other batch has, or cells that the batch itself changed: these cells cannot tell. Axes and genes "
        "that set them apart may be the batch's."
        for batch, number in zip(batches, cells, strict=True)
    ]


def of_labels(obs: pd.DataFrame, label: str, batch_key: str) -> list[str]:
    """Return words for labels that one batch alone holds, or for labels and batches that follow from each other."""
    known = (obs[label].notna() & obs[batch_key].notna()).to_numpy()
    label_n, batch_n = (obs[key][known].astype(str).to_numpy(dtype=str) for key in (label, batch_key))
    labels, batches = np.unique(label_n), np.unique(batch_n)
    if not 2 <= len(labels) <= len(label_n) / 2 or len(batches) < 2:
        return []
    counts = cross_counts(label_n, batch_n)
    in_one = (counts > 0).sum(axis=1) == 1
    strength = cramers_v(counts)
    if in_one.all() or strength > ONE_FOLLOWS:
        how = "every group lies in one batch" if in_one.all() else "the batch all but says the group"
        return [
            f"The groups of {label} are confounded with the batches ({batch_key}): {how} (Cramér's V "
            f"{_facts.number(strength, 2)}). What differs between batches is taken off, and with it what "
            f"differs between their groups. No difference between groups of {label} in different batches can be "
            "concluded from this map, and no similarity either."
        ]
    return _some_labels(counts, labels, batches, label=label, batch_key=batch_key)


def _some_labels(
    counts: NDArray[np.int64], labels: NDArray[np.str_], batches: NDArray[np.str_], *, label: str, batch_key: str
) -> list[str]:
    alone = sole_column(counts, least=LEAST_CELLS)
    rows = np.flatnonzero(alone >= 0)
    if not len(rows):
        return []
    named = some([f"{labels[r]} ({counts[r].sum():,} cells, batch {batches[alone[r]]})" for r in rows], 10)
    return [
        f"Of {label}, found in one batch ({batch_key}) alone: {named}. What sets such a group apart from the others "
        "may be its kind or its batch, and these cells cannot tell."
    ]
