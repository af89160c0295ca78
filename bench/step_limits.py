"""How near a training step is to what the processor can do.

Simulated counts (`bench/_store.py`), 7 % of the values not zero. "products" are the matrix products of one step,
forward and backward, made alone with the same shapes and strides; "GFLOP" is their arithmetic. The *floor* is that
arithmetic at the speed of a large product (2,048 x 2,048 x 2,048, measured in the same run), or the bytes that a step
cannot avoid at the speed of a large copy, whichever takes longer: every weight, its gradient, both moments and the
average are read or written eleven times, and the rows of cells twice forward and twice backward. "ratio" is step /
floor. "block" is the time in which a block is made. All are the least of several rounds, by the clock; "variants" of
the default step are made side by side in turns: products of bfloat16 numbers (fast only where the processor has them),
blocks made ahead by a thread instead of when they are asked for (as is done where they come from a file larger than
memory, or go to another device), values on disk instead of in memory, and `torch.compile` of the module. "first layer"
is its product with the rows of cells stored as CSR instead of dense, forward and backward; the step has it dense,
because some entries are hidden at random (zeros among them), and because covariates are taken off every entry.
"""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from unittest import mock

import torch
from anndata import AnnData
from scipy import sparse
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import sivae
from bench import _common, _store
from sivae.train import _loop
from sivae.train._ahead import Ahead

CASES = ((64, 128, 2000), (256, 512, 2000), (1024, 2000, 2000), (256, 512, 20_000))
N_CELLS, ROUNDS, STEPS = 6000, 6, 20


def main(settings: _common.Settings) -> None:
    rows = _common.Rows("step_limits", ("likelihood", "cells", "genes", "all_genes"), quick=settings.quick)
    cases, limits = CASES, Limits.measured(size=256 if settings.quick else 2048)
    if settings.quick:
        cases = ((16, 32, 100),)
    for likelihood in ("normal", "nb"):
        for cells, genes, every in cases:
            rows.find(
                lambda a=likelihood, b=cells, c=genes, d=every: _step(a, b, c, d, limits, quick=settings.quick),
                likelihood=likelihood, cells=cells, genes=genes, all_genes=every,
            )  # fmt: skip
    rows.write(threads=torch.get_num_threads(), gflops=round(limits.flops / 1e9, 1), gb_s=round(limits.bytes / 1e9, 1))


class Limits:
    """What the processor does at its best: operations and bytes a second."""

    def __init__(self, flops: float, n_bytes: float) -> None:
        self.flops, self.bytes = flops, n_bytes

    @classmethod
    def measured(cls, *, size: int) -> Limits:
        one, two = torch.randn(size, size), torch.randn(size, size)
        long = torch.randn(2**25 if size > 1000 else 2**20)
        to = torch.empty_like(long)
        product, copy = least(lambda: one @ two, 3), least(lambda: to.copy_(long), 3)
        return cls(2.0 * size**3 / product, 8.0 * long.numel() / copy)


def least(call: Callable[[], Any], times: int, rounds: int = ROUNDS) -> float:
    """Seconds of a call, by the clock: the least mean of several rounds."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(times):
            call()
        found.append((time.perf_counter() - started) / times)
    return min(found)


def _step(likelihood: str, n_cells: int, n_genes: int, every: int, limits: Limits, *, quick: bool) -> dict[str, Any]:
    steps = 2 if quick else STEPS
    adata = _store.unseen(200 if quick else N_CELLS, every)

    def look(made: _loop._Trainer) -> dict[str, Any]:
        for _ in range(5):
            made.advance()
        step_s, block_s = least(made.advance, steps), least(lambda: made._block(7), steps)
        with FlopCounterMode(display=False) as counter, Products() as products:
            made.advance()
        flops, n_weights = counter.get_total_flops(), sum(p.numel() for p in made.parameters)
        n_bytes = 4.0 * (11 * n_weights + 4 * n_cells * every)
        floor_s = max(flops / limits.flops, n_bytes / limits.bytes)
        return {
            "step_ms": _ms(step_s), "gflop": round(flops / 1e9, 3), "mb": round(n_bytes / 1e6, 1),
            "floor_ms": _ms(floor_s), "products_ms": _ms(least(products.again, steps)), "block_ms": _ms(block_s),
            "ratio": round(step_s / floor_s, 2),
        }  # fmt: skip

    found = with_trainer(adata, likelihood, n_cells, n_genes, look)
    if quick or (n_cells, n_genes, every) == CASES[1]:
        found["variants"] = _variants(adata, likelihood, n_cells, n_genes, quick=quick)
    return found | {"first_layer": _first_layer(n_cells, every, steps)}


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)


class _Done(Exception):  # noqa: N818
    """Raised instead of training."""


def with_trainer(
    adata: AnnData, likelihood: str, n_cells: int, n_genes: int, look: Callable[[_loop._Trainer], Any], **options: Any
) -> Any:
    """What is seen of a training that is about to begin."""
    sivae.SiVAE.setup_anndata(adata)
    model, found = sivae.SiVAE(adata, likelihood=likelihood), []  # type: ignore[arg-type]

    def instead(job: _loop.Job, accelerator: Any, **_: Any) -> None:
        made = _loop._Trainer(job, accelerator)
        try:
            found.append(look(made))
        finally:
            made.blocks.close()
        raise _Done

    chosen = sivae.TrainOptions(max_steps=10**6, **options)
    with mock.patch.object(_loop, "run", instead), suppress(_Done):
        model.train(accelerator="cpu", progress=False, batch_size=n_cells, feature_batch_size=n_genes, options=chosen)
    return found[0]


class Products(TorchDispatchMode):
    """Notes every matrix product that is made, and makes them again."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[Any, tuple[torch.Tensor, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.noted.append((func, tuple(value.detach() for value in args)))
        return func(*args, **(kwargs or {}))

    def again(self) -> None:
        for func, args in self.noted:
            func(*args)


def _variants(adata: AnnData, likelihood: str, n_cells: int, n_genes: int, *, quick: bool) -> dict[str, float]:
    """Milliseconds of a step in variants, in turns with the default."""
    options: dict[str, dict[str, Any]] = {"bfloat16": {"precision": "bfloat16"}, "on disk": {"spool": "always"}}
    changes: dict[str, Callable[[_loop._Trainer], None]] = {"ahead": _ahead}
    if shutil.which("c++") and not quick:
        changes["compiled"] = _compiled
    found = {}
    for name in (*options, *changes):
        pair = [
            with_trainer(adata, likelihood, n_cells, n_genes, _timed(change, quick=quick), **chosen)
            for _ in range(1 if quick else 3)
            for change, chosen in ((None, {}), (changes.get(name), options.get(name, {})))
        ]
        found[name] = round(min(pair[1::2]) / min(pair[::2]), 3)
    return found


def _timed(change: Callable[[_loop._Trainer], None] | None, *, quick: bool) -> Callable[[_loop._Trainer], float]:
    def look(made: _loop._Trainer) -> float:
        if change is not None:
            change(made)
        for _ in range(2 if quick else 10):
            made.advance()
        return least(made.advance, 2 if quick else STEPS, rounds=1 if quick else ROUNDS)

    return look


def _ahead(made: _loop._Trainer) -> None:
    made.blocks = Ahead(made._block, last=made.job.n_steps)


def _compiled(made: _loop._Trainer) -> None:
    made.prepared = torch.compile(made.prepared, dynamic=True)


def _first_layer(n_cells: int, every: int, steps: int) -> float:
    """Time of the first layer's products with sparse rows, over that with dense ones."""
    rows = _store.unseen(n_cells, every).X
    back = sparse.csr_matrix(rows.T)
    dense, weight = torch.from_numpy(rows.toarray()), torch.randn(128, every)
    slope, tall = torch.randn(n_cells, 128), weight.T.contiguous()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = (
            torch.sparse_csr_tensor(*(torch.from_numpy(part) for part in (m.indptr, m.indices, m.data)), size=m.shape)
            for m in (rows, back)
        )
        thin = least(lambda: (first @ tall, second @ slope), steps)
    return round(thin / least(lambda: (dense @ weight.T, slope.T @ dense), steps), 3)


COLUMNS = (
    ("step_ms", "step, ms"), ("gflop", "GFLOP"), ("mb", "MB"), ("floor_ms", "floor, ms"), ("ratio", "ratio"),
    ("products_ms", "products, ms"), ("block_ms", "block, ms"), ("first_layer", "first layer, sparse / dense"),
)  # fmt: skip


def table(result: dict[str, Any]) -> str:
    said = (
        f"{_common.conditions(result)} A large product {result['gflops']} GFLOP/s, "
        f"a large copy {result['gb_s']} GB/s.\n\n"
    )
    names = ("likelihood", "cells", "genes", "all genes", *(words for _, words in COLUMNS))
    keys = ("likelihood", "cells", "genes", "all_genes", *(key for key, _ in COLUMNS))
    lines = [[row[key] for key in keys] for row in result["rows"]]
    varied = [row for row in result["rows"] if "variants" in row]
    sizes = [[row["likelihood"], *(row["variants"].get(name, "") for name in VARIANTS)] for row in varied]
    return (
        said + _common.table(names, lines) + "\nA step over the default step:\n\n"
        + _common.table(("likelihood", *VARIANTS), sizes)
    )  # fmt: skip


VARIANTS = ("bfloat16", "on disk", "ahead", "compiled")
