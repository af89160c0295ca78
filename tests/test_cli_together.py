"""`sivae fit` as two processes: one is killed, and the same command goes on."""

import os
import re
import signal
import subprocess
import sys
import time

import anndata as ad
import numpy as np
import psutil
import pytest
from resuming import wait_for_checkpoints
from together import cells
from typer.testing import CliRunner

from sivae import SiVAE, cli
from sivae._errors import ProcessError
from sivae.train._checkpoint import FILE

TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
ACCELERATE = [
    "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
]  # fmt: skip
FIT = ["--n-latent", "2", "--n-genes", "40", "--accelerator", "cpu", "--max-epochs", "300"]


def start(launcher, *words):
    command = [sys.executable, "-W", "ignore", *launcher, "-m", "sivae", "fit", *map(str, words), *FIT]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_process_ends_all_and_the_same_command_goes_on(tmp_path):
    cells().write_h5ad(tmp_path / "cells.h5ad")
    words = (tmp_path / "cells.h5ad", "-o", tmp_path / "out" / "run", "--checkpoint", tmp_path / "state")
    launcher = start(TORCHRUN, *words)
    wait_for_checkpoints(tmp_path / "state" / FILE, 1)
    helpers = psutil.Process(launcher.pid).children(recursive=True)
    second = next(one for one in helpers if one.environ().get("RANK") == "1")
    second.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    out, err = launcher.communicate(timeout=60)
    assert launcher.returncode != 0 and time.monotonic() - killed < 20
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in helpers)
    lost = r"Error: Process 0 of 2 can no longer reach another process of its training.*The checkpoint in \S+ stays"
    assert re.search(lost + r"|^Stopped; nothing was written. The checkpoint in \S+ stays", err, re.MULTILINE), err
    assert out.count("Training 2 axes") == 1
    assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "state").iterdir()] == [FILE]
    # The same command with another launcher.
    launcher = start(ACCELERATE, *words)
    out, err = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, err
    assert re.search(r"Trained \d+ steps \(continued from step \d+\)", out), out
    assert out.count("Wrote ") == out.count("Read ") == 1  # the first process alone has the word
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["run"]
    assert list((tmp_path / "state").iterdir()) == []
    run = tmp_path / "out" / "run"
    adata, model = ad.read_h5ad(run / "adata.h5ad"), SiVAE.load(run / "model")
    assert int(adata.uns["sivae"]["facts"]["processes"]) == 2
    found = model.get_latent_representation(adata)
    np.testing.assert_allclose(found, adata.obsm["X_sivae"], rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------- who says what, nothing launched


@pytest.mark.parametrize(
    ("rank", "everywhere", "said"),
    [
        (0, True, "Error: some words\n"),
        (0, False, "Error: some words\n"),
        (1, True, ""),
        (1, False, "Error: (process 1 of 3) some words\n"),
        (2, True, ""),
    ],
)
def test_what_all_processes_know_the_first_one_says(monkeypatch, tmp_path, rank, everywhere, said):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", str(rank))
    error = ProcessError("some words")
    error.everywhere = everywhere

    def broken(*words, **named):
        raise error

    from sivae import _run

    monkeypatch.setattr(_run, "fit_file", broken)
    done = CliRunner().invoke(cli.app, ["fit", str(tmp_path / "cells.h5ad"), "-o", str(tmp_path / "run")])
    assert (done.exit_code, done.stderr, done.stdout) == (1, said, "")


@pytest.mark.parametrize(("rank", "said"), [(0, "Stopped;"), (1, "(process 1 of 3) Stopped;"), (2, "")])
def test_two_processes_say_that_they_were_stopped(monkeypatch, tmp_path, rank, said):
    """Two, because the first may be the one that was killed."""
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", str(rank))

    def stopped(*words, **named):
        raise SystemExit(143)

    from sivae import _run

    monkeypatch.setattr(_run, "fit_file", stopped)
    done = CliRunner().invoke(cli.app, ["fit", str(tmp_path / "cells.h5ad"), "-o", str(tmp_path / "run")])
    assert done.exit_code == 143
    assert done.stderr.startswith(said) and bool(done.stderr) == bool(said)


@pytest.mark.parametrize("rank", [0, 1])
def test_other_commands_refuse_several_processes(monkeypatch, tmp_path, rank):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    done = CliRunner().invoke(cli.app, ["info", str(tmp_path)])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: 2 processes were started together; expected one") == (rank == 0)
    assert bool(done.stderr) == (rank == 0)
