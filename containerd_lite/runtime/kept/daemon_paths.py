"""Checks paths on the daemon's machine, where this process sees the files of the daemon."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from ...errors import InvalidArgument
from ...oci.spec.mounts import Mount, read_mounts
from ...printable import MAX_MESSAGE, quoted
from .daemon_process import daemon_process


def checked_mounts(address: str, mounts: object) -> list[Mount]:
    """Return the mounts of the option ``mounts``, and check the sources of its bind mounts.

    Args:
        address: The address of the daemon.
        mounts: The value of the option.

    Raises:
        InvalidArgument: A mount is not valid, or the daemon certainly does not see its source.
    """
    found = read_mounts(mounts)
    for mount in found:
        if mount.is_bind and os.path.isabs(mount.source) and _is_missing(address, mount.source):
            raise InvalidArgument(
                f"mounts: the source {quoted(mount.source, MAX_MESSAGE)} does not exist",
                remedy="Make the file or the folder first, or mount another path",
            )
    return found


def check_log_file(address: str, target: str) -> None:
    """Check the path of a log file. The shim would make missing folders.

    Args:
        address: The address of the daemon.
        target: The target of a process's output. If it is not a URI of a log file, it is ignored.

    Raises:
        InvalidArgument: The path leads to a folder, or the daemon certainly does not see the folder
            of the file.
    """
    parts = urlsplit(target)
    if parts.scheme != "file":
        return
    path = unquote(parts.path)
    folder = os.path.dirname(path)
    if _is_missing(address, folder):
        raise InvalidArgument(
            f"the folder of the log file {quoted(path, MAX_MESSAGE)} does not exist",
            remedy="Make the folder first, or use another path",
        )
    if os.path.isdir(path) and _is_seen(address, path):
        raise InvalidArgument(
            f"the log file {quoted(path, MAX_MESSAGE)} is a folder",
            remedy="Give the path of a file",
        )


def _is_missing(address: str, path: str) -> bool:
    """Return whether neither this process nor the daemon has a file or a folder at a path."""
    if os.path.exists(path):
        return False
    daemon = daemon_process(address)
    return daemon is not None and daemon.lacks(path)


def _is_seen(address: str, path: str) -> bool:
    daemon = daemon_process(address)
    return daemon is not None and daemon.sees(path)
