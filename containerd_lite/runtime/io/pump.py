"""The thread that moves bytes from a source to a process's FIFO, and from FIFOs to sinks.

One thread serves all streams of a process, and waits for all of them at once. A slow source does
not delay the other streams. A sink that is a descriptor does not delay the other streams, even if
the descriptor has no room. A sink that is a function can delay the other streams, because the
function runs in the thread that serves all streams.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Protocol

from ... import limits
from ...deadline import Deadline
from ...interrupt import check
from .sinks import CHUNK, SinkWriter

#: Seconds between checks whether the wait was cancelled.
_CHECK_INTERVAL = 0.1

#: Maximum number of seconds that ``stop`` waits for a sink that is a function.
_STOP_TIMEOUT = 2.0


class Flow(Protocol):
    """One stream. At the end of the stream, the pump closes it."""

    is_output: bool

    @property
    def is_stuck(self) -> bool:
        """Whether bytes wait until the sink has room."""

    def wants(self) -> tuple[int, int]:
        """Return the descriptor to wait for, and the events of poll(2) to wait for."""

    def step(self) -> bool:
        """Move some bytes without blocking. Return true if the stream has ended."""

    def stop_waiting(self) -> None:
        """Discard output instead of waiting until the sink has room."""

    def close(self) -> None:
        """Close the stream's descriptors."""
        ...


class Output:
    """A stream from a FIFO to a writer.

    When the writer has failed, all further bytes are discarded.

    Args:
        descriptor: The descriptor of the FIFO, which ``close`` closes.
        writer: The writer, which ``close`` closes.
        on_failure: A function that gets the writer's error.
    """

    is_output = True

    def __init__(
        self, descriptor: int, writer: SinkWriter, on_failure: Callable[[BaseException], object]
    ):
        self._descriptor = descriptor
        self._writer = writer
        self._on_failure = on_failure
        self._failed = False
        self._may_wait = True
        self._unwritten = memoryview(b"")

    @property
    def is_stuck(self) -> bool:
        """Whether bytes wait until the writer has room."""
        return bool(self._unwritten)

    def wants(self) -> tuple[int, int]:
        """Return the descriptor to wait for, and its event: the writer if bytes are unwritten."""
        if self._unwritten:
            return self._writer.descriptor, select.POLLOUT
        return self._descriptor, select.POLLIN

    def step(self) -> bool:
        """Write the unwritten bytes. If no bytes are unwritten, first read bytes from the FIFO.

        Return true at the end of the FIFO.
        """
        if not self._unwritten:
            try:
                data = os.read(self._descriptor, CHUNK)
            except BlockingIOError:
                return False
            if not data:
                return True
            self._unwritten = memoryview(data)
        self._write()
        return False

    def _write(self) -> None:
        try:
            while self._unwritten and not self._failed:
                self._unwritten = self._unwritten[self._writer.write(self._unwritten) :]
        except BaseException as error:
            if isinstance(error, BlockingIOError) and self._writer.descriptor >= 0:
                if self._may_wait:
                    return
                self._failed = True
            # Continue to read, and discard the bytes. A shim that cannot write the output of a
            # process delays the end of the process.
            if not self._failed:
                self._failed = True
                self._on_failure(error)
        if self._failed:
            self._unwritten = memoryview(b"")

    def stop_waiting(self) -> None:
        """Discard the bytes that wait, and all further bytes as soon as the writer has no room."""
        self._may_wait = False
        if self._unwritten:
            self._failed, self._unwritten = True, memoryview(b"")

    def close(self) -> None:
        """Close the FIFO and the writer."""
        os.close(self._descriptor)
        self._writer.close()


class Input:
    """A stream from a source to a FIFO.

    Args:
        source: The descriptor of the source, which ``close`` closes. ``read`` is called when the
            descriptor is ready. ``None`` means that ``read`` can be called at any time.
        read: A function that returns the next bytes of the source, or ``b""`` at its end.
        descriptor: The descriptor of the FIFO, which ``close`` closes.
        on_failure: A function that gets an error of the source or of the FIFO.
        finish: A function that is called after the FIFO has been closed at the end of the source.
    """

    is_output = False
    #: Always false: ``Pump.wait`` must not wait until the process reads its input, because some
    #: processes never read their input.
    is_stuck = False

    def __init__(
        self,
        source: int | None,
        read: Callable[[], bytes | memoryview],
        descriptor: int,
        on_failure: Callable[[BaseException], object],
        finish: Callable[[], object],
    ):
        self._source = source
        self._read = read
        self._descriptor = descriptor
        self._on_failure = on_failure
        self._finish = finish
        self._unwritten = memoryview(b"")

    def wants(self) -> tuple[int, int]:
        """Return the source's descriptor, or the FIFO's descriptor if there are unwritten bytes."""
        if self._unwritten or self._source is None:
            return self._descriptor, select.POLLOUT
        return self._source, select.POLLIN

    def step(self) -> bool:
        """Write the unwritten bytes. If no bytes are unwritten, first read bytes from the source.

        Return true at the end of the source, or if the FIFO has no reader any more.
        """
        try:
            if not self._unwritten:
                self._unwritten = memoryview(self._read())
                if not self._unwritten:
                    self._end_input()
                    return True
            self._unwritten = self._unwritten[os.write(self._descriptor, self._unwritten) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True  # the process has closed its stdin
        except BaseException as error:
            self._on_failure(error)
            self._end_input()
            return True
        return False

    def _end_input(self) -> None:
        """Close the FIFO, and call ``finish``, which makes the shim close the FIFO, too."""
        os.close(self._descriptor)
        self._descriptor = -1
        self._finish()

    def stop_waiting(self) -> None:
        """Do nothing, because no bytes wait for a sink."""

    def close(self) -> None:
        """Close the FIFO and the source."""
        for descriptor in (self._descriptor, self._source):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)


class Pump:
    """A thread that serves flows until they have ended, or until ``stop`` is called.

    Args:
        ends_with_outputs: Whether to stop serving the input when all outputs have ended.

    Attributes:
        on_poke: A function that the thread calls after each ``poke``.
        on_end: A function that the thread calls at its end.
    """

    def __init__(self, *, ends_with_outputs: bool = False) -> None:
        self.on_poke: Callable[[], object] = lambda: None
        self.on_end: Callable[[], object] = lambda: None
        self._ends_with_outputs = ends_with_outputs
        self._read_first = False
        self._flows: list[Flow] = []
        self._thread: threading.Thread | None = None
        self._wake_descriptor = -1
        #: The number of users of ``_wake_descriptor``: the thread and ``stop`` use the descriptor.
        #: The last user closes the descriptor.
        self._wake_users = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._stops_waiting = False
        self._drained = threading.Event()
        #: Whether the thread waits for bytes, and no bytes wait for a sink.
        self._is_quiet = False
        #: Whether bytes of an output were moved since ``wait`` last set this flag to false.
        self._progressed = False

    def add(self, flow: Flow) -> None:
        """Add a flow. Call this method before ``start``. The pump closes the flow."""
        self._flows.append(flow)

    def start(self, *, read_first: bool = False) -> None:
        """Start the thread, if there are flows.

        If ``read_first`` is true, the thread reads all outputs once before it waits for outputs.
        This first read finds the end of a FIFO that had no writer when this client opened the FIFO.
        poll(2) does not report this end.
        """
        self._read_first = read_first
        if not self._flows:
            self._drained.set()
            return
        self._wake_descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._wake_users = 2
        self._thread = threading.Thread(target=self._run, name="containerd-lite-io", daemon=True)
        self._thread.start()

    def wait(self, idle: float | None) -> bool:
        """Wait until all outputs have ended. Return false after ``idle`` seconds without output.

        The time during which bytes wait for a sink does not count.
        """
        idle = limits.seconds("idle", idle, may_be_zero=True)
        deadline = Deadline(idle)
        if self._thread is None:
            return True
        while not self._drained.wait(deadline.sooner(_CHECK_INTERVAL).remaining()):
            check()
            if self._progressed or not self._is_quiet:
                self._progressed = False
                deadline = Deadline(idle)
            elif deadline.expired:
                return False
        return True

    def poke(self) -> None:
        """Make the thread call ``on_poke``. A signal handler is allowed to call this method."""
        if self._wake_descriptor >= 0:
            os.eventfd_write(self._wake_descriptor, 1)

    def stop_waiting(self) -> None:
        """Let the thread discard output from now on instead of waiting until a sink has room."""
        self._stops_waiting = True
        self.poke()

    def finish(self) -> None:
        """Ask the thread to end, and return at once. A flow is allowed to call this method."""
        self._stopping.set()

    def stop(self) -> None:
        """End the thread, wait for its end, and close all flows."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                self.poke()
                if thread is not threading.current_thread():
                    self._join(thread)
            finally:
                self._release_wake_descriptor()
        elif not self._wake_users:
            self._close_flows()

    def _join(self, thread: threading.Thread) -> None:
        # If a sink does not return within this time, the thread closes the flows later.
        try:
            thread.join(_STOP_TIMEOUT)
        except RuntimeError:  # an interrupt ended ``start`` before the thread began
            self._drained.wait(_STOP_TIMEOUT)

    def __del__(self) -> None:
        # An interrupt can prevent the start of the thread, or a part of ``stop``.
        if self._wake_descriptor >= 0:
            os.close(self._wake_descriptor)

    def _release_wake_descriptor(self) -> None:
        with self._lock:
            self._wake_users -= 1
            if not self._wake_users:
                os.close(self._wake_descriptor)
                self._wake_descriptor = -1

    # ---- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._read_first:
                self._step_flows([flow for flow in self._flows if flow.is_output])
            while self._flows and not self._stopping.is_set():
                self._step_flows(self._wait_for_flows())
        finally:
            self._close_flows()
            try:
                self.on_end()
            finally:
                self._drained.set()
                self._release_wake_descriptor()

    def _wait_for_flows(self) -> list[Flow]:
        """Wait until at least one flow is ready, and return the flows that are ready."""
        poller = select.poll()
        poller.register(self._wake_descriptor, select.POLLIN)
        flows = {}
        for flow in self._flows:
            descriptor, events = flow.wants()
            poller.register(descriptor, events)
            flows[descriptor] = flow
        self._is_quiet = not any(flow.is_stuck for flow in self._flows)
        ready = [descriptor for descriptor, _ in poller.poll()]
        self._is_quiet = False
        if self._wake_descriptor in ready:
            os.eventfd_read(self._wake_descriptor)
            if self._stops_waiting:
                for flow in self._flows:
                    flow.stop_waiting()
            elif not self._stopping.is_set():
                self.on_poke()
        return [flows[descriptor] for descriptor in ready if descriptor in flows]

    def _step_flows(self, flows: list[Flow]) -> None:
        for flow in flows:
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
