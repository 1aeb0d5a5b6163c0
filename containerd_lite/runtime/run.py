"""The output and the exit code of a process that has ended, as in ``subprocess.run``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..arguments import check_types
from ..errors import ProcessFailed
from ..oci.spec.fields import size
from ..operation import note_output
from ..records import record
from .io.sinks import Capture, Target
from .io.streams import INHERIT, Source, Streams, check_source
from .popen import Running

#: A function that gets the name ``"stdout"`` or ``"stderr"``, and bytes of the stream as they
#: arrive.
OnOutput = Callable[[str, bytes], object]
#: Default maximum number of bytes to capture of each stream, and maximum number of bytes of stderr
#: in an error message.
_MAX_OUTPUT, _SHOWN = 64 << 20, 500
#: The largest value of ``max_output``.
_MOST = (1 << 63) - 1


@record(frozen=True)
class CompletedProcess:
    """The result of a process.

    Attributes:
        exit_code: The exit code. If a signal killed the process: 128 plus the number of the
            signal. ``None`` if the code is unknown, for instance because the shim was killed.
        stdout: The captured output.
        stderr: The captured error output.
    """

    exit_code: int | None
    stdout: bytes
    stderr: bytes

    def check(self, what: str = "the process") -> None:
        """Raise an error unless the exit code is 0.

        Args:
            what: Name of the process in the error message.

        Raises:
            ProcessFailed: The exit code is not 0, or is unknown.
        """
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
    """The result of a container's first process."""


class Capturing:
    """Streams that capture the output of a process.

    Args:
        input: Source of the process's input. Default: no input.
        stdout: Target of the process's output. Default: see ``stream`` and ``capture``.
        stderr: Target of the process's error output. Default: see ``stream`` and ``capture``.
        capture: Whether to capture the outputs that have no target. If false, these outputs go to
            this Python process's own stdout and stderr.
        stream: A function that gets the outputs that have no target. If it is given, these outputs
            are not captured. The function's arguments are the name ``"stdout"`` or ``"stderr"``,
            and bytes. Default: no function.
        max_output: Maximum number of bytes to capture of each stream, or a text: ``"64m"``.
            Default: 64 MiB.
        terminal: Whether the process has a terminal. With a terminal, all output is on stdout.
    """

    def __init__(
        self,
        input: Source | None = None,
        *,
        stdout: Target | None = None,
        stderr: Target | None = None,
        capture: bool = True,
        stream: OnOutput | None = None,
        max_output: int | str = _MAX_OUTPUT,
        terminal: bool | None = False,
    ) -> None:
        check_source("input", input)
        check_types({"stream": stream, "capture": capture})
        self._captures: list[Capture] = []
        limit = size("max_output", max_output, 0, _MOST)

        def choose_target(name: str, target: Target | None) -> Target:
            self._captures.append(Capture(limit))
            if target is not None:
                return target
            captured: Target = self._captures[-1] if capture else INHERIT
            return captured if stream is None else partial(stream, name)

        out, err = choose_target("stdout", stdout), choose_target("stderr", stderr)
        self.streams = Streams(input, out, None if terminal else err, terminal=bool(terminal))

    def __repr__(self) -> str:
        return f"<Capturing {self.streams!r}>"

    def finish(self, running: Running[Any]) -> tuple[int | None, bytes, bytes]:
        """Wait until the process has ended, then close ``running``.

        Returns:
            The exit code, the captured stdout and the captured stderr. After an error, the error of
            the operation carries the output.
        """
        try:
            with running:
                ended = running.finish()
        finally:
            out, err = (capture.data for capture in self._captures)
            note_output(out, err)
        return ended.exit_status, out, err
