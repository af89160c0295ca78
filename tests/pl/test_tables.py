"""Plots of tables that the tools return, and pictures in files."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from annotated import annotated
from drawn import all_texts, inside, points, same_points, words_apart

from sivae import pl, tl
from sivae._errors import ArtefactError, OptionError, SetupError

DECODED = pd.DataFrame(
    {
        "group": ["a", "a", "b"], "gene": ["$g$", "h", "h"], "bias": [1.0, 2.0, 3.0], "covariates": [0.0, 0.1, 0.2],
        "axis1": [0.5, -0.5, 0.7], "remainder": [0.1, 0.2, 0.3],
    }
).assign(predictor=lambda t: t[["bias", "covariates", "axis1", "remainder"]].sum(axis=1))  # fmt: skip


def encoded(n=20):
    rng = np.random.default_rng(0)
    genes = ["(baseline)", *[f"$g_{i}$" for i in range(n)], "(other genes)"]
    rows = [
        pd.DataFrame({"cell": "c1", "axis": axis, "gene": genes, "linear": rng.normal(size=n + 2), "nonlinear": 0.1})
        for axis in ("axis1", "axis2")
    ]
    return pd.concat(rows, ignore_index=True).assign(total=lambda t: t["linear"] + t["nonlinear"])


def bars(ax):
    return [bar.get_width() for bar in ax.patches]


def ticks(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


# -------------------------------------------------------------------------------------------------------- contributions


def test_parts_of_a_prediction(tmp_path):
    ax = pl.contributions(DECODED, "a", gene="h")
    assert ticks(ax) == ["covariates", "axis1", "remainder"]
    assert bars(ax) == [0.1, -0.5, 0.2]
    assert ax.get_title(loc="left") == "h in a\nbias 2.00, sum 1.80"
    assert bars(pl.contributions(DECODED, "b")) == [0.2, 0.7, 0.3]


def test_parts_of_a_position_sum_to_it():
    table = encoded()
    ax = pl.contributions(table, axis="axis2", n_genes=5)
    rows = table[table["axis"] == "axis2"]
    assert np.isclose(sum(bars(ax)), rows["total"].sum())
    assert ax.get_title(loc="left") == f"c1, axis2\nposition {rows['total'].sum():.2f}"
    genes = rows[~rows["gene"].str.startswith("(")].set_index("gene")["total"]
    largest = genes.loc[genes.abs().sort_values(ascending=False).index[:5]].sort_values(ascending=False)
    assert ticks(ax) == [*largest.index, "(other genes)", "(baseline)"]
    assert np.allclose(bars(ax)[:5], largest)
    linear = next(line for line in ax.lines if line.get_gid() == "linear").get_xdata()
    assert np.allclose(linear[:5], rows.set_index("gene")["linear"][largest.index])


def test_contributions_of_a_model_are_drawn(nb_model, counts_adata):
    table = tl.contributions(counts_adata, nb_model, genes=nb_model.genes[:2], groupby="batch")
    gene = nb_model.genes[1]
    group = str(table["group"].iloc[0])
    ax = pl.contributions(table, group, gene=gene)
    row = table[(table["group"] == group) & (table["gene"] == gene)].iloc[0]
    assert np.allclose(bars(ax), row[ticks(ax)].astype(float))
    assert np.isclose(sum(bars(ax)) + row["bias"], row["predictor"])


# ------------------------------------------------------------------------------------------------------------- variance


def test_explained_variance_by_axis_layer_and_gene():
    by_axis = pd.DataFrame({"axis": ["axis1", "axis2"], "explained": [0.3, 0.1], "alone": [0.3, 0.1]})
    ax = pl.explained_variance(by_axis)
    assert [bar.get_height() for bar in ax.patches] == [0.3, 0.1]
    assert np.allclose(next(line for line in ax.lines if line.get_label() == "sum so far").get_ydata(), [0.3, 0.4])
    ax = pl.explained_variance(pd.DataFrame({"layer": ["linear", "noise"], "explained": [0.2, 0.8]}))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["linear", "noise"]
    by_gene = pd.DataFrame({"gene": list("abc"), "linear": [0.1, 0.1, np.nan], "full": [0.2, 0.9, 0.9]})
    ax = pl.explained_variance(by_gene)
    full, linear = ax.patches
    area = [np.ptp(patch.get_path().vertices[:, 1]) for patch in (full, linear)]
    assert area == [2, 2]


# ------------------------------------------------------------------------------------------------------------- scatters


def test_awareness_of_two_layers():
    genes = [f"GENE{i}" for i in range(30)]
    rng = np.random.default_rng(0)
    parts = {layer: rng.uniform(size=30) for layer in ("latent", "full")}
    table = pd.concat([pd.DataFrame({"layer": k, "gene": genes, "share": v}) for k, v in parts.items()])
    ax = pl.awareness(table, n_labels=5)
    same_points(points(ax), np.column_stack([parts["latent"], parts["full"]]))
    far = np.argsort(-np.abs(parts["full"] - parts["latent"]))[:5]
    assert {text.get_text() for text in ax.texts} <= {genes[i] for i in far}
    assert words_apart(ax.texts) and inside(ax, ax.texts)
    with pytest.raises(OptionError, match=r"pca=True"):
        pl.awareness(table, ("latent", "pca"))
    with pytest.raises(OptionError, match="group=None"):
        pl.awareness(table.assign(group="a"))
    assert len(points(pl.awareness(table.assign(group="a"), group="a"))) == 30


def test_loadings_against_another_account():
    adata = annotated()
    rng = np.random.default_rng(0)
    adata.varm["PCs"] = np.column_stack([rng.normal(size=60), -(adata.varm["X_sivae"][:, 1] ** 3)])
    ax = pl.loading_scatter(adata, 1)
    same_points(points(ax), np.column_stack([adata.varm["X_sivae"][:, 1], adata.varm["PCs"][:, 1]]))
    assert ax.get_title(loc="left") == "rank correlation -1.00"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("loading on axis 2", "PCs, axis 2")
    frame = pd.DataFrame(adata.varm["X_sivae"][::-1], index=adata.var_names[::-1], columns=["a", "b", "c"])
    ax = pl.loading_scatter(adata, 0, 1, other=frame)
    same_points(points(ax), adata.varm["X_sivae"][:, :2])
    with pytest.raises(OptionError, match="other_axis is 3"):
        pl.loading_scatter(adata, 0, 3, other=frame)
    with pytest.raises(SetupError, match="nope"):
        pl.loading_scatter(adata, other="nope")


# ------------------------------------------------------------------------------------------------------------ agreement


def test_methods_are_in_the_order_of_their_tree():
    value = np.array([[1, 0.1, 0.9, 0.2], [0.1, 1, 0.2, 0.8], [0.9, 0.2, 1, 0.1], [0.2, 0.8, 0.1, 1]])
    table = pd.DataFrame(value, index=["$a$", "b", "c", "d"], columns=["$a$", "b", "c", "d"])
    heat, tree = pl.attribution_similarity(table)
    order = ticks(heat)
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({"$a$", "c"}), frozenset({"b", "d"})}
    assert np.allclose(heat.images[0].get_array(), table.loc[order, order])
    tops = sorted(max(line.get_ydata()) for line in tree.lines)
    assert np.allclose(tops, [0.1, 0.2, 0.85])  # average linkage by hand
    numbers = {text.get_text() for text in heat.texts}
    assert {"1.00", "0.90", "0.80"} <= numbers


def apart(xy):
    return np.linalg.norm(xy[:, None] - xy[None, :], axis=2)


def test_methods_that_agree_equally_are_the_corners_of_a_triangle():
    value = np.full((3, 3), 0.68) + 0.32 * np.eye(3)
    ax = pl.attribution_map(pd.DataFrame(value, index=["$a$", "b", "c"], columns=["$a$", "b", "c"]))
    xy = points(ax)
    assert np.allclose(apart(xy), 0.8 * (1 - np.eye(3)))  # sqrt(2 x 0.32)
    assert ax.get_xlabel() == "map of methods 1 (50 %)" and ax.get_ylabel() == "map of methods 2 (50 %)"
    low, high = np.array([ax.get_xlim(), ax.get_ylim()]).T
    assert ((xy > low) & (xy < high)).all()
    assert np.isclose(*((high - low) / [ax.bbox.width, ax.bbox.height]), rtol=0.02)


def test_methods_on_a_line_and_one_that_is_not_known():
    """Two agree, the third is as far from both as its unknown similarity, 0, says."""
    value = np.array([[1, 1, np.nan], [1, 1, np.nan], [np.nan, np.nan, 1]])
    ax = pl.attribution_map(pd.DataFrame(value, index=list("abc"), columns=list("abc")))
    side = np.sqrt(2)
    assert np.allclose(points(ax), [[2 * side / 3, 0], [-side / 3, 0], [-side / 3, 0]])  # the first is drawn last
    assert ax.get_xlabel().endswith("(100 %)") and ax.get_ylabel().endswith("(0 %)")
    colors = ax.collections[0].get_facecolors()
    assert not np.allclose(colors[2], colors[1]) and np.allclose(colors[0], colors[1])


def test_agreement_with_loadings_is_a_table():
    table = pd.DataFrame(
        {"axis1": [0.2, 0.9], "axis2": [np.nan, 0.7], "mean": [0.2, 0.8], "seconds": [1.0, 2.0]}, index=["low", "high"]
    )
    ax = pl.attribution_agreement(table)
    assert ticks(ax) == ["high", "low"]
    wanted = table.loc[["high", "low"], ["axis1", "axis2", "mean"]]
    assert np.allclose(np.ma.filled(ax.images[0].get_array(), np.nan), wanted, equal_nan=True)


# ----------------------------------------------------------------------------------------------------------- enrichment


def test_enriched_sets_are_bars():
    table = pd.DataFrame(
        {
            "group": ["m1", "m1", "m2"], "set": ["$s$", "t", "u"], "n_overlap": [3, 2, 5], "n_set": [9, 8, 5],
            "p": [1e-3, 0.2, 1e-6], "q": [1e-2, 0.3, 1e-5],
        }
    )  # fmt: skip
    ax = pl.enrichment(table, "m1")
    assert ticks(ax) == ["$s$", "t"]
    assert np.allclose(bars(ax), -np.log10([1e-3, 0.2]))
    assert [text.get_text() for text in ax.texts] == ["3/9", "2/8"]
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()
    assert ticks(pl.enrichment(table)) == ["u, m2", "$s$, m1", "t, m1"]
    with pytest.raises(OptionError, match="group='m9', expected one of m1, m2"):
        pl.enrichment(table, "m9")


# --------------------------------------------------------------------------------------------------------- wrong tables


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pl.contributions(pd.DataFrame({"gene": []})), r"sivae\.tl\.contributions"),
        (lambda: pl.contributions("x"), "Found str, expected a frame"),
        (lambda: pl.explained_variance(pd.DataFrame({"x": []})), r"sivae\.tl\.explained_variance"),
        (lambda: pl.awareness(pd.DataFrame({"x": []})), r"sivae\.tl\.feature_awareness"),
        (lambda: pl.attribution_similarity(pd.DataFrame(np.eye(2), list("ab"), list("cd"))), "square"),
        (lambda: pl.attribution_map(pd.DataFrame(np.eye(1), ["a"], ["a"])), "square"),
        (lambda: pl.attribution_agreement(pd.DataFrame({"x": []})), r"sivae\.tl\.attribution_agreement"),
        (lambda: pl.enrichment(pd.DataFrame({"x": []})), r"sivae\.tl\.enrich"),
    ],
)
def test_other_tables_are_refused(call, words):
    with pytest.raises(SetupError, match=words):
        call()
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pl.contributions(DECODED, gene="h"), "group=None, expected one of those in the table: a, b"),
        (lambda: pl.contributions(DECODED, "a"), "gene=None"),
        (lambda: pl.contributions(DECODED, "a", gene="z"), "gene='z'"),
        (lambda: pl.contributions(encoded()), "axis=None"),
        (lambda: pl.contributions(encoded(), gene="h"), "decoder side"),
    ],
)
def test_what_to_draw_must_be_named(call, words):
    with pytest.raises(OptionError, match=words):
        call()


def test_names_in_tables_are_drawn_literally():
    pl.contributions(DECODED, "a", gene="$g$"), pl.contributions(encoded(), axis="axis1")
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
        held = [t for t in all_texts(plt.figure(number)) if "$g" in t.get_text()]
        assert held and not any(text.get_parse_math() for text in held)


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def drawn():
    adata = annotated()
    adata.var_names = ["$x$_<b>", *adata.var_names[1:]]
    return pl.genes(adata, labels=["$x$_<b>"])


def test_text_in_a_vector_file_is_text_and_settings_stay(drawn, tmp_path):
    before = dict(mpl.rcParams)
    pl.save(drawn, tmp_path / "a.svg")
    pl.save(drawn, tmp_path / "a.pdf")
    assert dict(mpl.rcParams) == before
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "$x$_&lt;b&gt;" in text and ">axis 1<" in text
    page = (tmp_path / "a.pdf").read_bytes()
    assert b"/Type3" not in page and b"/FontFile2" in page


@pytest.mark.parametrize("ending", ["svg", "pdf", "png"])
def test_a_file_is_the_same_each_time(tmp_path, ending):
    for name in ("a", "b"):
        pl.save(pl.genes(annotated()), tmp_path / f"{name}.{ending}")
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_axes_arrays_of_axes_and_figures_are_saved(drawn, tmp_path):
    adata = annotated()
    kinds = [drawn, drawn.figure, pl.cells_and_genes(adata), pl.pairs(adata, (0, 1)), pl.loading_images(adata, (6, 10))]
    for number, kind in enumerate(kinds):
        pl.save(kind, tmp_path / f"{number}.png", dpi=50)
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


def test_files_are_not_replaced_unasked_and_nothing_is_left(drawn, tmp_path):
    path = tmp_path / "a.png"
    path.write_text("mine")
    with pytest.raises(ArtefactError, match="overwrite=True"):
        pl.save(drawn, path)
    assert path.read_text() == "mine"
    pl.save(drawn, path, overwrite=True)
    with pytest.raises(OptionError, match=r"ends in \.pdf, \.svg, \.png"):
        pl.save(drawn, tmp_path / "a.doc")
    with pytest.raises(ArtefactError, match="The picture could not be written"):
        pl.save(drawn, tmp_path / "none" / "a.png")
    with pytest.raises(OptionError, match="Found str, expected what a plot returned"):
        pl.save("drawn", tmp_path / "b.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
