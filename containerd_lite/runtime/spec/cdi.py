"""Finds CDI devices in the files that vendors of devices have installed on this machine.

A device such as ``nvidia.com/gpu=0`` stands for edits of the runtime spec. containerd's annotations
for CDI devices work only with its CRI plugin, so clients read the files themselves, as ``ctr``
does.

Source: https://github.com/cncf-tags/container-device-interface (SPEC.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from ...errors import ContainerdError, InvalidArgument, NotFound
from ...lazy import lazy_pattern
from ...oci.document import MAX_DOCUMENT, Document
from ...oci.spec.device_edits import apply_edits
from ...oci.spec.fields import Spec
from .. import spec as package
from . import host

#: The folders of CDI files. A device in a later folder replaces a device of the same name.
FOLDERS = ("/etc/cdi", "/var/run/cdi")
_KIND = r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?"
_DEVICE = lazy_pattern(f"{_KIND}/{_KIND}={_NAME}")


def is_cdi_device(name: str) -> bool:
    """Return whether a name has the form ``vendor.com/class=name``."""
    return _DEVICE.fullmatch(name) is not None


def add_cdi_devices(spec: Spec, names: Sequence[str]) -> None:
    """Apply the edits of CDI devices to a spec.

    Raises:
        InvalidArgument: The edits of a device are malformed, or two files describe the device.
        NotFound: No file describes a device.
    """
    if not names:
        return
    found, problems = _read_files()
    edits: list[Document] = []
    files: list[Document] = []
    for name in names:
        places = found.get(name, [])
        if not places:
            why = "".join(f"; {problem}" for problem in problems[:3])
            raise NotFound(
                f"CDI device {name} is in no file of {' and '.join(FOLDERS)}{why}",
                remedy="Install or generate the vendor's CDI file on this machine",
            )
        if len(places) > 1:
            raise InvalidArgument(
                f"CDI device {name} is both in {places[0][0].what} and in {places[1][0].what}",
                remedy="Remove one of the files",
            )
        file, device = places[0]
        if file not in files:
            files.append(file)
            edits += filter(None, [file.document("containerEdits")])
        edits += filter(None, [device.document("containerEdits")])
    for each in edits:
        apply_edits(spec, each, host.device_node)


def _read_files() -> tuple[dict[str, list[tuple[Document, Document]]], list[str]]:
    """Return the files and the entries of each device by its name, and what is wrong with files.

    A file that cannot be read only matters for the devices that are in it, as in Go's client.
    """
    found: dict[str, list[tuple[Document, Document]]] = {}
    problems: list[str] = []
    for folder in FOLDERS:
        in_folder: dict[str, list[tuple[Document, Document]]] = {}
        for path in _paths(folder):
            try:
                file = _parse(path)
                kind = file.text("kind", None)
                for device in file.each("devices", lambda item: item):
                    name = f"{kind}={device.text('name', None)}"
                    in_folder.setdefault(name, []).append((file, device))
            except ContainerdError as error:
                problems.append(error.message if path in error.message else f"{path}: {error}")
        found.update(in_folder)
    return found, problems


def _paths(folder: str) -> Iterator[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:  # most machines have no such folder
        return
    for name in names:
        if name.endswith((".json", ".yaml")):
            yield os.path.join(folder, name)


def _parse(path: str) -> Document:
    body = host.read_file("devices", path, MAX_DOCUMENT)
    return Document.parse(body, path) if path.endswith(".json") else package.parse_yaml(body, path)
