"""How fast bytes may and must come: the bandwidth limit, and the rate below which one gives up.

What lives here: counting and waiting.  What may not: sockets, requests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import InvalidArgument

#: Pieces of a limited stream are this part of a second long, and never smaller than a packet.
_SHARE = 8
_LEAST = 4 << 10


class TooSlow(TimeoutError):
    """A peer that keeps a connection alive and gives next to nothing."""


class Pace:
    """A limit in bytes per second, shared by all streams of one client; thread-safe.

    ``None`` is no limit.  Raises InvalidArgument for one below 1.
    """

    def __init__(
        self, rate: float | None = None, *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        if rate is not None and rate < 1:
            raise InvalidArgument("a bandwidth limit must be 1 byte per second or more")
        self._rate = rate
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = 0.0

    @property
    def portion(self) -> int | None:
        """The most bytes to move before ``spend``; ``None`` where that does not matter."""
        return None if self._rate is None else max(_LEAST, int(self._rate / _SHARE))

    def spend(self, count: int) -> None:
        """Waits until ``count`` bytes, which have moved, are within the limit."""
        if self._rate is None or not count:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + count / self._rate
            wait = self._free_at - now
        self._sleep(wait)


class Floor:
    """The rate in bytes per second that one stream must keep while it is waited for.

    It is looked at each time the peer has been waited for as long as ``window`` seconds in all:
    a consumer that takes its time costs the peer nothing.
    """

    __slots__ = ("_came", "_rate", "_waited", "_window")

    def __init__(self, rate: float, window: float) -> None:
        self._rate = rate
        self._window = window
        self._waited = 0.0
        self._came = 0

    def note(self, seconds: float, count: int) -> None:
        """Notes that ``count`` bytes took ``seconds``.  Raises TooSlow."""
        self._waited += seconds
        self._came += count
        if self._waited < self._window:
            return
        if self._came < self._rate * self._waited:
            raise TooSlow(f"sends less than {self._rate:g} bytes per second")
        self._waited, self._came = 0.0, 0
