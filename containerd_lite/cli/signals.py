"""Signals to this program: what they interrupt, and how they come to a container's process.

What lives here: handlers, and the thread that passes signals on.  What may not: commands.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NoReturn

from ..errors import ContainerdError

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..runtime.process import Process

#: What each that ends a program is told as.
_NAMES = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",
    signal.SIGQUIT: "quit",
}
#: How long a process that is killed may go on until it is killed again (seconds): the daemon may
#: have been away.
_AGAIN = 1.0


class Interrupted(KeyboardInterrupt):
    """A signal came that ends this program, once what was begun is cleaned up."""

    def __init__(self, number: int) -> None:
        super().__init__(_NAMES[signal.Signals(number)])
        self.exit_code = 128 + number


def _interrupt(number: int, frame: object) -> NoReturn:
    raise Interrupted(number)


@contextmanager
def handled(handler: Callable[[int, object], object] = _interrupt) -> Iterator[None]:
    """A block in which signals that end this program raise ``Interrupted``, or go to ``handler``.

    Those that are ignored stay so, as under ``nohup``.  In the main thread only.
    """
    previous = {
        number: signal.signal(number, handler)
        for number in _NAMES
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former)


class Relay:
    """Passes signals on to a process while it is entered; that is done in a thread of its own.

    None raises where it comes: that might be between making a thing and noting it.  The first
    goes to the process, which then has ``patience`` seconds, the second kills it, and the third
    is ``Interrupted`` after all.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._count = 0
        self._last = 0
        self._handled = handled(self._note)
        self._came: SimpleQueue[int] = SimpleQueue()  # a handler may put what a thread waits for
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._handled.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread is not None:
            self._came.put(0)
            self._thread.join()
        self._handled.__exit__(None, None, None)

    def serve(self, process: Process) -> None:
        """Pass on to a process that has been started what came, and what comes."""
        self._thread = threading.Thread(
            target=self._run, args=(process,), name="containerd-lite-signals", daemon=True
        )
        self._thread.start()

    def check(self) -> None:
        """Raises ``Interrupted`` if a signal came."""
        if self._last:
            raise Interrupted(self._last)

    def _note(self, number: int, frame: object) -> None:
        self._count += 1
        self._last = number
        if self._count > 2:
            raise Interrupted(number)
        self._came.put(number)

    def _run(self, process: Process) -> None:
        number = self._came.get()
        if number:
            with suppress(ContainerdError):
                process.kill(number)
        patience = self._patience
        while number:
            try:
                number = self._came.get(timeout=patience)
            except Empty:
                number = signal.SIGKILL
            if number:
                process.kill_quietly()
            patience = _AGAIN
