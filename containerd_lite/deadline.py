"""Points in time by which something must be done, and waits between tries.

What lives here: ``Deadline`` and ``backoff``.  What may not: sleeping, threads.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator


class Deadline:
    """A point on the monotonic clock, or never; threaded through long operations."""

    __slots__ = ("_at",)

    def __init__(self, seconds: float | None = None) -> None:
        """``seconds`` from now; ``None`` never expires."""
        self._at = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Seconds left, never below 0; ``None`` for a deadline that never expires."""
        if self._at is None:
            return None
        left = self._at - time.monotonic()
        return left if left > 0 else 0.0

    @property
    def expired(self) -> bool:
        return self._at is not None and time.monotonic() >= self._at

    def sooner(self, seconds: float | None) -> Deadline:
        """The earlier of this deadline and ``seconds`` from now."""
        other = Deadline(seconds)
        if other._at is None or (self._at is not None and self._at <= other._at):
            return self
        return other

    def __repr__(self) -> str:
        left = self.remaining()
        return "Deadline(never)" if left is None else f"Deadline({left:.3f} s left)"


def backoff(first: float, most: float) -> Iterator[float]:
    """Endless waits in seconds, each drawn from (half a bound, the bound), the bound doubling.

    The jitter keeps clients that failed together from coming back together.
    """
    bound = first
    while True:
        # Not by random, which imports hashlib, for what most programs never do.
        yield bound * (0.5 + int.from_bytes(os.urandom(2), "big") / 0x1FFFE)
        bound = min(most, bound * 2)
