"""One file, whole or absent: what is read is what was written, and nothing that is damaged or another's is taken."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sivae._errors import ArtefactError, SiVAEWarning
from sivae.train import _checkpoint
from sivae.train._checkpoint import FILE, Checkpoint, State, holds_checkpoint

IDENTITY = {"model": {"seed": 1, "widths": (3, 4)}, "genes": "50 with sha256 ab"}
NOTED = {"threads": 1}


def checkpoint(folder, identity=None, noted=None, *, seconds=0.0):
    return Checkpoint(folder, identity or IDENTITY, noted or NOTED, seconds=seconds)


def state(step=7, fill=1.5):
    tensors = {"a/x": torch.full((3, 2), fill), "b": torch.tensor(fill), "c": torch.arange(step)}
    return State(step, tensors, {"rows": [{"loss": 0.1 + fill, "nan": float("nan")}], "best": float("inf")})


def written(folder, **options):
    one = checkpoint(folder, **options)
    assert one.read() is None
    one.offer(state())
    return folder / FILE


def test_a_state_comes_back_to_the_last_bit(tmp_path):
    written(tmp_path / "deep" / "er")
    found, wanted = checkpoint(tmp_path / "deep" / "er").read(), state()
    assert found.step == 7
    assert json.dumps(found.record) == json.dumps(wanted.record)
    assert set(found.tensors) == set(wanted.tensors)
    for name, tensor in wanted.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype and torch.equal(found.tensors[name], tensor)
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == [FILE]


def test_only_the_latest_stays_and_removal_leaves_the_folder(tmp_path):
    one = checkpoint(tmp_path)
    assert one.read() is None
    for step in (1, 2, 3):
        one.offer(state(step))
    assert checkpoint(tmp_path).read().step == 3
    (tmp_path / f"{FILE}.part").touch()
    assert holds_checkpoint(tmp_path)
    one.remove()
    assert not list(tmp_path.iterdir()) and not holds_checkpoint(tmp_path)
    one.remove()


@pytest.mark.parametrize("length", [0, 4, 8, 50, 400, -40, -1])
def test_a_truncated_file_is_damaged(tmp_path, length):
    file = written(tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[:length])
    with pytest.raises(ArtefactError, match=r"cannot be read.*damaged: remove it to train from the start"):
        checkpoint(tmp_path).read()
    assert file.read_bytes() == data[:length]


def test_any_changed_byte_is_found(tmp_path):
    file = written(tmp_path)
    data = file.read_bytes()
    for at in range(0, len(data), 3):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 7
        if json_of(bytes(changed)) == json_of(data):
            continue  # padding, or an escape that means the same
        file.write_bytes(changed)
        with pytest.raises(ArtefactError, match=r"damaged|format"):
            checkpoint(tmp_path).read()


def json_of(data):
    size = int.from_bytes(data[:8], "little")
    try:
        return json.loads(data[8 : 8 + size]), data[8 + size :]
    except ValueError:
        return None


def test_the_checkpoint_of_another_training_is_named_and_left(tmp_path):
    file = written(tmp_path)
    before = file.read_bytes()
    other = {"model": {"seed": 2, "widths": (3, 4)}, "genes": "50 with sha256 ab"}
    with pytest.raises(
        ArtefactError, match=r"another training: model.seed is 1 there and 2 here\. Continue.*another fol"
    ):
        checkpoint(tmp_path, other).read()
    with pytest.raises(ArtefactError, match="genes is '50 with sha256 ab' there and 'nothing' here"):
        checkpoint(tmp_path, {"model": IDENTITY["model"]}).read()
    assert file.read_bytes() == before


def test_one_that_began_meanwhile_is_not_overwritten(tmp_path):
    late = checkpoint(tmp_path)
    assert late.read() is None
    before = written(tmp_path).read_bytes()
    with pytest.raises(ArtefactError, match="Another training has begun"):
        late.offer(state(9))
    assert (tmp_path / FILE).read_bytes() == before


def test_other_threads_are_a_warning(tmp_path):
    written(tmp_path)
    with pytest.warns(SiVAEWarning, match="threads is 1 there and 2 here.*last bits may differ"):
        assert checkpoint(tmp_path, noted={"threads": 2}).read().step == 7


def test_a_newer_format_and_a_strangers_file_are_refused(tmp_path, monkeypatch):
    file = written(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint, "FORMAT", 0)
        with pytest.raises(ArtefactError, match="format 1, expected up to 0. Update"):
            checkpoint(tmp_path).read()
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(ArtefactError, match="damaged"):
        checkpoint(tmp_path).read()


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtefactError, match="No checkpoint can be written to .*file.*another folder"):
        checkpoint(tmp_path / "file").read()
    with pytest.raises(ArtefactError, match="No checkpoint can be written"):
        checkpoint(tmp_path / "file" / "inside").read()


class Killed(BaseException):
    """What nothing catches."""


def test_the_one_before_is_valid_until_the_next_is_in_place(tmp_path, monkeypatch):
    written(tmp_path)
    one = checkpoint(tmp_path)
    one.read()

    def killed(_path):
        raise Killed

    monkeypatch.setattr(_checkpoint, "_sync", killed)
    with pytest.raises(Killed):
        one.offer(state(8))
    assert (tmp_path / f"{FILE}.part").is_file()
    assert checkpoint(tmp_path).read().step == 7
    monkeypatch.undo()
    one.flush()
    assert checkpoint(tmp_path).read().step == 8
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_disk_that_fills_up_costs_a_warning_and_no_checkpoint(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    one = checkpoint(tmp_path)
    one.read()
    monkeypatch.setattr(_checkpoint, "save_file", full)
    with pytest.raises(ArtefactError, match="cannot be written: No space left"):
        one.offer(state(1))
    monkeypatch.undo()
    one.offer(state(1))
    monkeypatch.setattr(_checkpoint, "save_file", full)
    with pytest.warns(SiVAEWarning, match="No space left.*The training goes on"):
        one.offer(state(2))
    assert checkpoint(tmp_path).read().step == 1
    monkeypatch.undo()
    one.flush()
    assert checkpoint(tmp_path).read().step == 2


@pytest.mark.parametrize(("seconds", "cost", "share"), [(0.0, 0.5, 1.0), (10.0, 0.01, 0.1), (1e-9, 1.0, 0.05)])
def test_writing_is_as_rare_as_asked_and_takes_a_twentieth_at_most(tmp_path, monkeypatch, seconds, cost, share):
    clock, spent = [0.0], []
    save = _checkpoint.save_file

    def slow(*words):
        clock[0] += cost
        spent.append(cost)
        save(*words)

    monkeypatch.setattr(_checkpoint, "save_file", slow)
    monkeypatch.setattr(_checkpoint, "_sync", lambda _: None)
    monkeypatch.setattr(_checkpoint.time, "perf_counter", lambda: clock[0])
    one = checkpoint(tmp_path, seconds=seconds)
    one.read()
    for step in range(400):
        clock[0] += 1.0
        one.offer(state(step))
    monkeypatch.undo()
    if seconds == 0:
        assert len(spent) == 400
    else:
        assert len(spent) == pytest.approx(share * 400, rel=0.1)
        assert sum(spent) <= 0.055 * clock[0]
    one.flush()
    assert checkpoint(tmp_path).read().step == 399


def test_it_is_safetensors_and_json(tmp_path):
    with safe_open(written(tmp_path), framework="np") as handle:
        found = json.loads(handle.metadata()["sivae"])
        assert np.allclose(handle.get_tensor("a/x"), 1.5)
    assert found["identity"]["model"]["seed"] == 1 and found["format"] == 1
