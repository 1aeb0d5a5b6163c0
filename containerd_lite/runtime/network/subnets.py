"""Finds a private IPv4 subnet that this machine does not use yet."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Network, ip_address
from pathlib import Path

from ...errors import FailedPrecondition, ResourceExhausted
from ...lazy import lazy_pattern
from ...system import open_regular
from .dns import machine_dns

#: The ranges of subnets to choose from. Other programs use other ranges by default: Docker
#: 172.17.0.0/16 to 172.29.0.0/16, podman 10.88.0.0/16, Kubernetes 10.96.0.0/12 and 10.244.0.0/16.
_RANGES = (
    IPv4Network("10.83.0.0/16"),
    IPv4Network("172.30.0.0/16"),
    IPv4Network("192.168.128.0/17"),
)
#: The prefix length of the subnet. It has 1021 addresses for containers; the kernel connects at
#: most 1024 interfaces to a bridge.
_PREFIX = 22
#: The network namespace of this thread: a thread can have a namespace of its own.
_FOLDER = Path("/proc/thread-self/net")
#: Maximum size of a table of routes. A route takes 128 bytes, so this table has 500,000.
_MAX_TABLE = 64 << 20
_LEAF = lazy_pattern(r"\|-- ([0-9.]{7,15})")
_LENGTH = lazy_pattern(r"/([0-9]{1,2}) \w+ \w+")


def free_subnet(taken: Iterable[IPv4Network]) -> IPv4Network:
    """Return the first subnet that overlaps none of ``taken``.

    Raises:
        ResourceExhausted: Each subnet overlaps with one of ``taken``.
    """
    found = [network for network in taken if network.prefixlen > 1]  # without default routes
    for wide in _RANGES:
        if any(wide.subnet_of(network) for network in found):
            continue
        for subnet in wide.subnets(new_prefix=_PREFIX):
            if not any(subnet.overlaps(network) for network in found):
                return subnet
    ranges = ", ".join(map(str, _RANGES))
    raise ResourceExhausted(
        f"the routes of this machine leave no free subnet of {ranges} for a bridge network",
        remedy="Choose a subnet yourself, and use Network.of or Network.load",
    )


def taken_subnets(folder: Path = _FOLDER) -> Iterator[IPv4Network]:
    """Yield the destinations of all routes, all addresses, and the DNS servers of this machine.

    The kernel's ``fib_trie`` has the addresses, and the routes of all tables. ``route`` has the
    routes of the main table; some kernels have only this file.

    Args:
        folder: The folder of the network's files in ``/proc``.

    Raises:
        FailedPrecondition: The routes cannot be read.
    """
    tables = [_read(folder / name) for name in ("route", "fib_trie")]
    if not any(tables):
        raise FailedPrecondition(
            f"the routes of this machine cannot be read in {folder}", remedy="Mount /proc"
        )
    yield from _of_route(tables[0])
    yield from _of_trie(tables[1])
    for server in machine_dns().nameservers:
        with suppress(ValueError):
            address = ip_address(server)
            if address.version == 4:
                yield IPv4Network(address)


def _of_route(table: str) -> Iterator[IPv4Network]:
    """Read ``/proc/net/route``: the second and the eighth column are numbers in hexadecimal."""
    for line in table.splitlines()[1:]:
        columns = line.split()
        with suppress(IndexError, ValueError, struct.error):
            yield IPv4Network((_dotted(columns[1]), _dotted(columns[7])))


def _dotted(number: str) -> str:
    """Return the address for a number in the byte order of this machine."""
    return socket.inet_ntoa(struct.pack("=I", int(number, 16)))


def _of_trie(table: str) -> Iterator[IPv4Network]:
    """Read ``/proc/net/fib_trie``: below an address stand the prefix lengths of its routes."""
    address = ""
    for line in map(str.strip, table.splitlines()):
        if leaf := _LEAF.fullmatch(line):
            address = leaf[1]
        elif address and (length := _LENGTH.fullmatch(line)):
            with suppress(ValueError):
                yield IPv4Network(f"{address}/{length[1]}")


def _read(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return file.read(_MAX_TABLE).decode("ascii", "replace")
    except OSError:
        return ""
