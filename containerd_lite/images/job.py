"""The state that all threads of one operation share.

A job passes progress events on to the caller. When one thread fails, the job stops all threads and
records the failure.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TypeVar

from ..errors import Cancelled
from ..interrupt import Interrupt, check
from ..oci.descriptor import Descriptor
from ..progress import ProgressCallback, ProgressEvent, Stage
from ..records import field, record
from ..workers import Workers, result_when_done
from .tally import MOVING, Tally

_LOGGER = logging.getLogger(__package__)

_T = TypeVar("_T")


@record
class Job:
    """The state of one pull, push or other operation.

    Attributes:
        progress: A function that is called with each progress event. Several threads call this
            function, one thread at a time.
        tally: Counts the bytes of the operation. Jobs of the same operation share one tally.
        keeps_partial: Whether a failed job leaves incomplete blobs for a later job.
        stop: The ``Interrupt`` that is set when the job fails.
        failure: The first error that made the job fail.
        is_cancelled: Whether the progress callback has raised an exception.
    """

    progress: ProgressCallback | None = None
    tally: Tally = field(default_factory=Tally)
    keeps_partial: bool = False
    stop: Interrupt = field(default_factory=Interrupt)
    failure: BaseException | None = None
    is_cancelled: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    #: For each object: the time when its last event was logged.
    _last_logged: dict[str, float] = field(default_factory=dict)

    def report(self, stage: Stage, name: str, offset: int = 0, total: int = 0) -> None:
        """Pass a new event on to the progress callback.

        Raises:
            Cancelled: The operation was interrupted.
        """
        check()
        if self.progress is not None or _LOGGER.isEnabledFor(logging.DEBUG):
            self.report_event(ProgressEvent(stage, name, offset, total))

    def report_event(self, event: ProgressEvent) -> None:
        """Pass an event on to the progress callback, with rates and totals added.

        Raises:
            Cancelled: The operation was interrupted.
        """
        check()
        if _LOGGER.isEnabledFor(logging.DEBUG) and event.stage not in MOVING:
            self._log(event)
        if self.progress is not None:
            try:
                with self.tally.lock:
                    self._tell(self.progress, event)
            except BaseException as error:
                self._cancel(error)
                raise

    def expect(self, contents: Iterable[Descriptor], parent: Descriptor | None = None) -> None:
        """Report content that the operation needs, as ``waiting``; see ``Tally.expect``."""
        if self.progress is not None:
            try:
                with self.tally.lock:
                    for each in self.tally.expect(contents, parent):
                        event = ProgressEvent("waiting", each.digest, 0, each.size, each.media_type)
                        self._tell(self.progress, event)
            except BaseException as error:
                self._cancel(error)
                raise

    def seal(self) -> None:
        """Fix the total of the operation; see ``Tally.seal``."""
        with self.tally.lock:
            self.tally.seal()

    def _tell(self, progress: ProgressCallback, event: ProgressEvent) -> None:
        rate, overall = self.tally.count(event)
        # ``replace`` takes twice as long.
        progress(ProgressEvent(**{**vars(event), "rate": rate, "overall": overall}))

    def _cancel(self, error: BaseException) -> None:
        """Stop all threads, because the progress callback has raised an error."""
        with self._lock:
            self.is_cancelled = True
            if self.failure is None:
                self.failure = error  # even if it is a ``Cancelled``
        self.stop.set()

    def _log(self, event: ProgressEvent) -> None:
        now = time.monotonic()
        last = self._last_logged.get(event.name)
        self._last_logged[event.name] = now
        if last is None:
            _LOGGER.debug("%s", event)
        else:
            _LOGGER.debug("%s (after %.1f ms)", event, (now - last) * 1000)

    def check(self) -> None:
        """Raise ``Cancelled`` if the job has failed."""
        if self.stop.is_set():
            raise Cancelled("cancelled, because another part of the operation failed")

    def fail(self, error: BaseException) -> None:
        """Stop all threads; record ``error`` if it is the first error that is not ``Cancelled``."""
        with self._lock:
            if self.failure is None and not isinstance(error, Cancelled | CancelledError):
                self.failure = error
        self.stop.set()

    def blame(self, error: BaseException) -> None:
        """Raise the recorded failure, unless no failure is recorded or ``error`` is the failure.

        The failure keeps its ``__context__``.
        """
        failure = self.failure
        if failure is None or failure is error:
            return
        context = failure.__context__
        try:
            raise failure
        finally:
            # ``raise`` can set the context to a cancellation. The failure has another cause.
            failure.__context__ = context


@contextmanager
def beside(work: Callable[[], object], job: Job) -> Iterator[None]:
    """Call ``work`` in a thread while the block runs, and wait for its end after the block.

    An error in the block stops the thread. An error of ``work`` is raised after the block.
    """

    def run() -> None:
        with job.stop.watching():
            work()

    with Workers(1, "containerd-lite-beside") as pool:
        try:
            task = pool.submit(run)
            yield
            result_when_done(task)
        except BaseException as error:
            job.fail(error)
            job.blame(error)
            raise


def side_by_side(work: Callable[[_T], object], items: Iterable[_T], job: Job, workers: int) -> None:
    """Call ``work`` with each item, in ``workers`` threads that use the caller's lease.

    The first failure stops all threads, and so does an exception such as ``KeyboardInterrupt`` in
    the caller's thread. ``items`` can be an iterator: only one thread at a time advances it.
    """
    waiting, lock = iter(items), threading.Lock()

    def shared_items() -> Iterator[_T]:
        while True:
            with lock:
                job.check()
                try:
                    item = next(waiting)
                except StopIteration:
                    return
            yield item

    def run() -> None:
        try:
            with job.stop.watching():
                for item in shared_items():
                    work(item)
        except BaseException as error:
            job.fail(error)  # stops the other threads immediately
            raise

    with Workers(workers, "containerd-lite-side") as pool:
        try:
            tasks = [pool.submit(run) for _ in range(workers)]
            for task in tasks:
                result_when_done(task)
        except BaseException as error:
            job.fail(error)
            job.blame(error)
            raise
