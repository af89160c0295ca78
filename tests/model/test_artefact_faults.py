"""No byte of a saved model can change unnoticed; nothing in its folder is run, and nothing leads out of it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from archived import NAMES, unpack
from faults import flip

from sivae import SiVAE
from sivae._errors import ArtefactError
from sivae._whole import SUMS, write_sums
from sivae.model import _artefact

pytestmark = pytest.mark.slow  # so that the fast tests stay fast

SMALL = ("config.json", "README.md", SUMS)
LARGE = ("weights.safetensors", "tables.safetensors")


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    return unpack(NAMES[-1], tmp_path_factory.mktemp("faults") / "run")[0] / "model"


@pytest.fixture
def folder(archived, tmp_path):
    shutil.copytree(archived, tmp_path / "model")
    return tmp_path / "model"


def refused(folder, name):
    """It is refused, and the file is named, with what to do."""
    with pytest.raises(ArtefactError) as caught:
        _artefact.read(folder)
    said = str(caught.value)
    assert str(folder / name) in said or (name in said and str(folder) in said), said
    assert "opy " in said  # "Copy the folder again", "copy it again"


def test_a_whole_one_is_read(folder):
    _artefact.read(folder)


@pytest.mark.parametrize("name", SMALL)
def test_bytes_of_a_small_file(folder, name):
    raw = (folder / name).read_bytes()
    step = {"config.json": 29, "README.md": 5, SUMS: 1}[name]
    for at in range(0, len(raw), step):
        flip(folder / name, at)
        refused(folder, name)
        (folder / name).write_bytes(raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :])  # one bit
        refused(folder, name)
        (folder / name).write_bytes(raw)
    _artefact.read(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_byte_of_a_small_file(folder, name):
    config = json.loads((folder / "config.json").read_text())
    config["history"] = {column: values[:2] for column, values in config["history"].items()}
    (folder / "config.json").write_text(json.dumps(config))
    write_again(folder)
    raw = (folder / name).read_bytes()
    for at in range(len(raw)):
        flip(folder / name, at)
        refused(folder, name)
        (folder / name).write_bytes(raw)
    assert SiVAE.load(folder).genes


@pytest.mark.parametrize("name", LARGE)
def test_bytes_of_the_numbers(folder, name):
    """Every ninth byte of the header, and every 41st of the rest."""
    raw = (folder / name).read_bytes()
    header = 8 + int.from_bytes(raw[:8], "little")
    for at in [*range(0, header, 9), *range(header, len(raw), 41)]:
        flip(folder / name, at)
        refused(folder, name)
        (folder / name).write_bytes(raw)


@pytest.mark.parametrize("name", SMALL + LARGE)
def test_every_length(folder, name):
    raw = (folder / name).read_bytes()
    for length in sorted({0, 1, len(raw) - 1, *range(0, len(raw), max(1, len(raw) // 60))}):
        (folder / name).write_bytes(raw[:length])
        refused(folder, name)
    for more in (b"\0", b"\n", raw):
        (folder / name).write_bytes(raw + more)
        refused(folder, name)


@pytest.mark.parametrize("name", SMALL + LARGE)
def test_a_file_that_is_gone(folder, name):
    (folder / name).unlink()
    refused(folder, name)


def test_a_file_of_another_model(folder, tmp_path):
    other, _ = unpack("model-2-run-1", tmp_path / "other")
    for name in LARGE:
        kept = (folder / name).read_bytes()
        shutil.copy(other / "model" / name, folder / name)
        refused(folder, name)
        (folder / name).write_bytes(kept)


def test_a_format_that_a_flipped_bit_makes_newer_is_damage(folder):
    """Nobody is told to update because of it."""
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"format": 4', '"format": 5'))
    refused(folder, "config.json")
    write_again(folder)
    with pytest.raises(ArtefactError, match="format 5; this version reads up to 4. Update"):
        SiVAE.load(folder)


def test_a_format_that_is_made_older_is_no_way_around_the_sums(folder):
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"format": 4', '"format": 3'))
    refused(folder, "config.json")


def write_again(folder):
    (folder / SUMS).unlink()
    write_sums(folder)


# ------------------------------------------------------------------------------------------------------- out of it


@pytest.mark.parametrize("name", SMALL + LARGE)
@pytest.mark.parametrize("target", ["a file", "a device", "a pipe", "a folder", "nothing", "itself"])
def test_what_is_no_file_of_the_folder_is_not_opened(folder, tmp_path, name, target):
    path = folder / name
    raw = path.read_bytes()
    path.unlink()
    if target == "a file":
        (tmp_path / "elsewhere").write_bytes(raw)
        path.symlink_to(tmp_path / "elsewhere")
    elif target == "a device":
        path.symlink_to("/dev/zero")
    elif target == "a pipe":
        os.mkfifo(path)
    elif target == "a folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "gone" if target == "nothing" else path)
    refused(folder, name)


def test_a_folder_reached_through_a_link_is_read(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    (folder / "config.json").rename(folder / "kept")
    (folder / "config.json").symlink_to("kept")
    assert SiVAE.load(tmp_path / "link").genes


def test_other_entries_are_left_alone(folder, tmp_path):
    (tmp_path / "secret").write_text("mine")
    (folder / "out").symlink_to(tmp_path)
    (folder / "zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    (folder / "weights.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    model = SiVAE.load(folder)
    model.save(folder, overwrite=True)  # replaces the folder, not what its links lead to
    assert (tmp_path / "secret").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "secret"]


def test_replacing_a_link_leaves_what_it_led_to(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = SiVAE.load(folder)
    model.rotate("varimax")
    model.save(tmp_path / "link", overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "link").is_symlink() and SiVAE.load(tmp_path / "link").genes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "model"]


def test_paths_in_the_configuration_lead_nowhere(folder, tmp_path):
    """No entry is a path; what looks like one is a name."""
    config = json.loads((folder / "config.json").read_text())
    config["setup"]["layer"] = config["package"] = "../../../../etc/passwd"
    config["gene_order"][config["gene_order"].index(config["genes"][0])] = "/etc/passwd"
    config["genes"][0] = "/etc/passwd"
    (folder / "config.json").write_text(json.dumps(config))
    write_again(folder)
    assert "/etc/passwd" in SiVAE.load(folder).genes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


# ------------------------------------------------------------------------------------------------- nothing is run

WATCH = """
import sys, io
folder = sys.argv[1]
import anndata, sivae
from sivae._run import verify
sivae.SiVAE.load(folder)  # whatever is imported when it is first used has been
verify(sivae._checks.a_path("folder", folder))
seen = []
def watch(event, words):
    if event in ("exec", "compile"):
        seen.append((event, getattr(words[0], "co_filename", str(words[-1]))))
    elif event == "open" and isinstance(words[0], (str, bytes)):
        mode, flags = words[1], words[2]
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & 3:
            seen.append((event, words[0], mode))
    elif event.split(".")[0] in ("pickle", "marshal", "subprocess", "socket", "ctypes", "urllib", "ftplib", "smtplib"):
        seen.append((event, str(words)[:80]))
    elif event in ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove", "os.rename", "os.mkdir",
                   "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "shutil.rmtree", "import",
                   "code.__new__"):
        seen.append((event, str(words)[:80]))
sys.addaudithook(watch)
model = sivae.SiVAE.load(folder)
model.get_feature_representation(return_dist=True)
assert set(verify(sivae._checks.a_path("folder", folder)).values()) == {"as written"}
for entry in seen:
    print(entry)
"""


def watched(folder, script=WATCH):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, folder], capture_output=True, text=True, timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_reading_runs_writes_and_sends_nothing(folder):
    """Audit hooks see every compilation, execution, process, socket and file opened to write."""
    assert [line for line in watched(folder) if "'import'" not in line] == []


def test_the_watch_sees_what_it_looks_for(folder):
    harm = "import pickle, subprocess\nexec(compile('1', 'x', 'exec'))\npickle.loads(pickle.dumps(sys.exit))\n"
    harm += "open(folder + '/made', 'w').close()\nsubprocess.run(['true'])\n"
    seen = "\n".join(watched(folder, WATCH.replace("for entry in seen", harm + "for entry in seen")))
    for event in ("compile", "exec", "pickle.find_class", "'open'", "subprocess.Popen"):
        assert event in seen, seen
