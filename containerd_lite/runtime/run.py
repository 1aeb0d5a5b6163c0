"""One process from start to end: the ``subprocess.run`` of containers.

What lives here: what is done with its streams, how it ended.  What may not: starting it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import ProcessFailed
from ..records import record
from .io.sinks import Capture, Target
from .io.streams import INHERIT, Source, Streams
from .popen import Running

#: Takes what comes of ``"stdout"`` or ``"stderr"``, in the order in which it comes.
OnOutput = Callable[[str, bytes], object]
#: How much is captured of a stream (bytes), and how much of it an error shows.
_MAX_OUTPUT, _SHOWN = 64 << 20, 500


@record(frozen=True)
class CompletedProcess:
    """How a process ended; ``exit_code`` is 128 + signal for one that was killed.

    It is ``None`` where nobody knows it, as where the shim was killed.  ``stdout`` and ``stderr``
    are what was captured of its output.
    """

    exit_code: int | None
    stdout: bytes
    stderr: bytes

    def check(self, what: str = "the process") -> None:
        """Raises ``ProcessFailed`` unless the exit code is 0."""
        if self.exit_code != 0:
            how = "in an unknown way" if self.exit_code is None else f"with code {self.exit_code}"
            last = self.stderr[-_SHOWN:].decode("utf-8", "replace").strip()
            raise ProcessFailed(
                f"{what} ended {how}" + (f": {last}" if last else ""),
                exit_code=self.exit_code,
                stdout=self.stdout,
                stderr=self.stderr,
            )


@record(frozen=True)
class CompletedContainer(CompletedProcess):
    """How a container's first process ended."""


class Capturing:
    """Streams to run a process with, and what they captured of its output.

    ``stdout`` and ``stderr`` say where it goes; what has no target is captured, up to
    ``max_output`` bytes each, or with ``capture=False`` goes to this process's own.  ``stream``
    is called with the name and the bytes of what has no target.  With a ``terminal`` all of it is
    ``stdout``'s.
    """

    def __init__(
        self,
        input: Source | None = None,
        *,
        stdout: Target | None = None,
        stderr: Target | None = None,
        capture: bool = True,
        stream: OnOutput | None = None,
        max_output: int = _MAX_OUTPUT,
        terminal: bool | None = False,
    ) -> None:
        self._captures: list[Capture] = []

        def target(name: str, given: Target | None) -> Target:
            self._captures.append(Capture(max_output))
            if given is not None:
                return given
            captured: Target = self._captures[-1] if capture else INHERIT
            return captured if stream is None else partial(stream, name)

        out, err = target("stdout", stdout), target("stderr", stderr)
        self.streams = Streams(input, out, None if terminal else err, terminal=bool(terminal))

    def finish(
        self, running: Running[Any], timeout: float | None
    ) -> tuple[int | None, bytes, bytes]:
        """Wait for its end and remove it; the exit code, and what was captured."""
        with running:
            ended = running.finish(timeout)
        out, err = (capture.data for capture in self._captures)
        return ended.exit_status, out, err
