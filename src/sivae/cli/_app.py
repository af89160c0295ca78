"""What every command shares: the application, and errors, warnings and kills in plain words."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sivae import __version__
from sivae._errors import SiVAEError, SiVAEWarning

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


@contextmanager
def plainly(checkpoint: Path | None = None) -> Iterator[None]:
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
        fail(error)
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


def fail(error: SiVAEError) -> NoReturn:
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
