"""How much of the genes' variance axes, layers and the model explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import check_adata, one_of
from sivae._door import door
from sivae._errors import SetupError
from sivae._space import read_space
from sivae.graph._variance import Explained, explained

if TYPE_CHECKING:
    from anndata import AnnData

    from sivae._space import GeneSpace


@door
def explained_variance(
    adata: AnnData, *, by: Literal["axis", "layer", "gene"] = "axis", use_rep: str | None = None
) -> pd.DataFrame:
    """Share of the genes' variance that each axis, each layer, or the model for each gene explains.

    With S the covariance of (z, h) over the training cells and everything on the scale of the loadings, a gene has
    linear variance v' S_zz v, remainder w' S_hh w + 2 v' S_zh w (S_zh is 0 after training) and noise (sigma^2, or
    (1/mu + 1/theta) / s^2 for counts); its total is their sum. A share of several genes is a ratio of sums over them.
    The effect of covariates is in neither. These are shares of training cells as the model sees them; on cells held
    out, `var["sivae_r2"]` is what was measured.

    Parameters
    ----------
    adata
        Annotated by `SiVAE.annotate`; neither X nor a model is needed.
    by
        "axis": column explained, sum_g v_gk (S_zz v_g)_k over the total, in which what two axes share is split in
        halves, so that axes add up to the linear layer (a share can then be negative); and alone, what a prediction
        from that axis alone takes off. "layer": rows linear (z.v), remainder (h.w), full (both) and noise. "gene": one
        row per gene.
    use_rep
        Array of `varm`; the loadings of siVAE if None. Of another array neither noise nor covariance is known: axes
        are taken as independent with variance 1, and shares are of what the array itself holds.

    Returns
    -------
    Frame with columns axis, explained, alone; or layer, explained; or gene, linear, remainder, full, noise (shares),
    variance (the total), and measured (`var["sivae_r2"]`, NaN where unknown). "axis" and "layer" are over modelled
    genes, "gene" lists every gene with a position.

    Raises
    ------
    SetupError, OptionError
        If there is no such embedding, or it was annotated without noise and covariance.

    References
    ----------
    Choi, Li, Quon 2023, variance explained, doi 10.1186/s13059-023-02850-y.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(200, 40, n_factors=2)
    >>> table = sivae.tl.explained_variance(adata, use_rep="planted_v")
    >>> round(float(table["explained"].sum()), 6)
    1.0
    """
    check_adata(adata)
    one_of("by", by, ("axis", "layer", "gene"))
    space = read_space(adata, use_rep)
    parts = _parts(space)
    if by == "gene":
        return _by_gene(space, parts)
    parts = parts.take(space.modelled_g)
    total = float(parts.total_g.sum())
    scale = 1.0 / total if total > 0 else np.nan
    if by == "axis":
        shares = {"explained": parts.axis_gk.sum(axis=0) * scale, "alone": parts.alone_gk.sum(axis=0) * scale}
        return pd.DataFrame({"axis": list(space.axes), **shares})
    sums = {"linear": parts.linear_g.sum(), "remainder": parts.remainder_g.sum()}
    sums |= {"full": sums["linear"] + sums["remainder"], "noise": parts.noise_g.sum()}
    return pd.DataFrame({"layer": list(sums), "explained": [float(value) * scale for value in sums.values()]})


def _parts(space: GeneSpace) -> Explained:
    if space.rep != _keys.GENES:
        return explained(space.v_gk, None, space.covariance_kk, np.zeros(len(space.names)))
    if space.noise_g is None or space.covariance is None:
        raise SetupError(
            f"Found no var[{_keys.NOISE_VARIANCE!r}] or no joint covariance in uns[{_keys.UNS!r}], expected both: they "
            "are in the denominator. Call model.annotate(adata) again."
        )
    return explained(space.v_gk, space.w_gd, space.covariance, space.noise_g)


def _by_gene(space: GeneSpace, parts: Explained) -> pd.DataFrame:
    with np.errstate(invalid="ignore", divide="ignore"):
        per_g = 1.0 / parts.total_g
        per_g[~np.isfinite(per_g)] = np.nan
    return pd.DataFrame(
        {
            "gene": list(space.names),
            "linear": parts.linear_g * per_g,
            "remainder": parts.remainder_g * per_g,
            "full": (parts.linear_g + parts.remainder_g) * per_g,
            "noise": parts.noise_g * per_g,
            "variance": parts.total_g,
            "measured": np.full(len(space.names), np.nan) if space.r2_g is None else space.r2_g,
        }
    )
