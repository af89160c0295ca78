"""Do trainings that are killed at random moments end as if nobody had killed them?

`sivae fit ... --checkpoint DIR` on a small store is killed (SIGKILL) at a moment that is uniform over the time that the
undisturbed command takes: reading, choice of genes, training, annotating, gene space, writing. Then the same command
runs again, and is killed once more if it has not ended; then it is let end, and the next round begins. Checkpoints are
written at every check. Each command is a process of its own, forked from one that has loaded the libraries, so that
moments fall on the work rather than on the imports. "in memory": the store is read whole. "temporary file": values stay
in the store and are copied into the temporary file (`docs/storage.md`).

After every kill RUN must be absent, or whole if the kill came after it was moved to its place. At the end of a round
every file of `model/`, `tables/` and `figures/` must be that of the undisturbed run to the last byte, and nothing may
lie beside data, RUN and the folder of the checkpoint. It fails with the first that is not so. "step" is that of the
checkpoint from which the next command goes on; "left" counts what the killed process left beside RUN, which the next
one removes.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final
from unittest import mock

import numpy as np
import pandas as pd
from safetensors import safe_open

from bench import _common
from sivae.datasets import planted

MODES = ("in memory", "temporary file")
KILLS, QUICK_KILLS = {mode: 20 for mode in MODES}, {"in memory": 2, "temporary file": 1}
A_ROUND = 2
CELLS, GENES = 400, 60
FIT = ("--n-latent", "2", "--n-genes", "40", "--accelerator", "cpu", "--seed", "1", "--max-epochs")
EPOCHS, QUICK_EPOCHS = 200, 20
STAGES = (
    ("Wrote", "ending"), ("Gene space", "writing"), ("Annotated", "gene space"), ("Trained", "annotating"),
    ("Training", "training"), ("Read", "choosing genes"), ("", "reading"),
)  # fmt: skip
"""What is under way once a line that begins so has been said."""


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("kills", ("mode", "kill"), quick=settings.quick)
    kills, epochs = (QUICK_KILLS, QUICK_EPOCHS) if settings.quick else (KILLS, EPOCHS)
    _load()
    for mode in MODES:
        done = [row for row in rows.rows if row["mode"] == mode]  # of a benchmark that was stopped
        if len(done) == kills[mode]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder), mode, epochs, warm=not settings.quick)
            for number, row in enumerate(place.killed(kills[mode], done), len(done)):
                rows.find(lambda row=row: row, mode=mode, kill=number)
    rows.write(cells=CELLS, genes=GENES, epochs=epochs)


def _load() -> None:
    """Load what a run needs, once for all."""
    import matplotlib
    import torch

    matplotlib.use("Agg")
    torch.set_num_threads(1)
    from sivae import cli, explorer, report
    from sivae._run import _fit, _gene_space
    from sivae.model import _sivae

    assert all((cli, explorer, report, _fit, _gene_space, _sivae))


def _command(words: list[str], said: Path, mode: str) -> None:
    """What the forked process does."""
    from sivae import cli
    from sivae._run import _cells
    from sivae.data import _rows
    from sivae.train._checkpoint import Checkpoint

    sys.stdout = sys.stderr = said.open("w", buffering=1)
    sys.argv = ["sivae", *words]
    share = 0.0 if mode == "temporary file" else 1e9
    with (
        mock.patch.object(_cells, "SHARE", share),
        mock.patch.object(_rows, "SHARE", share),
        mock.patch.object(Checkpoint, "_wait", lambda _: 0.0),
    ):
        cli.app()


@final
class Place:
    """A folder with a store, an undisturbed run of it, and others that are killed."""

    def __init__(self, folder: Path, mode: str, epochs: int, *, warm: bool) -> None:
        self.folder, self.mode, self.epochs = folder, mode, epochs
        self.run, self.state, self.said = folder / "run", folder / "state", folder / "said"
        cells = planted(CELLS, GENES, n_factors=2, genes_per_factor=15, signed=True, seed=1)
        cells[np.asarray(cells.X.sum(axis=1)).ravel() > 20].copy().write_h5ad(folder / "cells.h5ad")
        for _ in range(1 + warm):  # the second time everything is in the caches, as it is for those that are killed
            shutil.rmtree(folder / "undisturbed", ignore_errors=True)
            started = time.perf_counter()
            self._end(self._start("undisturbed"))
            self.seconds = time.perf_counter() - started
        self.expected = _contents(folder / "undisturbed")

    def killed(self, kills: int, done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """A row for each kill; every round of them is compared with the undisturbed run before the next begins."""
        made, number = len(done), max((row["round"] for row in done), default=0)
        rng = np.random.default_rng([7, MODES.index(self.mode), made])
        while made < kills:
            found: list[dict[str, Any]] = []
            while not self.run.exists() and made + len(found) < kills and len(found) < A_ROUND:
                found += self._killed_once(float(rng.uniform(0, self.seconds)))
            if not self.run.exists():
                self._end(self._start("run"))
            self._compare("at the end of a round")
            left = [name for name in self._beside() if name != "run"]
            self._expect(not left, f"{left} stayed")
            made, number = made + len(found), number + 1
            yield from (row | {"round": number, "same": True} for row in found)
            shutil.rmtree(self.run)

    def _killed_once(self, moment: float) -> list[dict[str, Any]]:
        """Kill the command at this moment: one row, none if it had ended before."""
        child = self._start("run")
        child.join(moment)
        child.kill()
        child.join()
        if child.exitcode == 0:
            return []
        self._expect(child.exitcode == -9, f"the command ended with {child.exitcode}")
        if self.run.exists():
            self._compare("after a kill")
        lines = self.said.read_text().splitlines()
        stage = next(stage for start, stage in STAGES if any(line.startswith(start) for line in ["", *lines]))
        left = [name for name in self._beside() if name != "run"]
        return [{"at": round(moment / self.seconds, 3), "stage": stage, "step": self._step(), "left": len(left)}]

    def _start(self, run: str) -> Any:
        words = ["fit", str(self.folder / "cells.h5ad"), "-o", str(self.folder / run), *FIT, str(self.epochs)]
        words += ["--checkpoint", str(self.state)] if run == "run" else []
        child = multiprocessing.get_context("fork").Process(target=_command, args=(words, self.said, self.mode))
        child.start()
        return child

    def _end(self, child: Any) -> None:
        child.join()
        self._expect(child.exitcode == 0, "the command failed")

    def _step(self) -> int | None:
        """The step of the checkpoint, which must be whole."""
        file = self.state / "checkpoint.safetensors"
        if not file.exists():
            return None
        with safe_open(file, framework="pt") as handle:
            return int(json.loads(handle.metadata()["sivae"])["step"])

    def _beside(self) -> list[str]:
        names = {path.name for path in self.folder.iterdir()}
        return sorted(names - {"cells.h5ad", "undisturbed", "said", "state"})

    def _compare(self, when: str) -> None:
        found = _contents(self.run)
        differing = [name for name in {*found, *self.expected} if found.get(name) != self.expected.get(name)]
        self._expect(not differing, f"{when}, {differing} differ from the undisturbed run")

    def _expect(self, true: object, words: str) -> None:
        if not true:
            raise RuntimeError(f"{self.mode}: {words}. It said:\n{self.said.read_text()[-2000:]}")


def _contents(run: Path) -> dict[str, bytes]:
    """Files of a run, without what tells the time or where it was resumed; of some, only that they are there."""
    timed = ("run.json", "adata.h5ad", "report.html", "explorer.html", "checksums.sha256")
    files = {str(path.relative_to(run)): path for path in run.rglob("*") if path.is_file()}
    found = {name: b"" if path.name in timed else path.read_bytes() for name, path in files.items()}
    if "tables/history.csv" in found:
        history = pd.read_csv(run / "tables/history.csv", float_precision="round_trip")
        found["tables/history.csv"] = history.drop(columns="seconds").to_csv().encode()
    if "model/config.json" in found:
        config = json.loads(found["model/config.json"])
        config["history"].pop("seconds")
        config["facts"].pop("resumed_at", None)
        config["facts"]["train_options"].pop("keep_checkpoint")  # the undisturbed run has none
        found["model/config.json"] = json.dumps(config).encode()
    return found


def table(result: dict[str, Any]) -> str:
    head = (
        "values",
        "stage",
        "kills",
        "step of the checkpoint",
        "left beside RUN, then removed",
        "same to the last byte",
    )
    lines, stages = [], [stage for _, stage in reversed(STAGES)]
    for mode in MODES:
        for stage in stages:
            rows = [row for row in result["rows"] if (row["mode"], row["stage"]) == (mode, stage)]
            if rows:
                steps = sorted({row["step"] for row in rows if row["step"] is not None})
                said = f"{steps[0]} to {steps[-1]}" if len(steps) > 1 else str(steps[0]) if steps else "none yet"
                same = f"{sum(row['same'] for row in rows)} of {len(rows)}"
                lines.append([mode, stage, len(rows), said, sum(row["left"] for row in rows), same])
    made = {mode: max(row["round"] for row in result["rows"] if row["mode"] == mode) for mode in MODES}
    rounds = ", ".join(f"{number} {mode}" for mode, number in made.items())
    said = f"{result['cells']} cells x {result['genes']} genes, {result['epochs']} epochs. Rounds: {rounds}."
    return f"{_common.conditions(result)} {said}\n\n" + _common.table(head, lines)
