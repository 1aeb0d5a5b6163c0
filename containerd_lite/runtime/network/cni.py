"""The Container Network Interface: what its configuration files and its plugins' results say.

What lives here: these documents of the CNI specification (1.0.0), read strictly.  What may not:
containers, the running of plugins.
"""

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
from ...oci.document import Document, quoted
from ...records import field, record
from ...system import open_file

#: Those with results of one shape, which plugins of a chain hand on; the older have another.
_VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
_SUFFIXES = (".conflist", ".conf", ".json")
#: Of a configuration and of an answer, in bytes; both are kept in the container's record.
MAX_DOCUMENT = 256 << 10
#: libcni's utils.ValidateNetworkName and ValidateContainerID; it cannot be a path.
_NAME = lazy_pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")

Json = Mapping[str, object]
_Value = TypeVar("_Value")


def check_name(name: str, what: str) -> str:
    """``name`` if it can be a network's, a plugin's or a container's.  ``InvalidArgument``."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{quoted(name)} cannot be {what}",
            remedy="Use a letter or a digit, then letters, digits, _ . -",
        )
    return name


# ---- networks as files describe them -------------------------------------------------------


@record(frozen=True)
class NetworkConfig:
    """A network's configuration; ``plugins`` are JSON objects, in the order in which they add."""

    name: str
    version: str
    plugins: tuple[dict[str, object], ...] = field(hash=False)

    @classmethod
    def of(cls, document: Document) -> NetworkConfig:
        """A list of plugins, as a ``.conflist`` has it.  Raises ``InvalidArgument``."""
        document.known(("cniVersion", "name", "plugins"))
        version = document.text("cniVersion")
        if version not in _VERSIONS:
            raise InvalidArgument(
                f"{document.what} is of CNI version {quoted(version)}",
                remedy=f"Write one of {', '.join(_VERSIONS)} as its cniVersion",
            )
        plugins = document.each("plugins", _plugin)
        if not plugins:
            raise InvalidArgument(f"{document.what} has no plugins")
        name = check_name(document.text("name", None), "the name of a network")
        return cls(name, version, plugins)

    def json(self) -> dict[str, object]:
        """What ``of`` reads."""
        return {"cniVersion": self.version, "name": self.name, "plugins": list(self.plugins)}

    @property
    def capabilities(self) -> frozenset[str]:
        """What may be asked of it beside an address: ``portMappings``, ``ips``, ``mac``, …"""
        return frozenset(name for plugin in self.plugins for name in _capabilities(plugin))

    @property
    def tells_deletion(self) -> bool:
        """Whether plugins are given what they made when they are to delete it."""
        return _VERSIONS.index(self.version) >= _VERSIONS.index("0.4.0")

    def for_plugin(self, plugin: Json, wishes: Json, previous: Json | None) -> dict[str, object]:
        """What a plugin reads from its standard input (section 4, "Deriving")."""
        made: dict[str, object] = {**plugin, "name": self.name, "cniVersion": self.version}
        made.pop("capabilities", None)
        wanted = _capabilities(plugin)
        if chosen := {name: value for name, value in wishes.items() if name in wanted}:
            made["runtimeConfig"] = chosen
        if previous is not None:
            made["prevResult"] = previous
        return made


def _plugin(document: Document) -> dict[str, object]:
    check_name(document.known(("type", "capabilities")).text("type", None), "a plugin's name")
    return dict(document.fields)


def _capabilities(plugin: Json) -> frozenset[str]:
    known = plugin.get("capabilities")
    pairs = known.items() if isinstance(known, dict) else ()
    return frozenset(name for name, is_there in pairs if is_there is True)


def load_config(folder: Path, name: str | None = None) -> NetworkConfig:
    """The network of that name in a folder, or, without a name, the only one there is.

    Files end in ``.conflist``, ``.conf`` or ``.json``.  Those that cannot be understood are
    passed over if another has the name.  Raises ``NotFound``, ``InvalidArgument``.
    """
    remedy = f"Put the configuration of a network into {folder}, or name another folder"
    found, others, faults = dict[Path, NetworkConfig](), list[str](), list[InvalidArgument]()
    for path in _config_files(folder, remedy):
        try:
            config = _read_config(path)
        except InvalidArgument as fault:
            faults.append(fault)
            continue
        if name in (None, config.name):
            found[path] = config
        else:
            others.append(config.name)
    if len(found) > 1:
        listed = ", ".join(f"{config.name} ({path.name})" for path, config in found.items())
        raise InvalidArgument(
            f"more than one network may be meant in {folder}: {listed}",
            remedy="Name one, and give no two of them one name",
        )
    if faults and not (name and found):
        raise faults[0]
    for config in found.values():
        return config
    known = f"only {', '.join(others)}" if others else "none at all"
    wanted = "a network" if name is None else f"network {quoted(name)}"
    raise NotFound(f"{wanted} is not in {folder}: there is {known}", remedy=remedy)


def _config_files(folder: Path, remedy: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    except OSError as error:
        raise NotFound(f"{folder} cannot be read ({error.strerror})", remedy=remedy) from None


def _read_config(path: Path) -> NetworkConfig:
    try:
        with open_file(path) as source:
            body = source.read(MAX_DOCUMENT + 1) or b""
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read ({error.strerror})") from None
    document = Document.parse(body, str(path), limit=MAX_DOCUMENT)
    if path.suffix != ".conflist":
        head = {key: document.fields.get(key) for key in ("cniVersion", "name")}
        document = Document({**head, "plugins": [document.fields]}, document.what)
    return NetworkConfig.of(document)


# ---- what a network gave a container -------------------------------------------------------


@record(frozen=True)
class Interface:
    """``sandbox`` is the path of its network namespace, ``""`` for one of the machine's."""

    name: str
    mac: str = ""
    sandbox: str = ""


@record(frozen=True)
class IPConfig:
    """``address`` has its prefix length; ``interface`` is a place in the result's ``interfaces``.

    ``address.ip`` is the address alone.
    """

    address: IPv4Interface | IPv6Interface
    gateway: IPv4Address | IPv6Address | None = None
    interface: int | None = None


@record(frozen=True)
class Dns:
    """What the network says of names; it is the caller's to make a ``resolv.conf`` of it."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@record(frozen=True)
class NetworkResult:
    """What a network's plugins made; ``raw`` is their last answer, all of it."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IPConfig, ...] = ()
    dns: Dns = Dns()
    raw: dict[str, object] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def of(cls, document: Document) -> NetworkResult:
        """An answer to ADD (section 5, "Success").  Raises ``InvalidArgument``."""
        interfaces = document.each("interfaces", _interface)
        ips = document.each("ips", _address)
        if any((one.interface or 0) >= max(1, len(interfaces)) for one in ips):
            raise InvalidArgument(f"{document.what} has an address on no interface of its own")
        dns = _dns(document.document("dns") or Document({}, document.what))
        return cls(interfaces, ips, dns, dict(document.fields))


def _interface(document: Document) -> Interface:
    return Interface(document.text("name"), document.text("mac"), document.text("sandbox"))


def _address(document: Document) -> IPConfig:
    place = document.integer("interface") if document.has("interface") else None
    gateway = _ip(document, "gateway", ip_address) if document.text("gateway") else None
    return IPConfig(_ip(document, "address", ip_interface), gateway, place)


def _ip(document: Document, name: str, make: Callable[[str], _Value]) -> _Value:
    text = document.text(name, None)
    try:
        return make(text)
    except ValueError:
        raise InvalidArgument(f"{document.what}: {quoted(text)} is no {name}") from None


def _dns(document: Document) -> Dns:
    nameservers, search = document.texts("nameservers"), document.texts("search")
    return Dns(nameservers, document.text("domain"), search, document.texts("options"))


def result_of(said: bytes, plugin: str) -> NetworkResult:
    """What a plugin answered to ADD.  Raises ``Unknown`` for what is no result."""
    try:
        what = f"the result of the CNI plugin {plugin}"
        return NetworkResult.of(Document.parse(said, what, limit=MAX_DOCUMENT))
    except InvalidArgument as error:
        raise Unknown(error.message) from None
