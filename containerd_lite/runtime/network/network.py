"""Networks to put containers on, and what may be asked of them.

What lives here: ``Network`` and ``PortMapping``.  What may not: containers, the running of plugins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Literal, get_args

from ...errors import InvalidArgument
from ...lazy import lazy_pattern
from ...oci.document import Document, quoted
from ...records import field, record, replace
from .cni import MAX_DOCUMENT, Json, NetworkConfig, load_config

#: Where libcni's users keep networks and plugins; the last is Debian's.
CONFIG_FOLDER = Path("/etc/cni/net.d")
PLUGIN_FOLDERS = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))

PortProtocol = Literal["tcp", "udp", "sctp"]
_PROTOCOLS = get_args(PortProtocol)
_MAC = lazy_pattern(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")


@record(frozen=True)
class PortMapping:
    """A port of the machine's that leads to one of the container's.

    ``protocol`` is ``tcp``, ``udp`` or ``sctp``; ``host_ip`` ``""`` is every address.
    """

    host_port: int
    container_port: int
    protocol: PortProtocol = "tcp"
    host_ip: str = ""

    def __post_init__(self) -> None:
        if not all(0 < port < 1 << 16 for port in (self.host_port, self.container_port)):
            raise InvalidArgument(f"{self} has a port that is none", remedy="Use 1 to 65535")
        if self.protocol not in _PROTOCOLS:
            remedy = f"Use {', '.join(_PROTOCOLS)}"
            raise InvalidArgument(f"{self} has a protocol that is none", remedy=remedy)
        if self.host_ip:
            _check_address(self.host_ip, ip_address)

    def json(self) -> dict[str, object]:
        """As CNI's conventions have it."""
        return {
            "hostPort": self.host_port,
            "containerPort": self.container_port,
            "protocol": self.protocol,
            "hostIP": self.host_ip,
        }


@record(frozen=True)
class Network:
    """A network to put containers on; ``folders`` have the programs of its plugins.

    ``wishes`` are what its plugins are asked for by CNI's conventions, ``with_options`` makes them.
    """

    config: NetworkConfig
    folders: tuple[Path, ...] = PLUGIN_FOLDERS
    wishes: Json = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for folder in self.folders:
            if not folder.is_absolute() or os.pathsep in str(folder):
                raise InvalidArgument(f"{quoted(str(folder))} cannot be a folder of CNI plugins")
        if unknown := set(self.wishes) - self.config.capabilities:
            raise InvalidArgument(
                f"network {self.name} has no plugin for {', '.join(sorted(unknown))}",
                remedy="Add one with that capability to its configuration (portmap maps ports)",
            )

    @classmethod
    def load(
        cls,
        name: str | None = None,
        *,
        folder: str | Path = CONFIG_FOLDER,
        plugins: Sequence[str | Path] = PLUGIN_FOLDERS,
    ) -> Network:
        """The network of that name among the files of ``folder``; without, the only one.

        ``plugins`` are the folders of the programs, the first that has one counts.  Raises
        ``NotFound``, ``InvalidArgument`` for what is ambiguous or cannot be understood.
        """
        return cls(load_config(Path(folder), name), tuple(map(Path, plugins)))

    @classmethod
    def of(cls, config: Json, *, plugins: Sequence[str | Path] = PLUGIN_FOLDERS) -> Network:
        """The network that ``config`` describes, as a ``.conflist`` does.  ``InvalidArgument``."""
        try:
            body = json.dumps(config).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArgument(f"the network's configuration is no JSON ({error})") from None
        document = Document.parse(body, "the network's configuration", limit=MAX_DOCUMENT)
        return cls(NetworkConfig.of(document), tuple(map(Path, plugins)))

    @classmethod
    def read(cls, document: Document) -> Network:
        """What ``json`` made, as part of a document.  Raises ``InvalidArgument``."""
        config = document.document("network") or Document({}, document.what)
        wishes = document.document("wishes")
        folders = tuple(map(Path, document.texts("path")))
        return cls(NetworkConfig.of(config), folders, dict(wishes.fields) if wishes else {})

    def json(self) -> dict[str, object]:
        """All of it, to be kept."""
        return {
            "network": self.config.json(),
            "path": [str(folder) for folder in self.folders],
            "wishes": self.wishes,
        }

    @property
    def name(self) -> str:
        return self.config.name

    def with_options(
        self, *, ips: Sequence[str] = (), mac: str = "", ports: Sequence[PortMapping] = ()
    ) -> Network:
        """This network, asked for addresses (``10.1.0.9/24``), a MAC address, ports of the machine.

        Raises ``InvalidArgument`` for what its configuration has no plugin for.
        """
        if mac and not _MAC.fullmatch(mac):
            raise InvalidArgument(f"{quoted(mac)} is no MAC address")
        asked: dict[str, object] = {
            "ips": [_check_address(text, ip_interface) for text in ips],
            "mac": mac,
            "portMappings": [port.json() for port in ports],
        }
        given = {name: value for name, value in asked.items() if value}
        return replace(self, wishes={**self.wishes, **given})


def _check_address(text: str, make: Callable[[str], object]) -> str:
    try:
        make(text)
    except ValueError:
        raise InvalidArgument(f"{quoted(text)} is no IP address") from None
    return text
