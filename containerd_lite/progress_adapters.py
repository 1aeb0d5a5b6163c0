"""Ready progress callbacks: bars of rich or tqdm, and lines in a log.

Each function is a context manager that yields a callback for the argument ``progress`` of ``pull``,
``push`` and the other verbs. rich and tqdm are imported when they are first used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import ceil
from typing import TYPE_CHECKING, TextIO

from .errors import FailedPrecondition
from .limits import refused, seconds
from .printable import printable
from .progress import ProgressCallback, ProgressEvent, format_size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

#: Stages whose events are about a reference, not about a blob.
_OF_REFERENCES = ("resolving", "resolved", "done")
#: Stages whose events have the offset and the size of a blob.
_COUNTED = (
    *("waiting", "downloading", "downloaded", "exists"),
    *("uploading", "uploaded", "mounted", "verifying", "verified"),
)


@contextmanager
def rich_progress(console: Console | None = None) -> Iterator[ProgressCallback]:
    """Show a bar for each blob, and a bar for the whole operation, with the package rich.

    Example::

        with rich_progress() as progress:
            client.pull("docker.io/library/busybox:latest", progress=progress)

    Args:
        console: The console that shows the bars. Default: a console on stderr.

    Yields:
        The progress callback.

    Raises:
        FailedPrecondition: rich is not installed.
        InvalidArgument: ``console`` is not a console.
    """
    with _needing("rich"):  # imported here, because rich need not be installed
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
    if not isinstance(console, Console | None):
        raise refused("console", console, "a rich.console.Console")
    bars = Progress(
        # A name could contain rich's markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[stage]}", markup=False),
        console=console or Console(stderr=True),
    )
    with bars:
        yield _Bars(bars)


@contextmanager
def tqdm_progress(file: TextIO | None = None) -> Iterator[ProgressCallback]:
    """Show one bar for the whole operation, with the package tqdm.

    Args:
        file: The text file that shows the bar. Default: stderr.

    Yields:
        The progress callback.

    Raises:
        FailedPrecondition: tqdm is not installed.
        InvalidArgument: ``file`` has no method ``write``.
    """
    if not (file is None or hasattr(file, "write")):
        raise refused("file", file, "a text file that is open for writing")
    with _needing("tqdm"):  # imported here, because tqdm need not be installed
        from tqdm import tqdm
    bar = tqdm(file=file, unit="B", unit_scale=True, unit_divisor=1024)

    def show(event: ProgressEvent) -> None:
        if event.stage in _OF_REFERENCES:
            bar.set_description_str(short_name(event.name), refresh=False)
        if event.overall.total is not None:
            bar.total = event.overall.total
        bar.update(max(0, event.overall.done - bar.n))

    with closing(bar):
        yield show


@contextmanager
def log_progress(
    logger: logging.Logger | None = None, *, level: int = logging.INFO, interval: float = 5.0
) -> Iterator[ProgressCallback]:
    """Log the progress of the whole operation now and then.

    A line is also logged when a reference is resolved or done, and when a request is repeated. With
    the level ``DEBUG``, each new stage of each blob is logged, too.

    Args:
        logger: The logger. Default: the logger ``containerd_lite.progress``.
        level: The level of the lines.
        interval: The least number of seconds between two lines about the whole operation. Infinity
            means that only the last event makes such a line.

    Yields:
        The progress callback.

    Raises:
        InvalidArgument: An argument has the wrong type, or ``interval`` is negative.
    """
    if not isinstance(logger, logging.Logger | None):
        raise refused("logger", logger, "a logging.Logger")
    if not isinstance(level, int):
        raise refused("level", level, "a level of the module logging")
    pause = seconds("interval", interval, may_be_zero=True)
    log = logger or logging.getLogger(f"{__package__}.progress")
    lines, last = StageLines(), time.monotonic()

    def show(event: ProgressEvent) -> None:
        nonlocal last
        line = lines.new(event)
        if line:
            is_main = event.stage in (*_OF_REFERENCES, "retrying")
            log.log(level if is_main else logging.DEBUG, "%s", line)
        now = time.monotonic()
        if event.stage == "done" or (pause is not None and now - last >= pause):
            last = now
            log.log(level, "%s", event.overall)

    yield show


@contextmanager
def _needing(package: str) -> Iterator[None]:
    """Raise ``FailedPrecondition`` if an import in the block fails."""
    try:
        yield
    except ImportError as error:
        raise FailedPrecondition(
            f"showing progress with {package} needs the package {package}, which is not installed",
            remedy=f"Install it with: pip install {package}",
        ) from error


def short_name(name: str) -> str:
    """Return the first characters of a digest, or any other name in a printable form."""
    return name[:19] if name.startswith("sha256:") else printable(name)


class StageLines:
    """Makes a line when an object enters a new stage."""

    def __init__(self) -> None:
        self._stages: dict[str, str] = {}

    def new(self, event: ProgressEvent) -> str:
        """Return a line, or ``""`` if the object's last event had the same stage.

        The first event of a blob makes no line if it only names the blob.
        """
        last = self._stages.get(event.name)
        if last is None and event.stage == "waiting":
            self._stages[event.name] = ""
            return ""
        if last == event.stage:
            return ""
        self._stages[event.name] = event.stage
        is_moving = event.stage in ("downloading", "uploading")
        size = f" {event.total} bytes" if event.total and is_moving else ""
        return f"{event.stage:11} {short_name(event.name)}{size}"


class _Bars:
    """Shows a bar for the whole operation, and a bar for each blob."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._whole = bars.add_task("", total=None, stage="")
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: ProgressEvent) -> None:
        """Update the bars."""
        overall, stage = event.overall, f"{event.stage} {_speed(event.rate)}"
        if event.stage in _OF_REFERENCES:
            self._bars.update(self._whole, description=short_name(event.name))
        elif event.total:
            if event.name not in self._tasks:
                self._tasks[event.name] = self._bars.add_task(
                    short_name(event.name), total=event.total, stage=stage
                )
            task = self._tasks[event.name]
            if event.stage in _COUNTED:
                self._bars.update(task, completed=event.offset, total=event.total)
            self._bars.update(task, stage=stage)
        if overall.done:
            left = f"{ceil(overall.eta)} s left" if overall.eta else ""
            self._bars.update(self._whole, completed=overall.done, total=overall.total)
            self._bars.update(self._whole, stage=f"{_speed(overall.rate)} {left}")
        if event.stage == "retrying":
            self._bars.update(self._whole, stage=stage)


def _speed(rate: float) -> str:
    return f"{format_size(rate)}/s" if rate else ""
