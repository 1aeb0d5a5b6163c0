"""Handles signals to this program: interrupts the program, or forwards them to a container."""

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

#: The signals that end this program, and the text that is printed for each signal.
_NAMES = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",
    signal.SIGQUIT: "quit",
}
#: Number of seconds between two attempts to kill a process. The daemon can be down at the first
#: attempt.
_KILL_INTERVAL = 1.0


class Interrupted(KeyboardInterrupt):
    """The exception for a signal that ends this program after clean-up."""

    def __init__(self, number: int) -> None:
        super().__init__(_NAMES[signal.Signals(number)])
        self.exit_code = 128 + number


def _interrupt(number: int, frame: object) -> NoReturn:
    raise Interrupted(number)


@contextmanager
def handling_signals(handler: Callable[[int, object], object] = _interrupt) -> Iterator[None]:
    """During the block, handle the signals that would end this program.

    A signal that is already ignored stays ignored, for example under ``nohup``. Only the main
    thread can use this context manager.

    Args:
        handler: The signal handler. Default: a handler that raises ``Interrupted``.
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
    """A context manager that forwards signals to a process, in a thread of its own.

    The first signal is sent to the process. If the process does not end within ``stop_timeout``
    seconds, it is killed. The second signal kills the process at once. The third signal raises
    ``Interrupted``. The first two signals raise no exception in this program, because an exception
    between the creation of an object and its assignment to a variable would lose the object.
    """

    def __init__(self, stop_timeout: float) -> None:
        self._stop_timeout = stop_timeout
        self._count = 0
        self._last = 0
        self._handled = handling_signals(self._note)
        self._received: SimpleQueue[int] = SimpleQueue()  # signal handlers need a reentrant queue
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._handled.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread is not None:
            self._received.put(0)
            self._thread.join()
        self._handled.__exit__(None, None, None)

    def serve(self, process: Process) -> None:
        """Forward signals to a started process, including signals that have already arrived."""
        self._thread = threading.Thread(
            target=self._run, args=(process,), name="containerd-lite-signals", daemon=True
        )
        self._thread.start()

    def check(self) -> None:
        """Raise ``Interrupted`` if a signal was received."""
        if self._last:
            raise Interrupted(self._last)

    def _note(self, number: int, frame: object) -> None:
        self._count += 1
        self._last = number
        if self._count > 2:
            raise Interrupted(number)
        self._received.put(number)

    def _run(self, process: Process) -> None:
        number = self._received.get()
        if number:
            with suppress(ContainerdError):
                process.kill(number)
        timeout = self._stop_timeout
        while number:
            try:
                number = self._received.get(timeout=timeout)
            except Empty:
                number = signal.SIGKILL
            if number:
                process.kill_quietly()
            timeout = _KILL_INTERVAL
