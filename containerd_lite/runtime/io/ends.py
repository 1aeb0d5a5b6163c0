"""Our ends of the FIFOs of one process: of a new one, or of one that runs already.

What lives here: which FIFOs there are, and what the daemon is told of them.  What may not: what
is done with them.
"""

from __future__ import annotations

from collections.abc import Collection

from ...errors import FailedPrecondition
from ...services.tasks import Stdio
from ...undo import Undo
from .fifos import FifoFolder, FoundFolder, await_input, open_input

#: An output that is thrown away: the shim opens it as any file.
NULL_DEVICE = "/dev/null"


class NewEnds:
    """New FIFOs for those of stdin, stdout and stderr that are in ``names``.

    With ``joined`` stderr has stdout's.  Raises ``PermissionDenied``.
    """

    is_attached = False

    def __init__(
        self, names: Collection[str] = (), *, terminal: bool = False, joined: bool = False
    ) -> None:
        self.stdio = Stdio()
        self._folder = FifoFolder() if names else None
        if self._folder is not None:
            with Undo(self._folder.close):
                paths = {name: self._folder.add(name) for name in names}
            # runc's shim wants both outputs as soon as there is one stream.
            stdout = paths.get("stdout", NULL_DEVICE)
            stderr = "" if terminal else paths.get("stderr", stdout if joined else NULL_DEVICE)
            self.stdio = Stdio(paths.get("stdin", ""), stdout, stderr, terminal)

    @property
    def outputs(self) -> dict[str, str]:
        """The FIFOs to read, by the name of the stream."""
        return _outputs(self.stdio)

    def open_input(self) -> int:
        """When the process has been started."""
        return await_input(self.stdio.stdin)

    def close(self, *, keep: bool) -> None:
        """Remove the FIFOs; with ``keep`` only if no shim uses them."""
        if self._folder is not None:
            self._folder.close(keep=keep)


class FoundEnds(NewEnds):
    """The FIFOs of a process that runs already, which ``stdio`` names.

    Raises ``FailedPrecondition`` where it has none, or where another client serves them, and
    ``NotFound`` where they are gone.
    """

    is_attached = True

    def __init__(self, stdio: Stdio) -> None:
        found = [*_outputs(stdio).values(), *filter(None, [stdio.stdin])]
        for path in found:
            if "://" in path:
                raise FailedPrecondition(
                    f"the output goes to {path}", remedy="Look there: its shim serves it"
                )
        if not found:
            raise FailedPrecondition(
                "the process has no streams to attach to",
                remedy="Start it with Streams(), Terminal() or Fifos()",
            )
        self.stdio = stdio
        self._folder = FoundFolder(found[0])

    def open_input(self) -> int:
        """Raises ``FailedPrecondition`` for a process without an input, or that closed it."""
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
