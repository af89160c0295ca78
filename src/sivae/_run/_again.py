"""A run once more: its options from its record, what differs before training, and whether the results are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from sivae._errors import ArtefactError, OptionError, some
from sivae._run import _files, _machine
from sivae._run._use import read_record

if TYPE_CHECKING:
    from sivae._run._fit import FitOptions

FLAGS: Final = {"categorical_covariates": "--categorical-covariate", "continuous_covariates": "--continuous-covariate"}
"""Options of the command whose names differ."""
DEMO: Final = "700 blood cells"
"""How the name of the data of `sivae demo` begins."""


@final
@dataclass(frozen=True)
class Again:
    """The run that is repeated."""

    run: Path
    record: Mapping[str, Any]

    def before(self, now: Mapping[str, Any], source: Mapping[str, str], *, genes_sha256: str) -> list[str]:
        """What differs from that run, some words each; nothing where this one can be the same to the last bit."""
        found = [
            *self._data(source),
            *_differences("version of", self.record["versions"], _machine.versions()),
            *self._conditions(now),
            *self._training(now),
        ]
        if self.record["genes"]["sha256"] != genes_sha256:
            found.append(f"the genes chosen are others than the {self.record['genes']['modelled']:,} then")
        return found

    def words_before(self, now: Mapping[str, Any], source: Mapping[str, str], *, genes_sha256: str) -> str:
        """What is said before training."""
        differing = self.before(now, source, genes_sha256=genes_sha256)
        if differing:
            return f"Note: this cannot be relied on to be {self.run} to the last bit: {'; '.join(differing)}."
        return f"Repeating {self.run}: data, genes, options, versions, machine and threads are the same."

    def words_after(self, results: Mapping[str, str]) -> str:
        """What is said at the end: whether the results are the same."""
        differing = self.compare(results)
        if differing is None:
            return f"The record of {self.run} holds no hashes of results (format 1), so these are not compared."
        if differing:
            return f"Differs from {self.run} in {len(differing)} of {len(results)} files: {', '.join(differing)}."
        return f"The same as {self.run} to the last bit, times aside: {len(results)} files."

    def compare(self, results: Mapping[str, str]) -> list[str] | None:
        """Files that differ, are missing or are new; None where the record does not know."""
        then = self.record.get("results")
        if then is None:
            return None
        return [name for name in sorted({*then, *results}) if then.get(name) != results.get(name)]

    def _data(self, source: Mapping[str, str]) -> Iterator[str]:
        for key, what in (("sha256", "the data"), ("gene_sets_sha256", "the gene sets")):
            then = self.record["data"].get(key)
            if then is not None and source.get(key) != then:
                yield f"{what} have sha256 {_short(source.get(key))}, then {_short(then)}"

    def _conditions(self, now: Mapping[str, Any]) -> Iterator[str]:
        then = self.record.get("conditions")
        if then is None:
            yield "its record does not tell threads and machine, so these cannot be compared"
        else:
            yield from _differences("", then, now)

    def _training(self, now: Mapping[str, Any]) -> Iterator[str]:
        if self.record["training"]["stopped"] == "interrupted":
            yield "it was interrupted while it trained, and this one goes on to the end"
        if now["device"] != "cpu":
            yield f"it trains on {now['device']}, where the last bits of sums can differ from time to time"


def open_again(path: Path, *, given: FitOptions, named: frozenset[str], command: str) -> tuple[Again, FitOptions]:
    """The run to repeat, and its options; those named on the command line must be the same.

    Parameters
    ----------
    path
        Folder of a run, or its `run.json`.
    given, named
        Options of the command line, and the names of those that were written there. Gene sets are a file, and may lie
        elsewhere.
    command
        "fit" or "demo".

    Raises
    ------
    ArtefactError
        If it is no such run, or another command made it.
    OptionError
        If an option is another than that of the run.
    """
    run = path.parent if path.name == _files.RECORD else path
    record = read_record(run)
    made_by = "demo" if str(record["data"]["name"]).startswith(DEMO) else "fit"
    if made_by != command:
        what = "sivae demo" if made_by == "demo" else "sivae fit DATA"
        raise ArtefactError(
            f"{run} is a run of sivae {made_by}; expected one of sivae {command}. Write: {what} --from {run}"
        )
    then = _options(run, record, type(given))
    wrong = [name for name in sorted(named - {"gene_sets"}) if getattr(given, name) != getattr(then, name)]
    if wrong:
        told = ", ".join(f"{_flag(name)} {_shown(name, given)}" for name in wrong)
        had = ", ".join(_shown(name, then) for name in wrong)
        raise OptionError(
            f"Found {told} with --from {path}, whose run had {had}; expected none, or the same. Leave "
            f"{some([_flag(name) for name in wrong])} out to repeat that run, or --from to make another."
        )
    if "gene_sets" in named:
        then = replace(then, gene_sets=given.gene_sets)
    elif then.gene_sets is not None and not Path(then.gene_sets).is_file():
        raise ArtefactError(
            f"{run} has read gene sets from {then.gene_sets}, and there is no such file here. Name it with --gene-sets."
        )
    return Again(run, record), then


def _options(run: Path, record: Mapping[str, Any], kind: type[FitOptions]) -> FitOptions:
    """Options as they are recorded; older runs lack some, which then did what is the default now."""
    saved = record.get("options", {})
    known = {field.name for field in fields(kind)}
    strange = [name for name in saved if name not in known]
    if strange or "seed" not in saved:
        found = f"unknown options: {some(strange)}" if strange else "no options"
        raise ArtefactError(f"{run / _files.RECORD} holds {found}; the run cannot be repeated. Update sivae-tools.")
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in saved.items()}
    return kind(**values)


def _differences(what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name, value in then.items():
        if now.get(name) != value:
            yield f"{what} {name} is {now.get(name, 'none')}, then {value}".strip()


def _flag(name: str) -> str:
    return FLAGS.get(name, "--" + name.replace("_", "-"))


def _shown(name: str, options: FitOptions) -> str:
    value = getattr(options, name)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return ("all" if name == "n_genes" else "none") if value is None else str(value)


def _short(digest: str | None) -> str:
    return "none" if digest is None else f"{digest[:12]}..."
