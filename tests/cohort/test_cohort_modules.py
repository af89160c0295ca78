"""Connectivity of modules: means over pairs one by one, planted modules, the null."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from individuals import made_samples
from scipy.stats import false_discovery_control, kstest, linregress, spearmanr

from sivae._errors import OptionError, SetupError, SiVAEWarning
from sivae.cohort._modules import modules


def with_modules(seed=0, loss=0.6, n=16):
    """Three modules of 12 genes, each along an axis and pointing both ways; the first falls apart with severity."""
    samples = made_samples(n, 60, seed=seed)
    rng = np.random.default_rng(seed)
    position = 0.05 * rng.standard_normal((n, 60, 4))
    for m in range(3):
        sign = np.where(np.arange(12) % 4 == 3, -1.0, 1.0)
        size = 1.0 - (loss * samples.obs["severity"].to_numpy() if m == 0 else 0.0) + 0.03 * rng.standard_normal(n)
        position[:, 12 * m : 12 * m + 12, m] += size[:, None] * sign
    samples.obsm["sivae_positions"] = position.astype(np.float32)
    label = np.repeat(["module1", "module2", "module10", "unassigned", "unassigned"], 12)
    samples.var["sivae_module"] = pd.Categorical(label)
    samples.uns["sivae_cohort"]["genes"] = samples.var_names.to_numpy()
    return samples


def test_means_over_pairs():
    samples = with_modules()
    values = modules(samples)
    order = ["module1", "module2", "module10"]
    assert values.columns.tolist() == [f"{a}-{b}" for i, a in enumerate(order) for b in order[i:]]
    sign = np.where(np.arange(60) % 4 == 3, -1.0, 1.0)
    v = samples.obsm["sivae_positions"].astype(float) * sign[:, None]
    for s in (0, 9):
        within = np.mean([v[s, g] @ v[s, h] for g, h in combinations(range(12), 2)])
        between = np.mean([v[s, g] @ v[s, h] for g in range(12) for h in range(24, 36)])
        assert values["module1-module1"].iloc[s] == pytest.approx(within, rel=1e-5)
        assert abs(values["module1-module10"].iloc[s]) == pytest.approx(abs(between), rel=1e-5)
    assert (values["module2-module2"] > 0.8).all()  # genes of both directions do not cancel


def test_the_planted_module_is_found_and_no_other():
    samples = with_modules()
    table = modules(samples, "severity", n_permutations=9_999)
    first = table.iloc[0]
    assert (first["module_a"], first["module_b"], first["n_a"], first["n_b"]) == ("module1", "module1", 12, 12)
    assert first["q"] < 0.01 and first["effect"] < 0 and first["high"] < 0
    assert (table["q"].iloc[1:] > 0.05).all() and len(table) == 6
    values, x = modules(samples), samples.obs["severity"]
    line = linregress(x, values["module1-module1"])
    assert first["effect"] == pytest.approx(line.slope) and first["t"] == pytest.approx(line.slope / line.stderr)
    assert first["rho"] == pytest.approx(spearmanr(x, values["module1-module1"]).statistic)
    assert first["mean"] == pytest.approx(values["module1-module1"].mean())
    np.testing.assert_allclose(table["q"], false_discovery_control(table["p"]))


def test_modules_from_elsewhere(rng):
    samples = with_modules()
    expected = modules(samples, "severity", n_permutations=99)
    label = samples.var["sivae_module"].astype(str)
    own = label[label != "unassigned"].to_dict()
    pd.testing.assert_frame_equal(modules(samples, "severity", own, n_permutations=99), expected)
    own["gene050"] = "alone"
    columns = modules(samples, modules=pd.Series(own)).columns
    assert "alone-alone" not in columns and "alone-module1" in columns


def test_order_of_individuals_and_genes(rng):
    samples = with_modules()
    moved = samples[rng.permutation(16), rng.permutation(60)].copy()
    options = {"phenotype": "age", "covariates": ["sex"], "n_permutations": 999}
    pd.testing.assert_frame_equal(modules(moved, **options), modules(samples, **options), rtol=1e-6)


def test_nothing_is_found_in_nothing():
    samples, p = with_modules(loss=0.0), []
    for seed in range(60):
        samples.obs["noise"] = np.random.default_rng(seed).standard_normal(16)
        table = modules(samples, "noise", n_permutations=199).set_index(["module_a", "module_b"])
        p.append(table.loc[("module2", "module2"), "p"])
    assert kstest(p, "uniform").pvalue > 0.01


def test_genes_taken_out():
    """AnnData does not carry genes of obsm along: by name where names are known, else refused."""
    samples = with_modules()
    kept = samples[:, 12:].copy()
    pd.testing.assert_frame_equal(modules(kept), modules(samples).iloc[:, 3:], check_exact=False)
    del kept.uns["sivae_cohort"]["genes"]
    with pytest.raises(SetupError, match="has 60 genes and samples has 48"):
        modules(kept)


def test_an_individual_without_positions_is_left_out():
    samples = with_modules()
    samples.obsm["sivae_positions"][3] = np.nan
    with pytest.warns(SiVAEWarning, match="no values: donor03"):
        table = modules(samples, "severity", n_permutations=99)
    assert table.attrs["left_out"] == ["donor03"] and table["p"].notna().all()


def test_refusals():
    samples = with_modules()
    samples.var["sivae_module"] = "unassigned"
    with pytest.raises(OptionError, match="Every one of the 60 genes is 'unassigned'"):
        modules(samples, "severity")
    del samples.var["sivae_module"]
    with pytest.raises(SetupError, match=r"modules is 'sivae_module'; expected a column of var.*sivae\.tl\.modules"):
        modules(samples, "severity")
    del samples.obsm["sivae_positions"]
    with pytest.raises(SetupError, match="expected the position of each gene"):
        modules(samples, "severity", {"gene000": "a", "gene001": "a"})
