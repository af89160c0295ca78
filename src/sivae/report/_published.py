"""What the page says of a model of the published recipe, which is trained in phases from a random start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sivae.pl import _history
from sivae.report import _facts

if TYPE_CHECKING:
    from anndata import AnnData

IN_WORDS: Final = {
    1: "the cell tower with an output kernel of its own",
    2: "the gene tower on that kernel",
    3: "both towers together",
}
"""What is trained in each phase."""
RISEN: Final = 0.01
"""A validation loss this share above its lowest is said to have risen."""


def describe(adata: AnnData) -> dict[str, Any] | None:
    """Return every fact that is peculiar to the published recipe, as text and flags; None for the default recipe."""
    record = _facts.record(adata)
    options = dict(record["options"])
    if not _facts.published(options):
        return None
    settings, phases = dict(options["published"]), _history.phases(_history.read_history(adata))
    return {
        "preset": str(dict(record.get("run", {})).get("preset", "")),
        "both_towers": str(settings["model"]) == "sivae",
        "variational": bool(settings["variational"]),
        "counts": str(options["likelihood"]) == "nb",
        "early_stopping": bool(settings["early_stopping"]),
        "tied": float(options["gamma"]) > 0,
        "steps": ", then ".join(f"{IN_WORDS[phase.number]} ({phase.steps:,} steps)" for phase in phases),
        "losses": [
            (phase.words, _facts.number(phase.start), _facts.number(phase.kept)) for phase in phases if phase.watched
        ],
    }


def rows(adata: AnnData) -> list[tuple[str, str]]:
    """Return what the table of the model says of the recipe; nothing for the default one."""
    found = describe(adata)
    if found is None:
        return []
    words = "choi2023 (the published model)"
    return [("Recipe", words if not found["preset"] else f"{words}; settings of the run {found['preset']!r}")]


def caveats(adata: AnnData) -> list[str]:
    """Return how far to trust a model of the recipe, what was found in it first."""
    found, record = describe(adata), _facts.record(adata)
    if found is None:
        return []
    phases = _history.phases(_history.read_history(adata))
    last, interrupted = phases[-1], str(dict(record["facts"])["stopped"]) == "interrupted"
    texts = []
    if interrupted and found["both_towers"] and last.number < len(IN_WORDS):
        texts.append(
            f"Training was interrupted in phase {last.words}, before the towers were trained together: the maps of "
            "cells and of genes do not belong together, and nothing that joins them means anything yet."
        )
    if found["both_towers"] and not found["tied"]:
        texts.append(
            "The interpretability term has weight 0, so nothing ties the genes' positions to the axes of the cells: a "
            "loading need not say that a gene moves along an axis. Neighbors and distances of genes have a meaning."
        )
    words = "This is the published recipe, from a random start: axes may be empty, and turn from seed to seed."
    if sum(phase.watched for phase in phases) > 1:
        words += (
            " Its validation losses are those of two models one after the other, so the first says little of the last."
        )
    texts.append(words)
    if last.watched and not found["early_stopping"]:
        texts += _end(last, interrupted=interrupted)
    return texts


def _end(last: _history.Phase, *, interrupted: bool) -> list[str]:
    """Say whether the validation loss was still falling in the last phase, or had risen again."""
    if last.kept > last.lowest + RISEN * abs(last.lowest):
        return [
            f"The last weights were kept, as published, but the validation loss was lowest at step {last.lowest_step} "
            f"({_facts.number(last.lowest)}) and is {_facts.number(last.kept)} at the end: fewer steps, or early "
            "stopping, may give a better map."
        ]
    if last.lowest_step >= last.last_step and not interrupted:
        return ["The validation loss was still falling when training ended: more steps may give a better map."]
    return []
