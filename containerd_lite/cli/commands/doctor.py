"""``containerd-lite doctor``: checks of the daemon, with remedies."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...errors import ContainerdError
from ...printable import printable
from ...records import record
from ...runtime import io
from ..output import add_format, client_of, print_rows

if TYPE_CHECKING:
    from ...client import Client
    from ...services.introspection import Plugin

_SNAPSHOTTER = "io.containerd.snapshotter.v1"
_RUNTIME = "io.containerd.runtime.v2"
#: The types of plugins that are necessary to pull images and run containers, and their purposes.
_NEEDED = {
    "io.containerd.content.v1": "store content",
    "io.containerd.differ.v1": "unpack layers",
    _SNAPSHOTTER: "store root filesystems",
    _RUNTIME: "run containers",
}


@record(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    state: Literal["ok", "warning", "missing"]
    found: str
    remedy: str = ""


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_format(parser)


def do_doctor(options: argparse.Namespace) -> int:
    """Run all checks, and print the findings. Return 1 if something is missing, else 0."""
    with client_of(options) as client:
        findings = list(examine(client))
    if options.format == "table":
        for finding in findings:
            print(printable(f"{finding.state:8} {finding.check}: {finding.found}"))
            if finding.remedy:
                print(printable(f"{'':8} -> {finding.remedy}"))
    else:
        print_rows([asdict(finding) for finding in findings], (), options.format)
    return 1 if any(finding.state == "missing" for finding in findings) else 0


def examine(client: Client) -> Iterator[Finding]:
    """Check the socket of a client's daemon, then the daemon.

    If the daemon does not respond, the checks end.
    """
    yield _socket(client.address)
    try:
        version = client.version()
    except ContainerdError as error:
        yield Finding("daemon", "missing", error.message, error.remedy)
        return
    yield Finding("daemon", "ok", f"containerd {version.version} {version.revision}".strip())
    try:
        serving = client.health_service.check()
        yield Finding("health", "ok" if serving == "SERVING" else "warning", serving)
        yield _namespaces(client)
        plugins = client.introspection_service.plugins()
    except ContainerdError as error:
        yield Finding("daemon's services", "missing", error.message, error.remedy)
        return
    yield from _plugins(plugins, client)
    yield _shims()
    yield _fifos()


def _socket(address: str) -> Finding:
    path = Path(address.removeprefix("unix://"))
    if not address.startswith("unix:///"):
        return Finding("socket", "ok", address)
    try:
        found = path.stat()
    except OSError as error:
        why = error.strerror or str(error)
        remedy = "Start containerd, or set its socket with -a or $CONTAINERD_ADDRESS"
        return Finding("socket", "missing", f"{path}: {why}", remedy)
    if not stat.S_ISSOCK(found.st_mode):
        return Finding("socket", "missing", f"{path} is not a socket", "Set the socket with -a")
    mode = f"{path}, mode {stat.filemode(found.st_mode)}, uid {found.st_uid}, gid {found.st_gid}"
    if not os.access(path, os.R_OK | os.W_OK):
        who = f"user {os.geteuid()} has no permission to open {mode}"
        remedy = f"Run as root, or join the group with gid {found.st_gid}"
        return Finding("socket", "missing", who, remedy)
    return Finding("socket", "ok", mode)


def _namespaces(client: Client) -> Finding:
    names = [namespace.name for namespace in client.namespace_service.list()]
    shown = ", ".join(
        f"{name} ({len(client.in_namespace(name).list_images())} images)" for name in names[:20]
    )
    if client.namespace in names:
        return Finding("namespaces", "ok", shown)
    text = f"{shown or 'none'}; {client.namespace} does not exist yet"
    return Finding(
        "namespaces", "ok", text, "The first pull creates the namespace; -n selects another one"
    )


def _plugins(plugins: list[Plugin], client: Client) -> Iterator[Finding]:
    for kind, purpose in _NEEDED.items():
        check = {_SNAPSHOTTER: "snapshotters", _RUNTIME: "runtimes"}.get(kind, kind)
        usable = [plugin.id for plugin in plugins if plugin.type == kind and not plugin.error]
        if usable:
            yield Finding(check, "ok", ", ".join(sorted(usable)))
        else:
            remedy = "Check the daemon's log, and disabled_plugins in its config.toml"
            yield Finding(check, "missing", f"no usable plugin to {purpose}", remedy)
    chosen = client.snapshot_service().snapshotter
    if chosen not in [p.id for p in plugins if p.type == _SNAPSHOTTER and not p.error]:
        remedy = "Choose another snapshotter with --snapshotter, or with a label of the namespace"
        yield Finding("default snapshotter", "missing", f"{chosen} is not usable", remedy)


def _shims() -> Finding:
    """Search this program's PATH for shims. The daemon searches its own PATH."""
    folders = [Path(folder) for folder in os.get_exec_path() if os.path.isdir(folder)]
    shims = {shim.name for folder in folders for shim in folder.glob("containerd-shim-*-v[0-9]*")}
    if shims:
        return Finding("shims", "ok", ", ".join(sorted(shims)))
    remedy = "If containers do not run, install containerd-shim-runc-v2 and runc"
    return Finding("shims", "warning", "none on this PATH; the daemon has its own PATH", remedy)


def _fifos() -> Finding:
    """Check whether this program can write to the folder of the FIFOs of containers."""
    folder = io.FIFO_FOLDER if os.path.exists(io.FIFO_FOLDER) else io.FIFO_FOLDER.parent
    if os.access(folder, os.W_OK | os.X_OK):
        return Finding("streams", "ok", f"{io.FIFO_FOLDER} can be written")
    remedy = "To run containers, run this program as root on the daemon's machine"
    return Finding("streams", "warning", f"{io.FIFO_FOLDER} cannot be written", remedy)
