"""Several processes that train one model: which this is, which cells are its own, and what they tell each other.

The first process has all cells, decides, and writes; the others have a share of the training cells. Words go over gloo,
in a group of their own that waits as long as it must: a process that ends closes its connections, and those that wait
for it know at once. Gradients go over the group that accelerate made (gloo between processors, NCCL between GPUs). What
is sent is JSON and safetensors.
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar, final

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors.torch import load, save

from sivae import _launched
from sivae._errors import OptionError, ProcessError, SiVAEError, warn

Error = TypeVar("Error", bound=SiVAEError)
WAIT: Final = timedelta(days=30)
"""Longest wait for the word of a process that is alive: its work on all cells may take long."""


@dataclass(frozen=True)
class Message:
    """What one process tells the others."""

    record: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


@final
class Processes:
    """The processes of a training. A single one has nobody to talk to: every method then returns at once.

    Parameters
    ----------
    rank
        Which process this is; the first, 0, decides.
    world
        How many there are.
    group
        The group for words; that of all processes if None.
    """

    def __init__(self, rank: int = 0, world: int = 1, group: Any = None) -> None:
        self.rank, self.world, self._group = rank, world, group
        self._told: BaseException | None = None
        self._stepping, self._closed = False, False

    @property
    def first(self) -> bool:
        """Whether this is the process that decides; so is a single one."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.world > 1

    @property
    def usable(self) -> bool:
        """Whether the others can still be reached."""
        return not self._closed and (not self.several or dist.is_initialized())

    def own(self, n: int) -> NDArray[np.intp]:
        """Positions of this process's items among n: every `world`-th, so that shares differ by one at most."""
        return np.arange(self.rank, n, self.world)

    def purpose(self, words: str) -> str:
        """Name of a stream of random numbers that is this process's own; a single process has the plain one."""
        return words if self.first else f"{words} of process {self.rank}"

    # --------------------------------------------------------------------------------------------------------- words

    def share(self, message: Message | None = None) -> Message:
        """The first process's message, in every process; the others wait for it.

        Raises
        ------
        ProcessError
            If the first process has ended, or says that it has failed.
        """
        message = message or Message()
        if not self.several:
            return message
        with self._plainly():
            if self.first:
                raw = [json.dumps(message.record).encode(), save(_plain(message.tensors)) if message.tensors else b""]
            else:
                raw = [b"", b""]
            found = self._send(raw)
        record = json.loads(found[0])
        if "failed" in record:
            raise _everywhere(ProcessError(f"The first process of this training has failed: {record['failed']}"))
        return message if self.first else Message(record, load(found[1]) if found[1] else {})

    def decide(self, *, yes: bool) -> bool:
        """What the first process decides."""
        if not self.several:
            return yes
        with self._plainly():
            word = torch.tensor([yes], dtype=torch.uint8)
            dist.broadcast(word, 0, group=self._group)
        return bool(word)

    def any_word(self, words: str | None) -> str | None:
        """The words of the lowest process that has some, in every process; None if all are content."""
        if not self.several:
            return words
        raw = b"" if words is None else words.encode()
        with self._plainly():
            sizes = torch.zeros(self.world, dtype=torch.int64)
            sizes[self.rank] = len(raw)
            dist.all_reduce(sizes, group=self._group)
            if not sizes.any():
                return None
            source = int(torch.nonzero(sizes)[0])
            text = torch.zeros(int(sizes[source]), dtype=torch.uint8)
            if source == self.rank:
                text = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
            dist.broadcast(text, source, group=self._group)
        return bytes(text.tolist()).decode()

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors of one type and device by their means over processes, in one exchange."""
        if not self.several:
            return
        with self._plainly():
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            dist.all_reduce(flat)
            flat /= self.world
            parts = torch.split(flat, [tensor.numel() for tensor in tensors])
            torch._foreach_copy_(list(tensors), [p.view_as(t) for p, t in zip(parts, tensors, strict=True)])

    def _send(self, raw: list[bytes]) -> list[bytes]:
        sizes = torch.tensor([len(part) for part in raw], dtype=torch.int64)
        dist.broadcast(sizes, 0, group=self._group)
        found = []
        for part, size in zip(raw, sizes.tolist(), strict=True):
            if size:
                buffer = torch.frombuffer(bytearray(part or size), dtype=torch.uint8)
                dist.broadcast(buffer, 0, group=self._group)
                part = buffer.numpy().tobytes()
            found.append(part)
        return found

    # -------------------------------------------------------------------------------------------------------- failures

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What ends this process ends the others: they are told what it was, or find the connection closed."""
        try:
            yield
        except BaseException as error:
            self._fail(error)
            raise

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """The same while nobody waits for a word of the first process."""
        self._stepping = True
        try:
            with self.telling():
                yield
        finally:
            self._stepping = False

    def _fail(self, error: BaseException) -> None:
        if not self.several or self._told is error or getattr(error, "everywhere", False):
            return
        self._told = error
        with suppress(Exception):
            if self.first and not self._stepping:
                self._send([json.dumps({"failed": _words(error)}).encode(), b""])
            else:
                self.close()

    def close(self) -> None:
        """Leave the others: whoever waits for this process knows at once."""
        if self.several and not self._closed:
            self._closed = True
            words = dist.get_backend() == "gloo" or self._group is None
            dist.destroy_process_group(None if words else self._group)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Turn what gloo and NCCL say where a process is gone into plain words."""
        if not self.usable:
            raise _left()
        try:
            yield
        except (RuntimeError, ValueError) as error:
            lost = ProcessError(
                f"Process {self.rank} of {self.world} can no longer reach another process of its training, which has "
                f"ended or was killed{_cause(error)}; expected all {self.world} to the end. Look for what that one "
                "said last, and start them all again."
            )
            lost.everywhere = self.rank > 1  # two processes say it, because one of them may be the one that is gone
            raise lost from error


ALONE: Final = Processes()
_known: list[Processes] = []


def join(accelerator: Accelerator) -> Processes:
    """The processes that accelerate knows of; `ALONE` where there is one.

    Raises
    ------
    ProcessError
        If they have parted after an error.
    """
    if accelerator.num_processes < 2:
        return ALONE
    if not dist.is_initialized() or any(not known.usable for known in _known):
        raise _left()
    if not _known:
        group = dist.new_group(backend="gloo", timeout=WAIT)
        atexit.register(_leave)  # a process that ends with open connections can be aborted by their threads
        _known.append(Processes(accelerator.process_index, accelerator.num_processes, group))
    return _known[0]


def _leave() -> None:
    with suppress(Exception):
        if dist.is_initialized():
            dist.destroy_process_group()


def launched(accelerator: str) -> Processes:
    """The processes that a launcher says there are; `ALONE` if it says nothing."""
    return ALONE if _launched.world() == 1 else join(make_accelerator(accelerator))


def make_accelerator(accelerator: str) -> Accelerator:
    """The accelerate front for "auto", "cpu", "gpu" or "mps", in one process or in several that were launched together.

    Raises
    ------
    OptionError
        If there is no such accelerator, or it is not here, or not for so many processes.
    """
    if not isinstance(accelerator, str) or accelerator not in ("auto", "cpu", "gpu", "mps"):
        raise OptionError(f"accelerator is {accelerator!r}; expected 'auto', 'cpu', 'gpu' or 'mps'.")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise OptionError("accelerator='gpu', but torch finds no CUDA device. Use 'auto' or 'cpu'.")
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise OptionError("accelerator='mps', but torch finds no MPS device. Use 'auto' or 'cpu'.")
    return Accelerator(cpu=_on_processors(accelerator))


def _on_processors(accelerator: str) -> bool:
    """Whether to compute on processors; accelerate alone would let each of several processes train by itself there.

    Raises
    ------
    OptionError
        If the processes that were launched cannot work together on what was asked for.
    """
    if _launched.is_alone_by_mistake():
        warn(
            "accelerate launch --cpu has started a single process, because it leaves several to mpirun. On processors "
            "start them with: torchrun --nproc-per-node 2 -m sivae fit ..."
        )
    if _launched.world() == 1:
        return accelerator == "cpu"
    if accelerator == "mps":
        raise refused(
            f"accelerator='mps' with {_launched.world()} processes; expected one, because they cannot share what they "
            "learn there. Start one process, or use accelerator='cpu'."
        )
    if accelerator == "cpu" or not torch.cuda.is_available():
        return True
    if _launched.local_world() > torch.cuda.device_count():
        raise refused(
            f"{_launched.local_world()} processes were started on a machine with {torch.cuda.device_count()} GPUs; "
            "expected one for each at most. Start fewer, or use accelerator='cpu'."
        )
    return False


def refused(words: str) -> OptionError:
    """An error that every process raises, of which the first one tells."""
    return _everywhere(OptionError(words))


def _left() -> ProcessError:
    return ProcessError(
        "This process has left the others of its training after an error; expected all of them. Start them all again."
    )


def _everywhere(error: Error) -> Error:
    error.everywhere = True
    return error


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies that share no memory, as safetensors wants them."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, SiVAEError) else f"{type(error).__name__} {error}".strip()


def _cause(error: BaseException) -> str:
    """What the library says, unless it is in many words that the connection is gone."""
    words = (str(error).splitlines() or [type(error).__name__])[0]
    return "" if "onnection" in words else f" ({words[:200]})"
