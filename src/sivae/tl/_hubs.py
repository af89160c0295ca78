"""Which genes are central, and which follow anything at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import number
from sivae._door import door
from sivae._errors import OptionError, SetupError
from sivae._space import read_space
from sivae._values import has_values
from sivae.graph import _hubs
from sivae.stats._fdr import adjust
from sivae.stats._partial import rank_residual
from sivae.tl._held_out import read_values
from sivae.tl._similarity import correlation_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._space import GeneSpace

    Array: TypeAlias = NDArray[np.float64]

Score = Literal["auto", "strength", "power", "norm", "degree", "explained", "attribution"]
SCORES: Final[tuple[str, ...]] = get_args(Score)
AUTO: Final = "strength"
"""Chosen by measurement: docs/defaults.md."""


@door
def hubs(
    adata: AnnData, score: Score = "auto", *, fdr: float = 0.05, top: float = 0.05, use_rep: str | None = None
) -> None:
    """Score how central each gene is, and call the genes that follow anything and the hubs among them.

    Works on what `SiVAE.annotate` wrote, without a model and without X. C_gh is the correlation that the trained
    decoder implies (`gene_neighbors`, "correlation").

    Parameters
    ----------
    adata
        Annotated AnnData.
    score
        Higher is more central, and a gene at the origin has the lowest, under every one. `"strength"`: mean over the
        other genes of abs(C_gh). `"power"`: mean of C_gh^2, the share of their variance that a line on this gene alone
        explains. `"norm"`: length of the loadings, sqrt(v' Cov(z) v). `"degree"`: edges in the graph of the 1 % of
        pairs of largest abs(C_gh). `"explained"`: share of the gene's variance explained on held-out cells.
        `"attribution"`: mean over the other genes of abs(e_g . v_h), encoder times decoder. `"auto"` is `"strength"`,
        by measurement (docs/defaults.md).
    fdr
        False discovery rate of `sivae_connected`.
    top
        Share of the genes with a position that can be hubs.
    use_rep
        Array of `varm`; the loadings of siVAE if not given. Another embedding has no evidence: no gene is called, and
        `"explained"` and `"attribution"` are not there.

    Returns
    -------
    Nothing. Writes, NaN or False for genes without a position,

    `var["sivae_hub_score"]`
        The score.
    `var["sivae_connected_qvalue"]`
        Benjamini-Hochberg q-value of `var["sivae_connected_pvalue"]`: does the prediction of a gene from the other
        genes correlate with its values on validation cells?
    `var["sivae_connected"]`
        Whether that is at most `fdr`.
    `var["sivae_hub"]`
        Connected, and among the `top` of all scores.
    `uns["sivae"]["hubs"]`
        The parameters.

    Raises
    ------
    OptionError
        If there is no such score, or a rate is not between 0 and 1.
    SetupError
        If the AnnData is not annotated, or lacks what the score needs.

    Notes
    -----
    Choi, Li and Quon 2023 (doi 10.1186/s13059-023-02850-y) rank genes by what is explained of them.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=1, genes_per_factor=20)
    >>> sivae.tl.hubs(adata, use_rep="planted_v")
    >>> bool((adata.var["sivae_hub_score"][:20] > 0).all())
    True
    """
    fdr, top = _rate("fdr", fdr), _rate("top", top)
    space = read_space(adata, use_rep)
    score_g = score_of(space, score)
    q_g = adjust(space.pvalue_g) if space.pvalue_g is not None else np.full(len(score_g), np.nan)
    connected_g = np.nan_to_num(q_g, nan=1.0) <= fdr
    columns = {
        _keys.HUB_SCORE: space.spread(score_g),
        _keys.CONNECTED_Q: space.spread(q_g),
        _keys.CONNECTED: space.spread(connected_g, fill=False),
        _keys.HUB: space.spread(connected_g & among_top(score_g, top), fill=False),
    }
    for key, values in columns.items():
        adata.var[key] = values
    parameters = {"score": AUTO if score == "auto" else score, "fdr": fdr, "top": top, "use_rep": space.rep}
    adata.uns[_keys.UNS] = {**dict(adata.uns.get(_keys.UNS, {})), "hubs": parameters}


@door
def hub_table(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    fdr: float = 0.05,
    top: float = 0.05,
    layer: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """List every centrality of every gene, with the evidence, and given mean expression and detection.

    Parameters
    ----------
    adata
        Annotated AnnData; where it holds values, mean and detection are told.
    use_rep
        Array of `varm`; the loadings of siVAE if not given.
    fdr
        False discovery rate of `connected`.
    top
        Share of the genes with a position that can be hubs.
    layer
        Layer with the values; the one that the model was set up with if not given, or X.
    seed
        Chooses among more than 5,000 cells.

    Returns
    -------
    Frame indexed by gene, most central first: `score` (as of `hubs`), the centralities that are known (`strength`,
    `power`, `norm`, `degree`, `explained`, `attribution`), where there is evidence `p`, `q`, `connected` and
    `hub`; with values also `mean` (of log-normalised training cells), `detection` (share of the training cells) and
    `score_given_expression`: the rank of the score (0 to 1) less what a line on the ranks of mean and detection says.

    Raises
    ------
    SetupError
        If the AnnData is not annotated.
    OptionError
        If a rate is not between 0 and 1.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 60, n_factors=1, genes_per_factor=20)
    >>> table = sivae.tl.hub_table(adata, use_rep="planted_v")
    >>> bool((table["detection"] <= 1).all()) and "score_given_expression" in table
    True
    """
    fdr, top = _rate("fdr", fdr), _rate("top", top)
    space = read_space(adata, use_rep)
    score_g = score_of(space, "auto")
    columns: dict[str, NDArray[np.generic]] = {"score": score_g}
    for name in SCORES[1:]:
        if name not in _needs(space):
            columns[name] = score_g if name == AUTO else score_of(space, name)
    if space.pvalue_g is not None:
        q_g = adjust(space.pvalue_g)
        connected_g = np.nan_to_num(q_g, nan=1.0) <= fdr
        columns |= {"p": space.pvalue_g, "q": q_g, "connected": connected_g}
        columns["hub"] = connected_g & among_top(score_g, top)
    if has_values(adata, layer):
        values, _ = read_values(adata, space, layer=layer, seed=seed)
        columns["mean"], columns["detection"] = values.mean_g, values.detection_g
        columns["score_given_expression"] = rank_residual(score_g, np.column_stack([values.mean_g, values.detection_g]))
    table = pd.DataFrame(columns, index=pd.Index(space.names, name="gene"))
    best = np.lexsort((np.array(space.names), -score_g))
    return table.iloc[best]


def score_of(space: GeneSpace, score: str) -> Array:
    """A centrality of the genes of a space, (g,).

    Raises
    ------
    OptionError
        If there is no such score.
    SetupError
        If the AnnData lacks what it needs.
    """
    if score not in SCORES:
        raise OptionError(f"Found score={score!r}, expected one of {', '.join(SCORES)}. Choose one of these.")
    score = AUTO if score == "auto" else score
    missing = _needs(space).get(score)
    if missing:
        raise SetupError(
            f"score={score!r} needs {missing}, which varm[{space.rep!r}] does not come with. Leave use_rep out and "
            f"call model.annotate(adata), or take score='{AUTO}'."
        )
    if score == "norm":
        return _hubs.norm(space.v_gk, space.covariance_kk)
    if score == "explained":
        assert space.r2_g is not None
        return space.r2_g
    if score == "attribution":
        assert space.encoder_gk is not None
        return _hubs.attribution(space.encoder_gk, space.v_gk)
    function = {"strength": _hubs.strength, "power": _hubs.power, "degree": _hubs.degree}[score]
    return function(correlation_of(space))


def _rate(name: str, value: float) -> float:
    return number(name, value, allowed=lambda x: 0 < x < 1, expected="a number between 0 and 1", hint="0.05 is usual.")


def among_top(score_g: Array, top: float) -> NDArray[np.bool_]:
    """Whether a score is among the share `top` of the scores that are known; equal scores are in together."""
    known = score_g[np.isfinite(score_g)]
    if len(known) == 0:
        return np.zeros(len(score_g), dtype=bool)
    n = max(1, int(top * len(known)))
    cut = float(np.partition(known, len(known) - n)[len(known) - n])
    return np.asarray(np.nan_to_num(score_g, nan=-np.inf) >= cut)


def _needs(space: GeneSpace) -> dict[str, str]:
    """What scores need and the space does not have."""
    missing = {}
    if space.r2_g is None:
        missing["explained"] = f"var[{_keys.R2!r}]"
    if space.encoder_gk is None:
        missing["attribution"] = f"varm[{_keys.ENCODER!r}]"
    return missing
