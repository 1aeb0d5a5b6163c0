"""The bandwidth limit of a client, and the lowest transfer rate that a peer may have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .. import limits
from ..deadline import Deadline

#: A stream with a bandwidth limit is divided into this many portions per second.
_PORTIONS = 8
#: Smallest portion in bytes, so that no portion is smaller than a packet.
_MIN_PORTION = 4 << 10
#: The largest result of ``min_progress`` in bytes.
_MAX_MIN_PROGRESS = 64 << 10


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

    def throttle(self, count: int, deadline: Deadline | None = None) -> None:
        """Wait until the limit allows the ``count`` bytes that were just transferred.

        The wait ends at ``deadline``.
        """
        if self._rate is None or not count:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + count / self._rate
            wait = self._free_at - now
        remaining = deadline.remaining() if deadline else None
        self._sleep(wait if remaining is None else min(wait, remaining))


def min_progress(size: int) -> int:
    """Return how many of a blob's ``size`` bytes a transfer must move between failures.

    A transfer that moves fewer bytes before it fails again has made no progress.
    """
    return min(_MAX_MIN_PROGRESS, max(1, size // 100))


class TransferRate:
    """The average rate of one transfer over all its connections.

    The rate of a single request starts with each connection, and includes the bytes of headers. A
    peer that cuts each connection after a few bytes could therefore keep a transfer alive for ever.
    This class counts only the bytes of the content. It counts the time of all requests, and the
    waits between them.

    Args:
        rate: The lowest rate in bytes per second.
        window: Seconds of waiting after which the rate is checked.
        offset: The offset at which the transfer begins.
    """

    __slots__ = ("_offset", "_rate", "_window", "waited")

    def __init__(self, rate: float = 0.0, window: float = 0.0, offset: int = 0) -> None:
        self._rate = rate
        self._window = window
        self._offset = offset
        #: Seconds that the client has waited for the peer since the last check.
        self.waited = 0.0

    def check(self, offset: int) -> None:
        """Check the rate of a transfer that has reached ``offset``. Raises TooSlow."""
        if self.waited < self._window:
            return
        if offset - self._offset < self._rate * self.waited:
            raise TooSlow(f"transfers less than {self._rate:g} bytes per second")
        self._offset, self.waited = offset, 0.0


class LeastRate:
    """A check that a peer transfers at least ``rate`` bytes per second in one stream.

    The rate is checked whenever the client has waited ``window`` seconds in total for the peer. The
    time that the consumer of the stream takes between two waits does not count. The waits are also
    added to those of ``transfer``, if the stream is a part of a transfer.
    """

    __slots__ = ("_count", "_rate", "_transfer", "_waited", "_window")

    def __init__(self, rate: float, window: float, transfer: TransferRate | None = None) -> None:
        self._rate = rate
        self._transfer = transfer
        self._window = window
        self._waited = 0.0
        self._count = 0

    def record(self, seconds: float, count: int) -> None:
        """Record that the transfer of ``count`` bytes took ``seconds``. Raises TooSlow."""
        self._waited += seconds
        self._count += count
        if self._transfer is not None:
            self._transfer.waited += seconds
        if self._waited < self._window:
            return
        if self._count < self._rate * self._waited:
            raise TooSlow(f"transfers less than {self._rate:g} bytes per second")
        self._waited, self._count = 0.0, 0
