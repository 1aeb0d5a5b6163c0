"""A pool of threads of which no interrupt leaves one behind.

What lives here: ``Workers``.  What may not: what they do.

An exception may come up anywhere in the main thread (a signal handler's, KeyboardInterrupt), also
while it starts a thread, which then works and is not among those that ``ThreadPoolExecutor`` waits
for: a push that was interrupted was over before its upload was ended, some of the time on a busy
machine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Workers(ThreadPoolExecutor):
    """``ThreadPoolExecutor`` for work that goes on in the context of whoever submits it.

    Once it has been shut down and waited for, nothing runs or begins, however that came about.
    """

    def __init__(self, most: int, name: str) -> None:
        """``most`` threads at a time, whose names begin with ``name``."""
        super().__init__(most, name)
        self._turn = threading.Condition()
        self._busy = 0
        self._is_over = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        return super().submit(self._work, copy_context(), fn, *args, **kwargs)

    def _work(
        self, context: Context, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        with self._turn:
            if self._is_over:
                raise CancelledError
            self._busy += 1
        try:
            return context.run(fn, *args, **kwargs)
        finally:
            with self._turn:
                self._busy -= 1
                self._turn.notify_all()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            with self._turn:
                self._turn.wait_for(lambda: not self._busy)
                self._is_over = True
