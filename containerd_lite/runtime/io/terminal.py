"""The streams of a process that uses this program's terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from ...errors import ContainerdError, FailedPrecondition
from ...pipes import duplicate
from ...services.tasks import Stdio
from ...undo import Undo
from .base import StreamedProcess
from .detach import DetachKeys
from .ends import FoundEnds, NewEnds
from .local import LocalTerminal
from .pump import Input, Pump
from .served import Served, nothing
from .sinks import CHUNK, writer_of

#: The default key sequence that detaches from a process.
DETACH_KEYS = "ctrl-p,ctrl-q"
#: The character Ctrl-D, which ends the input of a program that reads from a terminal.
_CTRL_D = b"\x04"


class Terminal(Served):
    """The streams of a process that uses this program's terminal.

    ``start`` puts this program's terminal into raw mode, and gives the process's terminal the same
    size. The raw mode ends at the end of the process's output, or when the user detaches. Later
    changes of the size are passed on only if the main thread has called ``start``. If the input is
    not a terminal, the process gets a Ctrl-D at the end of the input.

    The user detaches by typing the detach keys. After the user has detached, ``wait`` returns, and
    the process continues to run. The FIFOs of the process stay, so that clients can attach to the
    process. ``discard_fifos`` removes the FIFOs after the process has been deleted.

    Args:
        input_fd: Descriptor of the input. Default: this program's stdin.
        output_fd: Descriptor of the output. Default: this program's stdout.
        detach_keys: The detach keys in Docker's notation (``"ctrl-a,d"``). ``""`` means that the
            user cannot detach. Default: ``"ctrl-p,ctrl-q"``.
        ends: The FIFOs of a running process. Only ``attach_terminal`` uses this argument. Default:
            new FIFOs.

    Attributes:
        detached: Whether the user has typed the detach keys.
        on_detach: A function that is called when the user has typed the detach keys, in the thread
            that serves the streams.

    Raises:
        InvalidArgument: A descriptor or a key is not valid.
        PermissionDenied: This user has no permission to write to the folder for FIFOs.
    """

    def __init__(
        self,
        input_fd: int = 0,
        output_fd: int = 1,
        detach_keys: str = DETACH_KEYS,
        *,
        ends: NewEnds | None = None,
    ) -> None:
        self.on_detach: Callable[[], object] = lambda: None
        self._detach_keys = DetachKeys(detach_keys)
        self._process: StreamedProcess | None = None
        self._local: LocalTerminal | None = None
        #: The descriptors of the terminal's input and of stdin's FIFO. ``close`` must close each of
        #: the two descriptors, unless it is -1.
        self._keyboard = self._fifo = -1
        self._end_of_input = iter((_CTRL_D,))
        super().__init__(ends, Pump(ends_with_outputs=True))
        with Undo(self.close):
            self._local = LocalTerminal(input_fd, output_fd)
            self._keyboard = duplicate(input_fd)
            self._writers["stdout"] = writer_of(output_fd)
            if ends is None:
                self._ends = NewEnds(("stdin", "stdout"), terminal=True)
            self._add_output("stdout", self._ends.stdio.stdout)
            if self._ends.is_attached:
                self._fifo = self._ends.open_input()

    def start(self, process: StreamedProcess) -> None:
        """Begin to serve the streams, and set the size of the process's terminal.

        Call this method once, after the start of the process.

        Args:
            process: The process that the streams belong to.

        Raises:
            FailedPrecondition: The streams are closed.
        """
        if self._local is None:
            raise FailedPrecondition("these streams are closed", remedy="Make a new Terminal")
        self._process = process
        fifo = self._fifo if self._fifo >= 0 else self._ends.open_input()
        self._pump.add(Input(self._keyboard, self._read, fifo, self._set_failure, nothing))
        self._served_keyboard, self._keyboard, self._fifo = self._keyboard, -1, -1
        self._pump.on_poke = self._resize
        self._pump.on_end = self._end_serving
        self._local.watch(self._pump.poke)
        self._local.make_raw()
        super().start(process)
        self._pump.poke()

    def close(self) -> None:
        """Stop serving the streams, restore the terminal, and remove the FIFOs.

        The FIFOs stay if another program has made them. The FIFOs of a process that still runs also
        stay if the user has detached, or if ``attach_terminal`` has made these streams.
        """
        try:
            super().close()
        finally:
            local, self._local = self._local, None
            if local is not None:
                local.close()
            for descriptor in (self._keyboard, self._fifo):
                if descriptor >= 0:
                    os.close(descriptor)
            self._keyboard = self._fifo = -1

    def __enter__(self) -> Terminal:
        return self

    # ---- called by the thread that serves the streams --------------------------------------

    def _read(self) -> bytes:
        """Return the next bytes for the process, or ``b""`` at the end of the input.

        Raise ``BlockingIOError`` if all bytes that were read are held back or belong to the detach
        keys.
        """
        data = os.read(self._served_keyboard, CHUNK)
        if not data:
            return self._detach_keys.rest() + next(self._end_of_input, b"")
        passed = self._detach_keys.feed(data)
        if self._detach_keys.found:
            self.detached = True
            self._pump.finish()
        if not passed:
            raise BlockingIOError
        return passed

    def _resize(self) -> None:
        size = self._local.size() if self._local is not None else None
        if self._process is not None and size is not None:
            with suppress(ContainerdError):  # the process may have ended
                self._process.resize(*size)

    def _end_serving(self) -> None:
        if self._local is not None:
            self._local.restore()
        if self.detached:
            self.on_detach()


def attach_terminal(
    stdio: Stdio, input_fd: int = 0, output_fd: int = 1, detach_keys: str = DETACH_KEYS
) -> Terminal:
    """Connect a running process to this program's terminal.

    Args:
        stdio: The paths of the process's FIFOs: ``process.status().stdio``.
        input_fd: Descriptor of the input. Default: this program's stdin.
        output_fd: Descriptor of the output. Default: this program's stdout.
        detach_keys: The detach keys; see ``Terminal``. Default: ``"ctrl-p,ctrl-q"``.

    Returns:
        The streams. Call the method ``start`` of the streams to begin.

    Raises:
        FailedPrecondition: The process has no terminal, has no FIFOs, or has closed its input, or
            another client of this package serves the process.
        InvalidArgument: A descriptor or a key is not valid.
        NotFound: The FIFOs do not exist any more.
    """
    if not stdio.terminal:
        raise FailedPrecondition(
            "the process has no terminal", remedy="Attach to the process with attach()"
        )
    ends = FoundEnds(stdio)
    with Undo(lambda: ends.close(keep=True)):
        return Terminal(input_fd, output_fd, detach_keys, ends=ends)
