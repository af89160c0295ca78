"""Work on individuals in parallel: same numbers anywhere, failures reported, runs that go on."""

from __future__ import annotations

import os
import signal
import time
import warnings

import engine_tasks as tasks
import joblib
import numpy as np
import pytest

from sivae import _launched
from sivae._errors import ArtefactError, OptionError, SiVAEWarning
from sivae.cohort import _engine, _kept
from sivae.cohort._engine import run_all

NAMES = ["donor 3", "donor/1", "donor_2", "Ä"]


def jobs(names=NAMES, **more):
    """`more`: for each name, what its payload has besides."""
    return {name: lambda name=name: {"name": name, "seed": 5, **more.get(name, {})} for name in names}


def identity(payload):
    return {"seed": payload["seed"], "name": payload["name"]}


def same(one, other):
    assert list(one.results) == list(other.results)
    for a, b in zip(one.results.values(), other.results.values(), strict=True):
        assert a.facts == b.facts and a.notes == b.notes
        assert set(a.arrays) == set(b.arrays)
        for key in a.arrays:
            assert a.arrays[key].dtype == b.arrays[key].dtype
            np.testing.assert_array_equal(a.arrays[key], b.arrays[key])


def test_results_in_the_order_asked_for():
    outcome = run_all(tasks.spectrum, jobs())
    assert list(outcome.results) == NAMES and outcome.failed == {} and outcome.kept == ()
    direct = tasks.spectrum({"name": "donor_2", "seed": 5})[0]
    np.testing.assert_allclose(outcome.results["donor_2"].arrays["values"], direct["values"], rtol=1e-5)
    assert outcome.results["Ä"].facts["list"] == [1, 2]
    back = run_all(tasks.spectrum, jobs(NAMES[::-1]))
    assert list(back.results) == NAMES[::-1]
    for name in NAMES:
        np.testing.assert_array_equal(back.results[name].arrays["product"], outcome.results[name].arrays["product"])


@pytest.mark.slow
def test_processes_give_the_same_bits():
    more = {"Ä": {"warns": True}, "donor/1": {"seconds": 1.0}}
    with pytest.warns(SiVAEWarning, match="^Ä: few cells$"):
        here = run_all(tasks.spectrum, jobs(**more), n_jobs=1)
    with pytest.warns(SiVAEWarning, match="^Ä: few cells$"):
        beside = run_all(tasks.spectrum, jobs(**more), n_jobs=2)
    same(here, beside)
    with joblib.parallel_config(backend="threading"):
        threaded = run_all(tasks.spectrum, jobs(), n_jobs=2)
    np.testing.assert_array_equal(threaded.results["Ä"].arrays["product"], here.results["Ä"].arrays["product"])
    where = {name: {"pid": True} for name in NAMES}
    pids = {result.facts["pid"] for result in run_all(tasks.spectrum, jobs(**where), n_jobs=2).results.values()}
    assert os.getpid() not in pids


def test_one_thread_inside_and_as_it_was_afterwards():
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert set(run_all(tasks.threads, jobs()).results["Ä"].arrays["n"].tolist()) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_failure_is_reported_and_the_rest_kept():
    def gone():
        raise KeyError("no such donor")

    wanted = jobs(**{"donor_2": {"wrong": True}}) | {"lost": gone}
    outcome = run_all(tasks.spectrum, wanted)
    assert list(outcome.results) == ["donor 3", "donor/1", "Ä"]
    assert outcome.failed == {"donor_2": "ValueError: no cells in donor_2", "lost": "KeyError: 'no such donor'"}


def test_texts_are_no_result():
    outcome = run_all(tasks.texts, jobs(["a"]))
    assert outcome.failed == {"a": "TypeError: array 'names' holds <U1; expected numbers or booleans"}


def test_an_interruption_passes(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_all(tasks.interrupted, jobs())


def test_warnings_come_once_with_names():
    more = {name: {"warns": True} for name in NAMES}
    with pytest.warns(SiVAEWarning) as caught:
        run_all(tasks.spectrum, jobs(**more))
    assert [str(found.message) for found in caught] == ["donor 3, donor/1, donor_2, Ä: few cells"]


# ------------------------------------------------------------------------------------------------------- going on


def marked(folder, names=NAMES, **more):
    marks = {name: {"marks": str(folder), **more.get(name, {})} for name in names}
    return jobs(names, **marks)


def runs(folder):
    """Names in the order of their runs."""
    return sorted(path.name.split("-")[0] for path in folder.iterdir())


@pytest.fixture
def marks(tmp_path):
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


SAFE = ["a", "b", "c"]


def test_a_run_goes_on(tmp_path, marks):
    folder = tmp_path / "kept" / "separate"
    wrong = marked(marks, SAFE, b={"wrong": True})
    first = run_all(tasks.spectrum, wrong, folder=folder, identity=identity)
    assert list(first.failed) == ["b"] and runs(marks) == SAFE
    assert len(list(folder.iterdir())) == 2
    second = run_all(tasks.spectrum, marked(marks, SAFE), folder=folder, identity=identity)
    assert second.failed == {} and second.kept == ("a", "c")
    assert runs(marks) == ["a", "b", "b", "c"]  # the one that failed is tried again, and no other
    third = run_all(tasks.spectrum, marked(marks, SAFE), folder=folder, identity=identity)
    assert third.kept == ("a", "b", "c") and len(runs(marks)) == 4
    same(third, second)
    same(third, run_all(tasks.spectrum, jobs(SAFE)))


def test_other_inputs_are_worked_on_again(tmp_path, marks):
    folder = tmp_path / "kept"
    run_all(tasks.spectrum, marked(marks, SAFE), folder=folder, identity=identity)
    other = run_all(tasks.spectrum, marked(marks, SAFE, c={"seed": 6}), folder=folder, identity=identity)
    assert other.kept == ("a", "b") and runs(marks) == ["a", "b", "c", "c"]
    same(other, run_all(tasks.spectrum, jobs(SAFE, c={"seed": 6})))


def test_names_that_look_alike_have_files_of_their_own(tmp_path):
    names = ["a/b", "a b", "a_b", "../a_b", "x" * 300]
    outcome = run_all(tasks.spectrum, jobs(names), folder=tmp_path / "kept", identity=identity)
    assert len(outcome.results) == len(list((tmp_path / "kept").iterdir())) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert run_all(tasks.spectrum, jobs(names), folder=tmp_path / "kept", identity=identity).kept == tuple(names)


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "text"])
def test_a_damaged_result_is_made_again(tmp_path, marks, how):
    folder = tmp_path / "kept"
    whole = run_all(tasks.spectrum, marked(marks, SAFE), folder=folder, identity=identity)
    path = _kept.place(folder, "b")
    data = path.read_bytes()
    flipped = data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]
    path.write_bytes({"cut": data[:-100], "flipped": flipped, "empty": b"", "text": b"hello " * 40}[how])
    with pytest.warns(SiVAEWarning, match=r"Found damaged results of 1 individuals \(b\).* They are made again."):
        again = run_all(tasks.spectrum, marked(marks, SAFE), folder=folder, identity=identity)
    assert again.kept == ("a", "c") and runs(marks) == ["a", "b", "b", "c"]
    same(again, whole)
    assert run_all(tasks.spectrum, marked(marks, SAFE), folder=folder, identity=identity).kept == ("a", "b", "c")


def test_what_was_done_before_an_interruption_is_kept(tmp_path, marks, monkeypatch):
    folder, write = tmp_path / "kept", _kept.write

    def interrupt_after_two(path, result, print_of_inputs):
        write(path, result, print_of_inputs)
        if len(list(folder.iterdir())) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_kept, "write", interrupt_after_two)
    with pytest.raises(KeyboardInterrupt):
        run_all(tasks.spectrum, marked(marks, SAFE), folder=folder, identity=identity)
    monkeypatch.setattr(_kept, "write", write)
    assert run_all(tasks.spectrum, marked(marks, SAFE), folder=folder, identity=identity).kept == ("a", "b")
    assert runs(marks) == SAFE


def test_says_what_cannot_work(tmp_path):
    with pytest.raises(OptionError, match="Found a folder and no identity"):
        run_all(tasks.spectrum, jobs(), folder=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ArtefactError, match="could not be kept in .*file"):
        run_all(tasks.spectrum, jobs(), folder=tmp_path / "file", identity=identity)


def test_digest_tells_arrays_apart():
    x = np.arange(6.0)
    kinds = [x, x.astype(np.float32), x.reshape(2, 3), x + 1e-9, np.array(["a", "bc"]), np.array(["ab", "c"])]
    assert len({_kept.digest(kind) for kind in kinds}) == len(kinds)
    assert _kept.digest(x.reshape(2, 3).T) == _kept.digest(x.reshape(2, 3).T.copy())


# ------------------------------------------------------------------------------------------- workers that are killed


@pytest.mark.slow
def test_a_killed_process_of_this_machine(tmp_path):
    once = {"donor_2": {"dies": "once", "mark": str(tmp_path / "mark")}}
    same(run_all(tasks.dies_once, jobs(**once), n_jobs=2, timeout=60), run_all(tasks.spectrum, jobs()))
    always = {"donor_2": {"dies": "always", "mark": str(tmp_path / "mark")}}
    outcome = run_all(tasks.dies_once, jobs(**always), n_jobs=2, timeout=60)
    assert set(outcome.results) | set(outcome.failed) == set(NAMES)
    assert "its worker process was killed" in outcome.failed["donor_2"]


@pytest.mark.slow
def test_a_wait_is_bounded():
    run_all(tasks.stuck, jobs(), n_jobs=2)  # workers that are started take no time to start
    began = time.monotonic()
    outcome = run_all(tasks.stuck, jobs(**{"donor/1": {"stuck": True}}), n_jobs=2, timeout=15)
    assert time.monotonic() - began < 45
    assert outcome.failed == {
        "donor/1": "TimeoutError: nothing had finished for 15 seconds; give more, or fewer n_jobs"
    }
    assert list(outcome.results) == ["donor 3", "donor_2", "Ä"]


@pytest.fixture
def cluster():
    """Two worker processes on loopback."""
    distributed = pytest.importorskip("distributed", reason="needs distributed (extra cluster)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.LocalCluster(
            n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as running:
            with distributed.Client(running, timeout=30) as client:
                client.wait_for_workers(2, timeout=60)
                yield client


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore")  # of Dask: a worker was lost, ports, large graphs
def test_a_dask_cluster_that_loses_a_worker(cluster, tmp_path, marks):
    names = [f"d{s}" for s in range(8)]
    more = {name: {"seconds": 0.7, "pid": True} for name in names}
    alone = run_all(tasks.spectrum, jobs(names))
    before = {info["pid"] for info in cluster.run(_pid).values()}
    victims = []

    heavy = {
        name: lambda load=load: tasks.Heavy(load(), ballast=np.zeros(100_000))
        for name, load in marked(marks, names, **more).items()
    }

    def kill_one(path, result, print_of_inputs, write=_kept.write):
        write(path, result, print_of_inputs)
        if not victims:  # once the first result is in and both are at work on others
            victims.append(result.facts["pid"])
            time.sleep(0.3)  # by then it is at its next, which takes 0.7 seconds
            os.kill(victims[0], signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch, joblib.parallel_config(backend="dask"):
        patch.setattr(_kept, "write", kill_one)
        outcome = run_all(tasks.spectrum, heavy, folder=tmp_path / "kept", identity=identity, timeout=60)
    assert victims[0] in before and os.getpid() not in before
    assert outcome.failed == {}
    used = {result.facts["pid"] for result in outcome.results.values()}
    assert len(used | before) > 1 and len(used) > 1
    assert len(runs(marks)) > len(names)  # what the worker was at was done again by another
    for name in names:
        assert set(alone.results[name].arrays) == set(outcome.results[name].arrays)
        for key, array in alone.results[name].arrays.items():
            np.testing.assert_array_equal(array, outcome.results[name].arrays[key])
    assert _engine.ATTEMPTS == 2


def _pid():
    return {"pid": os.getpid()}


def test_a_task_is_alone_wherever_it_runs(monkeypatch):
    """A worker that was started under a launcher must not wait for others in its training."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    assert (_launched.world(), _launched.rank()) == (2, 1)
    done = run_all(tasks.launched, jobs(["a"]), n_jobs=1)
    assert done.results["a"].facts == {"world": 1, "rank": 0, "left": []}
    assert (_launched.world(), _launched.rank()) == (2, 1)
