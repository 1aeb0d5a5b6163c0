"""Shows progress on stderr: bars on a terminal if ``rich`` is installed, otherwise lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ..errors import FailedPrecondition
from ..progress import ProgressCallback, ProgressEvent
from ..progress_adapters import StageLines, rich_progress


@contextmanager
def show_progress(is_quiet: bool) -> Iterator[ProgressCallback | None]:
    """Yield a callback that shows progress, or ``None`` if ``is_quiet`` is true."""
    show: ProgressCallback | None = None if is_quiet else ProgressLines()
    with ExitStack() as stack:
        if not is_quiet and sys.stderr.isatty():
            with suppress(FailedPrecondition):  # rich is not installed
                show = stack.enter_context(rich_progress())
        yield show


class ProgressLines:
    """Prints a line when an object enters a new stage. This output is suitable for logs."""

    def __init__(self) -> None:
        self._lines = StageLines()

    def __call__(self, event: ProgressEvent) -> None:
        """Print a line, unless the last line for the object has the same stage."""
        if line := self._lines.new(event):
            print(line, file=sys.stderr, flush=True)
