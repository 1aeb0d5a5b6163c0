"""A thread pool whose shutdown waits for all running calls, even after an interrupt.

A signal handler can raise an exception (KeyboardInterrupt) at any point in the main thread. If it
does so while ``ThreadPoolExecutor`` starts a thread, the thread runs, but the pool does not wait
for the thread. So on a busy machine, an interrupted push sometimes returned before its upload was
cancelled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, TimeoutError
from contextlib import suppress
from contextvars import Context, copy_context
from typing import ParamSpec, TypeVar

from .interrupt import Interrupt, check

_P = ParamSpec("_P")
_T = TypeVar("_T")
#: Maximum number of seconds of a single wait in ``result_when_done``.
_LONGEST_WAIT = 0.1


class Workers(ThreadPoolExecutor):
    """A ``ThreadPoolExecutor`` that runs each call in a copy of the submitter's context.

    After ``shutdown(wait=True)``, no call is running, and no call starts. An exception from a
    signal handler does not break this guarantee.
    """

    def __init__(self, most: int, name: str) -> None:
        """Make a pool of up to ``most`` threads, whose names start with ``name``."""
        super().__init__(most, name)
        self._changed = threading.Condition()
        self._busy = 0
        self._is_over = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run ``fn`` in a thread of the pool, in a copy of the calling thread's context."""
        return super().submit(self._work, copy_context(), fn, *args, **kwargs)

    def _work(
        self, context: Context, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        with self._changed:
            if self._is_over:
                raise CancelledError
            self._busy += 1
        try:
            return context.run(fn, *args, **kwargs)
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls. If ``wait`` is true, wait until no call is running."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            with self._changed:
                self._changed.wait_for(lambda: not self._busy)
                self._is_over = True


def uncut(call: Callable[[], _T]) -> _T:
    """Return the result of ``call``, which an exception of a signal handler does not cut off.

    In the main thread, ``call`` runs in another thread. If a signal handler raises an exception,
    the call is interrupted, and the exception goes on when the call has ended. So a request to the
    daemon gets the short time that an ``Interrupt`` leaves to it.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    interrupt = Interrupt()

    def run() -> _T:
        with interrupt.watching():
            return call()

    with Workers(1, "containerd-lite-call") as pool:
        try:
            return result_when_done(pool.submit(run))
        except BaseException:
            interrupt.set()
            raise


def result_when_done(task: Future[_T]) -> _T:
    """Return ``task.result()``. Signals and interrupts are handled while this function waits.

    Python runs a signal handler in the main thread, between two bytecode instructions. If a signal
    arrives immediately before a wait, or in another thread, the handler runs only after the wait.
    So this function makes several short waits instead of one long wait.
    """
    while not task.done():
        with suppress(TimeoutError):
            task.exception(_LONGEST_WAIT)
        if not task.done():
            check()
    return task.result()
