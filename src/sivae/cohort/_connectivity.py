"""One gene space per individual, and how connected each gene is in it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import pandas as pd

import sivae
from sivae import _keys
from sivae._checks import a_name, a_path, check_adata, check_names, number, one_of, whole_number
from sivae._door import door
from sivae._errors import OptionError, some, warn
from sivae._values import frame, part_of
from sivae.cohort._apart import fit_spaces
from sivae.cohort._assemble import assemble
from sivae.cohort._individuals import individuals_of
from sivae.cohort._shared import read_spaces
from sivae.model._rates import encoder_of, plain_rates, rates
from sivae.model._sivae import SiVAE

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.cohort._individuals import Individuals
    from sivae.cohort._shared import Spaces
    from sivae.model._rates import Rates

    Array = NDArray[np.float64]

Mode = Literal["shared", "separate"]
MODES: Final[tuple[str, ...]] = get_args(Mode)
N_LATENT: Final = 20
"""Axes of a model that is trained here."""
N_CLUSTERS: Final = 8
"""Clusters of the cell map that stand for cell types where none are given."""
logger = logging.getLogger("sivae")


@door
def connectivity(
    adata: AnnData,
    sample_key: str,
    *,
    mode: Mode = "shared",
    model: SiVAE | None = None,
    cell_type_key: str | None = None,
    n_latent: int = N_LATENT,
    min_cells: int = 20,
    matched_cells: int | None = None,
    n_draws: int = 5,
    n_folds: int = 10,
    edge_share: float = 0.01,
    n_jobs: int | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
) -> AnnData:
    """Make one gene space per individual, and say how connected each gene is in each.

    `mode="shared"` reads every individual in the axes of one model (given, or trained here on all cells): a gene's
    position is its covariance, within the individual's cells, with what the cell encoder makes of all *other* genes.
    Nothing is trained again, spaces are comparable by construction, and 50 cells give an answer. Four things that would
    pass for connectivity are taken out: the shift of cell types (covariances within types, all individuals weighted to
    the cohort's composition; needs `cell_type_key`), a gene's own noise in the axes, lengths that grow as cells get
    fewer, and the noise of counting, which depth changes. A gene that is expressed more, all cells alike, keeps its
    position.

    `mode="separate"` is the published way: one model per individual, turned onto each other (Choi, Li, Quon 2023), with
    1 - mean squared error as explained variance. An individual whose model fails is left out and the rest kept. Its
    standard errors are those of the loadings; explained variance and degree have none, and there are no draws of equal
    size: cut individuals into equal parts with `subsets` for that.

    Parameters
    ----------
    adata
        Cells x genes with counts (or other values), as for `SiVAE`. If it was not set up, it is here.
    sample_key
        Column of `obs` with the individual of each cell; cells where it is missing are left out.
    mode
        "shared" or "separate".
    model
        Trained model of these genes, for "shared"; its cells need not be these.
    cell_type_key
        Column of `obs` with cell types, within which covariances are taken.
    n_latent
        Axes of the models that are trained here.
    min_cells
        Individuals with fewer cells are left out with a warning.
    matched_cells, n_draws
        For the control: cells drawn from each individual (those of the smallest if None), and how many draws.
    n_folds
        Parts of an individual's cells, left out one at a time for standard errors.
    edge_share
        Share of the pairs of genes that are edges of an individual's graph.
    n_jobs, folder
        For "separate": models trained at a time (None: what `joblib.parallel_config` says, or 1), and where finished
        ones are kept, so that a second call goes on. A back end that is set (`joblib.parallel_config("dask")`) is used.
    seed
        Of training, folds and draws.

    Returns
    -------
    AnnData, individuals x genes. `X` is `layers["projection"]`: the length of a gene's position along the direction
    that it has in all other individuals, linear in the individual's cells; negative where it points away. Further
    layers: `"explained_variance"`, `"norm"`, `"degree"`, `"strength"`; each with `"_se"`, its standard error over
    cells (a jackknife over groups of cells, smoothed over individuals; for explained variance up to 1.4 times too
    large); `"mean_expression"` and `"detection"`. NaN where a gene is absent from an individual. `obs`: every column
    that is constant within individuals, `sivae_n_cells`, `sivae_depth`. `obsm`: `sivae_positions` (individuals, genes,
    latent), `sivae_edges` (individuals, pairs; 0 or 1) and `sivae_edge_strength` for the pairs named in
    `uns["sivae_cohort"]["edges"]` (the edges of all individuals, and further strong pairs of single ones and of the
    mean), `sivae_composition` (shares of cell types, or of clusters of the cell map where no types are given),
    `sivae_matched` (individuals, genes, draws). `uns["sivae_cohort"]`: mode, keys, individuals that were left out or
    failed. A slash in a name there becomes a division slash, as h5ad asks.

    Raises
    ------
    SetupError
        If a column is missing, or fewer than two individuals have enough cells.
    OptionError
        If an option cannot work, or a model is given for "separate".
    NotTrainedError
        If the model given is not trained.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted_cohort(n_individuals=6, n_cells=60, n_genes=200)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=5)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> samples = sivae.cohort.connectivity(adata, "donor", model=model, cell_type_key="cell_type")
    >>> samples.shape
    (6, 200)
    """
    check_request(adata, sample_key, mode=mode, model=model, cell_type_key=cell_type_key)
    min_cells = whole_number("min_cells", min_cells, least=3)
    individuals = individuals_of(adata, sample_key, cell_type_key=cell_type_key, min_cells=min_cells)
    n_folds, n_draws = whole_number("n_folds", n_folds, least=4), whole_number("n_draws", n_draws, least=1)
    if matched_cells is not None:
        matched_cells = whole_number("matched_cells", matched_cells, least=3)
    edge_share = number("edge_share", edge_share, allowed=lambda x: 0 < x < 1, expected="a number between 0 and 1")
    options = {"n_folds": n_folds, "n_draws": n_draws, "matched_cells": matched_cells, "edge_share": edge_share}
    if mode == "shared":
        model = train(adata, n_latent=n_latent, seed=seed) if model is None else model
        individuals, spaces, read, facts = _read_shared(adata, individuals, model, options, seed=seed)
    else:
        individuals, spaces, read, facts = _fit_separate(
            adata, sample_key, individuals, n_latent=n_latent, n_jobs=n_jobs, folder=folder, edge_share=edge_share,
            seed=seed,
        )  # fmt: skip
    record: dict[str, Any] = {
        "mode": mode, "sample_key": sample_key, "cell_type_key": cell_type_key or "",
        "n_individuals": len(individuals.names), "failed": dict(individuals.left_out), "seed": int(seed),
        "version": sivae.__version__, "edge_share": float(edge_share), "counts": read.depth_n is not None,
        "genes": list(read.genes),
    }  # fmt: skip
    return assemble(
        spaces, _obs(individuals, read), frame(adata.var).loc[list(read.genes)],
        controls=_controls(individuals, read), composition=_composition(individuals, model, adata, seed),
        edge_share=edge_share, record=record | facts,
    )  # fmt: skip


def _read_shared(
    adata: AnnData, individuals: Individuals, model: SiVAE, options: dict[str, Any], *, seed: int
) -> tuple[Individuals, Spaces, Rates, dict[str, Any]]:
    read = rates(model, adata)
    encoder_gk = encoder_of(model, read.genes)
    names = [str(name) for name in adata.obs_names]
    spaces = read_spaces(read, encoder_gk, individuals, names, **options, seed=seed)
    return individuals, spaces, read, {"n_latent": int(model.options.n_latent)}


def _fit_separate(
    adata: AnnData,
    sample_key: str,
    individuals: Individuals,
    *,
    n_latent: int,
    n_jobs: int | None,
    folder: str | Path | None,
    edge_share: float,
    seed: int,
) -> tuple[Individuals, Spaces, Rates, dict[str, Any]]:
    """Individuals whose model failed are left out with a warning; the others are kept."""
    _set_up(adata)
    cells = part_of(adata, np.sort(individuals.cells))
    spaces, found = fit_spaces(
        cells, sample_key, genes=[str(name) for name in adata.var_names],
        n_cells={name: len(rows) for name, rows in zip(individuals.names, individuals.rows, strict=True)},
        n_latent=n_latent, n_jobs=n_jobs, folder=None if folder is None else a_path("folder", folder),
        edge_share=edge_share, seed=seed,
    )  # fmt: skip
    if found.failed:
        words = some([f"{name} ({why})" for name, why in found.failed.items()])
        warn(f"{len(found.failed)} individuals failed and are left out: {words}. The others are kept.")
    if found.left_out:
        warn(
            f"{len(found.left_out)} genes vary in fewer than half of the individuals and are left out: "
            f"{some(found.left_out)}."
        )
    read = plain_rates(part_of(adata, genes=list(found.genes)))
    return individuals.only(found.individuals, found.failed), spaces, read, {"n_latent": int(n_latent)}


def check_request(adata: AnnData, sample_key: str, *, mode: str, model: object, cell_type_key: str | None) -> None:
    check_adata(adata)
    check_names(adata, "obs_names", "var_names")
    a_name("sample_key", sample_key, "a column of obs")
    a_name("cell_type_key", cell_type_key, "a column of obs")
    one_of("mode", mode, MODES)
    if model is None:
        return
    if mode == "separate":
        raise OptionError(
            "Found a model together with mode='separate', which trains one for each individual. "
            "Leave the model out, or use mode='shared'."
        )
    if not isinstance(model, SiVAE):
        raise OptionError(f"model is a {type(model).__name__}; expected a trained SiVAE, or None to train one here.")


def _set_up(adata: AnnData) -> None:
    if "setup" not in adata.uns.get(_keys.UNS, {}):
        SiVAE.setup_anndata(adata)


def train(adata: AnnData, *, n_latent: int, seed: int) -> SiVAE:
    _set_up(adata)
    model = SiVAE(adata, n_latent=n_latent, seed=seed)
    model.train(progress=False)
    return model


def _obs(individuals: Individuals, read: Rates) -> pd.DataFrame:
    obs = individuals.obs.copy()
    obs[_keys.N_CELLS] = [len(rows) for rows in individuals.rows]
    obs[_keys.DEPTH] = [float(read.counts_n[rows].mean()) for rows in individuals.rows]
    return obs


def _controls(individuals: Individuals, read: Rates) -> dict[str, Array]:
    """What a change of connectivity has to be told from: mean expression and detection, (s, g) each."""
    means, detected = [], []
    for rows in individuals.rows:
        values = read.rate_ng[rows]
        if read.depth_n is None:
            means.append(np.asarray(values.mean(axis=0)).ravel())
        else:
            depth_c = read.depth_n[rows]
            total_g = np.asarray(values.T @ depth_c).ravel()
            means.append(np.log1p(1e4 * total_g / max(float(read.counts_n[rows].sum()), 1e-12)))
        shown_g = np.count_nonzero(values, axis=0) if isinstance(values, np.ndarray) else values.getnnz(axis=0)
        detected.append(shown_g / len(rows))
    return {_keys.MEAN_EXPRESSION: np.array(means), _keys.DETECTION: np.array(detected)}


def _composition(individuals: Individuals, model: SiVAE | None, adata: AnnData, seed: int) -> pd.DataFrame | None:
    """Share of each cell type; of clusters of the cell map where no types are given and there is one for all."""
    label_n, names = individuals.type_n, individuals.types
    if names == ("",) and model is None:
        return None
    if names == ("",):
        assert model is not None
        label_n, names = _clusters(individuals, model, adata, seed)
    counts = [np.bincount(label_n[rows], minlength=len(names)) for rows in individuals.rows]
    share_st = np.array(counts) / np.sum(counts, axis=1, keepdims=True)
    return pd.DataFrame(share_st, index=pd.Index(list(individuals.names)), columns=list(names))


def _clusters(
    individuals: Individuals, model: SiVAE, adata: AnnData, seed: int
) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    from sklearn.cluster import KMeans

    rows = individuals.cells
    z_ck = model.get_latent_representation(part_of(adata, np.sort(rows)))
    found = KMeans(min(N_CLUSTERS, len(rows)), n_init=3, random_state=seed).fit_predict(z_ck)
    label_n = np.zeros(adata.n_obs, np.intp)
    label_n[np.sort(rows)] = found
    return label_n, tuple(f"cluster{t}" for t in range(int(found.max()) + 1))
