"""Parses the address of a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..errors import InvalidArgument
from .base import Address
from .unix import read_unix

if TYPE_CHECKING:
    from .tls import TLS

DEFAULT = "unix:///run/containerd/containerd.sock"


def parse_address(text: str, *, tls: TLS | Literal[False] | None = None) -> Address:
    """Parse the address of a daemon.

    Args:
        text: ``unix:///path``, ``unix:path`` or ``unix-abstract:name`` (the forms of gRPC's
            naming.md), a bare path, or ``tcp://host:port`` with an IPv6 address in brackets.
        tls: The TLS settings for TCP, or ``False`` for a TCP port without TLS. Must be ``None``
            for Unix sockets.

    Returns:
        A ``UnixAddress`` or a ``TcpAddress``.

    Raises:
        InvalidArgument: ``text`` is not an address, or ``tls`` does not fit the address.
    """
    if text.startswith("tcp:"):
        from .tcp import read_tcp  # this module imports ssl, which most programs do not need

        return read_tcp(text, tls)
    address = read_unix(text)
    if tls is not None:
        raise InvalidArgument(
            f"address {text!r} is a Unix socket, which has no TLS",
            remedy="Leave out tls=, or write tcp://host:port",
        )
    return address
