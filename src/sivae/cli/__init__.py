"""The command line: `sivae --help` answers at once, because everything heavy is imported inside the commands."""

from sivae.cli import _cohort, _genes, _runs
from sivae.cli._app import app

__all__ = ["app", "main"]

_ = _cohort, _genes, _runs  # importing them adds their commands


def main() -> None:
    """Run the command line."""
    app()
