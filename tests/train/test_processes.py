"""Steps of several processes, worked out in one: shares, weights, streams; and what is refused. Nothing is launched."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import SMALL, train

from sivae import SiVAE, _launched
from sivae._block import Counts
from sivae._errors import OptionError, SiVAEWarning
from sivae.data._expression import Expression
from sivae.data._rows import Held
from sivae.data._setup import read_record
from sivae.datasets import planted
from sivae.model import _fit, _together
from sivae.model._build import make_reader
from sivae.nn._objective import Weights
from sivae.train import _loop, _processes
from sivae.train._options import TrainOptions, default_steps
from sivae.train._order import Order, n_blocks_of
from sivae.train._processes import ALONE, Message, Processes, join, make_accelerator


@pytest.fixture(params=["normal", "nb"])
def job(counts_adata, monkeypatch, request):
    """What the loop is given, in double precision, with a module away from its start; its weights stay."""
    kept = []
    run = _loop.run
    monkeypatch.setattr(_fit._loop, "run", lambda job, *words, **named: kept.append(job) or run(job, *words, **named))
    model = SiVAE(counts_adata, n_latent=2, n_profile=12, architecture=SMALL, likelihood=request.param, seed=3)
    train(model, max_steps=1, learning_rate=1e-30)
    monkeypatch.setattr(_loop, "torch_generator", lambda *words, **named: None)  # posterior means, nothing hidden
    options = TrainOptions(max_steps=1000, learning_rate=1e-30)
    n = kept[0].training.shape[0] // 2 * 2 - 1  # of which processes cannot have equal shares
    generator = torch.Generator().manual_seed(0)
    block = Expression.block
    monkeypatch.setattr(Expression, "block", lambda *words, **named: doubled(block(*words, **named)))
    kept[0].module.double()
    with torch.no_grad():
        for parameter in kept[0].module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return replace(kept[0], training=kept[0].training.take(np.arange(n)), validation=None, options=options)


def doubled(block):
    y = block.y
    y = replace(y, value=y.value.double()) if isinstance(y, Counts) else y.double()
    names = ("x_cg", "design_cb", "log_library_c")
    return replace(block, y=y, **{name: getattr(block, name).double() for name in names})


def share(job, rank, world, seen):
    """The part of one of several processes; what it would exchange is kept in `seen`."""
    processes = Processes(rank, world)
    processes.average = lambda tensors: seen.append([tensor.detach().clone() for tensor in tensors])
    processes.decide = lambda yes: yes
    return replace(job, processes=processes, own=processes.own(job.training.shape[0]))


def gradient(job, cells, cell_weight, genes=None, gene_weight=None):
    """Of one process on these cells, then the values of the terms and of the loss."""
    genes = np.arange(job.training.shape[1]) if genes is None else genes
    block = job.training.block(
        cells, genes, counts=job.module.likelihood.counts, cell_weight=cell_weight, gene_weight=gene_weight
    )
    job.module.train()
    job.module.zero_grad()
    terms = job.module(block)
    loss = terms.loss(job.weights)
    loss.backward()
    values = torch.stack([terms.nll, terms.kl_cells, terms.kl_features, terms.nll_linear, loss]).detach()
    return [p.grad.clone() for p in job.module.parameters() if p.grad is not None] + [values]


def close(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))


@pytest.mark.parametrize("world", [2, 3])
def test_the_mean_over_processes_and_steps_is_the_gradient_of_all_cells(job, world):
    """Shares of unequal size, blocks of unequal size: every cell counts once, and so does the divergence of genes."""
    job, seen = replace(job, feature_batch_size=job.training.shape[1]), []
    for rank in range(world):
        trainer = _loop._Trainer(share(job, rank, world, seen), make_accelerator("cpu"))
        for _ in range(job_blocks := trainer.job.n_cell_blocks):
            trainer.advance()
    assert len(seen) == world * job_blocks > world
    n = job.training.shape[0]
    whole = gradient(job, np.arange(n), 1 / n)
    close([sum(parts) / len(seen) for parts in zip(*seen, strict=True)], whole)
    kl = torch.stack([values[-1][2] for values in seen])
    torch.testing.assert_close(
        kl, whole[-1][2].expand(len(seen)), rtol=1e-12, atol=0
    )  # in every process, and each step


def test_a_step_of_two_is_that_of_one_on_both_blocks(job):
    """Of some genes as well: both processes see the same ones."""
    seen, blocks = [], []
    for rank in (0, 1):
        trainer = _loop._Trainer(share(job, rank, 2, seen), make_accelerator("cpu"))
        trainer.advance()
        blocks.append((trainer.job.own[trainer.cells.block(1)[0]], *trainer.genes.block(1)))
    (cells, genes, gene_weight), (others, same, _) = blocks
    assert (
        len(np.intersect1d(cells, others)) == 0 and np.array_equal(genes, same) and len(genes) < job.training.shape[1]
    )
    union, n = np.concatenate([cells, others]), job.training.shape[0]
    expected = gradient(job, union, trainer.job.n_cell_blocks / n, genes, gene_weight)
    close([(a + b) / 2 for a, b in zip(*seen, strict=True)], expected)
    with pytest.raises(AssertionError):  # and one of them alone is not
        close(seen[0], expected)


@pytest.mark.parametrize(("n", "world", "size"), [(101, 2, 10), (100, 2, 64), (7, 3, 2), (5, 4, 1), (1000, 8, 256)])
def test_shares_are_dealt_out_and_passed_over_together(n, world, size):
    rows = [Processes(rank, world).own(n) for rank in range(world)]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(n))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
    n_blocks = n_blocks_of(n, size, shares=world)
    for own in rows:
        order = Order(len(own), size, seed=0, purpose="cells", n_blocks=n_blocks, out_of=n / world)
        blocks = [order.block(step) for step in range(1, n_blocks + 1)]
        np.testing.assert_array_equal(np.sort(np.concatenate([cells for cells, _ in blocks])), np.arange(len(own)))
        assert [weight for _, weight in blocks] == pytest.approx([world * n_blocks / n] * n_blocks)
        assert all(0 < len(cells) <= size + (size == 1) for cells, _ in blocks)


def test_steps_are_those_of_one_process_with_all_of_the_block(job):
    for epochs, steps in ((7, None), (None, 11), (None, None)):
        job = replace(job, max_epochs=epochs, options=TrainOptions(max_steps=steps))
        for world in (2, 3, 4):
            many = share(replace(job, batch_size=16), 1, world, [])
            one = replace(job, batch_size=16 * world)
            assert (many.n_steps, many.n_cell_blocks) == (one.n_steps, one.n_cell_blocks)
    helper = replace(share(job, 1, 2, []), own=None, training=job.training.take(np.arange(20)), n_cells=10**6)
    assert helper.n_steps == default_steps(10**6) > default_steps(20)


def test_processes_have_streams_of_their_own_and_a_single_one_has_the_plain_one():
    assert ALONE.purpose("noise") == Processes(0, 2).purpose("noise") == "noise"
    assert len({Processes(rank, 3).purpose("noise") for rank in range(3)}) == 3


def test_a_single_process_talks_to_nobody():
    message = Message({"a": 1}, {"t": torch.ones(2)})
    assert ALONE.share(message) is message
    assert ALONE.decide(yes=True) and not ALONE.decide(yes=False)
    assert ALONE.any_word(None) is None and ALONE.any_word("x") == "x"
    ALONE.average([tensor := torch.ones(2)])
    assert tensor.tolist() == [1, 1]
    assert join(make_accelerator("cpu")) is ALONE
    with pytest.raises(ZeroDivisionError), ALONE.stepping():
        _ = 1 / 0
    assert ALONE.usable


# ------------------------------------------------------------------------------------------------ what launchers say


def launched(monkeypatch, **values):
    for name in (*_launched.WORLD, *_launched.RANK, *_launched.LOCAL_WORLD, "ACCELERATE_USE_CPU", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (1, 0, 1)),
        ({"WORLD_SIZE": 1, "RANK": 0}, (1, 0, 1)),
        ({"WORLD_SIZE": 4, "RANK": 3, "LOCAL_WORLD_SIZE": 2}, (4, 3, 2)),
        ({"OMPI_COMM_WORLD_SIZE": 8, "OMPI_COMM_WORLD_RANK": 5}, (8, 5, 8)),
        ({"RANK": 3}, (1, 0, 1)),
        ({"WORLD_SIZE": "many"}, (1, 0, 1)),
    ],
)
def test_ranks_are_read_from_the_environment(monkeypatch, values, expected):
    launched(monkeypatch, **values)
    assert (_launched.world(), _launched.rank(), _launched.local_world()) == expected


def test_what_processes_cannot_share_is_refused(monkeypatch):
    launched(monkeypatch, WORLD_SIZE=2, RANK=1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(OptionError, match=r"'mps' with 2 processes; expected one.*accelerator='cpu'") as refused:
        make_accelerator("mps")
    assert refused.value.everywhere  # every process refuses, and the first one says it
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(OptionError, match=r"2 processes were started on a machine with 1 GPUs; expected one for each"):
        make_accelerator("auto")


@pytest.mark.parametrize(("cuda", "accelerator", "expected"), [(False, "auto", True), (True, "auto", False)])
def test_several_processes_never_train_by_themselves(monkeypatch, cuda, accelerator, expected):
    """Where accelerate finds no GPU it would leave each of them alone, unless it is told to use processors."""
    launched(monkeypatch, WORLD_SIZE=2, RANK=0, LOCAL_WORLD_SIZE=2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _processes._on_processors(accelerator) is expected


def test_a_launch_that_starts_one_process_instead_of_several_is_told(monkeypatch):
    launched(monkeypatch, ACCELERATE_USE_CPU="True", MASTER_ADDR="127.0.0.1")
    with pytest.warns(SiVAEWarning, match=r"started a single process.*torchrun --nproc-per-node 2 -m sivae fit"):
        make_accelerator("cpu")


def test_more_processes_than_cells_are_refused():
    from sivae.model._together import check_share

    with pytest.raises(OptionError, match="12 processes for 11 training cells; expected a cell for each at least"):
        check_share(11, Processes(3, 12))
    check_share(12, Processes(3, 12))


def test_each_process_draws_noise_of_its_own(job, monkeypatch):
    """The same noise in all would leave that of their mean as large as that of one."""
    drawn = []
    monkeypatch.setattr(_loop, "torch_generator", lambda seed, purpose, index=0: drawn.append((purpose, index)))
    for rank in (0, 1):
        _loop._Trainer(share(job, rank, 2, []), make_accelerator("cpu")).advance()
    assert drawn == [("noise", 1), ("noise of process 1", 1)]


def test_a_share_is_read_on_the_scale_of_all_cells():
    """What the first process tells is enough: size factors, covariates and statistics are those of all cells."""
    adata = planted(60, 20, n_factors=2, genes_per_factor=5, n_batches=2, seed=0)
    adata.obs["factor"], adata.obs["age"] = np.linspace(0.5, 4.0, 60), np.arange(60.0)
    SiVAE.setup_anndata(adata, batch_key="batch", continuous_covariate_keys=["age"], size_factor_key="factor")
    setup, genes = read_record(adata), tuple(adata.var_names)
    reader, known = make_reader(adata, setup, genes)
    assert reader.scaling.unit > 2
    processes, told = Processes(1, 2), []
    processes.share, processes.any_word = told.append, lambda words: words
    task = _together.Task(adata, setup, genes, SiVAE(adata, n_latent=2).options, SimpleNamespace(identity=dict))
    work = SimpleNamespace(processes=processes, weights=Weights(1.0, 1.0, 0.5), module=torch.nn.Identity())
    _together.tell_start(task, work, reader, np.arange(60), None)
    own = processes.own(60)
    found, words = _together._expression(task, told[0], own, Held(known.values(own)))
    assert words is None
    expected = known.take(own)
    for name in ("library_n", "log_library_n", "design_nb"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(found.standardised(slice(None)), expected.standardised(slice(None)))
    np.testing.assert_array_equal(found.scaling.share_g, known.scaling.share_g)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_keeps_its_own_cells_on_its_device(job, rank):
    """Of all cells the first process copies its share alone, and steps see the same."""
    part = share(job, rank, 2, [])
    blocks = []
    for where in ("never", "always"):
        trainer = _loop._Trainer(replace(part, options=replace(part.options, on_device=where)), make_accelerator("cpu"))
        blocks.append(trainer._block(1))
    (plain, cells, _), (made, again, _) = blocks
    np.testing.assert_array_equal(cells, again)
    assert set(cells) <= set(part.own)
    assert torch.equal(made.x_cg.float(), plain.x_cg.float())
    assert len(trainer.resident._length_n) == len(part.own)


def test_a_checkpoint_knows_how_many_processes_wrote_it(counts_adata):
    """Which cells a step sees depends on it; a single process is not named, as before there were several."""
    options = SiVAE(counts_adata, n_latent=2).options
    alone, two, three = (
        _fit._chosen(options, None, processes) for processes in (ALONE, Processes(0, 2), Processes(1, 3))
    )
    assert "processes" not in alone
    assert alone | {"processes": 2} == two
    assert three["processes"] == 3
