"""A sparse matrix in an HDF5 file that grows by one block after the other."""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np

CHUNK: Final = 2**18
"""Values of a chunk of the file."""


@final
class Growing:
    """A CSR matrix that grows by rows, or a CSC matrix that grows by columns, as anndata stores them.

    Parameters
    ----------
    parent, name
        Where in the open file it will be.
    width
        Length of a row (of a column).
    dtype
        Type of the values.
    form
        "csr" or "csc".
    """

    def __init__(self, parent: Any, name: str, *, width: int, dtype: np.dtype[Any], form: str = "csr") -> None:
        self.group, self.width, self.form, self.dtype = parent.create_group(name), width, form, dtype
        self.group.attrs.update({"encoding-type": f"{form}_matrix", "encoding-version": "0.1.0"})
        kinds = {"data": dtype, "indices": np.dtype(np.int32 if width < 2**31 else np.int64)}
        self._arrays = {
            part: self.group.create_dataset(part, (0,), kind, maxshape=(None,), chunks=(CHUNK,))
            for part, kind in kinds.items()
        }
        self._ends, self._end = [np.zeros(1, np.int64)], 0

    @property
    def length(self) -> int:
        """Rows (columns) so far."""
        return sum(map(len, self._ends)) - 1

    def add(self, block: Any) -> None:
        """More rows (columns), in the form of the matrix."""
        end = self._end + len(block.data)
        for part, array in self._arrays.items():
            array.resize((end,))
            array[self._end :] = getattr(block, part)
        self._ends.append(self._end + block.indptr[1:].astype(np.int64))
        self._end = end

    def finish(self) -> None:
        """Write where rows (columns) begin, and the shape."""
        shape = (self.length, self.width)
        self.group.create_dataset("indptr", data=np.concatenate(self._ends))
        self.group.attrs["shape"] = shape if self.form == "csr" else shape[::-1]
