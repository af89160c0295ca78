"""The values of an AnnData on the scale on which siVAE encodes them, block by block; no model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import numpy as np

from sivae import _keys
from sivae._errors import SetupError, some
from sivae._values import frame, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from numpy.typing import NDArray

    from sivae._values import Values

    Array: TypeAlias = NDArray[np.float64]
    Positions: TypeAlias = NDArray[np.intp]

BLOCK: Final = 2**22
"""Values of a dense block."""
CLIP: Final = 10.0
CONVENTIONAL_TARGET: Final = 1e4
LEAST_SD: Final = 1e-6


@dataclass(frozen=True)
class Recorded:
    """What the set-up record of an AnnData says of its values; values as they are where there is none."""

    layer: str = ""
    log: bool = False
    binary: bool = False
    size_factor_key: str = ""
    categorical: tuple[str, ...] = ()
    continuous: tuple[str, ...] = ()

    @classmethod
    def of(cls, adata: AnnData) -> Recorded:
        """Read the record."""
        record = dict(adata.uns.get(_keys.UNS, {}))
        setup: dict[str, Any] = dict(record.get("setup", {}))
        batch = str(setup.get("batch_key", ""))
        return cls(
            layer=str(setup.get("layer", "")),
            log=str(setup.get("normalize", "none")) == "log1p",
            binary=str(dict(record.get("options", {})).get("likelihood", "")) == "bernoulli",
            size_factor_key=str(setup.get("size_factor_key", "")),
            categorical=(*([batch] if batch else []), *(str(k) for k in setup.get("categorical_covariate_keys", ()))),
            continuous=tuple(str(k) for k in setup.get("continuous_covariate_keys", ())),
        )

    def design(self, adata: AnnData) -> Array:
        """Covariates of the cells, (n, b): a column per category and per quantity."""
        obs, columns = frame(adata.obs), [np.zeros((adata.n_obs, 0))]
        for key in (*self.categorical, *self.continuous):
            if key not in obs:
                raise SetupError(
                    f"obs has no column {key!r}, a covariate of the model; it has: {some(obs, 20)}. Add it."
                )
        for key in self.categorical:
            codes_n = obs[key].astype(str).astype("category").cat.codes.to_numpy()
            columns.append((codes_n[:, None] == np.unique(codes_n)).astype(np.float64))
        columns += [obs[[key]].to_numpy(np.float64) for key in self.continuous]
        return np.concatenate(columns, axis=1)


@final
@dataclass(frozen=True)
class Standardised:
    """Values of cells n and genes g: log1p(target y / library) where the set-up says so, (x - mean) / sd, clipped."""

    values: Values
    factor_n: Array | None
    binary: bool
    mean_g: Array
    sd_g: Array
    detection_g: Array
    """Share of the training cells in which the gene is not zero."""

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return self.values.shape

    def take(self, cells: Positions) -> Standardised:
        """Some of the cells."""
        factor_n = None if self.factor_n is None else self.factor_n[cells]
        return replace(self, values=replace(self.values, rows=self.values.rows[cells]), factor_n=factor_n)

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Dense rows from first to last: which cells, and their values."""
        inverse_g = np.divide(1.0, self.sd_g, out=np.zeros_like(self.sd_g), where=self.sd_g > 0)
        for rows, x_cg in self._transformed():
            x_cg -= self.mean_g
            x_cg *= inverse_g
            yield rows, np.clip(x_cg, -CLIP, CLIP, out=x_cg)

    def _transformed(self) -> Iterator[tuple[slice, Array]]:
        for rows, x_cg in _stored(self.values, binary=self.binary):
            _refuse_wrong(x_cg, self.values, rows, positive=self.factor_n is not None)
            yield rows, x_cg if self.factor_n is None else np.log1p(x_cg * self.factor_n[rows, None])

    def fitted(self, training_n: NDArray[np.bool_]) -> Standardised:
        """The same with mean and sd of the training cells."""
        total_g, square_g, found_g = np.zeros((3, self.shape[1]))
        for rows, x_cg in self._transformed():
            mine = x_cg[training_n[rows]]
            total_g += mine.sum(axis=0)
            square_g += np.einsum("cg,cg->g", mine, mine)
            found_g += np.count_nonzero(mine, axis=0)
        mean_g = total_g / training_n.sum()
        sd_g = np.sqrt(np.maximum(square_g / training_n.sum() - mean_g**2, 0.0))
        sd_g = np.where(sd_g < LEAST_SD, 0.0, sd_g)
        return replace(self, mean_g=mean_g, sd_g=sd_g, detection_g=found_g / training_n.sum())


def standardised(
    adata: AnnData,
    genes: Positions,
    library_genes: Positions,
    *,
    layer: str | None = None,
    cells: Positions | None = None,
    training_n: NDArray[np.bool_] | None = None,
    log: bool | None = None,
) -> Standardised:
    """Values of some genes on the scale of the loadings.

    Counts are scaled to the geometric mean of the training cells' median library and 10,000, the library being the
    counts over `library_genes` or the size factor that the set-up names; mean and sd are those of the training cells.

    Parameters
    ----------
    adata
        AnnData with values.
    genes, library_genes
        Columns.
    layer
        Layer with the values; that of the set-up, or X, if not given.
    cells
        Rows in ascending order; all if not given.
    training_n
        Which of `cells` are training cells; those of `obs["sivae_split"]` if not given.
    log
        Whether they are counts, to be scaled and logged; what the set-up says if not given.
    """
    recorded = Recorded.of(adata)
    cells = np.arange(adata.n_obs) if cells is None else cells
    training_n = training_cells(adata)[cells] if training_n is None else training_n
    every = values_of(adata, recorded.layer or None if layer is None else layer)
    every = replace(every, rows=every.rows[cells])
    factor_n = None
    if recorded.log if log is None else log:
        library_n = np.zeros(len(cells))
        for rows, x_cg in _stored(every.take(library_genes), binary=recorded.binary):
            library_n[rows] = x_cg.sum(axis=1)
        if recorded.size_factor_key:
            size_n = frame(adata.obs)[recorded.size_factor_key].to_numpy(np.float64)[cells]
            library_n = size_n * library_n[training_n].sum() / size_n[training_n].sum()
        factor_n = np.sqrt(np.median(library_n[training_n]) * CONVENTIONAL_TARGET) / np.maximum(library_n, 1e-12)
    nothing_g = np.zeros(len(genes))
    found = Standardised(every.take(genes), factor_n, recorded.binary, nothing_g, nothing_g, nothing_g)
    return found.fitted(training_n)


def training_cells(adata: AnnData) -> NDArray[np.bool_]:
    """Training cells by `obs["sivae_split"]`, (n,); all where none is marked."""
    split = frame(adata.obs)
    if _keys.SPLIT not in split:
        return np.ones(adata.n_obs, bool)
    training_n: NDArray[np.bool_] = (split[_keys.SPLIT].astype(str) == "train").to_numpy()
    return training_n if training_n.any() else np.ones(adata.n_obs, bool)


def _refuse_wrong(x_cg: Array, values: Values, rows: slice, *, positive: bool) -> None:
    """Refuse what is not finite, or negative where a logarithm is taken; the cell and the gene are named."""
    wrong_cg = ~np.isfinite(x_cg)
    if positive:
        wrong_cg |= x_cg < 0
    if wrong_cg.any():
        cell, gene = np.argwhere(wrong_cg)[0]
        names = values.names[0][values.rows[rows][cell]], values.names[1][values.columns[gene]]
        raise SetupError(
            f"{values.where} holds {x_cg[cell, gene]:g} (cell {str(names[0])!r}, gene {str(names[1])!r}); expected "
            f"{'counts of at least 0' if positive else 'finite numbers'}. Mend or drop it first."
        )


def are_counts(values: Values) -> bool:
    """Whether values are whole numbers of at least 0."""
    return all(bool((x_cg >= 0).all() and (x_cg == np.round(x_cg)).all()) for _, x_cg in _stored(values, binary=False))


def _stored(values: Values, *, binary: bool) -> Iterator[tuple[slice, Array]]:
    """Dense rows of stored values from first to last, block by block."""
    n, g = values.shape
    step = max(1, BLOCK // max(g, 1))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        x_cg = np.zeros((rows.stop - rows.start, g))
        for at, columns, block in replace(values, rows=values.rows[rows]).pieces():
            x_cg[np.ix_(at, columns)] = block.toarray() if hasattr(block, "toarray") else block
        yield rows, (x_cg > 0).astype(np.float64) if binary else x_cg
