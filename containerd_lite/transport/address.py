"""Where the daemon is, and how to get a socket to it.

What lives here: parsing of addresses, dialling, and what to do about a dial that failed.  What
may not: anything sent or received.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

from ..deadline import Deadline, backoff
from ..errors import (
    ConnectionRefused,
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    SocketNotFound,
    SocketPermissionDenied,
    Unavailable,
)

DEFAULT = "unix:///run/containerd/containerd.sock"
#: sun_path has 108 bytes on Linux, the last one a NUL.
_MAX_PATH = 107


@dataclass(frozen=True)
class Address:
    """A Unix socket: a path, or an abstract name (``path`` begins with a NUL).

    ``str()`` gives the address in the form in which it is parsed.
    """

    path: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``unix:///path``, ``unix:path``, a bare path or ``unix-abstract:name``.

        Raises ``InvalidArgument`` for anything else (grpc's naming.md has these forms).
        """
        scheme, colon, rest = text.partition(":")
        if scheme == "unix-abstract" and rest:
            return cls(_checked("\0" + rest, text))
        if scheme == "unix" and rest.startswith("//"):
            host, slash, path = rest[2:].partition("/")
            if host or not slash:
                raise InvalidArgument(
                    f"address {text!r} has a host part", remedy="Write unix:///absolute/path"
                )
            return cls(_checked("/" + path, text))
        if scheme == "unix" and rest:
            return cls(_checked(rest, text))
        if text and "://" not in text and (not colon or "/" in scheme):
            return cls(_checked(text, text))
        raise InvalidArgument(
            f"address {text!r} names no Unix socket",
            remedy="Write unix:///path, unix:path, a plain path or unix-abstract:name",
        )

    def __str__(self) -> str:
        if self.path.startswith("\0"):
            return f"unix-abstract:{self.path[1:]}"
        return f"unix://{self.path}" if self.path.startswith("/") else f"unix:{self.path}"

    def dial(self, timeout: float | None) -> socket.socket:
        """A connected socket in non-blocking mode; ``timeout`` in seconds.

        Raises ``SocketNotFound``, ``ConnectionRefused``, ``SocketPermissionDenied``,
        ``DeadlineExceeded`` or ``Unavailable``.
        """
        sock: socket.socket | None = None
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            self._connect(sock, Deadline(timeout))
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, OSError):
                raise self._explain(error) from error
            raise
        return sock

    def _connect(self, sock: socket.socket, deadline: Deadline) -> None:
        """Connect at once; while the daemon's queue is full, the kernel offers only to try again.

        A time-out of the socket's does not help: it makes the socket non-blocking, and connecting
        to a Unix socket then fails where it would have waited.
        """
        for pause in backoff(0.001, 0.05):
            try:
                return sock.connect(self.path)
            except BlockingIOError:
                if deadline.expired:
                    raise
            time.sleep(deadline.sooner(pause).remaining() or 0)

    def _explain(self, error: OSError) -> ContainerdError:
        where = str(self)
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return SocketNotFound(
                "there is no socket",
                address=where,
                remedy="Is containerd running, and is this its grpc.address? "
                "$CONTAINERD_ADDRESS or the address argument names another one",
            )
        if isinstance(error, ConnectionRefusedError):
            return ConnectionRefused(
                "nothing listens on the socket",
                address=where,
                remedy="Start containerd; the file may be left over from one that ended",
            )
        if isinstance(error, PermissionError):
            return SocketPermissionDenied(
                f"user {os.geteuid()} may not open the socket",
                address=where,
                remedy="Run as root, or as a member of the group that the daemon's grpc.gid names",
            )
        if isinstance(error, TimeoutError | BlockingIOError):
            return DeadlineExceeded(
                "the daemon did not accept the connection in time",
                address=where,
                remedy="Its queue is full or it is stopped; connect_timeout sets the bound",
            )
        return Unavailable(f"cannot connect: {error.strerror or error}", address=where)


def _checked(path: str, text: str) -> str:
    if len(os.fsencode(path)) > _MAX_PATH or "\0" in path[1:]:
        raise InvalidArgument(
            f"address {text!r} is no path for a socket: it is longer than {_MAX_PATH} bytes, "
            "or has a NUL in it",
            remedy="Use a shorter path, or a symbolic link to its folder",
        )
    return path
