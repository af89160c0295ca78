"""Why a gene is predicted as it is, and why a cell lies where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from sivae._checks import check_adata, check_model, check_names, names, number, one_of
from sivae._door import door
from sivae._errors import CellMismatchError, GeneMismatchError, OptionError, some
from sivae._space import nearest_names
from sivae._values import part_of
from sivae.tl._cells import groups_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.tl._model import Explained, Explainer

    Array: TypeAlias = NDArray[np.float64]
    Positions: TypeAlias = NDArray[np.intp]

MOST_NUMBERS: Final = 20_000_000
"""Numbers of a result, at most."""
BASELINE: Final = "(baseline)"
OTHERS: Final = "(other genes)"


@door
def contributions(
    adata: AnnData,
    model: Explainer,
    *,
    side: Literal["decoder", "encoder"] = "decoder",
    genes: str | Sequence[str] | None = None,
    cells: str | Sequence[str] | None = None,
    groupby: str | None = None,
    axes: str | Sequence[str] | None = None,
    tolerance: float = 1e-3,
) -> pd.DataFrame:
    """Take a prediction (decoder side) or a cell's position (encoder side) apart into what it is the sum of.

    Decoder side, why is this gene high here: with gain t of the cell's batch::

        eta_cg = bias_g + offsets + sum_k s_g t_cg z_ck v_gk + s_g t_cg h_c.w_g,

    one column for each summand and one for eta: the standardised value under "normal", else the log of the rate (the
    library is not in it).

    Encoder side, why is this cell here: the encoder is a linear map A and a perceptron f of the standardised values x
    without the effect of covariates, so with the baseline x = 0, the mean cell::

        z_ck = f_k(0) + sum_g [ x_cg A_gk + x_cg integral_0^1 df_k/dx_g (t x_c) dt ],

    the linear part exact, the integral (integrated gradients) in as many steps as it needs to settle. Across each step
    slopes are those of secants, so the sum holds to rounding whatever the number of steps.

    Parameters
    ----------
    adata
        Cells with the modelled genes.
    model
        A trained `SiVAE`. Axes are turned as the model is.
    side
        "decoder" or "encoder".
    genes
        Modelled genes wanted; all if None. On the encoder side the others are summed up in one row.
    cells
        Names of the cells wanted; all if None.
    groupby
        Column of `obs`: means over the cells of each group instead of single cells.
    axes
        Axes wanted on the encoder side ("axis1", ...); all if None.
    tolerance
        Encoder side: steps are doubled until the error of the integral is estimated to be below, in units of z, per
        cell and axis (absolute errors summed over the units of the encoder's first layer).

    Returns
    -------
    Decoder: a row per cell (or group) and gene; columns cell or group, gene, bias, covariates, axis1, ..., remainder,
    predictor (their sum). Encoder: a row per cell (or group), axis and gene; columns cell or group, axis, gene, linear,
    nonlinear, total. Its gene "(baseline)" is the position of the mean cell, "(other genes)" are those not asked for;
    the totals of a cell sum to its z.

    Raises
    ------
    OptionError, GeneMismatchError, CellMismatchError
        If a name is unknown, or the result would have more than 20 million numbers: name genes or cells, or groups.

    References
    ----------
    Sundararajan, Taly, Yan 2017, integrated gradients, arXiv 1703.01365. Shrikumar, Greenside, Kundaje 2017, secants,
    arXiv 1704.02685. Choi, Li, Quon 2023, attribution, doi 10.1186/s13059-023-02850-y.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(200, 40)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=2)
    >>> history = model.train(max_epochs=1, progress=False)
    >>> table = sivae.tl.contributions(adata, model, genes=model.genes[0], groupby="group")
    >>> parts = table[["bias", "covariates", "axis1", "axis2", "remainder"]].sum(axis=1)
    >>> bool(abs(parts - table["predictor"]).max() < 1e-9)
    True
    """
    check_adata(adata)
    check_model("model", model, "explain")
    one_of("side", side, ("decoder", "encoder"))
    tolerance = number("tolerance", tolerance, allowed=lambda x: x > 0, expected="more than 0", hint="Take 0.001.")
    units = _units(adata, _listed("cells", cells), groupby)
    explanation = model.explain(units.adata)
    genes_f = _positions("gene", _listed("genes", genes), explanation.genes)
    axes_a = _positions("axis", _listed("axes", axes), explanation.axes)
    per_gene = len(explanation.axes) + 4 if side == "decoder" else 3 * len(axes_a)
    _refuse_too_much(len(units.names) * len(genes_f) * per_gene, units)
    if side == "decoder":
        if axes is not None:
            raise OptionError("axes= belongs to the encoder side; on the decoder side every axis is one column.")
        return _decoder(explanation, units, genes_f)
    return _encoder(explanation, units, genes_f, axes_a, tolerance=tolerance, rest=genes is not None)


@dataclass(frozen=True)
class _Units:
    """What a row is about: cells, or groups of cells."""

    adata: AnnData
    kind: str
    names: Sequence[str]
    unit_n: Positions


def _units(adata: AnnData, cells: list[str] | None, groupby: str | None) -> _Units:
    if cells is not None:
        check_names(adata, "obs_names")
        rows = adata.obs_names.get_indexer(pd.Index(cells))
        if (rows < 0).any():
            gone = [cell for cell, row in zip(cells, rows, strict=True) if row < 0]
            raise CellMismatchError(
                f"Found no cell {some(gone)}, expected names in obs_names ({some(adata.obs_names, 3)})."
            )
        adata = part_of(adata, rows)
    if groupby is None:
        return _Units(adata, "cell", [str(name) for name in adata.obs_names], np.arange(adata.n_obs))
    groups = groups_of(adata, groupby)
    return _Units(adata, "group", groups.names, groups.group_n)


def _decoder(explanation: Explained, units: _Units, genes_f: Positions) -> pd.DataFrame:
    parts = explanation.decoder(units.unit_n, len(units.names), genes_f)
    gene_f = np.array(explanation.genes, dtype=object)[genes_f]
    table = pd.DataFrame(
        {
            units.kind: np.repeat(np.array(units.names, dtype=object), len(gene_f)),
            "gene": np.tile(gene_f, len(units.names)),
            **{name: part_uf.ravel() for name, part_uf in parts.items()},
        }
    )
    return table.assign(predictor=table[list(parts)].sum(axis=1))


def _encoder(
    explanation: Explained, units: _Units, genes_f: Positions, axes_a: Positions, *, tolerance: float, rest: bool
) -> pd.DataFrame:
    found = explanation.encoder(units.unit_n, len(units.names), genes_f, axes_a, tolerance=tolerance)
    baseline_ua = found["baseline"]
    rows = [BASELINE, *(explanation.genes[g] for g in genes_f), *([OTHERS] if rest else [])]
    columns = {}
    for name, at_baseline_ua in (("linear", np.zeros_like(baseline_ua)), ("nonlinear", baseline_ua)):
        parts = [at_baseline_ua[:, None], found[name], *([found[f"other_{name}"][:, None]] if rest else [])]
        columns[name] = np.concatenate(parts, axis=1).transpose(0, 2, 1).ravel()
    u, a = baseline_ua.shape
    table = pd.DataFrame(
        {
            units.kind: np.repeat(np.array(units.names, dtype=object), a * len(rows)),
            "axis": np.tile(np.repeat(np.array(explanation.axes, dtype=object)[axes_a], len(rows)), u),
            "gene": np.tile(np.array(rows, dtype=object), u * a),
            **columns,
        }
    )
    return table.assign(total=table["linear"] + table["nonlinear"])


def _listed(what: str, wanted: str | Sequence[str] | None) -> list[str] | None:
    if wanted is None:
        return None
    listed = [wanted] if isinstance(wanted, str) else names(what, wanted)
    if not listed:
        raise OptionError(f"{what} is empty; expected one name or more. Leave it out for all of them.")
    return listed


def _positions(kind: str, wanted: list[str] | None, known: Sequence[str]) -> Positions:
    if wanted is None:
        return np.arange(len(known))
    place = {name: position for position, name in enumerate(known)}
    unknown = [name for name in wanted if name not in place]
    if unknown and kind == "axis":
        raise OptionError(f"Found no axis {some(unknown)}, expected some of {some(known, 50)}.")
    if unknown:
        near = nearest_names(unknown[0], known)
        hint = f"Did you mean {' or '.join(near)}?" if near else "Check how genes are named in var_names."
        raise GeneMismatchError(f"The model was not trained on {some(unknown)}. {hint}")
    return np.array([place[name] for name in wanted], dtype=np.intp)


def _refuse_too_much(numbers: int, units: _Units) -> None:
    if numbers > MOST_NUMBERS:
        raise OptionError(
            f"The result would hold {numbers:,} numbers for {len(units.names)} {units.kind}s, expected at most "
            f"{MOST_NUMBERS:,}. Name genes or cells, or take means with groupby."
        )
