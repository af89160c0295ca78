"""Hubs in an AnnData: scores as of the arrays, calls by evidence, by name."""

import sys

import numpy as np
import pytest
from conftest import Path
from scipy.stats import false_discovery_control, spearmanr

from sivae import tl
from sivae._errors import OptionError, SetupError
from sivae.tl._hubs import SCORES

sys.path.insert(0, str(Path(__file__).parent))

from spaces import annotated_space  # noqa: E402

FIELDS = ["sivae_hub_score", "sivae_connected_qvalue", "sivae_connected", "sivae_hub"]


@pytest.fixture
def adata():
    return annotated_space()


def implied(adata):
    layer = np.concatenate([adata.varm["X_sivae"][:56], adata.varm["X_sivae_joint"][:56]], axis=1)
    s = layer @ adata.uns["sivae"]["joint_covariance"] @ layer.T
    total = np.diag(s) + np.maximum(adata.var["sivae_noise_variance"].to_numpy()[:56], 1 - np.diag(s))
    c = s / np.sqrt(np.outer(total, total))
    np.fill_diagonal(c, 0)
    return c


def test_scores_equal_the_dense_matrix(adata):
    c = implied(adata)
    v, covariance = adata.varm["X_sivae"][:56], adata.uns["sivae"]["joint_covariance"][:3, :3]
    effect = np.abs(adata.varm["X_sivae_encoder"][:56] @ v.T)
    np.fill_diagonal(effect, 0)
    expected = {
        "auto": np.abs(c).sum(axis=1) / 55,
        "strength": np.abs(c).sum(axis=1) / 55,
        "power": (c**2).sum(axis=1) / 55,
        "norm": np.sqrt(np.einsum("gk,kl,gl->g", v, covariance, v)),
        "explained": adata.var["sivae_r2"].to_numpy()[:56],
        "attribution": effect.sum(axis=1) / 55,
    }
    for score, values in expected.items():
        tl.hubs(adata, score)
        found = adata.var["sivae_hub_score"].to_numpy()
        np.testing.assert_allclose(found[:56], values, atol=1e-10, err_msg=score)
        assert np.isnan(found[56:]).all()


@pytest.mark.parametrize("score", [name for name in SCORES if name != "explained"])
def test_genes_at_the_origin_come_last(adata, score):
    tl.hubs(adata, score)
    found = adata.var["sivae_hub_score"].to_numpy()
    assert (found[:30] > 0).any() if score == "degree" else (found[:30] > 0).all()
    assert (found[32:56] == 0).all()


def test_calls_follow_the_evidence(adata):
    tl.hubs(adata, fdr=0.01, top=0.1)
    q = adata.var["sivae_connected_qvalue"].to_numpy()
    np.testing.assert_allclose(q[:56], false_discovery_control(adata.var["sivae_connected_pvalue"].to_numpy()[:56]))
    assert adata.var["sivae_connected"].dtype == adata.var["sivae_hub"].dtype == bool
    np.testing.assert_array_equal(adata.var["sivae_connected"], np.nan_to_num(q, nan=1) <= 0.01)
    best = set(adata.var["sivae_hub_score"].nlargest(5).index)  # a tenth of 56
    assert set(adata.var_names[adata.var["sivae_hub"]]) == best
    adata.var["sivae_connected_pvalue"] = np.where(adata.var["sivae_hub"], 0.9, 0.001)
    tl.hubs(adata, top=0.1)
    assert not adata.var["sivae_hub"].any()  # central, and nothing says that they follow anything


@pytest.mark.parametrize("score", SCORES)
def test_permuting_genes_permutes_the_fields(adata, score, rng):
    tl.hubs(adata, score)
    moved = adata[:, rng.permutation(60)].copy()
    tl.hubs(moved, score)
    for key in FIELDS:
        np.testing.assert_allclose(
            moved.var[key].loc[adata.var_names].astype(float), adata.var[key].astype(float), atol=1e-12
        )


def test_another_embedding_has_scores_and_no_calls(adata, rng):
    adata.varm["pca"] = rng.normal(size=(60, 2))
    tl.hubs(adata, "power", use_rep="pca")
    assert np.isfinite(adata.var["sivae_hub_score"]).all()
    assert not adata.var["sivae_connected"].any() and adata.var["sivae_connected_qvalue"].isna().all()
    with pytest.raises(SetupError, match=r"score='attribution' needs varm\['X_sivae_encoder'\]"):
        tl.hubs(adata, "attribution", use_rep="pca")


def test_errors_say_what_to_do(adata):
    with pytest.raises(OptionError, match="score='pagerank', expected one of auto"):
        tl.hubs(adata, "pagerank")
    with pytest.raises(OptionError, match="fdr is 1.5; expected a number between 0 and 1"):
        tl.hubs(adata, fdr=1.5)
    with pytest.raises(OptionError, match="top is 0; expected"):
        tl.hubs(adata, top=0)
    with pytest.raises(OptionError, match="fdr is None"):
        tl.hub_table(adata, fdr=None)
    del adata.varm["X_sivae"]
    with pytest.raises(SetupError, match=r"Call model\.annotate\(adata\) first"):
        tl.hubs(adata)


def test_the_table_has_every_centrality_and_what_expression_leaves(adata, rng):
    table = tl.hub_table(adata)
    assert table.index.name == "gene" and len(table) == 56
    assert table["score"].is_monotonic_decreasing
    assert {"strength", "power", "norm", "degree", "explained", "attribution", "p", "q", "connected"} <= set(table)
    tl.hubs(adata, top=0.2)
    wide = tl.hub_table(adata, top=0.2)
    assert wide["hub"].any() and (wide["hub"] == adata.var["sivae_hub"].reindex(wide.index)).all()
    train = (adata.obs["sivae_split"] == "train").to_numpy()
    counts = adata.X[train].toarray()
    np.testing.assert_allclose(table["detection"].loc[adata.var_names[:56]], (counts > 0).mean(axis=0)[:56])
    library = counts[:, adata.var["sivae_modelled"]].sum(axis=1, keepdims=True)
    log = np.log1p(np.sqrt(1e4 * np.median(library)) * counts / library)
    np.testing.assert_allclose(table["mean"].loc[adata.var_names[:56]], log.mean(axis=0)[:56], rtol=1e-5)
    assert abs(spearmanr(table["score_given_expression"], table["mean"])[0]) < 0.15
    bare = adata.copy()
    bare.X = None
    assert "mean" not in tl.hub_table(bare) and len(tl.hub_table(bare, use_rep="X_sivae_joint").columns) == 5


def test_planted_genes_are_called_by_a_trained_model(normal_model, counts_adata):
    normal_model.annotate(counts_adata)
    tl.hubs(counts_adata, top=0.2)
    planted = (counts_adata.var["module"] != "none").to_numpy()
    called = counts_adata.var["sivae_connected"].to_numpy()
    assert called[planted].sum() >= 2 and called[~planted].sum() <= 1  # 24 validation cells
    assert planted[counts_adata.var["sivae_hub"]].all()
