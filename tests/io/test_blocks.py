"""Stores from blocks that any reader gives: the same values, one block in memory, nothing half-written."""

import tracemalloc

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import sivae
from sivae._errors import ArtefactError, OptionError, SetupError

GENES = [f"g{i}" for i in range(12)]
KINDS = {
    "csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "coo": sparse.coo_matrix, "array": np.asarray,
    "sparse array": sparse.csr_array, "lists": lambda values: values.tolist(),
}  # fmt: skip


@pytest.fixture
def values():
    return np.random.default_rng(0).poisson(0.7, (50, 12)).astype(np.float32)


def cut(values, size=7):
    return [values[start : start + size] for start in range(0, len(values), size)]


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_blocks(values, tmp_path, kind):
    blocks = (KINDS[kind](block) for block in cut(values))
    path = sivae.io.write_blocks(tmp_path / "cells.h5ad", blocks, var_names=GENES, dtype="float32")
    found = ad.read_h5ad(path)
    assert found.X.format == "csr" and found.X.dtype == np.float32 and found.X.has_canonical_format
    np.testing.assert_array_equal(found.X.toarray(), values)
    assert list(found.var_names) == GENES and list(found.obs_names) == [str(row) for row in range(50)]


def test_what_is_known_of_cells_comes_with_the_blocks(values, tmp_path):
    obs = pd.DataFrame(
        {"batch": pd.Categorical(["x", "y"] * 25), "age": np.arange(50.0)}, index=[f"c{i}" for i in range(50)]
    )
    pairs = zip(cut(values), [obs[start : start + 7] for start in range(0, 50, 7)], strict=True)
    found = ad.read_h5ad(sivae.io.write_blocks(tmp_path / "cells.h5ad", pairs, var_names=GENES))
    pd.testing.assert_frame_equal(found.obs, obs)
    names = zip(cut(values), cut(obs.index.to_numpy()), strict=True)
    found = ad.read_h5ad(sivae.io.write_blocks(tmp_path / "cells.h5ad", names, var_names=GENES))
    assert list(found.obs_names) == list(obs.index)
    given = sivae.io.write_blocks(tmp_path / "cells.h5ad", cut(values), var_names=GENES, obs_names=obs.index.tolist())
    assert list(ad.read_h5ad(given).obs_names) == list(obs.index)


@pytest.mark.filterwarnings("ignore:The function AnnLoader is deprecated:FutureWarning")
def test_blocks_of_anndata_and_of_its_loaders(values, tmp_path):
    """AnnData themselves, and the batches of anndata's own collection and loader."""
    from anndata.experimental import AnnCollection, AnnLoader

    parts = [ad.AnnData(sparse.csr_matrix(values[:30])), ad.AnnData(sparse.csr_matrix(values[30:]))]
    for part, rows in zip(parts, (range(30), range(30, 50)), strict=True):
        part.obs_names, part.var_names = [f"c{row}" for row in rows], GENES
        part.obs["age"] = np.array(rows, float)
    written = [ad.read_h5ad(sivae.io.write_blocks(tmp_path / "a.h5ad", parts, var_names=GENES))]
    collection = AnnCollection(parts, join_vars="inner")
    batches = (collection[start : start + 8] for start in range(0, 50, 8))
    written.append(ad.read_h5ad(sivae.io.write_blocks(tmp_path / "b.h5ad", batches, var_names=GENES)))
    loader = AnnLoader(parts, batch_size=8, shuffle=False, use_cuda=False)
    pairs = ((batch.X.to_dense(), batch.obs_names) for batch in loader)
    written.append(ad.read_h5ad(sivae.io.write_blocks(tmp_path / "c.h5ad", pairs, var_names=GENES)))
    for found in written:
        np.testing.assert_array_equal(found.X.toarray(), values)
        assert list(found.obs_names) == [f"c{row}" for row in range(50)]
    for found in written[:2]:
        assert list(found.obs["age"]) == list(range(50))


def test_one_block_is_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    peaks = []
    for n in (4, 40):
        tracemalloc.start()
        blocks = (sparse.random(500, 400, 0.1, "csr", np.float32, random_state=rng) for _ in range(n))
        sivae.io.write_blocks(tmp_path / "cells.h5ad", blocks, var_names=[f"g{i}" for i in range(400)])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    whole = 40 * 500 * 400 * 0.1 * 8
    assert peaks[1] - peaks[0] < 0.5 * whole  # names of cells grow, values do not


def test_a_store_of_blocks_trains_as_the_values_do(values, tmp_path):
    values[:, 0] += 1
    path = sivae.io.write_blocks(tmp_path / "cells.h5ad", (sparse.csr_matrix(b) for b in cut(values)), var_names=GENES)
    held = ad.AnnData(sparse.csr_matrix(values), obs=pd.DataFrame(index=[str(row) for row in range(50)]))
    held.var_names = GENES
    latent = []
    for adata in (held, ad.read_h5ad(path, backed="r")):
        sivae.SiVAE.setup_anndata(adata)
        model = sivae.SiVAE(adata, n_latent=2)
        model.train(1, accelerator="cpu", progress=False)
        latent.append(model.get_latent_representation().tobytes())
    assert latent[0] == latent[1]


def test_wider_types_later_must_fit(values, tmp_path):
    whole = [values[:20].astype(np.uint8), values[20:].astype(np.int64)]
    path = sivae.io.write_blocks(tmp_path / "cells.h5ad", whole, var_names=GENES)
    assert ad.read_h5ad(path).X.dtype == np.uint8
    whole[1][3, 4] = 300
    with pytest.raises(SetupError, match=r"Block 2 holds 300, which the type of the file, uint8, does not hold.*dtype"):
        sivae.io.write_blocks(tmp_path / "cells.h5ad", whole, var_names=GENES)
    for value in (0.5, np.nan, np.inf):
        broken = values[20:].copy()
        broken[0, 0] = value
        with pytest.raises(SetupError, match="Block 2 holds"):
            sivae.io.write_blocks(tmp_path / "cells.h5ad", [whole[0], broken], var_names=GENES)
    assert ad.read_h5ad(path).X.dtype == np.uint8


@pytest.mark.parametrize(("dtype", "kept"), [("float16", "float32"), (">f4", "float32"), (">i2", "int16")])
def test_types_that_sparse_matrices_do_not_hold(values, tmp_path, dtype, kept):
    path = sivae.io.write_blocks(tmp_path / "cells.h5ad", cut(values.astype(dtype)), var_names=GENES)
    found = ad.read_h5ad(path).X
    assert found.dtype == kept
    np.testing.assert_array_equal(found.toarray(), values)
    for wanted in ("float16", "numbers", "U3"):
        with pytest.raises(OptionError, match="expected a type that sparse matrices hold"):
            sivae.io.write_blocks(tmp_path / "other.h5ad", cut(values), var_names=GENES, dtype=wanted)


def test_wrong_values_are_found_by_set_up(values, tmp_path):
    values[3, 4] = np.nan
    adata = ad.read_h5ad(sivae.io.write_blocks(tmp_path / "cells.h5ad", cut(values), var_names=GENES), backed="r")
    with pytest.raises(SetupError, match=r"X holds nan \(cell '3', gene 'g4'\)"):
        sivae.SiVAE.setup_anndata(adata)
    adata.file.close()


def frame(names, **columns):
    return pd.DataFrame(columns, index=names)


ONE = np.ones((2, 12), np.float32)
WRONG = {
    "width": ([ONE, ONE[:, :7]], {}, "Block 2 has 7 genes, expected 12, one for each of var_names"),
    "texts": ([np.full((2, 12), "a")], {}, "Block 1 has the shape .* of type <U1; expected numbers"),
    "a vector": ([ONE[0]], {}, r"Block 1 has the shape \(12,\)"),
    "no block": ([], {}, "The blocks hold no cell, expected some"),
    "no cell": ([ONE[:0]], {}, "The blocks hold no cell"),
    "genes twice": ([ONE], {"var_names": ["a", "a", *GENES[2:]]}, "var_names are not unique: a occur"),
    "cells twice": ([ONE], {"obs_names": ["c", "c"]}, "obs_names are not unique: c occur"),
    "cells twice in blocks": ([(ONE, ["a", "b"]), (ONE, ["c", "a"])], {}, "obs_names are not unique: a occur"),
    "too few names": ([ONE, ONE], {"obs_names": ["c", "d"]}, "Found 2 obs_names, expected 4"),
    "names of other cells": ([(ONE, ["a"])], {}, "Block 1 has 2 cells and knows 1"),
    "known of some": ([(ONE, ["a", "b"]), ONE], {}, "Of 2 blocks 1 know something of their cells"),
    "other columns": (
        [(ONE, frame(["a", "b"], x=[1, 2])), (ONE, frame(["c", "d"], y=[1, 2]))], {}, r"columns \['x'\], \['y'\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_and_nothing_is_left(tmp_path, case):
    blocks, given, words = WRONG[case]
    with pytest.raises(SetupError, match=words):
        sivae.io.write_blocks(tmp_path / "cells.h5ad", iter(blocks), **({"var_names": GENES} | given))
    assert list(tmp_path.iterdir()) == []


def test_names_and_places_are_looked_at_before_any_block(tmp_path):
    def never():
        raise AssertionError("a block was asked for")
        yield

    for given, error in (({"var_names": "g1"}, OptionError), ({"var_names": ["a", "a"]}, SetupError)):
        with pytest.raises(error):
            sivae.io.write_blocks(tmp_path / "cells.h5ad", never(), **given)
    with pytest.raises(ArtefactError, match="no folder"):
        sivae.io.write_blocks(tmp_path / "gone" / "cells.h5ad", never(), var_names=GENES)


def test_an_error_of_the_reader_leaves_what_was_there(tmp_path):
    def breaks():
        yield ONE
        raise ZeroDivisionError

    (tmp_path / "cells.h5ad").write_text("old")
    with pytest.raises(ZeroDivisionError):
        sivae.io.write_blocks(tmp_path / "cells.h5ad", breaks(), var_names=GENES)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_entries_that_occur_twice_are_added_up(tmp_path):
    block = sparse.csr_matrix(([1.0, 2.0, 4.0], [5, 3, 5], [0, 3]), shape=(1, 12))
    found = ad.read_h5ad(sivae.io.write_blocks(tmp_path / "cells.h5ad", [block], var_names=GENES)).X
    assert (found.indices.tolist(), found.data.tolist(), block.nnz) == ([3, 5], [2.0, 5.0], 3)
