"""SiVAE as users hold it: set up, train, read out, annotate, save and load."""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, final

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from sivae import _keys
from sivae._errors import CellMismatchError, GeneMismatchError, NotTrainedError, OptionError, some
from sivae._rng import torch_generator
from sivae.data import _setup
from sivae.data._expression import Design, Expression, Reader
from sivae.data._profiles import covariate_shift
from sivae.data._scaling import Scaling
from sivae.data._split import is_validation
from sivae.model import _annotate, _artefact, _build, _features, _finish, _linear, _predict
from sivae.nn._module import Architecture, SiVAEModule
from sivae.nn._objective import Weights
from sivae.stats._spectrum import Spectrum
from sivae.train import _loop
from sivae.train._options import TrainOptions

log = logging.getLogger("sivae")
Array = NDArray[np.float32]


@dataclass(frozen=True)
class _Trained:
    """Everything that training leaves behind beside the module."""

    reader: Reader
    table: _predict.GeneTable
    linear: _linear.LinearPart
    joint_covariance: NDArray[np.float64]
    spectrum: Spectrum
    history: dict[str, Any]
    facts: dict[str, Any]
    rotation_kk: NDArray[np.float64]
    rotation: str = "none"


@final
class SiVAE:
    """A cell map and a gene map in the same axes.

    Parameters
    ----------
    adata
        Cells x genes, set up with `SiVAE.setup_anndata`. It is not changed and not copied to the model's folder.
    n_latent
        Number of axes k.
    likelihood
        "normal" (standardised log values), "nb" (counts), or "auto": "nb" for counts, else "normal".
    gamma
        Weight of the interpretability term, the same likelihood under the linear predictor alone; 0 leaves it out.
    decoder
        "residual": bias + z.v + h.w; "published": the paper's bias + h.w.
    kl_scale
        "bound": the evidence bound; "published": the paper's mean over genes (G / N is replaced by 1).
    profiles
        What the feature encoder reads: "principal" (fixed width) or "cells" (the paper's: every training cell).
    n_profile
        Width of principal profiles; fewer where the data have fewer cells or genes.
    architecture
        Sizes of the towers.
    seed
        Seed of weights, blocks and noise; also of the hash that chooses validation cells.

    Raises
    ------
    SetupError, OptionError
        If the AnnData was not set up, or an option cannot work on it.

    References
    ----------
    Choi, Li, Quon. siVAE: interpretable deep generative models for single-cell transcriptomes. Genome Biology 24:29
    (2023), doi 10.1186/s13059-023-02850-y.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=3)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> model.get_latent_representation().shape
    (200, 3)
    """

    def __init__(
        self,
        adata: AnnData,
        *,
        n_latent: int = 10,
        likelihood: Literal["auto", "normal", "nb"] = "auto",
        gamma: float = 0.05,
        decoder: Literal["residual", "published"] = "residual",
        kl_scale: Literal["bound", "published"] = "bound",
        profiles: Literal["principal", "cells"] = "principal",
        n_profile: int = 128,
        architecture: Architecture | None = None,
        seed: int = 0,
    ) -> None:
        self._setup = _setup.read_record(adata)
        options = _build.Options(
            int(n_latent), likelihood, float(gamma), decoder, kl_scale, profiles, int(n_profile),
            architecture or Architecture(), int(seed),
        )  # fmt: skip
        _build.check_options(options, self._setup, adata.n_vars)
        if likelihood == "auto":
            chosen = "nb" if self._setup.counts and self._setup.normalize == "log1p" else "normal"
            log.info(
                "likelihood='auto': %s, because the values are %s", chosen, "counts" if chosen == "nb" else "not counts"
            )
            options = replace(options, likelihood=chosen)
        self.options = options
        self.adata: AnnData | None = adata
        self._names = tuple(str(name) for name in adata.var_names)
        self._module: SiVAEModule | None = None
        self._state: _Trained | None = None

    @staticmethod
    def setup_anndata(
        adata: AnnData,
        layer: str | None = None,
        batch_key: str | None = None,
        *,
        categorical_covariate_keys: Sequence[str] | None = None,
        continuous_covariate_keys: Sequence[str] | None = None,
        size_factor_key: str | None = None,
        normalize: Literal["auto", "log1p", "none"] = "auto",
    ) -> None:
        """Say which parts of an AnnData are modelled; raw counts are wanted and nothing need be prepared.

        Parameters
        ----------
        adata
            Cells x genes; obs_names and var_names must be unique.
        layer
            Layer that holds the values; `X` if None.
        batch_key
            Column of `obs` with the batch of each cell.
        categorical_covariate_keys, continuous_covariate_keys
            Further columns of `obs` whose effect on each gene is modelled and kept out of the cell map.
        size_factor_key
            Column of `obs` to divide by instead of the cell's counts over the modelled genes.
        normalize
            "log1p": size factors and log1p inside; "none": values as they are (images, already normalised data);
            "auto": "log1p" for whole-number data, else "none".

        Returns
        -------
        Nothing; writes `uns["sivae"]["setup"]`, plain values that survive copy, subset and h5ad.

        Raises
        ------
        SetupError
            If the values, names or columns are not as they must be.
        """
        record = _setup.setup(
            adata,
            layer=layer,
            batch_key=batch_key,
            categorical_covariate_keys=categorical_covariate_keys,
            continuous_covariate_keys=continuous_covariate_keys,
            size_factor_key=size_factor_key,
            normalize=normalize,
        )
        _setup.write_record(adata, record)

    def train(
        self,
        max_epochs: int | None = None,
        *,
        batch_size: int = 256,
        feature_batch_size: int = 512,
        early_stopping: bool = True,
        accelerator: str = "auto",
        progress: bool = True,
        options: TrainOptions | None = None,
    ) -> pd.DataFrame:
        """Train from the spectral start and keep the best weights by validation loss, the start's included.

        Parameters
        ----------
        max_epochs
            Passes over the training cells; None chooses by the size of the data.
        batch_size, feature_batch_size
            Cells and genes of a block.
        early_stopping
            Stop when the validation loss no longer improves.
        accelerator
            "auto", "cpu", "gpu" or "mps".
        progress
            Show a progress bar with the terms of the loss.
        options
            Everything else (`TrainOptions`).

        Returns
        -------
        The history, one row per check of the validation loss.

        Raises
        ------
        DivergedError
            If the loss stops being finite; names the term, the step and the gene and cell with the worst value.
        """
        options = options or TrainOptions()
        for name, value in (("batch_size", batch_size), ("feature_batch_size", feature_batch_size)):
            if value < 1:
                raise OptionError(f"{name} is {value}; expected at least 1.")
        device = _loop.make_accelerator(accelerator)
        adata = self._training_adata()
        genes = tuple(sorted(self._names))
        train_rows, validation_rows = split_rows(adata, fraction=options.validation_fraction, seed=self.options.seed)
        reader, training = _build.make_reader(adata[train_rows], self._setup, genes)
        validation = reader.read(adata[validation_rows]) if len(validation_rows) else None
        shift_bg = covariate_shift(training)
        rank = min(self.options.n_profile, min(training.shape))
        spectrum = _build.decompose(training, shift_bg, rank)
        profiles = _build.make_profiles(self.options, training, shift_bg, spectrum)
        module, n_signal = _build.build_module(self.options, training, validation, profiles, shift_bg, spectrum)
        log.info("training on %d cells x %d genes, %d axes with a signal", *training.shape, n_signal)
        few = validation
        if validation is not None and validation.shape[0] > options.max_validation_cells:
            few = validation.take(np.arange(options.max_validation_cells))
        job = _loop.Job(
            module=module,
            training=training,
            validation=few,
            weights=Weights(1.0, _build.kl_scale(self.options, training), self.options.gamma),
            options=options,
            batch_size=batch_size,
            feature_batch_size=feature_batch_size,
            max_epochs=max_epochs,
            early_stopping=early_stopping,
            seed=self.options.seed,
            genes=genes,
            cell_name=lambda row: str(adata.obs_names[train_rows[row]]),
        )
        history = _loop.run(job, device, progress=progress)
        self._module = module.to("cpu").eval()
        facts = {
            "n_training_cells": training.shape[0],
            "n_validation_cells": len(validation_rows),
            "n_signal_axes": min(n_signal, self.options.n_latent),
            "best_step": history.best_step,
            "stopped": history.stopped,
            "validation_fraction": options.validation_fraction,
            "train_options": asdict(options),
            "batch_size": batch_size,
            "feature_batch_size": feature_batch_size,
            "versions": _versions(),
        }
        table, linear, covariance = _finish.finish(
            self._module,
            training,
            validation,
            profiles,
            residual=self.options.decoder == "residual",
            seed=self.options.seed,
        )
        self._state = _Trained(
            reader, table, linear, covariance, spectrum, history.to_dict(), facts, np.eye(self.options.n_latent)
        )
        return self.history

    # ---------------------------------------------------------------------------------------------- reading out

    @property
    def history(self) -> pd.DataFrame:
        """One row per check of the validation loss."""
        return pd.DataFrame(self._trained().history).dropna(axis=1, how="all")

    def get_latent_representation(
        self, adata: AnnData | None = None, indices: Sequence[int] | None = None, *, return_dist: bool = False
    ) -> Array | tuple[Array, Array]:
        """Cell embedding: posterior mean of z, (n, k).

        Parameters
        ----------
        adata
            Any cells with the modelled genes, in any order; the training AnnData if None.
        indices
            Rows wanted, in the order wanted; all if None.
        return_dist
            Return mean and variance, (n, k) each.

        Returns
        -------
        Array, or pair of arrays.
        """
        state = self._trained()
        mean, sd = _predict.encode(self._module_(), self._read(adata, indices))
        rotation = state.rotation_kk.astype(np.float32)
        if return_dist:
            return mean @ rotation, (sd**2) @ rotation**2
        return mean @ rotation

    def get_feature_representation(
        self, adata: AnnData | None = None, *, return_dist: bool = False
    ) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
        """Gene embedding: posterior mean of v (the loadings), a frame indexed by gene, (g, k).

        Parameters
        ----------
        adata
            None: the genes that were trained on. Otherwise every gene of `adata`, also one never trained on, embedded
            from its values in the training cells, which are found by `obs_names`. The training AnnData must be at hand
            (`model.adata`, or `SiVAE.load(folder, adata)`).
        return_dist
            Return mean and variance.

        Returns
        -------
        Frame, or pair of frames.

        Raises
        ------
        CellMismatchError
            If training cells are missing from `adata`.
        """
        state = self._trained()
        if adata is None:
            table, names = state.table, state.reader.genes
        else:
            table, names = self._embed_genes(adata), tuple(str(name) for name in adata.var_names)
        rotation = state.rotation_kk
        columns = [f"axis{i + 1}" for i in range(self.options.n_latent)]
        index = pd.Index(names, name="gene")
        mean = pd.DataFrame(table.loading_gk @ rotation, index=index, columns=columns)
        variance = np.einsum("ik,gij,jk->gk", rotation, table.covariance_gkk, rotation)
        spread = pd.DataFrame(variance, index=index, columns=columns)
        if adata is None:
            mean, spread = mean.loc[list(self._names)], spread.loc[list(self._names)]
        return (mean, spread) if return_dist else mean

    def get_normalized_expression(
        self,
        adata: AnnData | None = None,
        *,
        library_size: float = 1e4,
        transform_batch: str | None = None,
        gene_list: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Expected expression at each cell's posterior mean, cells x genes.

        Parameters
        ----------
        adata
            Any cells with the modelled genes; the training AnnData if None.
        library_size
            Counts of the modelled genes that each row sums to, about; rows are not renormalised.
        transform_batch
            Predict every cell as if it came from this batch.
        gene_list
            Genes wanted, in the order wanted; all if None.

        Returns
        -------
        Frame on the count scale, whatever the likelihood: library_size * exp(eta), or for the Normal the back-transformed
        log value, clipped at 0. With `normalize="none"` the values are on the scale of the data.
        """
        state, module = self._trained(), self._module_()
        names = list(self._names) if gene_list is None else [str(gene) for gene in gene_list]
        at = pd.Index(state.reader.genes).get_indexer(pd.Index(names))
        if (at < 0).any():
            unknown = [name for name, row in zip(names, at, strict=True) if row < 0]
            raise GeneMismatchError(f"The model was not trained on {some(unknown)}; see model.genes for those it was.")
        cells = self._cells(adata)
        expression = self._read(cells)
        design = self._design(cells, transform_batch)
        table, counts = state.table.take(at), module.likelihood.counts
        result = np.empty((expression.shape[0], len(at)), np.float32)
        for rows, eta_cg in _predict.predictor_blocks(module, table, state.linear, expression, design):
            result[rows] = _predict.to_rate(eta_cg, expression, at, counts=counts)
        if counts or expression.scaling.log:
            result *= library_size
        return pd.DataFrame(result, index=cells.obs_names, columns=pd.Index(names, name="gene"))

    def get_elbo(self, adata: AnnData | None = None) -> float:
        """Evidence lower bound per cell (kl_scale "bound" and gamma 0), with one draw of z and v per cell and gene.

        Higher is better. The gene posterior's share is its divergence divided by the number of training cells.
        """
        module, expression = self._module_(), self._read(adata)
        if not module.profile_gq.any():
            raise CellMismatchError(
                "The bound needs the profiles of the genes, which profiles='cells' keeps out of the saved model because "
                "they are expression values. Train again, or use profiles='principal'."
            )
        noise = torch_generator(self.options.seed, "elbo")
        terms = _loop.evaluate(module, expression, noise)
        share = expression.shape[1] / int(self._trained().facts["n_training_cells"])
        return -(terms.nll + terms.kl_cells + share * terms.kl_features)

    def get_reconstruction_error(
        self, adata: AnnData | None = None, *, per_feature: bool = False
    ) -> float | pd.Series[float]:
        """Negative log likelihood at posterior means: per cell, summed over genes; or per gene, averaged over cells."""
        state, expression = self._trained(), self._read(adata)
        total_g = _predict.gene_nll(self._module_(), state.table, state.linear, expression) / expression.shape[0]
        if not per_feature:
            return float(total_g.sum())
        return pd.Series(total_g, index=pd.Index(state.reader.genes, name="gene")).loc[list(self._names)]

    @property
    def genes(self) -> list[str]:
        """Names of the modelled genes, in the order of the training AnnData."""
        return list(self._names)

    @property
    def is_trained(self) -> bool:
        """Whether `train` has been called (or a trained model loaded)."""
        return self._state is not None

    def rotate(self, kind: Literal["variance", "varimax", "none"] = "variance") -> None:
        """Turn the axes of both maps together; predictions do not change.

        Parameters
        ----------
        kind
            "variance": orthogonal loadings, ordered by what they explain; "varimax": each axis loads on few genes;
            "none": back to the axes of the training.
        """
        state = self._trained()
        if kind not in ("variance", "varimax", "none"):
            raise OptionError(f"kind is {kind!r}; expected 'variance', 'varimax' or 'none'.")
        k = self.options.n_latent
        matrix = np.eye(k) if kind == "none" else _linear.rotation(kind, state.table.loading_gk.astype(np.float64))
        self._state = replace(state, rotation_kk=matrix, rotation=kind)

    # ------------------------------------------------------------------------------------- writing and keeping

    def annotate(self, adata: AnnData, *, project: bool = False) -> None:
        """Write both maps and what later tools need into an AnnData, matched by name.

        Parameters
        ----------
        adata
            Cells with the modelled genes.
        project
            Also embed the genes of `adata` that were never trained on, from their values in the training cells
            (`sivae_modelled` is False for them); without it they get NaN.

        Returns
        -------
        Nothing. Writes `obsm["X_sivae"]` (n, k), `varm["X_sivae"]`, `varm["X_sivae_var"]` (g, k), `varm["X_sivae_joint"]`
        (g, d), `var["sivae_r2"]`, `["sivae_noise"]`, `["sivae_scale"]`, `["sivae_bias"]`, `["sivae_modelled"]`,
        `["sivae_connected_pvalue"]`, `obs["sivae_split"]` and `uns["sivae"]` (set-up, options, joint covariance of
        (z, h), rotation, history, facts).
        """
        state = self._trained()
        adata.obsm[_keys.CELLS] = self.get_latent_representation(adata)
        fraction, seed = float(state.facts["validation_fraction"]), self.options.seed
        held = (
            is_validation(adata.obs_names, fraction=fraction, seed=seed)
            if adata.n_obs >= 10
            else np.zeros(adata.n_obs, bool)
        )
        trained = np.ones(adata.n_obs, bool) if self.adata is None else np.isin(adata.obs_names, self.adata.obs_names)
        adata.obs[_keys.SPLIT] = pd.Categorical(
            np.where(trained, np.where(held, "validation", "train"), "unseen"),
            categories=["train", "validation", "unseen"],
        )
        table, genes, modelled = state.table, list(state.reader.genes), np.ones(len(state.reader.genes), bool)
        rest = adata.var_names[~adata.var_names.isin(genes)] if project else []
        if len(rest):
            table = table.append(self._embed_genes(adata[:, rest]))
            genes, modelled = genes + [str(name) for name in rest], np.r_[modelled, np.zeros(len(rest), bool)]
        self._write_genes(adata, genes, table, modelled)
        _setup.write_record(adata, self._setup)
        k = self.options.n_latent
        turn = np.eye(len(state.joint_covariance))
        turn[:k, :k] = state.rotation_kk
        _annotate.write_uns(
            adata,
            {
                "options": _plain(asdict(self.options)),
                "joint_covariance": turn.T @ state.joint_covariance @ turn,
                "rotation": {"kind": state.rotation, "matrix": state.rotation_kk},
                "history": {key: np.array(value) for key, value in state.history.items()},
                "facts": _plain(state.facts),
            },
        )

    def _write_genes(
        self, adata: AnnData, genes: Sequence[str], table: _predict.GeneTable, modelled: NDArray[np.bool_]
    ) -> None:
        rotation = self._trained().rotation_kk
        variance = np.einsum("ik,gij,jk->gk", rotation, table.covariance_gkk, rotation)
        _annotate.write_genes(
            adata,
            genes,
            {
                _keys.R2: table.r2_g,
                _keys.NOISE: table.noise_g,
                _keys.SCALE: table.scale_g,
                _keys.BIAS: table.bias_g,
                _keys.CONNECTED_P: table.connected_p_g,
                _keys.MODELLED: modelled,
            },
            {_keys.GENES: table.loading_gk @ rotation, _keys.GENES_VAR: variance, _keys.JOINT: table.joint_gd},
        )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the trained model as safetensors and JSON: no expression values, no cell names, no pickle.

        Parameters
        ----------
        folder
            A folder that does not exist yet.
        overwrite
            Replace a saved model.

        Raises
        ------
        ArtefactError
            If the folder exists or cannot be written.
        """
        state, module = self._trained(), self._module_()
        scaling, design = state.reader.scaling, state.reader.design
        tables = {f"gene/{name}": getattr(state.table, name) for name in _predict.GeneTable.__dataclass_fields__}
        tables |= {
            "scaling/mean_g": scaling.mean_g,
            "scaling/sd_g": scaling.sd_g,
            "scaling/share_g": scaling.share_g,
            "design/mean_b": design.mean_b,
            "design/sd_b": design.sd_b,
            "linear/intercept_d": state.linear.intercept_d,
            "linear/slope_kd": state.linear.slope_kd,
            "spectrum/values_q": state.spectrum.values_q,
            "spectrum/vectors_gq": state.spectrum.vectors_gq,
            "joint_covariance": state.joint_covariance,
            "rotation_kk": state.rotation_kk,
        }
        config = {
            "package": "sivae-tools",
            "setup": self._setup.to_record(),
            "options": asdict(self.options),
            "genes": list(state.reader.genes),
            "gene_order": list(self._names),
            "scaling": {"log": scaling.log, "target": scaling.target},
            "n_profile": module.feature_tower.skip_pk.shape[0],
            "rotation": state.rotation,
            "history": state.history,
            "facts": state.facts,
        }
        _artefact.write(Path(folder), config, dict(module.state_dict()), tables, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path, adata: AnnData | None = None) -> SiVAE:
        """Read a saved model.

        Parameters
        ----------
        folder
            What `save` wrote.
        adata
            The training AnnData; needed only to embed genes that were never trained on, and as the default of getters.

        Raises
        ------
        ArtefactError
            If the folder is not a saved model or is damaged.
        """
        config, weights, tables = _artefact.read(Path(folder))
        model = cls.__new__(cls)
        model._setup = _setup.Setup.from_record(config["setup"])
        shape: dict[str, Any] = config["options"].pop("architecture")
        shape = {key: tuple(value) if isinstance(value, list) else value for key, value in shape.items()}
        model.options = _build.Options(**config["options"], architecture=Architecture(**shape))
        model.adata, model._names = adata, tuple(config["gene_order"])
        profile = np.zeros((len(config["genes"]), config["n_profile"]), np.float32)
        if model.options.profiles == "principal":
            profile = (tables["spectrum/vectors_gq"] * np.sqrt(tables["spectrum/values_q"])).astype(np.float32)
        module = _build.blank_module(model.options, profile, len(tables["design/mean_b"]))
        module.load_state_dict(weights)
        model._module = module.eval()
        scaling = Scaling(
            bool(config["scaling"]["log"]), float(config["scaling"]["target"]),
            tables["scaling/mean_g"], tables["scaling/sd_g"], tables["scaling/share_g"],
        )  # fmt: skip
        design = Design(tables["design/mean_b"], tables["design/sd_b"])
        model._state = _Trained(
            reader=Reader(model._setup, tuple(config["genes"]), design, scaling),
            table=_predict.GeneTable(*(tables[f"gene/{name}"] for name in _predict.GeneTable.__dataclass_fields__)),
            linear=_linear.LinearPart(tables["linear/intercept_d"], tables["linear/slope_kd"]),
            joint_covariance=tables["joint_covariance"],
            spectrum=Spectrum(
                tables["spectrum/values_q"], tables["spectrum/vectors_gq"], int(config["facts"]["n_training_cells"])
            ),
            history=config["history"],
            facts=config["facts"],
            rotation_kk=tables["rotation_kk"],
            rotation=config["rotation"],
        )
        return model

    def __repr__(self) -> str:
        o = self.options
        state = f"trained, best step {self._state.facts['best_step']}" if self._state else "not trained"
        return f"SiVAE({len(self._names)} genes, n_latent={o.n_latent}, likelihood={o.likelihood!r}, gamma={o.gamma}, {state})"

    # ------------------------------------------------------------------------------------------------- inside

    def _trained(self) -> _Trained:
        if self._state is None:
            raise NotTrainedError("The model is not trained yet. Call model.train() first.")
        return self._state

    def _module_(self) -> SiVAEModule:
        if self._module is None:
            raise NotTrainedError("The model is not trained yet. Call model.train() first.")
        return self._module

    def _training_adata(self) -> AnnData:
        if self.adata is None:
            raise CellMismatchError(
                "The training cells are needed here and are not stored with a model. Pass them: SiVAE.load(folder, adata)."
            )
        return self.adata

    def _cells(self, adata: AnnData | None) -> AnnData:
        return self._training_adata() if adata is None else adata

    def _read(self, adata: AnnData | None, indices: Sequence[int] | None = None) -> Expression:
        cells = self._cells(adata)
        if indices is not None:
            cells = cells[np.asarray(indices)]
        return self._trained().reader.read(cells)

    def _design(self, cells: AnnData, transform_batch: str | None) -> Array:
        if transform_batch is None:
            return self._trained().reader.design.of(cells, self._setup)
        if not self._setup.batch_key:
            raise OptionError("transform_batch needs a model that was set up with a batch_key.")
        known = self._setup.categories[self._setup.batch_key]
        if transform_batch not in known:
            raise OptionError(f"transform_batch is {transform_batch!r}; the batches are: {some(known, 20)}.")
        moved = anndata.AnnData(obs=cells.obs.assign(**{self._setup.batch_key: transform_batch}))
        return self._trained().reader.design.of(moved, self._setup)

    def _split_rows(self, adata: AnnData) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        fraction = float(self._trained().facts["validation_fraction"])
        return split_rows(adata, fraction=fraction, seed=self.options.seed)

    def _embed_genes(self, adata: AnnData) -> _predict.GeneTable:
        known = self._training_adata()
        rows = adata.obs_names.get_indexer(known.obs_names)
        if (rows < 0).any():
            gone = known.obs_names[rows < 0]
            raise CellMismatchError(
                f"{len(gone)} of the {known.n_obs} cells of the training AnnData are not in this one ({some(gone)}). "
                "Genes are embedded from their values in the training cells, matched by obs_names: pass those cells."
            )
        state = self._trained()
        train_rows, validation_rows = self._split_rows(known)
        return _features.embed(
            self._module_(),
            options=self.options,
            reader=state.reader,
            spectrum=state.spectrum,
            linear=state.linear,
            training=state.reader.read(known[train_rows]),
            validation=state.reader.read(known[validation_rows]) if len(validation_rows) else None,
            new=adata,
            rows=rows[train_rows],
            validation_rows=rows[validation_rows],
        )


def split_rows(adata: AnnData, *, fraction: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of training and of validation cells, each in the order of their names."""
    names = adata.obs_names.to_numpy().astype(str)
    held = is_validation(names, fraction=fraction, seed=seed)
    order = np.argsort(names, kind="stable")
    return order[~held[order]], order[held[order]]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("sivae-tools", "torch", "accelerate", "anndata", "numpy", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def _plain(value: Any) -> Any:
    """Values that h5ad can hold: tuples become arrays, None an empty string."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return np.array(value)
    return "" if value is None else value
