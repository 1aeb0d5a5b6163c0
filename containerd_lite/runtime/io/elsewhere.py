"""Streams that somebody else serves: nobody, the shim, a logger, the owner of some FIFOs.

What lives here: what to tell the daemon of them.  What may not: reading or writing them.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlencode

from ...errors import InvalidArgument
from ...services.tasks import Stdio
from .base import StreamedProcess
from .ends import NULL_DEVICE
from .fifos import check_fifo

#: What Go's net/url leaves as it is in a path, beside letters, digits and ``_.-~``.
_IN_PATHS = "/$&+,:;=@"


class NullIO:
    """No input, and no output: the daemon's ``/dev/null`` for all.  Base of its kind."""

    def __init__(self) -> None:
        self.stdio = Stdio()
        self.failure: BaseException | None = None
        self.on_failure: Callable[[], object] = lambda: None

    def start(self, process: StreamedProcess) -> None:
        """Nothing to do."""

    def wait(self, idle: float | None) -> bool:
        """Nothing to wait for: true."""
        return True

    def drain(self) -> None:
        """Nothing comes here."""

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> NullIO:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.stdio.stdout}>"


class LogFile(NullIO):
    """Both outputs are appended to a file on the daemon's machine; its shim makes it.

    ``path`` is absolute.  Raises ``InvalidArgument``.  A process with a terminal cannot have it.
    runc's shim closes the file when stdout ends, and loses what has not yet come of stderr then,
    for ``ctr``, too (containerd #3118); where those words count, have a ``BinaryLogger``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        uri = _uri("file", path)
        self.stdio = Stdio("", uri, uri)


class BinaryLogger(NullIO):
    """Both outputs go to a program that the shim starts on its machine.

    The program finds stdout and stderr on its descriptors 3 and 4 and closes 5 when it is ready
    (containerd's core/runtime/v2/logging); ``CONTAINER_ID`` and ``CONTAINER_NAMESPACE`` are its
    only variables.  ``path`` is absolute; ``args`` are its arguments, a name and a value each,
    which come in any order.  Raises ``InvalidArgument``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        args: Mapping[str, str] | None = None,
        *,
        terminal: bool = False,
    ) -> None:
        super().__init__()
        query = urlencode(sorted((args or {}).items()))
        uri = _uri("binary", path) + (f"?{query}" if query else "")
        self.stdio = Stdio("", uri, uri, terminal)


class Fifos(NullIO):
    """FIFOs that are there already, and served by somebody else; ``""`` for a stream without.

    Raises ``InvalidArgument`` for a path that is not absolute, ``NotFound``, and
    ``FailedPrecondition`` for something that is no FIFO.
    """

    def __init__(
        self, stdin: str = "", stdout: str = "", stderr: str = "", *, terminal: bool = False
    ) -> None:
        super().__init__()
        if terminal and (stderr or not stdout):
            raise InvalidArgument(
                "a terminal has one output, stdout", remedy="Give stdout, and no stderr"
            )
        for path in filter(None, (stdin, stdout, stderr)):
            _check_absolute(path)
            check_fifo(path)
        if not terminal and (stdin or stdout or stderr):
            # runc's shim wants both outputs as soon as there is one stream.
            stdout, stderr = stdout or NULL_DEVICE, stderr or NULL_DEVICE
        self.stdio = Stdio(stdin, stdout, stderr, terminal)


def _check_absolute(path: str) -> None:
    if not os.path.isabs(path):
        raise InvalidArgument(
            f"{path!r} is not absolute", remedy="The daemon has a working directory of its own"
        )


def _uri(scheme: str, path: str | os.PathLike[str]) -> str:
    """As Go's ``url.URL`` writes it, which is how the shim reads it."""
    text = os.fspath(path)
    _check_absolute(text)
    # normpath keeps two slashes at the beginning, which would be a host's name here.
    clean = "/" + posixpath.normpath(text).lstrip("/")
    return f"{scheme}://{quote(os.fsencode(clean), safe=_IN_PATHS)}"
