"""What training went through, as one tidy table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COLUMNS = (
    "step", "epoch", "seconds", "learning_rate", "loss", "nll", "kl_cells", "kl_features", "nll_linear",
    "validation_loss", "validation_nll", "validation_nll_linear", "best",
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

    def facts(self) -> dict[str, Any]:
        """How training ended; where a checkpoint was continued, from which step."""
        facts = {"best_step": self.best_step, "stopped": self.stopped, "last_step": self.last_step}
        return facts if self.resumed_at is None else facts | {"resumed_at": self.resumed_at}

    def to_dict(self) -> dict[str, Any]:
        """Plain lists by column, for JSON and `uns`."""
        return {name: [float(row.get(name, float("nan"))) for row in self.rows] for name in COLUMNS}
