"""``containerd-lite doctor``: checks of the daemon, with remedies."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ContainerdError
from ...printable import printable
from ...records import replace
from ...runtime import io
from ...services.deprecations import PREFIX
from ...services.releases import RELEASES
from ..findings import Finding
from ..image_verifiers import check_image_verifiers
from ..output import add_format, client_of, print_rows
from ..remedies import for_command_line

if TYPE_CHECKING:
    from ...client import Client
    from ...services.introspection import Plugin
    from ...services.version import Version

_GRPC = "io.containerd.grpc.v1"
_SNAPSHOTTER = "io.containerd.snapshotter.v1"
_RUNTIME = "io.containerd.runtime.v2"
#: The types of plugins that are necessary to pull images and run containers, and their purposes.
_NEEDED = {
    "io.containerd.content.v1": "store content",
    "io.containerd.differ.v1": "unpack layers",
    _SNAPSHOTTER: "store root filesystems",
    _RUNTIME: "run containers",
}
#: The gRPC services that are necessary to pull images and run containers.
_SERVICES = {
    *("containers", "content", "diff", "events", "images", "introspection", "leases"),
    *("namespaces", "snapshots", "tasks", "version"),
}
_DISABLED = "Check the daemon's log, and disabled_plugins in its config.toml"


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_format(parser)


def do_doctor(options: argparse.Namespace) -> int:
    """Run all checks, and print the findings. Return 1 if something is missing, else 0."""
    with client_of(options) as client:
        findings = [
            replace(finding, remedy=for_command_line(finding.remedy, options.parser))
            for finding in examine(client)
        ]
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
    yield support_of(version, date.today())
    for name, check in _CHECKS.items():
        try:
            yield from check(client)
        except ContainerdError as error:
            yield Finding(name, "missing", error.message, error.remedy)
    yield _shims()
    yield _fifos()


def support_of(version: Version, today: date) -> Finding:
    """Compare a daemon's release with the releases that this package knows."""
    known = ["{}.{}".format(*numbers) for numbers in RELEASES]
    if version.is_newer_than_known:
        text = f"{version.version} is newer than {known[-1]}, the newest that this client knows"
        remedy = "Upgrade this client to use what is new; everything else works as before"
        return Finding("release", "warning", text, remedy)
    longest = max(RELEASES, key=lambda numbers: RELEASES[numbers].end_of_life)
    upgrade = "Upgrade to containerd {}.{} or newer".format(*longest)
    if version.release is None:
        text = f"{version.version} is not one of {known[0]} to {known[-1]}, which this client knows"
        return Finding("release", "warning", text, upgrade)
    end = version.release.end_of_life
    if end < today:
        return Finding("release", "warning", f"has had no security fixes since {end}", upgrade)
    kind = "long-term support" if version.release.is_lts else "supported"
    return Finding("release", "ok", f"{kind} until {end}")


def _health(client: Client) -> Iterator[Finding]:
    serving = client.health_service.check()
    yield Finding("health", "ok" if serving == "SERVING" else "warning", serving)


def _deprecations(client: Client) -> Iterator[Finding]:
    """Say what to do about each deprecation. For an unknown one, only the daemon's text helps."""
    found = client.server().deprecations
    if not found:
        yield Finding("deprecations", "ok", "none reported")
    for deprecation in found:
        check = f"deprecation {deprecation.id.removeprefix(PREFIX)}"
        last = deprecation.last_occurrence
        seen = f" (last seen {last:%Y-%m-%d %H:%M:%S %Z})" if last else ""
        yield Finding(check, "warning", deprecation.message + seen, deprecation.remedy)


def _socket(address: str) -> Finding:
    path = Path(address.removeprefix("unix://"))
    if not address.startswith("unix:///"):
        return Finding("socket", "ok", address)
    try:
        found = path.stat()
    except PermissionError:
        who = f"user {os.geteuid()} has no permission to enter the folder of {path}"
        return Finding("socket", "missing", who, "Run as root, or get access to the folder")
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


def _namespaces(client: Client) -> Iterator[Finding]:
    """List the namespaces, and check the default snapshotter of the client's namespace."""
    names = [namespace.name for namespace in client.namespace_service.list()]
    shown = ", ".join(
        f"{name} ({len(client.in_namespace(name).list_images())} images)" for name in names[:20]
    )
    if client.namespace in names:
        yield Finding("namespaces", "ok", shown)
    else:
        text = f"{shown or 'none'}; {client.namespace} does not exist yet"
        remedy = "The first pull creates the namespace; -n selects another one"
        yield Finding("namespaces", "ok", text, remedy)
    chosen = client.snapshot_service().snapshotter
    if chosen not in client.capabilities().snapshotters:
        remedy = "Choose another snapshotter with --snapshotter, or with a label of the namespace"
        yield Finding("default snapshotter", "missing", f"{chosen} is not usable", remedy)


def _plugins(client: Client) -> Iterator[Finding]:
    plugins = client.introspection_service.plugins()
    yield from _failures(plugins)
    for kind, purpose in _NEEDED.items():
        check = {_SNAPSHOTTER: "snapshotters", _RUNTIME: "runtimes"}.get(kind, kind)
        usable = [plugin.id for plugin in plugins if plugin.type == kind and not plugin.error]
        if usable:
            yield Finding(check, "ok", ", ".join(sorted(usable)))
        else:
            yield Finding(check, "missing", f"no usable plugin to {purpose}", _DISABLED)


def _failures(plugins: list[Plugin]) -> Iterator[Finding]:
    """Report the gRPC services that are missing, and the plugins that tried to start and failed.

    The error of a plugin is also the end of the errors of all plugins that need it.
    """
    failed = [plugin for plugin in plugins if plugin.error and not plugin.is_skipped]
    while failed:
        first, *others = failed
        failed = [plugin for plugin in others if not plugin.error.endswith(first.error)]
        text = first.error
        if count := len(others) - len(failed):
            text += f" ({count} other plugins failed with this error)"
        yield Finding(f"plugin {first.type}.{first.id}", "warning", text, _DISABLED)
    usable = {plugin.id for plugin in plugins if plugin.type == _GRPC and not plugin.error}
    if absent := sorted(_SERVICES - usable):
        yield Finding("services", "missing", f"not served: {', '.join(absent)}", _DISABLED)
    else:
        yield Finding("services", "ok", ", ".join(sorted(usable)))


_CHECKS: dict[str, Callable[[Client], Iterator[Finding]]] = {
    "health": _health,
    "deprecations": _deprecations,
    "plugins": _plugins,
    "namespaces": _namespaces,
    "image verifiers": check_image_verifiers,
}


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
