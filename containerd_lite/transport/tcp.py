"""Addresses of daemons that listen on a TCP port, with TLS or explicitly without TLS."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv6Address
from typing import Any, Literal, cast

from ..connecting import begin_connect, finish_connect
from ..deadline import Deadline
from ..errors import ContainerdError, InvalidArgument
from ..interrupt import call_limit, check_call
from ..lazy import lazy_pattern
from ..lookup import look_up
from ..records import record
from ..undo import Undo
from . import failures
from .base import Address
from .tls import TLS, secure

_LABEL = "[-_a-zA-Z0-9]{1,63}"
_TCP = lazy_pattern(rf"tcp://(?:\[(.+)\]|({_LABEL}(?:\.{_LABEL})*\.?)):([0-9]{{1,5}})")
#: Maximum socket timeout in seconds. A longer timeout is reduced to this, because Python limits
#: socket timeouts.
_LONGEST_WAIT = 3600.0


@record(frozen=True)
class TcpAddress(Address):
    """The address of a TCP port.

    Args:
        host: A host name, or an IPv4 or IPv6 address.
        port: The port, 1 to 65535.
        tls: The TLS settings, or ``False`` for a connection without TLS.
    """

    host: str
    port: int
    tls: TLS | Literal[False]

    def __str__(self) -> str:
        return f"tcp://{self._bracketed(self.host)}"

    @property
    def authority(self) -> str:
        """The ``:authority`` header of requests: host and port."""
        return self._bracketed(self._name)

    @property
    def scheme(self) -> str:
        """The ``:scheme`` header of requests."""
        return "https" if self.tls else "http"

    @property
    def _name(self) -> str:
        return self.host.partition("%")[0]  # an IPv6 zone is valid only on this machine

    def _bracketed(self, host: str) -> str:
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def _open(self, deadline: Deadline) -> socket.socket:
        sock = self._connect(deadline)
        with Undo(sock.close), _shut_down_by_interrupt(sock):
            if self.tls:
                secured = secure(sock, self.tls, self._name.rstrip("."), deadline)
                return cast(socket.socket, secured)  # a TLSSocket has the methods of ``Socket``
            sock.setblocking(False)
            return sock

    def _connect(self, deadline: Deadline) -> socket.socket:
        """Connect to the first address of the host that accepts the connection in time.

        Each address gets a share of the time until the deadline.
        """
        entries = self._find_addresses(deadline)
        for remaining_entries in range(len(entries) - 1, 0, -1):
            with suppress(OSError):
                return _connect_to(entries.pop(0), deadline, remaining_entries)
        return _connect_to(entries[0], deadline, 0)

    def _find_addresses(self, deadline: Deadline) -> list[tuple[Any, ...]]:
        """Return what ``getaddrinfo`` returns for the addresses of the host."""
        with suppress(socket.gaierror):  # the host is a name
            return self._numeric(self.host)
        addresses = look_up(self.host, deadline)
        return [entry for address in addresses for entry in self._numeric(address)]

    def _numeric(self, address: str) -> list[tuple[Any, ...]]:
        return [
            *socket.getaddrinfo(
                address, self.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        ]

    _explain = staticmethod(failures.of_tcp)


def _connect_to(
    entry: tuple[Any, ...], deadline: Deadline, remaining_entries: int
) -> socket.socket:
    """Return a socket that is connected to one entry of ``getaddrinfo``.

    This entry and the ``remaining_entries`` entries after it get equal shares of the remaining
    time.
    """
    family, kind, protocol, _, socket_address = entry
    sock = socket.socket(family, kind, protocol)
    with Undo(sock.close):
        # A call can wait for days, and a failed machine does not close its connections. So the
        # kernel sends keepalive probes when no data has arrived for 30 seconds.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        remaining = deadline.sooner(_LONGEST_WAIT).remaining() or 0
        begin_connect(sock, socket_address)
        with _shut_down_by_interrupt(sock):
            finish_connect(sock, remaining / (remaining_entries + 1))
        if sock.getsockname() == sock.getpeername():
            # The socket has connected to itself: no process listens on the port, and the kernel
            # has chosen the same port for the client's end.
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return sock


@contextmanager
def _shut_down_by_interrupt(sock: socket.socket) -> Iterator[None]:
    """Shut the socket down if an interrupt of this thread's operation arrives during the block."""
    interrupt, _ = call_limit()
    if interrupt is None:
        yield
        return

    def shut_down() -> None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    with interrupt.calling(shut_down):
        check_call()
        try:
            yield
        except (OSError, ContainerdError):
            check_call()
            raise
        check_call()


def read_tcp(text: str, tls: TLS | Literal[False] | None) -> TcpAddress:
    """Parse the address of a TCP port.

    Raises:
        InvalidArgument: ``text`` is not a valid TCP address, or ``tls`` is missing.
    """
    match = _TCP.fullmatch(text)
    try:
        ipv6, name, port = match.groups() if match else ("", "", "0")
        host, number = name or str(IPv6Address(ipv6)), int(port)
    except ValueError:
        raise InvalidArgument(
            f"address {text!r} does not have the form tcp://host:port",
            remedy="Write tcp://host:port; put an IPv6 address in brackets",
        ) from None
    if not 0 < number < 1 << 16:
        raise InvalidArgument(
            f"the port in address {text!r} must be 1 to 65535", remedy="Write tcp://host:port"
        )
    if tls is not False and not isinstance(tls, TLS):
        raise InvalidArgument(
            f"address {text!r} needs tls=",
            remedy="Pass tls=TLS(ca=..., cert=..., key=...), or tls=False for a daemon without "
            "TLS; without TLS, every host on the network path can read the traffic and control the "
            "daemon",
        )
    return TcpAddress(host, number, tls)
