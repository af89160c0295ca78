"""What `sivae fit` says on the way: of values, preset and confounding before training, and of how training went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sivae import _keys
from sivae._values import frame

if TYPE_CHECKING:
    from anndata import AnnData

    from sivae._run._fit import FitOptions, Say
    from sivae.pl._history import Phase


def values(adata: AnnData, options: FitOptions, say: Say) -> None:
    """Say before training that values are taken as they are, where nobody asked for it."""
    setup = dict(adata.uns[_keys.UNS]["setup"])
    if options.normalize == "auto" and setup["normalize"] == "none":
        say(
            "Note: the values are no counts; they are taken as they are (normalize none). "
            "If another layer holds counts, name it with --layer."
        )


def preset(options: FitOptions, say: Say) -> None:
    """Say before training that the published run had another gamma, where nobody asked for one."""
    from sivae.model._recipe import GAMMA, PUBLISHED
    from sivae.nn._published_options import PRESET_GAMMA

    if options.preset is not None and options.gamma is None and PRESET_GAMMA[options.preset] != GAMMA[PUBLISHED]:
        found = f"{PRESET_GAMMA[options.preset]:g}"
        say(
            f"Note: the published run {options.preset!r} had gamma {found}; the recipe's {GAMMA[PUBLISHED]:g} is used. "
            f"Repeat that run with --gamma {found}."
        )


def confounding(adata: AnnData, options: FitOptions, say: Say) -> None:
    """Say before training which labels cannot be told apart from a batch; the report says it again."""
    from sivae.report import _confounding

    if options.label is not None and options.batch_key not in (None, options.label):
        for words in _confounding.of_labels(frame(adata.obs), options.label, str(options.batch_key)):
            say(f"Note: {words}")


def recipe(options: FitOptions) -> str:
    """The recipe and its preset in words, nothing for the default."""
    if options.recipe == "default":
        return ""
    return f", recipe {options.recipe}" + ("" if options.preset is None else f", preset {options.preset!r}")


def trained(history: Any) -> str:
    """How many steps, whether they were continued or stopped, and the validation loss, in one sentence."""
    from sivae.pl import _history

    attrs = history.attrs
    words = f"Trained {attrs['last_step']} steps"
    if "resumed_at" in attrs:
        words += f" (continued from step {attrs['resumed_at']})"
    phases = _history.phases(_history.read_history(history))
    if attrs["stopped"] == "interrupted":
        words += ", then interrupted" + (f" in phase {phases[-1].words}" if phases else "")
    elif phases:
        words += f" in {_phase_count(phases)}"
    if phases and any(phase.watched for phase in phases):
        losses = [f"{p.start:.2f} to {p.kept:.2f} in phase {p.words}" for p in phases if p.watched]
        return f"{words}; validation loss {', '.join(losses)}."
    if "validation_loss" not in history:
        return f"{words}, without validation cells."
    best = history.loc[history["best"] > 0].iloc[-1]
    start = float(history["validation_loss"].iloc[0])
    return (
        f"{words}; validation loss {start:.2f} at the start, "
        f"{float(best['validation_loss']):.2f} at the best step, {int(best['step'])}."
    )


def _phase_count(phases: list[Phase]) -> str:
    return "1 phase" if len(phases) == 1 else f"{len(phases)} phases"
