"""Blocks made on a device of values that lie there; the CPU stands for one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import SMALL, train

from sivae import SiVAE
from sivae._block import Counts
from sivae._errors import OptionError
from sivae.data._expression import Expression
from sivae.data._resident import Resident, fits


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_blocks_equal_those_of_main_memory(counts_adata, likelihood, request, rng):
    model = request.getfixturevalue(f"{likelihood}_model")
    cells = model._state.reader.read(counts_adata)
    resident, counts = Resident(cells, torch.device("cpu")), likelihood == "nb"
    n, g = cells.shape
    for n_cells, n_genes in ((1, 1), (7, g), (n, 5)):
        rows, genes = (np.sort(rng.permutation(most)[:some]) for most, some in ((n, n_cells), (g, n_genes)))
        weights = {"cell_weight": 0.3, "gene_weight": 0.7}
        found, expected = (source.block(rows, genes, counts=counts, **weights) for source in (resident, cells))
        for name in ("x_cg", "design_cb", "log_library_c", "genes_f"):
            assert torch.equal(getattr(found, name), getattr(expected, name)), name
        assert (found.cell_weight, found.gene_weight) == (0.3, 0.7)
        if counts:
            assert isinstance(found.y, Counts)
            dense = [torch.zeros(n_cells, n_genes).index_put((y.row, y.column), y.value) for y in (found.y, expected.y)]
            assert torch.equal(*dense)
            assert len(found.y.value) == len(expected.y.value) == int((dense[0] > 0).sum())
        else:
            assert torch.equal(found.y, expected.y)


def test_a_cell_without_entries_is_all_zeros(counts_adata, normal_model):
    cells = normal_model._state.reader.read(counts_adata)
    matrix = cells.rows.matrix
    start, end = matrix.indptr[3:5]
    matrix.data[start:end] = 0
    matrix.eliminate_zeros()
    cells._transformed_ng = cells._transform(matrix, slice(None))
    rows, genes = np.array([2, 3, 4]), np.arange(cells.shape[1])
    made = Resident(cells, torch.device("cpu")).block(rows, genes, counts=True, cell_weight=1.0, gene_weight=1.0)
    assert torch.equal(made.x_cg, cells.block(rows, genes, counts=True).x_cg)
    assert not (made.y.row == 1).any()


@pytest.mark.parametrize("likelihood", ["normal", "nb"])
def test_the_trained_model_is_the_same(counts_adata, likelihood):
    weights = []
    for where in ("never", "always"):
        model = SiVAE(counts_adata, n_latent=2, n_profile=12, architecture=SMALL, likelihood=likelihood)
        train(model, max_steps=12, on_device=where)
        weights.append(model._module.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-4, atol=1e-6)


def test_only_sparse_values_in_memory_can_be_copied(counts_adata):
    dense = counts_adata.copy()
    dense.X = dense.X.toarray()
    SiVAE.setup_anndata(dense)
    model = SiVAE(dense, n_latent=2, n_profile=12, architecture=SMALL)
    with pytest.raises(OptionError, match="expected sparse ones in memory"):
        train(model, max_steps=2, on_device="always")


def test_nothing_is_copied_to_a_cpu_unasked(counts_adata, normal_model):
    assert not fits(normal_model._state.reader.read(counts_adata), torch.device("cpu"))


def test_it_fits_where_twelve_bytes_a_value_are_less_than_half_of_what_is_free(normal_model, counts_adata, monkeypatch):
    cells = normal_model._state.reader.read(counts_adata)
    nnz = cells.rows.matrix.nnz
    for free, expected in ((24 * nnz, False), (24 * nnz + 1, True)):
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda _, free=free: (free, 10**12))
        assert fits(cells, torch.device("cuda")) == expected
    assert fits(cells, torch.device("mps")) is False


def test_far_values_are_clipped_there_too(counts_adata, normal_model):
    read = normal_model._state.reader.read(counts_adata)
    scaling = replace(read.scaling, sd_g=read.scaling.sd_g / 20)
    cells = Expression(read.values(), read.library_n, scaling, read.design_nb)
    rows, genes = np.array([1, 3]), np.arange(cells.shape[1])
    expected = cells.block(rows, genes, counts=False).x_cg
    assert float(expected.abs().max()) == 10
    made = Resident(cells, torch.device("cpu")).block(rows, genes, counts=False, cell_weight=1.0, gene_weight=1.0)
    assert torch.equal(made.x_cg, expected)
