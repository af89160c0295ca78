"""Bad input to the commands on a run: damaged runs, words that cannot be; one line, exit code 1, nothing changed."""

import json
import shutil
from pathlib import Path

import anndata as ad
import matplotlib
import pytest
import typer
from doors import cells, files
from typer.testing import CliRunner

from sivae import cli

matplotlib.use("Agg")
OUT = "out.h5ad"
COMMANDS = {
    "neighbors": ["neighbors", "run", "gene_1"],
    "hubs": ["hubs", "run"],
    "modules": ["modules", "run"],
    "loadings": ["loadings", "run"],
    "enrich": ["enrich", "run", "sets.gmt"],
    "info": ["info", "run"],
    "report": ["report", "run"],
    "explore": ["explore", "run"],
    "embed": ["embed", "run", "good.h5ad", "-o", OUT],
    "embed --genes": ["embed", "run", "good.h5ad", "-o", OUT, "--genes"],
}
ELSEWHERE = {"fit": "test_bad_input_cli.py", "demo": "test_bad_input_cli.py", "cohort": "tests/test_cli_cohort.py",
             "verify": "tests/test_verify.py"}  # fmt: skip
"""Commands that make a run; they are tried there, and with the words below."""


def sivae(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    cells().write_h5ad(folder / "good.h5ad")
    genes = "\t".join(f"gene_{i}" for i in range(1, 9))
    (folder / "sets.gmt").write_text(f"one\tabout\t{genes}\n")
    words = ["--n-latent", "2", "--max-epochs", "1", "--n-genes", "all", "--accelerator", "cpu"]
    done = sivae("fit", folder / "good.h5ad", "-o", folder / "run", *words, "--gene-sets", folder / "sets.gmt")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def place(kept, tmp_path, monkeypatch):
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(words, *said, code=1):
    before = files(".")
    done = sivae(*words)
    assert done.exit_code == code, (done.exit_code, done.output)
    assert "Traceback" not in done.output and "report it" not in done.output, done.output
    if code == 1:
        assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.rstrip("\n").isprintable() and len(done.stderr) < 2500
    missing = [word for word in said if word not in done.stderr]
    assert not missing, f"{missing} not in {done.stderr}"
    assert files(".") == before


def without(place, key):
    """Take something out of the annotated cells of the run."""

    def damage():
        adata = ad.read_h5ad("run/adata.h5ad")
        held = getattr(adata, place)
        if key in held:
            del held[key]
        Path("run/adata.h5ad").unlink()
        adata.write_h5ad("run/adata.h5ad")

    return damage


def record(text):
    def damage():
        Path("run/run.json").write_text(text)
        Path("run/checksums.sha256").unlink()  # which would say so before it is read

    return damage


def parts(value):
    def damage():
        found = json.loads(Path("run/run.json").read_text())
        record(json.dumps(dict.fromkeys(found, value) | {"format": found["format"]}))()

    return damage


def cut():
    Path("run/adata.h5ad").write_bytes(Path("run/adata.h5ad").read_bytes()[:5000])


def link(name, to):
    def damage():
        path = Path("run") / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.symlink_to(to)

    return damage


READING = ["neighbors", "hubs", "modules", "loadings", "enrich", "report", "explore"]
DAMAGE = {
    "record: a list": (record("[]"), list(COMMANDS), ["run.json cannot be read", "damaged: copy or make it again"]),
    "record: null": (record("null"), list(COMMANDS), ["run.json cannot be read", "damaged: copy or make it again"]),
    "record: empty": (record(""), list(COMMANDS), ["run.json cannot be read", "damaged: copy or make it again"]),
    "record: text as format": (record('{"format": "x"}'), list(COMMANDS), ["run.json cannot be read", "damaged"]),
    "record: parts of text": (parts("x"), ["info"], ["does not describe a run", "expected", "copy or make it again"]),
    "record: parts of nothing": (parts(None), ["info"], ["does not describe a run", "expected", "copy or make it"]),
    "cells: cut": (cut, READING, ["adata.h5ad cannot be read"]),
    "cells: a link to what is none": (link("adata.h5ad", "/etc/hostname"), READING, ["cannot be read", "adata.h5ad"]),
    "cells: no positions": (without("varm", "X_sivae"), ["loadings", "hubs", "report"], ["no varm['X_sivae']"]),
    "cells: no record": (without("uns", "sivae"), ["report"], ["model.annotate(adata)"]),
    "cells: no modules": (without("var", "sivae_module"), ["modules"], ["module"]),
    "cells: no note of what was modelled": (without("var", "sivae_modelled"), ["embed --genes"], ["sivae_modelled"]),
    "model: a link elsewhere": (link("model", "/etc"), ["embed"], ["is not a saved model"]),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_runs(place, case):
    damage, commands, said = DAMAGE[case]
    damage()
    for command in commands:
        refused(COMMANDS[command], *said)


LONG = "x" * 5000
WORDS = {
    "neighbors: no such gene": (["neighbors", "run", "NOPE"], "no gene NOPE", "expected one of 24 genes"),
    "neighbors: too many": (["neighbors", "run", "gene_1", "-n", "99"], "n_neighbors=99", "expected 1 to 23"),
    "neighbors: metric": (["neighbors", "run", "gene_1", "--metric", "x"], "metric='x'", "expected one of"),
    "hubs: score": (["hubs", "run", "--score", "x"], "--score 'x'", "expected one of"),
    "modules: no such": (["modules", "run", "x"], "x", "xpected"),
    "loadings: axis 0": (["loadings", "run", "--axis", "0"], "xpected", "axis"),
    "loadings: axis 9": (["loadings", "run", "--axis", "9"], "xpected", "axis"),
    "enrich: no file": (["enrich", "run", "nope.gmt"], "nope.gmt cannot be read", "Name a .gmt"),
    "enrich: a folder": (["enrich", "run", "."], "cannot be read as gene sets", "Name a .gmt"),
    "enrich: no text": (["enrich", "run", "good.h5ad"], "good.h5ad, line 1", "UTF-8"),
    "enrich: of": (["enrich", "run", "sets.gmt", "--of", "x"], "of is 'x'", "expected one of 'axes'"),
    "enrich: no gene": (["enrich", "run", "sets.gmt", "--of", "neighbors"], "gene=None", "Name a gene"),
    "enrich: method": (["enrich", "run", "sets.gmt", "--method", "x"], "method is 'x'", "expected"),
    "explore: label": (["explore", "run", "--label", "x"], "no column 'x'", "expected one of"),
    "explore: nowhere": (["explore", "run", "-o", "no/x.html"], "no folder no", "Make it first"),
    "info: empty": (["info", ""], "no run.json", "expected the folder of a run"),
    "info: newline": (["info", "a\nb"], "no run.json in a\\nb", "expected the folder of a run"),
    "info: long": (["info", LONG], "File name too long", "Nothing was written"),
    "verify: no run": (["verify", "nope"], "no checksums.sha256 in nope", "Check the path"),
    "report: no run": (["report", "good.h5ad"], "no run.json in good.h5ad", "expected the folder of a run"),
    "fit: long name": (["fit", LONG, "-o", "o"], "xpected"),
    "fit: long place": (["fit", "good.h5ad", "-o", LONG], "xpected"),
    "fit: no place": (["fit", "good.h5ad", "-o", ""], "xpected"),
    "fit: preset": (["fit", "good.h5ad", "-o", "o", "--preset", "x"], "preset", "choi2023"),
    "fit: recipe": (["fit", "good.h5ad", "-o", "o", "--recipe", "x"], "recipe is 'x'", "expected one of"),
    "fit: dispersion": (["fit", "good.h5ad", "-o", "o", "--dispersion", "x"], "dispersion is 'x'", "expected one of"),
    "fit: gene sets": (["fit", "good.h5ad", "-o", "o", "--gene-sets", "nope"], "nope cannot be read", "Name a .gmt"),
    "fit: accelerator": (["fit", "good.h5ad", "-o", "o", "--accelerator", "x"], "accelerator is 'x'", "expected"),
    "fit: axes": (["fit", "good.h5ad", "-o", "o", "--n-latent", "9" * 20], "n_latent is 9999", "expected 1 to 24"),
    "embed: no place": (["embed", "run", "good.h5ad", "-o", ""], "xpected"),
    "embed: no data": (["embed", "run", "", "-o", OUT], "xpected"),
    "demo: no axis": (["demo", "-o", "o", "--n-latent", "0"], "n_latent is 0", "expected at least 1"),
    "demo: likelihood": (["demo", "-o", "o", "--likelihood", "x"], "likelihood is 'x'", "expected one of"),
    "cohort: no column": (
        ["cohort", "good.h5ad", "--sample", "x", "--phenotype", "y", "-o", "o"], "no column 'x'", "expected one of",
    ),
    "cohort: no data": (["cohort", "nope", "--sample", "x", "--phenotype", "y", "-o", "o"], "nope", "xpected"),
}  # fmt: skip


@pytest.mark.parametrize("case", WORDS)
def test_words_that_cannot_be(place, monkeypatch, case):
    monkeypatch.setattr("sivae.train._loop.run", lambda *_a, **_o: pytest.fail("training began"))
    words, *said = WORDS[case]
    refused(words, *said)


def test_every_command_has_a_case():
    known = set(typer.main.get_command(cli.app).commands)
    tried = {words[0] for words, *_ in WORDS.values()} & {words[0] for words in COMMANDS.values()} | set(ELSEWHERE)
    assert known == tried | set(ELSEWHERE), known ^ tried
    assert set(ELSEWHERE) <= {words[0] for words, *_ in WORDS.values()}
