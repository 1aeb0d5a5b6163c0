"""One transfer while it runs: its call, its streams, and the end of them all.

What lives here: opening, watching, stopping; what the daemon tells, as our events; how long it
may tell nothing.  What may not: what is transferred.

The daemon ends the progress stream when it is through with a transfer, however that went.  After
a failure that end is waited for: then nothing is written behind the back of whoever cleans up.
All else is made to be independent of what the daemon says: each wait is cut into slices, between
which it is seen whether the transfer is over, has been stopped, or gives no sign of life.
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
from ...progress import ProgressEvent, Stage
from ...services._base import MessageStream
from ...services._types import AnyValue
from ...services.streaming import ByteReader, ByteWriter, Stream, StreamingService
from ...services.transfer import Transferable, TransferOptions, TransferService
from ...services.transfer_types import Progress, transfer_value
from ..archive.destination import put
from ..job import Job

if TYPE_CHECKING:
    from typing_extensions import Self

_T = TypeVar("_T")

#: The least that a registry must give or take (bytes per second), over the stall time-out.
LEAST_RATE = 100.0
#: Of unpacking and committing nothing is told: so many stall time-outs may they take.
QUIET = 10
#: How long one wait is, and how long the daemon may take to end what was cancelled (seconds).
_SLICE, _UNWIND = 1.0, 10.0
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
#: Stages of an object of which bytes are still due.
_DUE = frozenset({"waiting", "resolving", "downloading", "uploading"})


class Account:
    """What a transfer tells, passed on as our events; ``saved`` are the names of its images."""

    def __init__(self, job: Job, name: str, complete: Stage, least: float) -> None:
        """``name`` stands in where none is told; ``complete`` is our word for the daemon's.

        ``least`` is how many bytes are a sign of life.
        """
        self.job = job
        self.saved: list[str] = []
        self.name = name
        self._stages: dict[str, Stage] = {**_STAGES, "complete": complete}
        self._least = least
        self._moved = 0
        self._is_resolving = True
        self._seen: dict[str, tuple[str, int]] = {}
        self._due: set[str] = set()

    @property
    def is_fetching(self) -> bool:
        """Whether it is a registry that is waited for, and not a disk."""
        return self._is_resolving or bool(self._due)

    def take(self, value: AnyValue) -> bool:
        """Tell what came; whether it is a sign of life, as an object's next stage is, or enough
        bytes."""
        told = transfer_value(value)
        if not isinstance(told, Progress):
            return False
        if not told.name:
            return self._take_sentence(told.event)
        if told.event == "saved":
            self.saved.append(told.name)
        stage = self._stages.get(told.event)
        return stage is not None and self._take_stage(stage, told)

    def _take_sentence(self, sentence: str) -> bool:
        self._is_resolving = sentence.startswith("Resolving")
        if self._is_resolving:
            self.job.report("resolving", self.name)
        elif sentence.startswith("Pulling"):
            self.job.report("resolved", self.name)
        return True

    def _take_stage(self, stage: Stage, told: Progress) -> bool:
        found = told.descriptor
        name = found.digest if found else told.name
        before, offset = self._seen.get(name, ("", 0))
        self._seen[name] = stage, told.progress
        (self._due.add if stage in _DUE else self._due.discard)(name)
        media_type = found.media_type if found else ""
        self.job.tell(ProgressEvent(stage, name, told.progress, told.total, media_type))
        self._moved += max(0, told.progress - offset)
        if stage == before and self._moved < self._least:
            return False
        self._moved = 0
        return True


class Patience:
    """How long a transfer may give no sign of life, and what is done then.

    It has ``stall`` seconds where a registry is waited for, and ``QUIET`` times as many where
    not; each time that ``stall`` seconds pass, the daemon must answer what ``ask`` asks.
    """

    def __init__(self, ask: Callable[[], object], stall: float) -> None:
        self._ask = ask
        self._stall = stall
        self.is_daemon_silent = False
        self.sign()

    def sign(self) -> None:
        """Something came."""
        self._next, self._last = Deadline(self._stall), Deadline(self._stall * QUIET)

    def hold(self) -> None:
        """It is not the daemon's turn, until the next sign."""
        self._next = self._last = Deadline(None)

    def look(self, is_fetching: bool) -> None:
        """Raises ``RegistryUnavailable`` or ``DeadlineExceeded`` once it is over."""
        if not self._next.expired:
            return
        try:
            self._ask()
        except TimeoutError as error:
            self.is_daemon_silent = True
            raise DeadlineExceeded(
                f"the daemon gave no sign for {self._stall:g} seconds, and does not answer",
                operation="Transfer.Transfer",
                remedy="Look at its log; it may be stopped, or wait for its disk",
            ) from error
        if is_fetching:
            raise RegistryUnavailable(
                f"the registry moved less than {LEAST_RATE:g} bytes per second for "
                f"{self._stall:g} seconds",
                operation="Transfer.Transfer",
                remedy="Check the daemon's network, or allow a longer stall_timeout",
            )
        if self._last.expired:
            raise DeadlineExceeded(
                f"the transfer gave no sign for {self._stall * QUIET:g} seconds",
                operation="Transfer.Transfer",
                remedy="Look at the daemon's log, or allow a longer stall_timeout",
            )
        self._next = Deadline(self._stall)


class Run:
    """A context manager: the block opens streams, begins the transfer and waits for its answer.

    A block, or a thread beside it, that fails stops the transfer; what failed first is raised.
    """

    def __init__(
        self,
        transfer: TransferService,
        streaming: StreamingService,
        account: Account,
        patience: Patience,
    ) -> None:
        self._transfer = transfer
        self._streaming = streaming
        self._account = account
        self._job = account.job
        self._patience = patience
        self._lock = threading.Lock()
        self._call: MessageStream | None = None
        self._told: Stream | None = None
        self._streams: list[Stream] = []
        self._threads: list[tuple[threading.Thread, Future[None]]] = []
        self._is_through = False
        self._until: Deadline | None = None  # for the daemon to end what was stopped

    # ---- beginning -------------------------------------------------------------------------

    def open(self) -> Stream:
        """A stream of this transfer's, which ends with it."""
        stream = self._streaming.stream()
        with self._lock:
            if not (self._is_through or self._until):
                self._streams.append(stream)
                return stream
        stream.close()
        raise Cancelled("the transfer was stopped")

    def open_beside(self, use: Callable[[Stream], object]) -> Future[Stream]:
        """Open a stream in a thread of its own, which then uses it; both join our lease."""
        opened: Future[Stream] = Future()
        ended: Future[None] = Future()

        def work() -> None:
            if ended.set_running_or_notify_cancel():
                try:
                    self._use(opened, use)
                finally:
                    ended.set_result(None)

        run = copy_context().run
        thread = threading.Thread(target=run, args=(work,), name="transfer", daemon=True)
        self._threads.append((thread, ended))
        thread.start()
        return opened

    def _use(self, opened: Future[Stream], use: Callable[[Stream], object]) -> None:
        try:
            stream = self.open()
        except BaseException as error:
            opened.set_exception(error)
            return
        opened.set_result(stream)
        try:
            use(stream)
        except BaseException as error:
            if not self._is_through:
                self.stop(error)

    def begin(self, source: Transferable, destination: Transferable, progress: Stream) -> None:
        """Begin the transfer; ``progress`` is an open stream of ours."""
        with self._lock:
            if self._until is not None:
                raise Cancelled("the transfer was stopped")
            self._told = progress  # whose end is the daemon's to tell, from here on
        call = self._transfer.begin(source, destination, TransferOptions(progress.id))
        self._patience.sign()
        with self._lock:
            self._call = call
            is_stopped = self._until is not None
            if is_stopped:
                self._until = Deadline(_UNWIND)
        if is_stopped:
            call.raw.cancel()

    # ---- going on --------------------------------------------------------------------------

    def follow(self, stream: Stream) -> None:
        """Pass progress on until the daemon ends the stream, which is when it is through."""
        receive = partial(stream.receive, _SLICE)
        while (value := self._patiently(receive, lambda: stream.is_done)) is not None:
            if self._until is None and self._account.take(value):
                self._patience.sign()
        if self._until is None:
            self._let_go()

    def receive(self, stream: Stream, target: BinaryIO) -> None:
        """Write the bytes of ``stream``, which tells progress, too, to ``target``."""

        def tell(value: AnyValue) -> None:
            self._account.take(value)

        reader = ByteReader(stream, other=tell, timeout=_SLICE)
        view = memoryview(bytearray(_PIECE))
        receive = partial(reader.readinto, view)
        while size := self._patiently(receive, lambda: stream.is_done):
            self._patience.hold()
            put(target, view[:size])
            self._patience.sign()

    def send(self, source: BinaryIO, stream: Stream) -> None:
        """Send all of ``source``; who follows the progress ends the wait for credit."""
        writer = ByteWriter(stream)
        while True:
            self._patience.hold()
            piece = source.read(_PIECE)
            self._patience.sign()
            if not piece:
                break
            try:
                writer.write(piece)
            except (Aborted, Cancelled):
                return  # no more is wanted: the answer says why
        writer.finish()

    def join(self) -> None:
        """Wait for the threads beside."""
        for thread, ended in self._threads:
            if not ended.cancel():  # it did begin: an interrupt may come up in the start of it
                ended.result()
                with suppress(RuntimeError):
                    thread.join()

    def answer(self) -> None:
        """Wait for the answer.  Raises what the daemon says went wrong."""
        assert self._call is not None
        call = self._call
        receive = partial(call.receive, _SLICE)
        while self._patiently(receive, lambda: call.raw.is_done, is_answer=True) is not None:
            pass

    def _patiently(
        self, receive: Callable[[], _T], is_done: Callable[[], bool], *, is_answer: bool = False
    ) -> _T | None:
        """What ``receive``, which waits for a slice, gives; ``None`` when there is no use in it."""
        while True:
            try:
                return receive()
            except DeadlineExceeded:
                if is_done():
                    raise  # it is the daemon's word
            if self._until is not None:
                if self._until.expired:
                    return None
            elif not is_answer and self._has_ended():
                return None  # without a word on the stream
            else:
                self._job.check()
                self._patience.look(self._account.is_fetching)

    def _has_ended(self) -> bool:
        if self._call is not None:
            self._call.poll()
        return self._call is not None and self._call.raw.is_done

    # ---- ending ----------------------------------------------------------------------------

    def stop(self, error: BaseException) -> None:
        """End the transfer because of ``error``: first the call, so that the daemon does not
        take the end of a stream for the end of the bytes."""
        self._job.fail(error)
        with self._lock:
            call = self._call
            is_over = call is None or call.raw.is_done or self._patience.is_daemon_silent
            if self._until is None:
                self._until = Deadline(0 if is_over else _UNWIND)
        if call is not None:
            call.raw.cancel()
        self._cancel_others()

    def _let_go(self) -> None:
        self._is_through = True
        self._cancel_others()

    def _cancel_others(self) -> None:
        with self._lock:
            others = [stream for stream in self._streams if stream is not self._told]
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
                self.stop(error)
                self.join()
                self._await_end()
            self._let_go()
            self.join()
        finally:
            for stream in self._streams:
                stream.close()
            if self._call is not None:
                self._call.close()
        if error is not None:
            self._job.blame(error)

    def _await_end(self) -> None:
        """Until the daemon is through with what was stopped."""
        told = self._told
        with suppress(ContainerdError):
            while told is not None and not told.is_done:
                if self._patiently(partial(told.receive, _SLICE), lambda: told.is_done) is None:
                    break
