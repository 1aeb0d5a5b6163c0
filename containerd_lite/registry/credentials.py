"""User names and passwords for registries, and where to find them.

What lives here: the record that hides its secret, and the reading of Docker's config file.
What may not: sending them anywhere; that is decided in ``auth``.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InvalidArgument
from ..oci.document import Document
from ..oci.reference import DEFAULT_HOST

#: Docker's own file has some kilobytes; the bound is that of manifests.
_MAX_CONFIG = 4 << 20
#: How Docker's config file may call Docker Hub.
_HUB_NAMES = frozenset({DEFAULT_HOST, "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True)
class Credentials:
    """A user name and a password (or an access token in its place); the repr shows neither.

    Raises InvalidArgument for a user name with a colon, which Basic cannot carry (RFC 7617).
    """

    username: str = field(repr=False)
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if ":" in self.username:
            raise InvalidArgument("a user name with a colon in it cannot be sent to a registry")

    def basic(self) -> str:
        """The value of an ``Authorization`` header (RFC 7617); a secret."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


#: Finds the credentials for a host as references name it; ``None`` is anonymous.
CredentialSource = Callable[[str], "Credentials | None"]


def docker_config(host: str, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """The credentials of ``host`` in the ``auths`` of Docker's config file, if there are any.

    The file is ``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``; no file means no
    credentials.  Raises InvalidArgument, naming the file but none of its content, for a file
    that cannot be understood.
    """
    environ = os.environ if environ is None else environ
    folder = environ.get("DOCKER_CONFIG") or os.path.join(_home(environ), ".docker")
    path = Path(folder, "config.json")
    try:
        with path.open("rb") as file:
            body = file.read(_MAX_CONFIG + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read ({error.strerror})") from error
    try:
        return _entry(Document.parse(body, str(path), limit=_MAX_CONFIG), host)
    except InvalidArgument as error:
        # Its own message may quote a value, and here every value may be a secret.
        raise _unusable(path, error) from None


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def _unusable(path: Path, error: InvalidArgument) -> InvalidArgument:
    reason = error.message if isinstance(error, _Safe) else "it is not as Docker writes it"
    return InvalidArgument(
        f"the Docker config file {path} cannot be used: {reason}",
        remedy="Mend it, or log in again",
    )


class _Safe(InvalidArgument):
    """An error whose message quotes nothing of the file."""


def _entry(config: Document, host: str) -> Credentials | None:
    auths = config.document("auths")
    if auths is None:
        return None
    wanted = _HUB_NAMES if host in _HUB_NAMES else frozenset({host})
    exact = [key for key in auths.fields if key == host]
    others = [key for key in auths.fields if _host_of(key) in wanted and key not in exact]
    for key in exact + others:
        entry = auths.document(key)
        found = _decode(entry) if entry else None
        if found:
            return found
    return None


def _host_of(key: str) -> str:
    """The host of a key, which may be written as a URL, by old versions with a path."""
    return key.rpartition("://")[2].partition("/")[0]


def _decode(entry: Document) -> Credentials | None:
    text = entry.text("auth")
    if not text:
        username, password = entry.text("username"), entry.text("password")
        return Credentials(username, password) if username and password else None
    try:
        pair = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise _Safe("an 'auth' in it is not base64 of text") from None
    username, colon, password = pair.partition(":")
    if not colon:
        raise _Safe("an 'auth' in it is not of the form user:password")
    # Docker's old files pad the password with NULs.
    return Credentials(username, password.strip("\0"))
