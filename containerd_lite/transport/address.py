"""Addresses of daemons, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..errors import InvalidArgument
from .base import Address
from .unix import read_unix

if TYPE_CHECKING:
    from .tls import TLS

DEFAULT = "unix:///run/containerd/containerd.sock"


def parse_address(text: str, *, tls: TLS | Literal[False] | None = None) -> Address:
    """The address that ``text`` is.

    Args:
        text: ``unix:///path``, ``unix:path``, a bare path, ``unix-abstract:name`` (grpc's
            naming.md has these), or ``tcp://host:port``, an IPv6 address in brackets.
        tls: settings for TCP, or ``False`` for a daemon without TLS; ``None`` for Unix sockets.

    Raises:
        InvalidArgument: ``text`` is no address, or ``tls`` does not go with it.
    """
    if text.startswith("tcp:"):
        from .tcp import read_tcp  # and ssl with it, which most programs do not need

        return read_tcp(text, tls)
    address = read_unix(text)
    if tls is not None:
        raise InvalidArgument(
            f"address {text!r} is a Unix socket, which has no TLS",
            remedy="Leave out tls=, or write tcp://host:port",
        )
    return address
