"""SiVAE as users hold it: set up, train, read out, annotate, save and load."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, final

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from sivae._checks import a_path, check_adata, check_names, number, rows_of, whole_number
from sivae._door import door
from sivae._errors import ArtefactError, CellMismatchError, NotTrainedError, OptionError, some, warn
from sivae._rng import torch_generator
from sivae._values import frame, part_of, refuse_view
from sivae.data import _setup
from sivae.data._expression import Expression
from sivae.data._profiles import StoredProfiles
from sivae.data._spool import spooled
from sivae.model import (
    _annotate,
    _artefact,
    _attribution,
    _build,
    _card,
    _features,
    _fits,
    _linear,
    _predict,
    _recipe,
    _sample,
)
from sivae.model._arguments import check_profiles, check_training, check_transform_batch, genes_at, resolve
from sivae.model._contributions import Explanation
from sivae.model._fit import Training, cells_of, fit, read_held, split_rows, stored_profile
from sivae.model._html import model_html
from sivae.model._layers import check_layer, gene_layer
from sivae.model._older import as_of_today
from sivae.model._trained import Trained, options_from_config, options_to_config
from sivae.nn._module import Architecture
from sivae.nn._published import PublishedModule
from sivae.nn._published_options import PublishedOptions
from sivae.nn._two_towers import TwoTowers
from sivae.train import _loop
from sivae.train._options import TrainOptions

log = logging.getLogger("sivae")
Array = NDArray[np.float32]


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
        "normal" (standardised, for counts after log1p); for counts "nb" (negative binomial), "zinb" (the same with
        zero inflation, a share per gene) or "poisson"; "bernoulli" (open or closed: values above zero are read as 1,
        complementary log-log link); or "auto": "normal", which was at or above "nb" on cells and held-out expression
        on every data set measured (docs/defaults.md).
    gamma
        Weight of the interpretability term, the same likelihood under the linear predictor alone; 0 leaves it out. The
        default is 0.5, by measurement (docs/defaults.md). The paper's 0.05, the default of recipe "choi2023", belongs
        to a squared error and is not comparable.
    decoder
        "residual" (the default): bias + z.v + h.w; "published": the paper's bias + h.w.
    kl_scale
        "bound" (the default): the evidence bound; "published": the paper's mean over genes (G / N is replaced by 1).
    profiles
        What the feature encoder reads of a gene: "principal" (the default: its principal components over the training
        cells, of fixed width), "cells" (the paper's: its values in the training cells), or the name of an array in
        `varm` (vectors of proteins, texts, motifs), matched by gene name.
    n_profile
        Width: principal components (128, or `n_latent` if that is more), or training cells at most (10,000), of which
        a sample is taken. Fewer where the data have fewer.
    architecture
        Sizes of the towers.
    seed
        Seed of weights, blocks and noise. Which cells validate does not depend on it.
    dispersion
        What the noise (sigma, or inverse dispersion theta) depends on: "gene" (the default); "gene-batch" (needs a
        batch_key);
        "gene-cell" (gene, and the cell's joint layer); "cell" (Normal only: the paper's, one sigma per cell that all
        genes share). Where one number per gene is shown, it is that of the average training cell; genes never trained
        on have one number each. "poisson" and "bernoulli" have no noise parameter.
    recipe
        "default", or "choi2023": the published model, trained in its three phases (docs/how_it_works.md). Where None,
        `gamma`, `decoder`, `kl_scale`, `profiles` and `dispersion` are then the paper's: 0.05, "published",
        "published", "cells", and "cell" ("gene" for counts); likelihoods are "normal" and "nb". The loadings are the
        posterior means of v, which the predictor h.w has no part in.
    published
        Settings of that recipe (`PublishedOptions`), in the place of `architecture` and of what `train` says of blocks,
        learning rates and early stopping.

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
        likelihood: Literal["auto", "normal", "nb", "zinb", "poisson", "bernoulli"] = "auto",
        gamma: float | None = None,
        decoder: Literal["residual", "published"] | None = None,
        kl_scale: Literal["bound", "published"] | None = None,
        profiles: str | None = None,
        n_profile: int | None = None,
        architecture: Architecture | None = None,
        seed: int = 0,
        dispersion: Literal["gene", "gene-batch", "gene-cell", "cell"] | None = None,
        recipe: Literal["default", "choi2023"] = "default",
        published: PublishedOptions | None = None,
    ) -> None:
        self._setup = _setup.read_record(adata)
        asked = _recipe.chosen(recipe, {
            "likelihood": likelihood, "gamma": gamma, "decoder": decoder, "kl_scale": kl_scale, "profiles": profiles,
            "dispersion": dispersion,
        })  # fmt: skip
        settings = _recipe.settings(recipe, published, architecture)
        options = resolve(
            adata, self._setup, n_latent=n_latent, n_profile=n_profile, architecture=architecture, seed=seed, **asked
        )
        options = _recipe.with_recipe(options, recipe, settings)
        _recipe.check(options, adata)
        stored_profile(adata, options, tuple(str(name) for name in adata.var_names))
        if likelihood == "auto":
            values = "log1p of size-corrected counts" if self._setup.normalize == "log1p" else "the values as they are"
            log.info("likelihood='auto': normal, on %s", values)
            options = replace(options, likelihood="normal")
        self.options = options
        self.adata: AnnData | None = adata
        self._names = tuple(str(name) for name in adata.var_names)
        self._module: TwoTowers | None = None
        self._state: Trained | None = None

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
            Cells x genes, in memory, backed, or with Dask arrays; obs_names and var_names must be unique.
        layer
            Layer that holds the values; `X` if None.
        batch_key
            Column of `obs` with the batch of each cell. Numbers are names too: 1 and 2 are two batches.
        categorical_covariate_keys, continuous_covariate_keys
            Further columns of `obs` whose effect on each gene is modelled and kept out of the cell map, like that of
            the batch (docs/how_it_works.md). None may be missing for a cell.
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
            If the values, names or columns are not as they must be, or the AnnData is a view of values in a file.

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50, n_batches=2)
        >>> sivae.SiVAE.setup_anndata(adata, batch_key="batch")
        >>> adata.uns["sivae"]["setup"]["normalize"]
        'log1p'
        """
        refuse_view(adata, "setup_anndata")
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

    @door
    def train(
        self,
        max_epochs: int | None = None,
        *,
        batch_size: int = 256,
        feature_batch_size: int = 512,
        early_stopping: bool = True,
        accelerator: str = "auto",
        progress: bool = True,
        checkpoint_dir: str | Path | None = None,
        options: TrainOptions | None = None,
    ) -> pd.DataFrame:
        """Train from the spectral start and keep the best weights by validation loss, the start's included.

        Ctrl-C (KeyboardInterrupt) ends the training, not the call: the model keeps the best weights so far and is
        finished as usual; a `SiVAEWarning` says so. A second one, while the model is finished, is raised. Recipe
        "choi2023" keeps the weights of that moment, unless early stopping is on in `PublishedOptions`.
        Covariates that are constant or follow from each other, and batches that share no kind of cell, are warned of
        (`SiVAEWarning`).

        Processes that were launched together (torchrun, accelerate launch) and all call this with the same data and
        arguments train one model, each on its share of the cells (docs/scaling.md); every one then holds it. A step
        sees `batch_size` cells in each of them. Ctrl-C stops them all.

        Parameters
        ----------
        max_epochs
            Passes over the training cells; None chooses by the size of the data. Caps each phase of recipe "choi2023".
        batch_size, feature_batch_size
            Cells and genes of a block. Recipe "choi2023" has them, and early stopping, in `PublishedOptions`.
        early_stopping
            Stop when the validation loss no longer improves.
        accelerator
            "auto", "cpu", "gpu" or "mps".
        progress
            Show a progress bar with the terms of the loss.
        checkpoint_dir
            Folder for a checkpoint, `checkpoint.safetensors`, from which a training that was killed or interrupted
            goes on when the same call is made again: with the same data, options and seed, and at one thread the
            result is the same to the last bit. It is written at checks of the validation loss, not more often than
            `TrainOptions(checkpoint_seconds=...)` says, and removed when the training has ended.
        options
            Everything else (`TrainOptions`).

        Returns
        -------
        The history, one row per check of the validation loss (see `history`).

        Raises
        ------
        ArtefactError
            If `checkpoint_dir` cannot be written, or holds a checkpoint that is damaged or of another training (which
            is named, and left as it is).
        DivergedError
            If the loss stops being finite; names the term, the step and the gene and cell with the worst value.
        ProcessError
            If another of several processes fails or is gone, or was given other data or settings.

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> history.attrs["stopped"]
        'all steps done'
        """
        adata = self._training_adata()
        folder = check_training(
            adata, self._names, max_epochs=max_epochs, batch_size=batch_size, feature_batch_size=feature_batch_size,
            checkpoint_dir=checkpoint_dir, options=options,
        )  # fmt: skip
        self._module, self._state = fit(
            adata,
            self._setup,
            tuple(sorted(self._names)),
            self.options,
            Training(
                None if max_epochs is None else int(max_epochs), int(batch_size), int(feature_batch_size),
                early_stopping, accelerator, progress, folder, options or TrainOptions(),
            ),
        )  # fmt: skip
        if self._state.facts["stopped"] == "interrupted":
            warn(_interrupted_words(self._state, self.options, checkpoint_dir))
        return self.history

    # ---------------------------------------------------------------------------------------------- reading out

    @property
    def history(self) -> pd.DataFrame:
        """One row per check of the validation loss.

        Its `attrs` say why training ended ("plateau", "all steps done" or "interrupted"), at which step, which step was
        kept and, where a checkpoint was continued, from which step. Of recipe "choi2023", column `stage` is the phase
        (1 cells, 2 genes, 3 both), and `attrs["stage_seconds"]` says how long each took.
        """
        state = self._trained()
        frame = pd.DataFrame(state.history).dropna(axis=1, how="all")
        names = ("stopped", "last_step", "best_step", "resumed_at", "stage_seconds")
        frame.attrs = {name: state.facts[name] for name in names if name in state.facts}
        return frame

    @door
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

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> model.get_latent_representation(indices=[0, 1]).shape
        (2, 3)
        >>> mean, variance = model.get_latent_representation(return_dist=True)
        """
        state = self._trained()
        mean, sd = _predict.encode(self._module_(), self._read(adata, indices))
        rotation = state.rotation_kk.astype(np.float32)
        mean = mean @ rotation
        if return_dist:
            return mean, np.square(sd, out=sd) @ rotation**2
        return mean

    @door
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
            Return mean and variance. The variance is that over samples of cells: the square of a standard error, from
            the scatter of the training cells and the sampling of the axes' scale; not that of the variational
            posterior. An axis without signal has about 1, the prior's. Under recipe "choi2023" loadings are the means
            of that posterior, and the variance is its own.

        Returns
        -------
        Frame, or pair of frames.

        Raises
        ------
        CellMismatchError
            If training cells are missing from `adata`.
        OptionError
            If genes never trained on have no place in the model: a softmax or a plain VAE of recipe "choi2023".

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> loadings, variance = model.get_feature_representation(return_dist=True)
        >>> loadings.loc["gene_1"].shape, bool((variance > 0).all(axis=None))
        ((3,), True)
        """
        state = self._trained()
        if adata is None:
            table, names = state.table, state.reader.genes
        else:
            table, names = self._embed_genes(adata), tuple(str(name) for name in adata.var_names)
        columns = [f"axis{i + 1}" for i in range(self.options.n_latent)]
        index = pd.Index(names, name="gene")
        mean, variance = (pd.DataFrame(array, index=index, columns=columns) for array in state.loadings(table))
        if adata is None:
            mean, variance = mean.loc[list(self._names)], variance.loc[list(self._names)]
        return (mean, variance) if return_dist else mean

    @door
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
            Predict every cell as if it came from this batch: it stays where it is on the map, as a cell of its own
            batch, and offsets, gain and joint layer are those of the other.
        gene_list
            Genes wanted, in the order wanted; all if None.

        Returns
        -------
        Frame on the count scale, whatever the likelihood: library_size * exp(eta), or for the Normal the
        back-transformed log value, clipped at 0. With `normalize="none"` the values are on the scale of the data.
        Under "zinb" this is the mean before zero inflation, of which a share 1 - pi_g is seen. Under "bernoulli" it is
        the mean m of the Poisson count whose being positive is seen, with probability 1 - exp(-m) at the cell's own
        library; rows then sum to more than `library_size`.

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> model.get_normalized_expression(gene_list=["gene_1", "gene_2"]).shape
        (200, 2)
        """
        state, module = self._trained(), self._module_()
        wanted, at = genes_at(gene_list, self._names, state.reader.genes)
        number("library_size", library_size, allowed=lambda n: 0 < n < np.inf, expected="a positive number")
        cells = self._cells(adata)
        expression = self._read(cells)
        design = self._design(cells, transform_batch)
        counts = module.likelihood.counts
        result = np.empty((expression.shape[0], len(at)), np.float32)
        for rows, eta_cg in _predict.predictor_blocks(module, state.table, state.linear, expression, design, genes=at):
            result[rows] = _predict.to_rate(eta_cg, expression, at, counts=counts)
        if counts or expression.scaling.log:
            result *= library_size
        return pd.DataFrame(result, index=cells.obs_names, columns=pd.Index(wanted, name="gene"))

    @door
    def get_attributions(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        *,
        side: Literal["encoder", "decoder"] = "encoder",
        method: _attribution.Method = "integrated_gradients",
        baseline: _attribution.Baseline = "auto",
        n_steps: int = 100,
        n_permutations: int = 5,
        seed: int = 0,
    ) -> Iterator[tuple[str, pd.DataFrame]]:
        """Attributions of every axis in turn: its name, and a frame cells x genes.

        Parameters
        ----------
        adata, indices
            Cells, as in `get_latent_representation`. They are held in memory, genes x cells of one axis at a time: ask
            for some hundred.
        side
            "encoder": why a cell lies where it does, of its coordinate to the standardised values of the genes it is
            encoded from. "decoder": what the coordinate does to a gene, of (eta - constant) / s, the predictor on the
            scale of the loadings, to the coordinate; all genes at once, from the attributions of the joint layer.
        method
            "gradient", "saliency" (its absolute value), "gradient_x_input", "integrated_gradients", "deeplift" (Rescale
            rule), "shapley" (sampling), "occlusion" or "lrp" (epsilon rule); `model/_attribution.py` has equations and
            sources. DeepLIFT, Shapley values and occlusion need the extra `attribution`.
        baseline
            What integrated gradients, DeepLIFT, Shapley values and occlusion compare with: "minimum", each input's
            lowest value over these cells; "zero", a gene's mean or the middle of the map; "auto", as in the paper: the
            minimum for the encoder, zero for the decoder and for Shapley values.
        n_steps
            Points of the integrated gradients.
        n_permutations
            Random orders of the Shapley values, the same in every cell.
        seed
            Seed of these orders.

        Yields
        ------
        Name of the axis ("axis1", ...) and attributions in every cell, (n, g).

        Raises
        ------
        OptionError
            If an option is not one of those named.
        MissingExtraError
            If captum is needed and not installed.

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> first = next(model.get_attributions(indices=range(20), method="gradient_x_input"))
        >>> first[0], first[1].shape
        ('axis1', (20, 50))
        """
        if side not in _attribution.SIDES:
            raise OptionError(f"side is {side!r}; expected 'encoder' or 'decoder'.")
        how = _attribution.Options(method, baseline, n_steps, n_permutations, seed)
        state, module = self._trained(), self._module_()
        expression = self._read(adata, indices)
        cells = self._cells(adata).obs_names
        names = cells if indices is None else cells[np.asarray(indices)]
        each = _attribution.of_model(
            module, expression, state.rotation_kk, how, side=side, table=state.table, linear=state.linear
        )
        columns = pd.Index(state.reader.genes, name="gene")
        return ((f"axis{k + 1}", pd.DataFrame(a, index=names, columns=columns)[list(self._names)]) for k, a in each)

    @door
    def get_elbo(self, adata: AnnData | None = None) -> float:
        """Evidence lower bound per cell (kl_scale "bound" and gamma 0), with one draw of z and v per cell and gene.

        Higher is better. The gene posterior's share is its divergence divided by the number of training cells. The
        draws are the same each time, and go by the order of the cells: in another order it is another estimate.

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> model.get_elbo() < 0
        True
        """
        module, expression = self._module_(), self._read(adata)
        settings = self.options.published
        if settings is not None and not settings.variational:
            raise OptionError(
                "A deterministic autoencoder has no evidence bound; expected variational=True. "
                "Use get_reconstruction_error."
            )
        check_profiles(module, "The bound")
        noise = torch_generator(self.options.seed, "elbo")
        terms = _loop.evaluate(module, expression, noise)
        share = expression.shape[1] / int(self._trained().facts["n_training_cells"])
        return -(terms.nll + terms.kl_cells + share * terms.kl_features)

    @door
    def get_reconstruction_error(
        self, adata: AnnData | None = None, *, per_feature: bool = False
    ) -> float | pd.Series[float]:
        """Negative log likelihood at posterior means: per cell, summed over genes; or per gene, averaged over cells.

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> model.get_reconstruction_error(per_feature=True).shape
        (50,)
        """
        state, expression = self._trained(), self._read(adata)
        total_g = _predict.gene_nll(self._module_(), state.table, state.linear, expression) / expression.shape[0]
        if not per_feature:
            return float(total_g.sum())
        return pd.Series(total_g, index=pd.Index(state.reader.genes, name="gene")).loc[list(self._names)]

    @door
    def get_pretrained_representation(
        self, adata: AnnData | None = None, *, side: Literal["cells", "genes"] = "cells", return_dist: bool = False
    ) -> Array | pd.DataFrame | tuple[Array, Array] | tuple[pd.DataFrame, pd.DataFrame]:
        """Embeddings of recipe "choi2023" before its third phase: those of the cell VAE and of the feature VAE alone.

        Parameters
        ----------
        adata
            Any cells with the modelled genes; the training AnnData if None. Of no account for genes.
        side
            "cells": means of z, (n, k); "genes": means of v, a frame indexed by gene, (g, k).
        return_dist
            Return mean and variance.

        Returns
        -------
        Array or frame, or a pair of them, on the axes of training, which `rotate` does not turn.

        Raises
        ------
        OptionError
            If the model had no such phases.

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> settings = sivae.PublishedOptions(encoder=(16,), decoder=(16, 16), iterations=20)
        >>> model = sivae.SiVAE(adata, n_latent=3, recipe="choi2023", published=settings)
        >>> history = model.train(progress=False)
        >>> model.get_pretrained_representation(side="genes").shape
        (50, 3)
        """
        if side not in ("cells", "genes"):
            raise OptionError(f"side is {side!r}; expected 'cells' or 'genes'. Choose one of these.")
        state, module = self._trained(), self._module_()
        settings = self.options.published
        if (
            not isinstance(module, PublishedModule)
            or settings is None
            or not (settings.has_features and settings.pretrain and bool(module.pretrained_mean_gk.isfinite().all()))
        ):
            raise OptionError(
                "This model was not trained in phases, or was interrupted before the third; expected recipe='choi2023' "
                "with model='sivae' and pretrain=True. Train such a model."
            )
        if side == "cells":
            mean, sd = _predict.encode_pretrained(module, self._read(adata))
            return (mean, sd**2) if return_dist else mean
        columns = [f"axis{axis + 1}" for axis in range(self.options.n_latent)]
        index = pd.Index(state.reader.genes, name="gene")
        frames = [
            pd.DataFrame(values.numpy(), index=index, columns=columns).loc[list(self._names)]
            for values in (module.pretrained_mean_gk, module.pretrained_sd_gk.square())
        ]
        return (frames[0], frames[1]) if return_dist else frames[0]

    @door
    def get_decoder_layer(
        self, layer: int, adata: AnnData | None = None, *, side: Literal["cells", "genes"] = "cells"
    ) -> Array | pd.DataFrame:
        """A layer of the decoder of the cells or of the genes, at posterior means.

        Parameters
        ----------
        layer
            Counted from 1. Every layer but the last comes after its ReLU; the last is the joint layer, linear.
        adata
            Any cells with the modelled genes; the training AnnData if None. Of no account for genes.
        side
            "cells": the decoder of the cells, which reads z and, where it is given them, covariates; "genes": that of
            the modelled genes, which reads v.

        Returns
        -------
        Array (n, width), or frame (g, width) indexed by gene, with columns "unit1", .... The joint layer is as the
        decoders have it: that of `explain().layer()` is without what is linear in z and covariates. No layer depends
        on how `rotate` turns the axes.

        Raises
        ------
        OptionError
            If there is no such layer or side; says how many there are.
        CellMismatchError
            If the profiles of the genes are needed and not stored with the model.

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> model.get_decoder_layer(1).shape, model.get_decoder_layer(3, side="genes").shape
        ((200, 128), (50, 64))
        """
        state, module = self._trained(), self._module_()
        check_layer(module, side, layer)
        if side == "cells":
            return self.explain(adata).cell_layer(layer).astype(np.float32)
        values_gd = gene_layer(module, layer)
        columns = [f"unit{unit + 1}" for unit in range(values_gd.shape[1])]
        return pd.DataFrame(values_gd, pd.Index(state.reader.genes, name="gene"), columns).loc[list(self._names)]

    @door
    def sample(
        self, n_cells: int, *, library_size: float = 1e4, seed: int = 0, return_latent: bool = False
    ) -> pd.DataFrame | tuple[pd.DataFrame, Array]:
        """New cells from the prior: positions from N(0, I), and values drawn given them, cells x genes.

        Parameters
        ----------
        n_cells
            How many.
        library_size
            Counts of the modelled genes that each cell has, about.
        seed
            Of the draws.
        return_latent
            Return the positions as well, on the rotated axes.

        Returns
        -------
        Frame of counts; under the Normal of values on the count scale, clipped at 0, or on the scale of the data where
        `normalize="none"`; and the positions, (n, k). Covariates are at their average.

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3, likelihood="nb")
        >>> history = model.train(max_epochs=2, progress=False)
        >>> model.sample(5).shape
        (5, 50)
        """
        state = self._trained()
        if self.options.published is not None and not self.options.published.variational:
            raise OptionError(
                "A deterministic autoencoder has no prior to draw cells from; expected variational=True. "
                "Predict at positions of cells: get_normalized_expression."
            )
        n = whole_number("n_cells", n_cells, least=1)
        number("library_size", library_size, allowed=lambda n: 0 < n < np.inf, expected="a positive number")
        z_nk, values_ng = _sample.draw(
            self._module_(), state.table, state.linear, state.reader.scaling, n, library_size=float(library_size),
            seed=whole_number("seed", seed, least=0, hint="0 is the default."),
        )  # fmt: skip
        names = pd.Index([f"sample_{row + 1}" for row in range(n)])
        frame = pd.DataFrame(values_ng, index=names, columns=pd.Index(state.reader.genes, name="gene"))
        frame = frame[list(self._names)]
        return (frame, (z_nk @ state.rotation_kk).astype(np.float32)) if return_latent else frame

    @property
    def genes(self) -> list[str]:
        """Names of the modelled genes, in the order of the training AnnData."""
        return list(self._names)

    @property
    def is_trained(self) -> bool:
        """Whether `train` has been called (or a trained model loaded)."""
        return self._state is not None

    @door
    def explain(self, adata: AnnData | None = None) -> Explanation:
        """What the model does with some cells, taken apart; `sivae.tl.contributions` makes tables of it.

        Parameters
        ----------
        adata
            Any cells with the modelled genes; the training AnnData if None.

        Returns
        -------
        Object with methods `decoder` (parts of the predictor), `encoder` (genes' parts in a position), `decode`
        (predictions at given positions) and `layer` (positions, joint layers and loadings).

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> z, h, v, w = model.explain().layer()
        >>> z.shape, v.shape
        ((200, 3), (50, 3))
        """
        return Explanation(self._module_(), self._trained(), self._read(adata), self._names)

    @door
    def rotate(self, kind: Literal["variance", "varimax", "none"] = "variance") -> None:
        """Turn the axes of both maps together; predictions do not change.

        Parameters
        ----------
        kind
            "variance": orthogonal loadings, ordered by what they explain; "varimax": each axis loads on few genes;
            "none": back to the axes of the training.

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> before = model.get_normalized_expression()
        >>> model.rotate("varimax")
        >>> bool(abs(model.get_normalized_expression() - before).max(axis=None) < 0.1)
        True
        """
        state = self._trained()
        if kind not in ("variance", "varimax", "none"):
            raise OptionError(f"kind is {kind!r}; expected 'variance', 'varimax' or 'none'. Choose one of these.")
        k = self.options.n_latent
        matrix = np.eye(k) if kind == "none" else _linear.rotation(kind, state.table.loading_gk.astype(np.float64))
        self._state = replace(state, rotation_kk=matrix, rotation=kind)

    # ------------------------------------------------------------------------------------- writing and keeping

    @door
    def annotate(self, adata: AnnData, *, project: bool = False) -> None:
        """Write both maps and what later tools need into an AnnData, matched by name.

        Parameters
        ----------
        adata
            Cells with the modelled genes. Where its values lie in a file, the file is not written to.
        project
            Also embed the genes of `adata` that were never trained on, from their values in the training cells
            (`sivae_modelled` is False for them); without it they get NaN.

        Returns
        -------
        None
            Writes

            - `obsm["X_sivae"]` (n, k) and `obs["sivae_split"]`;
            - `varm["X_sivae"]`, `varm["X_sivae_var"]` (g, k): the loadings and their variance over samples of cells;
              under recipe "choi2023" mean and variance of the posterior of v;
            - `varm["X_sivae_joint"]` (g, d): w, under recipe "choi2023" [w, -v] beside the joint layer [y, z], so that
              z.v + h.w is the predictor there too; `varm["X_sivae_encoder"]` (g, k): mean derivative of z by the gene;
            - `var["sivae_r2"]`, `["sivae_noise"]`, `["sivae_noise_variance"]` (on the scale of v), `["sivae_scale"]`,
              `["sivae_bias"]`, `["sivae_modelled"]` and `["sivae_connected_pvalue"]`; under "zinb" also
              `["sivae_zero_inflation"]`. Noise that depends on batch or cell is that of the average training cell;
              `sivae_noise` is NaN under "poisson" and "bernoulli", which have no parameter for it;
            - `uns["sivae"]`: set-up, options, joint covariance of (z, h), rotation, history, facts, and the posterior
              variance of z on each axis, mean over the training cells of `adata` (over all where it has none).

        Warns
        -----
        SiVAEWarning
            If neighbors, hubs or modules of an earlier annotation, with other loadings, are there. They stay, as what
            scanpy computed from an earlier step does.

        Raises
        ------
        OptionError
            With `project`, if other genes have no place in the model (see `get_feature_representation`); then nothing
            is written.

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> model.annotate(adata)
        >>> adata.obsm["X_sivae"].shape, adata.varm["X_sivae"].shape
        ((200, 3), (50, 3))
        """
        state = self._trained()
        refuse_view(adata, "annotate")
        table, genes, modelled = state.table, list(state.reader.genes), np.ones(len(state.reader.genes), bool)
        rest = [str(name) for name in adata.var_names[~adata.var_names.isin(genes)]] if project else []
        z_nk, variance_nk = self.get_latent_representation(adata, return_dist=True)
        if rest:
            table = table.append(self._embed_genes(part_of(adata, genes=rest)))
            genes, modelled = genes + rest, np.r_[modelled, np.zeros(len(rest), bool)]
        names = None if self.adata is None else self.adata.obs_names
        before_g = _annotate.lengths(adata)
        _annotate.write_cells(adata, np.asarray(z_nk), state, training_names=names)
        _annotate.write_genes(adata, genes, table, state, modelled)
        _annotate.write_uns(adata, state, self.options, variance_nk=np.asarray(variance_nk))
        _annotate.warn_of_older(adata, before_g)

    @door
    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the trained model as safetensors and JSON, with a model card and checksums.

        The folder holds no expression values, no cell names and no pickle. `README.md`, the card, says what data and
        genes it was trained on, how, how to load it, and its limits; `checksums.sha256` has the SHA-256 of each file.

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

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> model.save("model")
        >>> model = sivae.SiVAE.load("model", adata)
        """
        state, module = self._trained(), self._module_()
        config = state.to_config() | {
            "package": "sivae-tools",
            "options": options_to_config(self.options),
            "gene_order": list(self._names),
            "n_profile": module.profile_gq.shape[1],
        }
        weights, tables = dict(module.state_dict()), state.to_tables()
        card = _card.of_model(config)
        _artefact.write(a_path("folder", folder), config, weights, tables, card=card, overwrite=overwrite)

    @classmethod
    @door
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

        Examples
        --------
        >>> import sivae
        >>> adata = sivae.datasets.planted(n_cells=200, n_genes=50)
        >>> sivae.SiVAE.setup_anndata(adata)
        >>> model = sivae.SiVAE(adata, n_latent=3)
        >>> history = model.train(max_epochs=2, progress=False)
        >>> model.save("model")
        >>> sivae.SiVAE.load("model").get_latent_representation(adata).shape
        (200, 3)
        """
        config, weights, tables = _artefact.read(a_path("folder", folder))
        if adata is not None:
            check_adata(adata)
        model = cls.__new__(cls)
        try:
            config, weights, tables = as_of_today(config, weights, tables)
            _fits.check(config, tables)
            state = Trained.from_saved(config, tables)
            model._setup, model.options = state.reader.setup, options_from_config(config["options"])
            model.adata, model._names, model._state = adata, tuple(config["gene_order"]), state
            profile_gq = np.zeros((len(state.reader.genes), int(config["n_profile"])), np.float32)
            if model.options.profiles == "principal":
                profile_gq = _predict.principal_profile(state.spectrum)
            elif state.stored_gq is not None:
                profile_gq = StoredProfiles(state.stored_gq).of_modelled()
            _fits.check_sizes(model.options, profile_gq.shape[1], weights)
            n_batches = model._setup.n_batches
            n_design = len(state.reader.design.mean_b)
            blank = _build.blank_module if model.options.published is None else _recipe.blank_module
            module: TwoTowers = blank(model.options, profile_gq, n_design, n_batches=n_batches)
            module.load_state_dict(weights)
        except Exception as error:  # of a damaged configuration, anything
            raise ArtefactError(
                f"The parts of {folder} do not fit together ({type(error).__name__}: {error}). "
                "The folder is damaged: copy it again."
            ) from error
        model._module = module.eval()
        return model

    def __repr__(self) -> str:
        o = self.options
        state = f"trained, best step {self._state.facts['best_step']}" if self._state else "not trained"
        dispersion = "" if o.dispersion == "gene" else f", dispersion={o.dispersion!r}"
        recipe = "" if o.recipe == "default" else f"recipe={o.recipe!r}, "
        options = f"{recipe}n_latent={o.n_latent}, likelihood={o.likelihood!r}{dispersion}, gamma={o.gamma}"
        return f"SiVAE({len(self._names)} genes, {options}, {state})"

    def _repr_html_(self) -> str:
        n_cells = None if self.adata is None else self.adata.n_obs
        facts = self._state.facts if self._state else None
        return model_html(self.options, self._setup, n_cells=n_cells, n_genes=len(self._names), facts=facts)

    # ------------------------------------------------------------------------------------------------- inside

    def _trained(self) -> Trained:
        if self._state is None:
            raise NotTrainedError("The model is not trained yet. Call model.train() first.")
        return self._state

    def _module_(self) -> TwoTowers:
        if self._module is None:
            raise NotTrainedError("The model is not trained yet. Call model.train() first.")
        return self._module

    def _training_adata(self) -> AnnData:
        if self.adata is None:
            raise CellMismatchError(
                "The training cells are needed here and are not stored with a model. "
                "Pass them: SiVAE.load(folder, adata)."
            )
        return self.adata

    def _cells(self, adata: AnnData | None) -> AnnData:
        if adata is None:
            return self._training_adata()
        check_adata(adata)
        return adata

    def _read(self, adata: AnnData | None, indices: Sequence[int] | None = None) -> Expression:
        cells = self._cells(adata)
        if indices is not None:
            cells = part_of(cells, rows_of(cells.n_obs, indices))
        return self._trained().reader.read(cells)

    def _design(self, cells: AnnData, transform_batch: str | None) -> Array:
        if transform_batch is None:
            return self._trained().reader.design.of(cells, self._setup)
        check_transform_batch(transform_batch, self._setup, self._trained().reader.design)
        moved = frame(cells.obs).assign(**{self._setup.batch_key: transform_batch})
        return self._trained().reader.design.of(AnnData(obs=moved), self._setup)

    def _embed_genes(self, adata: AnnData) -> _predict.GeneTable:
        state, known = self._trained(), self._training_adata()
        check_adata(adata)
        check_names(adata, "obs_names", "var_names")
        rows = adata.obs_names.get_indexer(known.obs_names)
        if (rows < 0).any():
            gone = known.obs_names[rows < 0]
            raise CellMismatchError(
                f"{len(gone)} of the {known.n_obs} cells of the training AnnData are not in this one ({some(gone)}). "
                "Genes are embedded from their values in the training cells, matched by obs_names: pass those cells."
            )
        train_rows, validation_rows = split_rows(known, state.split())
        reader = state.reader
        with spooled(known, reader.setup, reader.genes, binary=reader.binary) as spool:
            own = [None, None] if spool is None else spool.parts(train_rows, validation_rows)
            setup, validating = reader.setup, cells_of(known, validation_rows, reader.setup, own[1])
            return _features.embed(
                self._module_(),
                options=self.options,
                reader=reader,
                spectrum=state.spectrum,
                linear=state.linear,
                stored_gq=state.stored_gq,
                training=read_held(reader, cells_of(known, train_rows, setup, own[0]), own[0]),
                validation=read_held(reader, validating, own[1]) if len(validation_rows) else None,
                new=adata,
                rows=rows[train_rows],
                validation_rows=rows[validation_rows],
                cells_shown=_recipe.profile_cells(self.options, known, train_rows),
            )


def _interrupted_words(state: Trained, options: _build.Options, folder: str | Path | None) -> str:
    facts, place = state.facts, ""
    kept = f"the model keeps the weights of step {facts['best_step']}, the best at a check so far."
    if options.published is not None:
        kept, place = _recipe.interrupted_words(options.published, facts["best_step"], state.history["stage"][-1])
    words = f"Training was interrupted at step {facts['last_step']}{place}; {kept}"
    return words if folder is None else f"{words} The same training can go on from the checkpoint in {folder}."
