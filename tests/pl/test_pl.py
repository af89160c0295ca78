"""Plots draw what is in the AnnData, and nothing covers anything."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from annotated import annotated
from drawn import inside, points, same_points, words_apart
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from published import groups, trained

from sivae import pl
from sivae._errors import OptionError, SetupError
from sivae.pl import _style


@pytest.fixture
def adata():
    return annotated()


# --------------------------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize("color", [None, "cell_type", "depth", "GENE3"])
def test_cells_are_drawn_where_they_lie(adata, color):
    ax = pl.cells(adata, (1, 0), color=color)
    assert isinstance(ax, Axes)
    same_points(points(ax).copy(), adata.obsm["X_sivae"][:, [1, 0]].copy())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("axis 2", "axis 1")


def test_each_cell_has_the_color_of_its_category(adata):
    ax = pl.cells(adata, color="cell_type")
    drawn = next(part for part in ax.collections if len(part.get_offsets()) == adata.n_obs)
    at = {tuple(xy): to_hex(color) for xy, color in zip(drawn.get_offsets(), drawn.get_facecolors(), strict=True)}
    codes = adata.obs["cell_type"].cat.codes
    for xy, code in zip(adata.obsm["X_sivae"][:, :2], codes, strict=True):
        assert at[tuple(xy)] == _style.OKABE_ITO[code].lower()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["type 0", "type 1", "type 2"]


def test_expression_is_log_normalised(adata):
    ax = pl.cells(adata, color="GENE3")
    counts = adata.X.toarray()
    wanted = np.log1p(1e4 * counts[:, 3] / counts.sum(axis=1))
    drawn = ax.collections[0]
    assert np.allclose(np.sort(drawn.get_array()), np.sort(wanted))
    highest = adata.obsm["X_sivae"][np.argsort(wanted, kind="stable")[-1], :2]
    assert np.allclose(drawn.get_offsets()[-1], highest)


def test_values_that_are_no_counts_are_drawn_as_stored(adata):
    adata.uns["sivae"]["setup"]["normalize"] = "none"
    assert np.allclose(
        np.sort(pl.cells(adata, color="GENE3").collections[0].get_array()), np.sort(adata.X.toarray()[:, 3])
    )


def test_cells_without_a_category_are_grey(adata):
    adata.obs.loc[adata.obs_names[:5], "cell_type"] = np.nan
    ax = pl.cells(adata, color="cell_type")
    same_points(points(ax).copy(), adata.obsm["X_sivae"][:, :2].copy())
    assert len(ax.get_legend().get_texts()) == 3


@pytest.mark.parametrize("n", [1, 8, 9, 30])
def test_categories_look_different(n):
    assert len(set(_style.category_styles(n))) == n


def test_many_categories_are_counted_in_the_legend():
    ax = pl.cells(annotated(n_groups=50), color="cell_type")
    assert len(ax.get_legend().get_texts()) == _style.LEGEND_LIMIT
    assert "of 50" in ax.get_legend().get_title().get_text()


def test_names_are_never_markup(adata):
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.rename_categories(["$x", "_hidden", r"$\frac$"])
    adata.var_names = [r"$\bad{" + str(i) for i in range(adata.n_vars)]
    left, _ = pl.cells_and_genes(adata, color="cell_type")
    pl.loadings(adata)
    pl.cells(adata, color=adata.var_names[0])
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["$x", "_hidden", r"$\frac$"]


# --------------------------------------------------------------------------------------------------------------- genes


def test_genes_are_drawn_where_they_lie(adata):
    adata.varm["X_sivae"][4] = np.nan
    same_points(points(pl.genes(adata)).copy(), np.delete(adata.varm["X_sivae"], 4, axis=0)[:, :2].copy())


def test_the_farthest_modelled_genes_are_named(adata):
    ax = pl.genes(adata, n_labels=5)
    trained = adata.var["sivae_modelled"].to_numpy()
    distance = np.where(trained, np.hypot(*adata.varm["X_sivae"][:, :2].T), 0)
    farthest = adata.var_names[np.argsort(-distance)[:5]]
    assert {text.get_text() for text in ax.texts} <= set(farthest)
    assert len(ax.texts) >= 4
    for text in ax.texts:
        assert np.allclose(text.xy, adata.varm["X_sivae"][adata.var_names.get_loc(text.get_text()), :2])


@pytest.mark.parametrize("seed", range(4))
def test_names_do_not_overlap_and_stay_inside(seed):
    ax = pl.genes(annotated(g=400, later=50, seed=seed), n_labels=40)
    assert len(ax.texts) >= 10
    assert words_apart(ax.texts) and inside(ax, ax.texts)


def test_negative_shares_are_drawn_as_zero(adata):
    drawn = next(part for part in pl.genes(adata).collections if part.get_array() is not None)
    r2 = adata.var["sivae_r2"].to_numpy()[adata.var["sivae_modelled"]]
    assert np.allclose(np.sort(drawn.get_array()), np.sort(np.maximum(r2, 0)))


def test_genes_without_evidence_get_one_color(adata):
    del adata.var["sivae_r2"]
    assert len(pl.genes(adata).figure.axes) == 1
    assert len(pl.genes(adata, color=None).figure.axes) == 1


def test_both_panels_show_the_same_axes(adata):
    left, right = pl.cells_and_genes(adata, (1, 2))
    assert left.get_xlabel() == right.get_xlabel() == "axis 2"
    assert left.get_ylabel() == right.get_ylabel() == "axis 3 (unused)"


def test_axes_given_are_drawn_into(adata):
    figure, axs = plt.subplots(1, 4)
    before = plt.get_fignums()
    drawn = [
        pl.cells(adata, ax=axs[0]), pl.genes(adata, ax=axs[1]), pl.history(adata, ax=axs[2]),
        pl.loadings(adata, ax=axs[3]),
    ]  # fmt: skip
    assert [a is b for a, b in zip(drawn, axs, strict=True)] == [True] * 4
    assert plt.get_fignums() == before
    assert figure is drawn[0].figure


# ------------------------------------------------------------------------------------------------ loadings and history


def test_bars_and_intervals_are_those_of_the_posterior(adata):
    ax = pl.loadings(adata, 1, n_genes=6)
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    rows = adata.var_names.get_indexer(names)
    assert adata.var["sivae_modelled"].to_numpy()[rows].all()
    loading, sd = adata.varm["X_sivae"][rows, 1], np.sqrt(adata.varm["X_sivae_var"][rows, 1])
    assert np.allclose([bar.get_width() for bar in ax.patches], loading)
    lines = next(part for part in ax.collections if hasattr(part, "get_segments")).get_segments()
    assert np.allclose([line[1, 0] - line[0, 0] for line in lines], 2 * 1.6448536269514722 * sd)
    assert (np.diff(loading) <= 0).all()
    trained = adata.varm["X_sivae"][adata.var["sivae_modelled"], 1]
    assert np.isclose(loading[0], trained.max()) and np.isclose(loading[-1], trained.min())


def test_an_unused_axis_is_said_to_be(adata):
    assert "axis 3 (unused)" in pl.loadings(adata, 2).get_xlabel()


def test_history_draws_both_losses_and_marks_start_and_best(adata):
    ax = pl.history(adata)
    history = adata.uns["sivae"]["history"]
    training, validation, start, best = (line.get_ydata() for line in ax.lines)
    assert np.allclose(training, history["nll"] + history["kl_cells"] + 0.05 * history["nll_linear"], equal_nan=True)
    assert np.allclose(validation, history["validation_loss"])
    assert (start[0], best[0]) == (50.0, 40.25)
    assert ax.lines[3].get_xdata()[0] == 20


def test_history_takes_the_frame_of_a_training(nb_model):
    ax = pl.history(nb_model.history)
    assert np.allclose(ax.lines[0].get_ydata(), nb_model.history["loss"], equal_nan=True)


@pytest.mark.parametrize("kl_scale", ["published", "bound"])
def test_history_of_phases_has_every_term_and_marks_each_phase(kl_scale):
    cells = groups(60)
    model = trained(cells, kl_scale=kl_scale, options={"iterations": 6, "hidden_gamma": 0.1, "kl_warmup": 0})
    model.annotate(cells)
    ax, history = pl.history(cells), model.history
    training, validation = (line.get_ydata() for line in ax.lines[:2])
    of_cells = history["stage"].to_numpy() != 2
    assert np.allclose(training[of_cells], history["loss"][of_cells], rtol=1e-5, equal_nan=True)  # no warm-up
    assert np.isnan(training[~of_cells]).all() and np.allclose(validation, history["validation_loss"], equal_nan=True)
    marked = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines[2:6]]
    assert [step for step, _ in marked] == [0, 6, 12, 18]
    ends = [np.flatnonzero(history["stage"] == stage)[[0, -1]] for stage in (1, 3)]
    assert np.allclose([loss for _, loss in marked], validation[np.concatenate(ends)])
    assert [text.get_text() for text in ax.texts] == ["1 cell tower", "2 gene tower", "3 both towers"]
    assert np.allclose(pl.history(history).lines[0].get_ydata()[of_cells], history["loss"][of_cells], equal_nan=True)


def test_plots_need_no_model_after_a_trip_through_a_file(nb_model, counts_adata, tmp_path):
    import anndata

    nb_model.annotate(counts_adata)
    counts_adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    same_points(points(pl.cells(again)).copy(), counts_adata.obsm["X_sivae"][:, :2].astype(float))
    pl.genes(again), pl.loadings(again), pl.history(again), pl.cells_and_genes(again, color="group")


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda a: pl.cells(a, (0, 3)), OptionError, r"axes \[0, 3\].*0 to 2"),
        (lambda a: pl.genes(a, (1, 1)), OptionError, r"axes \[1, 1\].*different"),
        (lambda a: pl.loadings(a, 7), OptionError, r"axes \[7\].*0 to 2"),
        (lambda a: pl.loadings(a, n_genes=0), OptionError, "n_genes is 0; expected at least 1"),
        (lambda a: pl.cells(a, color="nope"), OptionError, "color='nope'.*cell_type.*Check the spelling"),
        (lambda a: pl.cells(a, color="GENE1", layer="nope"), SetupError, "no layer 'nope'"),
        (lambda a: pl.genes(a, color="nope"), OptionError, "color='nope'.*sivae_r2"),
        (lambda a: pl.history(a.obs), SetupError, "no training history"),
    ],
)
def test_errors_say_what_was_found_and_expected(adata, call, error, words):
    before = plt.get_fignums()
    with pytest.raises(error, match=words):
        call(adata)
    assert plt.get_fignums() == before


@pytest.mark.parametrize("call", [pl.cells, pl.genes, pl.loadings, pl.cells_and_genes, pl.history])
def test_an_anndata_without_embedding_is_refused(adata, call):
    del adata.obsm["X_sivae"], adata.varm["X_sivae"], adata.uns["sivae"]
    with pytest.raises(SetupError, match=r"model\.annotate\(adata\)"):
        call(adata)
