"""What each default is worth: a two-level design over the settings, on data sets named on the command line.

    python -m bench.defaults --out design.jsonl --data pbmc3k.h5ad:cell_type:20 --data pancreas.h5ad:cell_type:20
    python -m bench.defaults --table design.jsonl

Nineteen settings at two levels in the twenty runs of Plackett and Burman (1946, Biometrika 33:305): each main effect
is a difference of two means of ten runs. Settings whose other level changes the model altogether (start, predictor,
likelihood) are changed one at a time instead. The data do not ship with this package.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from bench import _heldout, _measures, _methods
from sivae import Architecture, TrainOptions
from sivae.model import _build
from sivae.nn import _spectral
from sivae.stats import _spectrum

GENERATOR = "++--++++-+-+----++-"
"""First row of the design; '-' is the default."""
SETTINGS: dict[str, tuple[str, Any, Any]] = {
    "gamma": ("model", 1.0, 0.1),
    "kl_scale": ("model", "bound", "published"),
    "n_profile": ("model", 128, 256),
    "cell_encoder": ("architecture", (128,), (256, 128)),
    "cell_decoder": ("architecture", (128, 128), (128,)),
    "feature_decoder": ("architecture", (128, 128), (128,)),
    "n_joint": ("architecture", 64, 32),
    "input_dropout": ("architecture", 0.1, 0.3),
    "layer_norm": ("architecture", True, False),
    "linear_features": ("architecture", True, False),
    "sigma_floor": ("architecture", 0.3, 0.1),
    "learning_rate": ("train", 2e-3, 1e-3),
    "skip_rate": ("train", 0.1, 0.3),
    "weight_decay": ("train", 1e-2, 1e-3),
    "average_decay": ("train", 0.98, 0.995),
    "max_steps": ("train", 2500, 1250),
    "batch_size": ("block", 256, 128),
    "feature_batch_size": ("block", 512, 2000),
    "LEAST_EVIDENCE": ("spectrum", 3.0, 2.0),
}
OTHERS: dict[str, dict[str, Any]] = {
    "default": {},
    "published predictor": {"decoder": "published"},
    "negative binomial": {"likelihood": "nb"},
    "no interpretability term": {"gamma": 0.0},
    "start not trained": {"max_steps": 1, "learning_rate": 1e-30},
    "random start": {"start": "random"},
    "principal components as start": {"start": "components"},
    "no weak axes": {"LEAST_EVIDENCE": 1e9},
    "skips free": {"skip_rate": 1.0},
}


def design() -> list[dict[str, Any]]:
    """The twenty runs, the last with every default."""
    first = [sign == "+" for sign in GENERATOR]
    rows = [first[-shift:] + first[:-shift] if shift else first for shift in range(len(first))]
    rows.append([False] * len(first))
    names = list(SETTINGS)
    return [{name: SETTINGS[name][1 + high] for name, high in zip(names, row, strict=True)} for row in rows]


def run(data: _heldout.Data, k: int, seed: int, changes: dict[str, Any]) -> dict[str, float]:
    """Train with these changes to the defaults and score on held-out cells."""
    parts: dict[str, dict[str, Any]] = {"model": {}, "architecture": {}, "train": {}, "block": {}}
    known = {name: kind for name, (kind, *_) in SETTINGS.items()} | {"decoder": "model", "likelihood": "model"}
    with ExitStack() as stack:
        for name, value in changes.items():
            if name == "start":
                stack.enter_context(mock.patch.object(_build, "spectral_start", STARTS[value]))
            elif known[name] == "spectrum":
                stack.enter_context(mock.patch.object(_spectrum, name, value))
            else:
                parts[known[name]][name] = value
        fit = _methods.fit_sivae(
            data, k, seed, architecture=Architecture(**parts["architecture"]), options=TrainOptions(**parts["train"]),
            block=parts["block"], **parts["model"],
        )  # fmt: skip
    history = fit.model.history
    return _measures.score(data, fit) | {
        "loss": float(history["validation_loss"].min()),
        "seconds": float(history["seconds"].iloc[-1]),
    }


def random_start(module: Any, v_gk: torch.Tensor, sample: Any, **options: Any) -> None:
    """Both skips and their widths as weights are; noise at one, everything random."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tower in (module.cell_tower, module.feature_tower):
            tower.skip_pk.copy_(torch.randn(tower.skip_pk.shape, generator=generator) / len(tower.skip_pk) ** 0.5)
            tower.log_sd_k.fill_(-1.0)


def components_start(module: Any, v_gk: torch.Tensor, sample: Any, **options: Any) -> None:
    """Scores of principal components, x V, in place of the factor model's."""
    _spectral.spectral_start(module, v_gk, sample, **options)
    with torch.no_grad():
        length_k = v_gk.square().sum(dim=0).sqrt().clamp(min=1e-9)
        score_nk = torch.cat([x_cg @ (v_gk / length_k) for x_cg in sample.rows()])
        module.cell_tower.skip_pk.copy_(v_gk / length_k / score_nk.std(dim=0).clamp(min=1e-9))


STARTS = {"random": random_start, "components": components_start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], metavar="FILE:LABEL:K")
    parser.add_argument("--out", type=Path, default=Path("design.jsonl"))
    parser.add_argument("--seeds", type=int, default=1, help="seeds of the settings changed one at a time")
    parser.add_argument("--only", choices=("design", "others"))
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.table:
        print(table([json.loads(line) for line in arguments.table.read_text().splitlines()]))
        return
    for item in arguments.data:
        path, label, k = item.rsplit(":", 2)
        data = _heldout.load(Path(path), label)
        jobs = [("others", name, changes, seed) for seed in range(arguments.seeds) for name, changes in OTHERS.items()]
        jobs += [("design", str(i), changes, i) for i, changes in enumerate(design())]
        for kind, name, changes, seed in jobs:
            if arguments.only in (None, kind):
                row = {"kind": kind, "name": name, "data": data.name, "k": int(k), "seed": seed, "changes": changes}
                row |= run(data, int(k), seed, changes)
                with arguments.out.open("a") as handle:
                    handle.write(json.dumps(row) + "\n")
                print(row, flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Main effect of each setting, in the mean over data sets; and the settings changed one at a time."""
    columns = ("knn", "knn_test", "r2", "neighbors", "hub", "top50")
    lines = ["| setting | default | other | " + " | ".join(columns) + " |", "|" + " --- |" * (3 + len(columns))]
    designed = [row for row in rows if row["kind"] == "design"]
    for name, (_, low, high) in SETTINGS.items():
        effects = []
        for key in sorted({(row["data"], row["k"]) for row in designed}):
            own = [row for row in designed if (row["data"], row["k"]) == key]
            # JSON turns tuples into lists.
            other = np.array([row["changes"][name] == json.loads(json.dumps(high)) for row in own])
            values = np.array([[row[column] for column in columns] for row in own])
            effects.append(values[other].mean(axis=0) - values[~other].mean(axis=0))
        effect, error = np.mean(effects, axis=0), np.std(effects, axis=0) / max(1, len(effects)) ** 0.5
        cells = [f"{e:+.3f} ({s:.3f})" for e, s in zip(effect, error, strict=True)]
        lines.append(f"| {name} | {low} | {high} | " + " | ".join(cells) + " |")
    lines += ["", "| data, k | changed | " + " | ".join(columns) + " |", "|" + " --- |" * (2 + len(columns))]
    single = [row for row in rows if row["kind"] == "others"]
    for key in sorted({(row["data"], row["k"]) for row in single}):
        for name in OTHERS:
            own = [row for row in single if (row["data"], row["k"], row["name"]) == (*key, name)]
            if own:
                cells = [f"{np.mean([row[column] for row in own]):.3f}" for column in columns]
                lines.append(f"| {key[0]}, {key[1]} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
