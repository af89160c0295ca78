"""From cells of many individuals to a run that says which genes' connectivity goes with a phenotype."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sivae import _keys
from sivae._errors import SiVAEError, SiVAEWarning, warn
from sivae._run import _cells, _cohort_checks, _cohort_tables, _cohort_write, _files, _fit, _gene_space, _said
from sivae._run._clock import Clock
from sivae._space import forget
from sivae._values import frame

if TYPE_CHECKING:
    from anndata import AnnData

    from sivae._run._cohort_checks import Cohort
    from sivae.cohort._phenotype import Design
    from sivae.model._sivae import SiVAE

Say = Callable[[str], None]


@dataclass(frozen=True)
class CohortOptions:
    """What `sivae cohort` can be told, with the meaning it has in `sivae.cohort` and `SiVAE`."""

    sample: str
    phenotype: str
    levels: tuple[str, ...] = ()
    """Levels of the phenotype from low to high; all, as they are, if not given."""
    covariates: tuple[str, ...] = ()
    cell_type: str | None = None
    mode: str = "shared"
    model: str | None = None
    """Folder of a run or of a saved model; None trains one."""
    layer: str | None = None
    batch_key: str | None = None
    n_latent: int = 20
    n_genes: int | None = 2000
    """None: all."""
    gene_sets: str | None = None
    classes: str = _cohort_checks.BY_NAME
    min_cells: int = 20
    fdr: float = 0.05
    n_permutations: int = 100_000
    max_epochs: int | None = None
    seed: int = 0
    accelerator: str = "auto"
    jobs: int = 1
    work: str | None = None
    """Folder in which finished separate models are kept."""

    def fit(self) -> _fit.FitOptions:
        """The same for the training of a model."""
        return _fit.FitOptions(
            layer=self.layer, batch_key=self.batch_key, n_latent=self.n_latent, n_genes=self.n_genes,
            max_epochs=self.max_epochs, seed=self.seed, accelerator=self.accelerator, label=self.cell_type,
        )  # fmt: skip


@dataclass
class Notes:
    """Warnings that were given, each once: every step reads the phenotype, and would say the same again."""

    said: list[str] = field(default_factory=list)

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Pass on warnings of siVAE that are new."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for entry in caught:
            if not issubclass(entry.category, SiVAEWarning):
                warnings.warn_explicit(entry.message, entry.category, entry.filename, entry.lineno)
            elif str(entry.message) not in self.said:
                self.pass_on(str(entry.message))

    def pass_on(self, words: str) -> None:
        """Say it and remember."""
        self.said.append(words)
        warn(words)


def cohort_file(data: Path, run: Path, options: CohortOptions, *, say: Say, progress: bool) -> None:
    """Analyze a file of cells of many individuals and write a run; what can be refused is refused before training.

    Parameters
    ----------
    data
        Cells x genes, .h5ad or .zarr.
    run
        The folder to make.
    options
        See `CohortOptions`.
    say
        Told one line per step.
    progress
        Show a bar while training.

    Raises
    ------
    SiVAEError
        Whatever cannot be done; nothing is written then.
    """
    _cohort_checks.check_options(run, options)
    clock, notes = Clock(), Notes()
    cohort = _cohort_checks.check_obs(_cells.read_obs(data), options)
    with _cells.open_cells(data) as cells, _files.whole_folder(run) as folder:
        adata = cells.adata
        adata.obs[options.phenotype] = _cohort_checks.phenotype_column(frame(adata.obs), options)
        _cohort_checks.check_classes([str(name) for name in adata.var.columns], options)
        _cohort_checks.check_sets([str(name) for name in adata.var_names], options)
        clock.lap("reading")
        left = "" if cells.root is None else "; its values stay in the file and are read when needed"
        say(f"Read {data}: {adata.n_obs:,} cells x {adata.n_vars:,} genes{left}.")
        say(_individual_words(cohort, options))
        if options.cell_type is None:
            say("Note: without --cell-type, a shift of cell types counts as a change of connectivity.")
        for note in cohort.design.notes:
            notes.pass_on(note)
        source = {"source": data.name, "sha256": _files.file_hash(data), "chosen": ""}
        samples = _samples(adata, folder, options, source=source, clock=clock, notes=notes, say=say, progress=progress)
        with notes.gather():
            found = _cohort_tables.analyse(samples, options, say=say)
        clock.lap("association")
        for line in _cohort_tables.words(samples, found):
            say(line)
        with _files.writing(run):
            _cohort_write.write(samples, found, folder, options, source=source, clock=clock, notes=notes.said)
    say(f"Wrote {run}.")
    say(f"Open {run / _files.REPORT} to read; tables are in {run / _files.TABLES}")


def _individual_words(cohort: Cohort, options: CohortOptions) -> str:
    individuals, design = cohort.individuals, cohort.design
    counts = sorted(len(rows) for rows in individuals.rows)
    beside = f", beside {' and '.join(design.covariates)}" if design.covariates else ""
    left = f"; {len(individuals.left_out)} with fewer than {options.min_cells} cells are left out"
    cells = f"{counts[0]:,} to {counts[-1]:,} cells" if counts[0] < counts[-1] else f"{counts[0]:,} cells each"
    return (
        f"Individuals: {len(individuals.names)} with {cells}{left if individuals.left_out else ''}; "
        f"asked about {design.phenotype} ({_kind(design)}) in {len(design.rows)}{beside}."
    )


def _kind(design: Design) -> str:
    if design.kind == "binary":
        return f"{design.levels[1]} compared with {design.levels[0]}"
    return f"from {design.levels[0]} to {design.levels[-1]}" if design.kind == "ordered" else design.kind


def _samples(
    adata: AnnData, folder: Path, options: CohortOptions, *, source: dict[str, str], clock: Clock, notes: Notes,
    say: Say, progress: bool,
) -> AnnData:  # fmt: skip
    """Individuals x genes, from one model or from many."""
    from sivae import cohort

    model, cells = None, adata
    if options.mode == "shared":
        model = _model(adata, folder, options, source=source, clock=clock, say=say, progress=progress)
        _annotate(adata, model, options, say=say)
        clock.lap("gene space")
        say(f"Reading the gene space of each individual in the {model.options.n_latent} axes of the model.")
    else:
        cells, source["chosen"] = _set_up(adata, options)
        clock.lap("choosing genes")
        say(f"Genes: {source['chosen']}.")
        kept = "" if options.work is None else f"; finished ones are kept in {options.work}"
        say(f"Training a model of {options.n_latent} axes for each individual, {options.jobs} at a time{kept}.")
    with notes.gather():
        samples = cohort.connectivity(
            cells, options.sample, mode=options.mode, model=model, cell_type_key=options.cell_type,  # type: ignore[arg-type]
            n_latent=options.n_latent, min_cells=options.min_cells, n_jobs=options.jobs, folder=options.work,
            seed=options.seed,
        )  # fmt: skip
    clock.lap("connectivity")
    return samples


def _set_up(adata: AnnData, options: CohortOptions) -> tuple[AnnData, str]:
    """The cells with the genes chosen."""
    from sivae.model._sivae import SiVAE

    SiVAE.setup_anndata(adata, layer=options.layer, batch_key=options.batch_key)
    return _fit.choose_genes(adata, options.fit())


def _model(
    adata: AnnData, folder: Path, options: CohortOptions, *, source: dict[str, str], clock: Clock, say: Say,
    progress: bool,
) -> SiVAE:  # fmt: skip
    """The model given; or one that is trained here, and saved in the run."""
    from sivae.model._sivae import SiVAE

    if options.model is not None:
        model = SiVAE.load(_cohort_checks.model_folder(Path(options.model)))
        source["chosen"] = f"{len(model.genes):,}, those of the model in {options.model}"
        say(f"Genes: {source['chosen']}.")
        return model
    _fit.check_data(adata, options.fit())
    model, source["chosen"] = _fit.prepare(adata, options.fit())
    clock.lap("choosing genes")
    say(f"Genes: {source['chosen']}.")
    say(f"Training {options.n_latent} axes on all individuals ({model.options.likelihood} likelihood).")
    history = _fit.train(model, options.fit(), folder, progress=progress, checkpoint=None)
    clock.lap("training")
    say(_said.trained(history))
    model.save(folder / _files.MODEL)
    return model


def _annotate(adata: AnnData, model: SiVAE, options: CohortOptions, *, say: Say) -> None:
    """Modules for the genes: those of the run that was given, or found in the gene space of the model."""
    if options.model is not None and (Path(options.model) / _files.CELLS).is_file():
        var = _gene_space.open_gene_space(Path(options.model)).var
        if _keys.MODULE in var:
            adata.var[_keys.MODULE] = var[_keys.MODULE].astype(str).reindex(adata.var_names)
            say("Modules: those of the run that was given.")
            return
    if find_spec("graspologic_native") is None:
        say("Note: modules need the extra modules (pip install 'sivae-tools[modules]'); the rest is done without.")
        return
    try:
        forget(adata)
        model.annotate(adata)
        say(f"Gene space of the model: {_gene_space.analyse(adata, seed=options.seed)}.")
    except SiVAEError as error:
        say(f"Note: no modules were found: {error}")
