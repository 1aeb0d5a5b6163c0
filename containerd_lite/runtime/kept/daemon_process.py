"""The process of the daemon, and whether it sees the files of this process."""

from __future__ import annotations

import os
import socket
import struct

from ...records import record

_CONNECT_TIMEOUT = 5
#: A ``struct ucred``: pid, uid and gid (unix(7)).
_CREDENTIALS = "3i"


@record(frozen=True)
class DaemonProcess:
    """The process that listens on a daemon's Unix socket.

    Attributes:
        pid: Its pid. 0 if this process cannot see it, because it is in another pid namespace.
        uid: The user of the process.
    """

    pid: int
    uid: int

    def can_write(self) -> bool:
        """Return whether it may write to private folders of this user."""
        return self.uid in (0, os.geteuid())

    def sees(self, path: str) -> bool:
        """Return whether it sees the same file or folder at a path.

        It does not if it is in another container, or has mounts of its own.
        """
        try:
            return bool(self.pid) and os.path.samefile(f"/proc/{self.pid}/root/{path}", path)
        except PermissionError:
            return True  # the daemon is root, and this user may use its socket
        except OSError:
            return False

    def lacks(self, path: str) -> bool:
        """Return whether it certainly has no file and no folder at a path.

        It is not certain if it has another root than this process, or if this process may not look
        there. It can have mounts of its own, such as a private ``/tmp``.
        """
        return _is_missing(path) and _is_missing(f"/proc/{self.pid}/root/{path}") and self.sees("/")


def _is_missing(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def daemon_process(address: str) -> DaemonProcess | None:
    """Return the process that listens at an address; ``None`` if it is unknown."""
    scheme, _, path = address.partition(":")
    if not scheme.startswith("unix"):
        return None
    path = f"\0{path}" if scheme == "unix-abstract" else path.removeprefix("//")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        timeout = struct.pack("@ll", _CONNECT_TIMEOUT, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        try:
            sock.connect(path)
        except OSError:
            return None  # the next request raises the error
        size = struct.calcsize(_CREDENTIALS)
        found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, _ = struct.unpack(_CREDENTIALS, found)
    return DaemonProcess(pid, uid)
