"""No command reaches a network, starts a program or unpickles anything: an audit of the process says so."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sivae import datasets

SCRIPT = Path(__file__).parent / "offline.py"


def offline(*commands):
    """What was stopped, and the exit code and the last words of each command."""
    lines = "\n".join(json.dumps([str(word) for word in command]) for command in commands)
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], input=lines, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    return told["stopped"], told["codes"]


@pytest.mark.parametrize(
    "statement",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import pickle; pickle.loads(pickle.dumps(print))",
    ],
)
def test_the_watch_stops_what_it_should(statement):
    code = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import offline\n"
    code += (
        f"sys.addaudithook(offline.watch)\ntry:\n    {statement}\nexcept Exception: pass\nprint(len(offline.stopped))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) >= 1


@pytest.mark.slow
def test_every_command_works_offline(tmp_path):
    cells, people = tmp_path / "cells.h5ad", tmp_path / "people.h5ad"
    adata = datasets.planted(90, 40, n_factors=2, genes_per_factor=12, n_batches=2, seed=3)
    adata.write_h5ad(cells)
    planted = datasets.planted_cohort(8, 25, 40, n_regulators=2, targets=6, n_rewired=1, n_expression=2, seed=2)
    planted.write_h5ad(people)
    sets, run = tmp_path / "sets.gmt", tmp_path / "run"
    sets.write_text("".join(f"s{i}\t\t" + "\t".join(adata.var_names[i::3]) + "\n" for i in range(3)))
    quick = ["--n-latent", "2", "--max-epochs", "1", "--accelerator", "auto"]
    commands = [
        ["--version"], ["--help"],
        ["demo", "-o", tmp_path / "demo", "--n-genes", "100", *quick],
        ["fit", cells, "-o", run, "--n-genes", "30", "--project-rest", "--gene-sets", sets, "--batch-key", "batch",
         "--checkpoint", tmp_path / "state", *quick],
        ["fit", cells, "-o", tmp_path / "published", "--recipe", "choi2023", "--n-genes", "30", *quick],
        ["info", run], ["report", run], ["explore", run],
        ["embed", run, cells, "-o", tmp_path / "new.h5ad"],
        ["embed", run, cells, "-o", tmp_path / "genes.h5ad", "--genes"],
        ["neighbors", run, str(adata.var_names[0])], ["hubs", run], ["modules", run], ["loadings", run],
        ["enrich", run, sets],
        ["cohort", people, "-o", tmp_path / "cohort", "--sample", "donor", "--phenotype", "severity",
         "--n-permutations", "99", *quick],
    ]  # fmt: skip
    stopped, codes = offline(*commands)
    assert [code for code, _ in codes] == [0] * len(commands), [words for code, words in codes if code]
    assert stopped == []
    assert {"demo", "run", "cohort"} <= {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "demo" / "explorer.html").is_file() and (tmp_path / "cohort" / "report.html").is_file()
