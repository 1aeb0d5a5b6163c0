"""The files ``/etc/hosts``, ``/etc/hostname`` and ``/etc/resolv.conf`` of containers on networks.

Each container has a folder with its own three files, which are bind-mounted into the container.
The files are written when the container is created, and again for each of its tasks, because the
task gets new addresses. The folder is removed with the container.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from ...errors import FailedPrecondition
from ...lazy import lazy_pattern
from ...limits import refused
from ...oci.document import Document
from ...records import field, record, replace
from ...system import of_system
from .cni import Dns, NetworkConfig, NetworkResult
from .dns import machine_dns, reachable, resolv_conf
from .own_folder import make_folder, own_folder

#: The paths in the container of the three files.
_PATHS = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
#: The folder with the folders of all containers, in the folder of this package.
_FOLDER = "containers"
#: An address in ``extra_hosts`` that stands for the gateway of the container's first network.
_GATEWAY = "host-gateway"
_HOST_NAME = lazy_pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
#: A word of resolv.conf: printable ASCII characters, without those that begin a comment.
_WORD = lazy_pattern(r"[!-~]{1,255}")
_HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


@record(frozen=True)
class NameOptions:
    """The options of a container for DNS and for its hosts file.

    Attributes:
        servers: The addresses of the DNS servers. ``None``: those of the network or the machine.
        search: The search domains. ``None``: those of the network or the machine.
        options: The options of the resolver. ``None``: those of the network or the machine.
        extra_hosts: Addresses by name. ``host-gateway`` is the address of the first gateway.
    """

    servers: tuple[str, ...] | None = None
    search: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None
    extra_hosts: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, options: Mapping[str, object]) -> NameOptions:
        """Return the options of a container, whose types have been checked.

        Raises:
            InvalidArgument: A value is not valid.
        """
        hosts = options.get("extra_hosts") or {}
        assert isinstance(hosts, Mapping)
        for name, address in hosts.items():
            check_host_name("extra_hosts", name)
            if address != _GATEWAY:
                _check_address("extra_hosts", address)
        search = _words("dns_search", options.get("dns_search"))
        return cls(
            _addresses("dns", options.get("dns")),
            () if search == (".",) else search,
            _words("dns_options", options.get("dns_options")),
            dict(hosts),
        )

    def dns(self, found: Iterable[Dns]) -> Dns:
        """Return the DNS settings of the container.

        Args:
            found: The settings that the container's networks have. Without servers in them, the
                settings of the machine apply.

        Raises:
            FailedPrecondition: The container can reach none of the machine's servers.
        """
        base = next((dns for dns in found if dns.nameservers), None)
        if base is None:
            base = machine_dns()
            if self.servers is None:
                base = replace(base, nameservers=reachable(base))
        return Dns(
            base.nameservers if self.servers is None else self.servers,
            base.domain if self.search is None else "",
            base.search if self.search is None else self.search,
            base.options if self.options is None else self.options,
        )

    def check_machine(self, configs: Iterable[NetworkConfig]) -> None:
        """Check that there will be DNS servers, unless the networks may name some.

        Raises:
            FailedPrecondition: The container can reach none of the machine's servers.
        """
        if not any(map(_may_name_servers, configs)):
            self.dns(())


@record(frozen=True)
class NetworkFiles:
    """The three files of a container.

    Attributes:
        folder: The folder of the files.
        hostname: The host name of the container.
        domainname: The domain name of the container, ``""`` if it has none.
        names: The options of the container.
    """

    folder: Path
    hostname: str
    domainname: str
    names: NameOptions

    @classmethod
    def new(cls, id: str, names: NameOptions) -> NetworkFiles:
        """Return the files of a new container, in a folder that ``write`` makes."""
        folder = own_folder() / _FOLDER / f"{id}-{os.urandom(8).hex()}"
        return cls(folder, "", "", names)

    @classmethod
    def read(cls, document: Document) -> NetworkFiles:
        """Return the files that the method ``json`` has written as a JSON object."""
        lists = {
            name: document.texts(name) if document.has(name) else None
            for name in ("servers", "search", "options")
        }
        return cls(
            Path(document.text("folder", None)),
            document.text("hostname"),
            document.text("domainname"),
            NameOptions(**lists, extra_hosts=document.table("extra_hosts")),
        )

    def json(self) -> dict[str, object]:
        """Return the files as a JSON object that the method ``read`` can read."""
        names = self.names
        return {
            "folder": str(self.folder),
            "hostname": self.hostname,
            "domainname": self.domainname,
            "extra_hosts": names.extra_hosts,
            "servers": names.servers,
            "search": names.search,
            "options": names.options,
        }

    def with_names_of(self, spec: Mapping[str, object]) -> NetworkFiles:
        """Return a copy with the host name and the domain name in a spec.

        Raises:
            InvalidArgument: A hosts file cannot contain the host name or the domain name.
        """
        hostname = str(spec.get("hostname") or os.uname().nodename)
        domainname = str(spec.get("domainname") or "")
        check_host_name("hostname", hostname)
        if domainname:
            check_host_name("domainname", domainname)
        return replace(self, hostname=hostname, domainname=domainname)

    @property
    def sources(self) -> dict[str, str]:
        """The paths of the files on this machine, by their paths in the container."""
        return {path: str(self.folder / Path(path).name) for path in _PATHS}

    def write(self, results: Sequence[NetworkResult] = ()) -> None:
        """Write the files. A running container sees the change.

        Args:
            results: What the plugins of the container's networks returned. Default: the container
                is not connected yet.

        Raises:
            FailedPrecondition: A gateway is needed, but no network has one; or the container can
                reach none of the machine's DNS servers.
            ContainerdError: The files cannot be written.
        """
        texts = (self._hosts(results), f"{self.hostname}\n", resolv_conf(self._dns(results)))
        try:
            make_folder(self.folder)
            for source, text in zip(self.sources.values(), texts, strict=True):
                _write(source, text)
        except OSError as error:
            raise of_system(error, "write the files of a container's network") from error

    def remove(self) -> None:
        """Remove the files and their folder. Files that do not exist are ignored."""
        for source in self.sources.values():
            with suppress(OSError):
                os.unlink(source)
        with suppress(OSError):
            self.folder.rmdir()

    def _dns(self, results: Sequence[NetworkResult]) -> Dns:
        try:
            return self.names.dns(result.dns for result in results)
        except FailedPrecondition:
            if results:
                raise
            return Dns()  # the networks may name servers

    def _hosts(self, results: Sequence[NetworkResult]) -> str:
        names = self.hostname
        if self.domainname:
            names = f"{self.hostname}.{self.domainname} {names}"
        ips = [ip for result in results for ip in result.ips]
        lines = [f"{address}\t{name}" for name, address in self._extra_hosts(results)]
        lines += [f"{ip.address.ip}\t{names}" for ip in ips]
        return _HOSTS + "".join(f"{line}\n" for line in lines)

    def _extra_hosts(self, results: Sequence[NetworkResult]) -> Iterable[tuple[str, str]]:
        gateways = [str(ip.gateway) for result in results for ip in result.ips if ip.gateway]
        for name, address in self.names.extra_hosts.items():
            if address != _GATEWAY:
                yield name, address
            elif gateways:
                yield name, gateways[0]
            elif results:
                raise FailedPrecondition(
                    f"no network of the container has a gateway for {name} in extra_hosts",
                    remedy=f"Give an address instead of {_GATEWAY}",
                )


def is_network_file(source: str, destination: str) -> bool:
    """Return whether a mount of a spec is one that ``NetworkFiles.sources`` names."""
    path = Path(source)
    is_named = destination in _PATHS and path.name == Path(destination).name
    return is_named and path.parent.parent == own_folder() / _FOLDER


def _write(path: str, text: str) -> None:
    """Write a file in place: a container may have mounted it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w", encoding="ascii", errors="replace") as file:
        os.fchmod(descriptor, 0o644)  # whatever the umask: each user of the container reads it
        file.write(text)


def _may_name_servers(config: NetworkConfig) -> bool:
    """Return whether the plugins of a network may return DNS servers."""
    for plugin in config.plugins:
        ipam = plugin.get("ipam")
        ipam = ipam if isinstance(ipam, dict) else {}
        if "dns" in plugin or "resolvConf" in ipam or ipam.get("type") == "dhcp":
            return True
    return False


def check_host_name(option: str, value: object) -> None:
    """Raise ``InvalidArgument`` if ``value`` cannot be a name in a hosts file."""
    if not isinstance(value, str) or not _HOST_NAME.fullmatch(value):
        raise refused(option, value, "host names of letters, digits, '-', '_' and '.'")


def _check_address(option: str, value: object) -> str:
    with suppress(ValueError):
        if isinstance(value, str):
            return str(ip_address(value))
    raise refused(option, value, "IP addresses, such as 192.0.2.53")


def _addresses(option: str, values: object) -> tuple[str, ...] | None:
    words = _words(option, values)
    return None if words is None else tuple(_check_address(option, word) for word in words)


def _words(option: str, values: object) -> tuple[str, ...] | None:
    if values is None:
        return None
    assert isinstance(values, Iterable)
    words = tuple(values)
    for word in words:
        if not isinstance(word, str) or not _WORD.fullmatch(word):
            raise refused(option, word, "words without spaces")
    return words
