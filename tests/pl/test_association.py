"""What goes with a phenotype: genes, one gene, gene sets, and the power to find it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from associations import made_association, made_power, made_sets
from drawn import inside, points, same_points, words_apart
from individuals import made_samples
from matplotlib.colors import to_hex, to_rgba
from scipy import stats

from sivae import _keys, pl
from sivae._errors import GeneMismatchError, OptionError, SetupError
from sivae.pl import _style


@pytest.fixture(scope="module")
def _samples():
    return made_samples()


@pytest.fixture
def samples(_samples):
    return _samples.copy()


@pytest.fixture
def table(samples):
    return made_association(samples)


def by_label(ax):
    """Places of the points of each label."""
    parts = [part for part in ax.collections if not part.get_label().startswith("_")]
    return {part.get_label(): np.asarray(part.get_offsets()) for part in parts}


def line(ax, gid):
    return next((part for part in ax.lines if part.get_gid() == gid), None)


# --------------------------------------------------------------------------------------------------------- association


@pytest.mark.parametrize("effect", ["effect", "relative_effect"])
def test_genes_are_drawn_by_effect_and_evidence_in_the_colors_of_their_verdicts(table, effect):
    ax = pl.association(table, effect=effect)
    wanted = np.column_stack([table[effect], -np.log10(table["p"])])
    same_points(points(ax), wanted)
    drawn = by_label(ax)
    for verdict, number in table["verdict"].value_counts().items():
        same_points(drawn[verdict], wanted[table["verdict"] == verdict])
        assert f"{verdict} ({number})" in [text.get_text() for text in ax.get_legend().get_texts()]
    colors = {part.get_label(): to_hex(part.get_facecolors()[0]) for part in ax.collections}
    assert len({colors[v] for v in ("associated", "follows mean expression", "not associated")}) == 3
    assert colors["associated"] == _style.LOW.lower() and colors["not associated"] == "#bfbfbf"


def test_the_line_lies_at_the_largest_p_that_is_found(table):
    for fdr in (0.05, 1e-12, 0.9):
        found = table["p"][table["q"] <= fdr]
        drawn = line(pl.association(table, fdr=fdr), "fdr")
        assert np.allclose(drawn.get_ydata(), -np.log10(found.max()))
    table.attrs["fdr"] = 1e-30
    ax = pl.association(table)
    assert line(ax, "fdr") is None and ax.get_title(loc="left") == "none at a false discovery rate of 1e-28 %"


def test_associated_genes_are_named_first(table):
    ax = pl.association(table, n_labels=5)
    associated = set(table.index[table["verdict"] == "associated"])
    assert len(associated) == 5 and {text.get_text() for text in ax.texts} <= associated and len(ax.texts) >= 4
    at = dict(zip(table.index, np.column_stack([table["effect"], -np.log10(table["p"])]), strict=True))
    assert all(np.allclose(text.xy, at[text.get_text()]) for text in ax.texts)
    assert inside(ax, ax.texts)


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"phenotype": "age", "kind": "numeric"}, "change of connectivity per unit of age"),
        ({"phenotype": "stage", "kind": "ordered"}, "change of connectivity per step of stage"),
        ({"kind": "binary", "levels": ["control", "case"]}, "change of connectivity, case - control"),
        ({}, "change of connectivity per unit of the phenotype"),
    ],
)  # fmt: skip
def test_the_axis_says_what_an_effect_is(table, attrs, words):
    table.attrs = attrs
    assert pl.association(table).get_xlabel().replace("\n", " ") == words
    assert pl.association(table, effect="relative_effect").get_xlabel().replace("\n", " ") == f"relative {words}"


def test_genes_that_were_not_tested_are_left_out(table):
    table.loc["gene001", ["effect", "p", "q"]] = np.nan
    table.loc["gene001", "verdict"] = "untested"
    assert len(points(pl.association(table))) == len(table) - 1
    table[["p", "q"]] = np.nan
    with pytest.raises(SetupError, match="no gene with a finite effect and p"):
        pl.association(table)


def test_the_order_of_genes_changes_nothing_but_the_order(table):
    first, second = pl.association(table), pl.association(table.iloc[::-1])
    same_points(points(first), points(second))
    assert sorted(text.get_text() for text in first.texts) == sorted(text.get_text() for text in second.texts)


def test_another_table_is_refused(table):
    with pytest.raises(SetupError, match=r"without the column q.*sivae\.cohort\.associate"):
        pl.association(table.drop(columns="q"))
    with pytest.raises(OptionError, match="'relative_effect'"):
        pl.association(table, effect="rho")


# ----------------------------------------------------------------------------------------------------- gene_association


def test_a_gene_is_drawn_beside_its_mean_expression(samples):
    samples.obs.loc["donor03", "age"] = np.nan
    left, right = pl.gene_association(samples, "gene007", "age")
    known = samples.obs["age"].notna().to_numpy()
    x, at = samples.obs["age"][known], samples.var_names.get_loc("gene007")
    for ax, layer in ((left, _keys.PROJECTION), (right, _keys.MEAN_EXPRESSION)):
        y = samples.layers[layer][known, at]
        same_points(points(ax), np.column_stack([x, y]))
        assert f"rho {stats.spearmanr(x, y).statistic:.2f}" in ax.get_title(loc="left")
        drawn, fit = line(ax, "line"), stats.linregress(x, y)
        assert np.allclose(drawn.get_ydata(), fit.intercept + fit.slope * drawn.get_xdata())
    assert left.get_title(loc="left").startswith("gene007\n")
    assert (left.get_ylabel(), right.get_ylabel()) == ("connectivity", "mean expression")


def test_error_bars_are_the_standard_errors(samples):
    left, right = pl.gene_association(samples, "gene002", "severity")
    bars = next(part for part in left.collections if hasattr(part, "get_segments"))
    half = sorted(np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments())
    assert np.allclose(half, np.sort(samples.layers["projection_se"][:, 2]))
    assert not any(hasattr(part, "get_segments") for part in right.collections)


def test_the_band_is_that_of_the_mean_of_least_squares(samples):
    left, _ = pl.gene_association(samples, "gene030", "age", confidence=0.9)
    x, y = samples.obs["age"].to_numpy(), samples.layers["projection"][:, 30]
    design = np.column_stack([np.ones(len(x)), x])
    coefficient, rest = np.linalg.lstsq(design, y, rcond=None)[:2]
    covariance = np.linalg.inv(design.T @ design) * rest[0] / (len(x) - 2)
    band = next(part for part in left.collections if hasattr(part, "set_verts"))
    path = band.get_paths()[0].vertices
    for at in (x.min(), x.max()):
        row = np.array([1.0, at])
        width = stats.t.ppf(0.95, len(x) - 2) * np.sqrt(row @ covariance @ row)
        drawn = path[np.isclose(path[:, 0], at), 1]
        assert np.allclose([drawn.min(), drawn.max()], [row @ coefficient - width, row @ coefficient + width])


def test_categories_are_boxes_with_their_points(samples):
    left, right = pl.gene_association(samples, "gene006", "phenotype")
    code = samples.obs["phenotype"].cat.codes.to_numpy()
    for ax, layer in ((left, "projection"), (right, "mean_expression")):
        y = samples.layers[layer][:, 6]
        drawn = points(ax)
        assert np.array_equal(np.round(drawn[:, 0]), code) and np.allclose(drawn[:, 1], y)
        medians = sorted(part.get_ydata()[0] for part in ax.lines if part.get_linewidth() == 1.8)
        assert np.allclose(medians, sorted(np.median(y[code == level]) for level in (0, 1)))
        assert f"rho {stats.spearmanr(code, y).statistic:.2f}" in ax.get_title(loc="left")
        ticks = [tick.get_text().split("\n") for tick in ax.get_xticklabels()]
        assert ticks == [["control", "(8)"], ["case", "(8)"]]


def test_categories_without_an_order_have_no_correlation(samples):
    samples.obs["region"] = pd.Categorical(np.array(["north", "south", "east"])[np.arange(16) % 3])
    left, _ = pl.gene_association(samples, "gene006", "region")
    assert left.get_title(loc="left") == "gene006\n16 individuals"
    samples.obs["region"] = samples.obs["region"].cat.as_ordered()
    left, _ = pl.gene_association(samples, "gene006", "region")
    rho = stats.spearmanr(samples.obs["region"].cat.codes, samples.layers["projection"][:, 6]).statistic
    assert left.get_title(loc="left") == f"gene006\nrho {rho:.2f}"


def test_a_level_called_none_keeps_its_place(samples):
    stage = np.array(["none", "mild", "severe"])[np.searchsorted([0.1, 0.7], samples.obs["severity"])]
    samples.obs["stage"] = pd.Categorical(stage, categories=["none", "mild", "severe"], ordered=True)
    left, _ = pl.gene_association(samples, "gene001", "stage")
    assert [tick.get_text().split("\n")[0] for tick in left.get_xticklabels()] == ["none", "mild", "severe"]
    rho = stats.spearmanr(samples.obs["stage"].cat.codes, samples.layers["projection"][:, 1]).statistic
    assert rho < -0.8 and left.get_title(loc="left") == f"gene001\nrho {rho:.2f}"


def test_both_parts_have_the_same_x(samples):
    left, right = pl.gene_association(samples, "gene001", "severity")
    assert np.allclose(left.get_xlim(), right.get_xlim())


def test_what_is_not_there_is_named(samples):
    with pytest.raises(GeneMismatchError, match=r"1 of 1 genes are not among those modelled \(MT-CO1\)"):
        pl.gene_association(samples, "MT-CO1", "age")
    with pytest.raises(OptionError, match=r"phenotype='dose', expected a column of samples\.obs: severity"):
        pl.gene_association(samples, "gene001", "dose")
    with pytest.raises(OptionError, match=r"layer='betweenness', expected one of: .*projection"):
        pl.gene_association(samples, "gene001", "age", layer="betweenness")
    samples.obs["age"] = np.nan
    with pytest.raises(OptionError, match=r"obs\['age'\] missing for every individual"):
        pl.gene_association(samples, "gene001", "age")


# ----------------------------------------------------------------------------------------------------------- gene sets


def test_gene_sets_are_ranked_bars_in_the_color_of_their_direction():
    table = made_sets(10)
    ax = pl.gene_set_association(table, n_sets=6, fdr=0.2)
    shown = table.loc[table["p"].sort_values(kind="stable").index[:6]].sort_values("nes", ascending=False)
    assert np.allclose([bar.get_width() for bar in ax.patches], shown["nes"])
    for bar, nes, q in zip(ax.patches, shown["nes"], shown["q"], strict=True):
        assert bar.get_facecolor() == to_rgba(_style.HIGH if nes > 0 else _style.LOW, 1.0 if q <= 0.2 else 0.35)
    assert [text.get_text() for text in ax.texts] == [f"{q:.2g}" for q in shown["q"]]
    short = [str(name) for name in shown["set"] if len(name) < 12]
    ticks = [tick.get_text() for tick in ax.get_yticklabels()]
    assert all(any(tick.startswith(f"{name} (") for tick in ticks) for name in short)


def test_gene_sets_may_be_the_index():
    table = made_sets(10)
    other = table.set_index("set").rename(columns={"n": "n_genes"})
    first, second = pl.gene_set_association(table), pl.gene_set_association(other)
    for ax in (first, second):
        assert [bar.get_width() for bar in ax.patches] == sorted(table["nes"], reverse=True)
    names = [[tick.get_text() for tick in ax.get_yticklabels()] for ax in (first, second)]
    assert names[0] == names[1]
    with pytest.raises(SetupError, match="without the column n"):
        pl.gene_set_association(table.drop(columns="n"))


@pytest.mark.parametrize("sign", [1, -1])
def test_gene_sets_of_one_direction_have_room_for_their_numbers(sign):
    table = made_sets(10)
    table["nes"] = sign * table["nes"].abs()
    _, ax = plt.subplots(figsize=(3.5, 3), layout="constrained")
    pl.gene_set_association(table, ax=ax)
    assert inside(ax, ax.texts)
    with pytest.raises(SetupError, match="no set with a finite nes"):
        pl.gene_set_association(table.assign(nes=np.nan))


# --------------------------------------------------------------------------------------------------------------- power


def test_power_is_a_line_for_each_number_of_individuals():
    table = made_power()
    ax = pl.power(table)
    same_points(points(ax), table[["cells", "power"]].to_numpy())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["10", "20", "40", "80"]
    assert np.allclose(line(ax, "target").get_ydata(), 0.8) and np.allclose(line(ax, "type1").get_ydata(), 0.048)
    dotted = sum(part.get_linestyle() == ":" for part in ax.lines)
    assert dotted == 4 + 3 * 1
    dots = [part for part in ax.collections if not hasattr(part, "set_verts") and len(part.get_offsets())]
    fills = [part.get_facecolors() for part in dots]
    hollow = sum((np.asarray(part) == to_rgba("white")).all(axis=1).sum() for part in fills)
    assert hollow == table["extrapolated"].sum()
    bands = [part.get_paths()[0].vertices for part in ax.collections if hasattr(part, "set_verts")]
    rows = table[table["individuals"] == 20]
    band = next(b for b in bands if np.isclose(b[:, 1].max(), rows["power_high"].max()))
    for cells, low, high in rows[["cells", "power_low", "power_high"]].to_numpy():
        drawn = band[np.isclose(band[:, 0], cells), 1]
        assert np.allclose([drawn.min(), drawn.max()], [low, high])


def test_one_effect_is_asked_for_where_there_are_several():
    table = made_power((0.5, 1.0))
    with pytest.raises(OptionError, match=r"effect=None, expected one of those in the table: 0\.5, 1\."):
        pl.power(table)
    ax = pl.power(table, effect=1)
    same_points(points(ax), table.loc[table["effect"] == 1, ["cells", "power"]].to_numpy())
    with pytest.raises(SetupError, match="without rows"):
        pl.power(table.iloc[:0])


def test_many_numbers_of_cells_do_not_touch():
    table = pd.concat([made_power().assign(cells=lambda t, k=k: t["cells"] + k) for k in range(0, 40, 7)])
    _, ax = plt.subplots(figsize=(3.5, 3), layout="constrained")
    pl.power(table, ax=ax)
    assert len(ax.get_xticklabels()) >= 3 and words_apart(ax.get_xticklabels())
