"""A daemon that listens on a TCP port, with TLS or, on purpose, without.

What lives here: parsing of TCP addresses, dialling.  What may not: anything sent or received, what
TLS does (``tls``), what a failure means (``failures``).
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Any, Literal, cast

from ..deadline import Deadline
from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..records import record
from ..undo import Undo
from . import failures
from .base import Address
from .tls import TLS, secure

_LABEL = "[-_a-zA-Z0-9]{1,63}"
_TCP = lazy_pattern(rf"tcp://(?:\[(.+)\]|({_LABEL}(?:\.{_LABEL})*\.?)):([0-9]{{1,5}})")
#: A socket's time-out has a limit; waits are cut.
_LONGEST_WAIT = 3600.0


@record(frozen=True)
class TcpAddress(Address):
    """A TCP port, with TLS over it unless ``tls`` is false."""

    host: str
    port: int
    tls: TLS | Literal[False]

    def __str__(self) -> str:
        return f"tcp://{self._bracketed(self.host)}"

    @property
    def authority(self) -> str:
        return self._bracketed(self._name)

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def _name(self) -> str:
        return self.host.partition("%")[0]  # an IPv6 zone means something on this machine alone

    def _bracketed(self, host: str) -> str:
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def _open(self, deadline: Deadline) -> socket.socket:
        sock = self._connect(deadline)
        with Undo(sock.close):
            if self.tls:
                secured = secure(sock, self.tls, self._name.rstrip("."), deadline)
                return cast(socket.socket, secured)  # it has what link and pump use
            sock.setblocking(False)
            return sock

    def _connect(self, deadline: Deadline) -> socket.socket:
        """To the first of the host's addresses that answers in its share of the time.

        Looking up the host is the system's affair, and heeds no deadline of ours.
        """
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        for left in range(len(found) - 1, 0, -1):
            with suppress(OSError):
                return _connected(found.pop(0), deadline, left)
        return _connected(found[0], deadline, 0)

    _explain = staticmethod(failures.of_tcp)


def _connected(found: tuple[Any, ...], deadline: Deadline, more: int) -> socket.socket:
    """A socket connected to one of ``getaddrinfo``'s; ``more`` others want some time, too."""
    family, kind, protocol, _, where = found
    sock = socket.socket(family, kind, protocol)
    with Undo(sock.close):
        # A call may wait for days, and a machine that is gone says nothing: after half a minute
        # of silence, the kernel asks.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        remaining = deadline.sooner(_LONGEST_WAIT).remaining() or 0
        sock.settimeout(remaining / (more + 1))
        sock.connect(where)
        if sock.getsockname() == sock.getpeername():
            # Where nothing listens, the kernel may choose that very port as ours.
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return sock


def read_tcp(text: str, tls: TLS | Literal[False] | None) -> TcpAddress:
    """Raises ``InvalidArgument``."""
    found = _TCP.fullmatch(text)
    try:
        six, name, port = found.groups() if found else ("", "", "0")
        host, number = name or str(IPv6Address(six)), int(port)
    except ValueError:
        number = 0
    if not 0 < number < 1 << 16:
        raise InvalidArgument(
            f"address {text!r} is no host and port",
            remedy="Write tcp://host:port, with an IPv6 address in brackets",
        )
    if tls is not False and not isinstance(tls, TLS):
        raise InvalidArgument(
            f"address {text!r} needs tls=",
            remedy="Give tls=TLS(ca=…, cert=…, key=…); tls=False is for a daemon without TLS, "
            "which everybody on the way can read and command",
        )
    return TcpAddress(host, number, tls)
