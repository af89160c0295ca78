"""Axes and genes: heat maps, images, pairs, traversals, intervals."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from annotated import annotated
from drawn import all_texts, inside, points, same_points, words_apart
from matplotlib.patches import Ellipse
from scipy.stats import chi2

from sivae import pl
from sivae._errors import GeneMismatchError, OptionError, SetupError


@pytest.fixture
def adata():
    return annotated()


# ------------------------------------------------------------------------------------------------------------ heat maps


def test_the_heat_map_holds_the_loadings_and_marks_those_in_doubt(adata):
    adata.varm["X_sivae_var"][7, 1] = 9.0
    names = ["GENE7", "GENE2", "GENE30"]
    ax = pl.loadings_heatmap(adata, (1, 0), genes=names)
    rows = adata.var_names.get_indexer(names)
    loading = adata.varm["X_sivae"][rows][:, [1, 0]]
    assert np.allclose(ax.images[0].get_array(), loading)
    assert ax.images[0].get_clim() == (-np.abs(loading).max(), np.abs(loading).max())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == names
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["axis 2", "axis 1"]
    unsure = np.abs(loading) <= 1.6448536 * np.sqrt(adata.varm["X_sivae_var"][rows][:, [1, 0]])
    assert unsure[0, 0]
    same_points(points(ax), np.argwhere(unsure)[:, ::-1])


def test_the_heat_map_takes_the_ends_of_each_used_axis(adata):
    ax = pl.loadings_heatmap(adata, n_genes=2)
    trained = adata.var["sivae_modelled"].to_numpy()
    ends = set()
    for axis in (0, 1):
        order = np.argsort(np.where(trained, adata.varm["X_sivae"][:, axis], 0.0))
        ends |= set(adata.var_names[np.r_[order[:2], order[-2:]]])
    assert {tick.get_text() for tick in ax.get_yticklabels()} == ends
    assert ax.images[0].get_array().shape == (len(ends), 2)


@pytest.mark.parametrize("size", [(3.5, 4.5), (7.0, 7.0)])
def test_names_of_rows_and_columns_do_not_overlap(adata, size):
    _, ax = plt.subplots(figsize=size, layout="constrained")
    pl.loadings_heatmap(adata, (0, 1, 2), n_genes=8, ax=ax)
    assert words_apart(ax.get_yticklabels()) and words_apart(ax.get_xticklabels())


@pytest.mark.parametrize("height", [1.8, 4.0])
def test_names_of_bars_do_not_overlap(adata, height):
    _, ax = plt.subplots(figsize=(3.5, height), layout="constrained")
    pl.loadings(adata, ax=ax)
    assert words_apart(ax.get_yticklabels())


def test_images_hold_the_loadings_pixel_by_pixel(adata):
    adata.varm["X_sivae"][5] = np.nan
    axs = pl.loading_images(adata, (6, 10))
    assert [ax.get_title() for ax in axs] == ["axis 1", "axis 2"]
    for axis, ax in enumerate(axs):
        wanted = adata.varm["X_sivae"][:, axis].reshape(6, 10)
        assert np.allclose(np.ma.filled(ax.images[0].get_array(), np.nan), wanted, equal_nan=True)
    assert axs[0].images[0].get_clim() == axs[1].images[0].get_clim()


# ---------------------------------------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize("color", [None, "cell_type", "depth", "GENE3", "axis1"])
def test_pairs_of_cells(adata, color):
    axs = pl.pairs(adata, (0, 1, 2), color=color, width=3.5)
    assert axs.shape == (3, 3)
    for i in range(3):
        for j in range(3):
            if j > i:
                assert axs[i, j] is None
            elif j < i:
                same_points(points(axs[i, j]), adata.obsm["X_sivae"][:, [j, i]])
            else:
                assert sum(bar.get_height() for bar in axs[i, i].patches) == adata.n_obs
    assert [axs[2, j].get_xlabel() for j in range(3)] == ["axis 1", "axis 2", "axis 3 (unused)"]
    corner = axs[0, 0].figure.axes[-1]
    assert len(corner.child_axes) == (color not in (None, "cell_type"))
    assert (corner.get_legend() is not None) == (color == "cell_type")


def test_pairs_of_genes_take_the_axes_that_are_used(adata):
    axs = pl.pairs(adata, of="genes", color="sivae_r2")
    assert axs.shape == (2, 2)
    same_points(points(axs[1, 0]), adata.varm["X_sivae"][:, :2])


# ------------------------------------------------------------------------------------------------------------ traversal


def gene_lines(ax, kind="gene"):
    return [line for line in ax.lines if str(line.get_gid()).startswith(kind)]


def test_a_linear_traversal_has_the_loading_as_slope(adata):
    ax = pl.traversal(adata, 1, genes=["GENE4", "GENE9"])
    z, v = adata.obsm["X_sivae"], adata.varm["X_sivae"]
    low, high = np.quantile(z[:, 1], [0.01, 0.99])
    for line, row in zip(gene_lines(ax), (4, 9), strict=True):
        x, y = line.get_xdata(), line.get_ydata()
        assert np.isclose(x[0], low) and np.isclose(x[-1], high)
        others = z.mean(axis=0) @ v[row] - z[:, 1].mean() * v[row, 1]
        assert np.allclose(y, others + x * v[row, 1])
    assert {text.get_text() for text in ax.texts} == {"GENE4", "GENE9"}


def test_a_traversal_with_a_model_has_its_predictions(nb_model, counts_adata):
    nb_model.annotate(counts_adata)
    genes = list(counts_adata.var_names[:3])
    ax = pl.traversal(counts_adata, 0, genes=genes, model=nb_model)
    x = gene_lines(ax)[0].get_xdata()
    grid = np.tile(counts_adata.obsm["X_sivae"].astype(float).mean(axis=0), (len(x), 1))
    grid[:, 0] = x
    explanation = nb_model.explain(counts_adata[:1])
    wanted = explanation.decode(grid)[:, [explanation.genes.index(gene) for gene in genes]]
    for line, column in zip(gene_lines(ax), wanted.T, strict=True):
        assert np.allclose(line.get_ydata(), column)
    linear = grid @ counts_adata.varm["X_sivae"][:3].T
    for line, column in zip(gene_lines(ax, "linear"), linear.T, strict=True):
        assert np.allclose(line.get_ydata(), column)


@pytest.mark.parametrize("width", [3.5, 7.0])
def test_names_beside_lines_are_apart_and_in_the_picture(adata, width):
    figure, ax = plt.subplots(figsize=(width, 2.8), layout="constrained")
    pl.traversal(adata, n_genes=7, ax=ax)
    assert len(ax.texts) == 14
    assert words_apart(ax.texts)
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 + 1 for text in ax.texts)


# ----------------------------------------------------------------------------------------------------------- posteriors


def test_ellipses_have_the_radii_of_the_level(adata):
    ax = pl.posteriors(adata, ["GENE3", "GENE8"], (1, 0), level=0.8)
    for patch, row in zip([p for p in ax.patches if isinstance(p, Ellipse)], (3, 8), strict=True):
        assert np.allclose(patch.get_center(), adata.varm["X_sivae"][row, [1, 0]])
        radius = np.sqrt(chi2.ppf(0.8, 2) * adata.varm["X_sivae_var"][row, [1, 0]])
        assert np.allclose([patch.width, patch.height], 2 * radius)
    assert {text.get_text() for text in ax.texts} == {"GENE3", "GENE8"}
    assert inside(ax, ax.texts)


def test_an_ellipse_holds_its_share_of_draws(adata):
    ax = pl.posteriors(adata, ["GENE3"], level=0.9)
    sd = np.sqrt(adata.varm["X_sivae_var"][3, :2])
    drawn = adata.varm["X_sivae"][3, :2] + sd * np.random.default_rng(0).normal(size=(4000, 2))
    patch = ax.patches[0]
    share = ((((drawn - patch.get_center()) / [patch.width / 2, patch.height / 2]) ** 2).sum(axis=1) <= 1).mean()
    assert abs(share - 0.9) < 0.02


# ----------------------------------------------------------------------------------------------------- names and errors


def test_hostile_names_are_drawn_literally(adata):
    adata.var_names = [f"$x_{i}$^_" for i in range(adata.n_vars)]
    names = list(adata.var_names[:4])
    pl.loadings_heatmap(adata), pl.loadings(adata), pl.traversal(adata), pl.posteriors(adata, names)
    pl.biplot(adata), pl.genes(adata, labels=names)
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
        held = [text for text in all_texts(plt.figure(number)) if text.get_text().startswith("$x")]
        assert len(held) >= 4
        assert not any(text.get_parse_math() for text in held)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda a: pl.loadings_heatmap(a, (0, 9)), OptionError, r"axes \[0, 9\]"),
        (lambda a: pl.loadings_heatmap(a, genes=["NOPE"]), GeneMismatchError, "NOPE"),
        (lambda a: pl.loading_images(a, (7, 9)), OptionError, r"shape=\(7, 9\) for 60 features"),
        (lambda a: pl.pairs(a, (0,)), OptionError, "two or more"),
        (lambda a: pl.pairs(a, of="modules"), OptionError, "of"),
        (lambda a: pl.traversal(a, 5), OptionError, r"axes \[5\]"),
        (lambda a: pl.posteriors(a, "GENE1"), OptionError, "expected a list of names"),
        (lambda a: pl.posteriors(a, ["GENE1"], level=2), OptionError, "level is 2"),
    ],
)
def test_errors_say_what_to_do(adata, call, error, words):
    with pytest.raises(error, match=words):
        call(adata)
    assert plt.get_fignums() == []


def test_a_model_with_other_axes_or_genes_is_refused(adata, nb_model, counts_adata):
    nb_model.annotate(counts_adata)
    fewer = counts_adata.copy()
    fewer.obsm["X_sivae"], fewer.varm["X_sivae"] = fewer.obsm["X_sivae"][:, :2], fewer.varm["X_sivae"][:, :2]
    with pytest.raises(SetupError, match="has 3 axes and this AnnData 2"):
        pl.traversal(fewer, model=nb_model)


@pytest.mark.parametrize(
    "call",
    [pl.loadings_heatmap, pl.traversal, pl.biplot, lambda a, **k: pl.posteriors(a, ["GENE1"], **k)],
)
def test_axes_given_are_drawn_into(adata, call):
    _, ax = plt.subplots(figsize=(3.5, 3.0), layout="constrained")
    before = plt.get_fignums()
    assert call(adata, ax=ax) is ax
    assert plt.get_fignums() == before
