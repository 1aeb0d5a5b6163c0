"""Progress events of pulls, pushes and other long operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from .printable import printable
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
        stage: The step that the object has reached.
        name: The reference or the digest of the object.
        offset: The number of bytes that have been processed.
        total: The size of the object in bytes, or 0 if the size is unknown.
        media_type: The media type of the object, or ``""``.
        reason: The reason why the last attempt failed, if the stage is ``"retrying"``.
        wait: The number of seconds until the next attempt, if the stage is ``"retrying"``.
        rate: The average number of transferred bytes per second, since this process started to
            transfer the object.
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
        return printable(f"{text} ({self.reason})" if self.reason else text)


#: A function that receives progress events. Several threads of the operation can call the function,
#: but never at the same time.
ProgressCallback = Callable[[ProgressEvent], object]
