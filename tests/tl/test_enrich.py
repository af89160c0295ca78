"""Enrichment of axes, modules, hubs and neighbors: SciPy on the same genes, backgrounds, nulls."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from gene_spaces import planted_space
from scipy.stats import fisher_exact, kstest, mannwhitneyu

from sivae import tl
from sivae._errors import GeneMismatchError, OptionError, SetupError
from sivae._space import read_space
from sivae.datasets import planted
from sivae.tl._ranked import RunningSum, _random
from sivae.tl._similarity import correlation_of


@pytest.fixture(scope="module")
def _adata():
    adata = planted_space()
    adata.var["sivae_hub"] = adata.var["truth"] == 0
    adata.var["sivae_hub_score"] = np.linalg.norm(adata.varm["X_sivae"], axis=1)
    label = np.where(adata.var["truth"] >= 0, "module" + (adata.var["truth"] + 1).astype(str), "unassigned")
    adata.var["sivae_module"] = pd.Categorical(label)
    return adata


@pytest.fixture
def adata(_adata):
    return _adata.copy()


@pytest.fixture
def sets(adata):
    rng = np.random.default_rng(0)
    names = np.asarray(adata.var_names)
    result = {f"module {m}": [*names[adata.var["truth"] == m][:15], "elsewhere"] for m in range(4)}
    return result | {f"random {i}": rng.choice(names, 12, replace=False) for i in range(10)}


def fisher(adata, chosen, genes, background):
    chosen, genes = set(chosen) & set(background), set(genes) & set(background)
    a, b, c = len(chosen & genes), len(genes - chosen), len(chosen - genes)
    return fisher_exact([[a, c], [b, len(background) - a - b - c]], alternative="greater")


def row(table, group, name):
    return table[(table["group"] == group) & (table["set"] == name)].iloc[0]


def test_modules_against_fishers_test(adata, sets):
    table = tl.enrich(adata, sets, of="modules")
    assert len(table) == 4 * 14 and table["p"].is_monotonic_increasing
    for m in range(4):
        found = row(table, f"module{m + 1}", f"module {m}")
        chosen = adata.var_names[adata.var["truth"] == m]
        expected = fisher(adata, chosen, sets[f"module {m}"], adata.var_names)
        assert found["p"] == pytest.approx(expected.pvalue) and found["effect"] == expected.statistic
        assert found["n_overlap"] == 15 and found["n_set"] == 15
        assert set(found["genes"].split(";")) == set(sets[f"module {m}"]) - {"elsewhere"}
    assert set(table["set"][:4]) == {f"module {m}" for m in range(4)} and (table["q"][:4] < 0.001).all()
    assert table["q"][4:].min() > 0.05


def test_axes_by_ranks_against_mann_whitney(adata, sets):
    table = tl.enrich(adata, sets)
    assert len(table) == 4 * 14
    value = pd.Series(adata.varm["X_sivae"][:, 2], adata.var_names)
    inside = value[[gene for gene in sets["module 2"] if gene in value]]
    expected = mannwhitneyu(inside, value.drop(inside.index), method="asymptotic")
    found = row(table, "axis3", "module 2")
    assert found["p"] == pytest.approx(expected.pvalue)
    assert found["effect"] == pytest.approx(expected.statistic / (15 * 105))
    top = value[inside.index].sort_values(ascending=False).index[:10]
    assert found["genes"] == ";".join(top)


def test_axes_by_over_representation_have_two_ends(adata, sets):
    adata.varm["X_sivae"][:, 0] *= -1
    table = tl.enrich(adata, sets, method="ora", n_top=20)
    chosen = adata.var_names[np.argsort(adata.varm["X_sivae"][:, 0])[:20]]
    expected = fisher(adata, chosen, sets["module 0"], adata.var_names)
    assert row(table, "axis1-", "module 0")["p"] == pytest.approx(expected.pvalue)
    assert row(table, "axis1+", "module 0")["p"] > 0.5
    adata.varm["X_sivae"][:, 1] = 0
    flat = tl.enrich(adata, sets, method="ora")
    assert (flat.loc[flat["group"].str.startswith("axis2"), "n_overlap"] == 0).all()


def test_hubs_both_ways(adata, sets):
    table = tl.enrich(adata, sets, of="hubs")
    assert table["set"][0] == "module 0" and set(table["group"]) == {"hubs"}
    ranks = tl.enrich(adata, sets, of="hubs", method="rank")
    assert row(ranks, "hubs", "module 1")["effect"] > 0.6


def test_neighbors_both_ways(adata, sets):
    gene = adata.var_names[adata.var["truth"] == 1][3]
    table = tl.enrich(adata, sets, of="neighbors", gene=gene)
    assert table["set"][0] == "module 1" and table["group"][0] == gene
    near = adata.var_names[adata.varp["sivae_distances"][adata.var_names.get_loc(gene)].indices]
    expected = fisher(adata, near, sets["module 1"], adata.var_names.drop(gene))
    assert table["p"][0] == pytest.approx(expected.pvalue)
    ranks = tl.enrich(adata, sets, of="neighbors", gene=gene, method="rank")
    v = correlation_of(read_space(adata))
    value = pd.Series(v @ v[adata.var_names.get_loc(gene)], adata.var_names).drop(gene)
    inside = value[[name for name in sets["module 1"] if name in value]]
    expected = mannwhitneyu(inside, value.drop(inside.index), method="asymptotic").pvalue
    assert row(ranks, gene, "module 1")["p"] == pytest.approx(expected)


def definition(value, members):
    """Subramanian et al. 2005, appendix: the running sum of a set, gene by gene, and where it is farthest from 0."""
    value = value.sort_index().sort_values(ascending=False, kind="stable")
    inside = value.index.isin(members)
    step = np.where(inside, value.abs() / value.abs()[inside].sum(), -1 / (~inside).sum())
    sums = np.cumsum(step)
    top = sums.max() >= -sums.min()
    at = int(np.argmax(sums) if top else np.argmin(sums))
    edge = value.index[: at + 1][inside[: at + 1]] if top else value.index[at + 1 :][inside[at + 1 :]][::-1]
    return sums[at], list(edge)


def test_the_running_sum_of_loadings_against_the_definition(adata, sets, monkeypatch):
    """The score over the mean of those of random sets of that size and sign, and how many are as far out."""
    sets["large"] = np.random.default_rng(9).choice(adata.var_names, 70, replace=False)
    table = tl.enrich(adata, sets, method="gsea", n_permutations=400)
    monkeypatch.setattr("sivae.tl._ranked.BLOCK", 500)  # the random sets come in several parts
    again = tl.enrich(adata, sets, method="gsea", n_permutations=400)
    pd.testing.assert_frame_equal(table, again)
    rng = np.random.default_rng(5)
    value = pd.Series(adata.varm["X_sivae"][:, 1], adata.var_names)
    for name in ("module 1", "random 0", "large"):
        score, edge = definition(value, sets[name])
        found = row(table, "axis2", name)
        assert found["genes"].split(";") == edge and found["n_overlap"] == len(edge)
        null = np.array(
            [definition(value, rng.choice(value.index, found["n_set"], replace=False))[0] for _ in range(400)]
        )
        null = null[np.sign(null) == np.sign(score)]
        assert found["effect"] == pytest.approx(score / abs(null).mean(), rel=0.15)
        assert found["p"] == pytest.approx((1 + (abs(null) >= abs(score)).sum()) / (1 + len(null)), abs=0.12)
    assert row(table, "axis2", "module 1")["p"] < 0.01 and row(table, "axis2", "module 1")["effect"] > 1.3
    flipped = adata.copy()
    flipped.varm["X_sivae"][:, 1] *= -1
    found = tl.enrich(flipped, sets, method="gsea", n_permutations=400)
    assert row(found, "axis2", "module 1")["effect"] < -1.3


def test_the_running_sum_of_random_sets_has_uniform_p(adata):
    rng = np.random.default_rng(2)
    sets = {str(i): rng.choice(adata.var_names, rng.integers(6, 30), replace=False) for i in range(150)}
    table = tl.enrich(adata, sets, method="gsea", n_permutations=300)
    assert (table["p"] <= 0.05).mean() < 0.07
    assert kstest(table.loc[table["group"] == "axis1", "p"], "uniform").pvalue > 0.01


def test_values_of_your_own(adata, sets):
    v = adata.varm["X_sivae"]
    values = pd.DataFrame(v[:, :2], adata.var_names, ["axis1", "axis2"])
    for method in ("rank", "ora", "gsea"):
        options = {"method": method, "n_top": 20, "n_permutations": 50}
        found = tl.enrich(adata, sets, of="values", values=values.sample(frac=1.0, random_state=0), **options)
        two = adata.copy()
        two.varm["X_two"] = v[:, :2]
        pd.testing.assert_frame_equal(found, tl.enrich(two, sets, use_rep="X_two", **options))
    series = tl.enrich(adata, sets, of="values", values=values["axis2"])
    assert set(series["group"]) == {"axis2"}
    assert set(tl.enrich(adata, sets, of="values", values=values["axis2"].rename(None))["group"]) == {"values"}


def test_genes_without_a_value_are_not_in_the_background(adata, sets):
    value = pd.Series(adata.varm["X_sivae"][:, 0], adata.var_names)
    value.iloc[::5] = np.nan
    left = value.dropna()
    table = tl.enrich(adata, sets, of="values", values=value)
    inside = left[[gene for gene in sets["module 0"] if gene in left]]
    expected = mannwhitneyu(inside, left.drop(inside.index), method="asymptotic")
    assert row(table, "values", "module 0")["p"] == pytest.approx(expected.pvalue)
    table = tl.enrich(adata, sets, of="values", values=value, method="ora", n_top=15)
    chosen = left.sort_values(ascending=False).index[:15]
    assert row(table, "values+", "module 0")["p"] == pytest.approx(
        fisher(adata, chosen, sets["module 0"], left.index).pvalue
    )


def test_feature_awareness_ranks_genes():
    """Genes of a planted factor are known to the latent layer, the others are not."""
    adata = planted(400, 60, n_factors=2, genes_per_factor=12, counts=False, seed=3)
    own = adata.var_names[adata.var["module"] != "none"]
    sets = {"factors": own, "others": adata.var_names.drop(own)[:20]}
    table = tl.feature_awareness(adata, use_rep="planted_v", cells_rep="planted_z", pca=True)
    found = tl.enrich(adata, sets, of="values", values=table, method="gsea", use_rep="planted_v")
    assert list(dict.fromkeys(found.sort_values("group")["group"])) == ["latent", "pca"]
    assert row(found, "latent", "factors")["effect"] > 1.3 and row(found, "latent", "factors")["p"] < 0.01
    # Values of one sign: no random ranking has its largest deviation at the low end, so weight=0 is for that.
    assert row(found, "latent", "others")["p"] == 1 and np.isnan(row(found, "latent", "others")["effect"])
    plain = tl.enrich(adata, sets, of="values", values=table, method="gsea", use_rep="planted_v", weight=0)
    assert row(plain, "latent", "others")["effect"] < -1.3 and row(plain, "latent", "others")["p"] < 0.02
    value = table[table["layer"] == "latent"].set_index("gene")["awareness"]
    assert row(found, "latent", "factors")["genes"].split(";") == definition(value, own)[1]
    grouped = tl.feature_awareness(adata, use_rep="planted_v", cells_rep="planted_z", groupby="group")
    groups = set(tl.enrich(adata, sets, of="values", values=grouped, use_rep="planted_v")["group"])
    assert groups == {f"latent, {name}" for name in adata.obs["group"].unique()}


def test_the_background_is_the_modelled_genes_unless_named(adata, sets):
    modelled = adata.var["truth"].to_numpy() != 3
    adata.var["sivae_modelled"] = modelled
    table = tl.enrich(adata, sets, of="modules")
    assert row(table, "module1", "module 0")["p"] == pytest.approx(
        fisher(adata, adata.var_names[adata.var["truth"] == 0], sets["module 0"], adata.var_names[modelled]).pvalue
    )
    assert "module 3" not in set(table["set"])
    named = [*adata.var_names[:60], "elsewhere"]
    table = tl.enrich(adata, sets, of="modules", background=named)
    assert row(table, "module1", "module 0")["p"] == pytest.approx(
        fisher(adata, adata.var_names[adata.var["truth"] == 0], sets["module 0"], adata.var_names[:60]).pvalue
    )


def test_sizes_of_sets(adata, sets):
    sets |= {"small": adata.var_names[:3], "large": adata.var_names[:100]}
    assert set(tl.enrich(adata, sets, max_size=90)["set"]) == {*sets} - {"small", "large"}
    assert {"small", "large"} <= set(tl.enrich(adata, sets, min_size=3)["set"])
    with pytest.raises(OptionError, match=r"None of 16 sets has 101 to 500.*the largest has 100"):
        tl.enrich(adata, sets, min_size=101)


def test_q_is_over_the_whole_table(adata, sets):
    from scipy.stats import false_discovery_control

    table = tl.enrich(adata, sets)
    np.testing.assert_allclose(table["q"], false_discovery_control(table["p"]))


def test_sets_without_meaning_are_rarely_called(adata):
    rng = np.random.default_rng(1)
    names = np.asarray(adata.var_names)
    calls = {of: 0 for of in ("axes", "modules", "hubs")}
    for _ in range(40):
        sets = {str(i): rng.choice(names, 12, replace=False) for i in range(20)}
        for of in calls:
            calls[of] += (tl.enrich(adata, sets, of=of)["q"] <= 0.05).any()
    assert max(calls.values()) <= 7, calls


def test_permuting_genes_changes_nothing(adata, sets):
    order = np.random.default_rng(3).permutation(120)
    gene = adata.var_names[5]
    for options in ({}, {"method": "ora"}, {"of": "modules"}, {"of": "hubs"}, {"of": "neighbors", "gene": gene}):
        pd.testing.assert_frame_equal(
            tl.enrich(adata[:, order].copy(), sets, **options), tl.enrich(adata, sets, **options)
        )


def test_from_the_file_alone_and_a_gmt(adata, sets, tmp_path):
    path = tmp_path / "a.gmt"
    path.write_text("".join("\t".join([name, "", *genes]) + "\n" for name, genes in sets.items()))
    ad.AnnData(obs=adata.obs, var=adata.var, varm=dict(adata.varm), uns=adata.uns).write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(tl.enrich(again, path), tl.enrich(adata, sets))
    pd.testing.assert_frame_equal(tl.enrich(again, path, of="modules"), tl.enrich(adata, sets, of="modules"))


def test_another_embedding(adata, sets):
    adata.varm["X_pca"] = adata.varm["X_sivae"][:, :2]
    table = tl.enrich(adata, sets, use_rep="X_pca")
    assert set(table["group"]) == {"axis1", "axis2"}


def test_no_module_at_all(adata, sets):
    adata.var["sivae_module"] = pd.Categorical(["unassigned"] * 120)
    assert len(tl.enrich(adata, sets, of="modules")) == 0


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"of": "cells"}, OptionError, "of is 'cells'"),
        ({"method": "mean"}, OptionError, "method is 'mean'"),
        ({"of": "modules", "method": "gsea"}, OptionError, "no order"),
        ({"of": "values"}, OptionError, "of='values' with no values"),
        ({"values": pd.Series({"G001": 1.0})}, OptionError, "of='axes' with values"),
        ({"of": "values", "values": [1.0]}, SetupError, "type list, expected a series or a frame"),
        ({"of": "values", "values": pd.Series({"G001": "high"})}, SetupError, "values are no numbers"),
        ({"of": "values", "values": pd.Series([1.0, 2.0], ["G001"] * 2)}, SetupError, "G001 more than once"),
        ({"of": "values", "values": pd.Series({"g001": 1.0})}, GeneMismatchError, "Index values by var_names"),
        ({"method": "gsea", "n_permutations": 0}, OptionError, "n_permutations is 0"),
        ({"method": "gsea", "weight": -1}, OptionError, "weight is -1"),
        ({"method": "gsea", "seed": 0.5}, OptionError, "seed is 0.5"),
        ({"of": "modules", "method": "rank"}, OptionError, "no order"),
        ({"of": "neighbors"}, OptionError, "Name a gene"),
        ({"gene": "G000"}, OptionError, "Name a gene"),
        ({"n_top": 0}, OptionError, "n_top is 0"),
        ({"of": "neighbors", "gene": "g001"}, GeneMismatchError, "Did you mean G001"),
        ({"background": "G001"}, OptionError, "expected a list of names"),
        ({"background": ["g001"]}, GeneMismatchError, "Did you mean G001"),
    ],
)
def test_options_that_cannot_work(adata, sets, options, error, text):
    with pytest.raises(error, match=text):
        tl.enrich(adata, sets, **options)


def test_what_is_missing_is_said(adata, sets):
    with pytest.raises(GeneMismatchError, match="but for the case"):
        tl.enrich(adata, {"a": [name.lower() for name in adata.var_names]})
    assert len(tl.enrich(adata, {"a": [name.lower() for name in adata.var_names[:9]]}, match_case=False)) == 4
    del adata.var["sivae_hub"], adata.varp["sivae_distances"]
    with pytest.raises(SetupError, match="Call sivae.tl.hubs"):
        tl.enrich(adata, sets, of="hubs")
    with pytest.raises(SetupError, match="Call sivae.tl.gene_neighbors"):
        tl.enrich(adata, sets, of="neighbors", gene=adata.var_names[0])


def test_random_sets_have_the_sizes_of_the_sets():
    """Without weights a set of 60 of 200 genes scores about a third of what one of 5 does."""
    score = _random(np.linspace(-1, 1, 200), np.array([60, 5, 60]), RunningSum(0.0, 300, np.random.default_rng(0)))
    large, small, again = np.abs(score).mean(axis=0)
    assert large == again and 2.2 < small / large < 4.0
