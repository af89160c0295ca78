"""Values of the modelled genes in a temporary file: written once, in one pass over where they are stored, read by row.

A row is a run of records (gene, value) of the smallest types that hold every value exactly. Rows lie in the order in
which they were met; where each begins, how long it is and a checksum are kept in memory, 10 to 16 bytes a cell. They
are read by position in the file, not mapped, so that memory stays flat; the operating system keeps in its cache what it
has room for. The file has no name where the operating system allows it, and so is gone with the process, whatever ends
it.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, final

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sivae._errors import ArtefactError
from sivae._memory import available
from sivae.data._matrix import Matrix, strips
from sivae.data._rows import Cells, Rows, by_gene, checked, is_large
from sivae.data._setup import Setup

log = logging.getLogger("sivae")
KINDS: Final = ("<u1", "<u2", "<u4", "<f4")
"""Types of values, each of which holds all values of those before it that a float32 can hold."""
AT_ONCE: Final = 2**20
"""Records that are rewritten at a time."""
MIXER: Final = np.uint64(0x9E3779B97F4A7C15)
SEEKING: Final = threading.Lock()
"""Without `pread` (Windows) a thread that reads ahead would move the place where another one reads."""


@final
class Spool(Rows):
    """Rows of a temporary file.

    Parameters
    ----------
    strips
        Rows and their values, a strip at a time; every row once.
    shape
        Cells and genes.
    folder
        Where the file lies; the system's folder for temporary files if None.

    Raises
    ------
    ArtefactError
        If the file cannot be written; nothing is left of it then.
    """

    def __init__(
        self, strips: Iterable[tuple[NDArray[np.intp], Matrix]], shape: tuple[int, int], folder: Path | None = None
    ) -> None:
        self.shape, self.folder = shape, temporary_folder() if folder is None else folder
        self._begin_n: NDArray[Any] = np.zeros(shape[0], np.int64)
        self._length_n = np.zeros(shape[0], np.uint16 if shape[1] < 2**16 else np.uint32)
        self._check_n = np.zeros(shape[0], np.uint32)
        self._kind, self._end, self._dense = 0, 0, False
        self._file = self._open()
        try:
            for rows, values in strips:
                self._add(rows, values)
        except BaseException:
            self.close()
            raise
        if self._end < 2**32:
            self._begin_n = self._begin_n.astype(np.uint32)

    def parts(self, *cells: NDArray[np.intp]) -> list[Spool]:
        """Several parts; rows are had from these alone then, so that the place of each is kept once."""
        found = [self.part(rows) for rows in cells]
        nobody = np.empty(0, np.intp)
        self.__dict__.update(self.part(nobody).__dict__)
        return found

    def part(self, cells: NDArray[np.intp]) -> Spool:
        """Some of the rows, in the order asked, in the same file."""
        some = object.__new__(Spool)
        some.__dict__.update(self.__dict__)
        some.shape = len(cells), self.shape[1]
        some._begin_n, some._length_n = self._begin_n[cells], self._length_n[cells]
        some._check_n = self._check_n[cells]
        return some

    @property
    def n_bytes(self) -> int:
        """Length of the file."""
        return self._end * self._record.itemsize

    @property
    def waits(self) -> bool:
        """Whether the file is larger than the memory in which the system could keep it."""
        return self.n_bytes > available()

    def read(self, cells: Cells) -> Matrix:
        """Some of the rows, in the order asked.

        Raises
        ------
        ArtefactError
            If the file cannot be read or holds something else than was written.
        """
        begin, length = self._begin_n[cells].astype(np.int64), self._length_n[cells].astype(np.int64)
        records = np.frombuffer(self._bytes(begin, length), self._record)
        indptr = np.concatenate([[0], np.cumsum(length)])
        gene, value = records["gene"].astype(np.int32), records["value"].astype(np.float32)
        if not np.array_equal(_checksums(gene, value, indptr), self._check_n[cells]):
            raise self._damaged("a checksum does not match")
        csr = sparse.csr_matrix((value, gene, indptr), shape=(len(length), self.shape[1]))
        return np.asarray(csr.toarray()) if self._dense else csr

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    # -------------------------------------------------------------------------------------------------- writing

    @property
    def _record(self) -> np.dtype[Any]:
        gene = "<u2" if self.shape[1] <= 2**16 else "<u4"
        return np.dtype([("gene", gene), ("value", KINDS[self._kind])])

    def _open(self) -> IO[bytes]:
        try:
            return tempfile.TemporaryFile(prefix="sivae-spool-", dir=self.folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._unwritten(error) from error

    def _add(self, rows: NDArray[np.intp], values: Matrix) -> None:
        csr: Any = values
        if not sparse.issparse(values):
            self._dense, csr = True, sparse.csr_matrix(values)
        self._widen(_kind_of(csr.data))
        records = np.empty(csr.nnz, self._record)
        records["gene"], records["value"] = csr.indices, csr.data
        self._write(self._file, records)
        self._begin_n[rows], self._length_n[rows] = self._end + csr.indptr[:-1], np.diff(csr.indptr)
        self._check_n[rows] = _checksums(csr.indices, csr.data, csr.indptr)
        self._end += csr.nnz

    def _widen(self, kind: int) -> None:
        """Rewrite what is there with a wider type; at most three times, and mostly when little is there."""
        if kind <= self._kind:
            return
        old, narrow = self._file, self._record
        self._file, self._kind = self._open(), kind
        with old:
            for first in range(0, self._end, AT_ONCE):
                size = min(AT_ONCE, self._end - first) * narrow.itemsize
                raw = self._read_at(old, first * narrow.itemsize, size)
                self._write(self._file, np.frombuffer(raw, narrow).astype(self._record))

    def _write(self, file: IO[bytes], records: NDArray[Any]) -> None:
        try:
            _write_all(file, records.tobytes())
        except OSError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> ArtefactError:
        return ArtefactError(
            f"The values of {self.shape[0]:,} cells x {self.shape[1]:,} genes could not be written to a temporary file "
            f"in {self.folder}: {error}; expected room there, some bytes for every value that is not zero. Nothing is "
            "left of it. Name a folder with room, TrainOptions(spool_folder=...)."
        )

    # -------------------------------------------------------------------------------------------------- reading

    def _bytes(self, begin: NDArray[np.int64], length: NDArray[np.int64]) -> bytes:
        """The records of rows, one row after the other; neighbors in the file are read together."""
        size, order = self._record.itemsize, np.argsort(begin, kind="stable")
        low, high = begin[order] * size, (begin + length)[order] * size
        edges = np.concatenate([[0], np.flatnonzero(low[1:] != high[:-1]) + 1, [len(low)]])
        runs = self._runs(low[edges[:-1]], high[edges[1:] - 1] - low[edges[:-1]]) if len(low) else []
        if (np.diff(order) == 1).all():
            return b"".join(runs)
        found: list[bytes | memoryview] = [b""] * len(order)
        places = order.tolist()
        if len(runs) == len(places):
            for place, run in zip(places, runs, strict=True):
                found[place] = run
            return b"".join(found)
        row, starts, stops = 0, low.tolist(), high.tolist()
        for run, last in zip(runs, edges[1:].tolist(), strict=True):
            view, base = memoryview(run), starts[row]
            for at in range(row, last):
                found[places[at]] = view[starts[at] - base : stops[at] - base]
            row = last
        return b"".join(found)

    def _runs(self, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[bytes]:
        """Stretches of the file; of many short ones, the loop is what takes time."""
        wanted = list(zip(starts.tolist(), sizes.tolist(), strict=True))
        if hasattr(os, "pread"):
            read, number = os.pread, self._file.fileno()
            try:
                runs = [read(number, size, start) for start, size in wanted]
            except OSError as error:
                raise self._damaged(str(error)) from error
            if sum(map(len, runs)) == int(sizes.sum()):
                return runs
        return [self._read_at(self._file, start, size) for start, size in wanted]

    def _read_at(self, file: IO[bytes], start: int, size: int) -> bytes:
        try:
            raw = _read_all(file, start, size)
        except OSError as error:
            raise self._damaged(str(error)) from error
        if len(raw) != size:
            raise self._damaged(f"it ends after {start + len(raw):,} bytes, expected {self.n_bytes:,}")
        return raw

    def _damaged(self, why: str) -> ArtefactError:
        return ArtefactError(
            f"The temporary file in {self.folder} that holds the values of the cells cannot be read as it was written: "
            f"{why}. Check that disk; then do the same again, or name another folder, TrainOptions(spool_folder=...)."
        )


def _kind_of(values: NDArray[np.float32]) -> int:
    """The narrowest type that holds all of the values."""
    if values.size == 0:
        return 0
    if values.min() < 0 or values.max() >= 2**32 or (values != np.rint(values)).any():
        return 3
    return int(np.searchsorted([2**8, 2**16], values.max(), side="right"))


def _checksums(gene: NDArray[Any], value: NDArray[np.float32], indptr: NDArray[Any]) -> NDArray[np.uint32]:
    """One number for each row, which no other value or gene of any record leaves as it is."""
    words = gene.astype(np.uint64) << np.uint64(32) | np.ascontiguousarray(value, "<f4").view("<u4")
    words = (words + MIXER) * MIXER
    words ^= words >> np.uint64(29)
    words *= MIXER
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words, dtype=np.uint64)])[indptr]
    total = sums[1:] - sums[:-1]
    return np.asarray((total >> np.uint64(32)) ^ total).astype(np.uint32)


def _write_all(file: IO[bytes], raw: bytes) -> None:
    left = memoryview(raw)
    while left:
        left = left[file.write(left) :]


def _read_all(file: IO[bytes], start: int, size: int) -> bytes:
    """So many bytes from a position on, fewer where the file ends."""
    parts: list[bytes] = []
    while size > 0:
        if hasattr(os, "pread"):
            part = os.pread(file.fileno(), size, start)
        else:
            with SEEKING:
                file.seek(start)
                part = file.read(size)
        if not part:
            break
        parts.append(part)
        start, size = start + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def temporary_folder() -> Path:
    """The system's folder for temporary files; that for large ones, where the other may lie in memory."""
    folder, large = Path(tempfile.gettempdir()), Path("/var/tmp")
    return large if folder == Path("/tmp") and os.access(large, os.W_OK | os.X_OK) else folder


# ---------------------------------------------------------------------------------------------------------- the door


@contextmanager
def spooled(
    adata: AnnData,
    setup: Setup,
    genes: tuple[str, ...],
    *,
    binary: bool,
    choice: str = "auto",
    folder: str | None = None,
) -> Iterator[Spool | None]:
    """Yield the values of the genes in all cells from a temporary file, which is removed at the end.

    None where they are to be held in memory: `choice` "never", or "auto" where they lie there or would take little.
    """
    layer = setup.layer or None
    if choice == "never" or (choice == "auto" and not is_large(adata, layer, len(genes))):
        yield None
        return
    at = adata.var_names.get_indexer(list(genes))
    if by_gene(adata, layer):
        log.warning(
            "Values are stored gene by gene (CSC), and are all read into memory to be turned. Write the data cell by "
            "cell (CSR) first, and they are not: sivae.io.write_h5ad(adata, path, as_csr=True)."
        )
    parts = (
        (rows, checked(values, adata, setup, at, binary=binary, rows=rows)) for rows, values in strips(adata, layer, at)
    )
    spool = Spool(parts, (adata.n_obs, len(genes)), None if folder is None else Path(folder))
    try:
        log.info("values of the modelled genes are in a temporary file in %s, %d bytes", spool.folder, spool.n_bytes)
        yield spool
    finally:
        spool.close()
