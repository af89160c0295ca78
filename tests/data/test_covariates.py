"""What covariates do to genes: shift within groups of alike cells, gain per batch; and the columns they come from."""

import batches
import numpy as np
import oracles
import pandas as pd
import pytest
from batches import batched, read

from sivae import SiVAE
from sivae._errors import SetupError
from sivae.data import _covariates
from sivae.data._covariates import CovariateEffect, apart, batch_of, covariate_effect, gain
from sivae.stats._spectrum import principal_axes


def matrix(expression):
    return expression.standardised(slice(None)).astype(float)


def error(effect, adata, reader):
    """Root mean square error of the difference between two batches, on the standardised scale."""
    planted = np.diff(adata.varm["planted_shift"], axis=1)[:, 0] / reader.scaling.sd_g
    return np.sqrt(np.mean((effect.shift_bg[1] - effect.shift_bg[0] - planted) ** 2))


def batch_means(expression):
    """What centring by batch takes off, as an effect."""
    batch, x = batch_of(expression.design_nb, 2), matrix(expression)
    shift = np.stack([x[batch == b].mean(axis=0) for b in range(2)])
    return CovariateEffect(shift.astype(np.float32), np.zeros_like(shift, np.float32))


# ---------------------------------------------------------------------------------------------------------------- shift


def further(adata, seed=0):
    rng = np.random.default_rng(seed)
    adata.obs["lab"] = rng.choice(["l", "m", "n"], adata.n_obs)
    adata.obs["age"] = rng.normal(40, 10, adata.n_obs)
    adata.X = (
        adata.X + 0.4 * (adata.obs["lab"] == "m").to_numpy()[:, None] + 0.03 * adata.obs["age"].to_numpy()[:, None]
    )
    return adata


@pytest.mark.parametrize(
    "setup",
    [
        {},
        {"categorical_covariate_keys": ["lab"]},
        {"continuous_covariate_keys": ["age"]},
        {"categorical_covariate_keys": ["lab"], "continuous_covariate_keys": ["age"]},
        {"batch_key": None, "categorical_covariate_keys": ["batch", "lab"]},
        {"batch_key": None, "continuous_covariate_keys": ["age"]},
    ],
)
def test_shift_is_the_regression_on_covariates_and_groups(setup):
    _, expression, record = read(further(batched()), **setup)
    effect = covariate_effect(expression, record.n_batches)
    assert len(np.unique(effect.group_n)) == _covariates.N_GROUPS
    expected = oracles.shift_within_groups(matrix(expression), expression.design_nb, effect.group_n)
    np.testing.assert_allclose(effect.shift_bg, expected, atol=1e-4)
    assert (effect.log_gain_bg[record.n_batches :] == 0).all()


def test_every_covariate_is_found(rng):
    """A category and a slope are planted beside a batch; each is found within the error of its regression."""
    adata = further(batched(1200, shares=batches.EVEN))
    reader, expression, record = read(adata, categorical_covariate_keys=["lab"], continuous_covariate_keys=["age"])
    shift, columns = covariate_effect(expression, record.n_batches).shift_bg * reader.scaling.sd_g, record.columns
    lab, (age,) = shift[columns["lab"]], shift[columns["age"]]
    np.testing.assert_allclose((lab[1] - (lab[0] + lab[2]) / 2).mean(), 0.4, atol=0.03)
    np.testing.assert_allclose((lab[0] - lab[2]).mean(), 0, atol=0.04)
    np.testing.assert_allclose(age.mean(), 0.03 * adata.obs["age"].std(ddof=0), atol=0.02)


@pytest.mark.parametrize(
    ("shares", "center", "factor"),
    [
        (batches.UNEVEN, 1.5, 2.0),
        (batches.OPPOSITE, 1.5, 3.5),
        (batches.OPPOSITE, 3.0, 6.0),
        (batches.HALF_SHARED, 3.0, 4.0),
    ],
)
def test_shift_is_nearer_the_planted_one_than_batch_means(shares, center, factor):
    """Batches with other shares of the kinds: their means differ for that reason, the shift does not."""
    for seed in range(2):
        adata = batched(shares=shares, center=center, seed=seed)
        reader, expression, _ = read(adata)
        found, means = (error(e, adata, reader) for e in (covariate_effect(expression, 2), batch_means(expression)))
        assert factor * found < means, (seed, found, means)


def test_with_even_shares_nothing_is_lost_against_batch_means():
    for effect in (0.0, 0.5, 2.0):
        adata = batched(shares=batches.EVEN, effect=effect)
        reader, expression, _ = read(adata)
        found = error(covariate_effect(expression, 2), adata, reader)
        assert found < 1.05 * error(batch_means(expression), adata, reader)


@pytest.mark.parametrize("shares", [batches.UNEVEN, batches.OPPOSITE])
def test_cells_of_one_kind_come_together(shares):
    """The batches of a kind lie on one another, apart from the other kinds, where batch means leave them apart."""
    adata = batched(shares=shares, center=3.0)
    _, expression, _ = read(adata)
    group = (adata.obs["kind"] + adata.obs["batch"]).to_numpy()

    def gaps(effect):
        rows = effect.remove(expression.standardised(slice(None)), expression.design_nb)
        center = {name: rows[group == name].mean(axis=0) for name in np.unique(group)}
        return [np.linalg.norm(center[f"k{k}b0"] - center[f"k{k}b1"]) for k in range(3)]

    found, means = max(gaps(covariate_effect(expression, 2))), min(gaps(batch_means(expression)))
    assert found < 0.75 * means


def test_groups_and_shift_of_many_cells_come_from_a_sample(monkeypatch):
    adata = batched(1000, shares=batches.OPPOSITE)
    reader, expression, _ = read(adata)
    monkeypatch.setattr(_covariates, "MOST_CELLS", 400)
    effect = covariate_effect(expression, 2)
    expected = oracles.shift_within_groups(matrix(expression), expression.design_nb, effect.group_n)
    np.testing.assert_allclose(effect.shift_bg, expected, atol=1e-4)  # on all cells
    assert error(effect, adata, reader) < 0.3 * error(batch_means(expression), adata, reader)


def test_without_covariates_nothing_is_taken_off():
    _, expression, _ = read(batched(), batch_key=None)
    effect = covariate_effect(expression, 0)
    x = expression.standardised(slice(None))
    assert effect.remove(x, expression.design_nb) is x


@pytest.mark.parametrize("shares", [((1.0, 0.0), (0.0, 1.0)), batches.APART])
def test_under_complete_confounding_the_means_of_the_batches_are_taken_off(shares):
    """As documented: what differs between batches goes to the batch, kinds of cells or not."""
    adata = batched(shares=shares, center=3.0)
    _, expression, _ = read(adata)
    effect = covariate_effect(expression, 2)
    difference = effect.shift_bg[1] - effect.shift_bg[0]
    means = np.diff(batch_means(expression).shift_bg, axis=0)[0]
    assert np.corrcoef(difference, means)[0, 1] > 0.95
    assert 0.75 < difference @ means / (means @ means) < 1.02


def test_names_of_batches_do_not_matter():
    """Another order of the same batches permutes the rows of shift and gain."""
    adata = batched(shares=batches.OPPOSITE)
    _, expression, _ = read(adata)
    one = covariate_effect(expression, 2)
    adata.obs["batch"] = adata.obs["batch"].map({"b0": "z", "b1": "a"})
    _, expression, _ = read(adata)
    other = covariate_effect(expression, 2)
    np.testing.assert_array_equal(other.group_n, one.group_n)
    np.testing.assert_allclose(other.shift_bg, one.shift_bg[::-1], atol=1e-5)
    np.testing.assert_allclose(other.log_gain_bg, one.log_gain_bg[::-1], atol=1e-5)


def test_what_is_left_apart(rng):
    even = np.arange(400) % 4
    assert apart(even, np.arange(400) // 200) == 0
    assert apart(even, even % 2) == pytest.approx(0.5)
    batch = rng.integers(2, size=400)
    batch[even == 0] = 1  # one of four groups lacks a batch
    assert apart(even, batch) == pytest.approx(np.mean(even == 0) * np.mean(batch == 0))


# ----------------------------------------------------------------------------------------------------------------- gain


def test_gain_is_the_shrunken_slope(rng):
    p, batch = rng.normal(size=(90, 5)).astype(np.float32), rng.integers(3, size=90)
    x = (p * np.array([0.6, 1.0, 1.7])[batch][:, None] + 0.3 * rng.normal(size=(90, 5))).astype(np.float32)
    expected = oracles.gain(x, p, batch, 4, _covariates.GAIN_SD)
    np.testing.assert_allclose(gain([(x, p, batch)], 4), expected, rtol=1e-4)
    np.testing.assert_allclose(gain([(x[:7], p[:7], batch[:7]), (x[7:], p[7:], batch[7:])], 4), expected, rtol=1e-4)
    assert (expected[3] == 1).all()  # a batch without cells


@pytest.mark.parametrize("shares", [batches.EVEN, batches.UNEVEN])
def test_gain_is_found_gene_by_gene(shares, rng):
    """A batch stretches the values of each gene by a factor of its own; of genes with a signal it is found."""
    stretch = np.exp(np.stack([np.zeros(40), 0.3 * rng.normal(size=40)]))
    adata = batched(1500, shares=shares, center=2.5, stretch=stretch)
    _, expression, _ = read(adata)
    effect = covariate_effect(expression, 2)
    found, planted = (effect.log_gain_bg[1] - effect.log_gain_bg[0])[:30], np.log(stretch[1])[:30]
    assert np.corrcoef(found, planted)[0, 1] > 0.9
    assert 0.5 < np.polyfit(planted, found, 1)[0] < 1.2


def test_without_a_gain_none_is_found():
    _, expression, _ = read(batched(1500, center=2.5))
    log_gain = covariate_effect(expression, 2).log_gain_bg
    assert np.sqrt(np.mean(log_gain**2)) < 0.05
    assert np.abs(log_gain.mean()) < 0.01


def test_a_stretch_common_to_all_genes_is_the_cells_own():
    """As documented: a position says how far out a cell is, so the gain says how genes differ from one another."""
    _, expression, _ = read(batched(1500, center=2.5, stretch=(1.0, 1.5)))
    log_gain = covariate_effect(expression, 2).log_gain_bg
    assert np.abs((log_gain[1] - log_gain[0])[:30].mean()) < 0.1


def test_gain_keeps_its_range(rng):
    p = rng.normal(size=(500, 2)).astype(np.float32)
    found = gain([(p * np.array([20.0, -5.0], np.float32), p, np.zeros(500, np.intp))], 1)
    np.testing.assert_allclose(found[0], [3.0, 0.3])


def test_removing_undoes_a_planted_effect(rng):
    shift, log_gain = rng.normal(size=(2, 4)).astype(np.float32), 0.4 * rng.normal(size=(2, 4)).astype(np.float32)
    clean, design = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(6, 2)).astype(np.float32)
    seen = clean * np.exp(design @ log_gain) + design @ shift
    np.testing.assert_allclose(CovariateEffect(shift, log_gain).remove(seen, design), clean, atol=1e-5)


# -------------------------------------------------------------------------------------------------------------- columns


def test_columns_of_the_design():
    adata = further(batched(60))
    _, expression, record = read(adata, categorical_covariate_keys=["lab"], continuous_covariate_keys=["age"])
    assert record.columns == {"batch": slice(0, 2), "lab": slice(2, 5), "age": slice(5, 6)}
    assert record.n_batches == 2
    np.testing.assert_array_equal(batch_of(expression.design_nb, 2), (adata.obs["batch"] == "b1").astype(int))
    is_m = (adata.obs["lab"] == "m").to_numpy()
    np.testing.assert_allclose(expression.design_nb[:, 3], is_m - is_m.mean(), atol=1e-6)


@pytest.mark.parametrize("kind", [int, float, "category", "Int64", "Float32"])
def test_numbers_are_names_of_batches(kind):
    """Batches 1, 2 are two batches, not a quantity, and 1.0 is 1."""
    adata = batched(60)
    numbers = adata.obs["batch"].map({"b0": 1, "b1": 2})
    adata.obs["batch"] = pd.Series(numbers.to_numpy(), index=adata.obs_names).astype(kind)
    reader, expression, record = read(adata)
    assert record.categories == {"batch": ["1", "2"]}
    for other in (int, float, str):
        again = adata.copy()
        again.obs["batch"] = numbers.to_numpy().astype(int).astype(other)
        np.testing.assert_array_equal(reader.design.of(again, record), expression.design_nb)


def test_names_that_set_up_wrote_as_floats_are_still_known():
    adata = batched(60)
    adata.obs["batch"] = adata.obs["batch"].map({"b0": 1.0, "b1": 2.0}).astype(float)
    reader, expression, record = read(adata)
    record.categories["batch"] = ["1.0", "2.0"]
    np.testing.assert_array_equal(reader.design.of(adata, record), expression.design_nb)


def test_a_quantity_is_no_batch():
    adata = batched(60)
    adata.obs["batch"] = np.linspace(0, 1, 60)
    with pytest.raises(SetupError, match=r"60 different values in 60 cells.*at most 50%.*continuous_covariate_keys"):
        SiVAE.setup_anndata(adata, batch_key="batch")
    adata.obs["batch"] = adata.obs_names
    with pytest.raises(SetupError, match="name a column that many cells share"):
        SiVAE.setup_anndata(adata, batch_key="batch")


@pytest.mark.parametrize("value", [None, np.nan])
def test_a_missing_batch_is_named_whenever_it_is_read(value):
    adata = batched(60)
    reader, _, record = read(adata)
    adata.obs["batch"] = [*adata.obs["batch"][:8], value, *adata.obs["batch"][9:]]
    wanted = rf"obs\['batch'\] is missing for 1 cells, the first being '{adata.obs_names[8]}'. Fill it in or drop"
    for attempt in (lambda: SiVAE.setup_anndata(adata, batch_key="batch"), lambda: reader.design.of(adata, record)):
        with pytest.raises(SetupError, match=wanted):
            attempt()


@pytest.mark.parametrize(
    ("value", "wanted"), [(np.nan, "is missing for 1 cells"), (np.inf, "must be finite; it is not")]
)
def test_a_covariate_that_is_no_number_is_named_whenever_it_is_read(value, wanted):
    adata = further(batched(60))
    reader, _, record = read(adata, continuous_covariate_keys=["age"])
    adata.obs.iloc[8, adata.obs.columns.get_loc("age")] = value
    with pytest.raises(SetupError, match=rf"obs\['age'\] {wanted}.*{adata.obs_names[8]}"):
        reader.design.of(adata, record)


def test_an_unknown_batch_says_what_to_do():
    adata = further(batched(60))
    reader, _, record = read(adata, categorical_covariate_keys=["lab"])
    other = adata.copy()
    other.obs["batch"] = "new"
    wanted = (
        r"obs\['batch'\] holds new, which the training cells had not; they had: b0, b1\..*transform_batch does not help"
        r".*Train again with these cells, or write into obs\['batch'\] the known one"
    )
    with pytest.raises(SetupError, match=wanted):
        reader.read(other)
    adata.obs["lab"] = "new"
    with pytest.raises(SetupError, match=r"obs\['lab'\] holds new") as caught:
        reader.read(adata)
    assert "transform_batch" not in str(caught.value)


def test_a_category_of_which_no_cell_trains_is_the_average_of_the_others():
    adata = batched(90)
    adata.obs["batch"] = [*adata.obs["batch"][:88], "b2", "b2"]
    SiVAE.setup_anndata(adata, batch_key="batch")
    _, _, record = read(adata)
    reader, expression, _ = read_as(adata[:88].copy(), record)
    design = reader.design.of(adata, record)
    np.testing.assert_array_equal(design[:88], expression.design_nb)
    assert (design[88:] == 0).all()
    assert (design[:88, :2] != 0).all()


def read_as(adata, record):
    from sivae.model._build import make_reader

    return *make_reader(adata, record, tuple(adata.var_names)), record


def test_a_batch_of_one_cell_and_a_constant_batch_are_harmless():
    adata = batched(120, shares=batches.EVEN)
    adata.obs["batch"] = ["only", *adata.obs["batch"][1:]]
    _, expression, record = read(adata)
    effect = covariate_effect(expression, record.n_batches)
    assert np.isfinite(effect.shift_bg).all()
    assert np.abs(np.exp(effect.log_gain_bg[2]) - 1).max() < 2.0
    adata.obs["batch"] = "same"
    _, expression, record = read(adata)
    effect = covariate_effect(expression, record.n_batches)
    x = expression.standardised(slice(None))
    assert (expression.design_nb == 0).all()
    np.testing.assert_array_equal(effect.remove(x, expression.design_nb), x)


def test_axes_are_those_without_the_effect():
    """Profiles are made from data without shift and gain."""
    _, expression, _ = read(batched(shares=batches.OPPOSITE, center=3.0))
    effect = covariate_effect(expression, 2)
    spectrum = principal_axes(effect.blocks(expression), expression.shape, 4)
    rows = effect.remove(expression.standardised(slice(None)), expression.design_nb)
    values, _ = oracles.principal_axes(rows, 4)
    np.testing.assert_allclose(spectrum.values_q, values, rtol=1e-3)
