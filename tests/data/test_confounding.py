"""What is said of covariates that cannot be told apart, and what is not said where they can."""

import warnings

import batches
import numpy as np
import pytest
from batches import batched, read

from sivae._errors import SiVAEWarning
from sivae.data._confounding import check_covariates, covariate_facts, warn_if_confounded
from sivae.data._covariates import covariate_effect
from sivae.data._expression import Design


def warned(adata, **setup):
    """Every warning about the covariates of `adata`."""
    reader, expression, record = read(adata, **setup)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_covariates(reader.design, expression.design_nb, record)
    assert all(issubclass(each.category, SiVAEWarning) for each in caught)
    return [str(each.message) for each in caught]


def facts_of(adata, **setup):
    _, expression, record = read(adata, **setup)
    effect = covariate_effect(expression, record.n_batches)
    return covariate_facts(expression, effect, record), expression, effect, record


def with_others(adata, seed=0):
    rng = np.random.default_rng(seed)
    adata.obs["lab"] = rng.choice(["l", "m", "n"], adata.n_obs)
    adata.obs["age"] = rng.normal(40, 10, adata.n_obs)
    return adata


# ------------------------------------------------------------------------------------------------------------- warnings


def test_covariates_of_their_own_are_not_warned_of():
    adata = with_others(batched())
    assert warned(adata, categorical_covariate_keys=["lab"], continuous_covariate_keys=["age"]) == []


def test_a_covariate_that_is_constant():
    adata = batched(60)
    adata.obs["batch"] = "one"
    (words,) = warned(adata)
    assert words.startswith("obs['batch'] is the same in every training cell")
    assert "no effect" in words


def test_a_category_without_a_training_cell():
    adata = batched(90)
    _, _, record = read(adata)
    record.categories["batch"].append("b7")
    reader, expression, _ = read(adata)
    design = Design(np.append(reader.design.mean_b, np.float32(0)), np.append(reader.design.sd_b, np.float32(1)))
    with pytest.warns(SiVAEWarning, match=r"obs\['batch'\] holds b7, of which no cell trains .*average of the others"):
        check_covariates(design, np.pad(expression.design_nb, ((0, 0), (0, 1))), record)


@pytest.mark.parametrize("donors", [1, 3])
def test_nested_and_equal_covariates_are_named(donors):
    """A donor says the batch; with one donor per batch, the batch says the donor too."""
    adata = batched(240)
    rng = np.random.default_rng(0)
    adata.obs["donor"] = [f"{batch}-{rng.integers(donors)}" for batch in adata.obs["batch"]]
    words = warned(adata, categorical_covariate_keys=["donor"])
    assert words[0].startswith("obs['batch'] follows from obs['donor']: what each does to a gene cannot be told apart")
    assert "transform_batch" in words[0]
    assert len(words) == 1  # one warning, also where each follows from the other


def test_covariates_that_follow_from_others_together():
    adata = with_others(batched(240))
    rng = np.random.default_rng(0)
    adata.obs["dose"] = rng.normal(size=240)
    adata.obs["sum"] = 2 * adata.obs["age"] - 3 * adata.obs["dose"]
    words = warned(adata, continuous_covariate_keys=["age", "dose", "sum"])
    assert len(words) == 1
    assert "obs['age'] follows from obs['batch'] and obs['dose'] and obs['sum']:" in words[0]


def test_collinear_covariates_work():
    """The shift of both together is that of either alone, and finite."""
    adata = batched(shares=batches.EVEN)
    adata.obs["again"] = adata.obs["batch"].map({"b0": "x", "b1": "y"})
    _, expression, _ = read(adata)
    alone = expression.design_nb @ covariate_effect(expression, 2).shift_bg
    _, expression, _ = read(adata, categorical_covariate_keys=["again"])
    effect = covariate_effect(expression, 2)
    np.testing.assert_allclose(expression.design_nb @ effect.shift_bg, alone, atol=0.02)
    half = effect.shift_bg[1] - effect.shift_bg[0]
    np.testing.assert_allclose(half, effect.shift_bg[3] - effect.shift_bg[2], atol=1e-3)  # shared between them


# ---------------------------------------------------------------------------------------------------------------- facts


def test_variance_taken_off_is_that_of_the_shift():
    adata = with_others(batched(effect=1.0))
    facts, expression, effect, record = facts_of(
        adata, categorical_covariate_keys=["lab"], continuous_covariate_keys=["age"]
    )
    total = expression.standardised(slice(None)).var(axis=0, dtype=float).sum()
    assert facts["name"] == ["batch", "lab", "age"]
    for name, share in zip(facts["name"], facts["variance_share"], strict=True):
        columns = record.columns[name]
        moved = expression.design_nb[:, columns] @ effect.shift_bg[columns]
        assert share == pytest.approx(moved.var(axis=0, dtype=float).sum() / total, rel=1e-4)
    assert facts["variance_share"][0] > 0.2
    assert max(facts["variance_share"][1:]) < 0.02


@pytest.mark.parametrize("shares", [batches.EVEN, batches.UNEVEN])
@pytest.mark.parametrize("seed", range(3))
def test_batches_that_share_their_kinds_have_no_lone_groups(shares, seed):
    facts, expression, _, record = facts_of(batched(shares=shares, center=3.0, seed=seed))
    assert (facts["lone_batch"], facts["lone_cells"], facts["lone_groups"]) == ([], [], [])
    warn_if_confounded(facts, expression.shape[0], record)  # an error here, if it warned


def test_kinds_of_one_batch_alone_are_counted():
    """Half of the cells of each batch are of a kind that the other lacks."""
    adata = batched(1200, shares=batches.HALF_SHARED, center=3.0)
    facts, expression, _, record = facts_of(adata)
    wanted = adata.obs.groupby(["batch", "kind"], observed=True).size()
    assert facts["lone_batch"] == ["b0", "b1"]
    np.testing.assert_allclose(facts["lone_cells"], [wanted["b0", "k0"], wanted["b1", "k2"]], rtol=0.1)
    assert min(facts["lone_groups"]) >= 1
    warn_if_confounded(facts, expression.shape[0], record)


def test_complete_confounding_is_warned_of():
    facts, expression, _, record = facts_of(batched(shares=batches.APART, center=3.0))
    assert sum(facts["lone_cells"]) == 600
    with pytest.warns(
        SiVAEWarning, match=r"in a single batch of obs\['batch'\].*are confounded.*Train without batch_key"
    ):
        warn_if_confounded(facts, expression.shape[0], record)


def test_without_covariates_there_are_no_facts():
    assert facts_of(batched(60), batch_key=None)[0] == {}


def test_facts_are_plain():
    """Strings, numbers and lists of them: JSON and h5ad hold them."""
    facts, *_ = facts_of(with_others(batched(shares=batches.APART, center=3.0)), continuous_covariate_keys=["age"])
    for values in facts.values():
        assert isinstance(values, list)
        assert {type(value) for value in values} <= {str, float, int}
