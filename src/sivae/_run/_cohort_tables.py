"""The tables of a run of many individuals, and what they say in a few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import pandas as pd

from sivae import _keys
from sivae._errors import OptionError, SetupError
from sivae._run._cohort_checks import BY_NAME, MITO
from sivae._spreadsheet import write_csv
from sivae._values import frame
from sivae.report._cohort_words import found_words, in_order, rows_in_order

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

    from sivae._run._cohort import CohortOptions, Say

    Found = TypeVar("Found")

MOST_CENTRAL: Final = 100
"""Genes of an individual's list of central genes, as published; fewer where there are not ten times as many."""
N_NAMED: Final = 5
"""Genes that are named on the terminal."""


@dataclass(frozen=True)
class Tables:
    """What was found; None where it could not be asked."""

    association: pd.DataFrame
    edges: pd.DataFrame | None
    modules: pd.DataFrame | None
    edge_classes: pd.DataFrame | None
    central_genes: pd.DataFrame | None
    gene_sets: pd.DataFrame | None
    similarity: pd.DataFrame | None
    map: pd.DataFrame | None
    individuals: pd.DataFrame


def analyse(samples: AnnData, options: CohortOptions, *, say: Say) -> Tables:
    """Ask everything of individuals x genes; the map is written into it.

    What the data cannot answer is left out and said; the association of genes is not.
    """
    from sivae import cohort

    asked: dict[str, Any] = {"covariates": options.covariates, "seed": options.seed}
    tested = asked | {"n_permutations": options.n_permutations}
    name = options.phenotype
    association = cohort.associate(samples, name, fdr=options.fdr, **tested)
    n_top = min(MOST_CENTRAL, max(1, samples.n_vars // 10))
    sets = options.gene_sets

    def optional(what: str, call: Callable[[], Found]) -> Found | None:
        try:
            return call()
        except (SetupError, OptionError) as error:
            say(f"Note: {what}: not asked. {error}")
            return None

    edges = optional("edges", lambda: rows_in_order(cohort.edges(samples, name, fdr=options.fdr, **tested)))
    similarity = optional("similarity of individuals", lambda: cohort.similarity(samples))
    return Tables(
        association=in_order(association),
        edges=edges,
        modules=optional("modules", lambda: cohort.modules(samples, name, **tested)) if _has_modules(samples) else None,
        edge_classes=optional("classes of edges", lambda: _edge_classes(samples, options, tested)),
        central_genes=optional("central genes", lambda: cohort.central_genes(samples, n_top=n_top)),
        gene_sets=None
        if sets is None
        else optional("gene sets", lambda: cohort.gene_sets(samples, name, sets, **asked)),
        similarity=similarity,
        map=None if similarity is None else optional("map of individuals", lambda: _map(samples, name, asked)),
        individuals=individuals(samples),
    )


def _map(samples: AnnData, phenotype: str, asked: dict[str, Any]) -> pd.DataFrame:
    from sivae import cohort

    cohort.individuals_map(samples)
    return cohort.associate_map(samples, phenotype, **asked)


def _has_modules(samples: AnnData) -> bool:
    return _keys.MODULE in samples.var and bool(samples.var[_keys.MODULE].astype(str).str.startswith("module").any())


def _edge_classes(samples: AnnData, options: CohortOptions, tested: dict[str, Any]) -> pd.DataFrame | None:
    """None where all genes are of one class."""
    from sivae import cohort

    classes: Any = options.classes
    if classes in (BY_NAME, MITO):
        classes = cohort.gene_classes(samples.var_names)
        if options.classes == MITO:
            classes = classes.replace("RP", "other")
    levels = samples.var[classes] if isinstance(classes, str) else classes
    if pd.Series(levels).nunique() < 2:  # noqa: PLR2004
        return None
    return cohort.edge_classes(samples, classes, phenotype=options.phenotype, **tested)


def individuals(samples: AnnData) -> pd.DataFrame:
    """A row for each individual, with what is known of it, its place on the map, and why it was left out if it was."""
    table = frame(samples.obs).copy()
    if _keys.MAP in samples.obsm:
        for axis, values in enumerate(np.asarray(samples.obsm[_keys.MAP]).T, start=1):
            table[f"map{axis}"] = values
    table.insert(0, "individual", samples.obs_names.astype(str))
    table["left_out"] = ""
    failed = dict(samples.uns[_keys.COHORT].get("failed", {}))
    rows = [{"individual": who, "left_out": str(why)} for who, why in failed.items()]
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True) if rows else table.reset_index(drop=True)


def write(found: Tables, folder: Path) -> None:
    """Write each table as CSV."""
    folder.mkdir()
    named = {"association", "central_genes", "gene_sets"}
    for name, table in vars(found).items():
        if table is not None:
            indexed = {"similarity": "individual", "map": "what"}
            plain = table.rename_axis(indexed[name]) if name in indexed else table
            write_csv(plain, folder / f"{name}.csv", index=name in named or name in indexed)


def words(samples: AnnData, found: Tables) -> list[str]:
    """What was found, a line each."""
    table = found.association
    lines = [found_words(table)]
    first = table[table["verdict"] == "associated"].head(N_NAMED)
    if len(first):
        each = [f"{gene} ({'more' if effect > 0 else 'less'})" for gene, effect in first["effect"].items()]
        lines.append(f"First to look at: {', '.join(each)}.")
    if found.edges is not None:
        lines.append(f"Edges: {int(found.edges['associated'].sum()):,} of {len(found.edges):,} change.")
    failed = dict(samples.uns[_keys.COHORT].get("failed", {}))
    left_out = [*failed, *table.attrs["left_out"]]
    if left_out:
        lines.append(f"Left out: {len(left_out)} individuals; the report says why.")
    return lines
