"""The command line: `sivae --help` answers at once, because everything heavy is imported inside the commands."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from sivae import __version__
from sivae._errors import OptionError, SiVAEError, SiVAEWarning

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="siVAE: cells and genes in one map, so that genes explain the axes on which cells lie.",
    epilog="Start with: sivae demo -o demo-run",
)
_state = {"debug": False}

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Cells x genes with raw counts: .h5ad or .zarr.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
Out = Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder to make; it must not exist.")]
Latent = Annotated[int, typer.Option(help="Number of axes.")]
Likelihood = Annotated[
    str,
    typer.Option(
        help="auto, normal (standardised values), nb, zinb or poisson (counts), or bernoulli (open or closed)."
    ),
]
Dispersion = Annotated[
    str, typer.Option(help="What the noise depends on: gene, gene-batch, gene-cell, or cell (normal only).")
]
Gamma = Annotated[float | None, typer.Option(help="Weight of the linear term; the model's default if not given.")]
Genes = Annotated[str, typer.Option(metavar="NUMBER|all", help="How many genes to model, those that vary most.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the cells; chosen by the size of the data if not given.")]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
Accelerator = Annotated[str, typer.Option(help="auto, cpu, gpu or mps.")]
Project = Annotated[bool, typer.Option("--project-rest", help="Afterwards place the genes that were not modelled.")]


@app.callback(invoke_without_command=True)
def _common(
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the program an error arose.")] = False,
) -> None:
    _state["debug"] = debug
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def fit(
    data: Data,
    *,
    output: Out,
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
    dispersion: Dispersion = "gene",
    gamma: Gamma = None,
    n_genes: Genes = "2000",
    project_rest: Project = False,
    max_epochs: Epochs = None,
    seed: Seed = 0,
    accelerator: Accelerator = "auto",
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of obs that colours cells.")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep a checkpoint there; the same command goes on from it after a kill."),
    ] = None,
) -> None:
    """Choose genes, train, annotate, and write a folder with model, data, tables, figures and report.

    Ctrl-C during training ends the training: the folder is written with the best so far. A second one stops at once.
    """
    from sivae import _run

    options = _run.FitOptions(
        layer=layer, batch_key=batch_key, size_factor_key=size_factor_key, normalize=normalize,
        categorical_covariates=tuple(categorical_covariate or ()),
        continuous_covariates=tuple(continuous_covariate or ()),
        n_latent=n_latent, likelihood=likelihood, dispersion=dispersion, gamma=gamma,
        n_genes=_number_of_genes(n_genes),
        project_rest=project_rest, max_epochs=max_epochs, seed=seed, accelerator=accelerator, label=label,
    )  # fmt: skip
    with _plainly(checkpoint):
        _run.fit_file(data, output, options, say=typer.echo, progress=sys.stderr.isatty(), checkpoint=checkpoint)


@app.command()
def demo(
    *,
    output: Out = Path("sivae-demo"),
    n_latent: Latent = 10,
    likelihood: Likelihood = "auto",
    dispersion: Dispersion = "gene",
    gamma: Gamma = None,
    n_genes: Genes = "2000",
    max_epochs: Epochs = None,
    seed: Seed = 0,
    accelerator: Accelerator = "auto",
) -> None:
    """Do the same on 700 blood cells that come with scanpy; no network is needed."""
    from sivae import _run

    options = _run.FitOptions(
        n_latent=n_latent, likelihood=likelihood, dispersion=dispersion, gamma=gamma,
        n_genes=_number_of_genes(n_genes),
        max_epochs=max_epochs, seed=seed, accelerator=accelerator, label="cell_type",
    )  # fmt: skip
    with _plainly():
        _run.fit_demo(output, options, say=typer.echo, progress=sys.stderr.isatty())


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

    with _plainly():
        if genes:
            adata = _run.embed_genes(run, data, output)
            typer.echo(f"Placed {adata.n_vars:,} genes: varm['X_sivae'] and varm['X_sivae_var'] in {output}")
        else:
            adata = _run.embed_cells(run, data, output)
            typer.echo(f"Placed {adata.n_obs:,} cells: obsm['X_sivae'] in {output}")


@app.command()
def info(run: Run) -> None:
    """Say what a run is: its data, model, training and files."""
    from sivae import _run

    with _plainly():
        for name, value in _rows(_run.read_record(run)):
            typer.echo(f"{name:<18} {value}")
        listed = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in run.iterdir())
        typer.echo(f"{'files':<18} {', '.join(listed)}")


@app.command()
def report(run: Run) -> None:
    """Make the report of a run again."""
    from sivae import _run

    with _plainly():
        typer.echo(f"Wrote {_run.rebuild_report(run)}")


def _rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    data, genes, model, training = (record[key] for key in ("data", "genes", "model", "training"))
    start, best = training["start_validation_loss"], training["best_validation_loss"]
    loss = "no validation cells" if start is None else f"{start:.2f} at the start, {best:.2f} at the best step"
    return [
        ("data", data["name"]),
        ("data sha256", data["sha256"]),
        ("cells", f"{data['cells']:,}"),
        ("genes", f"{data['genes']:,} ({genes['modelled']:,} modelled: {genes['chosen']})"),
        ("axes", str(model["n_latent"])),
        ("likelihood", model["likelihood"]),
        ("dispersion", model.get("dispersion", "gene")),
        ("gamma", f"{model['gamma']:g}"),
        ("seed", str(model["seed"])),
        ("validation loss", loss),
        ("best step", f"{training['best_step']} (stopped: {training['stopped']})"),
        ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in record["seconds"].items())),
        ("made", f"{record['created']} with sivae-tools {record['version']}"),
    ]


def _number_of_genes(text: str) -> int | None:
    """Read a number of genes; "all" is None."""
    if text.strip().lower() == "all":
        return None
    if not text.strip().isdecimal():
        _fail(OptionError(f"Found --n-genes {text!r}, expected a whole number or all. 2000 is the default."))
    return int(text)


@contextmanager
def _plainly(checkpoint: Path | None = None) -> Iterator[None]:
    """Turn our warnings into notes, errors into one line and exit code 1, and a kill into a clean end."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", SiVAEWarning)
            warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)  # we say it
            show = warnings.showwarning
            warnings.showwarning = lambda message, category, *rest, **named: (
                typer.echo(f"Note: {message}", err=True)
                if issubclass(category, SiVAEWarning)
                else show(message, category, *rest, **named)
            )
            yield
    except SiVAEError as error:
        if _state["debug"]:
            raise
        _fail(error)
    except Exception as error:
        if _state["debug"]:
            raise
        _fail_unforeseen(error)
    except KeyboardInterrupt:
        _say_stopped(checkpoint)
        raise typer.Exit(130) from None
    except SystemExit:
        _say_stopped(checkpoint)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _say_stopped(checkpoint: Path | None) -> None:
    words = "Stopped; nothing was written."
    if checkpoint is not None:
        from sivae.train._checkpoint import holds_checkpoint

        if holds_checkpoint(checkpoint):
            words += f" The checkpoint in {checkpoint} stays: the same command goes on from it."
    typer.echo(words, err=True)


def _fail(error: SiVAEError) -> NoReturn:
    typer.echo(f"Error: {error}", err=True)
    raise typer.Exit(1) from error


def _fail_unforeseen(error: Exception) -> NoReturn:
    words = (str(error).splitlines() or [""])[0]
    found = f"{type(error).__name__}: {words}" if words else type(error).__name__
    advice = "Nothing was written. sivae --debug COMMAND shows where it arose"
    if not isinstance(error, OSError | MemoryError):
        advice += "; this may be a defect of siVAE, please report it"
    typer.echo(f"Error: {found}. {advice}.", err=True)
    raise typer.Exit(1) from error


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
