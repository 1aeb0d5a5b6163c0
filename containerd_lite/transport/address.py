"""Where the daemon is, and how to get a socket to it.

What lives here: parsing of addresses, dialling Unix sockets.  What may not: anything sent or
received, TCP (``tcp``), what a failure means (``failures``).
"""

from __future__ import annotations

import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..deadline import Deadline, backoff
from ..errors import ContainerdError, InvalidArgument
from . import failures

if TYPE_CHECKING:
    from .tls import TLS

DEFAULT = "unix:///run/containerd/containerd.sock"
#: sun_path has 108 bytes on Linux, the last one a NUL.
_MAX_PATH = 107
#: Bytes of room for what is sent; the kernel gives twice that, up to twice net.core.wmem_max, and
#: takes memory for what is in it alone.  Writers of content wait half as often: 2 % of a fetch.
_SEND_BUFFER = 1 << 20
_FORMS = "Write unix:///path, unix:path, a plain path, unix-abstract:name or tcp://host:port"


class Address(ABC):
    """Where a daemon listens.  ``str()`` gives it in the form in which it is parsed."""

    @staticmethod
    def parse(text: str, *, tls: TLS | Literal[False] | None = None) -> Address:
        """Read ``unix:///path``, ``unix:path``, a bare path, ``unix-abstract:name`` (grpc's
        naming.md has these), or ``tcp://host:port``, an IPv6 address in brackets.

        TCP, and it alone, wants ``tls``: settings, or ``False`` for a daemon without TLS.
        Raises ``InvalidArgument``.
        """
        if text.startswith("tcp:"):
            from .tcp import read_tcp  # and ssl with it, which most programs do not need

            return read_tcp(text, tls)
        address = UnixAddress(_read_unix(text))
        if tls is not None:
            raise InvalidArgument(
                f"address {text!r} is a Unix socket, which has no TLS",
                remedy="Leave out tls=, or write tcp://host:port",
            )
        return address

    def dial(self, timeout: float | None) -> socket.socket:
        """A connected socket, or ``TLSSocket``, in non-blocking mode; ``timeout`` in seconds.

        Raises ``SocketNotFound``, ``ConnectionRefused``, ``SocketPermissionDenied``,
        ``DeadlineExceeded``, ``Unavailable``; with TLS, what ``tls.secure`` raises.
        """
        try:
            try:
                return self._open(Deadline(timeout))
            except ContainerdError:
                raise
            except OSError as error:
                raise self._explain(error) from error
        except ContainerdError as error:
            error.address = str(self)
            raise

    @property
    def authority(self) -> str:
        """What requests name as ``:authority`` (RFC 9113, 8.3.1)."""
        return "localhost"

    @property
    def scheme(self) -> str:
        """Likewise ``:scheme``."""
        return "http"

    @abstractmethod
    def _open(self, deadline: Deadline) -> socket.socket: ...

    @staticmethod
    @abstractmethod
    def _explain(error: OSError) -> ContainerdError: ...


@dataclass(frozen=True)
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
        with closed_on_error(sock):
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


@contextmanager
def closed_on_error(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sock.close()
        raise


def _read_unix(text: str) -> str:
    """The path of a Unix socket.  Raises ``InvalidArgument``."""
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
    return path
