"""A function run for each individual, on this machine or on a cluster; what is done is kept, so that a run goes on.

Parallel work goes through joblib: processes of this machine, or what `joblib.parallel_config(backend="dask")` (or
"ray") says. Each task has one thread of linear algebra wherever it runs, so its result does not depend on how many run
beside it.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sivae import _launched
from sivae._errors import ArtefactError, OptionError, SiVAEWarning, some, warn
from sivae.cohort import _kept
from sivae.cohort._kept import Result

log = logging.getLogger("sivae")
ATTEMPTS: Final = 2
"""Rounds for tasks whose worker process was killed under them."""
TIMEOUTS: Final = (TimeoutError, multiprocessing.TimeoutError)
"""What back ends of joblib raise when nothing finishes."""

PATIENCE: Final = 7200.0
"""Seconds. joblib's Dask back end never says that a task was given up because it killed every worker that had it."""

Loader = Callable[[], Any]
Task = Callable[[Any], tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]]


@dataclass(frozen=True)
class Outcome:
    """Results of a run.

    Parameters
    ----------
    results
        One for each individual that worked, in the order asked for.
    failed
        "ErrorType: message" for each of the others, in the same order.
    kept
        Names of those whose result was read from the folder.
    """

    results: dict[str, Result]
    failed: dict[str, str]
    kept: tuple[str, ...]


# joblib's Dask back end scatters large arguments, each to one worker, and a task whose data died with that worker could
# not be given to another. In one small object without weak references they travel with the task.
@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    task: Task
    payload: Any


def run_all(
    task: Task,
    jobs: Mapping[str, Loader],
    *,
    n_jobs: int | None = None,
    folder: Path | None = None,
    identity: Callable[[Any], Mapping[str, Any]] | None = None,
    timeout: float | None = PATIENCE,
    progress: bool = False,
) -> Outcome:
    """Results of a function for each of many individuals, in the order asked for, whatever the order of the work.

    Parameters
    ----------
    task
        Function of one payload, importable by name, that gives flat arrays and facts that JSON can hold. It is given
        nothing else, so whatever it draws must come from a seed in the payload.
    jobs
        For each individual how to load its payload: a function without arguments, called here shortly before the
        task is handed out.
    n_jobs
        Processes (-1: one for each core); None is what `joblib.parallel_config` says, or 1. A Dask cluster uses all
        the workers it has.
    folder
        Keep each result here as soon as it is there. Results that are there and were made from the same inputs
        are not made again; damaged ones are, with a warning. Failures are not kept.
    identity
        With `folder`: all that the result of a payload depends on (values that JSON can hold; `_kept.digest` for
        arrays). The package's version is added.
    timeout
        Give up what is still under way when nothing has finished for so many seconds (None: wait for ever). Not used
        by a run in this process alone.
    progress
        Show a progress bar.

    Returns
    -------
    `Outcome`. A task that raises is in `failed` and the others go on. So are one under which workers are killed again
    and again, and those beside it that were not done by then.

    Raises
    ------
    OptionError
        If a folder is given and no `identity`.
    ArtefactError
        If the folder cannot be written.
    """
    if folder is not None and identity is None:
        raise OptionError("Found a folder and no identity, expected both. Say what a result depends on.")
    failed: dict[str, str] = {}
    done: dict[str, Result] = {}
    prints: dict[str, str] = {}
    if folder is not None and identity is not None:
        prints = _fingerprints(jobs, identity, failed)
        done = _read_kept(_kept.make_folder(folder), prints)
    kept = tuple(done)
    waiting = {name: load for name, load in jobs.items() if name not in done and name not in failed}
    outcomes = _outcomes(task, waiting, failed, n_jobs=n_jobs, timeout=timeout)
    for name, outcome in _bar(outcomes, len(waiting), shown=progress):
        if isinstance(outcome, str):
            failed[name] = outcome
            continue
        done[name] = outcome
        if folder is not None:
            _kept.write(_kept.place(folder, name), outcome, prints[name])
    _pass_on(done)
    order = [*jobs]
    return Outcome(
        {name: done[name] for name in order if name in done},
        {name: failed[name] for name in order if name in failed},
        kept,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for linear algebra; as it was afterwards."""
    import scipy.linalg  # noqa: F401 (only libraries that are loaded can be limited)
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


def in_words(error: BaseException) -> str:
    """An error as it is reported: "ErrorType: message"."""
    return f"{type(error).__name__}: {error}"


def _fingerprints(
    jobs: Mapping[str, Loader], identity: Callable[[Any], Mapping[str, Any]], failed: dict[str, str]
) -> dict[str, str]:
    prints = {}
    for name, load in jobs.items():
        try:
            payload = load()
        except Exception as error:
            failed[name] = in_words(error)
            continue
        prints[name] = _kept.fingerprint(identity(payload))
    return prints


def _read_kept(folder: Path, prints: Mapping[str, str]) -> dict[str, Result]:
    """Results that are in the folder and were made from the same inputs."""
    done, damaged = {}, []
    for name, wanted in prints.items():
        try:
            result = _kept.read(_kept.place(folder, name), wanted)
        except ArtefactError as error:
            damaged.append((name, error))
            continue
        if result is not None:
            done[name] = result
    if damaged:
        warn(
            f"Found damaged results of {len(damaged)} individuals ({some(name for name, _ in damaged)}), expected "
            f"whole ones: {damaged[0][1]} They are made again."
        )
    return done


def _outcomes(
    task: Task, jobs: Mapping[str, Loader], failed: dict[str, str], *, n_jobs: int | None, timeout: float | None
) -> Generator[tuple[str, Result | str], None, None]:
    """Name and result, or error in words, of each individual, as they come."""
    waiting = dict(jobs)
    for attempt in range(ATTEMPTS):
        try:
            for name, outcome in _round(task, waiting, failed, n_jobs=n_jobs, timeout=timeout):
                del waiting[name]
                yield name, outcome
            return
        except (BrokenExecutor, *TIMEOUTS) as error:
            waiting = {name: load for name, load in waiting.items() if name not in failed}
            log.warning("work on %s was broken off: %s", some(waiting), in_words(error))
            if isinstance(error, TIMEOUTS) or attempt == ATTEMPTS - 1:
                yield from ((name, _broken(error, timeout)) for name in tuple(waiting))
                return


def _round(
    task: Task, jobs: Mapping[str, Loader], failed: dict[str, str], *, n_jobs: int | None, timeout: float | None
) -> Generator[tuple[str, Result | str], None, None]:
    import joblib

    def calls() -> Iterator[Any]:
        for name, load in tuple(jobs.items()):
            try:
                payload = load()
            except Exception as error:
                failed[name] = in_words(error)
                continue
            yield joblib.delayed(_run)(_Call(name, task, payload))

    bounded = timeout if joblib.effective_n_jobs(n_jobs) > 1 else None
    with one_thread():
        # Each payload is read once, so a file to share it (max_nbytes) would save nothing.
        outputs = joblib.Parallel(
            n_jobs=n_jobs, return_as="generator_unordered", batch_size=1, timeout=bounded, max_nbytes=None
        )(calls())
        try:
            yield from outputs
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that tasks were left when this was interrupted
                outputs.close()


def _run(call: _Call) -> tuple[str, Result | str]:
    """In the worker: the result, or the error in words; anything but an Exception passes."""
    with one_thread(), _launched.alone(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SiVAEWarning)
        try:
            arrays, facts = call.task(call.payload)
            outcome: Result | str = _checked(arrays, facts, caught)
        except Exception as error:
            outcome = in_words(error)
    for found in caught:
        if not issubclass(found.category, SiVAEWarning):
            warnings.warn_explicit(found.message, found.category, found.filename, found.lineno)
    return call.name, outcome


def _checked(
    arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any], caught: list[warnings.WarningMessage]
) -> Result:
    """A result that is the same as one that was written and read."""
    flat = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name, array in flat.items():
        if array.dtype.kind not in "biuf":
            raise TypeError(f"array {name!r} holds {array.dtype}; expected numbers or booleans")
    notes = dict.fromkeys(str(found.message) for found in caught if issubclass(found.category, SiVAEWarning))
    return Result(flat, json.loads(json.dumps(dict(facts))), tuple(notes))


def _broken(error: Exception, timeout: float | None) -> str:
    if isinstance(error, TIMEOUTS):
        return f"TimeoutError: nothing had finished for {timeout:g} seconds; give more, or fewer n_jobs"
    return f"{type(error).__name__}: its worker process was killed, as happens when memory runs out; use fewer n_jobs"


def _pass_on(done: Mapping[str, Result]) -> None:
    """Warnings of the tasks, each text once, with the names of those it was said of."""
    said: dict[str, list[str]] = {}
    for name, result in done.items():
        for text in result.notes:
            said.setdefault(text, []).append(name)
    for text, names in said.items():
        warn(f"{some(names)}: {text}")


def _bar(
    outcomes: Generator[tuple[str, Result | str], None, None], total: int, *, shown: bool
) -> Iterator[tuple[str, Result | str]]:
    from sivae.train._bar import bar

    with bar(total, shown=shown, what="individuals", unit="") as done:
        try:
            for found in outcomes:
                done.update()
                yield found
        finally:
            outcomes.close()
