"""Subsets are disjoint, equal and stratified; the yardstick against loops over pairs, and on what has no difference."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from individuals import made_samples

from sivae._errors import OptionError, SetupError, SiVAEWarning
from sivae.cohort._similarity import similarity
from sivae.cohort._subsets import subsets, yardstick


def made_cells(sizes=(65, 43, 30), *, seed=0):
    rng = np.random.default_rng(seed)
    donor = np.repeat([f"d{i}" for i in range(len(sizes))], sizes)
    kind = rng.choice(["T", "B", "NK"], len(donor), p=[0.6, 0.3, 0.1])
    obs = pd.DataFrame({"donor": donor, "type": kind}, index=[f"cell{c:03d}" for c in range(len(donor))])
    return ad.AnnData(np.zeros((len(donor), 2)), obs=obs.iloc[rng.permutation(len(donor))])


@pytest.mark.parametrize("key", [None, "type"])
def test_subsets_are_disjoint_equal_and_within_one_individual(key):
    adata = made_cells()
    assert subsets(adata, "donor", n_cells=15, cell_type_key=key) is None
    column = adata.obs["sivae_subset"]
    assert column.dtype == "category"
    names = [f"d0/{i}" for i in (1, 2, 3, 4)] + ["d1/1", "d1/2", "d2/1", "d2/2"]
    assert list(column.cat.categories) == names
    assert (column.value_counts() == 15).all() and column.isna().sum() == 138 - 8 * 15
    assert (column.dropna().astype(str).str[:2] == adata.obs["donor"][column.notna()]).all()


def test_every_subset_has_its_individuals_share_of_each_type():
    adata = made_cells((200, 81), seed=3)
    adata.obs.loc[adata.obs_names[:20], "type"] = None
    subsets(adata, "donor", n_cells=20, cell_type_key="type")
    table = pd.crosstab(adata.obs["sivae_subset"], adata.obs["type"].fillna("none"))
    whole = pd.crosstab(adata.obs["donor"], adata.obs["type"].fillna("none"), normalize="index")
    for name, row in table.iterrows():
        assert (abs(row - 20 * whole.loc[name[:2]]) <= 1).all()
    plain = made_cells((200, 81), seed=3)
    subsets(plain, "donor", n_cells=20)
    spread = pd.crosstab(plain.obs["sivae_subset"], plain.obs["type"])
    assert (abs(spread - 20 * pd.crosstab(plain.obs["donor"], plain.obs["type"], normalize="index").iloc[0]) > 1).any(
        axis=None
    )


def test_subsets_follow_names_and_seed_alone(rng):
    adata = made_cells()
    subsets(adata, "donor", n_cells=15, seed=4, key_added="one")
    moved = adata[rng.permutation(adata.n_obs)].copy()
    subsets(moved, "donor", n_cells=15, seed=4, key_added="two")
    assert (moved.obs["one"].astype(str) == moved.obs["two"].astype(str)).all()
    alone = adata[adata.obs["donor"] == "d1"].copy()  # another individual changes nothing
    subsets(alone, "donor", n_cells=15, seed=4, key_added="two")
    assert (alone.obs["one"].astype(str) == alone.obs["two"].astype(str)).all()
    subsets(adata, "donor", n_cells=15, seed=5, key_added="other")
    assert (adata.obs["one"].astype(str) != adata.obs["other"].astype(str)).mean() > 0.3


def test_a_largest_number_of_subsets_uses_cells_from_everywhere():
    adata = made_cells((100,))
    subsets(adata, "donor", n_cells=10, n_subsets=2, cell_type_key="type")
    chosen = adata.obs[adata.obs["sivae_subset"].notna()]
    assert len(chosen) == 20 and set(chosen["sivae_subset"]) == {"d0/1", "d0/2"}
    assert set(chosen["type"]) == {"T", "B", "NK"}


def test_cells_without_an_individual_are_in_no_subset():
    adata = made_cells()
    adata.obs["donor"] = adata.obs["donor"].astype("category")
    adata.obs.loc[adata.obs["donor"] == "d1", "donor"] = np.nan
    subsets(adata, "donor", n_cells=15)
    assert adata.obs["sivae_subset"][adata.obs["donor"].isna()].isna().all()
    assert set(adata.obs["sivae_subset"].dropna().str[:2]) == {"d0", "d2"}


def test_individuals_with_too_few_cells_are_named():
    adata = made_cells((65, 43, 30, 5))
    with pytest.warns(SiVAEWarning, match=r"2 of 4 individuals have fewer than two subsets of 20 cells \(d2, d3\)"):
        subsets(adata, "donor", n_cells=20)
    counts = adata.obs["sivae_subset"].value_counts()
    assert counts["d2/1"] == 20 and len(counts) == 3 + 2 + 1


def test_errors_of_subsets_say_what_to_do():
    adata = made_cells()
    with pytest.raises(OptionError, match=r"n_cells is 1; expected at least 2\. The paper takes"):
        subsets(adata, "donor", n_cells=1)
    with pytest.raises(OptionError, match="n_subsets is 1; expected at least 2"):
        subsets(adata, "donor", n_cells=10, n_subsets=1)
    with pytest.raises(OptionError, match=r"the most are the 65 of d0\. Take n_cells of at most 32"):
        subsets(adata, "donor", n_cells=33)
    with pytest.raises(SetupError, match="sample_key is 'person', and obs has no such column; it has: donor, type"):
        subsets(adata, "person", n_cells=10)
    with pytest.raises(SetupError, match="cell_type_key is 'kind', and obs has no such column"):
        subsets(adata, "donor", n_cells=10, cell_type_key="kind")
    with pytest.raises(OptionError, match="key_added is 'donor'; expected the name of a column of its own"):
        subsets(adata, "donor", n_cells=10, key_added="donor")
    adata.obs["empty"] = pd.Series(np.nan, index=adata.obs_names)
    with pytest.raises(SetupError, match=r"obs\['empty'\] is missing for every row"):
        subsets(adata, "empty", n_cells=10)
    assert "sivae_subset" not in adata.obs


def grouped(rng, *, between):
    """Six individuals of 2, 3 or 4 subsets, whose genes lie `between` apart."""
    n_subsets = [2, 3, 4, 2, 3, 1]
    samples = made_samples(sum(n_subsets), n_genes=50)
    at = np.repeat(np.arange(6), n_subsets)
    own = between * rng.normal(size=(6, 50, 4))
    samples.obsm["sivae_positions"] = (1 + own[at] + 0.2 * rng.normal(size=(len(at), 50, 4))).astype(np.float32)
    samples.obs["donor"] = pd.Categorical([f"d{i}" for i in at])
    similarity(samples, method="positions")
    return samples


def test_yardstick_equals_loops(rng):
    samples = grouped(rng, between=0.1)
    table = yardstick(samples, "donor")
    donor, value = samples.obs["donor"].to_numpy(), samples.obsp["sivae_similarity"]
    assert table.index.tolist() == [f"d{i}" for i in range(6)] and table["n_subsets"].tolist() == [2, 3, 4, 2, 3, 1]
    for name in table.index[:5]:
        own = [value[s, t] for s in range(15) for t in range(s) if donor[s] == donor[t] == name]
        other = [value[s, t] for s in range(15) for t in range(15) if donor[s] == name != donor[t]]
        np.testing.assert_allclose(table.loc[name, "within"], np.mean(own))
        np.testing.assert_allclose(table.loc[name, "between"], np.mean(other))
        np.testing.assert_allclose(table.loc[name, "below"], np.mean(np.array(other) < np.median(own)))
    assert table.loc["d5", ["within", "below"]].isna().all() and np.isfinite(table.loc["d5", "between"])
    own = [value[s, t] for s in range(15) for t in range(s) if donor[s] == donor[t]]
    other = np.array([value[s, t] for s in range(15) for t in range(s) if donor[s] != donor[t]])
    expected = {"within": np.mean(own), "between": other.mean(), "within_median": np.median(own)}
    expected["below"] = (other < np.median(own)).mean()
    assert table.attrs.pop("method") == "positions"
    assert table.attrs == pytest.approx(expected)
    order = rng.permutation(15)
    pd.testing.assert_frame_equal(yardstick(samples[order].copy(), "donor"), table)


def test_individuals_that_differ_are_told_from_those_that_do_not(rng):
    assert yardstick(grouped(rng, between=0.1), "donor").attrs["below"] > 0.95
    same = yardstick(grouped(rng, between=0.0), "donor").attrs
    assert abs(same["below"] - 0.5) < 0.25 and same["within"] == pytest.approx(same["between"], abs=0.01)


def test_errors_of_the_yardstick_say_what_to_do(rng):
    samples = made_samples(6)
    with pytest.raises(SetupError, match=r"obsp has no 'sivae_similarity'.*Call cohort\.similarity\(samples\) first"):
        yardstick(samples, "sex")
    similarity(samples)
    with pytest.raises(SetupError, match="individual_key is 'donor', and obs has no such column"):
        yardstick(samples, "donor")
    samples.obs["donor"] = samples.obs_names
    with pytest.raises(SetupError, match=r"holds 6 individuals for 6 subsets; expected.*Make subsets with cohort"):
        yardstick(samples, "donor")
    samples.obs["donor"] = "a"
    with pytest.raises(SetupError, match="holds 1 individuals"):
        yardstick(samples, "donor")
    samples.obs["donor"] = ["a", "a", "b", "b", None, "c"]
    with pytest.raises(SetupError, match=r"has no value for donor04; expected the individual of every subset"):
        yardstick(samples, "donor")
