"""Tables that the tools return, as plots take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sivae._errors import OptionError, SetupError, some

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd


def check_table(table: object, columns: Iterable[str], *, call: str) -> None:
    """Refuse what is no frame with the columns of a tool.

    Raises
    ------
    SetupError
        Naming what was found, and the call that makes such a frame.
    """
    if not hasattr(table, "columns") or not hasattr(table, "iloc"):
        raise SetupError(f"Found {type(table).__name__}, expected a frame. Pass what {call} returns.")
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise SetupError(
            f"Found a frame without the column {some(missing)}; it has: {some(table.columns, 10)}. "
            f"Pass what {call} returns."
        )


def one(table: pd.DataFrame, column: str, wanted: object) -> str:
    """The entry of a column that is asked for, or the only one.

    Raises
    ------
    OptionError
        If it is not there, or none is asked for and there are several.
    """
    there = list(dict.fromkeys(str(name) for name in table[column]))
    wanted = None if wanted is None else str(wanted)
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted is None or wanted not in there:
        raise OptionError(
            f"Found {column}={wanted!r}, expected one of those in the table: {some(there) or 'it is empty'}. "
            f"Name one as {column}=."
        )
    return wanted
