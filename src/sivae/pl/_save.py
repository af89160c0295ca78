"""Pictures into files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae._checks import a_path, number
from sivae._door import door
from sivae._errors import ArtefactError, OptionError
from sivae._extras import require
from sivae._whole import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

ENDINGS: Final = (".pdf", ".svg", ".png")
TEXT: Final = {"svg.fonttype": "none", "pdf.fonttype": 42, "ps.fonttype": 42, "svg.hashsalt": "sivae"}
"""Settings under which text stays text."""


@door
def save(
    drawn: Axes | Figure | NDArray[Any] | tuple[Axes, ...],
    path: str | Path,
    *,
    dpi: float = 300,
    overwrite: bool = False,
) -> None:
    """Write a picture to a file, whole or not at all; in vector formats text stays text that can be edited.

    Matplotlib's settings are changed for this call alone. Names of genes were placed for the size that the figure had
    when they were drawn: give axes of the final size to the plot instead of changing it afterwards.

    Parameters
    ----------
    drawn
        What a plot returned: axes, several of them, or their figure.
    path
        Name that ends in `.pdf`, `.svg` or `.png`.
    dpi
        Points per inch of `.png`, and of clouds of many points in the other formats.
    overwrite
        Replace a file of that name.

    Returns
    -------
    None. Writes the file.

    Raises
    ------
    OptionError
        If the name ends otherwise, or this is no drawing.
    ArtefactError
        If the file exists, or cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import sivae
    >>> adata = sivae.datasets.planted(100, 40)
    >>> adata.obsm["X_sivae"], adata.varm["X_sivae"] = adata.obsm["planted_z"], adata.varm["planted_v"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "genes.svg"
    ...     sivae.pl.save(sivae.pl.genes(adata, labels=["gene_1"]), path)
    ...     "gene_1" in path.read_text()
    True
    """
    path, dpi = a_path("path", path), number("dpi", dpi, allowed=lambda x: 0 < x <= 2400, expected="from 1 to 2400")
    if path.suffix.lower() not in ENDINGS:
        raise OptionError(f"Found the name {path.name!r}, expected one that ends in {', '.join(ENDINGS)}.")
    figure = _figure(drawn)
    if path.exists() and not overwrite:
        raise ArtefactError(f"{path} exists, expected a new name. Choose another, or pass overwrite=True.")
    kind = path.suffix.lower().lstrip(".")
    empty = {"pdf": {"CreationDate": None, "Creator": None}, "svg": {"Date": None}, "png": {"Software": None}}
    with whole_file(path, what="The picture") as file, require("matplotlib", extra="plot").rc_context(TEXT):
        figure.savefig(file, format=kind, dpi=dpi, facecolor="white", metadata=empty[kind])


def _figure(drawn: Any) -> Any:
    """The figure that something was drawn in."""
    if hasattr(drawn, "savefig"):
        return drawn
    several = np.ravel(np.array(drawn, dtype=object)) if not hasattr(drawn, "figure") else [drawn]
    figure = next((part.figure for part in several if hasattr(part, "figure")), None)
    if figure is None:
        raise OptionError(f"Found {type(drawn).__name__}, expected what a plot returned: axes, or their figure.")
    while not hasattr(figure, "savefig"):
        figure = figure.figure
    return figure
