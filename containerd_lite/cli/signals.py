"""Signals to this program: they interrupt it, or go to a container's process."""

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

#: The signals that end a program, and what is printed for each.
_NAMES = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",
    signal.SIGQUIT: "quit",
}
#: Seconds after which a process is killed again: the daemon may have been down the first time.
_KILL_INTERVAL = 1.0


class Interrupted(KeyboardInterrupt):
    """A signal that ends this program, after clean-up."""

    def __init__(self, number: int) -> None:
        super().__init__(_NAMES[signal.Signals(number)])
        self.exit_code = 128 + number


def _interrupt(number: int, frame: object) -> NoReturn:
    raise Interrupted(number)


@contextmanager
def handled(handler: Callable[[int, object], object] = _interrupt) -> Iterator[None]:
    """Handle the signals that end this program during the block. Use it in the main thread only.

    Args:
        handler: The handler. Default: it raises ``Interrupted``. Signals that are ignored, as
            under ``nohup``, stay ignored.
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

    The handler does not raise: it could raise between the creation of a thing and the assignment
    of its name. The first signal goes to the process, which then has ``patience`` seconds to end
    before it is killed. The second signal kills it. The third raises ``Interrupted``.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._count = 0
        self._last = 0
        self._handled = handled(self._note)
        self._received: SimpleQueue[int] = SimpleQueue()  # reentrant, as handlers require
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
        """Forward to a started process the signals received so far, and those to come."""
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
        patience = self._patience
        while number:
            try:
                number = self._received.get(timeout=patience)
            except Empty:
                number = signal.SIGKILL
            if number:
                process.kill_quietly()
            patience = _KILL_INTERVAL
