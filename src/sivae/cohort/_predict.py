"""How well all genes together predict a phenotype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, final, get_args

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sivae._checks import one_of, whole_number
from sivae._door import door
from sivae._errors import OptionError, warn
from sivae._rng import numpy_generator
from sivae.cohort._folds import Model, fitted, inverse_sd, out_of_fold, permuted_phenotypes, r_squared
from sivae.cohort._phenotype import read_design, read_layer
from sivae.cohort._samples import check_samples, lacking
from sivae.cohort._tables import design_attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae.cohort._phenotype import Design
    from sivae.cohort._tables import Attrs

    Array: TypeAlias = NDArray[np.float64]

LEAST_TRAINING: Final = 4
"""Degrees of freedom that covariates leave of a training fold, at least."""


@final
@dataclass(frozen=True)
class Prediction:
    """What the connectivity of all genes says of a phenotype, judged on individuals that were not trained on."""

    predictions: pd.Series[float]
    """Of each individual, by a model that did not see it."""
    phenotype: pd.Series[float]
    """As it was read: 0 and 1 where it has two categories."""
    r2: float
    """Share of what the covariates (or the mean) leave of the phenotype that genes explain; negative where the mean
    predicts better."""
    spearman: float
    """Rank correlation of what genes add with what covariates leave; 0 where they add nothing."""
    auc: float
    """Chance that genes add more to an individual of category 1 than to one of 0; NaN for other phenotypes."""
    p: float
    """Of r2, one-sided, by permutation of the whole procedure."""
    coefficients: pd.Series[float]
    """Phenotype per standard deviation of each gene, fitted to all individuals, largest absolute value first."""
    penalty: float
    """Of that fit."""
    settings: Attrs
    """Phenotype, covariates, layer, model, folds, permutations, who was left out."""


@door
def predict(
    samples: AnnData,
    phenotype: str,
    *,
    layer: str | None = None,
    covariates: Iterable[str] = (),
    model: Model = "ridge",
    n_folds: int = 5,
    n_permutations: int = 200,
    seed: int = 0,
) -> Prediction:
    """Predict a phenotype from the connectivity of all genes, on individuals held out, with a permutation test.

    Individuals are dealt into folds at random. For each fold, from the others alone: covariates are taken off genes and
    phenotype, genes are standardised, the penalty is chosen, the model is fitted; then the fold is predicted. A
    phenotype of two categories is regressed as 0 and 1. Permutations (of what covariates leave of the phenotype)
    repeat all of it.

    Parameters
    ----------
    samples
        Individuals x genes, as of `sivae.cohort.connectivity`.
    phenotype
        Column of `samples.obs`.
    layer
        Which connectivity; `"projection"` if not given.
    covariates
        Columns of `samples.obs` that predict first.
    model
        "ridge" (all genes a little; all permutations in one go) or "lasso" (few genes; about a quarter of a second for
        each permutation).
    n_folds
        Outer folds; the number of individuals holds out one at a time.
    n_permutations
        Permutations; the smallest p is 1 / (1 + n_permutations).
    seed
        Of folds and permutations.

    Returns
    -------
    Prediction. Genes that are constant or have no value in someone have coefficient 0.

    Raises
    ------
    OptionError
        If there are too few individuals for the folds, or an option cannot work.
    SetupError
        If the phenotype, a covariate or the layer cannot be used.

    Notes
    -----
    A coefficient of a penalised model is no test of its gene: genes that go together share it (ridge) or one of them
    takes it (lasso). For genes one by one see `associate`.

    Examples
    --------
    >>> import sivae
    >>> adata = sivae.datasets.planted_cohort(n_individuals=8, n_cells=60)
    >>> sivae.SiVAE.setup_anndata(adata)
    >>> model = sivae.SiVAE(adata, n_latent=5)
    >>> history = model.train(max_epochs=2, progress=False)
    >>> samples = sivae.cohort.connectivity(adata, "donor", model=model)
    >>> found = sivae.cohort.predict(samples, "severity", n_folds=8, n_permutations=99)
    >>> found.coefficients.shape, 0 < found.p <= 1
    ((200,), True)
    """
    check_samples(samples)
    one_of("model", model, get_args(Model))
    n_permutations = whole_number("n_permutations", n_permutations, least=1, hint="200 is the default.")
    seed = whole_number("seed", seed, least=0)
    generator = numpy_generator(seed, "prediction")
    layer, value_sg = read_layer(samples, layer)
    design = read_design(samples, phenotype, covariates, lacking_s=lacking(value_sg))
    for note in design.notes:
        warn(note)
    design_sc = _with_constant(design)
    n_folds = _folds(n_folds, design_sc)
    value_sg = value_sg[design.rows]
    value_sg = np.where(np.isfinite(value_sg).all(axis=0), value_sg, 0.0)
    if not np.ptp(value_sg, axis=0).any():
        raise OptionError("No gene has a value in all individuals and varies; expected one. Name another layer.")
    fold_s = generator.permutation(len(design_sc)) % n_folds
    y_sb = permuted_phenotypes(design.x_s, design_sc, n_permutations, generator)
    base_sb, gain_sb = out_of_fold(value_sg, y_sb, design_sc, fold_s=fold_s, model=model, seed=seed)
    r2_b = r_squared(y_sb, base_sb, gain_sb)
    coefficient_g, penalty = _on_all(value_sg, design.x_s, design_sc, model=model, seed=seed)
    individuals = samples.obs_names[design.rows]
    coefficients = pd.Series(coefficient_g, index=pd.Index(samples.var_names, name="gene"), name="coefficient")
    settings = {"layer": layer, "model": model, "n_folds": n_folds, "n_permutations": n_permutations, "seed": seed}
    return Prediction(
        predictions=pd.Series(base_sb[:, 0] + gain_sb[:, 0], index=individuals, name="prediction"),
        phenotype=pd.Series(design.x_s, index=individuals, name=phenotype),
        r2=float(r2_b[0]),
        spearman=_spearman(gain_sb[:, 0], design.x_s - base_sb[:, 0]),
        auc=_auc(gain_sb[:, 0], design.x_s) if design.kind == "binary" else float("nan"),
        p=float((1 + (r2_b[1:] >= r2_b[0] - 1e-12).sum()) / (1 + n_permutations)),
        coefficients=coefficients.iloc[np.lexsort((samples.var_names, -np.abs(coefficient_g)))],
        penalty=penalty,
        settings=design_attrs(design) | settings,
    )


def _with_constant(design: Design) -> Array:
    parts = [np.ones((len(design.x_s), 1)), *([] if design.covariates_sc is None else [design.covariates_sc])]
    return np.concatenate(parts, axis=1)


def _folds(n_folds: int, design_sc: Array) -> int:
    n_folds = whole_number("n_folds", n_folds, least=2, hint="5 is the default.")
    n_s, n_c = design_sc.shape
    training = n_s - int(np.ceil(n_s / n_folds))
    if n_folds > n_s or training - n_c < LEAST_TRAINING:
        raise OptionError(
            f"n_folds is {n_folds} with {n_s} individuals and {n_c - 1} columns of covariates; expected at most as "
            f"many folds as individuals, and {LEAST_TRAINING + n_c} individuals or more to train on. Take fewer "
            "covariates, or up to as many folds as there are individuals."
        )
    return n_folds


def _on_all(value_sg: Array, y_s: Array, design_sc: Array, *, model: Model, seed: int) -> tuple[Array, float]:
    """Coefficients of each gene and the penalty, from all individuals."""
    left_sg = value_sg - design_sc @ np.linalg.lstsq(design_sc, value_sg, rcond=None)[0]
    left_s = y_s - design_sc @ np.linalg.lstsq(design_sc, y_s, rcond=None)[0]
    inverse_g = inverse_sd(left_sg, value_sg)
    coefficient_gb, penalty_b = fitted(left_sg * inverse_g, left_s[:, None], model=model, seed=seed)
    return np.where(inverse_g > 0, coefficient_gb[:, 0], 0.0), float(penalty_b[0])


def _spearman(gain_s: Array, left_s: Array) -> float:
    first, second = rankdata(gain_s), rankdata(left_s)
    first, second = first - first.mean(), second - second.mean()
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float(first @ second) / size if size > 0 else 0.0


def _auc(gain_s: Array, class_s: Array) -> float:
    """Share of the pairs of a 1 and a 0 in which the 1 gained more, ties counted half."""
    rank_s, one_s = rankdata(gain_s), class_s == class_s.max()
    n, m = int(one_s.sum()), int((~one_s).sum())
    return float((rank_s[one_s].sum() - n * (n + 1) / 2) / (n * m))
