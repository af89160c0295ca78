"""From cells to a run: choose genes, train, annotate, write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sivae import _keys, _launched
from sivae._checks import one_of
from sivae._errors import OptionError, SetupError, some
from sivae._extras import require
from sivae._run import _cells, _files, _gene_space, _machine, _said, _write
from sivae._run._again import Again
from sivae._run._clock import Clock
from sivae._space import forget
from sivae._values import part_of
from sivae._whole import names_hash

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from sivae.model._sivae import SiVAE
    from sivae.train._processes import Processes

Say = Callable[[str], None]


@dataclass(frozen=True)
class FitOptions:
    """What `sivae fit` can be told, with the meaning it has in `SiVAE` and `select_genes`."""

    layer: str | None = None
    batch_key: str | None = None
    categorical_covariates: tuple[str, ...] = ()
    continuous_covariates: tuple[str, ...] = ()
    size_factor_key: str | None = None
    normalize: str = "auto"
    n_latent: int = 10
    likelihood: str = "auto"
    dispersion: str | None = None
    gamma: float | None = None
    recipe: str = "default"
    preset: str | None = None
    """Settings of a published run, for the recipe "choi2023"."""
    n_genes: int | None = 2000
    """None: all."""
    project_rest: bool = False
    max_epochs: int | None = None
    seed: int = 0
    accelerator: str = "auto"
    label: str | None = None
    gene_sets: str | None = None
    """GMT file of gene sets to look for in axes and modules."""


def fit_file(
    data: Path,
    run: Path,
    options: FitOptions,
    *,
    say: Say,
    progress: bool,
    checkpoint: Path | None = None,
    again: Again | None = None,
) -> None:
    """Fit a file of cells and write a run (see `fit`); of several processes the first one does, and the others help."""
    processes = None
    if _launched.world() > 1:  # a single one has nothing to load for it before the first check
        from sivae.train._processes import launched

        processes = launched(options.accelerator)
        if not processes.first:
            _help(data, run, options, processes)
            return
    with nullcontext() if processes is None else processes.telling():
        _check(run, options)
        clock = Clock()
        with _cells.open_cells(data) as cells:
            source = {"source": data.name, **_files.hashes(data, options.gene_sets)}
            clock.lap("reading")
            left = "" if cells.root is None else "; its values stay in the file and are read when needed"
            say(f"Read {data}: {cells.adata.n_obs:,} cells x {cells.adata.n_vars:,} genes{left}.")
            fit(
                cells, run, options, source=source, clock=clock, say=say, progress=progress, checkpoint=checkpoint,
                processes=processes, again=again,
            )  # fmt: skip


def _help(data: Path, run: Path, options: FitOptions, processes: Processes) -> None:
    """Take part in the training of the genes that the first process has chosen; nothing is said or written."""
    from sivae.data._setup import Setup, write_record

    with processes.telling():
        told = processes.share().record
        with _cells.open_cells(data, leave=True) as cells:
            write_record(cells.adata, Setup.from_record(told["setup"]))
            model = _make_model(part_of(cells.adata, genes=told["genes"]), options)
            train(model, options, run.parent if run.parent.is_dir() else None, progress=False, checkpoint=None)


def _tell(model: SiVAE, processes: Processes | None) -> None:
    """Tell the other processes which genes are modelled, and how the cells were set up."""
    if processes is not None and model.adata is not None:
        from sivae.data._setup import read_record
        from sivae.train._processes import Message

        processes.share(Message({"genes": model.genes, "setup": read_record(model.adata).to_record()}))


def fit_demo(run: Path, options: FitOptions, *, say: Say, progress: bool, again: Again | None = None) -> None:
    """Fit the cells that come with scanpy and write a run (see `fit`)."""
    from sivae.datasets import pbmc700

    _check(run, options)
    clock = Clock()
    adata = pbmc700()
    content = hashlib.sha256(adata.X.tocsr().data.tobytes() + "\n".join(adata.var_names).encode()).hexdigest()
    clock.lap("reading")
    say(f"Read the demo: {adata.n_obs:,} blood cells x {adata.n_vars:,} genes that come with scanpy.")
    source = {"source": "700 blood cells (sivae.datasets.pbmc700)", "sha256": content}
    fit(_cells.Cells(adata), run, options, source=source, clock=clock, say=say, progress=progress, again=again)


def fit(
    cells: _cells.Cells,
    run: Path,
    options: FitOptions,
    *,
    source: dict[str, str],
    clock: Clock,
    say: Say,
    progress: bool,
    checkpoint: Path | None = None,
    processes: Processes | None = None,
    again: Again | None = None,
) -> None:
    """Choose genes, train, annotate, and write the folder; everything that can be refused is refused before training.

    Parameters
    ----------
    cells
        Cells with raw counts or values; their AnnData is annotated in place.
    run
        The folder to make.
    options
        See `FitOptions`.
    source
        Name and hash of the data.
    clock
        Counts the seconds of each stage.
    say
        Told one line per step.
    progress
        Show a bar while training.
    checkpoint
        Folder of the training's checkpoint. It is continued if there is one, and removed when the run is in its place;
        it stays where training was interrupted or the run could not be written.
    processes
        Those that train together, of which this is the first; None for one alone.
    again
        The run that is repeated, where one is; what differs is said.
    """
    adata = cells.adata
    check_data(adata, options)
    conditions = _machine.conditions(options.accelerator)
    _said.values(adata, options, say)
    for words in cells.notes(source["source"], options.layer):
        say(words)
    _said.preset(options, say)
    _said.confounding(adata, options, say)
    with _files.whole_folder(run) as folder:
        model, chosen = prepare(adata, options)
        clock.lap("choosing genes")
        say(f"Genes: {chosen}.")
        genes_sha256 = names_hash(model.genes)
        if again is not None:
            say(again.words_before(conditions, source, genes_sha256=genes_sha256))
        say(f"Training {options.n_latent} axes ({model.options.likelihood} likelihood{_said.recipe(options)}).")
        _tell(model, processes)
        history = train(model, options, folder, progress=progress, checkpoint=checkpoint)
        clock.lap("training")
        say(_said.trained(history))
        forget(adata)
        model.annotate(adata, project=options.project_rest)
        clock.lap("annotating")
        n_later = adata.n_vars - len(model.genes)
        say(f"Annotated cells and genes{f'; placed the other {n_later:,} genes' if options.project_rest else ''}.")
        say(f"Gene space: {_gene_space.analyse(adata, seed=options.seed)}.")
        clock.lap("gene space")
        run_facts = {
            **source, "genes_sha256": genes_sha256, "chosen": chosen, "label": options.label or "",
            "preset": options.preset or "",
        }  # fmt: skip
        _note(adata, run_facts, clock)
        with _files.writing(run):
            results = _write.write(cells, model, folder, options=asdict(options), clock=clock, conditions=conditions)
    say(f"Wrote {run}.")
    if again is not None:
        say(again.words_after(results))
    if checkpoint is not None:
        _end_checkpoint(checkpoint, history, say)
    say(f"Open {run / _files.REPORT} to read, {run / _files.EXPLORER} to explore")


def _check_recipe(options: FitOptions) -> None:
    """Refuse what does not go together with the recipe; no data are needed to see it."""
    from sivae.model import _recipe
    from sivae.nn._published_options import PRESETS

    _recipe.chosen(options.recipe, {"likelihood": options.likelihood})
    if options.preset is not None:
        if options.recipe != _recipe.PUBLISHED:
            raise OptionError(
                f"Found --preset {options.preset!r} with --recipe {options.recipe}; expected none, because presets are "
                f"settings of the published recipe. Add --recipe {_recipe.PUBLISHED}, or leave --preset out."
            )
        one_of("preset", options.preset, PRESETS)
    if options.project_rest and options.n_genes is not None:
        _recipe.check_projection(options.recipe, options.likelihood)


def _check(run: Path, options: FitOptions) -> None:
    """Refuse what can be refused before the data are read."""
    _files.refuse_existing(run)
    _files.check_place(run)
    for module in ("matplotlib", "jinja2"):
        require(module, extra="report")
    if options.gene_sets is not None:
        from sivae.tl import read_gmt

        read_gmt(options.gene_sets)
    if options.n_genes is not None and options.n_genes < 2:
        raise OptionError(f"Found {options.n_genes} genes, expected at least 2, or all. 2000 is the default.")
    if options.n_latent < 1:
        raise OptionError(f"n_latent is {options.n_latent}; expected at least 1. 10 is the default.")
    if options.max_epochs is not None and options.max_epochs < 1:
        raise OptionError(
            f"Found {options.max_epochs} epochs, expected at least 1. Leave it out to let the data decide."
        )
    _check_recipe(options)


def check_data(adata: AnnData, options: FitOptions) -> None:
    """Refuse data that lack what was asked for, and write the set-up record."""
    from sivae.data._split import refuse_few
    from sivae.model._sivae import SiVAE

    if options.label is not None and options.label not in adata.obs:
        raise SetupError(
            f"Found no column {options.label!r} in obs, expected one of: {some(adata.obs.columns, 20) or 'none'}. "
            "Name one of these with --label."
        )
    SiVAE.setup_anndata(
        adata,
        layer=options.layer,
        batch_key=options.batch_key,
        categorical_covariate_keys=options.categorical_covariates or None,
        continuous_covariate_keys=options.continuous_covariates or None,
        size_factor_key=options.size_factor_key,
        normalize=options.normalize,  # type: ignore[arg-type]
    )
    refuse_few(adata.n_obs)


def prepare(adata: AnnData, options: FitOptions) -> tuple[SiVAE, str]:
    """Choose genes and make the model; return it with the choice in words."""
    cells, words = choose_genes(adata, options)
    return _make_model(cells, options), words


def _make_model(cells: AnnData, options: FitOptions) -> SiVAE:
    from sivae.model._sivae import SiVAE
    from sivae.nn._published_options import PublishedOptions

    weight = {} if options.gamma is None else {"gamma": options.gamma}
    return SiVAE(
        cells,
        n_latent=options.n_latent,
        likelihood=options.likelihood,  # type: ignore[arg-type]
        dispersion=options.dispersion,  # type: ignore[arg-type]
        recipe=options.recipe,  # type: ignore[arg-type]
        published=None if options.preset is None else PublishedOptions.preset(options.preset),  # type: ignore[arg-type]
        seed=options.seed,
        **weight,  # type: ignore[arg-type]
    )


def choose_genes(adata: AnnData, options: FitOptions) -> tuple[AnnData, str]:
    """The cells with the genes to be modelled alone, and the choice in words."""
    from sivae.pp import select_genes

    if options.n_genes is None or options.n_genes >= adata.n_vars:
        return adata, f"all {adata.n_vars:,} are modelled"
    select_genes(adata, options.n_genes, layer=options.layer, batch_key=options.batch_key)
    cells = adata[:, adata.var["highly_variable"].to_numpy()]
    counts = bool(adata.uns[_keys.UNS]["setup"]["counts"])
    measure = "variance of Pearson residuals" if counts else "variance"
    batches = "" if options.batch_key is None else f", ranked within each {options.batch_key}"
    return cells, f"{cells.n_vars:,} of {adata.n_vars:,} chosen by {measure}{batches}"


def train(model: SiVAE, options: FitOptions, folder: Path | None, *, progress: bool, checkpoint: Path | None) -> Any:
    """Train; the checkpoint stays for now, because what follows can still fail."""
    from sivae.train._options import TrainOptions

    return model.train(
        options.max_epochs,
        accelerator=options.accelerator,
        progress=progress,
        checkpoint_dir=checkpoint,
        options=TrainOptions(
            keep_checkpoint=checkpoint is not None, spool_folder=None if folder is None else str(folder)
        ),
    )


def _end_checkpoint(folder: Path, history: Any, say: Say) -> None:
    """Remove the checkpoint of a training that has ended."""
    from sivae.train._checkpoint import remove

    if history.attrs["stopped"] == "interrupted":
        say(f"The checkpoint in {folder} stays: the same command with another -o goes on from it.")
    else:
        remove(folder)


def _note(adata: AnnData, entries: dict[str, str], clock: Clock) -> None:
    """Keep in the AnnData what its report needs to know about the run."""
    adata.uns[_keys.UNS] = {**dict(adata.uns[_keys.UNS]), "run": {**entries, "seconds": dict(clock.seconds)}}
