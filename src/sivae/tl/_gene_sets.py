"""Gene sets: from a GMT file or a mapping, and how they meet the genes at hand."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeAlias

import numpy as np
from scipy import sparse

from sivae._door import door
from sivae._errors import ArtefactError, GeneMismatchError, OptionError, some, warn
from sivae._space import nearest_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GeneSets: TypeAlias = "Mapping[str, Iterable[str]] | str | Path"
LONGEST: Final = 2**24
"""Bytes of the longest line of a GMT file."""
WEIGHT: Final = re.compile(r",-?\d+(\.\d+)?([eE]-?\d+)?$")
"""Some libraries write "GENE,1.0"."""


@door
def read_gmt(path: str | Path) -> dict[str, list[str]]:
    r"""Read gene sets from a GMT file: one set a line, name, description and genes separated by tabs.

    Empty lines, Windows line ends, a byte order mark, weights behind genes ("GENE,1.0") and genes named twice are
    taken in stride. A set that comes twice with the same genes is kept once; with other genes it is kept as "NAME (2)",
    with a warning.

    Parameters
    ----------
    path
        `.gmt` or `.gmt.gz`.

    Returns
    -------
    Genes of each set, in the order of the file.

    Raises
    ------
    ArtefactError
        If it cannot be read, is not text in UTF-8, or a line is not a set; the line is named.

    Examples
    --------
    >>> import tempfile, pathlib, sivae
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "mine.gmt"
    ...     _ = path.write_text("T cells\tmarkers\tCD3D\tCD3E\n")
    ...     sivae.tl.read_gmt(path)
    {'T cells': ['CD3D', 'CD3E']}
    """
    path = Path(path)
    sets: dict[str, list[str]] = {}
    twice = []
    try:
        with _open(path) as handle:
            for number, line in _lines(handle, path):
                name, genes = _parse(line, f"{path}, line {number}")
                if name in sets and set(sets[name]) == set(genes):
                    continue
                if name in sets:
                    twice.append(name)
                    name = next(f"{name} ({i})" for i in range(2, len(sets) + 3) if f"{name} ({i})" not in sets)
                sets[name] = genes
    except ArtefactError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise ArtefactError(f"{path} cannot be read as gene sets: {error}. Name a .gmt or .gmt.gz file.") from error
    if not sets:
        raise ArtefactError(f"{path} holds no gene set. Expected lines of name, description and genes, by tabs.")
    if twice:
        warn(f"{path} holds {some(sorted(set(twice)))} more than once with other genes; the later ones are numbered.")
    return sets


def _open(path: Path) -> IO[bytes]:
    packed = path.suffix == ".gz"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def _lines(handle: IO[bytes], path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    while raw := handle.readline(LONGEST + 1):
        number += 1
        if len(raw) > LONGEST:
            raise ArtefactError(f"{path}, line {number} is longer than {LONGEST} bytes: this is no GMT file.")
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n\x1a ")
        except UnicodeDecodeError as error:
            raise ArtefactError(
                f"{path}, line {number} is not text in UTF-8 (byte {error.start + 1}). Save the file as UTF-8."
            ) from error
        if line.strip():
            yield number, line


def _parse(line: str, where: str) -> tuple[str, list[str]]:
    name, *rest = (field.strip() for field in line.split("\t"))
    if not rest or not name:
        raise ArtefactError(f"{where} is {line[:60]!r}, expected the set's name, a description and genes, by tabs.")
    return name, [gene for gene in dict.fromkeys(WEIGHT.sub("", gene) for gene in rest[1:]) if gene]


def as_sets(gene_sets: GeneSets) -> dict[str, list[str]]:
    """Gene sets as a dictionary, each gene once."""
    if isinstance(gene_sets, str | Path):
        return read_gmt(gene_sets)
    if not isinstance(gene_sets, Mapping):
        raise OptionError(
            f"Found gene sets of type {type(gene_sets).__name__}, expected a mapping from names to genes, "
            "or the path of a GMT file."
        )
    if not gene_sets:
        raise OptionError("Found no gene set, expected one or more: a mapping from names to genes.")
    wrong = [name for name, genes in gene_sets.items() if isinstance(genes, str) or not isinstance(genes, Iterable)]
    if wrong:
        found = "one text" if isinstance(gene_sets[wrong[0]], str) else f"of type {type(gene_sets[wrong[0]]).__name__}"
        raise OptionError(f"The genes of {some(wrong)} are {found}, expected a list of names. Write ['CD3D', 'CD3E'].")
    return {str(name): list(dict.fromkeys(str(gene) for gene in genes)) for name, genes in gene_sets.items()}


def membership(
    sets: Mapping[str, Sequence[str]], names: Sequence[str], *, match_case: bool = True
) -> sparse.csr_matrix:
    """Which gene is in which set, 1 or nothing, CSR (sets, genes).

    Raises
    ------
    GeneMismatchError
        If no set holds any of the genes; it says so where only the case differs.
    """
    key = str if match_case else str.lower
    place: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        place.setdefault(key(name), []).append(position)
    rows, columns = [], []
    for row, genes in enumerate(sets.values()):
        found = {position for gene in genes for position in place.get(key(gene), ())}
        rows += [row] * len(found)
        columns += sorted(found)
    if not rows:
        raise GeneMismatchError(_no_match(sets, names))
    shape = (len(sets), len(names))
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def _no_match(sets: Mapping[str, Sequence[str]], names: Sequence[str]) -> str:
    genes = list(dict.fromkeys(gene for members in sets.values() for gene in members))
    text = f"None of the {len(genes)} genes of {len(sets)} sets ({some(genes, 3)}) is among the {len(names)} genes "
    text += f"here ({some(names, 3)})."
    lower = {name.lower() for name in names}
    alike = [gene for gene in genes if gene.lower() in lower]
    if alike:
        near = nearest_names(alike[0], names, n=1)
        return (
            f"{text} {len(alike)} would match but for the case ({alike[0]} and {near[0]}), as between human and mouse. "
            "Use sets of this species, or pass match_case=False (--ignore-case)."
        )
    near = nearest_names(genes[0], names) if genes else []
    hint = f" Nearest to {genes[0]}: {', '.join(near)}." if near else ""
    return f"{text}{hint} Use sets with the same kind of names as var_names."
