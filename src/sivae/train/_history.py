"""What training went through, as one tidy table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

COLUMNS = (
    "step", "epoch", "seconds", "learning_rate", "loss", "nll", "kl_cells", "kl_features", "nll_linear",
    "validation_loss", "validation_nll", "validation_nll_linear", "best",
)  # fmt: skip


@dataclass
class History:
    """One row per check of the validation loss; the terms of the loss are means over the steps since the last."""

    rows: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    stopped: str = ""
    """Why training ended: "plateau" or "all steps done"."""

    def add(self, row: dict[str, float]) -> None:
        """Append a row."""
        self.rows.append(row)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists by column, for JSON and `uns`."""
        return {name: [float(row.get(name, float("nan"))) for row in self.rows] for name in COLUMNS}
