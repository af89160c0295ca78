"""The gene space of an AnnData: every gene that has a position, and what is known of it. Needs no model and no X."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np

from sivae import _keys
from sivae._checks import check_adata, check_names
from sivae._errors import GeneMismatchError, SetupError, some

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]
    Positions: TypeAlias = NDArray[np.intp]


@final
@dataclass(frozen=True)
class GeneSpace:
    """Genes with a position, in the order of `var_names`; everything beyond the position may be unknown (None)."""

    names: tuple[str, ...]
    rows: Positions
    """Rows of the genes in the AnnData."""
    n_vars: int
    rep: str
    """Name of the array in `varm`."""
    v_gk: Array
    modelled_g: NDArray[np.bool_]
    """Genes that the model was trained on; all where nothing says so."""
    variance_gk: Array | None = None
    """Variance of the loadings over samples of cells."""
    w_gd: Array | None = None
    """Joint layer."""
    covariance: Array | None = None
    """Covariance of (z, h) over the training cells, (k + d, k + d)."""
    noise_g: Array | None = None
    """Variance of the noise on the scale of the loadings."""
    encoder_gk: Array | None = None
    """Mean derivative of z by the gene; 0 for genes never trained on."""
    r2_g: Array | None = None
    """Share of variance explained on validation cells."""
    pvalue_g: Array | None = None
    """Evidence that a gene follows anything."""
    n_cells: int | None = None
    """Training cells."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes, counted from 1."""
        return tuple(f"axis{axis + 1}" for axis in range(self.v_gk.shape[1]))

    @property
    def covariance_kk(self) -> Array:
        """Covariance of z over the training cells; the identity, its prior, where it is not known."""
        k = self.v_gk.shape[1]
        return np.eye(k) if self.covariance is None else self.covariance[:k, :k]

    def take(self, genes: Positions | NDArray[np.bool_]) -> GeneSpace:
        """Some of the genes (positions in this space, or a mask)."""
        at = np.arange(len(self.names))[genes]
        per_gene: dict[str, Any] = {"names": tuple(self.names[i] for i in at)}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "rows" or (field.name.rsplit("_", 1)[-1].startswith("g") and value is not None):
                per_gene[field.name] = value[at]
        return replace(self, **per_gene)

    def find(self, genes: str | Iterable[str]) -> Positions:
        """Positions of a gene, or of several, in this space, in the order asked.

        Raises
        ------
        GeneMismatchError
            Naming those that are not there, and the names nearest to the first of them.
        """
        place = {name: position for position, name in enumerate(self.names)}
        several = not isinstance(genes, str) and hasattr(genes, "__iter__")  # a name may be a number
        wanted = [str(gene) for gene in genes] if several else [str(genes)]
        unknown = [gene for gene in wanted if gene not in place]
        if unknown:
            near = nearest_names(unknown[0], self.names)
            hint = f"Did you mean {' or '.join(near)}?" if near else "Check how genes are named in var_names."
            raise GeneMismatchError(
                f"Found no gene {some(unknown)} with a position in varm[{self.rep!r}], expected one of "
                f"{len(self.names)} genes ({some(self.names, 3)}). {hint}"
            )
        return np.array([place[gene] for gene in wanted], dtype=np.intp)

    def spread(self, values_g: NDArray[Any], *, fill: Any = np.nan) -> NDArray[Any]:
        """Values per gene as a column over all of `var`, `fill` elsewhere, (n_vars, ...)."""
        values = np.asarray(values_g)
        result = np.full((self.n_vars, *values.shape[1:]), fill, dtype=np.result_type(values.dtype, type(fill)))
        result[self.rows] = values
        return result


def nearest_names(name: str, names: Iterable[str], *, n: int = 3) -> list[str]:
    """Names most like the one given: the same but for the case first, then by similarity of spelling."""
    every = list(names)
    same = [known for known in every if known.lower() == name.lower()]
    lower = {known.lower(): known for known in reversed(every)}
    close = [lower[found] for found in difflib.get_close_matches(name.lower(), list(lower), n=n, cutoff=0.6)]
    return list(dict.fromkeys(same + close))[:n]


def read_space(adata: AnnData, use_rep: str | None = None) -> GeneSpace:
    """Read the gene space that `SiVAE.annotate` wrote, or any other embedding of genes in `varm`.

    Parameters
    ----------
    adata
        Annotated AnnData; neither X nor a model is needed.
    use_rep
        Array of `varm`; the loadings of siVAE if None. Another array has positions alone.

    Raises
    ------
    SetupError
        If this is no AnnData, gene names occur twice, or the array is not there, is not a table of numbers, or no gene
        has a position in it.
    """
    check_adata(adata)
    check_names(adata, "var_names")
    rep = _keys.GENES if use_rep is None else use_rep
    position_gk = _positions(adata, rep)
    rows = np.flatnonzero(np.isfinite(position_gk).all(axis=1))
    if len(rows) == 0:
        raise SetupError(f"No gene has a finite position in varm[{rep!r}]. Annotate this AnnData again.")
    own = rep == _keys.GENES
    modelled = np.ones(len(rows), bool)
    if own and _keys.MODELLED in adata.var:
        modelled = adata.var[_keys.MODELLED].to_numpy(dtype=bool)[rows]
    space = GeneSpace(
        tuple(str(n) for n in adata.var_names[rows]), rows, adata.n_vars, rep, position_gk[rows], modelled
    )
    return replace(space, **_knowledge(adata, rows, position_gk.shape[1])) if own else space


def made_of_loadings(adata: AnnData) -> list[tuple[str, str]]:
    """Where in the AnnData there is something that tools made of the loadings, and its name."""
    return [(where, key) for where, keys in _keys.FROM_LOADINGS.items() for key in keys if key in getattr(adata, where)]


def forget(adata: AnnData) -> None:
    """Remove what tools made of the loadings of an earlier annotation."""
    for where, key in made_of_loadings(adata):
        del getattr(adata, where)[key]


def _positions(adata: AnnData, rep: str) -> Array:
    if rep not in adata.varm:
        hint = "Call model.annotate(adata) first." if rep == _keys.GENES else "Name one of these as use_rep."
        raise SetupError(
            f"Found no varm[{rep!r}], expected an embedding of genes; varm has: "
            f"{some(adata.varm.keys()) or 'nothing'}. {hint}"
        )
    try:
        values = np.asarray(adata.varm[rep], dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 2 or values.shape[1] == 0:
        raise SetupError(f"varm[{rep!r}] is not a table of numbers, genes x axes. Name another array as use_rep.")
    return values


def _knowledge(adata: AnnData, rows: Positions, n_axes: int) -> dict[str, Any]:
    """What `annotate` wrote beside the positions, where it is there."""
    found: dict[str, Any] = {}
    arrays = {"variance_gk": _keys.GENES_VAR, "w_gd": _keys.JOINT, "encoder_gk": _keys.ENCODER}
    columns = {"noise_g": _keys.NOISE_VARIANCE, "r2_g": _keys.R2, "pvalue_g": _keys.CONNECTED_P}
    for name, key in arrays.items():
        if key in adata.varm:
            found[name] = _table(adata.varm[key], f"varm[{key!r}]")[rows]
    for name, key in columns.items():
        if key in adata.var:
            found[name] = _column(adata, key)[rows]
    record = dict(adata.uns.get(_keys.UNS, {}))
    if "joint_covariance" in record:
        found["covariance"] = _covariance(record["joint_covariance"], n_axes, found.get("w_gd"))
    if "n_training_cells" in dict(record.get("facts", {})):
        found["n_cells"] = int(record["facts"]["n_training_cells"])
    return found


def _table(values: Any, where: str) -> Array:
    """A table of numbers, genes x axes or of a covariance."""
    try:
        table = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        table = np.empty(0)
    if table.ndim != 2:
        raise SetupError(f"{where} is not a table of numbers as annotate writes it. Annotate this AnnData again.")
    return table


def _column(adata: AnnData, key: str) -> Array:
    try:
        return np.asarray(adata.var[key].to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):
        raise SetupError(
            f"var[{key!r}] is not numeric ({adata.var[key].dtype}), expected numbers as annotate writes them. "
            "Annotate this AnnData again."
        ) from None


def _covariance(values: Any, n_axes: int, w_gd: Array | None) -> Array:
    """Covariance of (z, h), or of z where no joint layer is known."""
    where = f"uns[{_keys.UNS!r}]['joint_covariance']"
    found, width = _table(values, where), n_axes + (0 if w_gd is None else w_gd.shape[1])
    if found.shape[0] != found.shape[1] or found.shape[0] < width or not np.isfinite(found).all():
        raise SetupError(
            f"{where} has shape {found.shape}{'' if np.isfinite(found).all() else ' and is not finite'}, expected "
            f"({width}, {width}) of finite numbers as annotate writes it. Annotate this AnnData again."
        )
    return found
