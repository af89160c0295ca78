"""Arrows of genes over cells: where they point, and how long they are."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from annotated import annotated
from drawn import inside, points, same_points, words_apart
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.lines import Line2D
from matplotlib.quiver import Quiver

from sivae import pl, tl
from sivae._errors import GeneMismatchError, OptionError
from sivae.pl._biplot import _round_down


@pytest.fixture
def adata():
    return annotated(unused=())


def arrows(ax):
    quiver = next(part for part in ax.collections if isinstance(part, Quiver))
    return np.column_stack([quiver.U, quiver.V])


def key(ax):
    """Length of the key and the change that it stands for."""
    line = next(part for part in ax.findobj(Line2D) if part.get_gid() == "key")
    words = next(t.get_text() for t in ax.findobj(plt.Text) if t.get_text().startswith("gains"))
    return line.get_xdata()[1] - line.get_xdata()[0], float(words.split()[1])


def test_arrows_are_loadings_times_one_factor_that_the_key_states(adata):
    names = ["GENE7", "GENE2", "GENE11"]
    ax = pl.biplot(adata, (2, 0), genes=names)
    rows = adata.var_names.get_indexer(names)
    length, change = key(ax)
    assert np.allclose(arrows(ax), length / change * adata.varm["X_sivae"][rows][:, [2, 0]])
    assert [text.get_text() for text in ax.texts] == names
    same_points(points(ax)[: adata.n_obs], adata.obsm["X_sivae"][:, [2, 0]])


def test_arrows_allow_for_the_spread_of_positions_around_what_is_drawn(adata):
    before, key_before = arrows(pl.biplot(adata, genes=["GENE3"]))[0], key(plt.gca())
    adata.uns["sivae"]["position_variance"] = np.diag(adata.uns["sivae"]["joint_covariance"]) * [0.5, 0.0, 3.0]
    after, key_after = arrows(pl.biplot(adata, genes=["GENE3"]))[0], key(plt.gca())
    change_before, change_after = before / key_before[0] * key_before[1], after / key_after[0] * key_after[1]
    assert np.allclose(change_after, change_before * [1.5, 1.0])


def test_both_directions_have_one_scale(adata):
    ax = pl.biplot(adata)
    ax.figure.canvas.draw()
    one = ax.transData.transform([(0, 0), (1, 0), (0, 1)])
    assert np.isclose(one[1, 0] - one[0, 0], one[2, 1] - one[0, 1])


def test_a_step_along_an_arrow_changes_the_prediction_by_what_its_length_says(adata):
    ax = pl.biplot(adata, genes=["GENE3"])
    length, change = key(ax)
    arrow = arrows(ax)[0]
    step = arrow / np.hypot(*arrow)
    predicted = step @ adata.varm["X_sivae"][adata.var_names.get_loc("GENE3"), :2]
    assert np.isclose(predicted, np.hypot(*arrow) / length * change)


def test_arrows_of_every_direction_are_drawn_and_named_apart(adata):
    ax = pl.biplot(adata, n_genes=12, color="cell_type")
    drawn = arrows(ax)
    assert len(drawn) == 12
    angle = np.round(np.arctan2(drawn[:, 1], drawn[:, 0]) / (np.pi / 4)).astype(int) % 8
    length = np.hypot(*adata.varm["X_sivae"][:, :2].T)
    long_enough = adata.var["sivae_modelled"] & (length >= length[adata.var["sivae_modelled"]].max() / 3)
    every = np.arctan2(*adata.varm["X_sivae"][long_enough][:, [1, 0]].T)
    assert set(angle) == set(np.round(every / (np.pi / 4)).astype(int) % 8)
    assert np.isclose(np.hypot(*drawn.T).max() / key(ax)[0] * key(ax)[1], length[adata.var["sivae_modelled"]].max())
    assert words_apart(ax.texts) and inside(ax, ax.texts) and len(ax.texts) >= 10


def test_arrows_lie_inside(adata):
    ax = pl.biplot(adata)
    ax.figure.canvas.draw()
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    tips = arrows(ax)
    assert (tips[:, 0] > x0).all() and (tips[:, 0] < x1).all() and (tips[:, 1] > y0).all() and (tips[:, 1] < y1).all()


@given(st.floats(1e-6, 1e6))
def test_the_change_of_the_key_is_a_round_number_not_far_below(value):
    step = _round_down(value)
    assert step <= value * (1 + 1e-6) and value < 2.5 * step * (1 + 1e-6)
    assert float(f"{step:e}".split("e")[0]) in (1, 2, 5)


def test_a_part_of_a_figure_is_drawn_into(adata):
    figure = plt.figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subfigures(1, 2)
    for part, call in ((left, pl.biplot), (right, lambda a, ax: pl.neighborhood(a, "GENE1", n_neighbors=3, ax=ax))):
        if part is right:
            tl.gene_neighbors(adata, 3, metric="cosine")
        call(adata, ax=part.subplots())
    figure.canvas.draw()
    assert len(plt.get_fignums()) == 1


def test_errors(adata):
    with pytest.raises(GeneMismatchError, match="Found no gene GENE999"):
        pl.biplot(adata, genes=["GENE999"])
    with pytest.raises(OptionError, match="n_genes is 0"):
        pl.biplot(adata, n_genes=0)
    adata.varm["X_sivae"][:, :2] = 0
    with pytest.raises(OptionError, match="No gene asked for has a loading on axis 1"):
        pl.biplot(adata)
    assert plt.get_fignums() == []
