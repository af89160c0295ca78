"""Hubs, modules and the graph of genes: what is drawn is what the tools wrote."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from drawn import all_texts, inside, points, same_points, words_apart
from gene_spaces import planted_space
from matplotlib.patches import PathPatch
from scipy import sparse

from sivae import pl, tl
from sivae._errors import GeneMismatchError, OptionError, SetupError
from sivae.graph._layout import strongest_edges

HOSTILE = "$x$ a_b^c"


@pytest.fixture(scope="module")
def _space():
    adata = planted_space(n_modules=3, size=12, n_null=20, n_cells=120)
    adata.X = sparse.csr_matrix(np.random.default_rng(0).poisson(1.0, adata.shape).astype(np.float32))
    adata.obs["group"] = pd.Categorical(np.array(["one", "two", "three"])[np.arange(120) % 3])
    adata.var["sivae_module"] = pd.Categorical(
        [f"module{t + 1}" if t >= 0 else "unassigned" for t in adata.var["truth"]],
        categories=["module1", "module2", "module3", "unassigned"],
    )
    adata.var["sivae_module_stability"] = np.where(adata.var["truth"] >= 0, 0.8, np.nan)
    tl.hubs(adata)
    tl.module_scores(adata)
    return adata


@pytest.fixture
def adata(_space):
    return _space.copy()


# ---------------------------------------------------------------------------------------------------------------- hubs


def test_hubs_are_drawn_by_score_and_evidence(adata):
    ax = pl.hubs(adata)
    p = np.maximum(adata.var["sivae_connected_pvalue"], 1e-50)
    same_points(points(ax), np.column_stack([-np.log10(p), adata.var["sivae_hub_score"]]))
    counts = [text.get_text() for text in ax.get_legend().get_texts()]
    hub, connected = adata.var["sivae_hub"].sum(), adata.var["sivae_connected"].sum()
    assert counts == [f"not connected ({56 - connected})", f"connected ({connected - hub})", f"hub ({hub})"]
    assert {text.get_text() for text in ax.texts} <= set(adata.var_names[adata.var["sivae_hub"]])
    threshold = next(line for line in ax.lines if line.get_linestyle() == "--").get_xdata()[0]
    assert np.isclose(threshold, -np.log10(p[adata.var["sivae_connected"]].max()))
    assert words_apart(ax.texts) and inside(ax, ax.texts)


def test_without_evidence_hubs_are_drawn_by_rank(adata):
    del adata.var["sivae_connected_pvalue"]
    ax = pl.hubs(adata)
    drawn = points(ax)
    order = np.argsort(drawn[:, 0])
    assert drawn[order, 0].tolist() == list(range(1, 57))
    assert (np.diff(drawn[order, 1]) <= 0).all()


# ------------------------------------------------------------------------------------------------------------- modules


def test_modules_are_drawn_with_their_genes_edges_and_names(adata):
    ax = pl.modules(adata)
    assert len(points(ax)) == 36
    assert sorted(text.get_text() for text in ax.texts) == ["module1 (12)", "module2 (12)", "module3 (12)"]
    assert words_apart(ax.texts) and inside(ax, ax.texts)
    graph = strongest_edges(adata.varp["sivae_connectivities"].tocsr(), 4)
    rows = np.flatnonzero(adata.var["truth"] >= 0)
    segments = next(part for part in ax.collections if hasattr(part, "get_segments")).get_segments()
    within = strongest_edges(sparse.csr_matrix(adata.varp["sivae_connectivities"][rows][:, rows]), 4)
    assert len(segments) == within.nnz // 2 <= graph.nnz


def test_genes_of_a_module_lie_together(adata):
    ax = pl.modules(adata)
    groups = [part.get_offsets() for part in ax.collections if hasattr(part, "get_sizes")]
    centers = np.array([np.mean(xy, axis=0) for xy in groups])
    apart = np.linalg.norm(centers[:, None] - centers[None], axis=2)[np.triu_indices(3, 1)].min()
    spread = max(np.linalg.norm(xy - xy.mean(axis=0), axis=1).mean() for xy in groups)
    assert apart > 2 * spread


def test_module_network_has_sizes_and_ties(adata):
    ax = pl.module_network(adata)
    assert sorted(text.get_text() for text in ax.texts) == ["module1 (12)", "module2 (12)", "module3 (12)"]
    graph, truth = adata.varp["sivae_connectivities"].toarray(), adata.var["truth"].to_numpy()
    ties = {(a, b): graph[np.ix_(truth == a, truth == b)].mean() for a in range(3) for b in range(a + 1, 3)}
    widths = sorted(line.get_linewidth() for line in ax.lines)
    wanted = sorted(max(7 * tie / max(ties.values()), 0.2) for tie in ties.values() if tie > 0)
    assert np.allclose(widths, wanted)


def test_sizes_and_stability_are_bars(adata):
    adata.var.loc[adata.var["truth"] == 1, "sivae_module_stability"] = 0.4
    ax = pl.module_sizes(adata)
    assert [bar.get_width() for bar in ax.patches] == [12, 12, 12]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["module1", "module2", "module3"]
    viridis = plt.get_cmap("viridis")
    assert np.allclose(
        [bar.get_facecolor() for bar in ax.patches], [viridis(0.8), viridis(0.4), viridis(0.8)], atol=0.01
    )


def test_scores_are_means_over_groups(adata):
    ax = pl.module_scores(adata, "group")
    rows = [tick.get_text() for tick in ax.get_yticklabels()]
    assert sorted(rows) == ["one", "three", "two"]
    wanted = adata.obsm["X_sivae_modules"].groupby(adata.obs["group"], observed=True).mean().loc[rows]
    assert np.allclose(ax.images[0].get_array(), wanted)


def test_edges_between_classes_are_ribbons(adata):
    ax = pl.chord(adata, "sivae_module", within=True)
    graph, truth = adata.varp["sivae_connectivities"], adata.var["truth"].to_numpy()
    edges = sparse.triu(graph.maximum(graph.T), 1).tocoo()
    a, b = truth[edges.row], truth[edges.col]
    kept = (a >= 0) & (b >= 0)
    pairs = {tuple(sorted(pair)) for pair in zip(a[kept], b[kept], strict=True)}
    assert len([part for part in ax.patches if isinstance(part, PathPatch)]) == len(pairs)
    total = {m: int(((a == m) & (b >= 0)).sum() + ((b == m) & (a >= 0) & (a != m)).sum()) for m in range(3)}
    assert sorted(text.get_text() for text in ax.texts) == [f"module{m + 1} ({total[m]})" for m in range(3)]


def test_many_small_classes_are_named_without_overlap(adata):
    adata.var["class"] = [f"a long name of class {i % 18}" for i in range(adata.n_vars)]
    ax = pl.chord(adata, "class")
    assert words_apart(ax.texts) and inside(ax, ax.texts) and len(ax.texts) > 6


# --------------------------------------------------------------------------------------------------------- neighborhood


@pytest.mark.parametrize("width", [3.5, 7.0])
def test_neighbors_are_those_of_the_tool_and_names_are_apart(adata, width):
    gene = adata.var_names[3]
    nearest = tl.neighbors_of(adata, gene)
    figure, ax = plt.subplots(figsize=(width, 3.2), layout="constrained")
    network, heat = pl.neighborhood(adata, gene, n_neighbors=8, groupby="group", ax=ax)
    assert network is ax and network.figure is figure
    names = [tick.get_text() for tick in heat.get_yticklabels()]
    assert names == [gene, *nearest["neighbor"].head(8)]
    assert {text.get_text() for text in network.texts} <= set(names)
    assert words_apart(network.texts) and inside(network, network.texts)
    assert words_apart(heat.get_yticklabels()) and words_apart(heat.get_xticklabels())
    frame = figure.bbox
    for text in [*heat.get_yticklabels(), *heat.get_xticklabels()]:
        box = text.get_window_extent()
        assert box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0


def test_lines_are_as_wide_as_the_implied_correlation(adata):
    gene = adata.var_names[3]
    network, _ = pl.neighborhood(adata, gene, n_neighbors=5)
    wanted = 0.4 + 4 * np.abs(tl.neighbors_of(adata, gene, n_neighbors=5)["correlation"])
    lines = [part for part in network.collections if part.get_gid() in ("positive", "negative")]
    widths = np.concatenate(
        [
            np.array(part.get_linewidths())[[bool(np.allclose(s[0], 0)) for s in part.get_segments()]]
            for part in lines
            if part.get_segments()
        ]
    )
    assert np.allclose(np.sort(widths), np.sort(wanted))


def test_expression_is_standardised_over_groups(adata):
    gene = adata.var_names[3]
    adata.uns["sivae"]["setup"] = {"normalize": "none", "layer": ""}
    _, heat = pl.neighborhood(adata, gene, n_neighbors=3, groupby="group")
    genes = [tick.get_text() for tick in heat.get_yticklabels()]
    mean = adata.to_df()[genes].groupby(adata.obs["group"], observed=True).mean()
    mean = mean.loc[[tick.get_text() for tick in heat.get_xticklabels()]].to_numpy().T
    wanted = (mean - mean.mean(axis=1, keepdims=True)) / mean.std(axis=1, keepdims=True)
    assert np.allclose(heat.images[0].get_array(), wanted, atol=1e-5)


def test_cells_go_from_low_to_high_prediction(adata):
    gene = adata.var_names[3]
    _, heat = pl.neighborhood(adata, gene, n_neighbors=3)
    assert heat.images[0].get_array().shape == (4, 60)


# --------------------------------------------------------------------------------------------------------------- names


def test_hostile_names_are_drawn_literally(adata):
    adata.var_names = [HOSTILE, *adata.var_names[1:]]
    names = {f"module{i}": f"$m_{i}$" for i in range(1, 4)}
    adata.var["sivae_module"] = adata.var["sivae_module"].cat.rename_categories(names)
    adata.obs["group"] = adata.obs["group"].cat.rename_categories({"one": "$\\frac{1}$"})
    tl.module_scores(adata)
    pl.modules(adata), pl.module_network(adata), pl.module_sizes(adata), pl.module_scores(adata, "group")
    pl.chord(adata, within=True), pl.hubs(adata, n_labels=30)
    pl.neighborhood(adata, HOSTILE, groupby="group"), pl.neighborhood(adata, HOSTILE)
    seen = 0
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
        held = [t for t in all_texts(plt.figure(number)) if "$" in t.get_text() and "mathdefault" not in t.get_text()]
        assert not any(text.get_parse_math() for text in held)
        seen += len(held)
    assert seen > 12


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda a: pl.hubs(drop(a, var="sivae_hub_score")), SetupError, r"sivae\.tl\.hubs\(adata\)"),
        (lambda a: pl.modules(drop(a, var="sivae_module")), SetupError, r"sivae\.tl\.modules\(adata\)"),
        (lambda a: pl.modules(drop(a, varp="sivae_connectivities")), SetupError, r"sivae\.tl\.gene_neighbors\(adata\)"),
        (lambda a: pl.module_sizes(unassigned(a)), SetupError, "No gene is in a module"),
        (lambda a: pl.module_scores(drop(a, obsm="X_sivae_modules"), "group"), SetupError, "scores of modules"),
        (lambda a: pl.module_scores(a, "nope"), OptionError, "groupby='nope'.*group"),
        (lambda a: pl.chord(a, "nope"), OptionError, "groupby='nope'.*truth"),
        (lambda a: pl.chord(unassigned(a)), OptionError, "within=True"),
        (lambda a: pl.neighborhood(a, "NOPE"), GeneMismatchError, "Found no gene NOPE"),
        (lambda a: pl.neighborhood(a, "G001", n_neighbors=99), OptionError, "n_neighbors=99, expected 1 to"),
        (lambda a: pl.neighborhood(drop(a, varp="sivae_distances"), "G001"), SetupError, "gene_neighbors"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do(adata, call, error, words):
    with pytest.raises(error, match=words):
        call(adata)
    assert plt.get_fignums() == []


def drop(adata, **keys):
    for where, key in keys.items():
        del getattr(adata, where)[key]
    return adata


def unassigned(adata):
    adata.var["sivae_module"] = pd.Categorical(["unassigned"] * adata.n_vars)
    return adata


@pytest.mark.parametrize("name", ["hubs", "modules", "module_network", "module_sizes", "chord"])
def test_axes_given_are_drawn_into(adata, name):
    _, ax = plt.subplots(figsize=(3.5, 3.0), layout="constrained")
    before = plt.get_fignums()
    options = {"within": True} if name == "chord" else {}
    assert getattr(pl, name)(adata, ax=ax, **options) is ax
    assert plt.get_fignums() == before
