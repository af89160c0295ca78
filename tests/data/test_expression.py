"""Reading: one Expression whatever the storage; scaling, design and blocks against NumPy; what is refused."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sivae import SiVAE
from sivae._errors import GeneMismatchError, SetupError, SiVAEWarning
from sivae.data._covariates import covariate_effect
from sivae.data._profiles import CellProfiles, PrincipalProfiles
from sivae.data._scaling import Scaling
from sivae.data._setup import read_record
from sivae.model._build import make_reader
from sivae.stats._spectrum import principal_axes

N, G = 40, 12
GENES = tuple(f"g{i:02d}" for i in range(G))
STORAGES = {
    "float32": lambda x: x.astype(np.float32),
    "float64": lambda x: x.astype(np.float64),
    "int64": lambda x: x.astype(np.int64),
    "uint16": lambda x: x.astype(np.uint16),
    "fortran": lambda x: np.asfortranarray(x, np.float32),
    "csr": lambda x: sparse.csr_matrix(x.astype(np.float32)),
    "csc": lambda x: sparse.csc_matrix(x.astype(np.float32)),
    "csr int": lambda x: sparse.csr_matrix(x.astype(np.int32)),
    "csr_array": lambda x: sparse.csr_array(x.astype(np.float64)),
}


def table(seed=0):
    rng = np.random.default_rng(seed)
    y = rng.poisson(rng.gamma(0.7, 3.0, (N, G)) * rng.lognormal(0, 0.4, (N, 1)))
    y[:, 0] += 1
    return y


def cells(y, **setup):
    adata = ad.AnnData(y)
    adata.obs_names, adata.var_names = [f"c{i:02d}" for i in range(y.shape[0])], list(GENES)
    adata.obs["batch"] = np.where(np.arange(y.shape[0]) % 3 == 0, "x", "y")
    adata.obs["age"] = np.arange(y.shape[0]) ** 1.5
    SiVAE.setup_anndata(adata, **setup)
    return adata


def read(adata, genes=GENES):
    return make_reader(adata, read_record(adata), genes)


def arrays(expression):
    return expression.standardised(slice(None)), expression.log_library_n, expression.design_nb


def same(one, two, **tolerance):
    for a, b in zip(arrays(one), arrays(two), strict=True):
        np.testing.assert_allclose(a, b, **({"rtol": 1e-4, "atol": 2e-5} | tolerance))


@pytest.mark.parametrize("storage", STORAGES)
def test_storage_does_not_matter(storage):
    y = table()
    reader, expression = read(cells(STORAGES[storage](y)))
    _, expected = read(cells(y.astype(np.float32)))
    same(expression, expected)
    for genes in ([3, 1, 7], range(G)):
        block = expression.block(np.array([5, 2, 9]), np.array(genes), counts=True)
        assert np.array_equal(dense(block), y[[5, 2, 9]][:, list(genes)])


@pytest.mark.parametrize("storage", ["float32", "csr", "csc"])
def test_views_and_layers(storage):
    y = table()
    order_c, order_g = np.random.default_rng(1).permutation(N), np.random.default_rng(2).permutation(G)
    whole = cells(STORAGES[storage](y[order_c][:, order_g]))
    whole.obs_names, whole.var_names = [f"c{i:02d}" for i in order_c], [GENES[i] for i in order_g]
    whole.obs["batch"] = np.where(order_c % 3 == 0, "x", "y")
    view = whole[np.argsort(order_c)][:, np.argsort(order_g)]
    assert view.is_view
    _, expected = read(cells(y.astype(np.float32)))
    same(read(view)[1], expected)
    layered = cells(y)
    layered.layers["raw"] = layered.X
    layered.X = np.zeros_like(y)
    SiVAE.setup_anndata(layered, layer="raw")
    same(read(layered)[1], expected)


def test_stored_zeros_do_not_matter():
    y = table()
    explicit = sparse.csr_matrix(y.astype(np.float32))
    explicit.data[3] = 0
    y = explicit.toarray()
    expression = read(cells(explicit))[1]
    same(expression, read(cells(y))[1])
    block = expression.block(np.arange(N), np.arange(G), counts=True)
    assert (block.y.value > 0).all()


def test_size_factors_log_and_standardisation():
    y = table().astype(float)
    reader, expression = read(cells(y))
    library = y.sum(axis=1)
    target = np.sqrt(np.median(library) * 1e4)  # between the median and the conventional 10,000
    log = np.log1p(y / library[:, None] * target)
    np.testing.assert_allclose(reader.scaling.target, target)
    np.testing.assert_allclose(reader.scaling.mean_g, log.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(reader.scaling.sd_g, log.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(reader.scaling.share_g, y.sum(axis=0) / y.sum(), rtol=1e-6)
    np.testing.assert_allclose(
        expression.standardised(slice(None)), (log - log.mean(axis=0)) / log.std(axis=0), atol=1e-4
    )
    np.testing.assert_allclose(expression.log_library_n, np.log(library), rtol=1e-6)


def test_size_factor_of_the_user():
    y = table().astype(float)
    adata = cells(y)
    adata.obs["depth"] = np.linspace(0.5, 2, N)
    SiVAE.setup_anndata(adata, size_factor_key="depth")
    reader, expression = read(adata)
    depth = adata.obs["depth"].to_numpy()
    unit = y.sum() / depth.sum()
    log = np.log1p(y / (unit * depth[:, None]) * reader.scaling.target)
    np.testing.assert_allclose(
        expression.standardised(slice(None)), (log - log.mean(axis=0)) / log.std(axis=0), atol=1e-4
    )
    # On the scale of a library: the factors times the counts per unit of factor.
    np.testing.assert_allclose(expression.log_library_n, np.log(unit * depth), rtol=1e-4)


def test_the_unit_of_a_size_factor_does_not_matter():
    """Depth with mean 1 or in counts: the same cells on the standardised scale."""
    adata = cells(table())
    found = []
    for unit in (1.0, 5000.0):
        adata.obs["depth"] = unit * np.linspace(0.5, 2, N)
        SiVAE.setup_anndata(adata, size_factor_key="depth")
        found.append(read(adata)[1].standardised(slice(None)))
    np.testing.assert_allclose(*found, atol=1e-4)


def test_values_as_they_are():
    x = np.random.default_rng(0).normal(5, 3, (N, G))
    _, expression = read(cells(x))
    np.testing.assert_allclose(expression.standardised(slice(None)), (x - x.mean(axis=0)) / x.std(axis=0), atol=1e-4)
    assert (expression.log_library_n == 0).all()


def test_extreme_values_are_clipped_and_constant_genes_are_zero():
    x = np.random.default_rng(0).normal(size=(N, G))
    x[:, 1] = 7.3
    reader, _ = read(cells(x))
    new = x.copy()
    new[0, 2], new[1, 3], new[2, 1] = 1e6, -1e6, 55.0
    found = reader.read(cells(new)).standardised(slice(None))
    assert (found[0, 2], found[1, 3]) == (10.0, -10.0)
    assert (found[:, 1] == 0).all()


def test_new_cells_are_scaled_by_the_training_cells():
    y = table()
    reader, training = read(cells(y))
    some = reader.read(cells(y[:9]))
    np.testing.assert_allclose(some.standardised(slice(None)), training.standardised(slice(9)), atol=1e-6)


def dense(block):
    result = np.zeros((len(block.x_cg), len(block.genes_f)))
    result[block.y.row, block.y.column] = block.y.value
    return result


@settings(max_examples=25, deadline=None)
@given(data=st.data(), storage=st.sampled_from(["float32", "csr", "csc"]))
def test_blocks_keep_the_order_asked(data, storage):
    y = table()
    rows = data.draw(st.permutations(range(N)).map(lambda p: p[: 1 + p[0] % 7]))
    columns = data.draw(st.permutations(range(G)).map(lambda p: p[: 1 + p[0] % 5]))
    _, expression = read(cells(STORAGES[storage](y), batch_key="batch"))
    block = expression.block(np.array(rows), np.array(columns), counts=True)
    np.testing.assert_array_equal(dense(block), y[np.ix_(rows, columns)])
    x = expression.standardised(slice(None))
    np.testing.assert_array_equal(block.x_cg, x[rows])
    np.testing.assert_array_equal(block.design_cb, expression.design_nb[rows])
    np.testing.assert_array_equal(block.log_library_c, expression.log_library_n[rows])
    np.testing.assert_array_equal(block.genes_f, columns)
    assert (block.cell_weight, block.gene_weight) == (1 / len(rows), 1 / len(columns))
    values = expression.block(np.array(rows), np.array(columns), counts=False)
    np.testing.assert_array_equal(values.y, x[np.ix_(rows, columns)])
    assert (values.log_library_c == 0).all()


def test_row_blocks_are_all_rows_and_take_keeps_order():
    _, expression = read(cells(table()))
    x = expression.standardised(slice(None))
    np.testing.assert_array_equal(np.concatenate(list(expression.row_blocks(7))), x)
    np.testing.assert_array_equal(expression.take(np.array([9, 2, 5])).standardised(slice(None)), x[[9, 2, 5]])


def test_design_columns_are_centred_on_the_training_cells():
    adata = cells(table(), batch_key="batch", continuous_covariate_keys=["age"])
    reader, expression = read(adata)
    design = expression.design_nb
    np.testing.assert_allclose(design.mean(axis=0), 0, atol=1e-6)
    is_x = (adata.obs["batch"] == "x").to_numpy()
    np.testing.assert_allclose(design[:, 0], is_x - is_x.mean(), atol=1e-6)
    np.testing.assert_allclose(design[:, 1], ~is_x - (~is_x).mean(), atol=1e-6)
    age = adata.obs["age"].to_numpy()
    np.testing.assert_allclose(design[:, 2], (age - age.mean()) / age.std(), atol=1e-5)
    np.testing.assert_allclose(reader.design.of(adata[:5], read_record(adata)), design[:5], atol=1e-6)


def test_unknown_categories_are_named():
    adata = cells(table(), batch_key="batch")
    reader, _ = read(adata)
    adata.obs["batch"] = ["new", *adata.obs["batch"][1:]]
    with pytest.raises(SetupError, match=r"obs\['batch'\] holds new, which the training cells had not; they had: x, y"):
        reader.read(adata)
    del adata.obs["batch"]
    with pytest.raises(SetupError, match="no column 'batch', which the model was set up with"):
        reader.read(adata)


def test_covariate_shift_is_the_batch_mean():
    adata = cells(table(), batch_key="batch")
    _, expression = read(adata)
    x = expression.standardised(slice(None))
    effect = covariate_effect(expression, 0)
    centred = effect.remove(x, expression.design_nb)
    for batch in ("x", "y"):
        rows = (adata.obs["batch"] == batch).to_numpy()
        np.testing.assert_allclose(centred[rows].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(centred[rows].std(axis=0), x[rows].std(axis=0), atol=1e-5)


def test_empty_cells_are_named():
    y = table()
    adata = cells(y)
    reader, _ = read(adata)
    adata.X[[6, 8]] = 0
    for attempt in (lambda: read(adata), lambda: reader.read(adata)):
        with pytest.raises(
            SetupError, match="2 cells have no counts over the 12 modelled genes, the first being 'c06'"
        ):
            attempt()


def test_some_missing_genes_are_taken_at_their_mean_and_reported():
    y = table()
    reader, training = read(cells(y))
    fewer = cells(y)[:, [i for i in range(G) if i not in (3, 8)]].copy()
    with pytest.warns(SiVAEWarning, match=r"2 of the 12 modelled genes are not in the data \(g03, g08\)"):
        found = reader.read(fewer)
    x = found.standardised(slice(None))
    np.testing.assert_allclose(x[:, [3, 8]], 0, atol=1e-5)
    expected_library = np.delete(y, [3, 8], axis=1).sum(axis=1) / (1 - y[:, [3, 8]].sum() / y.sum())
    np.testing.assert_allclose(np.exp(found.log_library_n), expected_library, rtol=1e-5)


@pytest.mark.parametrize("storage", ["float32", "csr"])
def test_missing_genes_stay_at_their_mean_in_a_part_of_the_cells(storage):
    y = table()
    reader, _ = read(cells(STORAGES[storage](y)))
    with pytest.warns(SiVAEWarning):
        found = reader.read(cells(STORAGES[storage](y))[:, :10].copy())
    rows = np.array([4, 1, 7])
    np.testing.assert_allclose(found.take(rows).standardised(slice(None)), found.standardised(rows), atol=1e-6)


def test_too_many_missing_genes_are_refused_by_name():
    reader, _ = read(cells(table()))
    with pytest.raises(GeneMismatchError, match=r"3 of the 12 modelled genes .*\(g09, g10, g11\); at most 20%"):
        reader.read(cells(table())[:, :9].copy())
    other = cells(table())
    other.var_names = [f"ENSG{i}" for i in range(G)]
    with pytest.raises(GeneMismatchError, match="12 of the 12 .*g04 and 7 more.*of the same kind"):
        reader.read(other)


def test_extra_and_shuffled_genes_change_nothing():
    y = table()
    reader, training = read(cells(y))
    order = np.random.default_rng(0).permutation(G)
    wide = ad.AnnData(np.column_stack([y[:, order], np.full((N, 2), 50)]))
    wide.obs_names, wide.var_names = [f"c{i:02d}" for i in range(N)], [*(GENES[i] for i in order), "extra1", "extra2"]
    same(reader.read(wide), training, rtol=0, atol=0)


def test_principal_profiles_of_new_genes_are_those_of_modelled_ones():
    """A gene given by its values has the profile it had when it was modelled, whatever the rank, also with N < G."""
    for n, rank in ((N, 5), (N, G), (9, 7)):
        _, expression = read(cells(table()[:n], batch_key="batch"))
        effect = covariate_effect(expression, 0)
        spectrum = principal_axes(effect.blocks(expression), expression.shape, rank)
        profiles = PrincipalProfiles(spectrum, PrincipalProfiles.scores(expression, effect, spectrum))
        x = effect.remove(expression.standardised(slice(None)), expression.design_nb)
        np.testing.assert_allclose(profiles.of_new(x), profiles.of_modelled(), atol=2e-3)
        assert profiles.of_modelled().shape == (G, rank)


def test_axes_without_variance_add_nothing_to_a_profile():
    """Nine centred cells of two batches span seven axes; on the other two a profile is zero however it is found."""
    _, expression = read(cells(table()[:9], batch_key="batch"))
    effect = covariate_effect(expression, 0)
    spectrum = principal_axes(effect.blocks(expression), expression.shape, 9)
    profiles = PrincipalProfiles(spectrum, PrincipalProfiles.scores(expression, effect, spectrum))
    x = effect.remove(expression.standardised(slice(None)), expression.design_nb)
    np.testing.assert_allclose(profiles.of_modelled()[:, 7:], 0, atol=1e-4)
    np.testing.assert_allclose(profiles.of_new(x)[:, 7:], 0, atol=1e-4)


def test_inner_products_of_full_profiles_are_covariances():
    _, expression = read(cells(table()))
    effect = covariate_effect(expression, 0)
    spectrum = principal_axes(effect.blocks(expression), expression.shape, G)
    profile = PrincipalProfiles(spectrum, PrincipalProfiles.scores(expression, effect, spectrum)).of_modelled()
    x = expression.standardised(slice(None))
    np.testing.assert_allclose(profile @ profile.T, x.T @ x / N, atol=1e-4)


def test_cell_profiles_are_values():
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    profiles = CellProfiles(x[[0, 2]], np.array([0, 2]))
    np.testing.assert_array_equal(profiles.of_modelled(), x[[0, 2]].T)
    np.testing.assert_array_equal(profiles.of_new(x[:, :1]), x[[0, 2], :1].T)


def test_frame_columns_of_covariates_may_be_numbers_or_text():
    adata = cells(table())
    adata.obs["run"] = pd.Series(np.arange(N) % 2, index=adata.obs_names)
    SiVAE.setup_anndata(adata, batch_key="run")
    assert read(adata)[1].design_nb.shape == (N, 2)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_statistics_of_many_blocks(form):
    """Means and sds are those of NumPy over all rows; a gene that is constant has none, however large it is."""
    rng = np.random.default_rng(0)
    x = (rng.normal(2000, 3, (2500, 5)) * (rng.random((2500, 5)) < 0.7)).astype(np.float32)
    x[:, 1], x[:, 2], x[:, 3] = 12345.678, 0.0, rng.normal(2000, 0.5, 2500)
    scaling = Scaling.fit(form(x), np.ones(2500, np.float32), log=False, target=1.0)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(scaling.mean_g, wide.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scaling.sd_g[[0, 3, 4]], wide.std(axis=0)[[0, 3, 4]], rtol=1e-6)
    assert (scaling.sd_g[[1, 2]] == 0).all() and (scaling.share_g == 0).all()
