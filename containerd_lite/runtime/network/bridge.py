"""The default bridge network: its configuration, which is made once, and its removal."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import struct
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from ...errors import FailedPrecondition, NotFound
from ...system import of_system
from .cni import NetworkConfig, load_config
from .cni_plugin import find_plugin, has_program
from .own_folder import make_folder, own_folder
from .subnets import free_subnet, taken_subnets

_NAME = "bridge"
_FILE = f"{_NAME}.conflist"
#: The name of the bridge's interface. The kernel allows 15 characters.
_INTERFACE = "containerd-lite"
#: CNI's plugins of 2019 and later know this version.
_VERSION = "0.4.0"
_REQUIRED = ("bridge", "host-local", "portmap")
#: A plugin that lets packets of containers pass firewalls that drop forwarded packets by default.
_FIREWALL = "firewall"
#: The programs of which masquerading needs one.
_FILTERS = ("iptables", "nft")
_INSTALL = (
    "Install CNI's standard plugins: Debian's package containernetworking-plugins, Fedora's "
    "containernetworking-plugins, or a release of github.com/containernetworking/plugins in "
    "/opt/cni/bin"
)
#: From the kernel's sockios.h and if.h.
_GET_FLAGS, _SET_FLAGS, _DELETE_BRIDGE, _UP = 0x8913, 0x8914, 0x89A1, 1
_REQUEST = struct.Struct("16sH22x")


def bridge_config(plugins: Sequence[Path]) -> NetworkConfig:
    """Return the configuration of the default bridge; see ``Network.bridge``.

    Args:
        plugins: The folders of the plugins' programs.
    """
    for name in _REQUIRED:
        try:
            find_plugin(name, plugins)
        except NotFound as error:
            error.remedy = _INSTALL
            raise
    if not any(map(has_program, _FILTERS)):
        raise NotFound(
            "the bridge network needs the program iptables, which is not installed",
            remedy="Install the package iptables",
        )
    folder = own_folder() / "networks"
    if not (folder / _FILE).exists():
        try:
            _make(folder, plugins)
        except OSError as error:
            raise of_system(error, "make the bridge network") from error
    return load_config(folder, _NAME)


def _make(folder: Path, plugins: Sequence[Path]) -> None:
    """Write the configuration. If several processes do so at once, the first one decides.

    ``os.link`` fails if the file exists. So no process needs a lock, and none reads half a file.
    """
    subnet = str(free_subnet(taken_subnets()))
    config = _config(subnet, folder / "leases", has_firewall=_has_firewall(plugins))
    make_folder(folder)
    draft = folder / f".{_FILE}.{os.getpid()}-{os.urandom(8).hex()}"
    try:
        draft.write_text(json.dumps(config, indent=2) + "\n")
        with suppress(FileExistsError):
            os.link(draft, folder / _FILE)
    finally:
        draft.unlink(missing_ok=True)


def _has_firewall(plugins: Sequence[Path]) -> bool:
    with suppress(NotFound):
        find_plugin(_FIREWALL, plugins)
        return True
    return False


def _config(subnet: str, leases: Path, *, has_firewall: bool) -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": _INTERFACE,
        "isDefaultGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "capabilities": {"ips": True, "mac": True},
        "ipam": {
            "type": "host-local",
            "dataDir": str(leases),
            "ranges": [[{"subnet": subnet}]],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    firewall = [{"type": _FIREWALL}] if has_firewall else []
    return {"cniVersion": _VERSION, "name": _NAME, "plugins": [bridge, *firewall, portmap]}


def remove_bridge(*, force: bool) -> None:
    """Remove the default bridge; see ``Network.remove_bridge``."""
    folder = own_folder() / "networks"
    leases = folder / "leases" / _NAME
    try:
        if not force and (connected := _connected(leases)):
            raise FailedPrecondition(
                f"containers are connected to the bridge network: {', '.join(connected)}",
                remedy="Delete these containers, or pass force=True",
            )
        (folder / _FILE).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.rmtree(leases)
        _delete_interface()
    except OSError as error:
        raise of_system(error, "remove the bridge network") from error


def _connected(leases: Path) -> list[str]:
    """Return the addresses that host-local has leased: it has a file for each."""
    files = leases.iterdir() if leases.exists() else ()
    return sorted(path.name for path in files if path.name[0].isdigit())


def _delete_interface() -> None:
    """Delete the bridge in the network namespace of this thread, if it exists."""
    name = _INTERFACE.encode()
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as control:
        try:
            answer = fcntl.ioctl(control, _GET_FLAGS, _REQUEST.pack(name, 0))
        except OSError:  # no such interface
            return
        flags = _REQUEST.unpack(answer)[1]
        fcntl.ioctl(control, _SET_FLAGS, _REQUEST.pack(name, flags & ~_UP))
        fcntl.ioctl(control, _DELETE_BRIDGE, name + b"\0")
