"""Deadlines, and the waits between retries."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from . import limits


class Deadline:
    """A point in time on the monotonic clock, or a deadline that never expires.

    An operation that has several steps passes the same deadline to all steps.
    """

    __slots__ = ("_at",)

    def __init__(self, seconds: float | None = None) -> None:
        """Make a deadline that expires in ``seconds``, or never if ``seconds`` is ``None``.

        Raises:
            InvalidArgument: ``seconds`` is negative or not a number.
        """
        if seconds is None:
            self._at = None
            return
        # Every call makes deadlines, so valid numbers are recognized without a call of a function.
        if type(seconds) is not float or not 0.0 <= seconds <= limits.LONGEST:
            checked = limits.seconds("timeout", seconds, may_be_zero=True)
            if checked is None:
                self._at = None
                return
            seconds = checked
        self._at = time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Return the seconds until the deadline, or ``None`` if the deadline never expires.

        If the deadline has passed, return 0.
        """
        if self._at is None:
            return None
        left = self._at - time.monotonic()
        return left if left > 0 else 0.0

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self._at is not None and time.monotonic() >= self._at

    def sooner(self, seconds: float | None) -> Deadline:
        """Return this deadline or ``Deadline(seconds)``, whichever expires earlier."""
        other = Deadline(seconds)
        if other._at is None or (self._at is not None and self._at <= other._at):
            return self
        return other

    def __repr__(self) -> str:
        left = self.remaining()
        return "Deadline(never)" if left is None else f"Deadline({left:.3f} s left)"


def backoff(first: float, most: float) -> Iterator[float]:
    """Yield the seconds to wait before each retry: exponential backoff with jitter.

    Each wait is a random number between half of a bound and the bound. The bound is ``first`` for
    the first wait, and doubles after each wait, but never exceeds ``most``. If several clients fail
    at the same time, the jitter spreads their retries.
    """
    bound = first
    while True:
        # The module random would import hashlib, which few programs need.
        yield bound * (0.5 + int.from_bytes(os.urandom(2), "big") / 0x1FFFE)
        bound = min(most, bound * 2)
