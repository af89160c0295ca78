"""Temporary files and folders beside a result: held while their process lives, removed by the next when it is dead."""

import os
import signal
import sys
import time

import pytest

from sivae import _beside, _whole, pl, tl
from sivae._beside import temporary
from sivae.datasets import planted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")


def dies_with(path, *, folder):
    """A process that makes something temporary and is killed; what it left."""
    child = os.fork()
    if child == 0:
        with temporary(path, folder=folder) as made:
            (made / "part" if folder else made).write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    return set(path.parent.iterdir())


@pytest.mark.parametrize("folder", [True, False])
def test_what_a_killed_process_left_goes_with_the_next(tmp_path, folder):
    left = dies_with(tmp_path / "run", folder=folder)
    assert len(left) == 1
    with temporary(tmp_path / "other", folder=folder):
        assert left < set(tmp_path.iterdir())  # it is of another result
    with temporary(tmp_path / "run", folder=folder) as made:
        assert not left & set(tmp_path.iterdir()) and made.exists()


@pytest.mark.parametrize("name", ["genes.png", "genes.csv", "genes.graphml"])
def test_pictures_and_graphs_remove_what_was_left(tmp_path, name):
    adata = planted(60, 30, n_factors=2, genes_per_factor=8)
    tl.gene_neighbors(adata, 5, use_rep="planted_v")
    left = dies_with(tmp_path / name, folder=True)
    if name == "genes.png":
        adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
        pl.save(pl.genes(adata), tmp_path / name, dpi=50)
    else:
        tl.write_graph(adata, tmp_path / name)
    assert left and [path.name for path in tmp_path.iterdir()] == [name]


def test_what_a_living_process_holds_stays(tmp_path):
    with temporary(tmp_path / "run", folder=True) as one, temporary(tmp_path / "run", folder=True) as two:
        assert one != two and one.is_dir() and two.is_dir()
        dies_with(tmp_path / "run", folder=True)
        assert one.is_dir() and two.is_dir()


@pytest.mark.parametrize("name", [".run-12345678-abcdefgh", ".run-abcdefgh", "run-x", ".run-other"])
def test_what_has_another_name_stays(tmp_path, name):
    """Also what was made on another machine, whose locks may not be seen."""
    (tmp_path / name).mkdir()
    with temporary(tmp_path / "run", folder=True):
        assert (tmp_path / name).is_dir()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    link = tmp_path / f"{_beside._prefix(tmp_path / 'run')}abcdefgh"
    link.symlink_to(tmp_path / "mine")
    with temporary(tmp_path / "run", folder=True):
        assert link.is_symlink() and (tmp_path / "mine").is_dir()


def test_nothing_is_removed_while_another_looks(tmp_path, monkeypatch):
    """Two at a time could take for dead what was made just now."""
    monkeypatch.setattr(_beside, "PAUSE", 0.001)
    left = dies_with(tmp_path / "run", folder=True)
    with _beside._alone(tmp_path) as alone:
        assert alone
        started = time.monotonic()
        with temporary(tmp_path / "run", folder=True) as made:
            assert made.is_dir() and left < set(tmp_path.iterdir())
        assert time.monotonic() - started < 5


def test_a_file_that_is_written_whole_takes_away_what_was_left(tmp_path):
    dies_with(tmp_path / "page.html", folder=False)
    _whole.write_bytes(tmp_path / "page.html", [b"whole"], what="It")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
