"""Reads and writes ``resolv.conf`` (resolv.conf(5))."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from ...errors import FailedPrecondition
from ...system import of_system, open_regular
from .cni import Dns

_FILE = Path("/etc/resolv.conf")
#: The servers of systemd-resolved that listen on this machine only, and the file in which
#: systemd-resolved lists the servers that it asks itself.
_STUBS = ("127.0.0.53", "127.0.0.54")
_BEHIND_STUBS = Path("/run/systemd/resolve/resolv.conf")
#: Maximum number of bytes to read. glibc has no limit, but no sensible file is larger.
_MAX_FILE = 64 << 10


def machine_dns(file: Path = _FILE, behind_stubs: Path = _BEHIND_STUBS) -> Dns:
    """Return the DNS settings of this machine.

    If the machine asks systemd-resolved, these are the settings that systemd-resolved has.

    Args:
        file: The machine's ``resolv.conf``. The result is empty if the file does not exist.
        behind_stubs: The file with the servers that systemd-resolved asks.

    Raises:
        ContainerdError: The file cannot be read.
    """
    found = _parse(_read(file))
    if set(found.nameservers) & set(_STUBS):
        behind = _parse(_read(behind_stubs))
        found = behind if behind.nameservers else found
    return found


def reachable(dns: Dns) -> tuple[str, ...]:
    """Return the servers that a container can reach, too.

    Servers on loopback addresses, and on IPv6 addresses of a single link, are omitted.

    Raises:
        FailedPrecondition: There are servers, but a container can reach none of them.
    """
    servers = tuple(filter(_is_reachable, dns.nameservers))
    if dns.nameservers and not servers:
        raise FailedPrecondition(
            f"this machine's DNS servers ({', '.join(dns.nameservers)}) cannot be reached from a "
            "container",
            remedy='Give servers that can be reached, such as dns=["192.0.2.53"], or dns=[] for '
            "a container without DNS",
        )
    return servers


def resolv_conf(dns: Dns) -> str:
    """Return the content of a ``resolv.conf``."""
    lines = [f"nameserver {server}" for server in dns.nameservers]
    if search := dns.search or ((dns.domain,) if dns.domain else ()):
        lines.append(f"search {' '.join(search)}")
    if dns.options:
        lines.append(f"options {' '.join(dns.options)}")
    return "".join(f"{line}\n" for line in lines)


def _parse(text: str) -> Dns:
    """Return the settings in a ``resolv.conf``. As in glibc, the last ``search`` line counts."""
    servers, search, options = list[str](), tuple[str, ...](), list[str]()
    for line in text.splitlines():
        name, *values = line.split() or [""]
        if name == "nameserver" and values:
            servers.append(values[0])
        elif name in ("search", "domain"):
            search = tuple(values)
        elif name == "options":
            options += values
    return Dns(tuple(servers), search=search, options=tuple(options))


def _is_reachable(server: str) -> bool:
    try:
        address = ip_address(server)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or "%" in server)


def _read(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return file.read(_MAX_FILE).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise of_system(error, "read the DNS settings of this machine", path) from error
