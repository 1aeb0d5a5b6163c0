"""The files in which Docker and podman keep credentials: where they are, and how they change.

``credentials`` reads the credentials in these files, and ``account`` writes them.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ...deadline import Deadline
from ...errors import InvalidArgument
from ...interrupt import pause
from ...oci.document import Document
from ...oci.reference import DEFAULT_HOST
from ...records import record
from ...system import of_system, open_regular

#: Largest file in bytes. Manifests have the same limit. Docker's own file has a few kilobytes.
_MAX_FILE = 4 << 20
#: The names of Docker Hub in these files. All these names mean the same account.
HUB_NAMES = frozenset({DEFAULT_HOST, "index.docker.io", "registry-1.docker.io"})
#: The name of Docker Hub that Docker writes to its file and passes to helpers.
_HUB_SERVER = "https://index.docker.io/v1/"
_FIELDS = ("auths", "credHelpers", "credsStore")
#: The permissions of new folders, and of files that this module writes.
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
#: Seconds to wait for the lock of a folder, and seconds between two tries. Everyone who can read
#: the folder can lock it, so a thread that has waited this long continues without the lock.
_LOCK_TIMEOUT, _LOCK_INTERVAL = 10.0, 0.01

_Result = TypeVar("_Result")


class SafeError(InvalidArgument):
    """An error whose message quotes no part of a file."""


@record(frozen=True)
class AuthFile:
    """A file that may contain credentials. It is an error if a ``required`` file does not exist.

    If ``repositories`` is true, as for podman's files, a key can be for a single repository. If
    ``repositories`` is false, as for Docker's file, every key is for a whole host.
    """

    path: Path
    required: bool = False
    repositories: bool = True

    def key_of(self, host: str) -> str:
        """Return the key under which the owner of this file, Docker or podman, writes a host."""
        return host if self.repositories else docker_name(host)

    def host_of(self, key: str) -> str:
        """Return the host to which a key belongs, or ``""`` for the key of a single repository.

        A key is a host name, a host name with a path, or a URL with any path.
        """
        before, mark, after = key.partition("://")
        host, _, path = (after if mark else before).partition("/")
        return "" if path and self.repositories and not mark else host

    def matching_keys(self, keys: Iterable[str], host: str) -> list[str]:
        """Return the keys that name ``host``, in the order in which they are looked up.

        The key that Docker would write comes first.
        """
        wanted = HUB_NAMES if host in HUB_NAMES else frozenset({host})
        found = [key for key in keys if self.host_of(key) in wanted]
        return sorted(found, key=lambda key: (key != docker_name(host), key != host))

    def helper_of(self, config: Document, host: str) -> str:
        """Return the name of the helper for ``host``, or ``""``.

        The host's entry in ``credHelpers`` overrides ``credsStore``, even if the entry is empty.
        """
        helpers = config.table("credHelpers")
        keys = self.matching_keys(helpers, host)
        return helpers[keys[0]] if keys else config.text("credsStore")

    def unusable(self, reason: str) -> InvalidArgument:
        """Return the error that says why this file cannot be used."""
        return InvalidArgument(
            f"the credentials file {self.path} cannot be used: {reason}",
            remedy="Correct the file, or log in again",
        )

    def parsed(self, read: Callable[[Document], _Result]) -> _Result | None:
        """Return what ``read`` returns for the content of the file.

        The result is ``None`` if the file does not exist and is not required.

        Raises:
            InvalidArgument: The file cannot be read or parsed, or ``read`` refuses its content. The
                message quotes no part of the file.
        """
        body = self._read()
        return None if body is None else self.parse(body, read)

    def parse(self, body: bytes, read: Callable[[Document], _Result]) -> _Result:
        """Return what ``read`` returns for ``body``, the content of the file; see ``parsed``."""
        try:
            config = Document.parse(body, "the file", limit=_MAX_FILE)
            return read(config.check_case(_FIELDS))
        except SafeError as error:
            reason = error.message
        except InvalidArgument:
            # The message may quote a value of the file, and every value may be a secret.
            reason = "it does not have the form that Docker and podman write"
        # The error is raised outside the ``except`` block. Inside the block, the caught error would
        # become the context of the raised error.
        raise self.unusable(reason)

    def _read(self) -> bytes | None:
        """Return the file's content, or ``None`` if the file is missing and is not required."""
        try:
            with open_regular(self.path) as source:
                return source.read(_MAX_FILE + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            if not self.required:
                return None
            raise InvalidArgument(
                f"$REGISTRY_AUTH_FILE names {self.path}, but no such file exists",
                remedy="Correct the variable, or unset it",
            ) from error
        except OSError as error:
            raise self.unusable(f"it cannot be read ({error.strerror})") from error

    def change(self, edit: Callable[[dict[str, object]], bool]) -> None:
        """Replace the file by one with other ``auths``. All other fields stay as they are.

        The new file is readable by its owner only. It replaces the old file at once, so that a
        crash leaves one or the other. If the path is a symbolic link, the target is replaced.
        Threads and processes that use this method wait for each other.

        Args:
            edit: A function that changes the ``auths``, and returns whether to write the file.

        Raises:
            InvalidArgument: The file cannot be parsed, and stays as it is.
            ContainerdError: The file cannot be written.
        """
        path = os.path.realpath(self.path)
        folder = os.path.dirname(path)
        try:
            os.makedirs(folder, _FOLDER_MODE, exist_ok=True)
            with _locked(folder) as descriptor:
                fields, auths = self.parsed(_fields_and_auths) or ({}, {})
                if edit(auths):
                    _replace(path, self._encode({**fields, "auths": auths}))
                    os.fsync(descriptor)
        except OSError as error:
            raise of_system(error, place=path) from error

    def _encode(self, fields: dict[str, object]) -> bytes:
        """Return the JSON text of the file, with tabs, as Docker and podman write it."""
        try:
            body = json.dumps(fields, indent="\t", allow_nan=False).encode("ascii")
        except ValueError:
            raise self.unusable("it has a number that is too large") from None
        if len(body) > _MAX_FILE:
            raise self.unusable(f"it would have more than the {_MAX_FILE} bytes allowed")
        return body


def docker_name(host: str) -> str:
    """Return Docker's name for ``host``."""
    return _HUB_SERVER if host in HUB_NAMES else host


def auth_files(environ: Mapping[str, str]) -> Iterator[AuthFile]:
    """Yield the files to read, in order. A new login is written to the first."""
    only = environ.get("REGISTRY_AUTH_FILE")
    if only:
        yield AuthFile(Path(only), required=True)
        return
    yield docker_file(environ)
    runtime = environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime, "containers") if runtime else Path("/run/containers", str(os.getuid()))
    yield AuthFile(folder / "auth.json")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(_home(environ), ".config")
    yield AuthFile(Path(config, "containers", "auth.json"))


def docker_file(environ: Mapping[str, str]) -> AuthFile:
    """Return Docker's config file."""
    folder = environ.get("DOCKER_CONFIG") or os.path.join(_home(environ), ".docker")
    return AuthFile(Path(folder, "config.json"), repositories=False)


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def _fields_and_auths(config: Document) -> tuple[dict[str, object], dict[str, object]]:
    auths = config.document("auths")
    return dict(config.fields), dict(auths.fields if auths else {})


@contextmanager
def _locked(folder: str) -> Iterator[int]:
    """Lock a folder for the block, and yield the folder's descriptor.

    The kernel releases the lock when this process ends. The lock leaves no file.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = Deadline(_LOCK_TIMEOUT)
        while not _lock(descriptor) and not deadline.expired:
            pause(_LOCK_INTERVAL)
        yield descriptor
    finally:
        with suppress(OSError):  # a forked child may have a copy of the descriptor
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Return false if another thread or process has the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system supports no locks
        pass
    return True


def _replace(path: str, body: bytes) -> None:
    """Replace a file, or make it. The owner of the file stays the same, as far as possible."""
    scratch = f"{path}.{os.urandom(4).hex()}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(scratch, flags, _FILE_MODE), "wb") as file:
            with suppress(FileNotFoundError, PermissionError):
                former = os.stat(path)
                os.fchown(file.fileno(), former.st_uid, former.st_gid)
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(scratch)
