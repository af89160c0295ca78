"""Tables as CSV that a spreadsheet opens without running anything; the one place where tables become CSV.

A spreadsheet takes a cell that begins with = + - or @ for a formula, and a formula can run programs or fetch addresses.
Names come from the data, so a text that would begin so gets an apostrophe before it, which makes a spreadsheet show it
as it is. Numbers, and texts that are numbers, stay. The rule can be undone without loss: a text that begins with
apostrophes and such a sign gets one more, and `read_csv` takes one away. The explorer's downloads follow the same rule
(explorer/page/export.js).
"""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

BLANK: Final = r"\s\x00-\x20\x85\ufeff"
"""What a spreadsheet may pass over at the beginning of a cell."""
FORMULA: Final = re.compile(rf"[{BLANK}]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""How a text begins that could be run: the four signs, also in full width, and what ends a cell or a line."""
NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def safe(text: str) -> str:
    """A text that no spreadsheet runs: with an apostrophe before it where it could be a formula."""
    return f"'{text}" if _risky(text) else text


def plain(text: str) -> str:
    """The text that `safe` was given."""
    return text[1:] if text.startswith("'") and _risky(text) else text


def _risky(text: str) -> bool:
    bare = text.lstrip("'")
    return FORMULA.match(bare) is not None and NUMBER.fullmatch(bare) is None


def csv_text(table: pd.DataFrame, *, index: bool = False) -> str:
    """The table as CSV, every text in it safe for spreadsheets: cells, names of columns and the index."""
    text: str = _safe_table(table).to_csv(index=index, quoting=_quoting(table))
    return text


def write_csv(table: pd.DataFrame, path: Path, *, index: bool = False) -> None:
    """Write the table as CSV, every text in it safe for spreadsheets.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    _safe_table(table).to_csv(path, index=index, quoting=_quoting(table))


def read_csv(path: Path, *, numbers: Sequence[str]) -> pd.DataFrame:
    """Read a table that `write_csv` wrote without its index, texts as they were.

    Parameters
    ----------
    path
        The file.
    numbers
        Columns in which an empty cell is a missing number; elsewhere it is an empty text, and "NA" is a name.

    Raises
    ------
    OSError, ValueError
        If it cannot be read.
    """
    import pandas as pd

    missing = {name: [""] for name in numbers}
    table = pd.read_csv(path, keep_default_na=False, na_values=missing, float_precision="round_trip")
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(_undone)
    return table.rename(columns=_undone)


def _safe_table(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    shown = table.rename(columns=_made_safe)
    for place, kind in enumerate(table.dtypes):
        if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind)):
            column = table.iloc[:, place].astype(object).map(_made_safe)
            shown.isetitem(place, column.to_numpy())
    shown.index = table.index.map(_made_safe) if len(table) else table.index
    shown.index.name = _made_safe(table.index.name)
    return shown


def _quoting(table: pd.DataFrame) -> Any:
    """Texts in quotes where one holds a carriage return, which Python writes bare and readers take for a line's end."""
    held = [table.columns, table.index, *(column for _, column in table.items() if column.dtype.kind not in "biuf")]
    bare = any(isinstance(value, str) and "\r" in value for values in held for value in values)
    return csv.QUOTE_NONNUMERIC if bare else csv.QUOTE_MINIMAL


def _made_safe(value: Any) -> Any:
    return safe(value) if isinstance(value, str) else value


def _undone(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value
