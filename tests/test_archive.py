"""What earlier versions wrote is still read, and gives the numbers that it gave then."""

import re
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from archived import NAMES, PLACE, unpack
from typer.testing import CliRunner

from sivae import SiVAE, cli
from sivae._errors import ArtefactError
from sivae._run import _files
from sivae.model import _artefact

NOW = NAMES[-1]


def sivae(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture(scope="module", params=NAMES)
def archived(request, tmp_path_factory):
    return unpack(request.param, tmp_path_factory.mktemp("archive") / "run")


def test_each_format_has_an_example():
    """Who raises a format number adds one: python scripts/archive.py tests/archive/model-N-run-M."""
    models, runs = ({int(name.split("-")[at]) for name in NAMES} for at in (1, 3))
    assert models == set(range(1, _artefact.FORMAT + 1))
    assert runs == set(range(1, _files.FORMAT + 1))
    assert sum(path.stat().st_size for path in PLACE.iterdir()) < 1_000_000


def test_a_saved_model_gives_the_numbers_that_it_gave(archived):
    run, then = archived
    model, adata = SiVAE.load(run / "model"), ad.read_h5ad(run / "adata.h5ad")
    np.testing.assert_allclose(model.get_latent_representation(adata), then["cells"], atol=2e-5)
    mean, variance = model.get_feature_representation(return_dist=True)
    assert list(mean.index) == then["genes"]
    np.testing.assert_allclose(mean, then["loadings"], atol=2e-5)
    np.testing.assert_allclose(variance, then["variances"], atol=2e-5)
    expression = np.asarray(model.get_normalized_expression(adata))[:5]
    np.testing.assert_allclose(expression, then["expression"], rtol=1e-4, atol=2e-5)
    assert len(model.history) > 1 and "best step" in repr(model)
    assert np.abs(then["cells"]).max() > 0.5 and np.abs(then["loadings"]).max() > 0.3  # they say something


def test_a_saved_model_is_saved_in_the_present_format(archived, tmp_path):
    run, then = archived
    SiVAE.load(run / "model").save(tmp_path / "model")
    again = SiVAE.load(tmp_path / "model")
    cells = ad.read_h5ad(run / "adata.h5ad")
    np.testing.assert_allclose(again.get_latent_representation(cells), then["cells"], atol=2e-5)
    assert sivae("verify", tmp_path / "model").exit_code == 0


COMMANDS = [
    ["info"], ["neighbors", "gene_1"], ["hubs"], ["loadings"], ["explore"], ["embed"], ["embed", "--genes"],
    pytest.param(["report"], marks=pytest.mark.slow),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_reads_a_run(archived, tmp_path, command):
    run, then = archived
    if then["config"] == 1 and command[0] in ("neighbors", "hubs", "loadings", "explore"):
        pytest.skip("annotated cells of the first format hold no gene space")
    shutil.copytree(run, tmp_path / "run")
    more = [tmp_path / "run/adata.h5ad", "-o", tmp_path / "out.h5ad"] if command[0] == "embed" else []
    done = sivae(command[0], tmp_path / "run", *command[1:], *more)
    assert done.exit_code == 0, done.output
    if command[0] == "embed":
        out, before = ad.read_h5ad(tmp_path / "out.h5ad"), ad.read_h5ad(run / "adata.h5ad")
        np.testing.assert_allclose(out.obsm["X_sivae"], before.obsm["X_sivae"], atol=2e-5)
        later = ~before.var["sivae_modelled"].to_numpy()
        # what covariates do to a gene is worked out anew, and was worked out otherwise when format 1 was written
        atol = 2e-3 if then["config"] == 1 else 2e-5
        np.testing.assert_allclose(out.varm["X_sivae"][later], before.varm["X_sivae"][later], atol=atol)
    elif command[0] in ("report", "explore"):
        assert (tmp_path / "run" / f"{'report' if command[0] == 'report' else 'explorer'}.html").stat().st_size > 10_000
    elif command[0] == "info":
        assert "16 modelled" in done.stdout
    else:
        assert "gene_" in done.stdout


def test_tables_of_a_run_are_its_numbers(archived):
    run, then = archived
    cells = pd.read_csv(run / "tables/cells.csv", index_col="cell")
    np.testing.assert_allclose(cells[["axis1", "axis2"]], then["cells"], atol=2e-5)


def test_files_are_read_without_this_package_as_the_docs_say(archived, monkeypatch):
    run, then = archived
    page = (Path(__file__).parents[1] / "docs/artefacts.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 1 and "sivae" not in blocks[0]
    monkeypatch.chdir(run.parent)
    found = {}
    exec(blocks[0], found)
    np.testing.assert_allclose(found["loadings"].loc[then["genes"]], then["loadings"], atol=2e-5)
    variance = pd.DataFrame(found["variance"], index=found["loadings"].index).loc[then["genes"]]
    np.testing.assert_allclose(variance, then["variances"], atol=2e-5)


def test_runs_with_checksums_are_verified_and_others_say_that_they_have_none(archived):
    run, then = archived
    for folder in (run, run / "model"):
        done = sivae("verify", folder)
        summed = then["run"] >= 2 if folder == run else then["config"] >= 4
        assert done.exit_code == (0 if summed else 1)
        assert ("as they were written" in done.stdout) if summed else ("cannot be verified" in done.stderr)


def test_an_older_version_would_refuse_a_newer_format(archived, monkeypatch):
    run, then = archived
    monkeypatch.setattr(_artefact, "FORMAT", then["config"] - 1)
    with pytest.raises(ArtefactError, match=f"format {then['config']}; this version reads up to .* Update siVAE"):
        SiVAE.load(run / "model")
