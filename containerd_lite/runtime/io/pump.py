"""The thread that moves bytes between FIFOs and whatever is at our end of them.

What lives here: the loop and its flows.  What may not: RPCs, save those that it is told to make.

One thread serves all streams of a process, and waits for all at once: neither a slow source nor a
sink without room holds up the other streams.  A sink that is a function may: it runs here.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Protocol

from ...deadline import Deadline
from .sinks import CHUNK, SinkWriter

#: How long a function that is a sink may go on after ``stop`` (seconds); then it is left behind.
_STOP_PATIENCE = 2.0


class Flow(Protocol):
    """One stream, which the pump closes when it is over."""

    is_output: bool

    @property
    def is_stuck(self) -> bool:
        """Whether there is something for its sink, which has no room for it."""

    def wants(self) -> tuple[int, int]:
        """The descriptor to wait for, and for which of poll's events."""

    def step(self) -> bool:
        """Move what can be moved; true where the stream is over."""

    def close(self) -> None: ...


class Output:
    """From a FIFO to a writer; what a writer that failed would have had is thrown away."""

    is_output = True

    def __init__(
        self, descriptor: int, writer: SinkWriter, fail: Callable[[BaseException], object]
    ):
        self._descriptor = descriptor
        self._writer = writer
        self._fail = fail
        self._failed = False
        self._rest = memoryview(b"")

    @property
    def is_stuck(self) -> bool:
        return bool(self._rest)

    def wants(self) -> tuple[int, int]:
        if self._rest:
            return self._writer.descriptor, select.POLLOUT
        return self._descriptor, select.POLLIN

    def step(self) -> bool:
        if not self._rest:
            try:
                data = os.read(self._descriptor, CHUNK)
            except BlockingIOError:
                return False
            if not data:
                return True
            self._rest = memoryview(data)
        self._write()
        return False

    def _write(self) -> None:
        try:
            while self._rest and not self._failed:
                self._rest = self._rest[self._writer.write(self._rest) :]
        except BaseException as error:
            if isinstance(error, BlockingIOError) and self._writer.descriptor >= 0:
                return
            # Reading goes on: a shim that cannot write would hold up the end of the process.
            self._failed = True
            self._fail(error)
        if self._failed:
            self._rest = memoryview(b"")

    def close(self) -> None:
        os.close(self._descriptor)
        self._writer.close()


class Input:
    """From a source to a FIFO.

    ``read`` is called when the descriptor ``source``, if there is one, is ready; it returns no
    bytes at the end, and then ``finish`` is called.
    """

    is_output = False
    #: A process need not read.
    is_stuck = False

    def __init__(
        self,
        source: int | None,
        read: Callable[[], bytes | memoryview],
        descriptor: int,
        fail: Callable[[BaseException], object],
        finish: Callable[[], object],
    ):
        self._source = source
        self._read = read
        self._descriptor = descriptor
        self._fail = fail
        self._finish = finish
        self._rest = memoryview(b"")

    def wants(self) -> tuple[int, int]:
        if self._rest or self._source is None:
            return self._descriptor, select.POLLOUT
        return self._source, select.POLLIN

    def step(self) -> bool:
        try:
            if not self._rest:
                self._rest = memoryview(self._read())
                if not self._rest:
                    self._end()
                    return True
            self._rest = self._rest[os.write(self._descriptor, self._rest) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True  # nobody will read the rest
        except BaseException as error:
            self._fail(error)
            self._end()
            return True
        return False

    def _end(self) -> None:
        """The shim holds a writer of its own, so the end of input must be said, after ours."""
        os.close(self._descriptor)
        self._descriptor = -1
        self._finish()

    def close(self) -> None:
        for descriptor in (self._descriptor, self._source):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)


class Pump:
    """Serves flows, which belong to it, until they are over or ``stop`` is called.

    ``on_poke`` is called in the serving thread after ``poke``, ``on_end`` when nothing is served
    any more.  With ``ends_with_outputs`` input is not served when all outputs are over.
    """

    def __init__(self, *, ends_with_outputs: bool = False) -> None:
        self.on_poke: Callable[[], object] = lambda: None
        self.on_end: Callable[[], object] = lambda: None
        self._ends_with_outputs = ends_with_outputs
        self._look_first = False
        self._flows: list[Flow] = []
        self._thread: threading.Thread | None = None
        self._wake = -1
        #: The thread and ``stop`` both need the descriptor: the last closes it.
        self._users = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._drained = threading.Event()
        #: All is moved that came, and nothing came since ``_progressed`` was last cleared.
        self._is_quiet = False
        self._progressed = False

    def add(self, flow: Flow) -> None:
        """Before ``start``."""
        self._flows.append(flow)

    def start(self, *, look_first: bool = False) -> None:
        """Serve from now on, if there is something to serve.

        With ``look_first`` outputs are looked at before they are waited for: poll does not tell
        of a FIFO that nobody has written to since it was opened that nobody is there.
        """
        self._look_first = look_first
        if not self._flows:
            self._drained.set()
            return
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._users = 2
        self._thread = threading.Thread(target=self._run, name="containerd-lite-io", daemon=True)
        self._thread.start()

    def wait(self, idle: float | None) -> bool:
        """Wait until all outputs are over; false where nothing came for ``idle`` seconds.

        The time that a sink takes does not count.
        """
        patience = Deadline(idle)
        if self._thread is None:
            return True
        while not self._drained.wait(patience.remaining()):
            if self._progressed or not self._is_quiet:
                self._progressed = False
                patience = Deadline(idle)
            elif patience.expired:
                return False
        return True

    def poke(self) -> None:
        """Have ``on_poke`` called; for signal handlers, too."""
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def finish(self) -> None:
        """Serve nothing any more; from a flow."""
        self._stopping.set()

    def stop(self) -> None:
        """Serve nothing any more, and let go of all flows."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            self.poke()
            if thread is not threading.current_thread():
                # What a sink that does not come back still uses, the thread itself will close.
                thread.join(_STOP_PATIENCE)
            self._leave()
        elif not self._users:
            self._close_flows()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                os.close(self._wake)
                self._wake = -1

    # ---- the serving thread ----------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._look_first:
                self._step([flow for flow in self._flows if flow.is_output])
            while self._flows and not self._stopping.is_set():
                self._step(self._ready())
        finally:
            self._close_flows()
            try:
                self.on_end()
            finally:
                self._drained.set()
                self._leave()

    def _ready(self) -> list[Flow]:
        """Wait until something can be moved."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        waiting = {}
        for flow in self._flows:
            descriptor, events = flow.wants()
            poller.register(descriptor, events)
            waiting[descriptor] = flow
        self._is_quiet = not any(flow.is_stuck for flow in self._flows)
        found = [descriptor for descriptor, _ in poller.poll()]
        self._is_quiet = False
        if self._wake in found:
            os.eventfd_read(self._wake)
            if not self._stopping.is_set():
                self.on_poke()
        return [waiting[descriptor] for descriptor in found if descriptor in waiting]

    def _step(self, ready: list[Flow]) -> None:
        for flow in ready:
            if self._stopping.is_set():
                break
            if flow.step():
                self._flows.remove(flow)
                flow.close()
            self._progressed |= flow.is_output
        if not any(flow.is_output for flow in self._flows):
            (self._stopping if self._ends_with_outputs else self._drained).set()

    def _close_flows(self) -> None:
        flows, self._flows = self._flows, []
        for flow in flows:
            flow.close()
