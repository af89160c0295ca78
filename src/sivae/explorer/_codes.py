"""Expression in a byte per value, and these in few bytes: gaps between what is not zero, deflated. Arrays only."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np

from sivae.stats import entries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sivae.tl._expression import Standardised

    Codes = NDArray[np.uint8]
    Single = NDArray[np.float32]

LEVELS: Final = 254
"""Steps between the smallest and the largest value that is not zero; code 0 is kept for zero itself."""
CHUNK: Final = 200_000
"""Entries of a chunk, about: what is inflated for one gene to be seen."""
EVERY: Final = 0xFFFFFFFF
"""Marks a gene of which every code is written."""
LONG: Final = 255
"""A gap of at least this is written as so many of these and the rest."""


@final
@dataclass(frozen=True)
class Quantised:
    """Codes of cells n and genes g: x = 0 where the code is 0, else low + (code - 1) step."""

    code_gn: Codes
    low_g: Single
    step_g: Single
    mean_g: Single
    """Of the training cells, as is the standard deviation."""
    sd_g: Single

    def take(self, cells: NDArray[np.intp]) -> Quantised:
        """Some of the cells."""
        return Quantised(self.code_gn[:, cells], self.low_g, self.step_g, self.mean_g, self.sd_g)


def quantise(values: Standardised) -> Quantised:
    """Values before they are standardised, to the nearest of 255 levels per gene.

    Two passes over what is not zero: one for the smallest and the largest, one for the codes.
    """
    n, g = values.shape
    low_g, high_g = np.full(g, np.inf), np.full(g, -np.inf)
    for _, gene, x in _entries(values):
        np.minimum.at(low_g, gene, x)
        np.maximum.at(high_g, gene, x)
    seen_g = np.isfinite(low_g)
    low32_g = np.where(seen_g, low_g, 0.0).astype(np.float32)
    step_g = (np.where(seen_g, high_g - low32_g, 0.0) / LEVELS).astype(np.float32)
    per_step_g = np.divide(1.0, step_g, out=np.zeros(g), where=step_g > 0, dtype=np.float64)
    code_gn = np.zeros((g, n), np.uint8)
    for cell, gene, x in _entries(values):
        code_gn[gene, cell] = np.clip(np.rint((x - low32_g[gene]) * per_step_g[gene]), 0, LEVELS) + 1
    return Quantised(code_gn, low32_g, step_g, values.mean_g.astype(np.float32), values.sd_g.astype(np.float32))


def _entries(values: Standardised) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Cells, genes and values of what is not zero, scaled and logged where the model reads them so."""
    for cell, gene, value in entries(values.values):
        if values.binary:
            seen = value > 0
            yield cell[seen], gene[seen], np.ones(int(seen.sum()))
        else:
            yield cell, gene, value if values.factor_n is None else np.log1p(value * values.factor_n[cell])


def chunks(code_gn: Codes) -> list[tuple[int, bytes]]:
    """Codes as deflated chunks of whole genes, with the first gene of each.

    A chunk is, little-endian: of each gene two numbers of 32 bits, the bytes of its gaps (`EVERY` where every code is
    written) and its entries; then the gaps of all genes, then the codes of all genes. A gap is the number of zeros
    before an entry.
    """
    found, start = [], 0
    entries_g = np.count_nonzero(code_gn, axis=1)
    size_g = np.where(_is_dense(entries_g, code_gn.shape[1]), code_gn.shape[1], entries_g)
    while start < len(code_gn):
        many = int(np.searchsorted(np.cumsum(size_g[start:]), CHUNK)) + 1
        found.append((start, deflate(_raw(code_gn[start : start + many]))))
        start += many
    return found


def _is_dense(entries: NDArray[np.intp], n: int) -> NDArray[np.bool_]:
    return np.asarray(entries > n // 2)


def _raw(code_gn: Codes) -> bytes:
    n = code_gn.shape[1]
    head, gaps, codes = [], [], []
    for code_n in code_gn:
        at = np.flatnonzero(code_n)
        if _is_dense(np.array(len(at)), n):
            head += [EVERY, n]
            codes.append(code_n.tobytes())
        else:
            gap = gap_bytes(at)
            head += [len(gap), len(at)]
            gaps.append(gap)
            codes.append(code_n[at].tobytes())
    return b"".join([np.array(head, "<u4").tobytes(), *gaps, *codes])


def gap_bytes(at: NDArray[np.intp]) -> bytes:
    """Ascending positions as the numbers of positions between them."""
    gap = np.diff(at, prepend=-1) - 1
    n_long = gap // LONG
    written = np.full(len(gap) + int(n_long.sum()), LONG, np.uint8)
    written[np.cumsum(n_long + 1) - 1] = gap % LONG
    return written.tobytes()


def deflate(raw: bytes) -> bytes:
    """Raw deflate, as browsers inflate it by themselves."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush()
