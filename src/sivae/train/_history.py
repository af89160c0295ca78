"""What training went through, as one tidy table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PHASED = ("stage", "nll_hidden", "penalty", "squared_error", "validation_squared_error")
"""Columns of a training in phases (1 cells, 2 genes, 3 both)."""
COLUMNS = (
    "step", "epoch", "seconds", "learning_rate", "loss", "nll", "kl_cells", "kl_features", "nll_linear",
    "validation_loss", "validation_nll", "validation_nll_linear", "best", *PHASED,
)  # fmt: skip


@dataclass(frozen=True)
class History:
    """One row per check of the validation loss; the terms of the loss are means over the steps since the last."""

    rows: list[dict[str, float]]
    best_step: int
    stopped: str
    """Why training ended: "plateau", "all steps done" or "interrupted"."""
    last_step: int
    resumed_at: int | None
    """Step from which a checkpoint was continued."""
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of each phase, where there are several."""

    def facts(self) -> dict[str, Any]:
        """How training ended; where a checkpoint was continued, from which step."""
        facts: dict[str, Any] = {"best_step": self.best_step, "stopped": self.stopped, "last_step": self.last_step}
        if self.stage_seconds:
            facts["stage_seconds"] = self.stage_seconds
        return facts if self.resumed_at is None else facts | {"resumed_at": self.resumed_at}

    def to_dict(self) -> dict[str, Any]:
        """Plain lists by column, for JSON and `uns`."""
        columns = [name for name in COLUMNS if name not in PHASED or self.stage_seconds]
        return {name: [float(row.get(name, float("nan"))) for row in self.rows] for name in columns}
