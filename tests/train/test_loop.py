"""Blocks of an epoch, schedules and the evaluation of a whole data set."""

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from builders import SMALL, train
from hypothesis import given
from hypothesis import strategies as st

from sivae import SiVAE
from sivae._errors import OptionError, SiVAEWarning
from sivae.nn._objective import Weights
from sivae.train import _loop
from sivae.train._ahead import Ahead
from sivae.train._loop import _rate, _warmed, evaluate
from sivae.train._options import TrainOptions, default_steps
from sivae.train._order import Order, partition


@given(n=st.integers(1, 200), size=st.integers(1, 250), seed=st.integers(0, 5))
def test_partition_holds_each_once_in_near_equal_blocks(n, size, seed):
    blocks = partition(n, size, np.random.default_rng(seed))
    assert sorted(np.concatenate(blocks)) == list(range(n))
    sizes = [len(block) for block in blocks]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(blocks) == -(-n // size)


@pytest.mark.parametrize(("n", "size"), [(12, 4), (13, 4), (4, 4)])
def test_each_epoch_shows_every_cell_once_in_new_blocks(n, size):
    """E-7: also where the size of a block divides the number of cells."""
    order, n_blocks = Order(n, size, seed=0, purpose="cells"), -(-n // size)
    epochs = [[order.block(epoch * n_blocks + place + 1) for place in range(n_blocks)] for epoch in range(6)]
    seen = set()
    for epoch in epochs:
        assert sorted(np.concatenate([block for block, _ in epoch])) == list(range(n))
        assert all(weight == n_blocks / n for _, weight in epoch)
        assert all((np.diff(block) > 0).all() for block, _ in epoch)
        seen.add(tuple(tuple(block) for block, _ in epoch))
    assert len(seen) == 6 or n_blocks == 1


def test_a_block_is_a_function_of_seed_purpose_and_step():
    """A training can go on from any step without the ones before it."""
    whole = Order(50, 8, seed=3, purpose="cells")
    blocks = [whole.block(step) for step in range(1, 40)]
    for step in (39, 1, 20, 8, 7):
        alone, weight = Order(50, 8, seed=3, purpose="cells").block(step)
        np.testing.assert_array_equal(alone, blocks[step - 1][0])
        assert weight == blocks[step - 1][1]
    others = [Order(50, 8, seed=3, purpose="genes"), Order(50, 8, seed=4, purpose="cells")]
    assert all(not np.array_equal(other.block(1)[0], blocks[0][0]) for other in others)


def test_kl_weights_rise_to_their_value_and_stay():
    """E-2: short or skipped warm-up must not leave the weights below their value."""
    whole = Weights(kl_cells=1.0, kl_features=0.4, gamma=0.05)
    for step, share in ((1, 0.1), (5, 0.5), (10, 1.0), (500, 1.0)):
        warmed = _warmed(whole, step, 10)
        assert (warmed.kl_cells, warmed.kl_features, warmed.gamma) == pytest.approx((share, 0.4 * share, 0.05))
    assert _warmed(whole, 1, 0) == whole


def test_learning_rate_rises_then_falls_to_a_twentieth():
    rate = _rate(TrainOptions(warmup_steps=10), 100)
    assert rate(0) == pytest.approx(0.1, rel=0.01)
    assert max(rate(step) for step in range(101)) <= 1
    assert rate(100) == pytest.approx(0.05)
    assert all(rate(step + 1) <= rate(step) for step in range(10, 100))


def test_each_step_has_its_rate_and_moves_the_average(counts_adata, monkeypatch):
    """The average is that of the weights after each step, from the first on; the skips learn ten times more slowly."""
    advance, seen = _loop._Trainer.advance, []

    def watched(trainer):
        advance(trainer)
        rates = [group["lr"] for group in trainer.optimizer.param_groups]
        seen.append(
            (rates, *([p.detach().double().clone() for p in ps] for ps in (trainer.parameters, trainer.averages)))
        )

    monkeypatch.setattr(_loop._Trainer, "advance", watched)
    model = SiVAE(counts_adata, n_latent=2, n_profile=12, architecture=SMALL)
    train(model, max_steps=20, checks=4, warmup_steps=5, learning_rate=0.01, average_decay=0.9)
    rate, average = _rate(TrainOptions(warmup_steps=5), 20), seen[0][1]
    for step, (rates, weights, averages) in enumerate(seen, 1):
        assert rates == pytest.approx([1e-3 * rate(step - 1), 1e-2 * rate(step - 1), 1e-2 * rate(step - 1)])
        average = [0.9 * a + 0.1 * w for a, w in zip(average, weights, strict=True)]
        for found, expected in zip(averages, average, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert max(float((a - w).abs().max()) for a, w in zip(average, seen[-1][1], strict=True)) > 1e-3
    assert model.history["learning_rate"].iloc[1:].tolist() == pytest.approx([0.01 * rate(s) for s in (5, 10, 15, 20)])


def test_more_cells_do_not_mean_endless_training():
    assert default_steps(100) <= default_steps(10**5) <= default_steps(10**8) <= 40_000


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
@pytest.mark.parametrize("size", [7, 64, 1000])
def test_evaluation_does_not_depend_on_the_size_of_its_blocks(counts_adata, likelihood, size, request):
    model = request.getfixturevalue(f"{likelihood}_model")
    expression = model._state.reader.read(counts_adata)
    found, whole = (evaluate(model._module, expression, None, at) for at in (size, 10**6))
    for name in ("nll", "kl_cells", "kl_features", "nll_linear"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=1e-4)


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_products_of_bfloat16_train_as_well(counts_adata, likelihood):
    """Not the same weights, and the same loss; what is kept and validated is float32."""
    history, weights = {}, {}
    for precision in ("float32", "bfloat16"):
        model = SiVAE(counts_adata, n_latent=2, n_profile=12, architecture=SMALL, likelihood=likelihood)
        history[precision] = train(model, max_steps=60, checks=3, precision=precision)["validation_loss"].to_numpy()
        weights[precision] = dict(model._module.state_dict())
        assert {value.dtype for value in weights[precision].values()} == {torch.float32}
        assert not any(getattr(part, "mixed", False) for part in model._module.modules())
    np.testing.assert_allclose(history["bfloat16"], history["float32"], rtol=2e-3)
    first = "cell_tower.encoder.layers.0.weight"
    assert not torch.equal(weights["bfloat16"][first], weights["float32"][first])


@pytest.mark.parametrize(("name", "known"), [("precision", "'float32', 'bfloat16'"), ("on_device", "'auto', 'always'")])
def test_an_unknown_choice_is_refused(name, known):
    with pytest.raises(OptionError, match=rf"TrainOptions.{name} is 'half'; expected one of {known}"):
        TrainOptions(**{name: "half"})


def test_blocks_are_made_ahead_once_each_and_in_order():
    asked, ahead = [], None

    def make(number):
        asked.append(number)
        if number == 5:
            raise ValueError("five")
        return number * number

    ahead = Ahead(make, last=6)
    assert [ahead.take(number) for number in (2, 3, 4)] == [4, 9, 16]
    with pytest.raises(ValueError, match="five"):
        ahead.take(5)
    ahead.close()
    assert asked == [2, 3, 4, 5]
    last = Ahead(make, last=2)
    assert [last.take(number) for number in (1, 2)] == [1, 4]
    threading.Event().wait(0.05)  # time for the thread to make what it should not
    last.close()
    assert asked[4:] == [1, 2]  # nothing after the last
    plain = Ahead(make, last=6, on=False)
    assert plain.take(1) == 1
    plain.close()
    assert asked[6:] == [1]


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
@pytest.mark.parametrize("spool", ["never", "always"])
def test_a_training_reads_the_same_ahead(counts_adata, likelihood, spool, monkeypatch):
    """From a file larger than memory blocks are read ahead; the weights are the same to the last bit."""
    found, threads = [], []
    monkeypatch.setattr(_loop, "Ahead", lambda make, **given: threads.append(given["on"]) or Ahead(make, **given))
    for waits in (False, True):
        monkeypatch.setattr("sivae.data._spool.available", lambda waits=waits: 0 if waits else 10**12)
        model = SiVAE(counts_adata, n_latent=2, n_profile=12, architecture=SMALL, likelihood=likelihood)
        train(model, max_steps=12, spool=spool)
        found.append(model._module.state_dict())
    assert threads == [False, spool == "always"]
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_nothing_of_a_training_is_kept_when_it_ends(counts_adata, monkeypatch):
    """Moments, averages and best weights are gone before what follows needs memory, not at the next collection."""
    trainers, made = [], _loop._Trainer.__init__

    def noted(self, *given):
        made(self, *given)
        trainers.append(weakref.ref(self))

    model = SiVAE(counts_adata, n_latent=2, n_profile=12, architecture=SMALL)
    train(model, max_steps=3)  # the first use of an optimizer leaves frames behind
    monkeypatch.setattr(_loop._Trainer, "__init__", noted)
    gc.collect()
    gc.disable()
    try:
        train(model, max_steps=3)
        assert [trainer() for trainer in trainers] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_whatever_ends_a_training_ends_its_thread(counts_adata, monkeypatch, error):
    """Also where the next block is being read; after an interruption the model is trained, else it can be again."""
    monkeypatch.setattr("sivae.data._spool.available", lambda: 0)
    advance = _loop._Trainer.advance

    def stopped(trainer):
        advance(trainer)
        if trainer.step == 4:
            raise error

    model = SiVAE(counts_adata, n_latent=2, n_profile=12, architecture=SMALL)
    monkeypatch.setattr(_loop._Trainer, "advance", stopped)
    if error is KeyboardInterrupt:
        with pytest.warns(SiVAEWarning, match="interrupted at step 4"):
            train(model, max_steps=30, spool="always")
        assert model.is_trained and model.history.attrs["stopped"] == "interrupted"
    else:
        with pytest.raises(error):
            train(model, max_steps=30, spool="always")
        assert not model.is_trained
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sivae-ahead")]
    monkeypatch.setattr(_loop._Trainer, "advance", advance)
    train(model, max_steps=6, spool="always")
    assert model.is_trained
