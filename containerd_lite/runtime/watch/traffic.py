"""The network traffic of a container, from the ``/proc`` folder of its first process."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from ...records import names_of, record
from ...system import open_regular

#: Maximum size of a file in /proc, in bytes. A line of an interface has about 130 bytes.
_MAX_FILE = 1 << 20
#: The counters in a line of ``net/dev``: eight of received packets, and eight of sent ones.
_COUNTERS = 16


@record(frozen=True)
class Traffic:
    """What network interfaces have received and sent since they were made.

    Attributes:
        rx_bytes: Received bytes.
        rx_packets: Received packets.
        rx_errors: Packets that were received with errors.
        rx_dropped: Received packets that were dropped.
        tx_bytes: Sent bytes.
        tx_packets: Sent packets.
        tx_errors: Packets that could not be sent because of errors.
        tx_dropped: Packets that were dropped before they were sent.
    """

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int

    @classmethod
    def sum(cls, parts: Iterable[Traffic]) -> Traffic:
        """Return the sum of the traffic of several interfaces."""
        rows = [[getattr(part, name) for name in names_of(cls)] for part in parts]
        return cls(*map(sum, zip([0] * 8, *rows, strict=True)))


def read_traffic(pid: int, names: Iterable[str]) -> dict[str, Traffic] | None:
    """Return the traffic of a container's own network, by interface, without ``lo``.

    The result is ``None`` if the process does not appear in ``/proc`` as a process of the
    container, or if the container has the network of this program or of the machine.

    Args:
        pid: The pid of the container's first process.
        names: Names of which one is in the path of the container's cgroup: the container's id, or
            the name that its spec gives to the cgroup.
    """
    try:
        # The folder keeps to its process, even if another process gets the pid.
        folder = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        cgroup = _read(folder, "cgroup")
        if not any(name in cgroup for name in names) or _is_shared(folder):
            return None
        return parse_traffic(_read(folder, "net/dev"))
    except OSError:
        return None
    finally:
        os.close(folder)


def parse_traffic(text: str) -> dict[str, Traffic]:
    """Parse ``/proc/PID/net/dev``, without ``lo``."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        numbers = [int(number) for number in rest.split() if number.isdecimal()]
        if len(numbers) == _COUNTERS:
            found[name.strip()] = Traffic(*numbers[:4], *numbers[8:12])
    found.pop("lo", None)
    return found


def _is_shared(folder: int) -> bool:
    own = os.stat("ns/net", dir_fd=folder)
    for path in ("/proc/thread-self/ns/net", "/proc/1/ns/net"):
        with suppress(OSError):
            if os.path.samestat(own, os.stat(path)):
                return True
    return False


def _read(folder: int, name: str) -> str:
    with open_regular(f"/proc/self/fd/{folder}/{name}") as file:
        return file.read(_MAX_FILE).decode("utf-8", "replace")
