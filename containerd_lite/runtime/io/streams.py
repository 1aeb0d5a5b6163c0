"""The streams of a process as ``subprocess`` has them: pipes, files, descriptors, functions.

What lives here: which of them is whose.  What may not: terminals of ours.
"""

from __future__ import annotations

import errno
import io
import os
import select
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from ...errors import InvalidArgument, NotFound
from ...services.tasks import Stdio
from ...undo import Undo
from .base import StreamedProcess
from .ends import FoundEnds, NewEnds
from .fifos import open_output
from .pump import Input, Output, Pump
from .served import Served, nothing, quietly
from .sinks import CHUNK, Target, descriptor_of, discard, duplicate, writer_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: The numbers of subprocess, which may be given as well.
PIPE = -1
STDOUT = -2
DEVNULL = -3
#: This process's own stream.
INHERIT = -4

#: How often to look whether a process has ended that does not read its input (seconds).
_LOOK = 0.1

#: What can be read from: bytes, a binary file, a descriptor.
Source = bytes | BinaryIO | int


class Streams(Served):
    """The streams of a process.

    ``stdin`` is ``None`` or ``DEVNULL`` for none, bytes, a binary file or a descriptor to read to
    the end, ``INHERIT``, or ``PIPE`` for a raw file ``stdin`` to write to, whose closing is the
    end of input.  ``stdout`` and ``stderr`` are ``None`` or ``DEVNULL`` to be thrown away, a
    function of bytes, a binary file, a descriptor, ``INHERIT``, or ``PIPE`` for a file to read;
    ``stderr`` may be ``STDOUT``.  Those files are there from ``start`` to ``close``.

    A file that has a descriptor is used by that, as subprocess does.  Functions, and files
    without, run in the serving thread.  A process with a ``terminal`` has no stderr of its own;
    the end of its input is a Ctrl-D, or, where it was a ``PIPE``, a hang-up.  ``ends`` are for
    ``attach``.

    Raises ``InvalidArgument``, ``PermissionDenied``.
    """

    def __init__(
        self,
        stdin: Source | None = None,
        stdout: Target | None = None,
        stderr: Target | None = None,
        *,
        terminal: bool = False,
        ends: NewEnds | None = None,
    ) -> None:
        self.stdin: io.FileIO | None = None
        self.stdout: BinaryIO | None = None
        self.stderr: BinaryIO | None = None
        self._source = None if _is(stdin, DEVNULL) else 0 if _is(stdin, INHERIT) else stdin
        targets = _targets(stdout, stderr, terminal)
        #: Descriptors that nobody else closes yet, by what they are.
        self._held: dict[str, int] = {}
        self._pipes: list[str] = []
        self._drain = Pump()
        super().__init__(ends, Pump())
        with Undo(self.close):
            # First what was given: a number that is free may soon be one of ours.
            self._take(targets)
            if ends is None:
                self._ends = _new_ends(self._source, targets, terminal)
            self._open(targets)

    def _take(self, targets: dict[str, Target]) -> None:
        given = None if _is(self._source, PIPE) else descriptor_of(self._source)
        if given is not None:
            self._held["source"] = duplicate(given)
        for name, given_target in targets.items():
            target = targets["stdout"] if _is(given_target, STDOUT) else given_target
            if not _is(target, PIPE):
                self._writers[name] = writer_of(discard if _is(target, DEVNULL) else target)

    def _open(self, targets: dict[str, Target]) -> None:
        for name, path in self._ends.outputs.items():
            if _is(targets[name], PIPE):
                self._held[name] = open_output(path)
                self._pipes.append(name)
            elif name in self._writers:
                self._add_output(name, path)
            else:
                raise InvalidArgument(
                    "the process has two outputs, which one pipe cannot take",
                    remedy="Give stderr a target of its own",
                )
        if self._source is not None and self._ends.is_attached:
            self._held["stdin"] = self._ends.open_input()

    def start(self, process: StreamedProcess) -> None:
        """Serve the streams of a process that has been started."""
        if self._source is not None:
            self._start_input(self._source, process)
        if "stdout" in self._held:
            self.stdout = _blocking(self._held.pop("stdout"))
        if "stderr" in self._held:
            self.stderr = _blocking(self._held.pop("stderr"))
        super().start(process)

    def _start_input(self, source: Source, process: StreamedProcess) -> None:
        finish = quietly(process.close_io)
        if "stdin" not in self._held:
            self._held["stdin"] = self._ends.open_input()
        descriptor = self._held.pop("stdin")
        if _is(source, PIPE):
            self.stdin = _InputPipe(descriptor, finish, process.poll)
            return
        given = self._held.pop("source", None)
        read = _reader(source, given)
        if self.stdio.terminal:
            read, finish = _typed(read), nothing
        self._pump.add(Input(given, read, descriptor, self._fail, finish))

    def drain(self) -> None:
        """Throw away what comes by the ``PIPE``s from now on, for nobody may read it."""
        for name in self._pipes:
            with suppress(NotFound):
                descriptor = open_output(self._ends.outputs[name])
                self._drain.add(Output(descriptor, writer_of(discard), _ignore))
        self._pipes.clear()
        self._drain.start()

    def close(self) -> None:
        """Stop serving, close our files, and remove the FIFOs, unless others made them."""
        if isinstance(self.stdin, _InputPipe):
            self.stdin.finish = nothing
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                file.close()
        held, self._held = self._held, {}
        for descriptor in held.values():
            os.close(descriptor)
        self._drain.stop()
        super().close()

    def __enter__(self) -> Streams:
        return self


def attach(
    stdio: Stdio,
    stdin: Source | None = None,
    stdout: Target | None = None,
    stderr: Target | None = None,
) -> Streams:
    """The streams of a process that runs already, by what ``TaskService.get`` says of it.

    The arguments are those of ``Streams``; closing them leaves a process that goes on as it is,
    for others to attach to.  Output that nobody took before comes first, as much as a FIFO holds.

    Raises ``FailedPrecondition`` where the process has no FIFOs, has closed its input, or is
    served by another client of this kind, and ``NotFound`` where its FIFOs are gone.
    """
    return Streams(stdin, stdout, stderr, terminal=stdio.terminal, ends=FoundEnds(stdio))


class _InputPipe(io.FileIO):
    """Our end of stdin; ``finish`` is called once it is closed by its user.

    The shim keeps the FIFO open when the process has ended, and reads no more: whoever waits for
    room then asks ``poll`` for its end, which is a ``BrokenPipeError`` here as with any pipe.
    """

    def __init__(
        self, descriptor: int, finish: Callable[[], object], poll: Callable[[], object | None]
    ) -> None:
        super().__init__(descriptor, "wb")
        self.finish = finish
        self._poll = poll

    def write(self, data: Buffer) -> int:
        """All of it, however long that takes."""
        view = memoryview(data).cast("B")
        size = len(view)
        while view:
            written = super().write(view)
            view = view[written or 0 :]
            if not written and not self._has_room() and self._poll() is not None:
                raise BrokenPipeError(errno.EPIPE, "the process has ended")
        return size

    def _has_room(self) -> bool:
        poller = select.poll()
        poller.register(self.fileno(), select.POLLOUT)
        return bool(poller.poll(_LOOK * 1000))

    def close(self) -> None:
        if not self.closed:
            super().close()
            self.finish()

    def __del__(self) -> None:
        self.finish = nothing  # no RPC while garbage is collected
        super().__del__()


def _ignore(error: BaseException) -> None:
    """What is thrown away cannot fail."""


def _is(given: object, *numbers: int) -> bool:
    return isinstance(given, int) and given in numbers


def _typed(read: Callable[[], bytes]) -> Callable[[], bytes]:
    """A terminal's input has an end only where somebody types it: Ctrl-D, at a line's beginning."""
    end = iter((b"\x04",))
    return lambda: read() or next(end, b"")


def _blocking(descriptor: int) -> BinaryIO:
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def _targets(stdout: Target | None, stderr: Target | None, terminal: bool) -> dict[str, Target]:
    """Where outputs go, none of them ``None`` or ``INHERIT``."""
    out = DEVNULL if stdout is None else 1 if _is(stdout, INHERIT) else stdout
    err = DEVNULL if stderr is None else 2 if _is(stderr, INHERIT) else stderr
    if _is(out, STDOUT):
        raise InvalidArgument("stdout=STDOUT means nothing", remedy="It is for stderr")
    if terminal and not _is(err, DEVNULL, STDOUT):
        raise InvalidArgument(
            "a process with a terminal has no stderr", remedy="All of its output is on stdout"
        )
    return {"stdout": out, "stderr": err}


def _new_ends(source: Source | None, targets: dict[str, Target], terminal: bool) -> NewEnds:
    names = ["stdin"] if source is not None else []
    if terminal or not _is(targets["stdout"], DEVNULL):
        names.append("stdout")
    if not _is(targets["stderr"], DEVNULL, STDOUT):
        names.append("stderr")
    return NewEnds(names, terminal=terminal, joined=_is(targets["stderr"], STDOUT))


def _reader(source: Source, descriptor: int | None) -> Callable[[], bytes]:
    """Reads a chunk; of bytes, all of them at once."""
    if descriptor is not None:
        return lambda: os.read(descriptor, CHUNK)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return iter((bytes(source), b"")).__next__
    if isinstance(source, int):
        raise InvalidArgument(f"{source} is no descriptor", remedy="Give a binary file, or PIPE")
    return lambda: source.read(CHUNK)
