"""A process that uses the terminal that this program runs in.

What lives here: its two streams, its size, and leaving it.  What may not: terminal modes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from ...errors import ContainerdError, FailedPrecondition
from ...services.tasks import Stdio
from ...undo import Undo
from .base import StreamedProcess
from .detach import DetachKeys
from .ends import FoundEnds, NewEnds
from .local import LocalTerminal
from .pump import Input, Pump
from .served import Served, nothing
from .sinks import CHUNK, duplicate, writer_of

DETACH_KEYS = "ctrl-p,ctrl-q"
#: What ends the input of a program that reads a terminal (Ctrl-D).
_END = b"\x04"


class Terminal(Served):
    """The streams of a process that has a terminal: ours, while it is served.

    ``input_fd`` is made raw from ``start`` until serving ends, and tells the process its size, if
    it is a terminal; the end of something else is typed as Ctrl-D.  Changes of the size are seen
    where ``start`` is called in the main thread.

    ``detach_keys`` (as docker's; ``""`` for none) end serving with ``detached`` true; then
    ``on_detach`` is called in the serving thread, and ``wait`` ends.  The process goes on, and its
    FIFOs stay for those who attach to it until ``discard_fifos`` is called when it is deleted.

    Raises ``InvalidArgument``, ``PermissionDenied``.
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
        self._keys = DetachKeys(detach_keys)
        self._process: StreamedProcess | None = None
        self._local: LocalTerminal | None = None
        #: Descriptors that nobody else closes yet: what is typed, and where it goes.
        self._source = self._input = -1
        self._last = iter((_END,))
        super().__init__(ends, Pump(ends_with_outputs=True))
        with Undo(self.close):
            self._local = LocalTerminal(input_fd, output_fd)
            self._source = duplicate(input_fd)
            self._writers["stdout"] = writer_of(output_fd)
            if ends is None:
                self._ends = NewEnds(("stdin", "stdout"), terminal=True)
            self._add_output("stdout", self._ends.stdio.stdout)
            if self._ends.is_attached:
                self._input = self._ends.open_input()

    def start(self, process: StreamedProcess) -> None:
        """Serve the process, which has been started, and tell it its size."""
        if self._local is None:
            raise FailedPrecondition("these streams are closed", remedy="Make new ones")
        self._process = process
        descriptor = self._input if self._input >= 0 else self._ends.open_input()
        self._pump.add(Input(self._source, self._read, descriptor, self._fail, nothing))
        self._typed, self._source, self._input = self._source, -1, -1
        self._pump.on_poke = self._resize
        self._pump.on_end = self._end
        self._local.watch(self._pump.poke)
        self._local.make_raw()
        super().start(process)
        self._pump.poke()

    def close(self) -> None:
        """Stop serving, give the terminal back, and remove the FIFOs, unless others need them."""
        try:
            super().close()
        finally:
            local, self._local = self._local, None
            if local is not None:
                local.close()
            for descriptor in (self._source, self._input):
                if descriptor >= 0:
                    os.close(descriptor)
            self._source = self._input = -1

    def __enter__(self) -> Terminal:
        return self

    # ---- the serving thread ----------------------------------------------------------------

    def _read(self) -> bytes:
        """What was typed for the process; no bytes when that is over."""
        data = os.read(self._typed, CHUNK)
        if not data:
            return self._keys.rest() + next(self._last, b"")
        passed = self._keys.feed(data)
        if self._keys.found:
            self.detached = True
            self._pump.finish()
        if not passed:
            raise BlockingIOError  # nothing yet
        return passed

    def _resize(self) -> None:
        size = self._local.size() if self._local is not None else None
        if self._process is not None and size is not None:
            with suppress(ContainerdError):  # a process that has ended needs none
                self._process.resize(*size)

    def _end(self) -> None:
        if self._local is not None:
            self._local.restore()
        if self.detached:
            self.on_detach()


def attach_terminal(
    stdio: Stdio, input_fd: int = 0, output_fd: int = 1, detach_keys: str = DETACH_KEYS
) -> Terminal:
    """Our terminal for a process that runs already, by what ``TaskService.get`` says of it.

    The other arguments are those of ``Terminal``, the errors those of ``attach`` as well;
    ``FailedPrecondition`` is also for a process without a terminal.
    """
    if not stdio.terminal:
        raise FailedPrecondition(
            "the process has no terminal", remedy="Attach to its streams with attach()"
        )
    return Terminal(input_fd, output_fd, detach_keys, ends=FoundEnds(stdio))
