"""Individuals: heat maps, maps and graphs, what is drawn is what individuals x genes hold."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from associations import made_association, made_edges, made_power, made_sets, mapped
from drawn import all_texts, cut, inside, points, same_points, words_apart, written
from individuals import made_samples
from matplotlib.colors import to_hex, to_rgba
from matplotlib.patches import PathPatch

from sivae import _keys, pl
from sivae._errors import GeneMismatchError, OptionError, SetupError
from sivae.pl import _points, _style

GENES = [f"gene{g:03d}" for g in (3, 20, 7, 40, 1, 55)]


def made(n=16):
    samples = mapped(made_samples(n, 60))
    samples.obs["region"] = pd.Categorical(np.array(["north", "south", "east and far away"])[np.arange(n) % 3])
    samples.var["complex"] = pd.Categorical(np.array(["CO", "ND", "ATP", "none"])[np.arange(60) % 4])
    samples.obs.loc["donor03", "age"] = np.nan
    return samples


@pytest.fixture(scope="module")
def _samples():
    return made()


@pytest.fixture
def samples(_samples):
    return _samples.copy()


@pytest.fixture(scope="module")
def cohorts():
    return {n: made(n) for n in (16, 40)}


def image(ax):
    return np.ma.filled(ax.images[0].get_array().astype(float), np.nan)


def ticks(ax, axis):
    return [tick.get_text() for tick in getattr(ax, f"get_{axis}ticklabels")()]


def strip(ax):
    """Colors of the strip above."""
    return ax.child_axes[0].images[0].get_array()[0]


# -------------------------------------------------------------------------------------------------------------- layout

PLOTS = {
    "association": lambda s, ax: pl.association(made_association(s), ax=ax),
    "association of a binary": lambda s, ax: pl.association(
        made_association(s, "phenotype"), effect="relative_effect", ax=ax
    ),
    "connectivity": lambda s, ax: pl.connectivity(s, GENES, by="severity", ax=ax),
    "connectivity of all": lambda s, ax: pl.connectivity(s, list(s.var_names), by="age", annotate=GENES, ax=ax),
    "a gene": lambda s, ax: pl.gene_association(s, "gene001", "severity", ax=ax),
    "a gene by category": lambda s, ax: pl.gene_association(s, "gene001", "region", ax=ax),
    "network": lambda s, ax: pl.network_difference(s, by="severity", ax=ax),
    "map": lambda s, ax: pl.individuals(s, "severity", ax=ax),
    "map of categories": lambda s, ax: pl.individuals(s, "region", ax=ax),
    "similarity": lambda s, ax: pl.similarity(s, "region", ax=ax),
    "edges": lambda s, ax: pl.edge_association(s, made_edges(s), by="age", ax=ax),
    "strength of edges": lambda s, ax: pl.edge_association(
        s, made_edges(s), by="phenotype", values="strength", ax=ax
    ),
    "classes": lambda s, ax: pl.edge_classes(s, made_edges(s), "complex", ax=ax),
    "sets": lambda s, ax: pl.gene_set_association(made_sets(), ax=ax),
    "power": lambda s, ax: pl.power(made_power(), ax=ax),
}  # fmt: skip


@pytest.mark.parametrize(
    ("n", "width"),
    [(40, 3.5), *(pytest.param(*size, marks=pytest.mark.slow) for size in ((16, 3.5), (16, 7), (40, 7)))],
)
@pytest.mark.parametrize("plot", PLOTS)
def test_no_two_texts_overlap_and_none_is_cut(cohorts, plot, n, width):
    figure, ax = plt.subplots(figsize=(width, 3.8), layout="constrained")
    PLOTS[plot](cohorts[n], ax)
    texts = written(figure)
    assert len(texts) >= 3 and words_apart(texts) and not cut(figure, texts)


def test_names_from_the_data_are_drawn_literally(samples):
    samples.var_names = [r"$\alpha_" + name for name in samples.var_names]
    samples.obs_names = [f"a_$b$^{name}" for name in samples.obs_names]
    table = samples.uns["sivae_cohort"]["edges"]
    samples.uns["sivae_cohort"]["edges"] = table.assign(**{side: r"$\alpha_" + table[side] for side in table})
    gene = samples.var_names[0]
    for drawn in (
        pl.connectivity(samples, list(samples.var_names[:3])),
        pl.individuals(samples),
        pl.edge_association(samples, made_edges(samples), n_edges=3),
        pl.network_difference(samples, by="severity"),
        pl.gene_association(samples, gene, "age")[0],
    ):
        drawn.figure.canvas.draw()
        named = [text for text in all_texts(drawn.figure) if "$" in text.get_text()]
        assert named and not any(text.get_parse_math() for text in named)


# -------------------------------------------------------------------------------------------------------- connectivity


def test_genes_are_standardized_and_individuals_ordered_by_the_phenotype(samples):
    ax = pl.connectivity(samples, GENES, by="severity", order="given")
    assert ticks(ax, "y") == GENES
    order = np.lexsort((samples.obs_names, samples.obs["severity"]))
    assert ticks(ax, "x") == list(samples.obs_names[order])
    value = samples[:, GENES].layers["projection"][order].T
    assert np.allclose(image(ax), (value - value.mean(axis=1)[:, None]) / value.std(axis=1)[:, None])
    assert np.allclose(ax.images[0].get_clim(), np.array([-1, 1]) * np.abs(image(ax)).max())
    viridis = plt.get_cmap("viridis")
    assert np.allclose(strip(ax), viridis(samples.obs["severity"].to_numpy()[order]))


def test_the_raw_values_of_another_layer(samples):
    samples.layers["degree"][2, 20] = np.nan
    ax = pl.connectivity(samples, GENES, layer="degree", standardize=False, order="given")
    assert np.array_equal(image(ax), samples[:, GENES].layers["degree"].T, equal_nan=True)
    assert ticks(ax, "x") == list(samples.obs_names) and not ax.child_axes
    value = samples[:, GENES].layers["degree"].T
    wanted = (value - np.nanmean(value, axis=1)[:, None]) / np.nanstd(value, axis=1)[:, None]
    drawn = image(pl.connectivity(samples, GENES, layer="degree", order="given"))
    assert np.allclose(drawn, np.clip(wanted, -3, 3), equal_nan=True)


def test_clusters_put_genes_alike_side_by_side(samples):
    ax = pl.connectivity(samples, list(samples.var_names[[30, 0, 31, 1, 32, 2, 33, 3, 34, 4]]), by="severity")
    place = [ticks(ax, "y").index(f"gene00{g}") for g in range(5)]
    assert np.ptp(place) == 4
    for row, name in enumerate(ticks(ax, "y")):
        value = samples[:, name].layers["projection"][:, 0]
        order = np.lexsort((samples.obs_names, samples.obs["severity"]))
        assert np.allclose(image(ax)[row], ((value - value.mean()) / value.std())[order])


def test_categories_and_missing_ones_in_the_strip(samples):
    ax = pl.connectivity(samples, GENES, by="region")
    code = np.sort(samples.obs["region"].cat.codes)
    assert [to_hex(color) for color in strip(ax)] == [_style.OKABE_ITO[c].lower() for c in code]
    legend = ax.child_axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["east and far away", "north", "south"]
    assert legend.get_title().get_text() == "region"
    ax = pl.connectivity(samples, GENES, by="age")
    assert ticks(ax, "x")[-1] == "donor03" and to_hex(strip(ax)[-1]) == _points.MISSING.lower()
    assert ax.child_axes[0].get_legend().get_texts()[-1].get_text() == "missing"


def test_genes_asked_for_are_named_at_their_rows(samples):
    ax = pl.connectivity(samples, list(samples.var_names), by="severity", annotate=GENES, order="given")
    assert {text.get_text(): text.xy[1] for text in ax.texts} == {g: samples.var_names.get_loc(g) for g in GENES}
    assert ticks(ax, "y") == []
    order = sorted(ax.texts, key=lambda text: text.xy[1])
    ax.figure.canvas.draw()
    tops = [super(type(t), t).get_window_extent().y1 for t in order]
    assert tops == sorted(tops, reverse=True)


def test_many_genes_are_counted_instead_of_named(samples):
    _, ax = plt.subplots(figsize=(3.5, 3), layout="constrained")
    pl.connectivity(samples, list(samples.var_names), by="severity", ax=ax)
    assert ticks(ax, "y") == [] and ax.get_ylabel() == "60 genes"


@pytest.mark.parametrize("height", [3.0, 3.6])
def test_long_names_and_many_levels_leave_names_readable(samples, height):
    samples.obs_names = [f"PATIENT_2021_visit_{i:04d}" for i in range(16)]
    samples.obs["center"] = [f"center number {i % 11}" for i in range(16)]
    figure, ax = plt.subplots(figsize=(3.5, height), layout="constrained")
    pl.connectivity(samples, list(samples.var_names[:8]), by="center", ax=ax)
    texts = written(figure)
    assert words_apart(texts) and min(text.get_fontsize() for text in texts) >= 5
    above = ax.child_axes[0].get_window_extent()
    assert above.height == pytest.approx(0.1 * figure.dpi) and above.width == pytest.approx(ax.bbox.width)


def test_the_order_of_individuals_and_genes_does_not_matter(samples):
    other = samples[::-1, ::-1].copy()
    first, second = (pl.connectivity(s, g, by="region") for s, g in ((samples, GENES), (other, GENES[::-1])))
    assert ticks(first, "y") == ticks(second, "y") and ticks(first, "x") == ticks(second, "x")
    assert np.allclose(image(first), image(second))


def test_connectivity_says_what_is_not_there(samples):
    with pytest.raises(OptionError, match="empty list of genes"):
        pl.connectivity(samples, [])
    with pytest.raises(OptionError, match=r"genes is 'gene001', one text"):
        pl.connectivity(samples, "gene001")
    with pytest.raises(GeneMismatchError, match=r"2 of 3 genes are not among those modelled \(A, B\)"):
        pl.connectivity(samples, ["A", "gene001", "B"])
    with pytest.raises(OptionError, match="'clusters', 'given'"):
        pl.connectivity(samples, GENES, order="name")
    with pytest.raises(OptionError, match="by='dose'"):
        pl.connectivity(samples, GENES, by="dose")


# --------------------------------------------------------------------------------------------------- map and similarity


def test_the_map_is_drawn_at_one_scale_in_the_colors_of_the_phenotype(samples):
    ax = pl.individuals(samples, "severity")
    same_points(points(ax), samples.obsm["X_sivae_map"])
    part = next(part for part in ax.collections if part.get_array() is not None)
    at = {tuple(xy): value for xy, value in zip(part.get_offsets(), part.get_array(), strict=True)}
    for xy, value in zip(samples.obsm["X_sivae_map"], samples.obs["severity"], strict=True):
        assert at[tuple(xy)] == value
    ax.figure.canvas.draw()
    unit = [np.ptp(limits) / size for limits, size in ((ax.get_xlim(), ax.bbox.width), (ax.get_ylim(), ax.bbox.height))]
    assert unit[0] == pytest.approx(unit[1], rel=0.02)
    names = {text.get_text() for text in ax.texts}
    assert names <= set(samples.obs_names) and len(names) > 10 and inside(ax, ax.texts)


def test_a_gene_colors_individuals_and_missing_ones_are_grey(samples):
    ax = pl.individuals(samples, "gene004", layer="norm", labels=["donor05"])
    part = next(part for part in ax.collections if part.get_array() is not None)
    assert np.allclose(np.sort(part.get_array()), np.sort(samples.layers["norm"][:, 4]))
    assert [text.get_text() for text in ax.texts] == ["donor05"]
    ax = pl.individuals(samples, "age", labels=[])
    grey = [part for part in ax.collections if len(part.get_offsets()) and part.get_array() is None]
    same_points(grey[0].get_offsets(), samples.obsm["X_sivae_map"][[3]])
    assert not ax.texts


def test_a_map_that_is_not_there_says_what_to_call(samples):
    with pytest.raises(OptionError, match="axes=\\(0, 2\\), expected two of 0 to 1"):
        pl.individuals(samples, axes=(0, 2))
    with pytest.raises(OptionError, match="color='dose', expected a gene or a column"):
        pl.individuals(samples, "dose")
    with pytest.raises(OptionError, match="unknown individuals in labels: donor99"):
        pl.individuals(samples, labels=["donor99"])
    del samples.obsm["X_sivae_map"], samples.obsp["sivae_similarity"]
    with pytest.raises(SetupError, match=r"Call sivae\.cohort\.individuals_map\(samples\)"):
        pl.individuals(samples)
    with pytest.raises(SetupError, match=r"Call sivae\.cohort\.similarity\(samples\)"):
        pl.similarity(samples)


def test_similarities_are_in_the_order_of_the_phenotype(samples):
    ax = pl.similarity(samples, "age")
    order = np.lexsort((samples.obs_names, samples.obs["age"]))
    assert ticks(ax, "x") == ticks(ax, "y") == list(samples.obs_names[order])
    wanted = samples.obsp["sivae_similarity"][np.ix_(order, order)]
    np.fill_diagonal(wanted, np.nan)
    assert np.allclose(image(ax), wanted, equal_nan=True)


def test_clusters_of_individuals_alike(samples):
    ax = pl.similarity(samples, "phenotype", order="clusters")
    other = pl.similarity(samples[::-1].copy(), "phenotype", order="clusters")
    names = ticks(ax, "x")
    assert names == ticks(other, "x") and sorted(names) == sorted(samples.obs_names)
    case = samples.obs["phenotype"][names].to_numpy() == "case"
    assert (np.diff(case.astype(int)) != 0).sum() == 1
    colors = [_style.OKABE_ITO[int(c)].lower() for c in case]
    assert [to_hex(color) for color in strip(ax)] == colors
    with pytest.raises(OptionError, match="order='phenotype' and by=None"):
        pl.similarity(samples, order="phenotype")


# ---------------------------------------------------------------------------------------------------------------- edges


def test_edges_with_the_least_p_are_drawn_with_who_has_them(samples):
    table = made_edges(samples)
    ax = pl.edge_association(samples, table, by="severity", n_edges=12)
    best = table.index[:12].astype(int)
    names = [f"{a} - {b}" for a, b in table.iloc[:12][["gene_a", "gene_b"]].to_numpy()]
    assert sorted(ticks(ax, "y")) == sorted(names)
    order = np.lexsort((samples.obs_names, samples.obs["severity"]))
    rows = [best[names.index(name)] for name in ticks(ax, "y")]
    assert np.array_equal(image(ax), samples.obsm["sivae_edges"].toarray()[order][:, rows].T)
    ax = pl.edge_association(samples, table, by="severity", values="strength", n_edges=12)
    rows = [best[names.index(name)] for name in ticks(ax, "y")]
    assert np.allclose(image(ax), samples.obsm["sivae_edge_strength"][order][:, rows].T)


def test_an_edge_is_known_whichever_gene_comes_first(samples):
    table = made_edges(samples)[["gene_a", "gene_b"]].iloc[4:9]
    turned = table.rename(columns={"gene_a": "gene_b", "gene_b": "gene_a"})
    first, second = (pl.edge_association(samples, t) for t in (table, turned))
    assert ticks(first, "y") == ticks(second, "y") and np.array_equal(image(first), image(second))
    with pytest.raises(SetupError, match="edges that no individual has: gene000 - A"):
        pl.edge_association(samples, pd.DataFrame({"gene_a": ["gene000"], "gene_b": ["A"]}))
    with pytest.raises(SetupError, match="a table without edges"):
        pl.edge_association(samples, table.iloc[:0])
    del samples.obsm[_keys.EDGES]
    with pytest.raises(SetupError, match=r"no obsm\['sivae_edges'\]"):
        pl.edge_association(samples, table)


@pytest.mark.parametrize("direction", ["both", "lost", "gained"])
def test_classes_of_edges_that_go_with_the_phenotype_are_counted(samples, direction):
    if direction == "gained":
        samples.obs["severity"] *= -1  # connectivity is lost with severity
    table = made_edges(samples)
    ax = pl.edge_classes(samples, table, "complex", direction=direction)
    other = {"lost": "gained", "gained": "lost"}.get(direction)
    if other:
        with pytest.raises(OptionError, match=f"No edge is associated and {other}"):
            pl.edge_classes(samples, table, "complex", direction=other)
    wanted = table["q"] <= 0.05
    assert wanted.sum() > 10
    if direction != "both":
        size = np.abs(samples.obsm["sivae_edge_strength"][:, table.index.astype(int)])
        slope = np.array([np.polyfit(samples.obs["severity"], y, 1)[0] for y in size.T])
        wanted &= (slope > 0) == (direction == "gained")
    ends = [samples.var["complex"].astype(str)[table.loc[wanted, side]].to_numpy() for side in ("gene_a", "gene_b")]
    pairs = [tuple(sorted(pair)) for pair in zip(*ends, strict=True) if "none" not in pair]
    total = {name: sum(name in pair for pair in pairs) for pair in pairs for name in pair}
    assert sorted(text.get_text() for text in ax.texts) == sorted(f"{name} ({n})" for name, n in total.items())
    assert len([part for part in ax.patches if isinstance(part, PathPatch)]) == len(set(pairs))
    with pytest.raises(OptionError, match="No edge is there with a q of at most"):
        pl.edge_classes(samples, table, "complex", fdr=1e-40)


# ------------------------------------------------------------------------------------------------------------- networks


def kinds(samples, low, high):
    """Edges of two groups, worked out plainly."""
    present = pd.DataFrame(samples.obsm["sivae_edges"].toarray(), index=samples.obs_names)
    before, after = (present.loc[names].mean() >= 0.5 for names in (low, high))
    return {"lost": before & ~after, "gained": after & ~before, "kept": before & after}


def segments(ax):
    return {part.get_gid(): part for part in ax.collections if part.get_gid() in ("lost", "gained", "kept")}


def test_edges_lost_gained_and_kept_between_two_groups(samples):
    low, high = ["donor00", "donor01", "donor02"], ["donor13", "donor14", "donor15"]
    ax = pl.network_difference(samples, low, high, n_edges=10_000)
    wanted = kinds(samples, low, high)
    drawn = segments(ax)
    assert {kind: len(part.get_segments()) for kind, part in drawn.items()} == {
        k: int(v.sum()) for k, v in wanted.items()
    }
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == [f"{kind} ({wanted[kind].sum()})" for kind in ("lost", "gained", "kept")]
    assert to_hex(drawn["lost"].get_colors()[0]) == _style.LOW.lower()
    assert to_hex(drawn["gained"].get_colors()[0]) == _style.HIGH.lower()
    strength = pd.DataFrame(np.abs(samples.obsm["sivae_edge_strength"]), index=samples.obs_names)
    change = (strength.loc[high].mean() - strength.loc[low].mean()).abs()
    most = change[wanted["lost"] | wanted["gained"]].max()
    for kind in ("lost", "gained"):
        widths = np.sort(drawn[kind].get_linewidths())
        assert np.allclose(widths, np.sort(0.6 + 2 * change[wanted[kind]] / most))


def test_genes_with_most_changed_edges_are_named(samples):
    low, high = list(samples.obs_names[:8]), list(samples.obs_names[8:])
    ax = pl.network_difference(samples, low, high, n_edges=10_000, n_labels=4)
    wanted, table = kinds(samples, low, high), samples.uns["sivae_cohort"]["edges"]
    changed = table[(wanted["lost"] | wanted["gained"]).to_numpy()]
    degree = pd.concat([changed["gene_a"], changed["gene_b"]]).value_counts()
    names = [text.get_text() for text in ax.texts]
    assert names and all(degree[name] >= degree.sort_values().iloc[-4] for name in names)
    assert inside(ax, ax.texts)


def test_extremes_of_a_phenotype_with_those_of_the_same_value(samples):
    ax = pl.network_difference(samples, by="severity", n_extremes=3)
    assert ax.get_title(loc="left") == "severity: lowest 8 to highest 3"
    other = pl.network_difference(samples, list(samples.obs_names[:8]), list(samples.obs_names[-3:]))
    for kind, part in segments(ax).items():
        assert np.allclose(part.get_segments(), segments(other)[kind].get_segments())
    ax = pl.network_difference(samples, by="phenotype", n_extremes=1)
    assert ax.get_title(loc="left") == "phenotype: control (8) to case (8)"
    shuffled = pl.network_difference(samples[::-1, ::-1].copy(), by="phenotype", n_extremes=1)
    for kind, part in segments(ax).items():
        assert np.allclose(part.get_segments(), segments(shuffled)[kind].get_segments(), atol=1e-6)


def test_at_most_so_many_edges_each_kind_in_proportion(samples):
    whole, part = (pl.network_difference(samples, by="severity", n_edges=n) for n in (10_000, 40))
    all_n, some_n = ({k: len(v.get_segments()) for k, v in segments(ax).items()} for ax in (whole, part))
    total = sum(all_n.values())
    assert total > 80 and abs(sum(some_n.values()) - 40) <= 2
    assert all(abs(some_n[kind] - 40 * n / total) <= 0.5 for kind, n in all_n.items())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({}, "neither low, high nor by"),
        ({"low": ["donor00"]}, "Found low, expected two lists"),
        ({"low": ["donor00"], "high": ["donor01"], "by": "age"}, "Found low, high, by"),
        ({"low": ["donor00", "donor01"], "high": ["donor01"]}, "donor01 in both low and high"),
        ({"low": ["donor77"], "high": ["donor01"]}, "unknown individuals in low: donor77"),
        ({"low": [], "high": ["donor01"]}, r"low=\[\], expected a list of individuals"),
        ({"by": "severity", "n_extremes": 12}, "are not two groups"),
        ({"by": "region"}, "3 categories without an order"),
    ],
)
def test_groups_that_are_none_are_refused(samples, call, words):
    with pytest.raises(OptionError, match=words):
        pl.network_difference(samples, **call)


def test_a_network_of_one_group_twice_changes_nothing(samples):
    present = samples.obsm["sivae_edges"].toarray()
    present[8:] = present[:8]
    samples.obsm["sivae_edges"] = present
    ax = pl.network_difference(samples, list(samples.obs_names[:8]), list(samples.obs_names[8:]))
    assert set(segments(ax)) == {"kept"} and not ax.texts
    samples.obsm["sivae_edges"] = np.zeros_like(present)
    with pytest.raises(OptionError, match="No edge is in half"):
        pl.network_difference(samples, by="phenotype")


def test_two_colors_say_who_has_an_edge(samples):
    ax = pl.edge_association(samples, made_edges(samples), by="severity")
    assert ax.images[0].get_cmap()(1.0) == to_rgba(_style.HIGH)
    assert ax.get_xlabel().endswith("blue: edge there")
