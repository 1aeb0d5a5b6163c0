"""Tells which hosts are numeric addresses, and how private an address is.

The ranges come from IANA's registries of special-purpose addresses (RFC 6890). The module
``ipaddress`` has such ranges, too, but they differ between Python versions.
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum

from ..lazy import lazy_pattern

_IPv4 = ipaddress.IPv4Address
_IPv6 = ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

#: The characters of host names and of IPv6 addresses in brackets. An IPv6 address has no zone.
_HOST = lazy_pattern(r"[A-Za-z0-9._-]+|\[[A-Fa-f0-9:.]+\]")
#: A number as ``inet_aton`` reads it: decimal, octal or hexadecimal.
_NUMBER = lazy_pattern(r"[0-9]+|0[xX][0-9a-fA-F]*")


class AddressLevel(IntEnum):
    """How private an address is. Fewer machines can reach an address with a higher level."""

    PUBLIC = 0
    PRIVATE = 1
    LINK_LOCAL = 2
    LOOPBACK = 3


#: The levels of IPv4 addresses. The first network that contains an address decides. Addresses
#: outside these networks are public.
#: https://www.iana.org/assignments/iana-ipv4-special-registry
_IPV4_LEVELS = [
    (ipaddress.IPv4Network(network), level)
    for level, networks in (
        (AddressLevel.LOOPBACK, "127.0.0.0/8 0.0.0.0/8"),  # 0.0.0.0 also means this machine
        (AddressLevel.LINK_LOCAL, "169.254.0.0/16"),  # with the metadata services of clouds
        (AddressLevel.PUBLIC, "192.0.0.9/32 192.0.0.10/32"),
        (
            AddressLevel.PRIVATE,
            "10.0.0.0/8 100.64.0.0/10 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 "
            "192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4",
        ),
        (AddressLevel.PRIVATE, "224.0.0.0/4"),  # multicast
    )
    for network in networks.split()
]
#: The levels of IPv6 addresses. The first network that contains an address decides. Addresses
#: outside these networks are private, because only 2000::/3 is allocated for public addresses.
#: https://www.iana.org/assignments/iana-ipv6-special-registry
_IPV6_LEVELS = [
    (ipaddress.IPv6Network(network), level)
    for level, networks in (
        (AddressLevel.LOOPBACK, "::1/128 ::/128"),
        (AddressLevel.LINK_LOCAL, "fe80::/10"),
        (
            AddressLevel.PUBLIC,
            "2001:1::1/128 2001:1::2/128 2001:1::3/128 2001:3::/32 2001:4:112::/48 2001:20::/28 "
            "2001:30::/28",
        ),
        (AddressLevel.PRIVATE, "2001::/23 2001:db8::/32 3fff::/20"),
        (AddressLevel.PUBLIC, "2000::/3"),
    )
    for network in networks.split()
]


def address_level(address: str) -> AddressLevel:
    """Return the level of a numeric IPv4 or IPv6 address.

    If an IPv6 address contains an IPv4 address (mapped, 6to4 or NAT64), the level is that of the
    IPv4 address. Raises ValueError if ``address`` is not numeric.
    """
    found = _effective(address)
    if isinstance(found, _IPv4):
        levels = (level for network, level in _IPV4_LEVELS if found in network)
        return next(levels, AddressLevel.PUBLIC)
    levels = (level for network, level in _IPV6_LEVELS if found in network)
    return next(levels, AddressLevel.PRIVATE)


def _effective(address: str) -> _IPv4 | _IPv6:
    """Return a numeric address, or the IPv4 address that the IPv6 address contains."""
    found: _IPv4 | _IPv6 = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, _IPv6):
        found = found.ipv4_mapped or found.sixtofour or found
    if isinstance(found, _IPv6) and found in _NAT64:
        found = _IPv4(int(found) & 0xFFFFFFFF)
    return found


def normal_host(text: str) -> str:
    """Return the host of a URL in the form in which this package compares hosts.

    The result has lower case, no brackets and no dot at its end. Raises ValueError for a text that
    is not a host, and for a number that only ``inet_aton`` reads as an address (``127.1``): rules
    for addresses would not apply to such a number.
    """
    if not _HOST.fullmatch(text):
        raise ValueError
    host = text.lower()
    if host.startswith("["):
        host = host[1:-1]
        _IPv6(host)  # raises ValueError if the host is not an address
        return host
    host = host.removesuffix(".")
    labels = host.split(".")
    if not all(labels) or (all(map(_NUMBER.fullmatch, labels)) and not is_address(host)):
        raise ValueError
    return host


def is_address(host: str) -> bool:
    """Return whether ``host`` is a numeric address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback_name(host: str) -> bool:
    """Return whether ``host`` is ``localhost`` or a name below it (RFC 6761, section 6.3)."""
    return f".{host.lower().removesuffix('.')}".endswith(".localhost")


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is a name or an address of the loopback, without a DNS lookup."""
    if is_loopback_name(host):
        return True
    try:
        found = _effective(host.removesuffix("."))
    except ValueError:
        return False
    return found.is_loopback
