"""The networks and own files that the options of a new container ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ...errors import InvalidArgument
from ...limits import refused
from ...services._types import AnyValue
from .attachment import network_extensions, with_ports
from .network import Network, PortMapping
from .network_files import NameOptions, NetworkFiles

_BRIDGE = "bridge"
_NETWORKS = "host, none, private, bridge, a Network or a list of them"
#: The options that need a CNI network, and a root filesystem that can be written to.
_NAME_OPTIONS = ("dns", "dns_search", "dns_options", "extra_hosts")
#: The kernel's maximum length of a host name.
_MAX_HOSTNAME = 64


class NetworkPlan:
    """The CNI networks of a new container, its ports, and its own hosts and ``resolv.conf``.

    Args:
        options: The options of the container, whose types have been checked.

    Raises:
        InvalidArgument: An option is not valid, or needs a CNI network.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._wanted: Sequence[Network] | None = _wanted(options.get("network"))
        self._ports = [*map(_port, options.get("ports") or ())]
        is_connected = self._wanted is None or bool(self._wanted)
        if not is_connected:
            with_ports((), self._ports)
        # In a read-only view of an image, the runtime cannot make the files to mount on.
        has_files = is_connected and not options.get("view")
        given = [name for name in _NAME_OPTIONS if options.get(name) is not None]
        if given and not has_files:
            if options.get("view"):
                raise InvalidArgument(f"{given[0]}= excludes view=", remedy="Leave out view=")
            raise InvalidArgument(
                f"{given[0]}= needs a CNI network",
                remedy='Set network="bridge" or another CNI network',
            )
        self._names = NameOptions.of(options) if has_files else None
        self._networks: Sequence[Network] = ()
        self._files: NetworkFiles | None = None

    def __repr__(self) -> str:
        return f"<NetworkPlan {self._wanted!r}>"

    def prepare(self, id: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Load the networks, and return options of the container without CNI networks.

        In these options, ``network`` is ``"private"`` if there are CNI networks, and the host name
        is the id unless the options say otherwise.

        Args:
            id: The container's id.
            options: The options of the container.

        Raises:
            FailedPrecondition: The container can reach none of the machine's DNS servers.
            ContainerdError: The bridge cannot be made, or a network does not support ports.
        """
        wanted = [Network.bridge()] if self._wanted is None else self._wanted
        self._networks = with_ports(wanted, self._ports)
        changed = dict(options)
        if self._wanted is None or not isinstance(options.get("network"), str | None):
            changed["network"] = "private"
        if self._names is not None:
            self._names.check_machine(network.config for network in self._networks)
            self._files = NetworkFiles.new(id, self._names)
            is_own = "uts" not in (options.get("namespaces") or {}) and options.get("spec") is None
            if options.get("hostname") is None and is_own:
                changed["hostname"] = id[:_MAX_HOSTNAME].rstrip("-._")
        return changed

    @property
    def own_files(self) -> dict[str, str]:
        """The container's own files on this machine, by their paths in the container."""
        return {} if self._files is None else self._files.sources

    def extensions(self, spec: Mapping[str, object]) -> dict[str, AnyValue]:
        """Return the extensions of the container's record that name its networks and files.

        Raises:
            InvalidArgument: A hosts file cannot contain the host name in the spec.
        """
        if not self._networks:
            return {}
        if self._files is not None:
            self._files = self._files.with_names_of(spec)
        return network_extensions(self._networks, self._files)

    def write(self) -> None:
        """Write the container's own files."""
        if self._files is not None:
            self._files.write()

    def remove(self) -> None:
        """Remove the container's own files."""
        if self._files is not None:
            self._files.remove()


def _port(value: object) -> PortMapping:
    if isinstance(value, str):
        return PortMapping.parse(value)
    if not isinstance(value, PortMapping):
        raise refused("ports", value, "a list of ports, such as ['8080:80']")
    return value


def _wanted(network: object) -> Sequence[Network] | None:
    """Return the CNI networks in the option ``network``; ``None`` stands for the default bridge."""
    if network == _BRIDGE:
        return None
    if network is None or isinstance(network, str):  # make_spec checks the string
        return ()
    joined = [network] if isinstance(network, Network) else network
    if not isinstance(joined, Sequence) or not all(isinstance(one, Network) for one in joined):
        raise refused("network", network, _NETWORKS)
    return cast("Sequence[Network]", joined)
