"""The streams of a process: pipes, files and descriptors as in ``subprocess``, and functions."""

from __future__ import annotations

import errno
import io
import os
import select
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from ...arguments import is_binary
from ...errors import InvalidArgument, NotFound
from ...interrupt import check
from ...limits import refused
from ...pipes import duplicate
from ...services.tasks import Stdio
from ...undo import Undo
from .base import StreamedProcess
from .ends import FoundEnds, NewEnds
from .fifos import open_output
from .pump import Input, Output, Pump
from .served import Served, nothing, quietly
from .sinks import CHUNK, Target, descriptor_of, discard, writer_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: A pipe between the process and the caller. ``subprocess.PIPE`` is the same number.
PIPE = -1
#: A target of stderr: the error output goes to the target of stdout. ``subprocess.STDOUT`` is the
#: same number.
STDOUT = -2
#: No input, or discarded output. ``subprocess.DEVNULL`` is the same number.
DEVNULL = -3
#: This Python process's own stream of the same name.
INHERIT = -4

#: Seconds between checks whether a process that does not read its input has ended.
_POLL_INTERVAL = 0.1

#: Source of input: bytes, a binary file or a descriptor.
Source = bytes | BinaryIO | int


class Streams(Served):
    """The streams of a process: pipes, files, descriptors and functions.

    One thread serves all streams. If a file has a descriptor, the thread uses the descriptor, as
    ``subprocess`` does. If a file has no descriptor, the thread calls the methods of the file. If a
    target is a function, the thread calls the function.

    If the process has a terminal, all output is on stdout. At the end of the input, a process with
    a terminal gets a Ctrl-D. If the input of such a process is a ``PIPE``, closing the pipe hangs
    up the terminal, and the process gets no Ctrl-D.

    Args:
        stdin: Source of the input: bytes, a binary file, a descriptor, ``INHERIT``, ``PIPE`` or
            ``DEVNULL``. The source is read to its end. Default: no input.
        stdout: Target of the output: a function that gets bytes, a binary file, a descriptor,
            ``INHERIT``, ``PIPE`` or ``DEVNULL``. Default: the output is discarded.
        stderr: Target of the error output: any target that ``stdout`` accepts, or ``STDOUT``.
            Default: the error output is discarded.
        terminal: Whether the process has a terminal.
        ends: The FIFOs of a running process. Only ``attach`` uses this argument. Default: new
            FIFOs.

    Attributes:
        stdin: If the input is a ``PIPE``: an unbuffered file to write the input to. Closing this
            file ends the input. ``None`` before ``start``, or if the input is not a ``PIPE``.
        stdout: If the output is a ``PIPE``: a file to read the output from. ``None`` before
            ``start``, or if the output is not a ``PIPE``.
        stderr: If the error output is a ``PIPE``: a file to read the error output from. ``None``
            before ``start``, or if the error output is not a ``PIPE``.

    Raises:
        InvalidArgument: A source or a target cannot be used.
        PermissionDenied: This user has no permission to write to the folder for FIFOs.
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
        check_source("stdin", stdin)
        check_target("stdout", stdout)
        check_target("stderr", stderr)
        self.stdin: io.FileIO | None = None
        self.stdout: BinaryIO | None = None
        self.stderr: BinaryIO | None = None
        self._source = (
            None if _is_number(stdin, DEVNULL) else 0 if _is_number(stdin, INHERIT) else stdin
        )
        targets = _resolve_targets(stdout, stderr, terminal)
        #: The descriptors that ``close`` must close. Each key is the name of a stream, or
        #: ``"source"`` for the source of the input.
        self._descriptors: dict[str, int] = {}
        self._pipe_names: list[str] = []
        self._drain_pump = Pump()
        super().__init__(ends, Pump())
        with Undo(self.close):
            # First duplicate the caller's descriptors. This call fails if the caller has closed a
            # descriptor. Later, the number of a closed descriptor could belong to a new file.
            self._duplicate(targets)
            if ends is None:
                self._ends = _new_ends(self._source, targets, terminal)
            self._open_fifos(targets)

    def _duplicate(self, targets: dict[str, Target]) -> None:
        """Duplicate the source's descriptor, and make the writers for the targets."""
        original = None if _is_number(self._source, PIPE) else descriptor_of(self._source)
        if original is not None:
            self._descriptors["source"] = duplicate(original)
        for name, named_target in targets.items():
            target = targets["stdout"] if _is_number(named_target, STDOUT) else named_target
            if not _is_number(target, PIPE):
                self._writers[name] = writer_of(discard if _is_number(target, DEVNULL) else target)

    def _open_fifos(self, targets: dict[str, Target]) -> None:
        for name, path in self._ends.outputs.items():
            if _is_number(targets[name], PIPE):
                self._descriptors[name] = open_output(path)
                self._pipe_names.append(name)
            elif name in self._writers:
                self._add_output(name, path)
            else:
                raise InvalidArgument(
                    "the process has two outputs, and one PIPE cannot receive both",
                    remedy="Give stderr its own target",
                )
        if self._source is not None and self._ends.is_attached:
            self._descriptors["stdin"] = self._ends.open_input()

    def start(self, process: StreamedProcess) -> None:
        """Begin to serve the streams, and open the ``PIPE``s.

        Call this method once, after the start of the process.

        Args:
            process: The process that the streams belong to.
        """
        if self._source is not None:
            self._start_input(self._source, process)
        if "stdout" in self._descriptors:
            self.stdout = _blocking_file(self._descriptors.pop("stdout"))
        if "stderr" in self._descriptors:
            self.stderr = _blocking_file(self._descriptors.pop("stderr"))
        super().start(process)

    def _start_input(self, source: Source, process: StreamedProcess) -> None:
        finish = quietly(process.close_io)
        if "stdin" not in self._descriptors:
            self._descriptors["stdin"] = self._ends.open_input()
        fifo = self._descriptors.pop("stdin")
        if _is_number(source, PIPE):
            self.stdin = _InputPipe(fifo, finish, process.poll)
            return
        descriptor = self._descriptors.pop("source", None)
        read = _chunk_reader(source, descriptor)
        if self.stdio.terminal:
            read, finish = _append_ctrl_d(read), nothing
        self._pump.add(Input(descriptor, read, fifo, self._set_failure, finish))

    def drain(self) -> None:
        """Read and discard all further output of each ``PIPE``.

        Otherwise the shim could wait for a caller that does not read any more.
        """
        for name in self._pipe_names:
            with suppress(NotFound):
                descriptor = open_output(self._ends.outputs[name])
                self._drain_pump.add(Output(descriptor, writer_of(discard), _ignore_error))
        self._pipe_names.clear()
        self._drain_pump.start()

    def close(self) -> None:
        """Stop serving the streams, close the ``PIPE``s, and remove the FIFOs.

        The FIFOs stay if another program has made them. The FIFOs of a process that still runs also
        stay if ``attach`` has made these streams.
        """
        if isinstance(self.stdin, _InputPipe):
            self.stdin.finish = nothing
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                file.close()
        descriptors, self._descriptors = self._descriptors, {}
        for descriptor in descriptors.values():
            os.close(descriptor)
        self._drain_pump.stop()
        super().close()

    def __enter__(self) -> Streams:
        return self


def attach(
    stdio: Stdio,
    stdin: Source | None = None,
    stdout: Target | None = None,
    stderr: Target | None = None,
) -> Streams:
    """Attach to the streams of a running process.

    The output begins with the bytes that no client has read yet. While no client reads, no output
    is lost, because the process waits when its FIFO is full. Closing the streams does not affect a
    process that still runs, and clients can attach to the process again.

    Args:
        stdio: The paths of the process's FIFOs: ``process.status().stdio``.
        stdin: Source of the input; see ``Streams``. Default: no input.
        stdout: Target of the output; see ``Streams``. Default: the output is discarded.
        stderr: Target of the error output; see ``Streams``. Default: the error output is
            discarded.

    Returns:
        The streams. Call the method ``start`` of the streams to begin.

    Raises:
        FailedPrecondition: The process has no FIFOs or has closed its input, or another client of
            this package serves the process.
        InvalidArgument: A source or a target cannot be used.
        NotFound: The FIFOs do not exist any more.
    """
    ends = FoundEnds(stdio)
    with Undo(lambda: ends.close(keep=True)):
        return Streams(stdin, stdout, stderr, terminal=stdio.terminal, ends=ends)


class _InputPipe(io.FileIO):
    """The file to which the caller writes the input. Closing the file calls ``finish``.

    After the process has ended, the shim keeps the FIFO open, but does not read it. A write to a
    full FIFO would then wait for ever. Therefore ``write`` calls ``poll`` while it waits for room.
    If the process has ended, ``write`` raises ``BrokenPipeError``, as for any pipe without a
    reader.
    """

    def __init__(
        self, descriptor: int, finish: Callable[[], object], poll: Callable[[], object | None]
    ) -> None:
        super().__init__(descriptor, "wb")
        self.finish = finish
        self._poll = poll

    def write(self, data: Buffer) -> int:
        """Write all of the data, and return its size in bytes. Wait for room if necessary."""
        view = memoryview(data).cast("B")
        size = len(view)
        while view:
            written = super().write(view)
            view = view[written or 0 :]
            if not written and not self._has_room():
                check()
                if self._poll() is not None:
                    raise BrokenPipeError(errno.EPIPE, "the process has ended")
        return size

    def _has_room(self) -> bool:
        poller = select.poll()
        poller.register(self.fileno(), select.POLLOUT)
        return bool(poller.poll(_POLL_INTERVAL * 1000))

    def close(self) -> None:
        if not self.closed:
            super().close()
            self.finish()

    def __del__(self) -> None:
        self.finish = nothing  # garbage collection must not cause a request to the daemon
        super().__del__()


def _ignore_error(error: BaseException) -> None:
    """Do nothing, because errors of discarded output do not matter."""


def _is_number(value: object, *numbers: int) -> bool:
    return isinstance(value, int) and value in numbers


def _append_ctrl_d(read: Callable[[], bytes]) -> Callable[[], bytes]:
    """Return a function that does the same as ``read``, but returns Ctrl-D at the end of the input.

    For a program that reads from a terminal, only Ctrl-D marks the end of the input.
    """
    end = iter((b"\x04",))
    return lambda: read() or next(end, b"")


def _blocking_file(descriptor: int) -> BinaryIO:
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def _resolve_targets(
    stdout: Target | None, stderr: Target | None, terminal: bool
) -> dict[str, Target]:
    """Return the targets, by the name of the stream.

    ``None`` becomes ``DEVNULL``, and ``INHERIT`` becomes the descriptor 1 or 2.
    """
    out = DEVNULL if stdout is None else 1 if _is_number(stdout, INHERIT) else stdout
    err = DEVNULL if stderr is None else 2 if _is_number(stderr, INHERIT) else stderr
    if _is_number(out, STDOUT):
        raise InvalidArgument("stdout cannot be STDOUT", remedy="Use STDOUT for stderr= only")
    if terminal and not _is_number(err, DEVNULL, STDOUT):
        raise InvalidArgument(
            "a process with a terminal has no stderr",
            remedy="Leave out stderr=: all output is on stdout",
        )
    return {"stdout": out, "stderr": err}


def _new_ends(source: Source | None, targets: dict[str, Target], terminal: bool) -> NewEnds:
    names = ["stdin"] if source is not None else []
    if terminal or not _is_number(targets["stdout"], DEVNULL):
        names.append("stdout")
    if not _is_number(targets["stderr"], DEVNULL, STDOUT):
        names.append("stderr")
    return NewEnds(names, terminal=terminal, joined=_is_number(targets["stderr"], STDOUT))


def check_source(name: str, source: object) -> None:
    """Raise ``InvalidArgument`` for a source that cannot be read."""
    is_bytes = isinstance(source, bytes | bytearray | memoryview)
    if not (source is None or is_bytes or isinstance(source, int) or is_binary(source, "read")):
        raise refused(name, source, "bytes, an open binary file, a descriptor, PIPE or DEVNULL")


def check_target(name: str, target: object) -> None:
    """Raise ``InvalidArgument`` for a target that cannot be written."""
    is_file = is_binary(target, "write")
    if not (target is None or callable(target) or isinstance(target, int) or is_file):
        raise refused(
            name, target, "an open binary file, a function, a descriptor, PIPE or DEVNULL"
        )


def _chunk_reader(source: Source, descriptor: int | None) -> Callable[[], bytes]:
    """Return a function that returns the next bytes of the source, or ``b""`` at its end."""
    if descriptor is not None:
        return lambda: os.read(descriptor, CHUNK)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return iter((bytes(source), b"")).__next__
    if isinstance(source, int):
        raise InvalidArgument(f"{source} is not a descriptor", remedy="Give a binary file or PIPE")
    return lambda: source.read(CHUNK)
