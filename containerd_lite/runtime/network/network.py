"""The classes ``Network`` (a network for containers) and ``PortMapping``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Literal, cast, get_args

from ...errors import InvalidArgument
from ...lazy import lazy_pattern
from ...oci.document import Document
from ...printable import quoted
from ...records import field, record, replace
from .bridge import bridge_config, remove_bridge
from .cni import MAX_DOCUMENT, Json, NetworkConfig, load_config

#: The default folders of network configurations and of plugins. Debian's package installs the
#: plugins in the last folder.
CONFIG_FOLDER = Path("/etc/cni/net.d")
PLUGIN_FOLDERS = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))

PortProtocol = Literal["tcp", "udp", "sctp"]
_PROTOCOLS = get_args(PortProtocol)
_MAC = lazy_pattern(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")


@record(frozen=True)
class PortMapping:
    """A port of the machine that is mapped to a port of a container.

    Attributes:
        host_port: The port of the machine, from 1 to 65535.
        container_port: The port of the container, from 1 to 65535.
        protocol: ``tcp``, ``udp`` or ``sctp``.
        host_ip: The address of the machine. Default: all addresses of the machine.

    Raises:
        InvalidArgument: A port, the protocol or the address is not valid.
    """

    host_port: int
    container_port: int
    protocol: PortProtocol = "tcp"
    host_ip: str = ""

    def __post_init__(self) -> None:
        ports = (self.host_port, self.container_port)
        if not all(type(port) is int and 0 < port < 1 << 16 for port in ports):
            raise InvalidArgument(f"{self} has an invalid port", remedy="Use 1 to 65535")
        if self.protocol not in _PROTOCOLS:
            remedy = f"Use {', '.join(_PROTOCOLS)}"
            raise InvalidArgument(f"{self} has an invalid protocol", remedy=remedy)
        if self.host_ip:
            _check_address(self.host_ip, ip_address)

    @classmethod
    def parse(cls, text: str) -> PortMapping:
        """Parse a mapping in the syntax of ``docker run --publish``.

        Args:
            text: ``8080:80``, ``8080:80/udp``, ``127.0.0.1:8080:80`` or ``[::1]:8080:80``.

        Raises:
            InvalidArgument: ``text`` has a syntax error, or a part of it is not valid.
        """
        place, slash, protocol = text.partition("/")
        address, _, inside = place.rpartition(":")
        ip, _, outside = address.rpartition(":")
        numbers = [int(each) for each in (outside, inside) if each.isascii() and each.isdigit()]
        if len(numbers) < 2 or (slash and not protocol):
            raise InvalidArgument(
                f"{quoted(text)} is not a mapping of ports",
                remedy="Write HOST:CONTAINER, such as 8080:80, or IP:HOST:CONTAINER/udp",
            )
        # The check of the fields refuses unknown protocols.
        kind = cast("PortProtocol", protocol or "tcp")
        return cls(numbers[0], numbers[1], kind, ip.strip("[]"))

    def json(self) -> dict[str, object]:
        """Return the mapping as a JSON object in the form of CNI's conventions."""
        return {
            "hostPort": self.host_port,
            "containerPort": self.container_port,
            "protocol": self.protocol,
            "hostIP": self.host_ip,
        }


@record(frozen=True)
class Network:
    """A network to which containers can be connected.

    ``Network.load`` reads a network from a file. ``Network.of`` makes a network from a JSON object.
    ``Network.bridge`` returns the default bridge.

    Attributes:
        config: The configuration of the network.
        folders: The folders of the plugins' programs.
        runtime_config: The values for the plugins' ``runtimeConfig``, by capability, in the form of
            CNI's conventions. The method ``with_options`` sets these values.

    Raises:
        InvalidArgument: A folder is not valid, or ``runtime_config`` has a capability that no
            plugin supports.
    """

    config: NetworkConfig
    folders: tuple[Path, ...] = PLUGIN_FOLDERS
    runtime_config: Json = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for folder in self.folders:
            what = f"the folder of CNI plugins {quoted(str(folder))}"
            if not folder.is_absolute():
                raise InvalidArgument(f"{what} is not an absolute path")
            if os.pathsep in str(folder):
                raise InvalidArgument(f"{what} contains {os.pathsep!r}")
        if unknown := set(self.runtime_config) - self.config.capabilities:
            raise InvalidArgument(
                f"no plugin of network {self.name} supports {', '.join(sorted(unknown))}",
                remedy="Add a plugin with this capability to the network's configuration, such as "
                "portmap for portMappings",
            )

    @classmethod
    def load(
        cls,
        name: str | None = None,
        *,
        folder: str | Path = CONFIG_FOLDER,
        plugins: Sequence[str | Path] = PLUGIN_FOLDERS,
    ) -> Network:
        """Return a network from the configuration files in a folder.

        Args:
            name: The name of the network. Default: the only network in the folder.
            folder: The folder of the files. Default: ``/etc/cni/net.d``.
            plugins: The folders of the plugins' programs, in the order in which they are searched.
                Default: ``/opt/cni/bin`` and ``/usr/lib/cni``.

        Raises:
            NotFound: The folder does not exist, or has no configuration of the network.
            InvalidArgument: Several networks match, or a configuration or a folder is not valid.
        """
        return cls(load_config(Path(folder), name), tuple(map(Path, plugins)))

    @classmethod
    def of(cls, config: Json, *, plugins: Sequence[str | Path] = PLUGIN_FOLDERS) -> Network:
        """Return the network of a configuration.

        Args:
            config: The configuration, a JSON object in the form of a ``.conflist`` file.
            plugins: The folders of the plugins' programs, in the order in which they are searched.
                Default: ``/opt/cni/bin`` and ``/usr/lib/cni``.

        Raises:
            InvalidArgument: The configuration or a folder is not valid.
        """
        try:
            body = json.dumps(config).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArgument(
                f"the network's configuration is not valid JSON ({error})"
            ) from None
        document = Document.parse(body, "the network's configuration", limit=MAX_DOCUMENT)
        return cls(NetworkConfig.of(document), tuple(map(Path, plugins)))

    @classmethod
    def bridge(cls, *, plugins: Sequence[str | Path] | None = None) -> Network:
        """Return the default bridge network. Its configuration is made at the first call.

        The network has IPv4 addresses of a private subnet that no route and no address of this
        machine used at that time. The containers reach other machines by the machine's address
        (masquerading), and their ports can be mapped to ports of the machine.

        The configuration is ``networks/bridge.conflist`` in ``/var/lib/containerd-lite``, or in
        ``$CONTAINERD_LITE_STATE``. It stays the same until ``remove_bridge``.

        Args:
            plugins: The folders of the plugins' programs. Default: the folders in ``$CNI_PATH``,
                else ``/opt/cni/bin`` and ``/usr/lib/cni``.

        Raises:
            NotFound: A plugin, or a program that the plugins need, is not installed.
            ResourceExhausted: No private subnet is free.
            InvalidArgument: The configuration is not valid.
            ContainerdError: The configuration cannot be written.
        """
        if plugins is None:
            text = os.environ.get("CNI_PATH", "")
            plugins = [*filter(None, text.split(os.pathsep))] or PLUGIN_FOLDERS
        folders = tuple(map(Path, plugins))
        return cls(bridge_config(folders), folders)

    @staticmethod
    def remove_bridge(*, force: bool = False) -> None:
        """Remove the default bridge network: its configuration, its addresses and its interface.

        The next ``bridge`` makes the network again, perhaps with another subnet. It is not an error
        if there is no such network.

        Args:
            force: Whether to remove the network even if containers are connected to it. They lose
                their connection.

        Raises:
            FailedPrecondition: Containers are connected to the network, and ``force`` is false.
            ContainerdError: A part of the network cannot be removed.
        """
        remove_bridge(force=force)

    @classmethod
    def read(cls, document: Document) -> Network:
        """Return the network that the method ``json`` has written as a JSON object.

        Raises:
            InvalidArgument: The object is not a valid network.
        """
        config = document.document("network") or Document({}, document.what)
        runtime_config = document.document("runtime_config")
        folders = tuple(map(Path, document.texts("path")))
        return cls(
            NetworkConfig.of(config), folders, dict(runtime_config.fields) if runtime_config else {}
        )

    def json(self) -> dict[str, object]:
        """Return the network as a JSON object that the method ``read`` can read."""
        return {
            "network": self.config.json(),
            "path": [str(folder) for folder in self.folders],
            "runtime_config": self.runtime_config,
        }

    @property
    def name(self) -> str:
        """The name of the network."""
        return self.config.name

    def with_options(
        self, *, ips: Sequence[str] = (), mac: str = "", ports: Sequence[PortMapping] = ()
    ) -> Network:
        """Return a copy of this network with options for one container.

        Args:
            ips: The addresses of the container (``10.1.0.9/24``). Default: the plugins choose the
                addresses.
            mac: The MAC address of the container. Default: the plugins choose the address.
            ports: Ports of the machine to map to the container. Default: none.

        Raises:
            InvalidArgument: An option is not valid, or no plugin of the network supports it.
        """
        if mac and not _MAC.fullmatch(mac):
            raise InvalidArgument(f"{quoted(mac)} is not a MAC address")
        options: dict[str, object] = {
            "ips": [_check_address(text, ip_interface) for text in ips],
            "mac": mac,
            "portMappings": [port.json() for port in ports],
        }
        given = {name: value for name, value in options.items() if value}
        return replace(self, runtime_config={**self.runtime_config, **given})


def _check_address(text: str, make: Callable[[str], object]) -> str:
    try:
        make(text)
    except ValueError:
        raise InvalidArgument(f"{quoted(text)} is not an IP address") from None
    return text
