"""Progress events of pulls, pushes and other long operations."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
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
class Overall:
    """The progress of a whole operation, over all objects that it transfers.

    Attributes:
        done: The number of bytes that are where they belong. Bytes that were there before the
            operation count, too. ``done`` never falls, also if a transfer starts again.
        total: The number of bytes in total, or ``None`` until the operation has read the last
            manifest. After that, ``total`` does not change. In the last event of a successful
            operation, ``done`` and ``total`` are equal. If the daemon pushes, imports or exports
            images, ``total`` is known only in this event.
        rate: The number of bytes per second that the operation has transferred, averaged over about
            the last ten seconds. Bytes that were there before do not count.
        eta: The number of seconds until the end at this rate, or ``None`` if it is unknown.
    """

    done: int = 0
    total: int | None = None
    rate: float = 0.0
    eta: float | None = None

    def __str__(self) -> str:
        text = format_size(self.done)
        if self.total is not None:
            text = f"{text} of {format_size(self.total)}"
        if self.rate:
            text = f"{text}, {format_size(self.rate)}/s"
        return f"{text}, {ceil(self.eta)} s left" if self.eta else text


def format_size(size: float) -> str:
    """Return a number of bytes with its unit, such as ``12.5 MiB``."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} GiB"


@record(frozen=True)
class ProgressEvent:
    """The progress of one object of an operation.

    When an operation has read a manifest, an event of the stage ``"waiting"`` with the offset 0
    names each blob of the manifest with its size. So a program can show a bar for each blob at
    once.

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
        overall: The progress of the whole operation. It is ``Overall()`` in the events of ``sign``
            and ``attest``, and of a ``Registry`` or a resolver that the caller made, because these
            serve many operations.
    """

    stage: Stage
    name: str
    offset: int = 0
    total: int = 0
    media_type: str = ""
    reason: str = ""
    wait: float = 0.0
    rate: float = field(default=0.0, compare=False)
    overall: Overall = field(default=Overall(), compare=False, repr=False)

    def __str__(self) -> str:
        text = f"{self.stage:11} {self.name}"
        text = f"{text} {self.offset}/{self.total}" if self.total else text
        return printable(f"{text} ({self.reason})" if self.reason else text)


#: A function that receives progress events. Several threads of the operation can call the function,
#: but never at the same time. To cancel the operation, the function raises an exception: the
#: operation stops, removes what it has made, and raises the same exception.
ProgressCallback = Callable[[ProgressEvent], object]
