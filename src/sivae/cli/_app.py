"""What every command shares: the application, and errors, warnings and kills in plain words."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sivae import __version__, _launched
from sivae._errors import OptionError, ProcessError, SiVAEError, SiVAEWarning, one_line

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
def plainly(checkpoint: Path | None = None, *, together: bool = False) -> Iterator[None]:
    """Turn our warnings into notes, errors into one line and exit code 1, and a kill into a clean end.

    Several processes that were launched together are refused, unless the command can use them (`together`). The first
    of them has the word; another speaks of what it alone knows.
    """
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", SiVAEWarning)
            warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)  # we say it
            show = warnings.showwarning
            warnings.showwarning = lambda message, category, *rest, **named: (
                _note(message) if issubclass(category, SiVAEWarning) else show(message, category, *rest, **named)
            )
            if not together:
                _refuse_several()
            yield
    except SiVAEError as error:
        if _state["debug"]:
            raise
        if error.everywhere and _launched.rank() > 0:
            raise typer.Exit(1) from error
        fail(error, _checkpoint_words(checkpoint) if isinstance(error, ProcessError) else "")
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


def tell(text: object, *, err: bool = False) -> None:
    """Print a line; names in it cannot move the cursor, color the terminal or turn the text around."""
    typer.echo(visible(str(text)), err=err)


def visible(text: str) -> str:
    """The text with every sign that is not printed, except line ends, written as an escape."""
    return "".join(s if s.isprintable() or s == "\n" else s.encode("unicode_escape").decode() for s in text)


def _refuse_several() -> None:
    if _launched.world() > 1:
        error = OptionError(
            f"{_launched.world()} processes were started together; expected one, because of the commands only "
            "sivae fit can use several. Start one."
        )
        error.everywhere = True
        raise error


def _note(message: object) -> None:
    if _launched.rank() == 0:
        tell(f"Note: {message}", err=True)


def _say_stopped(checkpoint: Path | None) -> None:
    if _launched.rank() > 1:
        return  # two processes say it, because one of them may be the one that is gone
    typer.echo(f"{_which()}Stopped; nothing was written.{_checkpoint_words(checkpoint)}", err=True)


def _checkpoint_words(checkpoint: Path | None) -> str:
    if checkpoint is not None:
        from sivae.train._checkpoint import holds_checkpoint

        if holds_checkpoint(checkpoint):
            return f" The checkpoint in {checkpoint} stays: the same command goes on from it."
    return ""


def _which() -> str:
    """Which process speaks, where it is not the first of several."""
    return f"(process {_launched.rank()} of {_launched.world()}) " if _launched.rank() > 0 else ""


def fail(error: SiVAEError, more: str = "") -> NoReturn:
    tell(f"Error: {_which()}{error}{more}", err=True)
    raise typer.Exit(1) from error


def _fail_unforeseen(error: Exception) -> NoReturn:
    words = one_line((str(error).splitlines() or [""])[0])
    found = f"{type(error).__name__}: {words}" if words else type(error).__name__
    advice = "Nothing was written. sivae --debug COMMAND shows where it arose"
    if not isinstance(error, OSError | MemoryError):
        advice += "; this may be a defect of siVAE, please report it"
    tell(f"Error: {_which()}{found}. {advice}.", err=True)
    raise typer.Exit(1) from error


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
