"""How alike individuals are: by their gene graphs, or by where their genes lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from sivae import _keys
from sivae._checks import check_adata, check_names, names, one_of, whole_number
from sivae._door import door
from sivae._errors import GeneMismatchError, OptionError, SetupError, some, warn
from sivae.cohort._phenotype import dense
from sivae.cohort._samples import read_positions
from sivae.graph import _graph_kernels as kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Method = Literal["edges", "vertex", "weisfeiler-lehman", "positions"]
METHODS: Final[tuple[str, ...]] = get_args(Method)
KERNELS: Final = ("vertex", "weisfeiler-lehman")


@door
def similarity(
    samples: AnnData,
    *,
    method: Method = "edges",
    genes: Sequence[str] | None = None,
    leave_out: Sequence[str] = (),
    iterations: int = 5,
    by_name: bool = False,
    noise_layer: str | None = None,
) -> pd.DataFrame:
    """Compare every two individuals' gene graphs, or their genes' positions: 1 where they are equal.

    Parameters
    ----------
    samples
        Individuals x genes, of `connectivity`.
    method
        `"edges"`: edges that both have over edges that either has (Jaccard). `"vertex"`: vertex histogram kernel, do
        equally many genes have 0, 1, 2, ... edges? `"weisfeiler-lehman"`: subtree kernel, do equally many genes have
        neighborhoods of the same shape? Both are normalized, with the number of edges as a gene's label, as in the
        paper, and know genes by that number alone. `"positions"`: where genes lie in the common axes.
    genes
        Names of the genes to compare; all if not given. Edges to other genes are left out.
    leave_out
        Names of genes to leave out, for example those of `expression_tracking`, as the paper does.
    iterations
        Rounds of Weisfeiler-Lehman refinement, 0 or more; 5 is usual.
    by_name
        For the two kernels: a gene's label holds its name too, so that no other gene can stand for it. By degree alone,
        as published, a hub that loses its edges is no change where another gene has as many instead.
    noise_layer
        For `"positions"` of your own that are not shrunk: layer with the standard error of a gene's position (root of
        the variances' sum over axes). Its square is taken off the squared distances, which it lifts by the sum of both
        individuals'; without it an individual of few cells is far from everyone. Those of `connectivity` are shrunk
        toward the cohort, the more the fewer the cells: leave it out.

    Returns
    -------
    Frame individuals x individuals. Also writes

    `obsp["sivae_similarity"]`
        The same.
    `uns["sivae_cohort"]["similarity"]`
        Method, parameters and number of genes.

    A map of an earlier similarity is taken out of `obsm`.

    Warns
    -----
    SiVAEWarning
        Naming genes that have no position in some individual: `"positions"` leaves them out.

    Raises
    ------
    OptionError
        If there is no such method, a number is too small, fewer than two genes are left, or an option is given that
        the method has no use for.
    GeneMismatchError
        If a gene that is named is not there.
    SetupError
        If there are fewer than two individuals, or the graphs or positions are not there or hold nothing.

    Notes
    -----
    Of positions the similarity is 1 - D^2 / (2 c), with D the root mean square distance over genes and c the mean over
    individuals and genes of the squared distance from the origin (less the noise): 1 for equal positions, 0 for
    unrelated ones, below 0 for opposite ones. Every method's sqrt(2 (1 - similarity)) is a distance, which
    `individuals_map` shows and `associate_map` tests.
    Sources: Shervashidze et al. 2011, Journal of Machine Learning Research 12:2539; Choi, Li and Quon 2023
    (doi 10.1186/s13059-023-02850-y).

    Examples
    --------
    >>> import anndata, numpy as np, sivae
    >>> samples = anndata.AnnData(np.zeros((3, 4)))
    >>> samples.obsm["sivae_positions"] = np.ones((3, 4, 2)) * np.array([1.0, 1.0, 2.0])[:, None, None]
    >>> sivae.cohort.similarity(samples, method="positions").round(2).loc["0"].tolist()
    [1.0, 1.0, 0.75]
    """
    _check_options(samples, method, iterations=iterations, by_name=by_name, noise_layer=noise_layer)
    rows = _chosen(samples, genes, leave_out)
    if method == "positions":
        position_sgk, variance_sg, known_g = _positions(samples, rows, noise_layer)
        if not known_g.all():
            warn(
                f"{int((~known_g).sum())} of {len(rows)} genes have no position in some individual and are left out "
                f"({some(samples.var_names[rows[~known_g]])})."
            )
        rows = rows[known_g]
        similarity_ss = _of_positions(position_sgk, variance_sg)
    else:
        present_se, ends_2e = _graphs(samples, rows)
        if method == "edges":
            similarity_ss = kernels.edge_overlap(present_se)
        elif method == "vertex":
            similarity_ss = kernels.vertex_histogram(present_se, ends_2e, len(rows), names=by_name)
        else:
            similarity_ss = kernels.weisfeiler_lehman(
                present_se, ends_2e, len(rows), iterations=int(iterations), names=by_name
            )
    record = _record(method, len(rows), iterations=iterations, by_name=by_name, noise_layer=noise_layer)
    samples.obsp[_keys.SIMILARITY] = similarity_ss
    if _keys.MAP in samples.obsm:
        del samples.obsm[_keys.MAP]
    kept = {key: value for key, value in read_record(samples).items() if key != "map"}
    samples.uns[_keys.COHORT] = {**kept, "similarity": record}
    return pd.DataFrame(similarity_ss, index=samples.obs_names.copy(), columns=samples.obs_names.copy())


def read_record(samples: AnnData) -> dict[str, Any]:
    """What `uns` says of the cohort, empty where it says nothing."""
    return dict(samples.uns.get(_keys.COHORT, {}))


def read_similarity(samples: AnnData) -> Array:
    """The similarity that was written, (s, s).

    Raises
    ------
    SetupError
        If there is none.
    """
    check_adata(samples)
    if _keys.SIMILARITY not in samples.obsp:
        raise SetupError(
            f"obsp has no {_keys.SIMILARITY!r}; expected the similarity of individuals. Call "
            "cohort.similarity(samples) first."
        )
    similarity_ss = dense(samples.obsp[_keys.SIMILARITY])
    if not np.isfinite(similarity_ss).all():
        raise SetupError(
            f"obsp[{_keys.SIMILARITY!r}] holds values that are not finite; expected the similarity of individuals. "
            "Call cohort.similarity(samples) again."
        )
    return similarity_ss


def _check_options(samples: AnnData, method: str, *, iterations: int, by_name: bool, noise_layer: str | None) -> None:
    check_adata(samples)
    check_names(samples, "obs_names", "var_names")
    one_of("method", method, METHODS)
    whole_number("iterations", iterations, least=0, hint="5 is usual.")
    if by_name and method not in KERNELS:
        raise OptionError(
            f"by_name is True, and method={method!r} knows genes by name in any case; expected it with 'vertex' or "
            "'weisfeiler-lehman'. Leave it out."
        )
    if noise_layer is not None and method != "positions":
        raise OptionError(
            f"noise_layer is {noise_layer!r}, and method={method!r} has no use for it; expected it with 'positions'. "
            "Leave it out."
        )
    if noise_layer is not None and noise_layer not in samples.layers:
        raise SetupError(
            f"layers has no {noise_layer!r}; it has: {some(samples.layers, 20) or 'none'}. Name the layer with the "
            "standard errors of the positions, or leave noise_layer out."
        )
    if samples.n_obs < 2:
        raise SetupError(
            f"Found {samples.n_obs} individuals, expected two or more to compare. Pass the individuals x genes of "
            "cohort.connectivity."
        )


def _chosen(samples: AnnData, genes: Sequence[str] | None, leave_out: Sequence[str]) -> NDArray[np.intp]:
    """Columns of the genes to compare, in the order of `var`."""
    wanted = list(samples.var_names) if genes is None else names("genes", genes)
    unwanted = names("leave_out", leave_out)
    unknown = [name for name in [*wanted, *unwanted] if name not in samples.var_names]
    if unknown:
        raise GeneMismatchError(
            f"{len(unknown)} genes are not in var_names ({some(unknown)}); expected names of the modelled genes. Leave "
            "them out, or write them as var_names does."
        )
    mask_g = samples.var_names.isin(wanted) & ~samples.var_names.isin(unwanted)
    if mask_g.sum() < 2:
        raise OptionError(
            f"genes and leave_out leave {int(mask_g.sum())} of {samples.n_vars} genes; expected two or more. Leave out "
            "fewer."
        )
    return np.flatnonzero(mask_g)


def _graphs(samples: AnnData, rows: NDArray[np.intp]) -> tuple[sparse.csr_matrix, NDArray[np.intp]]:
    """Edges among the chosen genes, (s, e), and their ends as places among these, (2, e)."""
    record = read_record(samples)
    table: Any = record["edges"] if "edges" in record else None
    if _keys.EDGES not in samples.obsm or not {"gene_a", "gene_b"} <= set(getattr(table, "columns", ())):
        raise SetupError(
            f"obsm[{_keys.EDGES!r}] or uns[{_keys.COHORT!r}]['edges'] is missing or is no table; expected the gene "
            "graphs of the individuals. Make them with cohort.connectivity, or take method='positions'."
        )
    place_g = np.full(samples.n_vars + 1, -1, np.intp)  # the last is of genes that are not there
    place_g[rows] = np.arange(len(rows))
    ends_2e = np.stack([place_g[samples.var_names.get_indexer(table[key].astype(str))] for key in ("gene_a", "gene_b")])
    kept_e = np.flatnonzero((ends_2e >= 0).all(axis=0))
    present_se = sparse.csr_matrix(samples.obsm[_keys.EDGES])
    if present_se.shape[1] != len(table):
        raise SetupError(
            f"obsm[{_keys.EDGES!r}] has {present_se.shape[1]} columns and the table of edges {len(table)} rows; "
            "expected one for one. Make both anew with cohort.connectivity."
        )
    present_se = sparse.csr_matrix(present_se.tocsc()[:, kept_e])
    if present_se.nnz == 0:
        raise SetupError(
            f"No individual has an edge between two of the {len(rows)} genes; expected some. Compare more genes, or "
            "take method='positions'."
        )
    return present_se, ends_2e[:, kept_e]


def _positions(
    samples: AnnData, rows: NDArray[np.intp], noise_layer: str | None
) -> tuple[Array, Array | None, NDArray[np.bool_]]:
    """Positions of the chosen genes, (s, g, k), their sampling variance, (s, g), and which of them all have, (g,)."""
    if _keys.POSITIONS not in samples.obsm:
        raise SetupError(
            f"obsm has no {_keys.POSITIONS!r}; expected positions of genes. Make them with cohort.connectivity, or "
            "take method='edges'."
        )
    position_sgk = np.asarray(read_positions(samples), np.float64)
    position_sgk = position_sgk[:, rows]
    known_g = np.asarray(np.isfinite(position_sgk).all(axis=(0, 2)), bool)
    variance_sg = None
    if noise_layer is not None:
        variance_sg = np.asarray(samples.layers[noise_layer], np.float64)[:, rows] ** 2
        known_g &= np.isfinite(variance_sg).all(axis=0)
    if known_g.sum() < 2:
        raise SetupError(
            f"{int(known_g.sum())} of {len(rows)} genes have a position (and a standard error) in every individual; "
            "expected two or more. Leave out the individuals that lack them."
        )
    return position_sgk[:, known_g], None if variance_sg is None else variance_sg[:, known_g], known_g


def _of_positions(position_sgk: Array, variance_sg: Array | None) -> Array:
    """1 - D^2 / (2 c), (s, s)."""
    noise = 0.0 if variance_sg is None else float(variance_sg.mean())
    scale = float((position_sgk**2).sum(axis=2).mean()) - noise
    if scale <= 0:
        raise SetupError(
            f"The mean square of genes' distances from the origin is {scale + noise:.3g}, that of their noise "
            f"{noise:.3g}; expected more than noise. " + ("Leave noise_layer out." if noise else "Compare other genes.")
        )
    distance_ss = kernels.position_distance(position_sgk, variance_sg)
    return np.asarray(1 - distance_ss**2 / (2 * scale), np.float64)


def _record(method: str, n_genes: int, *, iterations: int, by_name: bool, noise_layer: str | None) -> dict[str, Any]:
    """What is written of the method: the options that it has a use for."""
    record: dict[str, Any] = {"method": method, "n_genes": n_genes}
    if method in KERNELS:
        record["by_name"] = by_name
    if method == "weisfeiler-lehman":
        record["iterations"] = int(iterations)
    if method == "positions":
        record["noise_layer"] = noise_layer or ""
    return record
