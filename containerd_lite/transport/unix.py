"""A daemon that listens on a Unix socket: parsing of its addresses, dialling."""

from __future__ import annotations

import os
import socket
import time

from ..deadline import Deadline, backoff
from ..errors import InvalidArgument
from ..records import record
from ..undo import Undo
from . import failures
from .base import Address

#: sun_path has 108 bytes on Linux, the last one a NUL.
_MAX_PATH = 107
#: Bytes of room for what is sent; the kernel gives twice that, up to twice net.core.wmem_max, and
#: takes memory for what is in it alone.  Writers of content wait half as often: 2 % of a fetch.
_SEND_BUFFER = 1 << 20
_FORMS = "Write unix:///path, unix:path, a plain path, unix-abstract:name or tcp://host:port"


@record(frozen=True)
class UnixAddress(Address):
    """A Unix socket: a path, or an abstract name (``path`` begins with a NUL)."""

    path: str

    def __str__(self) -> str:
        if self.path.startswith("\0"):
            return f"unix-abstract:{self.path[1:]}"
        return f"unix://{self.path}" if self.path.startswith("/") else f"unix:{self.path}"

    def _open(self, deadline: Deadline) -> socket.socket:
        """Connect at once; while the daemon's queue is full, the kernel offers only to try again.

        A time-out of the socket's does not help: it makes the socket non-blocking, and connecting
        to a Unix socket then fails where it would have waited.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with Undo(sock.close):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            for pause in backoff(0.001, 0.05):
                try:
                    sock.connect(self.path)
                    break
                except BlockingIOError:
                    if deadline.expired:
                        raise
                time.sleep(deadline.sooner(pause).remaining() or 0)
        return sock

    _explain = staticmethod(failures.of_unix)


def read_unix(text: str) -> UnixAddress:
    """The address that ``text`` is.  Raises ``InvalidArgument``."""
    scheme, colon, rest = text.partition(":")
    if scheme == "unix-abstract" and rest:
        path = "\0" + rest
    elif scheme == "unix" and rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host or not slash:
            said = f"address {text!r} has a host part"
            raise InvalidArgument(said, remedy="Write unix:///absolute/path")
        path = "/" + path
    elif scheme == "unix" and rest:
        path = rest
    elif text and "://" not in text and (not colon or "/" in scheme):
        path = text
    else:
        raise InvalidArgument(f"address {text!r} is of no known form", remedy=_FORMS)
    if len(os.fsencode(path)) > _MAX_PATH or "\0" in path[1:]:
        raise InvalidArgument(
            f"address {text!r} is no path for a socket: it is longer than {_MAX_PATH} bytes, "
            "or has a NUL in it",
            remedy="Use a shorter path, or a symbolic link to its folder",
        )
    return UnixAddress(path)
