"""Two processes train one model (gloo, launched once for all of these): `together.py` holds what they try."""

import numpy as np
import pytest
import torch
from resuming import go, make
from together import CURVE, cells, launch

from sivae.model import _fit
from sivae.train import _loop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def found(folder):
    """What both processes found, and their exit codes."""
    both, codes = launch(folder)
    assert codes == [0, 9]  # the second one ends itself
    parts = [part for one in both for part in one.values() if isinstance(part, dict)]
    broken = [part["broke"] for part in parts if "broke" in part]
    assert not broken, "\n".join(broken)
    return both


def of(found, name):
    return found[0][name], found[1][name]


def training_cells():
    adata = cells()
    model = make(adata)
    go(model, max_steps=1, checks=1)
    names = np.sort(adata.obs_names.to_numpy().astype(str))
    return names[~model._state.split().held(names.tolist())], adata


def test_each_process_has_its_own_cells_and_no_others(found):
    names, adata = training_cells()
    first, second = of(found, "shares")
    for choice in ("always", "never"):
        assert first[choice]["stepped"] == sorted(names[::2])
        assert second[choice]["stepped"] == sorted(names[1::2])
    n, others = len(names), adata.n_obs - len(names)
    assert first["always"]["spools"] == [[n + others, n + others]]
    assert second["always"]["spools"] == [[n // 2, n // 2]]
    assert (first["never"]["read"], second["never"]["read"]) == ([n, others], [n // 2])
    assert first["never"]["spools"] == second["never"]["spools"] == first["always"]["read"] == []


def test_the_first_gradient_is_that_of_one_process_on_both_blocks(found, folder, monkeypatch):
    first, second = of(found, "first_gradient")
    kept = []
    run = _loop.run
    monkeypatch.setattr(_fit._loop, "run", lambda job, *words, **named: kept.append(job) or run(job, *words, **named))
    adata = cells()
    go(make(adata), max_steps=1, checks=1, learning_rate=1e-30)
    job = kept[0]
    names = training_cells()[0].tolist()
    assert first["genes"] == second["genes"] and not set(first["cells"]) & set(second["cells"])
    rows = np.array([names.index(name) for name in first["cells"] + second["cells"]])
    genes = np.array([job.genes.index(name) for name in first["genes"]])
    block = job.training.block(
        rows, genes, counts=False, cell_weight=first["n_blocks"] / len(names), gene_weight=2 / len(job.genes)
    )
    job.module.train()
    job.module.zero_grad()
    job.module(block).loss(job.weights).backward()
    expected = [p.grad for p in job.module.parameters() if p.grad is not None]
    arrays = [np.load(folder / f"gradient{rank}.npz") for rank in (0, 1)]
    for at, gradient in enumerate(expected):
        one, two = (torch.from_numpy(array[f"arr_{at}"]) for array in arrays)
        assert torch.equal(one, two)
        torch.testing.assert_close(one, gradient.double(), rtol=1e-3, atol=1e-4 * float(1e-6 + gradient.abs().max()))
    assert len(arrays[0].files) == len(expected) + 1


def test_the_loss_falls_as_with_one_process_and_twice_the_block(found):
    """Within what seeds differ by; each from its own start, where the noise of validation is the seed's."""
    two = np.array([found[0]["curves"][seed]["validation"] for seed in ("0", "1")])
    one, epochs = [], []
    for seed in range(4):
        model = make(cells(), seed=seed)
        history = model.train(
            batch_size=64, feature_batch_size=32, early_stopping=False, accelerator="cpu", progress=False,
            options=CURVE(),
        )  # fmt: skip
        one.append(history["validation_loss"].tolist())
        epochs = history["epoch"].tolist()
    one = np.array(one)
    np.testing.assert_allclose(found[0]["curves"]["0"]["epoch"], epochs)
    np.testing.assert_allclose(two[:, 0], one[:2, 0], rtol=1e-6)  # the start is the same
    fall, of_two = one[:, :1] - one[:, 1:], two[:, :1] - two[:, 1:]
    mean, sd = fall.mean(axis=0), fall.std(axis=0, ddof=1)
    assert (np.abs(of_two - mean) < 4 * sd).all()
    assert mean[-1] > 4 * sd[-1], "the curves have nothing to say"


def test_all_processes_hold_the_same_model(found):
    first, second = of(found, "curves")
    for seed in ("0", "1"):
        assert first[seed]["result"] == second[seed]["result"]
        assert first[seed]["processes"] == 2
    assert first["0"]["result"] != first["1"]["result"]


def test_a_training_that_stopped_goes_on_to_the_same_bits(found):
    first, second = of(found, "resumed")
    assert first["at"] == second["at"] == 12
    assert first["equal"] and second["equal"] and first["digest"] == second["digest"]
    assert first["listed"] == ["checkpoint.safetensors"]  # which the first process alone writes


def test_a_divergence_in_one_process_is_told_by_all(found):
    first, second = of(found, "diverged")
    assert first["type"] == second["type"] == "DivergedError" and first["words"] == second["words"]
    names = training_cells()[0]
    assert "kl_cells is not finite" in first["words"]
    named = first["words"].split("in cell '")[1].split("'")[0]
    assert named in names[1::2]  # a cell of the process that met it


def test_what_several_processes_cannot_do_is_refused_in_all(found):
    for one in of(found, "refused"):
        assert one["type"] == "OptionError" and one["everywhere"]
        assert one["words"].startswith("recipe='choi2023' with 2 processes; expected one")
    for one in of(found, "other_cells"):
        assert one["type"] == "ProcessError" and one["everywhere"]
        assert one["words"].startswith("Process 1 of 2: its training cells differ from those of the first process")


def test_an_error_of_the_first_ends_the_others_at_once(found):
    first, second = of(found, "first_fails")
    assert (first["type"], first["words"]) == ("SetupError", "planned")
    assert (second["type"], second["everywhere"]) == ("ProcessError", True)
    assert second["words"] == "The first process of this training has failed: planned"
    assert second["seconds"] < 30


def test_an_error_of_another_is_told_by_the_first(found):
    for one in of(found, "second_fails"):
        assert one["type"] == "ProcessError" and one["everywhere"]
        assert one["words"] == "Process 1 of 2: the disk is full"


def test_the_command_says_an_error_once(found):
    first, second = of(found, "command")
    assert first["column"]["code"] == second["column"]["code"] == 1
    assert first["column"]["err"].startswith("Error: obs has no column 'nope'")
    assert first["info"]["err"].startswith("Error: 2 processes were started together; expected one")
    assert second["column"] == second["info"] == {"code": 1, "out": "", "err": ""}


def test_a_process_that_is_gone_ends_the_others_at_once(found):
    first = found[0]["lost"]
    assert first["type"] == "ProcessError" and first["seconds"] < 30
    assert "Process 0 of 2 can no longer reach another process of its training" in first["words"]
    assert first["again"]["type"] == "ProcessError" and "Start them all again" in first["again"]["words"]
    assert found[1]["ended"]
