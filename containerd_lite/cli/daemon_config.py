"""Finds and reads the configuration of a daemon that runs on this machine.

No call returns the configuration, so this module reads the files that the arguments of the daemon's
process name. The result is the current content of the files. The daemon read them when it started.

Source: containerd's cmd/containerd/server/config/config.go, and plugins/cri/images/plugin.go for
settings of version 2.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from glob import glob
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FailedPrecondition
from ..system import open_regular

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

if TYPE_CHECKING:
    from ..client import Client

_DEFAULT_FILE = "/etc/containerd/config.toml"
_CONFIG_OPTIONS = {"-c", "--c", "-config", "--config"}
#: The maximum size of a file in bytes, and the maximum number of files.
_MAX_FILE, _MAX_FILES = 4 << 20, 1000
#: Seconds that a connection to the daemon's socket may take.
_PATIENCE = 10.0
_PEER = struct.Struct("3i")  # pid, uid and gid, as in unix(7)

_CRI, IMAGES = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"
#: The settings of the CRI that version 3 has in the section of the CRI's images.
_MOVED = ("registry", "max_concurrent_downloads", "image_pull_with_sync_fs")
_MOVED_FROM_CONTAINERD = ("disable_snapshot_annotations", "discard_unpacked_layers")


def process_of(client: Client) -> Path:
    """Return the folder in ``/proc`` of the daemon's process.

    Raises:
        FailedPrecondition: The daemon's files are not visible here. The message says why.
    """
    path = client.address.removeprefix("unix://")
    if not path.startswith("/"):
        raise _not_visible("it is not reached by a Unix socket")
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(_PATIENCE)
            peer.connect(path)
            pid, _, _ = _PEER.unpack(
                peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            )
        # Another process can serve the socket for the daemon, for example on another machine.
        if pid != client.server().pid:
            raise _not_visible("another process or PID namespace serves its socket")
        process = Path("/proc", str(pid))
        own = Path("/proc/self")
        if not all((process / name).samefile(own / name) for name in ("ns/mnt", "root")):
            raise _not_visible("it runs in another mount namespace")
    except OSError as error:
        raise _not_visible(error.strerror or str(error)) from None
    return process


def read_plugin_settings(process: Path) -> Mapping[str, Any]:
    """Return the settings of the daemon's plugins, by the plugin's type and id.

    Settings with their defaults are missing, unless a file contains them.

    Args:
        process: The folder of the daemon's process, as ``process_of`` returns it.

    Raises:
        FailedPrecondition: A file cannot be read. The message says why.
    """
    settings: dict[str, Any] = {}
    try:
        for document in _documents(_config_file(process)):
            _merge(settings, _plugins(document))
    except (OSError, ValueError, TypeError, RecursionError) as error:  # it is not a configuration
        raise _not_visible(str(error)) from None
    return settings


def _not_visible(why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"the daemon's settings cannot be read: {why}",
        remedy="Run this program as root on the daemon's machine",
    )


def _config_file(process: Path) -> str | None:
    """Return the path of the daemon's configuration, ``None`` if it has none."""
    argv = os.fsdecode((process / "cmdline").read_bytes()).split("\0")
    for word, following in pairwise(argv):
        name, equals, value = word.partition("=")
        if name in _CONFIG_OPTIONS:
            return str(process / "cwd" / (value if equals else following))
    return _DEFAULT_FILE if os.path.exists(_DEFAULT_FILE) else None


def _documents(path: str | None) -> Iterator[dict[str, Any]]:
    """Yield the files of the configuration in the order in which the daemon reads them."""
    pending = [path] if path else []
    read: set[str] = set()
    for file in pending:  # imported files are appended
        if file in read:
            continue
        if len(read) == _MAX_FILES:
            raise ValueError(f"it has more than {_MAX_FILES} files")
        read.add(file)
        with open_regular(file) as stream:
            body = stream.read(_MAX_FILE + 1)
        if len(body) > _MAX_FILE:
            raise ValueError(f"{file} has more than {_MAX_FILE} bytes")
        document = tomllib.loads(body.decode())
        yield document
        for name in document.get("imports", ()):
            imported = os.path.normpath(os.path.join(os.path.dirname(file), name))
            pending += sorted(glob(imported)) if "*" in imported else [imported]


def _plugins(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the table ``plugins`` of a file, with the names of version 3."""
    plugins = table_of(document, "plugins")
    cri = table_of(plugins, _CRI)
    if document.get("version", 1) > 2 or not cri:
        return plugins
    moved = {name: cri[name] for name in _MOVED if name in cri}
    containerd = table_of(cri, "containerd")
    if "runtimes" in containerd:  # otherwise, the daemon ignores them
        moved |= {name: containerd[name] for name in _MOVED_FROM_CONTAINERD if name in containerd}
    return {**plugins, IMAGES: {**table_of(plugins, IMAGES), **moved}}


def table_of(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table within a table. The result is empty if the table does not exist."""
    found = table.get(name)
    return found if isinstance(found, dict) else {}


def _merge(settings: dict[str, Any], later: Mapping[str, Any]) -> None:
    """Add the settings of a later file, which replace equal names."""
    for name, value in later.items():
        known = settings.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        else:
            settings[name] = value
