"""Shows progress on stderr: bars on a terminal if ``rich`` is installed, otherwise lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..printable import printable
from ..progress import ProgressCallback, ProgressEvent

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


_MOVING = ("downloading", "uploading")
#: Stages whose events have an offset and a total.
_COUNTED = ("downloading", "downloaded", "exists", "uploading", "uploaded", "mounted", "verifying")


@contextmanager
def show_progress(is_quiet: bool) -> Iterator[ProgressCallback | None]:
    """Yield a callback that shows progress, or ``None`` if ``is_quiet`` is true."""
    if is_quiet:
        yield None
        return
    bars = _bars() if sys.stderr.isatty() else None
    if bars is None:
        yield ProgressLines()
        return
    with bars:
        yield _Bars(bars)


def _bars() -> Progress | None:
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TransferSpeedColumn,
        )
    except ImportError:
        return None
    return Progress(
        # A name could contain rich's markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TextColumn("{task.fields[stage]}"),
        console=Console(stderr=True),
    )


def _short(name: str) -> str:
    return name[:19] if name.startswith("sha256:") else printable(name)


class ProgressLines:
    """Prints a line when an object enters a new stage. This output is suitable for logs."""

    def __init__(self) -> None:
        self._stages: dict[str, str] = {}

    def __call__(self, event: ProgressEvent) -> None:
        """Print a line, unless the last line for the object has the same stage."""
        if self._stages.get(event.name) == event.stage:
            return
        self._stages[event.name] = event.stage
        size = f" {event.total} bytes" if event.total and event.stage in _MOVING else ""
        print(f"{event.stage:11} {_short(event.name)}{size}", file=sys.stderr, flush=True)


class _Bars:
    """Shows a bar for each object."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: ProgressEvent) -> None:
        if event.name not in self._tasks:
            self._tasks[event.name] = self._bars.add_task(
                _short(event.name), total=event.total or None, stage=event.stage
            )
        task = self._tasks[event.name]
        if event.stage in _COUNTED:
            self._bars.update(task, completed=event.offset, total=event.total)
        self._bars.update(task, stage=event.stage)
