"""Measures how the CPU time and the memory of a reader grow with its input.

A shape is a reader together with a generator of inputs of any size. The growth of a shape is the
exponent ``e`` for which the CPU time grows as the e-th power of the size: 1 for a linear reader,
2 for a quadratic one.
"""

from __future__ import annotations

import gc
import math
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from containerd_lite.errors import ContainerdError

#: The largest growth that counts as good.
MAX_GROWTH = 1.3
#: The most CPU seconds for the largest input that a reader permits.
MAX_SECONDS = 2.0
#: An input that takes fewer CPU seconds is good, whatever its growth.
_GOOD_SECONDS = 0.02
#: The size at which the search for a measurable size begins, and the largest size of the search.
_FIRST, _LAST = 16, 1 << 28
#: Bytes that any reader may take, whatever its input.
_FREE_BYTES = 2 << 20


def length(source: Any) -> int:
    """The bytes of an input: of a text, of bytes, or of a list of them."""
    if isinstance(source, (list, tuple)):
        return sum(map(length, source))
    return len(source)


@dataclass(frozen=True)
class Shape:
    """A reader, and a generator of inputs for it.

    ``make`` returns the input of size n; the size may count bytes, fields or anything else.
    ``largest`` is the largest size that the reader permits; ``None`` stands for a stream, whose CPU
    seconds per MiB must be at most ``per_mib``.  The peak of memory must be at most ``memory``
    times the bytes of the input, with a constant beside it.  ``growth`` is the largest growth that
    counts as good; a shape that allows more says whose growth it is.  ``is_table`` says that the
    reader keeps a table of many keys.
    """

    reader: str
    name: str
    make: Callable[[int], Any]
    read: Callable[[Any], object]
    largest: int | None = None
    per_mib: float = 2.0
    memory: float = 16.0
    growth: float = MAX_GROWTH
    is_table: bool = False
    weigh: Callable[[Any], int] = field(default=length)

    def __str__(self) -> str:
        return f"{self.reader}: {self.name}"


@dataclass(frozen=True)
class Care:
    """How carefully to measure: CPU seconds of the smallest input, and how often to repeat.

    ``table_growth`` is the largest growth of a table.  In an input that takes few milliseconds,
    a table outgrows the processor's caches, above all beside other work: each key then takes up to
    twice as long.
    """

    seconds: float
    rounds: int
    table_growth: float

    def max_growth(self, shape: Shape) -> float:
        """The largest growth that counts as good."""
        return max(shape.growth, self.table_growth if shape.is_table else 0.0)


#: An ordinary run measures less, on machines with other work; ``--counts=full`` measures fully.
REDUCED, FULL = Care(0.002, 2, 1.6), Care(0.02, 5, MAX_GROWTH)


def seconds_of(shape: Shape, size: int, rounds: int = 1) -> float:
    """The CPU seconds that the reader takes for its input, the best of several rounds."""
    source = shape.make(size)
    return min(_once(shape, source) for _ in range(rounds))


def _once(shape: Shape, source: Any) -> float:
    enabled = gc.isenabled()
    gc.disable()
    try:
        start = time.thread_time()
        _read(shape, source)
        return time.thread_time() - start
    finally:
        if enabled:
            gc.enable()


def _read(shape: Shape, source: Any) -> None:
    with suppress(ContainerdError):
        shape.read(source)


def first_size(shape: Shape, care: Care) -> int:
    """The size from which to measure: its input takes long enough, or four of it are the limit."""
    last = _LAST if shape.largest is None else max(1, shape.largest // 4)
    size = min(_FIRST, last)
    while size < last and (seconds := seconds_of(shape, size)) < care.seconds:
        factor = 8 if seconds < care.seconds / 16 else 2
        size = min(last, size * factor)
    # Otherwise, the reader refuses its input at once, and the shape means nothing.
    assert size < _LAST, f"{shape} cannot be measured"
    return size


def growth(shape: Shape, size: int, rounds: int) -> tuple[float, float]:
    """The exponent of the growth from ``size`` to four times as much, and of the flatter half.

    A cache that becomes too small makes one of the two doublings steep; a quadratic reader makes
    both steep.
    """
    sources = [shape.make(size * factor) for factor in (1, 2, 4)]
    best = [math.inf] * len(sources)
    for _ in range(rounds):  # in turns, so that a busy moment of the machine meets all sizes
        best = [min(old, _once(shape, source)) for old, source in zip(best, sources, strict=True)]
    first, second, third = (max(seconds, 1e-7) for seconds in best)
    return math.log(third / first, 4), min(math.log2(second / first), math.log2(third / second))


def judged_growth(shape: Shape, care: Care) -> tuple[int, float]:
    """The first size and the growth, which is measured again with more care if it looks bad.

    The growth is 0 if the largest input takes less time than what can be measured.
    """
    size = first_size(shape, care)
    if shape.largest is not None and size >= shape.largest // 4:
        is_quick = seconds_of(shape, shape.largest, care.rounds) < _GOOD_SECONDS
        if is_quick:
            return size, 0.0
    found, _ = growth(shape, size, care.rounds)
    for again in range(3):
        if found <= care.max_growth(shape):
            break
        larger = size * 2 if shape.largest is None else min(size * 2, max(1, shape.largest // 4))
        found = min(found, *growth(shape, larger, care.rounds * (2 + 2 * again)))
    return size, found


def peak_bytes(shape: Shape, size: int) -> tuple[int, int]:
    """The most bytes that the reader had at a time, and the bytes of its input."""
    source = shape.make(size)
    gc.collect()
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        _read(shape, source)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        if not was_tracing:
            tracemalloc.stop()
    return max(0, peak), shape.weigh(source)


def is_frugal(shape: Shape, peak: int, weight: int) -> bool:
    """Whether the peak fits the input."""
    return peak <= _FREE_BYTES + shape.memory * weight


def repeating(
    reader: str,
    name: str,
    read: Callable[[Any], object],
    unit: Any,
    *,
    before: Any = None,
    after: Any = None,
    limit: int | None = None,
    **options: Any,
) -> Shape:
    """The shape of a text or bytes that repeat ``unit``, up to ``limit`` bytes or characters."""
    empty = unit[:0]
    start, end = empty if before is None else before, empty if after is None else after
    room = None if limit is None else (limit - len(start) - len(end)) // len(unit)
    return Shape(reader, name, lambda n: start + unit * n + end, read, room, **options)
