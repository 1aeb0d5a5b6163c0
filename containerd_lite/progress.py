"""Typed progress events: a side channel that never carries an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from .records import field, record

Stage = Literal[
    "resolving",
    "resolved",
    "waiting",
    "downloading",
    "downloaded",
    "exists",
    "unpacking",
    "unpacked",
    "uploading",
    "uploaded",
    "mounted",
    "verifying",
    "verified",
    "retrying",
    "done",
]


@record(frozen=True)
class ProgressEvent:
    """What one object of a pull or push has come to.

    ``name`` is the reference or digest that ``stage`` concerns.  ``offset`` and ``total`` count
    bytes; a ``total`` of 0 is not known.  With ``retrying`` come the ``reason`` and the seconds to
    ``wait`` before the next try.  While bytes move, ``rate`` is how many a second, on average since
    this process began with the object.
    """

    stage: Stage
    name: str
    offset: int = 0
    total: int = 0
    media_type: str = ""
    reason: str = ""
    wait: float = 0.0
    rate: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        text = f"{self.stage:11} {self.name}"
        text = f"{text} {self.offset}/{self.total}" if self.total else text
        return f"{text} ({self.reason})" if self.reason else text


#: Called from any of the pipeline's threads, one call at a time.
ProgressCallback = Callable[[ProgressEvent], object]
