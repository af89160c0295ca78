"""Gene sets in the ranking by t: the definition by hand, planted sets, nulls in which genes move together."""

import numpy as np
import pandas as pd
import pytest
from individuals import made_samples
from scipy.stats import false_discovery_control, kstest, linregress

from sivae._errors import GeneMismatchError, OptionError, SetupError, SiVAEWarning
from sivae.cohort._gene_sets import gene_sets


@pytest.fixture(scope="module")
def made():
    return made_samples()


@pytest.fixture
def samples(made):
    return made.copy()


def names(*genes):
    return [f"gene{g:03d}" for g in genes]


def some_sets(n_sets=12, seed=1):
    rng = np.random.default_rng(seed)
    sets = {f"random{m:02d}": names(*rng.choice(np.arange(10, 60), 8, replace=False)) for m in range(n_sets)}
    return {"planted": [*names(0, 1, 2, 3, 4), "ABSENT"], **sets, "small": names(3, 4)}


def literal(t, members, weight):
    """Score and leading edge, gene by gene."""
    order = sorted(t.index, key=lambda gene: -t[gene])
    total, sums = sum(abs(t[gene]) ** weight for gene in members), [0.0]
    for gene in order:
        up = abs(t[gene]) ** weight / total if gene in members else -1 / (len(t) - len(members))
        sums.append(sums[-1] + up)
    high, low = int(np.argmax(sums)), int(np.argmin(sums))
    if sums[high] >= -sums[low]:
        return sums[high], [gene for gene in order[:high] if gene in members]
    return sums[low], [gene for gene in order[low:][::-1] if gene in members]


@pytest.mark.parametrize(("absolute", "weight"), [(False, 1.0), (True, 1.0), (False, 0.5)])
def test_scores_and_leading_edges_have_a_witness(samples, absolute, weight):
    sets = some_sets()
    table = gene_sets(samples, "severity", sets, absolute=absolute, weight=weight, n_permutations=99)
    lines = [linregress(samples.obs["severity"], row) for row in samples.layers["projection"].T]
    t = pd.Series([line.slope / line.stderr for line in lines], samples.var_names)
    t = t.abs() if absolute else t
    assert set(table.index) == set(sets) - {"small"}
    for name, row in table.iterrows():
        members = set(sets[name]) - {"ABSENT"}
        score, leading = literal(t, members, weight)
        if not absolute or score > 0:
            assert row["es"] == pytest.approx(score)
            assert row["leading_edge"].split(";") == leading and row["n_leading"] == len(leading)
        assert row["n_genes"] == len(members)
    np.testing.assert_allclose(table["q"], false_discovery_control(table["p"]))
    assert table["p"].is_monotonic_increasing and (table["es"] >= 0).all() >= absolute


@pytest.mark.parametrize("absolute", [False, True])
def test_the_planted_set_is_found(samples, absolute):
    table = gene_sets(samples, "severity", some_sets(), absolute=absolute, n_permutations=2000)
    first = table.iloc[0]
    assert table.index[0] == "planted" and first["q"] < 0.05 and first["n_genes"] == 5
    assert (first["es"] > 0.8) if absolute else (first["es"] < -0.8)
    assert set(first["leading_edge"].split(";")) == set(names(0, 1, 2, 3, 4))
    assert (table["q"].iloc[1:] > 0.05).all()
    assert (table["nes"].abs().iloc[0] > 1.2) and table.attrs["absolute"] == absolute


def in_step(samples, seed):
    """Genes of a set move together, whatever the phenotype."""
    rng = np.random.default_rng(seed)
    n, layer = samples.n_obs, "projection"
    samples.layers[layer] = np.repeat(rng.standard_normal((n, 6)), 10, axis=1) + 0.5 * rng.standard_normal((n, 60))
    samples.obs["noise"], samples.obs["other"] = rng.standard_normal((2, n))
    return samples


@pytest.mark.parametrize("options", [{}, {"absolute": True}, {"covariates": ["other"]}])
def test_nothing_is_found_in_nothing(samples, options):
    sets = {"together": names(*range(10)), "too": names(*range(10, 20))}
    p = [gene_sets(in_step(samples, s), "noise", sets, n_permutations=99, **options).loc["too", "p"] for s in range(60)]
    assert kstest(p, "uniform").pvalue > 0.01


def test_order_of_individuals_and_genes(samples, rng):
    options = {"covariates": ["age", "sex"], "n_permutations": 99}
    found = gene_sets(samples, "severity", some_sets(), **options)
    moved = samples[rng.permutation(16), rng.permutation(60)].copy()
    pd.testing.assert_frame_equal(gene_sets(moved, "severity", some_sets(), **options), found)


def test_a_file_and_symbols_of_another_case(samples, tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_text("planted\tlost\t" + "\t".join(name.upper() for name in names(0, 1, 2, 3, 4)) + "\n")
    table = gene_sets(samples, "severity", path, match_case=False, n_permutations=99)
    assert table.index.tolist() == ["planted"] and table["n_genes"].iloc[0] == 5
    with pytest.raises(GeneMismatchError):
        gene_sets(samples, "severity", path, n_permutations=99)


def test_genes_that_cannot_be_ranked(samples):
    samples.layers["projection"][:, 20] = 1.0
    samples.layers["projection"][3, 21] = np.nan
    table = gene_sets(samples, "severity", {"a": names(*range(20, 30))}, n_permutations=99)
    assert table.attrs["unranked"] == names(20, 21) and table.loc["a", "n_genes"] == 8


def test_individuals_left_out(samples):
    samples.obs.loc["donor03", "age"] = np.nan
    with pytest.warns(SiVAEWarning, match="1 of 16 individuals are left out .*donor03"):
        table = gene_sets(samples, "age", some_sets(), n_permutations=99)
    assert table.attrs["left_out"] == ["donor03"] and table.attrs["n_individuals"] == 15


def test_a_perfect_fit_is_a_number(samples):
    samples.layers["projection"][:, :5] = samples.obs["severity"].to_numpy()[:, None]
    table = gene_sets(samples, "severity", some_sets(), n_permutations=99)
    assert np.isfinite(table[["es", "p"]]).all().all()
    assert table.loc["planted", "es"] == pytest.approx(1) and table.loc["planted", "p"] == table["p"].min()


def test_refusals(samples):
    with pytest.raises(OptionError, match="None of 14 sets has 50 to 500 of the 60 ranked genes"):
        gene_sets(samples, "severity", some_sets(), min_genes=50)
    with pytest.raises(OptionError, match="weight is -1; expected a number of 0 or more"):
        gene_sets(samples, "severity", some_sets(), weight=-1)
    with pytest.raises(OptionError, match="Found gene sets of type list"):
        gene_sets(samples, "severity", [names(1)])
    with pytest.raises(SetupError, match="obs has no column 'sevrity'"):
        gene_sets(samples, "sevrity", some_sets())
