"""Looks up the addresses of hosts, within a deadline.

``getaddrinfo`` cannot be interrupted. A look-up therefore runs in a daemon thread, for which the
caller waits no longer than its deadline allows.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable

from .deadline import Deadline
from .interrupt import check, pause

THREAD_NAME = "containerd-lite-lookup"
#: Largest number of look-ups of this process at the same time.
MAX_LOOKUPS = 64
#: Seconds between two checks of the interrupt, and between two checks whether a look-up has ended.
_CHECK_INTERVAL, _TURN_INTERVAL = 0.1, 0.005

#: A function that returns the numeric addresses of a host, or raises OSError.
HostResolver = Callable[[str], Iterable[str]]

#: The running look-ups of each process. A forked child has none of its parent's threads.
_running: dict[int, set[_Lookup]] = {}


def addresses(host: str) -> list[str]:
    """Return the numeric addresses of ``host``. Raises OSError if the look-up fails."""
    # For a str, Python imports the IDNA codec. Bytes are not encoded.
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def look_up(host: str, deadline: Deadline, resolve: HostResolver = addresses) -> list[str]:
    """Return the addresses that ``resolve`` returns for ``host``.

    Raises the errors of ``resolve``, TimeoutError if the deadline passes first, and Cancelled after
    an interrupt.
    """
    lookup = _Lookup(resolve, host)
    running = _running.setdefault(os.getpid(), set())
    try:
        while not _reserve(lookup, running):
            pause(_TURN_INTERVAL)
            if deadline.expired:
                raise TimeoutError("too many look-ups are running")
        lookup.begin(lambda: running.discard(lookup))
    except BaseException:
        running.discard(lookup)
        raise
    return lookup.result(deadline)


def _reserve(lookup: _Lookup, running: set[_Lookup]) -> bool:
    """Add the look-up to the running ones, and return whether there is room for it."""
    running.add(lookup)
    if len(running) <= MAX_LOOKUPS:
        return True
    running.discard(lookup)
    return False


class _Lookup:
    """One look-up in a thread of its own."""

    def __init__(self, resolve: HostResolver, host: str) -> None:
        self._resolve = resolve
        self._host = host
        self._done = threading.Event()
        self._found: list[str] = []
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def begin(self, at_end: Callable[[], object]) -> None:
        """Start the thread, which calls ``at_end`` last. Without a thread, look up at once."""

        def run() -> None:
            try:
                self._found = list(self._resolve(self._host))
            except Exception as error:
                self._error = error
            finally:
                at_end()
                self._done.set()

        thread = threading.Thread(target=run, name=THREAD_NAME, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process has too many threads
            run()
        else:
            self._thread = thread

    def result(self, deadline: Deadline) -> list[str]:
        """Wait for the thread, and return the addresses."""
        while not self._done.wait(deadline.sooner(_CHECK_INTERVAL).remaining()):
            check()
            if deadline.expired:
                raise TimeoutError("the look-up does not end")
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            # The exception refers to this frame, and must not be referred to by it.
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error
        return self._found
