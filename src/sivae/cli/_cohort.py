"""The command for many individuals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sivae.cli._app import Data, app, plainly, tell
from sivae.cli._runs import Accelerator, Genes, Latent, Out, Seed, _number_of_genes


@app.command()
def cohort(
    data: Data,
    *,
    sample: Annotated[str, typer.Option(metavar="COLUMN", help="Column of obs that names the individual.")],
    phenotype: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Column of obs to ask about, one value per individual: numbers, two groups, or ordered categories.",
        ),
    ],
    output: Out,
    levels: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Levels of the phenotype from low to high, if it is not a number; individuals of others are left out.",
        ),
    ] = None,
    covariate: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column of obs to hold fixed, one value per individual; repeatable."),
    ] = None,
    cell_type: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of obs with cell types. Without it a shift of cell types counts as connectivity.",
        ),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="shared (one model, each individual read in it) or separate (a model for each).")
    ] = "shared",
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|MODEL", help="Folder of a run or of a saved model to use; one is trained if not given."
        ),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer with the counts; X if not given.")] = None,
    batch_key: Annotated[str | None, typer.Option(help="Column of obs with the batch of each cell.")] = None,
    n_latent: Latent = 20,
    n_genes: Genes = "2000",
    gene_sets: Annotated[
        Path | None, typer.Option(metavar="SETS.gmt", help="Gene sets whose genes may change together.")
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            metavar="names|mito|COLUMN",
            help="Classes of genes between which edges are counted: by their names, or a column of var.",
        ),
    ] = "names",
    min_cells: Annotated[int, typer.Option(help="Individuals with fewer cells are left out.")] = 20,
    fdr: Annotated[float, typer.Option(help="False discovery rate of what is called associated.")] = 0.05,
    n_permutations: Annotated[int, typer.Option(help="Permutations of the individuals, at most.")] = 100_000,
    max_epochs: Annotated[
        int | None, typer.Option(help="Passes over the cells, for shared; chosen by the size of the data if not given.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Separate models trained at a time.")] = 1,
    work: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep finished separate models there; the same command goes on from them."),
    ] = None,
    seed: Seed = 0,
    accelerator: Accelerator = "auto",
) -> None:
    """Find genes whose connectivity goes with a phenotype over individuals; write tables, figures and a report.

    The individual is the unit of evidence, not the cell. Example:
    sivae cohort cells.h5ad --sample donor --phenotype age --covariate sex --cell-type cell_type -o run
    """
    from sivae._run._cohort import CohortOptions, cohort_file

    options = CohortOptions(
        sample=sample, phenotype=phenotype, levels=_listed(levels), covariates=tuple(dict.fromkeys(covariate or ())),
        cell_type=cell_type,
        mode=mode, model=None if model is None else str(model), layer=layer, batch_key=batch_key,
        n_latent=n_latent, n_genes=_number_of_genes(n_genes),
        gene_sets=None if gene_sets is None else str(gene_sets), classes=classes, min_cells=min_cells, fdr=fdr,
        n_permutations=n_permutations, max_epochs=max_epochs, seed=seed, accelerator=accelerator, jobs=jobs,
        work=None if work is None else str(work),
    )  # fmt: skip
    with plainly():
        cohort_file(data, output, options, say=tell, progress=sys.stderr.isatty())


def _listed(text: str | None) -> tuple[str, ...]:
    """Names that commas separate."""
    return () if text is None else tuple(name.strip() for name in text.split(",") if name.strip())
