"""What a cohort has to have before anything is read or trained: columns, individuals, a phenotype that varies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae._checks import one_of
from sivae._errors import ArtefactError, GeneMismatchError, OptionError, SetupError, some
from sivae._extras import require
from sivae._run import _files
from sivae._space import nearest_names

if TYPE_CHECKING:
    import pandas as pd

    from sivae._run._cohort import CohortOptions
    from sivae.cohort._individuals import Individuals
    from sivae.cohort._phenotype import Design

MODES: Final = ("shared", "separate")
BY_NAME: Final = "names"
MITO: Final = "mito"
"""Classes of genes that need no column."""


@dataclass(frozen=True)
class Cohort:
    """Individuals with enough cells, and what is asked of them."""

    individuals: Individuals
    design: Design


def check_options(run: Path, options: CohortOptions) -> None:
    """Refuse what can be refused before the data are read.

    Raises
    ------
    ArtefactError
        If the place is taken or cannot be written, or there is no such model.
    OptionError
        If an option has a value that cannot work, or two do not go together.
    MissingExtraError
        If matplotlib or jinja2 is not installed.
    """
    _files.refuse_existing(run)
    _files.check_place(run)
    for module in ("matplotlib", "jinja2"):
        require(module, extra="report")
    one_of("mode", options.mode, MODES)
    if options.gene_sets is not None:
        from sivae.tl import read_gmt

        read_gmt(options.gene_sets)
    _check_numbers(options)
    _check_names(options)
    _check_mode(options)
    if options.model is not None:
        _check_given(options)


def _check_mode(options: CohortOptions) -> None:
    """Refuse what belongs to the other mode."""
    separate = options.mode == "separate"
    if separate and options.model is not None:
        raise OptionError(
            "Found --model with --mode separate, which trains a model for each individual. Leave --model out, or use "
            "--mode shared."
        )
    if separate and (options.max_epochs is not None or options.accelerator not in ("auto", "cpu")):
        name = "--max-epochs" if options.max_epochs is not None else "--accelerator"
        raise OptionError(
            f"Found {name} with --mode separate; expected none, because small models are trained, on the CPU, for as "
            "long as their cells need. Leave it out, or use --mode shared."
        )
    if not separate and (options.work is not None or options.jobs > 1):
        name, what = ("--work", "kept there") if options.work is not None else ("--jobs", "trained side by side")
        raise OptionError(
            f"Found {name} with --mode shared; expected none, because only separate models are {what}. Leave it out, "
            "or use --mode separate."
        )


def _check_given(options: CohortOptions) -> None:
    """Refuse with a model what it already knows."""
    known = {"--layer": options.layer, "--batch-key": options.batch_key, "--max-epochs": options.max_epochs}
    given = [name for name, value in known.items() if value is not None]
    if given:
        raise OptionError(
            f"Found {some(given)} with --model; expected none, because the model knows what it was trained on. Leave "
            f"it out, or leave --model out to train one."
        )
    model_folder(Path(str(options.model)))


def _check_numbers(options: CohortOptions) -> None:
    least = {
        "--n-latent": (options.n_latent, 1, "20 is the default."),
        "--min-cells": (options.min_cells, 3, "20 is the default."),
        "--jobs": (options.jobs, 1, "1 is the default."),
        "--n-permutations": (options.n_permutations, 99, "100000 is the default."),
        "--seed": (options.seed, 0, "0 is the default."),
    }
    if options.n_genes is not None:
        least["--n-genes"] = (options.n_genes, 3, "2000 is the default, and all takes all.")
    if options.max_epochs is not None:
        least["--max-epochs"] = (options.max_epochs, 1, "Leave it out to let the data decide.")
    for name, (value, fewest, usual) in least.items():
        if value < fewest:
            raise OptionError(f"Found {name} {value}, expected at least {fewest}. {usual}")
    if not 0 < options.fdr < 1:
        raise OptionError(f"Found --fdr {options.fdr:g}, expected a number between 0 and 1. 0.05 is usual.")


def _check_names(options: CohortOptions) -> None:
    if options.levels and (len(set(options.levels)) < len(options.levels) or len(options.levels) < 2):  # noqa: PLR2004
        raise OptionError(
            f"Found --levels {','.join(options.levels)}, expected two or more different ones, from low to high."
        )
    if options.sample == options.phenotype:
        raise OptionError(
            f"{options.sample!r} is both --sample and --phenotype; expected two columns: who the individual is, and "
            "what is asked about."
        )
    for name, what in ((options.phenotype, "--phenotype"), (options.sample, "--sample")):
        if name in options.covariates:
            raise OptionError(
                f"{name!r} is both {what} and --covariate; expected other columns. Take it out of the covariates."
            )


def model_folder(path: Path) -> Path:
    """The folder of the model: that of a run, or the one given.

    Raises
    ------
    ArtefactError
        If there is none.
    """
    folder = path / _files.MODEL if (path / _files.RECORD).is_file() else path
    if not (folder / "config.json").is_file():
        raise ArtefactError(
            f"Found no model in {path}, expected the folder of a run (sivae fit) or of a saved model (model.save). "
            "Leave --model out to train one."
        )
    return folder


# --------------------------------------------------------------------------------------------------------- individuals


def check_obs(obs: pd.DataFrame, options: CohortOptions) -> Cohort:
    """Group cells by individual and read the phenotype; nothing else of the data is needed.

    Raises
    ------
    SetupError
        If a column is missing, phenotype or covariate varies within an individual, fewer than 4 individuals have enough
        cells and a phenotype, the phenotype is constant, or a covariate determines it.
    """
    import warnings

    from anndata import AnnData

    from sivae.cohort._individuals import individuals_of
    from sivae.cohort._phenotype import read_design

    for name, option in _columns(options):
        _check_column(obs, name, option)
    _check_many(obs, options)
    obs = obs.assign(**{options.phenotype: phenotype_column(obs, options)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # connectivity says it
        individuals = individuals_of(
            AnnData(obs=obs), options.sample, cell_type_key=options.cell_type, min_cells=options.min_cells
        )
    for name, option in ((options.phenotype, "--phenotype"), *((name, "--covariate") for name in options.covariates)):
        if name not in individuals.obs:
            _refuse_varying(obs, individuals, name, option)
    _check_order(individuals.obs[options.phenotype], options.phenotype)
    design = read_design(AnnData(obs=individuals.obs), options.phenotype, options.covariates)
    return Cohort(individuals, design)


def _columns(options: CohortOptions) -> list[tuple[str, str]]:
    named = [(options.sample, "--sample"), (options.phenotype, "--phenotype")]
    named += [(name, "--covariate") for name in options.covariates]
    optional = ((options.cell_type, "--cell-type"), (options.batch_key, "--batch-key"))
    return named + [(name, option) for name, option in optional if name is not None]


def _check_column(obs: pd.DataFrame, name: str, option: str) -> None:
    if name in obs:
        return
    columns = [str(column) for column in obs.columns]
    near = nearest_names(name, columns, n=1)
    hint = f"Did you mean {option} {near[0]}?" if near else f"Name one of these with {option}."
    raise SetupError(f"Found no column {name!r} in obs, expected one of: {some(columns, 20) or 'none'}. {hint}")


def _check_many(obs: pd.DataFrame, options: CohortOptions) -> None:
    from sivae.cohort._phenotype import LEAST_INDIVIDUALS

    column = obs[options.sample]
    counts = column[column.notna()].astype(str).value_counts()
    enough = int((counts >= options.min_cells).sum())
    if enough >= LEAST_INDIVIDUALS:
        return
    found = some([f"{name} ({count})" for name, count in counts.items()], 6) or "none"
    raise SetupError(
        f"Found {enough} individuals with at least {options.min_cells} cells in obs[{options.sample!r}], expected at "
        f"least {LEAST_INDIVIDUALS}, because the individual is the unit of evidence. Individuals and their cells: "
        f"{found}. Name the column that tells individuals apart with --sample, lower --min-cells, or add individuals."
    )


def phenotype_column(obs: pd.DataFrame, options: CohortOptions) -> pd.Series[Any]:
    """The phenotype of each cell; with `levels`, ordered as these, and missing where it is none of them.

    Raises
    ------
    SetupError
        If a level is not there.
    """
    import pandas as pd

    column = obs[options.phenotype]
    if not options.levels:
        return column
    known = column.notna()
    text = column.astype(str).where(known)
    there = sorted(set(text[known]))
    gone = [level for level in options.levels if level not in there]
    if gone:
        raise SetupError(
            f"Found no {some(gone)} in obs[{options.phenotype!r}], expected some of: {some(there, 12)}. Name levels "
            "that are there with --levels, from low to high."
        )
    return pd.Series(pd.Categorical(text, categories=list(options.levels), ordered=True), index=obs.index)


def _check_order(column: pd.Series[Any], name: str) -> None:
    """Refuse more than two levels that nobody has put in order."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column.dtype) or getattr(column.dtype, "ordered", False):
        return
    levels = sorted({str(value) for value in column.dropna()})
    if len(levels) <= 2:  # noqa: PLR2004
        return
    numbers = pd.to_numeric(pd.Series(levels), errors="coerce").notna().all()
    there = f"adata.obs[{name!r}]"
    advice = f"They read as numbers: write the file again after {there} = {there}.astype(float)."
    if not numbers:
        some_levels = ",".join(levels[:3])
        advice = f"Order them with --levels {some_levels} (from low to high; others are left out)."
    raise SetupError(
        f"{name!r} has {len(levels)} levels without an order ({some(levels)}), expected numbers, two levels, or "
        f"ordered ones. {advice}"
    )


def _refuse_varying(obs: pd.DataFrame, individuals: Individuals, name: str, option: str) -> None:
    """Say in whom a column varies, and two of the values."""
    found = []
    for who, rows in zip(individuals.names, individuals.rows, strict=True):
        values = _distinct(obs[name].iloc[np.sort(rows)])
        if len(values) > 1:
            found.append((who, values))
    who, values = found[0]
    raise SetupError(
        f"{name!r} ({option}) varies within {len(found)} of {len(individuals.names)} individuals: {who!r} has "
        f"{values[0]} and {values[1]}; expected one value for each individual. Name another column, or write one value "
        "per individual into obs (for example its mean)."
    )


def _distinct(values: pd.Series[Any]) -> list[str]:
    known = ["a missing value" if missing else repr(_plain(value)) for value, missing in
             zip(values, values.isna(), strict=True)]  # fmt: skip
    return list(dict.fromkeys(known))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


# -------------------------------------------------------------------------------------------------------------- classes


def check_classes(columns: list[str], options: CohortOptions) -> None:
    """Refuse classes of genes that are no column of `var`.

    Raises
    ------
    SetupError
        If there is no such column.
    """
    if options.classes in (BY_NAME, MITO) or options.classes in columns:
        return
    raise SetupError(
        f"Found no column {options.classes!r} in var, expected one of: {some(columns, 20) or 'none'}; or "
        f"{BY_NAME} (mitochondrial, ribosomal and other genes, by their names) or {MITO}. Name one with --classes."
    )


def check_sets(genes: list[str], options: CohortOptions) -> None:
    """Refuse gene sets that hold none of the genes.

    Raises
    ------
    GeneMismatchError
        If no gene is in any set.
    """
    if options.gene_sets is None:
        return
    from sivae.tl import read_gmt

    sets = read_gmt(options.gene_sets)
    named = [str(gene) for members in sets.values() for gene in members]
    if not set(genes).intersection(named):
        raise GeneMismatchError(
            f"None of the {len(set(named)):,} genes in {options.gene_sets} ({some(dict.fromkeys(named), 3)}) is among "
            f"the {len(genes):,} genes of the data ({some(genes, 3)}). Use sets of the same kind of names."
        )
