"""The client's ends of the FIFOs of one process, which is new or already running."""

from __future__ import annotations

from collections.abc import Collection

from ...errors import FailedPrecondition
from ...services.tasks import NULL_DEVICE, NULL_STDIO, Stdio
from ...undo import Undo
from .fifos import FifoFolder, FoundFolder, await_input, open_input


class NewEnds:
    """The FIFOs of a new process, which this class makes.

    Args:
        names: The streams that get a FIFO: some of ``stdin``, ``stdout`` and ``stderr``.
        terminal: Whether the process has a terminal, and therefore no stderr.
        joined: Whether stderr shares the FIFO of stdout.

    Attributes:
        is_attached: Whether the process already ran before this client opened its FIFOs.
        stdio: The paths of the FIFOs, for the daemon.

    Raises:
        PermissionDenied: This user has no permission to write to the folder for FIFOs.
    """

    is_attached = False

    def __init__(
        self, names: Collection[str] = (), *, terminal: bool = False, joined: bool = False
    ) -> None:
        self.stdio = NULL_STDIO
        self._folder = FifoFolder() if names else None
        if self._folder is not None:
            with Undo(self._folder.close):
                paths = {name: self._folder.add(name) for name in names}
            # If the process has any stream, runc's shim requires both stdout and stderr.
            stdout = paths.get("stdout", NULL_DEVICE)
            stderr = "" if terminal else paths.get("stderr", stdout if joined else NULL_DEVICE)
            self.stdio = Stdio(paths.get("stdin", ""), stdout, stderr, terminal)

    @property
    def outputs(self) -> dict[str, str]:
        """The paths of the FIFOs that the client reads, by the name of the stream."""
        return _outputs(self.stdio)

    def open_input(self) -> int:
        """Open stdin's FIFO for writing. Call this method after the start of the process."""
        return await_input(self.stdio.stdin)

    def close(self, *, keep: bool) -> None:
        """Remove the FIFOs. If ``keep`` is true, keep FIFOs that a shim uses."""
        if self._folder is not None:
            self._folder.close(keep=keep)


class FoundEnds(NewEnds):
    """The existing FIFOs of a running process.

    Args:
        stdio: The paths of the FIFOs.

    Raises:
        FailedPrecondition: The process has no FIFOs, or another client serves the FIFOs.
        NotFound: The FIFOs do not exist any more.
    """

    is_attached = True

    def __init__(self, stdio: Stdio) -> None:
        found = [*_outputs(stdio).values(), *filter(None, [stdio.stdin])]
        for path in found:
            if "://" in path:
                raise FailedPrecondition(
                    f"the output goes to {path}, not to a FIFO",
                    remedy="Read the log file or the output of the logger: clients can attach only "
                    "to FIFOs",
                )
        if not found:
            raise FailedPrecondition(
                "the process has no streams to attach to",
                remedy="Start the process with Streams(), Terminal() or Fifos()",
            )
        self.stdio = stdio
        self._folder = FoundFolder(found[0])

    def open_input(self) -> int:
        """Open stdin's FIFO for writing.

        Raise ``FailedPrecondition`` if the process has no input, or has closed its input.
        """
        if not self.stdio.stdin:
            raise FailedPrecondition(
                "the process was started without stdin", remedy="Attach without stdin="
            )
        return open_input(self.stdio.stdin)


def _outputs(stdio: Stdio) -> dict[str, str]:
    paths = {"stdout": stdio.stdout}
    if stdio.stderr != stdio.stdout:
        paths["stderr"] = stdio.stderr
    return {name: path for name, path in paths.items() if path not in ("", NULL_DEVICE)}
