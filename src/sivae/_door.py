"""Whole signatures at the public doors: arguments are checked by how they are annotated."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np

from sivae._checks import a_path, check_adata, flag, names, number, refusal, whole_number
from sivae._errors import OptionError

P = ParamSpec("P")
R = TypeVar("R")

MOST_DRAWS: Final = 10**8
"""Permutations or random draws that a number may ask for."""


def door(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a public function by how they are annotated, before it begins.

    AnnData, numbers, flags, texts, lists of texts, paths and axes of plots are checked; what the function knows better
    (ranges, words, columns, genes) stays with it. Whatever equals the default as an object is taken.

    Raises
    ------
    SetupError, OptionError
        When the function is called, naming the argument.
    """
    signature = inspect.signature(function)
    kinds = {name: _kind(str(parameter.annotation)) for name, parameter in signature.parameters.items()}

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        for name, value in given.arguments.items():
            kind, default = kinds[name], signature.parameters[name].default
            if kind is not None and value is not default:
                given.arguments[name] = kind(name, value, _hint(default))
        return function(*given.args, **given.kwargs)

    return checked


def _kind(annotation: str) -> Callable[[str, Any, str], Any] | None:
    """What checks an argument that is annotated so, or None."""
    plain = annotation.strip("\"'").removesuffix(" | None")
    check = _text if plain.startswith("Literal[") else KINDS.get(plain)
    if check is None or plain == annotation.strip("\"'"):
        return check
    return lambda name, value, hint: None if value is None else check(name, value, hint)


def _hint(default: object) -> str:
    if default is inspect.Parameter.empty:
        return ""
    return "Leave it out to take the default." if default is None else f"{default!r} is the default."


def _adata(name: str, value: object, _hint: str) -> object:
    check_adata(value)
    return value


def _whole(name: str, value: object, hint: str) -> int:
    least = 0 if name == "seed" else -sys.maxsize
    found = whole_number(name, value, least=least, hint=hint)
    if name in ("n_permutations", "n_draws", "n_resamples", "n_repeats", "n_subsets") and found > MOST_DRAWS:
        raise OptionError(refusal(name, value, f"expected at most {MOST_DRAWS}", hint))
    return found


def _real(name: str, value: object, hint: str) -> object:
    number(name, value, allowed=lambda x: not np.isnan(x), expected="a number", hint=hint)
    return value


def _text(name: str, value: object, hint: str) -> str:
    if not isinstance(value, str):
        raise OptionError(refusal(name, value, "expected one name, as text", hint))
    if name == "key_added" and (not value or "/" in value or "\0" in value):
        raise OptionError(refusal(name, value, "expected a key that a file can hold: text without / and NUL", hint))
    return value


def _axes(name: str, value: object, hint: str) -> object:
    if not hasattr(value, "get_xlim"):
        raise OptionError(refusal(name, value, "expected axes of matplotlib", hint))
    return value


KINDS: Final[dict[str, Callable[[str, Any, str], Any]]] = {
    "AnnData": _adata,
    "int": _whole,
    "float": _real,
    "bool": flag,
    "str": _text,
    "str | Path": lambda name, value, _: a_path(name, value),
    "Sequence[str]": lambda name, value, _: names(name, value),
    "Iterable[str]": lambda name, value, _: names(name, value),
    "Axes": _axes,
}
"""What checks an argument of each annotation; "... | None" as well."""
for _alias in ("Baseline", "Metric", "Mode", "Model", "Of", "Score", "Side", "Test", "Weights", "Method"):
    KINDS[_alias] = _text
