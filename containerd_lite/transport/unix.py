"""Addresses of daemons that listen on a Unix socket."""

from __future__ import annotations

import os
import socket
import time

from ..deadline import Deadline, backoff
from ..errors import InvalidArgument
from ..interrupt import check_call
from ..records import record
from ..undo import Undo
from . import failures
from .base import Address

#: Maximum length of a path in bytes. On Linux, sun_path has 108 bytes, and the last byte is a NUL.
_MAX_PATH = 107
#: Size of the send buffer in bytes. The kernel doubles this value, up to twice net.core.wmem_max,
#: and allocates memory only for the data in the buffer. With this buffer, writers of content wait
#: half as often, which saves 2 % of the time of a fetch.
_SEND_BUFFER = 1 << 20
_REMEDY = "Write unix:///path, unix:path, a plain path, unix-abstract:name or tcp://host:port"


@record(frozen=True)
class UnixAddress(Address):
    """The address of a Unix socket.

    Args:
        path: The path of the socket, or an abstract name that begins with a NUL.
    """

    path: str

    def __str__(self) -> str:
        if self.path.startswith("\0"):
            return f"unix-abstract:{self.path[1:]}"
        return f"unix://{self.path}" if self.path.startswith("/") else f"unix:{self.path}"

    def _open(self, deadline: Deadline) -> socket.socket:
        """Connect without blocking, and try again while the daemon's queue is full.

        A socket timeout does not help, because it makes the socket non-blocking. If the queue is
        full, a non-blocking connect to a Unix socket fails at once.
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
                check_call()
        return sock

    _explain = staticmethod(failures.of_unix)


def read_unix(text: str) -> UnixAddress:
    """Parse the address of a Unix socket.

    Raises:
        InvalidArgument: ``text`` is not the address of a Unix socket.
    """
    scheme, colon, rest = text.partition(":")
    if scheme == "unix-abstract" and rest:
        path = "\0" + rest
    elif scheme == "unix" and rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host or not slash:
            message = f"address {text!r} has a host part"
            raise InvalidArgument(message, remedy="Write unix:///absolute/path")
        path = "/" + path
    elif scheme == "unix" and rest:
        path = rest
    elif text and "://" not in text and (not colon or "/" in scheme):
        path = text
    else:
        raise InvalidArgument(f"address {text!r} has an unknown form", remedy=_REMEDY)
    if "\0" in path[1:]:
        raise InvalidArgument(f"address {text!r} contains a NUL", remedy=_REMEDY)
    if len(os.fsencode(path)) > _MAX_PATH:
        raise InvalidArgument(
            f"the path in address {text!r} is longer than {_MAX_PATH} bytes",
            remedy="Use a shorter path, or make a symbolic link to the socket's folder",
        )
    return UnixAddress(path)
