"""Progress events of pulls, pushes and other long operations."""

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
    """The progress of one object of an operation.

    Attributes:
        stage: What happens to the object.
        name: The reference or the digest of the object.
        offset: Bytes done so far.
        total: Bytes of the whole object; 0 if unknown.
        media_type: The object's media type, or ``""``.
        reason: Why a ``"retrying"`` object failed.
        wait: Seconds until the next try of a ``"retrying"`` object.
        rate: Bytes per second while bytes move, averaged since this process started with the
            object.
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


#: A function for progress events. Any thread of the operation calls it, one call at a time.
ProgressCallback = Callable[[ProgressEvent], object]
