"""Operations: calls of verbs, such as a pull, that can be cancelled and have a time limit.

An operation ends early if its time limit passes, if its ``CancelToken`` is cancelled, or if its
client is closed. The call then stops waiting at once, cleans up, and raises an error.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from . import limits
from .arguments import check_types
from .errors import Cancelled, ContainerdError, DeadlineExceeded
from .interrupt import CLEANUP_TIMEOUT, Interrupt, operating

#: Seconds after its timeout at which a wait is interrupted if the daemon does not answer.
_WAIT_GRACE = 0.1


class CancelToken:
    """Cancels calls that have got the token as their argument ``cancel``.

    Several calls can share a token. Cancelled calls raise ``Cancelled``. A token stays cancelled:
    calls that get it later raise ``Cancelled``, too.
    """

    def __init__(self) -> None:
        self._interrupt = Interrupt()
        self._is_cancelled = False

    def cancel(self) -> None:
        """Cancel the calls that have this token, and return at once.

        Any thread can call this method, and so can a signal handler.
        """
        self._is_cancelled = True
        if threading.current_thread() is threading.main_thread():
            # A signal handler runs in the main thread, which can hold a lock that ``set`` needs.
            _thread.start_new_thread(self._interrupt.set, ())
        else:
            self._interrupt.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._is_cancelled

    def check(self) -> None:
        """Raise ``Cancelled`` if the token is cancelled."""
        if self._is_cancelled:
            raise Cancelled("the token was cancelled")

    @contextmanager
    def calling(self, callback: Callable[[], object]) -> Iterator[None]:
        """Call ``callback`` in another thread if the token is cancelled during the block.

        Raises:
            Cancelled: The token is already cancelled.
        """
        if self._is_cancelled:
            raise Cancelled("the token was cancelled before the call")
        with self._interrupt.calling(callback):
            if self._interrupt.is_set():  # it was set before the block
                callback()
            yield

    def __repr__(self) -> str:
        return f"<CancelToken {'cancelled' if self._is_cancelled else 'active'}>"


class Operation:
    """One call of a verb.

    Args:
        what: The name of the call in errors, such as ``"pull of docker.io/library/busybox"``.

    Attributes:
        interrupt: The interrupt that ends the requests and waits of the call.
        left: What clean-up could not remove, as texts for the error.
        output: What the process of the call wrote to its stdout and stderr, for the error.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.interrupt = Interrupt()
        self.left: list[str] = []
        self.output = b"", b""
        self._error: Cancelled | DeadlineExceeded | None = None

    def end(self, error: Cancelled | DeadlineExceeded) -> None:
        """Interrupt the call, so that it raises ``error``, unless it was already interrupted."""
        if self._error is None:
            self._error = error
            self.interrupt.set()

    def expire(self, seconds: float) -> None:
        """Interrupt the call, because its time limit of ``seconds`` has passed."""
        message = f"{self.what} has not finished after {seconds:g} s"
        self.end(DeadlineExceeded(message, remedy="Raise timeout="))

    def cancel(self) -> None:
        """Interrupt the call, because its token was cancelled."""
        self.end(Cancelled(f"{self.what} was cancelled by its token"))

    def close(self) -> None:
        """Interrupt the call, because the client was closed."""
        self.end(Cancelled(f"{self.what} was cancelled, because the client was closed"))

    @property
    def error(self) -> ContainerdError | None:
        """The error that the interrupted call raises, or ``None`` if it was not interrupted."""
        error = self._error
        if error is not None:
            error.message = "; ".join((error.message, *self.left))
            self.left.clear()
            error.stdout, error.stderr = self.output
        return error


_current: ContextVar[Operation | None] = ContextVar("current operation", default=None)


def note_left(text: str) -> None:
    """Have the error of this thread's operation say what clean-up could not remove."""
    if (current := _current.get()) is not None and text not in current.left:
        current.left.append(text)


def note_output(stdout: bytes, stderr: bytes) -> None:
    """Have the error of this thread's operation carry what its process wrote."""
    if (current := _current.get()) is not None:
        current.output = stdout, stderr


class Operations:
    """The running operations of one client."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Operation] = set()
        self._is_closed = False
        self._at_end: Callable[[], object] | None = None

    @contextmanager
    def running(self, operation: Operation) -> Iterator[None]:
        """Let ``close`` end the operation during the block.

        Raises:
            Cancelled: The client is closed.
        """
        with self._changed:
            if self._is_closed:
                raise Cancelled("the client is closed", remedy="Create a new client")
            self._running.add(operation)
        try:
            yield
        finally:
            at_end = None
            with self._changed:
                self._running.discard(operation)
                self._changed.notify_all()
                if not self._running:
                    at_end, self._at_end = self._at_end, None
            if at_end is not None:
                at_end()

    def close(self, at_end: Callable[[], object], *, for_ever: bool) -> None:
        """End all operations, wait for their clean-up, and call ``at_end``.

        If the calling thread works for one of the operations, this method does not wait, and
        ``at_end`` is called at the end of the last operation.

        Args:
            at_end: The function to call at the end.
            for_ever: Whether no operation can start any more.
        """
        with self._changed:
            self._is_closed = self._is_closed or for_ever
            running = tuple(self._running)
            if is_inside := _current.get() in running:
                self._at_end = at_end
        for operation in running:
            operation.close()
        if is_inside:
            return
        try:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._running.isdisjoint(running), CLEANUP_TIMEOUT + 1.0
                )
        finally:
            at_end()


@contextmanager
def operation(
    what: str,
    timeout: float | None = None,
    cancel: CancelToken | None = None,
    operations: Operations | None = None,
    *,
    grace: float = 0.0,
) -> Iterator[None]:
    """Run the block as one operation.

    Args:
        what: The name of the operation in errors.
        timeout: Seconds after which the block is interrupted, above 0. ``None`` means no limit.
        cancel: The token that can interrupt the block.
        operations: The operations of the client, which can interrupt the block by ``close``.
        grace: Seconds that are added to ``timeout``, for a block that keeps the limit itself. Then
            ``timeout`` can be 0.

    Raises:
        Cancelled: The token was cancelled, or the client was closed.
        DeadlineExceeded: The block was interrupted after ``timeout``.
        InvalidArgument: ``timeout`` or ``cancel`` has an invalid value.
    """
    seconds = limits.seconds("timeout", timeout, may_be_zero=grace > 0)
    check_types({"cancel": cancel})
    current = Operation(what)
    token = _current.set(current)
    try:
        with (
            nullcontext() if operations is None else operations.running(current),
            nullcontext() if cancel is None else cancel.calling(current.cancel),
            nullcontext() if seconds is None else _expiring(current, seconds, grace),
            operating(current.interrupt),
        ):
            yield
    except (ContainerdError, CancelledError) as error:
        if (reason := current.error) is None or reason is error:
            raise
        raise reason from error
    finally:
        _current.reset(token)


def cancellable(what: str, cancel: CancelToken | None) -> AbstractContextManager[None]:
    """Return a context manager whose block ``cancel`` can interrupt; see ``operation``."""
    return nullcontext() if cancel is None else operation(what, None, cancel)


def waiting(
    what: str, timeout: float | None, cancel: CancelToken | None
) -> AbstractContextManager[None]:
    """Return a context manager for a block that waits, and keeps ``timeout`` itself.

    The block is interrupted only if the daemon does not answer it in time.
    """
    if timeout is None:
        return cancellable(what, cancel)
    return operation(what, timeout, cancel, grace=_WAIT_GRACE)


@contextmanager
def _expiring(operation: Operation, seconds: float, grace: float) -> Iterator[None]:
    """Interrupt the operation if the block takes longer than ``seconds`` and ``grace``."""
    timer = threading.Timer(seconds + grace, operation.expire, (seconds,))
    timer.name, timer.daemon = "containerd-lite-timeout", True
    try:
        timer.start()
        yield
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
