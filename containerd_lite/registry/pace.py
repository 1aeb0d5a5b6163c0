"""The bandwidth limit of a client, and the least rate of a peer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import InvalidArgument

#: Number of portions per second into which a limited stream is divided.
_PORTIONS = 8
#: Least number of bytes of a portion, so that none is smaller than a packet.
_MIN_PORTION = 4 << 10


class TooSlow(TimeoutError):
    """The peer keeps the connection open, but transfers almost nothing."""


class BandwidthLimit:
    """A limit in bytes per second that all streams of one client share. Thread-safe.

    ``None`` means no limit. Raises InvalidArgument if ``rate`` is less than 1.
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
        """The most bytes to transfer before a call of ``throttle``, or ``None`` without a limit."""
        return None if self._rate is None else max(_MIN_PORTION, int(self._rate / _PORTIONS))

    def throttle(self, count: int) -> None:
        """Wait until the ``count`` bytes that were just transferred are within the limit."""
        if self._rate is None or not count:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + count / self._rate
            wait = self._free_at - now
        self._sleep(wait)


class LeastRate:
    """The least rate of one stream, in bytes per second.

    The rate is checked each time the waits for the peer add up to ``window`` seconds. Only these
    waits count. Time that the consumer takes between them does not count against the peer.
    """

    __slots__ = ("_count", "_rate", "_waited", "_window")

    def __init__(self, rate: float, window: float) -> None:
        self._rate = rate
        self._window = window
        self._waited = 0.0
        self._count = 0

    def record(self, seconds: float, count: int) -> None:
        """Record that ``count`` bytes took ``seconds``. Raises TooSlow."""
        self._waited += seconds
        self._count += count
        if self._waited < self._window:
            return
        if self._count < self._rate * self._waited:
            raise TooSlow(f"transfers less than {self._rate:g} bytes per second")
        self._waited, self._count = 0.0, 0
