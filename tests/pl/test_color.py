"""What colors cells and genes, and the layouts they are drawn in."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from annotated import annotated
from drawn import all_texts, inside, points, same_points, words_apart
from matplotlib.colors import to_hex

from sivae import pl
from sivae._errors import GeneMismatchError, OptionError, SetupError
from sivae.pl import _points, _style


@pytest.fixture
def adata():
    adata = annotated()
    adata.obsm["X_umap"] = np.random.default_rng(1).normal(size=(adata.n_obs, 2))
    adata.varm["X_umap"] = np.random.default_rng(2).normal(size=(adata.n_vars, 2))
    scores = np.random.default_rng(3).normal(size=(adata.n_obs, 2))
    adata.obsm["X_sivae_modules"] = pd.DataFrame(scores, index=adata.obs_names, columns=["module1", "module2"])
    adata.var["sivae_module"] = pd.Categorical(
        np.array(["module1", "module2", "unassigned"])[np.arange(adata.n_vars) % 3]
    )
    adata.var["sivae_hub"] = np.arange(adata.n_vars) < 5
    adata.var["sivae_hub_score"] = np.linspace(0, 1, adata.n_vars)
    return adata


def colored(ax):
    return next(part for part in ax.collections if part.get_array() is not None)


def colors_at(ax):
    """Color of every point drawn, by its place."""
    found = {}
    for part in ax.collections:
        if hasattr(part, "get_sizes") and len(part.get_offsets()) and len(part.get_facecolors()):
            colors = np.broadcast_to(part.get_facecolors(), (len(part.get_offsets()), 4))
            found |= {tuple(np.round(xy, 9)): to_hex(c) for xy, c in zip(part.get_offsets(), colors, strict=True)}
    return found


# --------------------------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize("basis", ["X_umap", "umap"])
def test_a_layout_of_cells_is_drawn(adata, basis):
    ax = pl.cells(adata, basis=basis, color="cell_type")
    same_points(points(ax), adata.obsm["X_umap"])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("umap 1", "umap 2")


@pytest.mark.parametrize(
    ("color", "values"),
    [
        ("axis2", lambda a: a.obsm["X_sivae"][:, 1]),
        ("module2", lambda a: a.obsm["X_sivae_modules"]["module2"].to_numpy()),
    ],
)
def test_coordinates_and_scores_are_drawn_around_zero(adata, color, values):
    drawn = colored(pl.cells(adata, basis="umap", color=color))
    at = {tuple(xy): value for xy, value in zip(drawn.get_offsets(), drawn.get_array(), strict=True)}
    for xy, value in zip(adata.obsm["X_umap"], values(adata), strict=True):
        assert at[tuple(xy)] == pytest.approx(value)
    assert drawn.get_clim()[0] == -drawn.get_clim()[1] == pytest.approx(-np.abs(values(adata)).max())


def test_names_are_written_among_the_cells(adata):
    ax = pl.cells(adata, color="cell_type", on_map=True)
    assert {text.get_text() for text in ax.texts} == {"type 0", "type 1", "type 2"}
    assert ax.get_legend() is None
    assert words_apart(ax.texts) and inside(ax, ax.texts)
    for text in ax.texts:
        rows = adata.obs["cell_type"] == text.get_text()
        assert np.allclose(text.xy, np.median(adata.obsm["X_sivae"][rows, :2], axis=0))


@pytest.mark.parametrize(
    "name", ["{}", "type {}", "a name of middle size {}", "a name that is very long, and more, {}"]
)
def test_a_legend_goes_under_axes_that_are_narrow(adata, name):
    adata.obs["cell_type"] = pd.Categorical([name.format(i % 10) for i in range(adata.n_obs)])
    figure, ax = plt.subplots(figsize=(3.5, 3.5), layout="constrained")
    pl.cells(adata, color="cell_type", ax=ax)
    figure.canvas.draw()
    legend, frame = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert legend.y1 <= frame.y0 and legend.x0 >= 0 and legend.x1 <= figure.bbox.width
    assert frame.width > 0.7 * figure.bbox.width


# --------------------------------------------------------------------------------------------------------------- genes


def test_modules_have_colors_and_the_unassigned_are_grey(adata):
    ax = pl.genes(adata, color="sivae_module", n_labels=0)
    at, trained = colors_at(ax), adata.var["sivae_modelled"].to_numpy()
    wanted = {"module1": _style.OKABE_ITO[0], "module2": _style.OKABE_ITO[1], "unassigned": _points.MISSING}
    for xy, module in zip(adata.varm["X_sivae"][trained, :2], adata.var["sivae_module"][trained], strict=True):
        assert at[tuple(np.round(xy, 9))] == wanted[module].lower()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["module1", "module2", "unassigned"]


def test_hub_scores_get_a_color_bar_and_flags_a_legend(adata):
    trained = adata.var["sivae_modelled"]
    drawn = colored(pl.genes(adata, color="sivae_hub_score"))
    assert np.allclose(np.sort(drawn.get_array()), adata.var["sivae_hub_score"][trained])
    assert [t.get_text() for t in pl.genes(adata, color="sivae_hub").get_legend().get_texts()] == ["False", "True"]


def test_gene_sets_are_colored_and_named(adata):
    sets = {"first": ["GENE1", "GENE2", "NOT HERE"], "second": ["GENE2", "GENE3"]}
    ax = pl.genes(adata, color=sets)
    at = colors_at(ax)
    for gene, color in {"GENE1": 0, "GENE2": 0, "GENE3": 1}.items():
        xy = adata.varm["X_sivae"][adata.var_names.get_loc(gene), :2]
        assert at[tuple(np.round(xy, 9))] == _style.OKABE_ITO[color].lower()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["first", "second", "none"]
    assert {text.get_text() for text in ax.texts} == {"GENE1", "GENE2", "GENE3"}
    assert {text.get_text() for text in pl.genes(adata, color=["GENE5"]).texts} == {"GENE5"}


def test_genes_asked_for_are_named_in_a_layout(adata):
    ax = pl.genes(adata, basis="umap", labels=["GENE9", "GENE4"])
    assert [text.get_text() for text in ax.texts] == ["GENE9", "GENE4"]
    assert np.allclose(ax.texts[0].xy, adata.varm["X_umap"][9])
    same_points(points(ax), adata.varm["X_umap"])


def test_genes_named_in_a_layout_are_those_far_out_on_the_map(adata):
    ax = pl.genes(adata, basis="umap", n_labels=3)
    length = np.where(adata.var["sivae_modelled"], np.linalg.norm(adata.varm["X_sivae"], axis=1), 0)
    assert {text.get_text() for text in ax.texts} <= set(adata.var_names[np.argsort(-length)[:3]])
    assert len(ax.texts) >= 2


def test_names_of_genes_are_drawn_literally(adata):
    adata.var_names = [["$x$", "a_b^c", r"\alpha", "<b>&"][i] if i < 4 else f"G{i}" for i in range(adata.n_vars)]
    ax = pl.genes(adata, labels=list(adata.var_names[:4]), color="sivae_module")
    ax.figure.canvas.draw()
    texts = {text.get_text(): text for text in ax.texts}
    assert set(texts) == {"$x$", "a_b^c", r"\alpha", "<b>&"}
    assert not any(text.get_parse_math() for text in texts.values())


def test_every_name_that_comes_from_the_data_is_literal(adata):
    adata.obs["$c$"] = adata.obs["depth"]
    adata.obsm["$u$"] = adata.obsm["X_umap"]
    ax = pl.cells(adata, basis="$u$", color="$c$")
    ax.figure.canvas.draw()
    held = [text for text in all_texts(ax.figure) if "$" in text.get_text() and "mathdefault" not in text.get_text()]
    assert len(held) == 3
    assert not any(text.get_parse_math() for text in held)


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda a: pl.cells(a, basis="tsne"), SetupError, r"obsm\['tsne'\].*X_umap.*sc\.tl\.tsne\(adata, use_rep"),
        (lambda a: pl.cells(a, basis="phate"), SetupError, r"obsm\['phate'\].*Compute it"),
        (lambda a: pl.genes(a, basis="tsne"), SetupError, r"varm\['tsne'\].*TSNE.*adata\.varm\['tsne'\]"),
        (lambda a: pl.cells(a, basis="X_sivae"), OptionError, r"shape \(120, 3\), expected two columns"),
        (lambda a: pl.cells(a, color="module9"), OptionError, "module9.*axis1.*module1, module2"),
        (lambda a: pl.cells(a, color="axis4"), OptionError, "color='axis4'"),
        (lambda a: pl.genes(a, labels=["GENE1", "GENEX"]), GeneMismatchError, "GENEX.*Did you mean"),
        (lambda a: pl.genes(a, color=["A", "B"]), GeneMismatchError, "None of 2 genes"),
        (lambda a: pl.genes(a, color={"one": "GENE1"}), OptionError, "one text"),
    ],
)
def test_errors_say_what_to_do(adata, call, error, words):
    with pytest.raises(error, match=words):
        call(adata)
    assert plt.get_fignums() == []
