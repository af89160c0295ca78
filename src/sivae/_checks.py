"""Arguments at the public doors: their kind and their range, with errors that name the argument."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae import _keys
from sivae._errors import GeneMismatchError, OptionError, SetupError, some

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

READ: Final = {
    "str": "Read the file first: anndata.read_h5ad(path).",
    "Path": "Read the file first: anndata.read_h5ad(path).",
    "DataFrame": "Make one of it: anndata.AnnData(frame), with cells in rows and genes in columns.",
    "MuData": "Give one of its modalities: mdata['rna'].",
    "SpatialData": "Give one of its tables: sdata.tables[name].",
    "Raw": "Make one of it: adata.raw.to_adata().",
    "NoneType": "Pass the cells, for example adata = anndata.read_h5ad(path).",
}
"""How an AnnData is made of what is passed instead."""
LONGEST_FILE_NAME: Final = 255
"""Bytes; file systems take no longer name."""
MATRIX: Final = "Make one of it: anndata.AnnData(matrix), with names of cells and genes."


def check_adata(adata: object) -> None:
    """Refuse what is no AnnData.

    Raises
    ------
    SetupError
        Naming what was passed instead, and how to make an AnnData of it.
    """
    anndata: Any = sys.modules.get("anndata")
    if anndata is not None and isinstance(adata, anndata.AnnData):
        _check_records(adata)
        _check_numbers(adata)
        return
    kind = type(adata).__name__
    known = "Path" if isinstance(adata, Path) else kind
    how = READ.get(known, MATRIX if hasattr(adata, "shape") else "Pass an AnnData.")
    found = f"{kind} {str(adata)!r}" if known in ("str", "Path") else kind
    raise SetupError(f"Found {found}, expected an AnnData (cells x genes). {how}")


def _check_records(adata: AnnData) -> None:
    """Refuse what is at the places of siVAE's records in `uns` and is no record."""
    for key in (_keys.UNS, _keys.COHORT):
        if key not in adata.uns:
            continue
        record = adata.uns[key]
        parts = {part: record[part] for part in _keys.RECORDS if part in record} if isinstance(record, Mapping) else {}
        wrong = [f"[{part!r}]" for part, value in parts.items() if not isinstance(value, Mapping)]
        if not isinstance(record, Mapping) or wrong:
            found = type(parts[wrong[0][2:-2]] if wrong else record).__name__
            raise SetupError(
                f"uns[{key!r}]{wrong[0] if wrong else ''} is a {found}, expected the record that siVAE writes there. "
                f"Remove it (del adata.uns[{key!r}]) and make it again."
            )


def _check_numbers(adata: AnnData) -> None:
    """Refuse texts and objects where siVAE writes numbers."""
    for place, keys in _keys.NUMBERS.items():
        for key in keys:
            found = _type_of(adata, place, key)
            if getattr(found, "kind", "f") not in "biuf":
                raise SetupError(
                    f"{place}[{key!r}] holds values of type {found}, expected the numbers that siVAE writes "
                    f"there. Remove it (del adata.{place}[{key!r}]) and make it again."
                )


def _type_of(adata: AnnData, place: str, key: str) -> object:
    """Type of the values of a field; None where there is none, or its file was closed (said where it is read)."""
    try:
        held: Any = getattr(adata, place)
        return getattr(held[key], "dtype", None) if key in held else None
    except RuntimeError:
        return None


def check_names(adata: AnnData, *axes: str) -> None:
    """Refuse names that occur twice, of cells ("obs_names"), of genes ("var_names"), or of both.

    Raises
    ------
    SetupError
        Naming them.
    """
    for axis in axes:
        names = getattr(adata, axis)
        names = type(names)(names.array, dtype=names.dtype)  # the table by which names are told apart goes with it
        if not names.is_unique:
            raise SetupError(
                f"{axis} are not unique: {some(names[names.duplicated()].unique())} occur more than once; expected "
                f"each name once, because everything is matched by name. Call adata.{axis}_make_unique() first."
            )


def whole_number(name: str, value: object, *, least: int, hint: str = "") -> int:
    """The value as an int.

    Raises
    ------
    OptionError
        If it is no whole number of at least `least`.
    """
    whole = isinstance(value, int | np.integer) or (
        isinstance(value, float | np.floating) and float(value).is_integer()
    )
    if isinstance(value, bool | np.bool_) or not whole:
        raise OptionError(refusal(name, value, "expected a whole number", hint))
    result = int(value)  # type: ignore[call-overload]
    if result < least:
        raise OptionError(refusal(name, value, f"expected at least {least}", hint))
    return int(result)


def number(name: str, value: object, *, allowed: Callable[[float], bool], expected: str, hint: str = "") -> float:
    """The value as a float.

    Raises
    ------
    OptionError
        If it is no number, or not one that is allowed.
    """
    wrong = isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating)
    if wrong or not allowed(float(value)):  # type: ignore[arg-type]
        raise OptionError(refusal(name, value, f"expected {expected}", hint))
    return float(value)  # type: ignore[arg-type]


def refusal(name: str, value: object, expected: str, hint: str) -> str:
    is_number = isinstance(value, int | float | np.integer | np.floating)
    found = str(value) if is_number else f"{value!r} ({type(value).__name__})"
    return f"{name} is {found}; {expected}.{' ' if hint else ''}{hint}"


def flag(name: str, value: object, hint: str) -> bool:
    """The value as True or False.

    Raises
    ------
    OptionError
        If it is something else, for example a word.
    """
    if not isinstance(value, bool | np.bool_):
        raise OptionError(refusal(name, value, "expected True or False", hint))
    return bool(value)


def one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse a value that is not one of some words.

    Raises
    ------
    OptionError
        Naming those that are.
    """
    words = list(allowed)
    if not isinstance(value, str) or value not in words:
        raise OptionError(f"{name} is {value!r}; expected one of {', '.join(map(repr, words))}. Choose one of these.")


def a_path(name: str, value: object) -> Path:
    """The value as a path.

    Raises
    ------
    OptionError
        If it is none.
    """
    if not isinstance(value, str | Path) or not str(value):
        raise OptionError(f"{name} is {value!r}; expected a path. Give its name as text or as a pathlib.Path.")
    path = Path(value)
    if "\0" in str(path) or any(len(part.encode(errors="replace")) > LONGEST_FILE_NAME for part in path.parts):
        raise OptionError(
            f"{name} is {str(path)!r}; expected names of at most {LONGEST_FILE_NAME} bytes without NUL. "
            "Choose another name."
        )
    return path


def a_name(name: str, value: object, of: str) -> str | None:
    """The value as one name, or None.

    Raises
    ------
    SetupError
        If it is something else.
    """
    if value is not None and not isinstance(value, str):
        raise SetupError(
            f"{name} is {value!r}; expected the name of one {of}, as text. Give one name, or leave it out."
        )
    return value or None


def names(name: str, value: object) -> list[str]:
    """The value as a list of names.

    Raises
    ------
    OptionError
        If it is a single text, or something else that is no list of texts.
    """
    if isinstance(value, str):
        raise OptionError(f"{name} is {value!r}, one text; expected a list of names. Write {name}=[{value!r}].")
    listed = list(value) if isinstance(value, Iterable) else None
    if listed is None or any(not isinstance(entry, str) for entry in listed):
        raise OptionError(f"{name} is {value!r}; expected a list of names. Give them as texts.")
    return [str(entry) for entry in listed]


def check_genes(adata: AnnData, genes: Iterable[str]) -> None:
    """Refuse a training AnnData whose genes were taken out since the model was made of it.

    Raises
    ------
    GeneMismatchError
        Naming them.
    """
    wanted = list(genes)
    gone = [gene for gene, at in zip(wanted, adata.var_names.get_indexer(wanted), strict=True) if at < 0]
    if gone:
        raise GeneMismatchError(
            f"{len(gone)} of the {len(wanted)} genes of this model are no longer in its AnnData ({some(gone)}); "
            "expected all of them. Make the model anew: SiVAE(adata, ...)."
        )


def check_model(name: str, value: object, method: str) -> None:
    """Refuse what is no model: what lacks a method that is needed.

    Raises
    ------
    OptionError
        Naming what was passed instead.
    """
    if isinstance(value, type) or not callable(getattr(value, method, None)):
        raise OptionError(
            f"{name} is a {type(value).__name__}; expected a trained sivae.SiVAE, or what has its method {method}(). "
            "Pass the model."
        )


def frames(name: str, value: object, *, of: str) -> dict[str, pd.DataFrame]:
    """Frames by name, as a dictionary.

    Raises
    ------
    OptionError
        If they are something else.
    """
    if not isinstance(value, Mapping) or not all(hasattr(entry, "columns") for entry in value.values()):
        raise OptionError(
            f"{name} is a {type(value).__name__}; expected frames by name, of {of}. Write {{'a': frame}}."
        )
    return {str(key): entry for key, entry in value.items()}


def rows_of(n_cells: int, indices: object) -> NDArray[np.intp]:
    """Row numbers from row numbers or a mask.

    Raises
    ------
    OptionError
        If they are something else, none, or out of range.
    """
    rows = np.asarray(indices)
    if rows.dtype == bool and rows.shape == (n_cells,):
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or rows.size == 0 or rows.dtype.kind not in "iu":
        found = f"holds values of type {rows.dtype} in the shape {rows.shape}" if rows.size else "is empty"
        raise OptionError(
            f"indices {found}; expected a list of row numbers, or one True or False for each of the {n_cells} cells. "
            "Numbers of named cells are adata.obs_names.get_indexer(names)."
        )
    outside = rows[(rows >= n_cells) | (rows < -n_cells)]
    if outside.size:
        raise OptionError(
            f"indices holds {outside[0]}; expected row numbers from 0 to {n_cells - 1}, because there are {n_cells} "
            "cells. Leave out what is beyond."
        )
    return rows.astype(np.intp)
