"""Several embeddings of the same genes as one, with what they agree on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._checks import check_adata, one_of
from sivae._door import door
from sivae._errors import GeneMismatchError, OptionError, some
from sivae._space import read_space
from sivae._values import refuse_view
from sivae.graph._align import align, principal_turn, stability, turn_onto

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]


@door
def consensus(
    adata: AnnData,
    embeddings: Sequence[str | pd.DataFrame],
    *,
    axes: Literal["first", "variance"] = "first",
    key_added: str = _keys.CONSENSUS,
) -> None:
    """Turn the gene embeddings of several seeds onto each other and average them.

    Generalised Procrustes analysis: orthogonal R_s and a consensus M that minimise ``sum_s |V_s R_s - M|^2``, without
    centring or scaling. The stability of a gene is the mean inner product of its positions in two seeds over their mean
    squared length::

        stability_g = sum_{s != t} v_sg.v_tg / ((S - 1) sum_s |v_sg|^2)

    It is 1 where all agree, about 0 where its place is chance of training. Seeds see the same cells: a stable place is
    not yet evidence that a gene follows anything.

    Parameters
    ----------
    adata
        AnnData to write to; genes are matched by name.
    embeddings
        Two or more, each the name of an array of `varm` or a frame indexed by gene
        (`model.get_feature_representation()`), all with the same number of axes. See `sivae.ensemble`.
    axes
        "first": axes as in the first embedding (order, sign, meaning); "variance": in falling order of squared
        loadings, with a positive sum of cubed loadings, which does not depend on the order of the embeddings.
    key_added
        Name of the consensus in `varm`, and prefix of its variance.

    Returns
    -------
    Nothing. Writes `varm["X_sivae_consensus"]` (g, k); `varm["X_sivae_consensus_var"]` (g, k), the variance between
    seeds after turning; `var["sivae_stability"]`. Genes that lack a position in any embedding are NaN. Other tools read
    the consensus as `use_rep`.

    Raises
    ------
    OptionError, SetupError, GeneMismatchError
        If there are fewer than two embeddings, their axes differ, or they share too few genes.

    References
    ----------
    Gower 1975, Psychometrika 40:33, doi 10.1007/BF02291478. Schonemann 1966, Psychometrika 31:1, doi
    10.1007/BF02289451. The stability is this package's.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(200, 40, n_factors=2)
    >>> adata.varm["turned"] = adata.varm["planted_v"][:, ::-1]
    >>> sivae.tl.consensus(adata, ["planted_v", "turned"])
    >>> bool(abs(adata.varm["X_sivae_consensus"] - adata.varm["planted_v"]).max() < 1e-9)
    True
    """
    check_adata(adata)
    one_of("axes", axes, ("first", "variance"))
    several = isinstance(embeddings, Sequence) and not isinstance(embeddings, str | bytes) and len(embeddings) > 1
    if not several or not all(isinstance(embedding, str | pd.DataFrame) for embedding in embeddings):
        raise OptionError("Expected two or more embeddings, in a list: names of varm, or frames indexed by gene.")
    refuse_view(adata, "consensus")
    every = [_by_row(adata, embedding, number) for number, embedding in enumerate(embeddings, 1)]
    widths = [v_gk.shape[1] for v_gk in every]
    if len(set(widths)) > 1:
        raise OptionError(f"The embeddings have {some(widths, 20)} axes; expected the same number. Train them alike.")
    shared_g = np.all([np.isfinite(v_gk).all(axis=1) for v_gk in every], axis=0)
    if shared_g.sum() <= widths[0]:
        raise GeneMismatchError(
            f"{int(shared_g.sum())} genes of this AnnData have a position in all {len(every)} embeddings, expected "
            f"more than the {widths[0]} axes. Check how genes are named."
        )
    known = [v_gk[shared_g] for v_gk in every]
    turned, mean_gk = align(known)
    turn_kk = turn_onto(mean_gk, known[0]) if axes == "first" else principal_turn(mean_gk)
    between_gk = np.var(turned @ turn_kk, axis=0, ddof=1)
    adata.varm[key_added] = _spread(mean_gk @ turn_kk, shared_g)
    adata.varm[f"{key_added}_var"] = _spread(between_gk, shared_g)
    adata.var[_keys.STABILITY] = _spread(stability(turned), shared_g)


def _by_row(adata: AnnData, embedding: str | pd.DataFrame, number: int) -> Array:
    """One embedding as rows of `var`, NaN where it has none, (n_vars, k)."""
    if isinstance(embedding, str):
        space = read_space(adata, embedding)
        return np.asarray(space.spread(space.v_gk), np.float64)
    if not embedding.index.is_unique:
        twice = embedding.index[embedding.index.duplicated()].unique()
        raise GeneMismatchError(f"Embedding {number} holds {some(twice)} more than once, expected each gene once.")
    return embedding.reindex(adata.var_names).to_numpy(np.float64)


def _spread(values: Array, shared_g: NDArray[np.bool_]) -> Array:
    result = np.full((len(shared_g), *values.shape[1:]), np.nan)
    result[shared_g] = values
    return result
