"""Data at the edge: nothing there, everything the same, one of a kind."""

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from annotated import annotated
from drawn import points, same_points

from sivae import pl
from sivae._errors import OptionError


@pytest.fixture
def adata():
    return annotated()


@pytest.mark.parametrize("value", [np.nan, 3.0])
def test_values_that_are_missing_or_all_the_same(adata, value):
    adata.obs["same"] = value
    adata.obsm["X_sivae_modules"] = pd.DataFrame({"m": value}, index=adata.obs_names)
    for color in ("same", "m"):
        ax = pl.cells(adata, color=color)
        ax.figure.canvas.draw()
        same_points(points(ax), adata.obsm["X_sivae"][:, :2])


def test_a_column_of_names_that_are_all_missing(adata):
    adata.obs["none"] = pd.Series([None] * adata.n_obs, index=adata.obs_names, dtype=object)
    ax = pl.cells(adata, color="none")
    ax.figure.canvas.draw()
    same_points(points(ax), adata.obsm["X_sivae"][:, :2])


def test_axes_that_nothing_uses(adata):
    adata.obsm["X_sivae"][:, 1:] = 0
    adata.varm["X_sivae"][:, 1:] *= 1e-3
    adata.uns["sivae"]["joint_covariance"] = np.cov(adata.obsm["X_sivae"], rowvar=False)
    with pytest.raises(OptionError, match=r"No gene asked for has a loading on axis 2 \(unused\)"):
        pl.biplot(adata, (1, 2))
    with pytest.raises(OptionError, match=r"Nothing changes along axis 2 \(unused\)"):
        pl.traversal(adata, 1)
    assert plt.get_fignums() == []
    for ax in (pl.loadings(adata, 1), pl.cells(adata, (1, 2)), pl.genes(adata, (1, 2)), pl.pairs(adata)[1, 0]):
        ax.figure.canvas.draw()


def test_one_gene_and_few_cells():
    adata = annotated(n=4, g=11, later=10, unused=())
    for ax in (pl.biplot(adata), pl.genes(adata), pl.loadings(adata), pl.loadings_heatmap(adata), pl.traversal(adata)):
        ax.figure.canvas.draw()


def test_groups_named_by_numbers():
    table = pd.DataFrame(
        {"group": [1, 2], "gene": ["g", "g"], "bias": 0.0, "axis1": [0.1, 0.2], "predictor": [0.1, 0.2]}
    )
    assert [bar.get_width() for bar in pl.contributions(table, 2).patches] == [0.2]


def test_a_view_and_a_file_are_drawn_as_the_whole_is(adata, tmp_path):
    part = adata[::2, ::2]
    same_points(points(pl.cells(part, color="GENE4")), part.obsm["X_sivae"][:, :2])
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    whole = pl.cells(adata, color="GENE4").collections[0].get_array()
    assert np.allclose(pl.cells(backed, color="GENE4").collections[0].get_array(), whole)
    pl.biplot(backed, color="cell_type"), pl.pairs(backed, color="GENE4")
    backed.file.close()
