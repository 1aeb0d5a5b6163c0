"""Runs one transfer: opens its streams, reports its progress, and stops it if it stalls.

When a transfer has ended, with or without an error, the daemon ends the progress stream. After a
failure, ``Run`` waits for the end of this stream, so that the daemon writes nothing while the
caller cleans up. Each wait for the daemon is divided into short slices. Between two slices, ``Run``
checks whether the transfer has ended, was stopped or has stalled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from ...deadline import Deadline
from ...errors import Aborted, Cancelled, ContainerdError, DeadlineExceeded, RegistryUnavailable
from ...interrupt import shielded
from ...oci import digest as digests
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...pipes import readable
from ...progress import ProgressEvent, Stage
from ...services._base import MessageStream
from ...services._types import AnyValue
from ...services.streaming import ByteReader, ByteWriter, Stream, StreamingService
from ...services.transfer import Transferable, TransferOptions, TransferService
from ...services.transfer_types import Progress, transfer_value
from ...workers import result_when_done
from ..archive.destination import write_all
from ..job import Job
from .pulled_content import PulledContent

if TYPE_CHECKING:
    from typing_extensions import Self

_T = TypeVar("_T")

#: Minimum transfer rate to or from a registry in bytes per second, averaged over the stall timeout.
LEAST_RATE = 100.0
#: The daemon may take this many times the stall timeout for work whose progress it does not report,
#: such as unpacking.
QUIET_FACTOR = 10
#: Seconds of one slice of a wait, and seconds that the daemon may take to end a stopped transfer.
_SLICE, _STOP_TIMEOUT = 1.0, 10.0
#: Bytes of an archive that are read at a time.
_PIECE = 64 << 10

_STAGES: dict[str, Stage] = {
    "waiting": "waiting",
    "resolving": "resolving",
    "downloading": "downloading",
    "uploading": "uploading",
    "exists": "exists",
    "already exists": "exists",
    "extracting": "unpacking",
    "extracted": "unpacked",
}
#: The media types of documents by their names in events, for daemons that send no descriptors.
_DOCUMENTS = {"manifest": media_types.OCI_MANIFEST, "index": media_types.OCI_INDEX}
#: Stages in which an object still has bytes to transfer.
_UNFINISHED = frozenset({"waiting", "resolving", "downloading", "uploading"})


class ProgressTracker:
    """Tracks the progress of a transfer, and passes it on to the job as events.

    Args:
        job: The job that the transfer is part of.
        name: The name to report if an event from the daemon has no name.
        complete: The stage to report for the daemon's event ``complete``.
        min_bytes: How many bytes must move before the transfer counts as having advanced.
        saved: A list to which the names of the images are added that the daemon has saved.
            Default: a new list.
        content: Looks up the content of the image that the daemon pulls. Default: the tracker does
            not know content that the daemon has not reported.
    """

    def __init__(
        self,
        job: Job,
        name: str,
        complete: Stage,
        min_bytes: float,
        *,
        saved: list[str] | None = None,
        content: PulledContent | None = None,
    ) -> None:
        self.job = job
        self.saved: list[str] = [] if saved is None else saved
        self.name = name
        self._stages: dict[str, Stage] = {**_STAGES, "complete": complete}
        self._min_bytes = min_bytes
        #: Bytes that have moved since the transfer last advanced.
        self._moved = 0
        self._is_resolving = True
        #: The last stage and offset of each object.
        self._positions: dict[str, tuple[str, int]] = {}
        self._unfinished: set[str] = set()
        self._content = content if job.progress is not None else None
        #: The manifests and indexes whose children are not known yet, by their names in events.
        self._documents: dict[str, Descriptor] = {}
        #: The digests of content that this tracker has reported as ``waiting``.
        self._expected: set[str] = set()

    @property
    def is_fetching(self) -> bool:
        """Whether the transfer waits for a registry, not for a disk."""
        return self._is_resolving or bool(self._unfinished)

    def report(self, value: AnyValue) -> bool:
        """Report a value from the progress stream; return whether the transfer has advanced.

        A transfer advances if an object reaches another stage, if enough bytes have moved, or if
        the daemon sends a message that belongs to no object.
        """
        update = self.read(value)
        if update is None:
            return False
        if not update.name:
            return self._report_message(update.event)
        stage = self._stages.get(update.event)
        return stage is not None and self._report_stage(stage, update)

    def read(self, value: AnyValue) -> Progress | None:
        """Read a value from the progress stream, and note the name of a saved image."""
        update = transfer_value(value)
        if not isinstance(update, Progress):
            return None
        if update.event == "saved":
            self.saved.append(update.name)
        return update

    def _report_message(self, message: str) -> bool:
        self._is_resolving = message.startswith("Resolving")
        if self._is_resolving:
            self.job.report("resolving", self.name)
        elif message.startswith("Pulling"):
            self.job.report("resolved", self.name)
        return True

    def _report_stage(self, stage: Stage, update: Progress) -> bool:
        target = update.descriptor or _descriptor(update)
        name = target.digest if target else update.name
        for parent in update.parents:  # the daemon has fetched them
            self._expect_children(parent)
        old_stage, offset = self._positions.get(name, ("", 0))
        self._positions[name] = stage, update.progress
        (self._unfinished.add if stage in _UNFINISHED else self._unfinished.discard)(name)
        media_type = target.media_type if target else ""
        if target and not old_stage and media_types.is_document(media_type):
            self._documents[update.name] = target
            self.job.expect([target])
            self._expected.add(name)
        if stage != "waiting" or name not in self._expected:
            event = ProgressEvent(stage, name, update.progress, update.total, media_type)
            self.job.report_event(event)
        if stage not in _UNFINISHED:
            self._expect_children(update.name, is_old=stage == "exists")
        self._moved += max(0, update.progress - offset)
        if stage == old_stage and self._moved < self._min_bytes:
            return False
        self._moved = 0
        return True

    def _expect_children(self, name: str, *, is_old: bool = False) -> None:
        """Report the children of a document that the daemon has fetched, unless they are known.

        If the daemon had the document before the pull (``is_old``), report also which children it
        has, because it may not report them.
        """
        document, content = self._documents.pop(name, None), self._content
        if document is None or content is None:
            return
        try:
            children = content.children(document)
            present = content.present(children) if is_old else ()
        except ContainerdError:
            return  # the total stays unknown until the end
        self._expected.update(child.digest for child in children)
        self.job.expect(children, document)
        for child in present:
            if not media_types.is_document(child.media_type):
                self.job.report("exists", child.digest, child.size, child.size)


def _descriptor(update: Progress) -> Descriptor | None:
    """Return the descriptor of an object that a daemon before 2.0 has reported without it.

    The media type is a guess, or ``""``.
    """
    kind, _, digest = update.name.partition("-")
    if not digests.is_digest(digest):
        return None
    return Descriptor(_DOCUMENTS.get(kind, ""), digest, update.total)


class StallLimits:
    """The time limits of a transfer that does not advance.

    If a transfer waits for a registry, it must advance within ``stall`` seconds. Otherwise it must
    advance within ``QUIET_FACTOR * stall`` seconds. After each period of ``stall`` seconds without
    progress, the daemon must also answer a request.

    Args:
        ask: A function that sends a request to the daemon. It raises ``DeadlineExceeded`` if the
            daemon does not answer.
        stall: Seconds within which a transfer that waits for a registry must advance.

    Attributes:
        is_daemon_silent: Whether a request to the daemon has timed out.
    """

    def __init__(self, ask: Callable[[], object], stall: float) -> None:
        self._ask = ask
        self._stall = stall
        self.is_daemon_silent = False
        self.restart()

    def restart(self) -> None:
        """Restart the time limits after the transfer has advanced."""
        self._next, self._last = Deadline(self._stall), Deadline(self._stall * QUIET_FACTOR)

    def suspend(self) -> None:
        """Suspend the time limits until the next call of ``restart``.

        The limits are suspended while the daemon waits for the client.
        """
        self._next = self._last = Deadline(None)

    def check(self, is_fetching: bool) -> None:
        """Check the limits.

        Args:
            is_fetching: Whether the transfer waits for a registry.

        Raises:
            RegistryUnavailable: The registry is too slow.
            DeadlineExceeded: The daemon does not answer, or the transfer does not advance.
        """
        if not self._next.expired:
            return
        try:
            self._ask()
        except TimeoutError as error:
            self.is_daemon_silent = True
            raise DeadlineExceeded(
                f"the daemon reported no progress for {self._stall:g} seconds, and does not answer",
                operation="Transfer.Transfer",
                remedy="Look at the daemon's log: the daemon may be suspended, "
                "or may be waiting for its disk",
            ) from error
        if is_fetching:
            raise RegistryUnavailable(
                f"the transfer to or from the registry moved less than {LEAST_RATE:g} bytes per "
                f"second for {self._stall:g} seconds",
                operation="Transfer.Transfer",
                remedy="Check the daemon's network, or allow a longer stall_timeout=",
            )
        if self._last.expired:
            raise DeadlineExceeded(
                f"the transfer did not advance for {self._stall * QUIET_FACTOR:g} seconds",
                operation="Transfer.Transfer",
                remedy="Look at the daemon's log, or allow a longer stall_timeout=",
            )
        self._next = Deadline(self._stall)


class Run:
    """A context manager that runs one transfer.

    In the block, the caller opens streams, begins the transfer and waits for the daemon's response.
    If the block or one of the run's threads fails, the transfer is stopped, and the first error is
    raised.
    """

    def __init__(
        self,
        transfer: TransferService,
        streaming: StreamingService,
        tracker: ProgressTracker,
        limits: StallLimits,
    ) -> None:
        self._transfer = transfer
        self._streaming = streaming
        self._tracker = tracker
        self._job = tracker.job
        self._limits = limits
        self._lock = threading.Lock()
        self._call: MessageStream | None = None
        #: The progress stream, which the daemon ends.
        self._progress: Stream | None = None
        self._streams: list[Stream] = []
        self._threads: list[tuple[threading.Thread, Future[None]]] = []
        self._is_over = False
        #: The deadline that ``stop`` sets for the daemon to end the transfer.
        self._stop_deadline: Deadline | None = None

    # ---- beginning -------------------------------------------------------------------------

    def open(self) -> Stream:
        """Open a stream that is closed when the run ends.

        Raises:
            Cancelled: The transfer has ended or was stopped.
        """
        stream = self._streaming.stream()
        with self._lock:
            if not (self._is_over or self._stop_deadline):
                self._streams.append(stream)
                return stream
        stream.close()
        raise Cancelled("the transfer was stopped")

    def open_in_thread(self, use: Callable[[Stream], object]) -> Future[Stream]:
        """Start a thread that opens a stream and calls ``use`` with the stream.

        The thread uses the caller's lease.
        """
        opened: Future[Stream] = Future()
        ended: Future[None] = Future()

        def work() -> None:
            if ended.set_running_or_notify_cancel():
                try:
                    self._open_and_use(opened, use)
                finally:
                    ended.set_result(None)

        run = copy_context().run
        thread = threading.Thread(target=run, args=(work,), name="transfer", daemon=True)
        self._threads.append((thread, ended))
        thread.start()
        return opened

    def _open_and_use(self, opened: Future[Stream], use: Callable[[Stream], object]) -> None:
        try:
            stream = self.open()
        except BaseException as error:
            opened.set_exception(error)
            return
        opened.set_result(stream)
        try:
            use(stream)
        except BaseException as error:
            if not self._is_over:
                self.stop(error)

    def begin(self, source: Transferable, destination: Transferable, progress: Stream) -> None:
        """Begin the transfer; ``progress`` must be a stream that this run has opened."""
        with self._lock:
            if self._stop_deadline is not None:
                raise Cancelled("the transfer was stopped")
            self._progress = progress  # from now on, only the daemon ends this stream
        call = self._transfer.begin(source, destination, TransferOptions(progress.id))
        self._limits.restart()
        with self._lock:
            self._call = call
            is_stopped = self._stop_deadline is not None
            if is_stopped:
                self._stop_deadline = Deadline(_STOP_TIMEOUT)
        if is_stopped:
            call.raw.cancel()

    # ---- data, progress and response -------------------------------------------------------

    def follow_progress(self, stream: Stream) -> None:
        """Report progress until the daemon ends the stream after the transfer."""
        receive = partial(stream.receive, _SLICE)
        while (value := self._wait(receive, lambda: stream.is_done)) is not None:
            if self._stop_deadline is not None:
                self._tracker.read(value)
            elif self._tracker.report(value):
                self._limits.restart()
        if self._stop_deadline is None:
            self._finish()

    def receive(self, stream: Stream, target: BinaryIO) -> None:
        """Write the bytes of ``stream`` to ``target``; report progress from the same stream."""

        def report(value: AnyValue) -> None:
            self._tracker.report(value)

        reader = ByteReader(stream, other=report, timeout=_SLICE)
        view = memoryview(bytearray(_PIECE))
        receive = partial(reader.readinto, view)
        while size := self._wait(receive, lambda: stream.is_done):
            self._limits.suspend()
            write_all(target, view[:size])
            self._limits.restart()

    def send(self, source: BinaryIO, stream: Stream) -> None:
        """Send all bytes of ``source``. An interrupt ends the wait for a pipe or a socket.

        The writer waits without a timeout until the daemon accepts more bytes. The thread of
        ``follow_progress`` ends this wait when the transfer has ended.
        """
        reader, writer = readable(source), ByteWriter(stream)
        while True:
            self._limits.suspend()
            piece = reader.read(_PIECE)
            self._limits.restart()
            if not piece:
                break
            try:
                writer.write(piece)
            except (Aborted, Cancelled):
                return  # the daemon accepts no more bytes, and its response gives the reason
        writer.finish()

    def join(self) -> None:
        """Wait for the threads of ``open_in_thread``."""
        for thread, ended in self._threads:
            # ``cancel`` succeeds only if an interrupt has prevented the start of the thread.
            if not ended.cancel():
                result_when_done(ended)
                with suppress(RuntimeError):
                    thread.join()

    def wait_for_response(self) -> None:
        """Wait for the daemon's response; raise the daemon's error if the transfer has failed."""
        assert self._call is not None
        call = self._call
        receive = partial(call.receive, _SLICE)
        while self._wait(receive, lambda: call.raw.is_done, is_response=True) is not None:
            pass

    def _wait(
        self, receive: Callable[[], _T], is_done: Callable[[], bool], *, is_response: bool = False
    ) -> _T | None:
        """Call ``receive`` until it returns a result, and return this result.

        Each call waits for one slice at most. Between two calls, this method checks the job and the
        time limits. The result is ``None`` if the transfer has ended, or if the daemon takes too
        long to end a stopped transfer.

        Args:
            receive: A function that waits for at most one slice. If nothing arrives, it raises
                ``DeadlineExceeded``.
            is_done: A function that returns whether the stream has ended. If the stream has ended,
                ``DeadlineExceeded`` comes from the daemon.
            is_response: Whether ``receive`` waits for the response to the call.
        """
        while True:
            try:
                return receive()
            except DeadlineExceeded:
                if is_done():
                    raise  # the error comes from the daemon
            if self._stop_deadline is not None:
                if self._stop_deadline.expired:
                    return None
            elif not is_response and self._has_ended():
                return None  # the call has ended, but the daemon has not ended the stream
            else:
                self._job.check()
                self._limits.check(self._tracker.is_fetching)

    def _has_ended(self) -> bool:
        if self._call is not None:
            self._call.poll()
        return self._call is not None and self._call.raw.is_done

    # ---- ending ----------------------------------------------------------------------------

    def stop(self, error: BaseException) -> None:
        """Stop the transfer because of ``error``.

        The call is cancelled before the streams. Otherwise the daemon would mistake the end of a
        stream for the end of the data.
        """
        self._job.fail(error)
        with self._lock:
            call = self._call
            needs_no_wait = call is None or call.raw.is_done or self._limits.is_daemon_silent
            if self._stop_deadline is None:
                self._stop_deadline = Deadline(0 if needs_no_wait else _STOP_TIMEOUT)
        if call is not None:
            call.raw.cancel()
        self._cancel_other_streams()

    def _finish(self) -> None:
        self._is_over = True
        self._cancel_other_streams()

    def _cancel_other_streams(self) -> None:
        """Cancel all streams except the progress stream."""
        with self._lock:
            others = [stream for stream in self._streams if stream is not self._progress]
        for stream in others:
            stream.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                with shielded():
                    self.stop(error)
                    self.join()
                    self._wait_for_end()
            self._finish()
            self.join()
        finally:
            for stream in self._streams:
                stream.close()
            if self._call is not None:
                self._call.close()
        if error is not None:
            self._job.blame(error)

    def _wait_for_end(self) -> None:
        """Wait until the daemon has ended the stopped transfer; note the names that it saves."""
        progress = self._progress
        if progress is None:
            return
        receive = partial(progress.receive, _SLICE)
        with suppress(ContainerdError):
            while (value := self._wait(receive, lambda: progress.is_done)) is not None:
                self._tracker.read(value)
