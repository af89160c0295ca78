"""`sivae verify` says of each file of a run or of a saved model whether it is as it was written."""

import hashlib
import json
import os
import shutil
import subprocess

import pytest
from archived import NAMES, unpack
from faults import flip
from typer.testing import CliRunner

from sivae import cli
from sivae._errors import ArtefactError
from sivae._whole import SUMS, check_sums, read_sums, renew_sums, write_sums


def sivae(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    return unpack(NAMES[-1], tmp_path_factory.mktemp("verify") / "run")[0]


@pytest.fixture
def run(archived, tmp_path):
    shutil.copytree(archived, tmp_path / "run")
    return tmp_path / "run"


def found(folder, code):
    done = sivae("verify", folder, "--json")
    assert done.exit_code == code, done.output
    return {row["file"]: row["found"] for row in json.loads(done.stdout)}


def test_what_is_as_it_was_written(run):
    done = sivae("verify", run)
    assert (done.exit_code, done.stdout) == (0, "24 files are as they were written.\n")
    assert set(found(run, 0).values()) == {"as written"}
    assert set(found(run, 0)) == {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()} - {SUMS}
    assert len(found(run / "model", 0)) == 4


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum of GNU coreutils is not installed")
def test_sha256sum_reads_the_same_file(run):
    def checked():
        return subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=run, capture_output=True, text=True)

    assert (checked().returncode, checked().stdout) == (0, "")
    flip(run / "report.html", 40)
    assert checked().returncode == 1 and checked().stdout == "report.html: FAILED\n"


def test_missing_changed_and_new_files_are_told_apart(run):
    flip(run / "adata.h5ad", 5000)
    (run / "tables/genes.csv").unlink()
    (run / "tables/mine.csv").write_text("a note")
    (run / "report.html").write_text((run / "report.html").read_text()[:-1])
    (run / "figures/history.png").unlink()
    (run / "figures/history.png").mkdir()
    rows = found(run, 1)
    assert {name: what for name, what in rows.items() if what != "as written"} == {
        "adata.h5ad": "changed", "report.html": "changed", "tables/genes.csv": "missing",
        "tables/mine.csv": "not listed", "figures/history.png": "changed",
    }  # fmt: skip
    done = sivae("verify", run)
    assert "tables/genes.csv: missing\n" in done.stdout and "20 files are as they were written." in done.stdout
    assert done.stderr == (
        f"Error: 4 of the files of {run} are not as they were written: adata.h5ad, figures/history.png, report.html, "
        "tables/genes.csv. Copy the folder again, or make it again.\n"
    )


def test_files_of_ones_own_harm_nothing(run):
    (run / "notes.txt").write_text("mine")
    (run / "model" / "notes.txt").write_text("mine")
    done = sivae("verify", run)
    assert done.exit_code == 0 and done.stdout.startswith("model/notes.txt: not listed\nnotes.txt: not listed\n24 ")


def test_links_out_of_the_folder_and_devices_are_not_followed(run, tmp_path):
    (tmp_path / "secret").write_bytes((run / "report.html").read_bytes())
    for name in ("report.html", "explorer.html", "run.json"):
        (run / name).unlink()
    (run / "report.html").symlink_to(tmp_path / "secret")
    (run / "explorer.html").symlink_to("/dev/zero")
    os.mkfifo(run / "run.json")
    (run / "out").symlink_to(tmp_path)
    (run / "circle").symlink_to(run / "circle")
    rows = found(run, 1)
    assert (rows["report.html"], rows["explorer.html"]) == ("a link out of the folder",) * 2
    assert (rows["run.json"], rows["out"]) == ("changed", "not listed")


def test_a_link_inside_the_folder_is_a_file(run):
    (run / "report.html").rename(run / "kept.html")
    (run / "report.html").symlink_to("kept.html")
    assert found(run, 0)["report.html"] == "as written"


@pytest.mark.parametrize("folder", ["", "model"])
def test_every_byte_and_every_length_of_the_sums_counts(run, folder):
    """A flipped byte in them is told as such; damage to them never counts as damage to a file, or as none."""
    path = run / folder / SUMS
    raw = path.read_bytes()
    step = 1 if folder else 17
    for at in range(0, len(raw), step):
        flip(path, at)
        with pytest.raises(ArtefactError, match=f"{SUMS} is damaged"):
            read_sums(run / folder)
        path.write_bytes(raw)
    for bit in range(8):  # one bit is enough: a letter in upper case is the same number
        for at in range(bit, len(raw), 11 * step):
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :])
            with pytest.raises(ArtefactError, match=f"{SUMS} is damaged"):
                read_sums(run / folder)
    for length in range(0, len(raw), step):
        path.write_bytes(raw[:length])
        with pytest.raises(ArtefactError, match=f"{SUMS} is damaged"):
            read_sums(run / folder)
    for more in (b"\n", b"x", b"# a comment\n", b"\0"):
        path.write_bytes(raw + more)
        with pytest.raises(ArtefactError, match=f"{SUMS} is damaged"):
            check_sums(run / folder)
    done = sivae("verify", run / folder)
    assert done.exit_code == 1 and f"{SUMS} is damaged" in done.stderr and "Copy the folder again" in done.stderr


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../secret", "./report.html", "a//b", "C:\\x", "c:x"]
)
def test_sums_of_files_elsewhere_are_refused(tmp_path, name):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "run").mkdir()
    lines = f"{'0' * 64}  {name}\n"
    own = hashlib.sha256(lines.encode()).hexdigest()
    (tmp_path / "run" / SUMS).write_text(f"{lines}# sha256 of the lines above: {own}\n")
    done = sivae("verify", tmp_path / "run")
    assert done.exit_code == 1 and ("no file of the folder" in done.stderr or "is damaged" in done.stderr)


@pytest.mark.parametrize("command", [["info"], ["neighbors", "gene_1"], ["report"], ["explore"], ["hubs"]])
def test_a_record_that_changed_is_refused_by_every_command(run, command):
    record = (run / "run.json").read_text()
    (run / "run.json").write_text(record.replace('"seed": 3', '"seed": 4'))
    done = sivae(command[0], run, *command[1:])
    assert (
        done.exit_code == 1 and "run.json is not as it was written" in done.stderr and "copy or make it" in done.stderr
    )
    (run / "run.json").write_text(record)
    flip(run / SUMS, 10)
    done = sivae(command[0], run, *command[1:])
    assert done.exit_code == 1 and f"{SUMS} is damaged" in done.stderr


def test_embedding_with_a_changed_model_is_refused(run, tmp_path):
    flip(run / "model/tables.safetensors", 3000)
    done = sivae("embed", run, run / "adata.h5ad", "-o", tmp_path / "out.h5ad")
    assert done.exit_code == 1 and "tables.safetensors is not as it was written" in done.stderr
    assert not (tmp_path / "out.h5ad").exists()


PAGES = [("explore", "explorer.html"), pytest.param("report", "report.html", marks=pytest.mark.slow)]


@pytest.mark.parametrize(("command", "name"), PAGES)
def test_pages_that_are_made_again_have_new_sums_and_other_files_keep_theirs(run, command, name):
    before = read_sums(run)
    (run / name).write_text("damaged")
    flip(run / "tables/cells.csv", 8)
    assert sivae(command, run, *(["--label", "batch"] if command == "explore" else [])).exit_code == 0
    rows = found(run, 1)
    assert rows[name] == "as written" and rows["tables/cells.csv"] == "changed"
    assert {file for file, digest in read_sums(run).items() if digest != before[file]} == {name}


def test_a_page_made_elsewhere_changes_no_sum(run, tmp_path):
    before = (run / SUMS).read_bytes()
    assert sivae("explore", run, "-o", tmp_path / "e.html").exit_code == 0
    assert (run / SUMS).read_bytes() == before


def test_nothing_to_verify(tmp_path):
    (tmp_path / "run").mkdir()
    for place in (tmp_path / "run", tmp_path / "nothing"):
        done = sivae("verify", place)
        assert done.exit_code == 1 and "expected the folder of a run or of a saved model" in done.stderr
    (tmp_path / "run/run.json").write_text("{}")
    assert "Runs before format 2 have none" in sivae("verify", tmp_path / "run").stderr


def test_sums_of_any_folder(tmp_path):
    """Names with spaces and letters of other scripts; sums are renewed one by one."""
    folder = tmp_path / "f"
    (folder / "b").mkdir(parents=True)
    (folder / "a b.txt").write_text("1")
    (folder / "b" / "\u00e9\u4e2d.txt").write_text("2")
    write_sums(folder)
    assert set(check_sums(folder).values()) == {""}
    (folder / "a b.txt").write_text("3")
    assert check_sums(folder)["a b.txt"] == "changed"
    renew_sums(folder, ["a b.txt"])
    assert set(check_sums(folder).values()) == {""}
    (folder / SUMS).unlink()
    renew_sums(folder, ["a b.txt"])
    assert not (folder / SUMS).exists()
