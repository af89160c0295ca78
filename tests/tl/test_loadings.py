"""Tables of loadings, from an annotated AnnData alone."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from annotated import annotated
from scipy import stats
from sklearn.decomposition import PCA

import sivae.tl as tl
from sivae._errors import OptionError, SetupError


def bare(adata, path):
    """A trip through h5ad without X."""
    kept = ad.AnnData(obs=adata.obs, var=adata.var, uns=adata.uns, obsm=dict(adata.obsm), varm=dict(adata.varm))
    kept.write_h5ad(path)
    return ad.read_h5ad(path)


# ------------------------------------------------------------------------------------------------------ rank_loadings


def test_the_ends_are_the_largest_and_the_smallest_of_the_modelled_genes():
    adata = annotated()
    table, modelled = tl.rank_loadings(adata, n_genes=4), adata.var["sivae_modelled"].to_numpy()
    for axis in (0, 1):
        v = pd.Series(adata.varm["X_sivae"][modelled, axis], adata.var_names[modelled]).sort_values()
        mine = table[table["axis"] == f"axis{axis + 1}"]
        assert mine.loc[mine["end"] == "high", "gene"].tolist() == v.index[::-1][:4].tolist()
        assert mine.loc[mine["end"] == "low", "gene"].tolist() == v.index[:4].tolist()
        assert mine["rank"].tolist() == [1, 2, 3, 4] * 2
        np.testing.assert_allclose(mine["loading"], v[mine["gene"]])


def test_uncertainty_is_that_of_the_normal():
    adata = annotated()
    table = tl.rank_loadings(adata, n_genes=None, level=0.8)
    variance = pd.DataFrame(adata.varm["X_sivae_var"], adata.var_names, ["axis1", "axis2", "axis3"]).stack()
    sd = np.sqrt(variance[pd.MultiIndex.from_frame(table[["gene", "axis"]])].to_numpy())
    np.testing.assert_allclose(table["sd"], sd)
    low, high = stats.norm.interval(0.8, table["loading"], sd)
    np.testing.assert_allclose(table["lower"], low)
    np.testing.assert_allclose(table["upper"], high)
    np.testing.assert_allclose(table["lfsr"], stats.norm.cdf(-np.abs(table["loading"]) / sd))


def test_unused_axes_are_left_out_and_named():
    table = tl.rank_loadings(annotated(unused=(1,)))
    assert set(table["axis"]) == {"axis1", "axis3"} and table.attrs["unused"] == ["axis2"]
    none = tl.rank_loadings(annotated(unused=(0, 1, 2)))
    assert len(none) == 0 and list(none.columns) == list(table.columns)


def test_all_genes_come_once_per_axis_and_projected_ones_on_request():
    adata = annotated()
    assert tl.rank_loadings(adata, n_genes=None).groupby("axis")["gene"].nunique().tolist() == [50, 50]
    assert tl.rank_loadings(adata, n_genes=None, projected=True).groupby("axis")["gene"].nunique().tolist() == [60, 60]


def test_another_embedding_has_no_uncertainty():
    adata = annotated()
    adata.varm["other"] = adata.varm["X_sivae"][:, :2] * 3
    table = tl.rank_loadings(adata, use_rep="other")
    assert table[["sd", "lower", "upper", "lfsr"]].isna().all(axis=None)
    assert table["loading"].notna().all() and set(table["axis"]) == {"axis1", "axis2"}


def test_permuting_genes_and_cells_changes_nothing_in_the_table(rng):
    adata = annotated()
    other = adata[rng.permutation(adata.n_obs), rng.permutation(adata.n_vars)].copy()
    pd.testing.assert_frame_equal(tl.rank_loadings(other), tl.rank_loadings(adata))


def test_a_null_gene_is_not_sure_of_its_sign(rng):
    adata = annotated(g=400, later=0, unused=())
    sd = rng.uniform(0.02, 0.2, (400, 3))
    adata.varm["X_sivae"], adata.varm["X_sivae_var"] = sd * rng.normal(size=(400, 3)), sd**2
    table = tl.rank_loadings(adata, n_genes=None)
    assert (table["lfsr"] < 0.05).mean() == pytest.approx(0.10, abs=0.03)
    assert ((table["lower"] > 0) | (table["upper"] < 0)).mean() == pytest.approx(0.10, abs=0.03)


def test_tables_follow_a_rotation(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    totals = tl.explained_variance(counts_adata, by="gene")
    recoded = tl.recoded_loadings(counts_adata, "group")
    normal_model.rotate("varimax")
    normal_model.annotate(counts_adata)
    table = tl.rank_loadings(counts_adata, n_genes=None).set_index(["gene", "axis"])["loading"].unstack()
    turned = normal_model.get_feature_representation().loc[table.index, table.columns]
    np.testing.assert_allclose(table, turned)
    after = tl.explained_variance(counts_adata, by="gene")
    np.testing.assert_allclose(after["full"], totals["full"], atol=1e-6)
    again = tl.recoded_loadings(counts_adata, "group")
    np.testing.assert_allclose(again["loading"], recoded["loading"], atol=1e-5)  # whatever the axes


@pytest.mark.parametrize("option", [{"n_genes": 0}, {"level": 0.0}, {"level": 1.0}])
def test_options_out_of_range(option):
    with pytest.raises(OptionError, match=next(iter(option))):
        tl.rank_loadings(annotated(), **option)


def test_what_is_missing_is_said():
    with pytest.raises(SetupError, match="Call model.annotate"):
        tl.rank_loadings(ad.AnnData(np.ones((2, 3), np.float32)))


# ---------------------------------------------------------------------------------------------------- recoded_loadings


def test_recoded_loadings_are_components_within_a_group_times_loadings():
    adata = annotated(unused=())
    table = tl.recoded_loadings(adata, "cell_type", n_components=2)
    for name in adata.obs["cell_type"].cat.categories:
        pca = PCA(2).fit(adata.obsm["X_sivae"][adata.obs["cell_type"] == name])
        expected = adata.varm["X_sivae"] @ (pca.components_.T * np.sqrt(pca.explained_variance_))
        found = table[table["group"] == name].pivot(index="gene", columns="component", values="loading")
        found = found.loc[adata.var_names].to_numpy()
        np.testing.assert_allclose(found, expected * np.sign((found * expected).sum(axis=0)), atol=1e-10)
        assert ((found**3).sum(axis=0) >= 0).all()
        share = table[table["group"] == name].drop_duplicates("component")["share"]
        np.testing.assert_allclose(share, pca.explained_variance_ratio_)


def test_small_groups_and_cells_without_one_are_left_out(tmp_path):
    adata = annotated()
    kind = adata.obs["cell_type"].astype(str).where(np.arange(adata.n_obs) > 1, "rare")
    adata.obs["kind"] = kind.where(kind != "type 2")
    table = tl.recoded_loadings(bare(adata, tmp_path / "a.h5ad"), "kind")
    assert set(table["group"]) == {"type 0", "type 1"}
    adata.obs["each"] = adata.obs_names
    with pytest.raises(OptionError, match="No group of obs\\['each'\\] has 3 cells"):
        tl.recoded_loadings(adata, "each")
    with pytest.raises(OptionError, match="groupby='nothing'"):
        tl.recoded_loadings(adata, "nothing")


def test_positions_must_have_the_axes_of_the_genes():
    adata = annotated()
    adata.varm["PCs"], adata.obsm["X_pca"] = np.ones((60, 2)), np.ones((120, 5))
    with pytest.raises(SetupError, match="expected 2 columns"):
        tl.recoded_loadings(adata, "cell_type", use_rep="PCs", cells_rep="X_pca")
    with pytest.raises(SetupError, match="no obsm\\['X_umap'\\]"):
        tl.recoded_loadings(adata, "cell_type", cells_rep="X_umap")


# --------------------------------------------------------------------------------------------------- inferred_loadings


def test_least_squares_of_the_reconstruction_gives_the_loadings_back(model, counts_adata, tmp_path):
    """What makes the linear part unique."""
    model.annotate(counts_adata)
    table = tl.inferred_loadings(bare(counts_adata, tmp_path / "a.h5ad"))
    np.testing.assert_allclose(table["least_squares"], table["loading"], atol=2e-4)
    assert list(table.columns) == ["gene", "axis", "loading", "least_squares"]


@pytest.mark.parametrize("kind", ["none", "varimax"])
def test_finite_differences_are_those_of_the_predictor(normal_model, counts_adata, kind):
    normal_model.rotate(kind)
    normal_model.annotate(counts_adata)
    table = tl.inferred_loadings(counts_adata, normal_model, n_points=5)
    z = normal_model.get_latent_representation().astype(float)
    low, high = np.quantile(z, [0.05, 0.95], axis=0)
    explained = normal_model.explain()
    for axis in np.flatnonzero(high - low > 1e-6):  # no cell moves along a closed axis
        ends = np.tile(z.mean(axis=0), (2, 1))
        ends[:, axis] = low[axis], high[axis]
        at = explained.decode(ends)
        mine = table[table["axis"] == f"axis{axis + 1}"].set_index("gene").loc[list(explained.genes)]
        # The trapezoid of central differences is the difference of the ends up to the ends' own weights.
        expected = (at[1] - at[0]) / (high[axis] - low[axis])
        np.testing.assert_allclose(mine["finite_difference"], expected, atol=0.02)
    assert np.corrcoef(table["finite_difference"], table["loading"])[0, 1] > 0.95


def test_a_model_with_other_axes_is_refused(normal_model, counts_adata):
    normal_model.annotate(counts_adata)

    class Other:
        axes, genes = ("axis1",), ()

        def explain(self, adata):
            return self

    with pytest.raises(SetupError, match="has 1 axes and this AnnData 3"):
        tl.inferred_loadings(counts_adata, Other())
