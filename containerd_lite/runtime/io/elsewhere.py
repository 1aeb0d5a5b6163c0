"""Streams that this Python process does not serve.

The classes are for log files, loggers, FIFOs of other programs, and streams whose output is
discarded.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from ...arguments import path as path_of
from ...errors import InvalidArgument, Unimplemented
from ...printable import quoted
from ...records import replace
from ...services.tasks import NULL_DEVICE, NULL_STDIO, Stdio
from .base import StreamedProcess
from .fifos import check_fifo

if TYPE_CHECKING:
    from ...services.introspection import IntrospectionService

#: Characters that Go's net/url does not escape in a path, besides letters, digits and ``_.-~``.
_UNESCAPED = "/$&+,:;=@"


class NullIO:
    """Streams without input, whose output is discarded.

    This class is also the base class of all streams that this Python process does not serve.

    Attributes:
        stdio: The paths or URIs of the streams, for the daemon.
        failure: Always ``None``.
        on_failure: A function that is never called.
    """

    def __init__(self) -> None:
        self.stdio = NULL_STDIO
        self.failure: BaseException | None = None
        self.on_failure: Callable[[], object] = lambda: None

    def start(self, process: StreamedProcess) -> None:
        """Do nothing."""

    def wait(self, idle: float | None) -> bool:
        """Return true at once."""
        return True

    def drain(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> NullIO:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.stdio.stdout}>"


class LogFile(NullIO):
    """A log file on the daemon's machine, to which the shim appends stdout and stderr.

    The shim creates the file, in a folder that must exist. A process with a terminal cannot have a
    log file. runc's shim closes the file at the end of stdout, and loses the bytes that stderr gets
    afterwards (containerd #3118). A ``BinaryLogger`` gets all bytes of stderr.

    Args:
        path: Absolute path of the file.

    Raises:
        InvalidArgument: The path is not absolute.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        uri = _uri("file", path)
        self.stdio = Stdio("", uri, uri)


class BinaryLogger(NullIO):
    """A logger: a program on the daemon's machine, which the shim starts and which gets the output.

    The program reads the process's stdout from descriptor 3, and its stderr from descriptor 4. When
    the program is ready, it must close descriptor 5 (containerd's core/runtime/v2/logging). A
    program that ends before closes the descriptor, too, and the shim cannot tell the difference,
    unless ``ready_byte`` is set. The only environment variables of the program are
    ``CONTAINER_ID`` and ``CONTAINER_NAMESPACE``.

    Args:
        path: Absolute path of the program.
        args: The program's arguments, as a mapping of names to values. In the command line, each
            value follows its name. The names can appear in any order. Default: none.
        terminal: Whether the process has a terminal.
        ready_byte: Whether the program writes a byte to descriptor 5 before it closes the
            descriptor. If the byte is missing, the process is not created. Since 2.3.

    Raises:
        InvalidArgument: The path is not absolute.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        args: Mapping[str, str] | None = None,
        *,
        terminal: bool = False,
        ready_byte: bool = False,
    ) -> None:
        super().__init__()
        query = urlencode(sorted((args or {}).items()))
        uri = _uri("binary-v2" if ready_byte else "binary", path) + (f"?{query}" if query else "")
        self.stdio = Stdio("", uri, uri, terminal)


class SameTargets(NullIO):
    """The log file or the logger of an earlier process.

    Args:
        stdio: The streams of the earlier process, with a URI as its output.
    """

    def __init__(self, stdio: Stdio) -> None:
        super().__init__()
        self.stdio = replace(stdio, stdin="")


class Fifos(NullIO):
    """Existing FIFOs on the daemon's machine, which another program serves.

    Args:
        stdin: Absolute path of the input's FIFO. Default: no input.
        stdout: Absolute path of the output's FIFO. Default: the output is discarded.
        stderr: Absolute path of the error output's FIFO. Default: the error output is discarded.
        terminal: Whether the process has a terminal. A terminal requires ``stdout``, and excludes
            ``stderr``.

    Raises:
        FailedPrecondition: A file is not a FIFO.
        InvalidArgument: A path is not absolute. Also raised if the process has a terminal, and
            ``stdout`` is missing or ``stderr`` is given.
        NotFound: A FIFO does not exist.
    """

    def __init__(
        self, stdin: str = "", stdout: str = "", stderr: str = "", *, terminal: bool = False
    ) -> None:
        super().__init__()
        if terminal and stderr:
            raise InvalidArgument(
                "a process with a terminal has no stderr", remedy="Leave out stderr="
            )
        if terminal and not stdout:
            raise InvalidArgument("a process with a terminal needs stdout", remedy="Give stdout=")
        for path in filter(None, (stdin, stdout, stderr)):
            _check_absolute(path)
            check_fifo(path)
        if not terminal and (stdin or stdout or stderr):
            # If the process has any stream, runc's shim requires both stdout and stderr.
            stdout, stderr = stdout or NULL_DEVICE, stderr or NULL_DEVICE
        self.stdio = Stdio(stdin, stdout, stderr, terminal)


def check_log_uris(introspection: IntrospectionService, *targets: str) -> None:
    """Check that the daemon's own shims support the schemes of log URIs.

    Daemons before 2.3 do not list the schemes. Their shims refuse unknown schemes themselves.

    Args:
        introspection: The introspection service.
        targets: Targets of output: paths, which are not checked, or URIs.

    Raises:
        Unimplemented: The daemon lists the schemes, and a scheme is missing.
    """
    schemes = {scheme for scheme, mark, _ in (text.partition("://") for text in targets) if mark}
    if not schemes:
        return
    for plugin in introspection.plugins("type==io.containerd.runtime.v2,id==task"):
        known = plugin.exports.get("log-uri-schemes", "")
        if known and (missing := schemes.difference(known.split(","))):
            raise Unimplemented(
                f"the daemon does not support log URIs with the scheme {quoted(min(missing))}",
                remedy=f"Use one of the daemon's schemes: {known}",
            )


def _check_absolute(path: str) -> None:
    if not os.path.isabs(path):
        raise InvalidArgument(f"path {path!r} is not absolute", remedy="Give an absolute path")


def _uri(scheme: str, path: str | os.PathLike[str]) -> str:
    """Return the URI of a path in the form of Go's ``url.URL``, which the shim's Go code reads."""
    text = path_of("path", path)
    _check_absolute(text)
    # normpath keeps two leading slashes, but in a URI, two leading slashes precede a host name.
    clean = "/" + posixpath.normpath(text).lstrip("/")
    return f"{scheme}://{quote(os.fsencode(clean), safe=_UNESCAPED)}"
