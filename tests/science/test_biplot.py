"""What a biplot says of a step along an arrow is what held-out cells do."""

import numpy as np
import pytest
from matplotlib.quiver import Quiver

import sivae
from sivae._space import read_space
from sivae.tl._held_out import read_expression

pytestmark = pytest.mark.science


def slopes(adata, axes):
    """Change of each gene drawn, in held-out cells, by step along its arrow, over what its length says; and pooled."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ax = sivae.pl.biplot(adata, axes, n_genes=15)
    quiver = next(part for part in ax.collections if isinstance(part, Quiver))
    key = next(part for part in ax.findobj(plt.Line2D) if part.get_gid() == "key")
    words = next(t.get_text() for t in ax.findobj(plt.Text) if t.get_text().startswith("gains"))
    per_unit = float(words.split()[1]) / (key.get_xdata()[1] - key.get_xdata()[0])
    arrow_f2 = np.column_stack([quiver.U, quiver.V])
    plt.close(ax.figure)
    v_g2 = adata.varm["X_sivae"][:, list(axes)]
    spread = adata.uns["sivae"]["position_variance"][list(axes)]
    b_g2 = v_g2 * (1 + spread / np.diag(adata.uns["sivae"]["joint_covariance"])[list(axes)])
    rows = [int(np.argmin(((per_unit * a - b_g2) ** 2).sum(axis=1))) for a in arrow_f2]
    space = read_space(adata)
    assert (space.rows == np.arange(adata.n_vars)).all()
    x_nf = read_expression(adata, space, layer=None, seed=0).test_ng[:, rows].astype(float)
    z_n2 = adata.obsm["X_sivae"][(adata.obs["sivae_split"] == "validation").to_numpy()][:, list(axes)]
    said_nf = (z_n2 - z_n2.mean(axis=0)) @ (per_unit * arrow_f2).T
    x_nf = x_nf - x_nf.mean(axis=0)
    each = (said_nf * x_nf).sum(axis=0) / (said_nf**2).sum(axis=0)
    return each, float((said_nf * x_nf).sum() / (said_nf**2).sum())


def annotated(adata, n_latent):
    sivae.SiVAE.setup_anndata(adata)
    model = sivae.SiVAE(adata, n_latent=n_latent, seed=0)
    model.train(progress=False, options=sivae.TrainOptions(validation_fraction=0.3))
    model.annotate(adata)
    return adata


@pytest.fixture(scope="module")
def planted():
    return annotated(sivae.datasets.planted(2500, 150, counts=False, n_factors=4, seed=3), 4)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [(0, 1), (1, 3)])
def test_arrows_are_calibrated_on_planted_data(planted, axes):
    each, pooled = slopes(planted, axes)
    assert 0.9 < pooled < 1.1
    assert 0.9 < np.median(each) < 1.1
    assert ((each > 0.9) & (each < 1.1)).mean() > 0.8


@pytest.mark.slow
def test_arrows_are_calibrated_on_blood_cells():
    pytest.importorskip("scanpy")
    each, pooled = slopes(annotated(sivae.datasets.pbmc700(), 10), (0, 1))
    assert 0.9 < pooled < 1.1
    assert 0.9 < np.median(each) < 1.1
