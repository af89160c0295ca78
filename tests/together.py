"""Two processes that train together (gloo, this machine): launched once, they try one thing after the other.

Each writes what it found, as JSON, into the folder it is given.
"""

import json
import os
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

WORLD = 2


def launch(folder, *, world=WORLD, timeout=240):
    """What each process found, by rank, and their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    processes = []
    for rank in range(world):
        env = os.environ | {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "PYTHONPATH": paths,
        }  # fmt: skip
        command = [sys.executable, "-W", "ignore", "-m", "together", str(folder)]
        with (folder / f"{rank}.err").open("w") as err:
            processes.append(subprocess.Popen(command, env=env, stdout=err, stderr=err))
    codes = []
    try:
        codes = [process.wait(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = [(folder / f"{rank}.err").read_text() for rank in range(world)]
    found = [folder / f"{rank}.json" for rank in range(world)]
    assert all(path.exists() for path in found), "\n".join(said)
    return [json.loads(path.read_text()) for path in found], codes


class Stopped(BaseException):
    """An end that all processes meet at the same step."""

    everywhere = True


def main(folder):
    found, rank = FOUND, int(os.environ["RANK"])
    for name, experiment in EXPERIMENTS.items():
        started = time.perf_counter()
        try:
            found[name] = experiment(folder, rank)
        except Exception:
            found[name] = {"broke": traceback.format_exc()}
        found[name]["seconds"] = time.perf_counter() - started
    (folder / f"{rank}.json").write_text(json.dumps(found))


def cells(n=241):
    from sivae import SiVAE
    from sivae.datasets import planted

    adata = planted(n, 50, n_factors=2, genes_per_factor=15, n_batches=2, batch_effect=0.3, signed=True, seed=1)
    SiVAE.setup_anndata(adata, batch_key="batch")
    return adata


def error_of(call):
    """Type and words of what is raised, and where it is known."""
    try:
        call()
    except Exception as error:
        return {"type": type(error).__name__, "words": str(error), "everywhere": getattr(error, "everywhere", None)}
    return {"type": "nothing"}


def shares(folder, rank):
    """Which cells a process reads, wherever it has their values, and which it steps over."""
    from unittest import mock

    import resuming

    from sivae.data import _rows, _spool
    from sivae.train import _loop

    found = {}
    for choice in ("always", "never"):
        spools, stepped, matrices = [], set(), []
        spool, advance, as_matrix = _spool.Spool.__init__, _loop._Trainer.advance, _rows.as_matrix

        def spooled(self, strips, shape, *rest, seen=spools, original=spool):
            original(self, strips, shape, *rest)
            seen.append([shape[0], int((self._length_n > 0).sum())])

        def read(part, *rest, seen=matrices, original=as_matrix):
            matrix = original(part, *rest)
            seen.append(matrix.shape[0])
            return matrix

        def step(trainer, seen=stepped, original=advance):
            rows, own = trainer.cells.block(trainer.step + 1)[0], trainer.job.own
            seen.update(trainer.job.cell_name(int(row)) for row in (rows if own is None else own[rows]))
            original(trainer)

        with (
            mock.patch.object(_spool.Spool, "__init__", spooled),
            mock.patch.object(_rows, "as_matrix", read),
            mock.patch.object(_loop._Trainer, "advance", step),
        ):
            resuming.go(resuming.make(cells()), spool=choice, max_steps=8)
        found[choice] = {"spools": spools, "read": matrices, "stepped": sorted(stepped)}
    return found


def first_gradient(folder, rank):
    """What every process has as the gradient of the first step, without noise; cells and genes of the block."""
    from unittest import mock

    import numpy as np
    import resuming

    from sivae.train import _loop
    from sivae.train._processes import Processes

    found, average, advance = [], Processes.average, _loop._Trainer.advance
    block = {}

    def kept(self, tensors):
        average(self, tensors)
        found.append([tensor.double().numpy().copy() for tensor in tensors])

    def step(trainer):
        rows, own = trainer.cells.block(1)[0], trainer.job.own
        block["cells"] = [trainer.job.cell_name(int(row)) for row in (rows if own is None else own[rows])]
        block["genes"] = [trainer.job.genes[gene] for gene in trainer.genes.block(1)[0]]
        block["n_blocks"] = trainer.job.n_cell_blocks
        advance(trainer)

    with (
        mock.patch.object(Processes, "average", kept),
        mock.patch.object(_loop._Trainer, "advance", step),
        mock.patch.object(_loop, "torch_generator", lambda *words, **named: None),
    ):
        resuming.go(resuming.make(cells()), max_steps=1, checks=1)
    np.savez(folder / f"gradient{rank}.npz", *found[0])
    return block


def curves(folder, rank):
    """Histories of two seeds, and whether every process holds the same model."""
    import resuming

    found = {}
    for seed in (0, 1):
        model = resuming.make(cells(), seed=seed)
        history = model.train(
            batch_size=32, feature_batch_size=32, early_stopping=False, accelerator="cpu", progress=False,
            options=CURVE(),
        )  # fmt: skip
        found[str(seed)] = {"loss": history["loss"].tolist(), "validation": history["validation_loss"].tolist()}
        found[str(seed)] |= {"epoch": history["epoch"].tolist(), "result": resuming.result(model)[0]}
        found[str(seed)]["processes"] = model._state.facts["processes"]
    return found


def CURVE():
    from sivae import TrainOptions

    return TrainOptions(max_steps=100, checks=5, validation_fraction=0.15, learning_rate=0.01)


def resumed(folder, rank):
    """An undisturbed training, and one that stops at step 13 and goes on."""
    from unittest import mock

    import resuming

    from sivae.train import _loop

    undisturbed, stopped, again = (resuming.make(cells()) for _ in range(3))
    resuming.go(undisturbed)
    place, advance = folder / "checkpoint", _loop._Trainer.advance

    def step(trainer):
        if trainer.step == 12:
            raise Stopped
        advance(trainer)

    try:
        with mock.patch.object(_loop._Trainer, "advance", step):
            resuming.go(stopped, place)
    except Stopped:
        pass
    listed = sorted(path.name for path in place.iterdir()) if rank == 0 else []
    history = resuming.go(again, place)
    return {
        "at": history.attrs["resumed_at"], "equal": resuming.result(again) == resuming.result(undisturbed),
        "digest": resuming.result(again)[0], "listed": listed,
    }  # fmt: skip


def diverged(folder, rank):
    """The second process alone meets a loss that is not finite."""
    from unittest import mock

    import resuming

    from sivae.nn._module import SiVAEModule

    forward = SiVAEModule.forward

    def broken(module, block, *words, **named):
        terms = forward(module, block, *words, **named)
        if module.training and rank == 1:
            object.__setattr__(terms, "kl_cells", terms.kl_cells * float("nan"))
        return terms

    with mock.patch.object(SiVAEModule, "forward", broken):
        return error_of(lambda: resuming.go(resuming.make(cells())))


def refused(folder, rank):
    """What several processes cannot do."""
    import resuming

    return error_of(lambda: resuming.make(cells(), recipe="choi2023", architecture=None).train(accelerator="cpu"))


def other_cells(folder, rank):
    import resuming

    adata = cells()
    return error_of(lambda: resuming.go(resuming.make(adata[rank:].copy())))


def first_fails(folder, rank):
    """The first process fails while it works on all cells; the second waits for its word."""
    from unittest import mock

    import resuming

    from sivae._errors import SetupError
    from sivae.model import _build

    def broken(*words, **named):
        time.sleep(0.5)
        raise SetupError("planned")

    with mock.patch.object(_build, "build_module", broken):
        return error_of(lambda: resuming.go(resuming.make(cells())))


def second_fails(folder, rank):
    """The second process cannot read its cells."""
    from unittest import mock

    import resuming

    from sivae._errors import ArtefactError
    from sivae.model import _together

    def broken(*words):
        raise ArtefactError("the disk is full")

    with mock.patch.object(_together, "own_rows", broken):
        return error_of(lambda: resuming.go(resuming.make(cells())))


def command(folder, rank):
    """`sivae fit` with a column that is not there, and a command that several processes have nothing to do in."""
    from typer.testing import CliRunner

    from sivae import cli

    found, place = {}, folder / "cells.h5ad"
    if rank == 0:
        cells().write_h5ad(folder / "part.h5ad")
        (folder / "part.h5ad").rename(place)
    while not place.exists():
        time.sleep(0.05)
    for name, words in {
        "column": ["fit", str(place), "-o", str(folder / "run"), "--batch-key", "nope", "--accelerator", "cpu"],
        "info": ["info", str(folder)],
    }.items():
        done = CliRunner().invoke(cli.app, words)
        found[name] = {"code": done.exit_code, "out": done.stdout, "err": done.stderr}
    return found


def lost(folder, rank):
    """The second process ends without a word at its fifth step."""
    from unittest import mock

    import resuming

    from sivae.train import _loop

    advance = _loop._Trainer.advance

    def step(trainer):
        if rank == 1 and trainer.step == 4:
            (folder / "1.json").write_text(json.dumps({"ended": True} | FOUND))
            os._exit(9)
        advance(trainer)

    with mock.patch.object(_loop._Trainer, "advance", step):
        found = error_of(lambda: resuming.go(resuming.make(cells()), folder / "lost"))
    return found | {"again": error_of(lambda: resuming.go(resuming.make(cells()))), "left": (folder / "lost").exists()}


FOUND = {}
EXPERIMENTS = {
    "shares": shares, "first_gradient": first_gradient, "curves": curves, "resumed": resumed, "diverged": diverged,
    "refused": refused, "other_cells": other_cells, "first_fails": first_fails, "second_fails": second_fails,
    "command": command, "lost": lost,
}  # fmt: skip

if __name__ == "__main__":
    main(Path(sys.argv[1]))
