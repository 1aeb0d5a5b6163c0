"""The bandwidth limit of a client, and the lowest transfer rate that a peer may have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .. import limits

#: A stream with a bandwidth limit is divided into this many portions per second.
_PORTIONS = 8
#: Smallest portion in bytes, so that no portion is smaller than a packet.
_MIN_PORTION = 4 << 10


class TooSlow(TimeoutError):
    """The peer keeps the connection open, but transfers almost nothing."""


class BandwidthLimit:
    """A limit in bytes per second that all streams of one client share. Thread-safe.

    ``rate=None`` means no limit. Raises InvalidArgument if ``rate`` is not a number from 1.
    """

    def __init__(
        self, rate: float | None = None, *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._rate = limits.rate("max_rate", rate, least=1)
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = 0.0

    @property
    def portion(self) -> int | None:
        """The largest number of bytes per call of ``throttle``, or ``None`` for no limit."""
        return None if self._rate is None else max(_MIN_PORTION, int(self._rate / _PORTIONS))

    def throttle(self, count: int) -> None:
        """Wait until the limit allows the ``count`` bytes that were just transferred."""
        if self._rate is None or not count:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + count / self._rate
            wait = self._free_at - now
        self._sleep(wait)


class LeastRate:
    """A check that a peer transfers at least ``rate`` bytes per second in one stream.

    The rate is checked whenever the client has waited ``window`` seconds in total for the peer. The
    time that the consumer of the stream takes between two waits does not count.
    """

    __slots__ = ("_count", "_rate", "_waited", "_window")

    def __init__(self, rate: float, window: float) -> None:
        self._rate = rate
        self._window = window
        self._waited = 0.0
        self._count = 0

    def record(self, seconds: float, count: int) -> None:
        """Record that the transfer of ``count`` bytes took ``seconds``. Raises TooSlow."""
        self._waited += seconds
        self._count += count
        if self._waited < self._window:
            return
        if self._count < self._rate * self._waited:
            raise TooSlow(f"transfers less than {self._rate:g} bytes per second")
        self._waited, self._count = 0.0, 0
