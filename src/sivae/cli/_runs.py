"""Commands that make a run, use it and tell of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sivae._errors import ArtefactError, OptionError, some
from sivae.cli._app import Data, Run, app, fail, plainly, tell

if TYPE_CHECKING:
    from sivae._run import Again, FitOptions

Out = Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder to make; it must not exist.")]
Latent = Annotated[int, typer.Option(help="Number of axes.")]
Likelihood = Annotated[
    str,
    typer.Option(
        help="auto, normal (standardised values), nb, zinb or poisson (counts), or bernoulli (open or closed)."
    ),
]
Dispersion = Annotated[
    str | None,
    typer.Option(
        help="What the noise depends on: gene, gene-batch, gene-cell, or cell (normal only); the recipe's own, gene in "
        "the default one, if not given."
    ),
]
Recipe = Annotated[
    str, typer.Option(help="default, or choi2023: the published model in its three phases (normal or nb).")
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Settings of a published run, for --recipe choi2023: tutorial, 'fetal liver', ipsc or images.",
    ),
]
Gamma = Annotated[float | None, typer.Option(help="Weight of the linear term; the recipe's own if not given.")]
Genes = Annotated[str, typer.Option(metavar="NUMBER|all", help="How many genes to model, those that vary most.")]
Epochs = Annotated[
    int | None,
    typer.Option(
        help="Passes over the cells; chosen by the size of the data if not given. Caps each phase of choi2023."
    ),
]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
Accelerator = Annotated[str, typer.Option(help="auto, cpu, gpu or mps.")]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="RUN|run.json",
        help="Repeat this run: its options and seed. DATA is given as usual; other options are left out.",
    ),
]
Project = Annotated[bool, typer.Option("--project-rest", help="Afterwards place the genes that were not modelled.")]


@app.command()
def fit(
    context: typer.Context,
    data: Data,
    *,
    output: Out,
    from_: From = None,
    layer: Annotated[str | None, typer.Option(help="Layer with the values; X if not given.")] = None,
    batch_key: Annotated[str | None, typer.Option(help="Column of obs with the batch of each cell.")] = None,
    categorical_covariate: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Further column of obs to keep out of the map; repeatable."),
    ] = None,
    continuous_covariate: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Numeric column of obs to keep out; repeatable.")
    ] = None,
    size_factor_key: Annotated[str | None, typer.Option(help="Column of obs to divide counts by.")] = None,
    normalize: Annotated[str, typer.Option(help="auto, log1p (counts) or none (values as they are).")] = "auto",
    n_latent: Latent = 10,
    likelihood: Likelihood = "auto",
    dispersion: Dispersion = None,
    gamma: Gamma = None,
    recipe: Recipe = "default",
    preset: Preset = None,
    n_genes: Genes = "2000",
    project_rest: Project = False,
    max_epochs: Epochs = None,
    seed: Seed = 0,
    accelerator: Accelerator = "auto",
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of obs that colours cells.")] = None,
    gene_sets: Annotated[
        Path | None, typer.Option(metavar="SETS.gmt", help="Gene sets to look for in axes and modules.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep a checkpoint there; the same command goes on from it after a kill."),
    ] = None,
) -> None:
    """Choose genes, train, annotate, and write a folder with model, data, tables, figures, report and explorer.

    Ctrl-C during training ends the training: the folder is written with the best so far. A second one stops at once.
    Started as several processes (torchrun --nproc-per-node 4 -m sivae fit ...), they train one model together, each on
    its share of the cells; the first of them writes the folder, and Ctrl-C stops them all.
    """
    from sivae import _run

    options = _run.FitOptions(
        layer=layer, batch_key=batch_key, size_factor_key=size_factor_key, normalize=normalize,
        categorical_covariates=tuple(categorical_covariate or ()),
        continuous_covariates=tuple(continuous_covariate or ()),
        n_latent=n_latent, likelihood=likelihood, dispersion=dispersion, gamma=gamma,
        recipe=recipe, preset=preset,
        n_genes=_number_of_genes(n_genes),
        project_rest=project_rest, max_epochs=max_epochs, seed=seed, accelerator=accelerator, label=label,
        gene_sets=None if gene_sets is None else str(gene_sets),
    )  # fmt: skip
    with plainly(checkpoint, together=True):
        again, options = _again(context, options, from_)
        _run.fit_file(data, output, options, say=tell, progress=sys.stderr.isatty(), checkpoint=checkpoint, again=again)


def _again(context: typer.Context, options: FitOptions, path: Path | None) -> tuple[Again | None, FitOptions]:
    """The run to repeat and its options, where one is named."""
    from sivae import _run

    if path is None:
        return None, options
    names = {"categorical_covariate": "categorical_covariates", "continuous_covariate": "continuous_covariates"}
    sources = {name: context.get_parameter_source(name) for name in context.params}
    written = {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}
    named = {names.get(name, name) for name in written - {"data", "output", "from_", "checkpoint"}}
    return _run.open_again(path, given=options, named=frozenset(named), command=str(context.info_name))


@app.command()
def demo(
    context: typer.Context,
    *,
    output: Out = Path("sivae-demo"),
    from_: From = None,
    n_latent: Latent = 10,
    likelihood: Likelihood = "auto",
    dispersion: Dispersion = None,
    gamma: Gamma = None,
    recipe: Recipe = "default",
    preset: Preset = None,
    n_genes: Genes = "2000",
    max_epochs: Epochs = None,
    seed: Seed = 0,
    accelerator: Accelerator = "auto",
) -> None:
    """Do the same on 700 blood cells that come with scanpy; no network is needed."""
    from sivae import _run

    options = _run.FitOptions(
        n_latent=n_latent, likelihood=likelihood, dispersion=dispersion, gamma=gamma,
        recipe=recipe, preset=preset,
        n_genes=_number_of_genes(n_genes),
        max_epochs=max_epochs, seed=seed, accelerator=accelerator, label="cell_type",
    )  # fmt: skip
    with plainly():
        again, options = _again(context, options, from_)
        _run.fit_demo(output, options, say=tell, progress=sys.stderr.isatty(), again=again)


@app.command()
def embed(
    run: Run,
    data: Data,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.h5ad", help="File to make; it must not exist.")
    ],
    genes: Annotated[
        bool, typer.Option("--genes", help="Place the genes of DATA, which must hold the training cells.")
    ] = False,
) -> None:
    """Place new cells, or with --genes new genes, on the map of a run."""
    from sivae import _run

    with plainly():
        if genes:
            adata = _run.embed_genes(run, data, output)
            tell(f"Placed {adata.n_vars:,} genes: varm['X_sivae'] and varm['X_sivae_var'] in {output}")
        else:
            adata = _run.embed_cells(run, data, output)
            tell(f"Placed {adata.n_obs:,} cells: obsm['X_sivae'] in {output}")


@app.command()
def info(run: Run) -> None:
    """Say what a run is: its data, model, training and files."""
    from sivae import _run

    with plainly():
        record = _run.read_any_record(run)
        for name, value in _described(run, record):
            tell(f"{name:<18} {value}")
        listed = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in run.iterdir())
        tell(f"{'files':<18} {', '.join(listed)}")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="The folder of a run, or of a saved model.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON: a list of rows, one for each file.")] = False,
) -> None:
    """Check the SHA-256 of every file: missing, changed, a link out of the folder (exit code 1), or not listed."""
    import json as text

    from sivae import _run

    with plainly():
        found = _run.verify(folder)
        harmed = _run.harmed(found)
        if json:
            typer.echo(text.dumps([{"file": name, "found": what} for name, what in found.items()], indent=1))
        else:
            for name, what in found.items():
                if what != _run.WRITTEN:
                    typer.echo(f"{name}: {what}")
            typer.echo(f"{sum(what == _run.WRITTEN for what in found.values())} files are as they were written.")
        if harmed:
            raise ArtefactError(
                f"{len(harmed)} of the files of {folder} are not as they were written: {some(harmed)}. Copy the folder "
                "again, or make it again."
            )


@app.command()
def report(run: Run) -> None:
    """Make the report of a run again."""
    from sivae import _run

    with plainly():
        tell(f"Wrote {_run.rebuild_report(run)}")


@app.command()
def explore(
    run: Run,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.html", help="File to make; explorer.html in RUN if not given."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of obs that colors cells at first.")
    ] = None,
) -> None:
    """Make the explorer of a run again: cells and genes in two linked maps, in one file for any browser."""
    from sivae import _run

    with plainly():
        tell(f"Wrote {_run.rebuild_explorer(run, out=output, label=label)}")


def _described(run: Path, record: dict[str, Any]) -> list[tuple[str, str]]:
    from sivae._errors import ArtefactError

    try:
        return _cohort_rows(record) if "individuals" in record else _rows(record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtefactError(
            f"{run / 'run.json'} does not describe a run ({error}), expected what sivae wrote there. The run is "
            "damaged: copy or make it again."
        ) from error


def _cohort_rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    individuals, options, phenotype = (record[key] for key in ("individuals", "options", "phenotype"))
    left_out = [*individuals["too_few_cells_or_failed"], *individuals["without_phenotype_or_covariate"]]
    return [
        ("data", record["data"]["name"]),
        ("data sha256", record["data"]["sha256"]),
        ("individuals", f"{individuals['tested']:,}, {len(left_out):,} left out (column {options['sample']})"),
        ("cells", f"{individuals['cells']:,}"),
        ("genes", f"{record['genes']['modelled']:,} ({record['genes']['chosen']})"),
        ("asked about", f"{phenotype['name']} ({phenotype['kind']})"),
        ("covariates", ", ".join(options["covariates"]) or "none"),
        ("mode", options["mode"]),
        ("found", ", ".join(f"{count:,} {verdict}" for verdict, count in record["found"].items())),
        ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in record["seconds"].items())),
        ("made", f"{record['created']} with sivae-tools {record['version']}"),
    ]


def _rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    data, genes, model, training = (record[key] for key in ("data", "genes", "model", "training"))
    return [
        ("data", data["name"]),
        ("data sha256", data["sha256"]),
        ("cells", f"{data['cells']:,}"),
        ("genes", f"{data['genes']:,} ({genes['modelled']:,} modelled: {genes['chosen']})"),
        *_recipe_rows(record),
        ("axes", str(model["n_latent"])),
        ("likelihood", model["likelihood"]),
        ("dispersion", model.get("dispersion", "gene")),
        ("gamma", f"{model['gamma']:g}"),
        ("seed", str(model["seed"])),
        *_loss_rows(training),
        ("kept step" if "phases" in training else "best step", _step_words(training)),
        ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in record["seconds"].items())),
        ("made", f"{record['created']} with sivae-tools {record['version']}"),
    ]


def _recipe_rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    recipe, preset = record["model"].get("recipe", "default"), record.get("options", {}).get("preset")
    return [("recipe", recipe if preset is None else f"{recipe}, preset {preset!r}")]


def _loss_rows(training: dict[str, Any]) -> list[tuple[str, str]]:
    """Validation loss, of a training in phases a row for each."""
    if "phases" not in training:
        start, best = training["start_validation_loss"], training["best_validation_loss"]
        loss = "no validation cells" if start is None else f"{start:.2f} at the start, {best:.2f} at the best step"
        return [("validation loss", loss)]
    rows = []
    for phase in training["phases"]:
        start, kept = phase["start_validation_loss"], phase["kept_validation_loss"]
        loss = "" if start is None else f", validation loss {start:.2f} to {kept:.2f}"
        rows.append(("phase", f"{phase['phase']}: {phase['steps']:,} steps, {phase['seconds']:.1f} seconds{loss}"))
    return rows


def _step_words(training: dict[str, Any]) -> str:
    return f"{training['best_step']} (stopped: {training['stopped']})"


def _number_of_genes(text: str) -> int | None:
    """Read a number of genes; "all" is None."""
    if text.strip().lower() == "all":
        return None
    if not text.strip().isdecimal():
        fail(OptionError(f"Found --n-genes {text!r}, expected a whole number or all. 2000 is the default."))
    return int(text)
