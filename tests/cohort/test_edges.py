"""Edges against a phenotype: least squares, SciPy and counting; planted edges found, none in noise."""

import numpy as np
import pandas as pd
import pytest
from individuals import made_samples
from scipy import sparse, stats
from scipy.stats import false_discovery_control, kstest, linregress, mannwhitneyu, spearmanr

from sivae._errors import GeneMismatchError, OptionError, SetupError
from sivae.cohort._edges import edges
from sivae.cohort._samples import relative_noise


@pytest.fixture(scope="module")
def made():
    return made_samples()


@pytest.fixture
def samples(made):
    return made.copy()


def run(samples, phenotype="severity", **options):
    return edges(samples, phenotype, **({"n_permutations": 999} | options))


def by_edge(samples, table):
    """Rows of the table in the order of the edges in uns."""
    known = samples.uns["sivae_cohort"]["edges"]
    return table.set_index(["gene_a", "gene_b"]).loc[list(zip(known["gene_a"], known["gene_b"], strict=True))]


def test_every_column_has_a_witness(samples):
    table = by_edge(samples, run(samples))
    x, strength = samples.obs["severity"].to_numpy(), samples.obsm["sivae_edge_strength"].astype(float)
    present = samples.obsm["sivae_edges"].toarray() > 0
    np.testing.assert_allclose(table["share"], present.mean(axis=0))
    np.testing.assert_allclose(table["mean"], strength.mean(axis=0))
    for e in range(0, len(table), 7):
        line, row = linregress(x, strength[:, e]), table.iloc[e]
        np.testing.assert_allclose(
            row[["effect", "se", "t"]].astype(float), [line.slope, line.stderr, line.slope / line.stderr]
        )
        assert row["rho"] == pytest.approx(spearmanr(x, strength[:, e]).statistic)
        assert row["low"] < row["effect"] < row["high"]
    np.testing.assert_allclose(table["q"], false_discovery_control(table["p"]))
    tested = table["p_presence"].notna()
    np.testing.assert_array_equal(tested, (present.sum(axis=0) >= 2) & ((~present).sum(axis=0) >= 2))
    np.testing.assert_allclose(table["q_presence"][tested], false_discovery_control(table["p_presence"][tested]))


def test_presence_is_the_rank_test_of_scipy(samples):
    samples.obs["age"] += np.arange(16) / 100  # no ties
    table = by_edge(samples, run(samples, "age"))
    age, present = samples.obs["age"].to_numpy(), samples.obsm["sivae_edges"].toarray() > 0
    assert len(set(age)) == 16 and table["p_presence"].notna().sum() > 20
    for e in np.flatnonzero(table["p_presence"].notna()):
        known = mannwhitneyu(age[present[:, e]], age[~present[:, e]], method="exact")
        assert table["p_presence"].iloc[e] == pytest.approx(known.pvalue)
        assert table["chance"].iloc[e] == pytest.approx(
            known.statistic / (present[:, e].sum() * (~present[:, e]).sum())
        )


def test_planted_edges_come_first(samples):
    table = run(samples, n_permutations=20_000)
    called = table[table["associated"]]
    changed = {f"gene{g:03d}" for g in range(10)}  # of connectivity, of expression that connectivity follows
    touched = called["gene_a"].isin(changed) | called["gene_b"].isin(changed)
    assert len(called) > 10 and touched.mean() > 0.9
    assert table["p"].is_monotonic_increasing


def test_order_by_presence(samples):
    table = run(samples, test="presence", min_share=0.25, fdr=0.1)
    tested = table["p_presence"].dropna()
    assert tested.is_monotonic_increasing and table["p_presence"].iloc[: len(tested)].notna().all()
    assert (table["associated"] == (table["q_presence"] <= 0.1)).all()
    assert table.attrs["least_individuals"] == 4
    assert table.attrs["n_presence_untested"] == len(table) - len(tested)
    assert (table["share"][: len(tested)].between(0.25, 0.75)).all()


def test_edges_among_some_genes(samples):
    whole = run(samples)
    genes = [f"gene{g:03d}" for g in range(20)]
    some = run(samples, genes=iter(genes))
    within = whole[whole["gene_a"].isin(genes) & whole["gene_b"].isin(genes)]
    assert 0 < len(some) < len(whole)
    pd.testing.assert_frame_equal(
        some.drop(columns=["q", "q_presence", "associated"]),
        within.drop(columns=["q", "q_presence", "associated"]).reset_index(drop=True),
    )
    np.testing.assert_allclose(some["q"], false_discovery_control(some["p"]))


def test_order_of_individuals_and_genes_and_edges(samples, rng):
    found = run(samples, covariates=["age", "sex"])
    moved = samples[rng.permutation(16), rng.permutation(60)].copy()
    order = rng.permutation(moved.obsm["sivae_edges"].shape[1])
    moved.obsm["sivae_edges"] = sparse.csr_matrix(moved.obsm["sivae_edges"][:, order])
    moved.obsm["sivae_edge_strength"] = moved.obsm["sivae_edge_strength"][:, order]
    moved.uns["sivae_cohort"] = samples.uns["sivae_cohort"] | {
        "edges": samples.uns["sivae_cohort"]["edges"].iloc[order]
    }
    pd.testing.assert_frame_equal(run(moved, covariates=["age", "sex"]), found)


def test_covariates_are_held_fixed(samples):
    samples.obs["depth"] = samples.obs["severity"] + 0.3 * np.random.default_rng(1).standard_normal(16)
    table = by_edge(samples, run(samples, covariates=["depth"]))
    strength = samples.obsm["sivae_edge_strength"].astype(float)
    design = np.column_stack([samples.obs[["severity", "depth"]], np.ones(16)])
    np.testing.assert_allclose(table["effect"], np.linalg.lstsq(design, strength, rcond=None)[0][0], atol=1e-8)


def test_an_edge_without_strength_in_someone_is_not_tested(samples):
    samples.obsm["sivae_edge_strength"][3, 5] = np.nan
    table = by_edge(samples, run(samples))
    assert table.iloc[5][["effect", "p", "q"]].isna().all() and not table["associated"].iloc[5]
    assert table["p"].notna().sum() == len(table) - 1


def test_nothing_is_found_in_nothing():
    p, called = [], 0
    for seed in range(30):
        samples = made_samples(12, 30, effect=0.0, n_changed=0, n_expression=0, seed=seed)
        samples.obs["noise"] = np.random.default_rng(seed).permutation(12).astype(float)
        table = run(samples, "noise", n_permutations=999)
        p.append(table["p"].to_numpy()[np.random.default_rng(seed).integers(len(table))])
        called += table["associated"].any()
    assert kstest(p, "uniform").pvalue > 0.01 and called <= 5


def test_refusals(samples):
    with pytest.raises(GeneMismatchError, match="Found no gene GENE001 among 60 genes. Did you mean gene001"):
        run(samples, genes=["GENE001"])
    with pytest.raises(OptionError, match="genes is 'gene001', one text"):
        run(samples, genes="gene001")
    with pytest.raises(OptionError, match="Found no edge between two of the 1 genes"):
        run(samples, genes=["gene001"])
    with pytest.raises(OptionError, match="test is 'both'; expected one of 'strength', 'presence'"):
        run(samples, test="both")
    with pytest.raises(OptionError, match="min_share is 0.6; expected a number from 0 to 0.5"):
        run(samples, min_share=0.6)
    with pytest.raises(OptionError, match="fdr is 1; expected"):
        run(samples, fdr=1)
    del samples.obsm["sivae_edge_strength"]
    with pytest.raises(SetupError, match="expected the strength of each edge"):
        run(samples)
    del samples.obsm["sivae_edges"]
    with pytest.raises(SetupError, match="Found no edges"):
        run(samples)


def test_noisy_individuals_count_less():
    """Half have three times the standard errors: weighted least squares, and p is at least that of t."""
    noisy = made_samples(16, 40, seed=3)
    error_sg = np.full(noisy.shape, 0.05)
    error_sg[::2] *= 3
    noisy.layers["projection_se"] = error_sg
    found = edges(noisy, "severity", n_permutations=999).sort_index()
    weight_s = 1 / (error_sg[:, 0] ** 2 / (error_sg[:, 0] ** 2).mean())
    weight_s = np.minimum(weight_s, 4 * np.median(weight_s))
    x_s = noisy.obs["severity"].to_numpy()
    root_s = np.sqrt(weight_s)
    listed = noisy.uns["sivae_cohort"]["edges"]
    place = {(a, b): e for e, (a, b) in enumerate(zip(listed["gene_a"], listed["gene_b"], strict=True))}
    for row in found.head(5).itertuples():
        y_s = noisy.obsm["sivae_edge_strength"][:, place[row.gene_a, row.gene_b]].astype(float)
        design = np.column_stack([np.ones(16), x_s]) * root_s[:, None]
        assert np.linalg.lstsq(design, y_s * root_s, rcond=None)[0][1] == pytest.approx(row.effect, rel=1e-6)
    assert (found["p"] >= 2 * stats.t.sf(found["t"].abs(), 14) - 1e-12).all()
    assert relative_noise(made_samples(16, 40), np.arange(16)) is None
