"""Reads the JSON documents of the CNI specification (1.0.0): configurations and results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
)
from pathlib import Path
from typing import TypeVar

from ...errors import InvalidArgument, NotFound, Unknown
from ...lazy import lazy_pattern
from ...oci.document import Document
from ...printable import quoted
from ...records import field, record
from ...system import is_regular, open_file

#: The supported CNI versions, in ascending order. Results have the same form in all of these
#: versions. Therefore the result of a plugin can be given to the next plugin without changes.
#: Results of older versions have another form.
_VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
_SUFFIXES = (".conflist", ".conf", ".json")
#: Maximum size of a configuration, and of a plugin's output, in bytes. A container's record
#: contains the configuration and the output.
MAX_DOCUMENT = 256 << 10
#: Pattern of names, as in libcni's utils.ValidateNetworkName and ValidateContainerID. A name that
#: matches has no slash, and is not ``.`` or ``..``.
_NAME = lazy_pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")

Json = Mapping[str, object]
_Value = TypeVar("_Value")


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it is valid for a network, a plugin, a container or an interface.

    Args:
        name: The name.
        what: The kind of name, for the error message (``"a plugin's name"``).

    Raises:
        InvalidArgument: The name is not valid.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{quoted(name)} cannot be {what}",
            remedy="Use up to 255 letters, digits, '_', '.' and '-', and begin with a letter or a "
            "digit",
        )
    return name


# ---- configurations of networks ------------------------------------------------------------


@record(frozen=True)
class NetworkConfig:
    """The configuration of a network.

    Attributes:
        name: The name of the network.
        version: The CNI version.
        plugins: The plugins' configurations as JSON objects, in the order of ``ADD``.
    """

    name: str
    version: str
    plugins: tuple[dict[str, object], ...] = field(hash=False)

    @classmethod
    def of(cls, document: Document) -> NetworkConfig:
        """Return the configuration in a document that has the form of a ``.conflist`` file.

        Raises:
            InvalidArgument: The document is not a valid configuration.
        """
        document.check_case(("cniVersion", "name", "plugins"))
        version = document.text("cniVersion")
        if version not in _VERSIONS:
            raise InvalidArgument(
                f"{document.what} has the unsupported CNI version {quoted(version)}",
                remedy=f"Set cniVersion to one of {', '.join(_VERSIONS)}",
            )
        plugins = document.each("plugins", _plugin)
        if not plugins:
            raise InvalidArgument(f"{document.what} has no plugins")
        name = check_name(document.text("name", None), "the name of a network")
        return cls(name, version, plugins)

    def json(self) -> dict[str, object]:
        """Return the configuration as a JSON object that ``of`` can read."""
        return {"cniVersion": self.version, "name": self.name, "plugins": list(self.plugins)}

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities of all plugins, such as ``portMappings``, ``ips`` and ``mac``."""
        return frozenset(name for plugin in self.plugins for name in _capabilities(plugin))

    @property
    def passes_result_to_del(self) -> bool:
        """Whether, in this CNI version, a plugin's input for ``DEL`` has the result of ``ADD``."""
        return _VERSIONS.index(self.version) >= _VERSIONS.index("0.4.0")

    def for_plugin(
        self, plugin: Json, runtime_config: Json, previous: Json | None
    ) -> dict[str, object]:
        """Return the input of a plugin (section 3, "Deriving execution configuration").

        Args:
            plugin: The configuration of the plugin.
            runtime_config: The values for ``runtimeConfig``, by capability. The plugin gets only
                the values of the capabilities that it supports.
            previous: The value of ``prevResult``. For ``ADD``: the result of the previous plugin.
                For ``DEL``: the result of the last plugin. ``None``: the input has no
                ``prevResult``.
        """
        config: dict[str, object] = {**plugin, "name": self.name, "cniVersion": self.version}
        config.pop("capabilities", None)
        capabilities = _capabilities(plugin)
        if chosen := {
            name: value for name, value in runtime_config.items() if name in capabilities
        }:
            config["runtimeConfig"] = chosen
        if previous is not None:
            config["prevResult"] = previous
        return config


def _plugin(document: Document) -> dict[str, object]:
    check_name(document.check_case(("type", "capabilities")).text("type", None), "a plugin's name")
    return dict(document.fields)


def _capabilities(plugin: Json) -> frozenset[str]:
    flags = plugin.get("capabilities")
    pairs = flags.items() if isinstance(flags, dict) else ()
    return frozenset(name for name, is_supported in pairs if is_supported is True)


def load_config(folder: Path, name: str | None = None) -> NetworkConfig:
    """Return the configuration of a network from the files in a folder.

    The names of the files end in ``.conflist``, ``.conf`` or ``.json``. If ``name`` is given and a
    valid file configures this network, invalid files are ignored.

    Args:
        folder: The folder.
        name: The name of the network. Default: the only network in the folder.

    Raises:
        NotFound: The folder does not exist, or has no configuration of the network.
        InvalidArgument: Several networks match, or a file is invalid and is not ignored.
    """
    remedy = f"Put the configuration of a network into {folder}, or use another folder"
    found, others, errors = dict[Path, NetworkConfig](), list[str](), list[InvalidArgument]()
    for path in _config_files(folder, remedy):
        try:
            config = _read_config(path)
        except InvalidArgument as error:
            errors.append(error)
            continue
        if name in (None, config.name):
            found[path] = config
        else:
            others.append(config.name)
    if len(found) > 1:
        if name is not None:
            raise InvalidArgument(
                f"{folder} has several files for network {quoted(name)}: "
                f"{', '.join(path.name for path in found)}",
                remedy="Give each network its own name",
            )
        listed = ", ".join(f"{config.name} ({path.name})" for path, config in found.items())
        raise InvalidArgument(
            f"{folder} has several networks: {listed}", remedy="Give the name of one network"
        )
    if errors and not (name and found):
        raise errors[0]
    for config in found.values():
        return config
    content = f"only {', '.join(others)}" if others else "no configuration files"
    missing = "network" if name is None else f"network {quoted(name)}"
    raise NotFound(f"no {missing} in {folder}: the folder has {content}", remedy=remedy)


def _config_files(folder: Path, remedy: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    except OSError as error:
        raise NotFound(f"{folder} cannot be read ({error.strerror})", remedy=remedy) from None


def _read_config(path: Path) -> NetworkConfig:
    try:
        with open_file(path) as source:
            if not is_regular(source):
                raise InvalidArgument(f"{path} is not a regular file")
            body = source.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read ({error.strerror})") from None
    document = Document.parse(body, str(path), limit=MAX_DOCUMENT)
    if path.suffix != ".conflist":
        head = {key: document.fields.get(key) for key in ("cniVersion", "name")}
        document = Document({**head, "plugins": [document.fields]}, document.what)
    return NetworkConfig.of(document)


# ---- results of plugins --------------------------------------------------------------------


@record(frozen=True)
class Interface:
    """A network interface that a plugin made.

    Attributes:
        name: The name of the interface.
        mac: The MAC address of the interface.
        sandbox: The path of the interface's network namespace, ``""`` for an interface of the
            machine.
    """

    name: str
    mac: str = ""
    sandbox: str = ""


@record(frozen=True)
class IPConfig:
    """An IP address that a plugin assigned.

    Attributes:
        address: The address with its prefix length. ``address.ip`` is the address alone.
        gateway: The address of the gateway, or ``None``.
        interface: The index of the interface in the result's ``interfaces``, or ``None``.
    """

    address: IPv4Interface | IPv6Interface
    gateway: IPv4Address | IPv6Address | None = None
    interface: int | None = None


@record(frozen=True)
class Dns:
    """The DNS settings of a network.

    A container that is created on the network gets a ``resolv.conf`` with these settings, unless
    its options say otherwise.

    Attributes:
        nameservers: The addresses of the name servers.
        domain: The local domain.
        search: The domains in which short names are looked up.
        options: Options of the resolver.
    """

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@record(frozen=True)
class NetworkResult:
    """The result of a network's plugins.

    Attributes:
        interfaces: The interfaces that the plugins made.
        ips: The addresses that the plugins assigned.
        dns: The DNS settings.
        raw: The whole result of the last plugin, as a JSON object.
    """

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IPConfig, ...] = ()
    dns: Dns = Dns()
    raw: dict[str, object] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def of(cls, document: Document) -> NetworkResult:
        """Return the result in a plugin's output for ``ADD`` (section 5, "Success").

        Raises:
            InvalidArgument: The document is not a valid result.
        """
        interfaces = document.each("interfaces", _interface)
        ips = document.each("ips", _address)
        if any((ip.interface or 0) >= max(1, len(interfaces)) for ip in ips):
            raise InvalidArgument(f"{document.what} has an address on an unknown interface")
        dns = _dns(document.document("dns") or Document({}, document.what))
        return cls(interfaces, ips, dns, dict(document.fields))


def _interface(document: Document) -> Interface:
    return Interface(document.text("name"), document.text("mac"), document.text("sandbox"))


def _address(document: Document) -> IPConfig:
    index = document.integer("interface") if document.has("interface") else None
    gateway = _ip(document, "gateway", ip_address) if document.text("gateway") else None
    return IPConfig(_ip(document, "address", ip_interface), gateway, index)


def _ip(document: Document, name: str, make: Callable[[str], _Value]) -> _Value:
    text = document.text(name, None)
    try:
        return make(text)
    except ValueError:
        raise InvalidArgument(f"{document.what}: {quoted(text)} is not a valid {name}") from None


def _dns(document: Document) -> Dns:
    nameservers, search = document.texts("nameservers"), document.texts("search")
    return Dns(nameservers, document.text("domain"), search, document.texts("options"))


def result_of(output: bytes, plugin: str) -> NetworkResult:
    """Parse a plugin's output for ``ADD``, and return the result.

    Raises:
        Unknown: The output is not a valid result.
    """
    try:
        what = f"the result of the CNI plugin {plugin}"
        return NetworkResult.of(Document.parse(output, what, limit=MAX_DOCUMENT))
    except InvalidArgument as error:
        raise Unknown(error.message) from None
