"""One model for each individual, as in the article, and their gene spaces turned onto each other.

Source: Choi, Li, Quon 2023, Genome Biology 24:29 (doi 10.1186/s13059-023-02850-y); the turns are those of
`graph/_align.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sivae._errors import OptionError, SetupError, some
from sivae._values import frame, part_of
from sivae.cohort import _kept
from sivae.cohort._engine import PATIENCE, Outcome, run_all
from sivae.data._matrix import Matrix, as_matrix
from sivae.data._setup import Setup
from sivae.data._setup import setup as read_setup
from sivae.graph._align import align, principal_turn
from sivae.train._options import TrainOptions

Array = NDArray[np.float64]
STEPS: Final = (300, 2500)
"""Fewest and most steps; between them as many as the median individual has cells."""
CHECKS: Final = 20
"""Checks of the validation loss on the way: by then it has long been at its best in a few hundred cells."""
LEAST_SHARE: Final = 0.5
"""A gene that varies in fewer of the individuals is left out."""


@dataclass(frozen=True)
class Separate:
    """Gene spaces of S individuals, on the scale of values standardised within the individual.

    Parameters
    ----------
    individuals
        Names of those that worked.
    genes
        Names of the G genes that were modelled.
    position_sgk
        Position of each gene in common axes, loadings times Cov(z)^(1/2): inner products within an individual are the
        covariances of standardised values that the linear part of its model implies.
    variance_sgk
        Of the positions, over samples of cells. Their sum over the axes is exact; how it is shared out takes errors on
        different axes as independent.
    explained_sg
        1 - mean squared error of the standardised values of the individual's cells: the article's centrality.
    r2_sg
        The same on validation cells, relative to the mean of the training cells (`sivae_r2`); NaN without such cells.
    noise_sg
        Variance of the noise.
    varies_sg
        False where a gene is constant over the individual's training cells: it was given position 0, explained
        variance 0 and noise 1 there.
    failed
        "ErrorType: message" of the individuals that did not work.
    left_out
        Genes asked for that vary in fewer than half of the individuals.
    kept
        Individuals that were read from the folder.
    """

    individuals: tuple[str, ...]
    genes: tuple[str, ...]
    position_sgk: Array
    variance_sgk: Array
    explained_sg: Array
    r2_sg: Array
    noise_sg: Array
    varies_sg: NDArray[np.bool_]
    failed: dict[str, str]
    left_out: tuple[str, ...]
    kept: tuple[str, ...]

    def by_name(self) -> Separate:
        """The same, individuals in the order of their names."""
        order = sorted(range(len(self.individuals)), key=self.individuals.__getitem__)
        return replace(
            self,
            individuals=tuple(self.individuals[s] for s in order),
            position_sgk=self.position_sgk[order],
            variance_sgk=self.variance_sgk[order],
            explained_sg=self.explained_sg[order],
            r2_sg=self.r2_sg[order],
            noise_sg=self.noise_sg[order],
            varies_sg=self.varies_sg[order],
        )


@dataclass(frozen=True)
class _Payload:
    """All that the model of one individual is made of; cells and genes in the order of their names."""

    adata: ad.AnnData
    setup: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]
    seed: int


def fit_separately(
    adata: ad.AnnData,
    sample_key: str,
    *,
    genes: Sequence[str],
    model_options: Mapping[str, Any],
    train_options: Mapping[str, Any],
    setup: Mapping[str, Any],
    n_jobs: int | None = None,
    folder: Path | None = None,
    seed: int = 0,
    min_cells: int = 30,
    timeout: float | None = PATIENCE,
    progress: bool = False,
) -> Separate:
    """Train one model for each individual on the same genes, with the same options and seed, and align them.

    Values are standardised within each individual, and so is the depth that they are brought to. A covariate that is
    constant in an individual is left out there.

    Parameters
    ----------
    adata
        Cells x genes of all individuals, however stored; one individual at a time is read into memory.
    sample_key
        Column of `obs` that names the individual.
    genes
        Genes to model. Those that vary in fewer than half of the individuals are left out of all.
    model_options
        Arguments of `SiVAE` beside the AnnData and the seed.
    train_options
        Arguments of `SiVAE.train`; the accelerator is "cpu" if not given. Without a length there are as many steps as
        the median individual has cells, within 300 and 2,500, and 20 checks.
    setup
        Arguments of `SiVAE.setup_anndata`. normalize="auto" is decided on all cells together.
    n_jobs, folder, timeout, progress
        As in `run_all`.
    seed
        Of every model.
    min_cells
        Individuals with fewer cells fail.

    Returns
    -------
    `Separate`. Permuting individuals, cells or genes permutes it and changes nothing else.

    Raises
    ------
    SetupError, OptionError
        If the values or options cannot work for any individual, if no gene varies in half of them, or if all failed.
    """
    record = read_setup(adata, **_whole_setup(setup))
    rows = _rows_of_individuals(adata, sample_key)
    varies_sg = np.array([_varies(_values(adata, at, genes, record)) for at in rows.values()])
    usable_g = varies_sg.mean(axis=0) >= LEAST_SHARE
    kept_genes = [str(gene) for gene, usable in zip(genes, usable_g, strict=True) if usable]
    if not kept_genes:
        raise SetupError(
            f"None of the {len(genes)} genes varies in half of the {len(rows)} individuals. Choose others."
        )
    train = _training(train_options, int(np.median([len(at) for at in rows.values()])))
    load = partial(
        _load, adata, genes=sorted(kept_genes), record=record, model=dict(model_options), train=train, seed=seed,
        min_cells=min_cells,
    )  # fmt: skip
    outcome = run_all(
        fit_one, {name: partial(load, at) for name, at in rows.items()}, n_jobs=n_jobs, folder=folder,
        identity=identity, timeout=timeout, progress=progress,
    )  # fmt: skip
    left_out = tuple(str(gene) for gene, usable in zip(genes, usable_g, strict=True) if not usable)
    return _aligned(outcome, kept_genes, left_out)


def fit_one(payload: _Payload) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The gene space of one individual, genes in the order of their names."""
    from sivae.model._gene_space import gene_space
    from sivae.model._sivae import SiVAE

    SiVAE.setup_anndata(payload.adata, **payload.setup)
    model = SiVAE(payload.adata, **payload.model, seed=payload.seed)
    history = model.train(**payload.train, progress=False)
    if history.attrs["stopped"] == "interrupted":
        raise KeyboardInterrupt
    found = gene_space(model)
    varies_g = found.varies_g & _varies(payload.adata.X)
    arrays: dict[str, NDArray[Any]] = {
        "position_gk": np.where(varies_g[:, None], found.position_gk, 0.0),
        "variance_gk": np.where(varies_g[:, None], found.variance_gk, 0.0),
        "explained_g": np.where(varies_g, found.explained_g, 0.0),
        "r2_g": np.where(varies_g, found.r2_g, 0.0),
        "noise_g": np.where(varies_g, found.noise_g, 1.0),
        "varies_g": varies_g,
    }
    facts = {"last_step": int(history.attrs["last_step"]), "best_step": int(history.attrs["best_step"])}
    return arrays, facts | {"n_cells": payload.adata.n_obs}


def identity(payload: _Payload) -> dict[str, Any]:
    """What the result of a payload depends on."""
    adata = payload.adata
    x: Any = adata.X
    parts = [x] if isinstance(x, np.ndarray) else [x.indptr, x.indices, x.data]
    columns = {key: _kept.digest(frame(adata.obs)[key].astype(str).to_numpy(dtype=str)) for key in adata.obs}
    return {
        "task": "separate",
        "values": _kept.digest(*parts),
        "cells": _kept.digest(adata.obs_names.to_numpy(dtype=str)),
        "genes": _kept.digest(adata.var_names.to_numpy(dtype=str)),
        "obs": columns,
        "varm": {key: _kept.digest(np.asarray(adata.varm[key])) for key in adata.varm},
        "setup": _plain(payload.setup),
        "model": _plain(payload.model),
        "train": _plain(payload.train),
        "seed": payload.seed,
    }


def _rows_of_individuals(adata: ad.AnnData, sample_key: str) -> dict[str, NDArray[np.intp]]:
    """Rows of each individual, in the order of the categories, or of first appearance where there are none."""
    obs = frame(adata.obs)
    if sample_key not in obs:
        raise SetupError(f"obs has no column {sample_key!r}; it has: {some(obs, 20) or 'none'}. Name one of these.")
    column = obs[sample_key]
    if column.isna().any():
        raise SetupError(f"obs[{sample_key!r}] is missing for {int(column.isna().sum())} cells. Leave these cells out.")
    known = list(column.cat.categories) if isinstance(column.dtype, pd.CategoricalDtype) else list(column.unique())
    found = {str(value): np.flatnonzero((column == value).to_numpy()) for value in known}
    return {name: at for name, at in found.items() if len(at)}


def _varies(x: Matrix) -> NDArray[np.bool_]:
    """Genes that are not the same in all cells, (g,)."""
    if sparse.issparse(x):
        return np.asarray(x.max(axis=0).toarray().ravel() > x.min(axis=0).toarray().ravel())
    return np.asarray(x.max(axis=0) > x.min(axis=0))


def _values(adata: ad.AnnData, at: NDArray[np.intp], genes: Sequence[str], record: Setup) -> Matrix:
    columns = adata.var_names.get_indexer(pd.Index(genes))
    if (columns < 0).any():
        gone = [gene for gene, column in zip(genes, columns, strict=True) if column < 0]
        raise SetupError(f"{len(gone)} genes are not in the AnnData ({some(gone)}). Name genes of its var_names.")
    return as_matrix(part_of(adata, at), record.layer or None, columns)


def _load(
    adata: ad.AnnData, at: NDArray[np.intp], *, genes: list[str], record: Setup, model: dict[str, Any],
    train: dict[str, Any], seed: int, min_cells: int,
) -> _Payload:  # fmt: skip
    """The payload of one individual.

    Raises
    ------
    SetupError
        If it has too few cells, or no gene varies in them.
    """
    if len(at) < min_cells:
        raise SetupError(
            f"{len(at)} cells; expected at least {min_cells}. Leave the individual out, or lower min_cells."
        )
    x = _values(adata, at, genes, record)
    if not _varies(x).any():
        raise SetupError(f"All {len(genes)} genes are constant over its {len(at)} cells. Leave the individual out.")
    names = adata.obs_names[at].to_numpy(dtype=str)
    order = np.argsort(names, kind="stable")
    at, x = at[order], x[order]
    keys = [*record.categorical_keys, *record.continuous_covariate_keys]
    obs = frame(adata.obs).iloc[at]
    sized = [record.size_factor_key] if record.size_factor_key else []
    varying = [key for key in keys if obs[key].nunique() > 1]
    profile = model.get("profiles")
    columns = adata.var_names.get_indexer(pd.Index(genes))
    one = ad.AnnData(
        x,
        obs=obs[[*varying, *sized]].copy(),
        var=pd.DataFrame(index=genes),
        varm={profile: np.asarray(adata.varm[profile])[columns]} if profile in adata.varm else None,
    )
    return _Payload(one, _setup_of(record, varying), model, train, seed)


def _setup_of(record: Setup, varying: list[str]) -> dict[str, Any]:
    """Arguments of the set-up of one individual, with the covariates that vary in it."""
    return {
        "batch_key": record.batch_key if record.batch_key in varying else None,
        "categorical_covariate_keys": [key for key in record.categorical_covariate_keys if key in varying],
        "continuous_covariate_keys": [key for key in record.continuous_covariate_keys if key in varying],
        "size_factor_key": record.size_factor_key or None,
        "normalize": record.normalize,
    }


def _whole_setup(setup: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of the set-up, those not given at their defaults."""
    defaults: dict[str, Any] = {
        "layer": None, "batch_key": None, "categorical_covariate_keys": None, "continuous_covariate_keys": None,
        "size_factor_key": None, "normalize": "auto",
    }  # fmt: skip
    unknown = sorted(set(setup) - set(defaults))
    if unknown:
        raise OptionError(f"setup holds {some(unknown)}, expected some of {some(defaults, 9)}.")
    return defaults | dict(setup)


def _training(train_options: Mapping[str, Any], n_cells: int) -> dict[str, Any]:
    """The same arguments of `train` for every individual, with a length for few cells where none is given."""
    given = dict(train_options)
    reserved = sorted(set(given) & {"progress", "checkpoint_dir"})
    if reserved:
        raise OptionError(f"train_options holds {some(reserved)}, which cannot be set for many models. Leave it out.")
    options = given.get("options") or TrainOptions()
    if given.get("max_epochs") is None and options.max_steps is None:
        options = replace(options, max_steps=int(np.clip(n_cells, *STEPS)), checks=min(options.checks, CHECKS))
    return {"accelerator": "cpu"} | given | {"options": options}


def _plain(value: Any) -> Any:
    """Options as JSON can hold them."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def _aligned(outcome: Outcome, genes: list[str], left_out: tuple[str, ...]) -> Separate:
    """The gene spaces in common axes, genes in the order asked for."""
    results = outcome.results
    if not results:
        name, reason = next(iter(outcome.failed.items()))
        raise SetupError(f"All {len(outcome.failed)} individuals failed; of {name}: {reason}")
    order = np.argsort(np.argsort(genes))  # results are in the order of names

    def stack(key: str) -> NDArray[Any]:
        return np.stack([result.arrays[key][order] for result in results.values()])

    position_sgk, variance_sgk = stack("position_gk"), stack("variance_gk")
    turned, consensus_gk = align(list(position_sgk))
    axes_kk = principal_turn(consensus_gk)
    common_sgk = np.stack(turned) @ axes_kk
    return Separate(
        individuals=tuple(results),
        genes=tuple(genes),
        position_sgk=common_sgk,
        variance_sgk=np.stack(
            [
                _turned_variance(variance_gk, own_gk, new_gk)
                for variance_gk, own_gk, new_gk in zip(variance_sgk, position_sgk, common_sgk, strict=True)
            ]
        ),
        explained_sg=stack("explained_g"),
        r2_sg=stack("r2_g"),
        noise_sg=stack("noise_g"),
        varies_sg=stack("varies_g"),
        failed=outcome.failed,
        left_out=left_out,
        kept=outcome.kept,
    )


def _turned_variance(variance_gk: Array, own_gk: Array, new_gk: Array) -> Array:
    """Variances along new axes, from those along the old and the turn between them."""
    left, _, right = np.linalg.svd(own_gk.T @ new_gk)
    return np.asarray(variance_gk @ (left @ right) ** 2)
