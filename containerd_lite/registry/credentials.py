"""User names and passwords for registries, and where to find them.

What lives here: the record that hides its secrets, and the reading of the files in which Docker
and podman keep them.  What may not: running helpers, which is ``helpers``'s; sending secrets
anywhere, which is decided in ``auth``.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ..errors import InvalidArgument
from ..oci.document import Document
from ..oci.reference import DEFAULT_HOST
from ..records import field, record
from ..system import open_file

#: Docker's own file has some kilobytes; the bound is that of manifests.
_MAX_CONFIG = 4 << 20
#: How config files may call Docker Hub, which has one account.
_HUB_NAMES = frozenset({DEFAULT_HOST, "index.docker.io", "registry-1.docker.io"})
#: How Docker itself calls it, to helpers too.
_HUB_SERVER = "https://index.docker.io/v1/"
#: The user name with which a helper says that the secret is an identity token.
_TOKEN_NAME = "<token>"

_FIELDS = ("auths", "credHelpers", "credsStore")
_ENTRY_FIELDS = ("auth", "username", "password", "identitytoken")


@record(frozen=True)
class Credentials:
    """A user name and a password (or an access token in its place); the repr shows neither.

    With ``identity_token``, an OAuth 2.0 refresh token as Docker's files keep it, the other two
    may be empty.  Raises InvalidArgument for a user name with a colon, which Basic cannot carry
    (RFC 7617).
    """

    username: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if ":" in self.username:
            raise InvalidArgument("a user name with a colon in it cannot be sent to a registry")

    def basic(self) -> str:
        """The value of an ``Authorization`` header (RFC 7617); a secret.

        ``""`` where there is no password.
        """
        if not self.password:
            return ""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may be shown: the password, plain and as Basic has it, and the token."""
        encoded = self.basic().removeprefix("Basic ")
        return tuple(text for text in (self.password, encoded, self.identity_token) if text)


#: Finds the credentials for a host as references name it; ``None`` is anonymous.
CredentialSource = Callable[[str], "Credentials | None"]


@record(frozen=True)
class _File:
    """A file that may hold credentials; one that is ``required`` must be there.

    Docker takes the host from any key; podman's keys may go on to a ``repository``, and such a
    one is not the whole host's.
    """

    path: Path
    required: bool = False
    repositories: bool = True

    def host_of(self, key: str) -> str:
        """The host that a key of this file stands for: a name, or a URL with any path."""
        before, mark, after = key.partition("://")
        host, _, path = (after if mark else before).partition("/")
        return "" if path and self.repositories and not mark else host

    def unusable(self, reason: str) -> InvalidArgument:
        return InvalidArgument(
            f"the credentials file {self.path} cannot be used: {reason}",
            remedy="Mend it, or log in again",
        )


def default_credentials(host: str, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """The credentials of ``host`` from the first file of the user's that has some.

    ``host`` is as references name it.  ``$REGISTRY_AUTH_FILE`` is the only file where it is set.
    Else Docker's comes first, as ``docker_config`` reads it, then podman's
    (containers-auth.json(5)): ``$XDG_RUNTIME_DIR/containers/auth.json``, or
    ``/run/containers/<uid>/auth.json`` where that is not set, and
    ``$XDG_CONFIG_HOME/containers/auth.json``, or that in ``~/.config``.  All are read by one set
    of rules, save that a key for a single repository is passed over in all but Docker's.  Raises
    as ``docker_config`` does, and InvalidArgument for a ``$REGISTRY_AUTH_FILE`` without a file.
    """
    environ = os.environ if environ is None else environ
    looked = (_look(file, host, environ) for file in _files(environ))
    return next(filter(None, looked), None)


def docker_config(host: str, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """The credentials of ``host`` by Docker's config file, if there are any.

    The file is ``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``; no file means no
    credentials.  As in docker/cli (cli/config/configfile/file.go), a helper in ``credHelpers``
    for the host is asked, else that of ``credsStore``; the ``auths`` count only where there is
    neither, also when the helper answers that it has none.  Raises InvalidArgument, naming the
    file but none of its content, for a file that cannot be understood, and RegistryUnauthorized
    for a helper that does not do its work: no other source is tried in its place.
    """
    environ = os.environ if environ is None else environ
    return _look(_docker_file(environ), host, environ)


def _files(environ: Mapping[str, str]) -> Iterator[_File]:
    only = environ.get("REGISTRY_AUTH_FILE")
    if only:
        yield _File(Path(only), required=True)
        return
    yield _docker_file(environ)
    runtime = environ.get("XDG_RUNTIME_DIR")
    own = Path(runtime, "containers") if runtime else Path("/run/containers", str(os.getuid()))
    yield _File(own / "auth.json")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(_home(environ), ".config")
    yield _File(Path(config, "containers", "auth.json"))


def _docker_file(environ: Mapping[str, str]) -> _File:
    folder = environ.get("DOCKER_CONFIG") or os.path.join(_home(environ), ".docker")
    return _File(Path(folder, "config.json"), repositories=False)


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def _look(file: _File, host: str, environ: Mapping[str, str]) -> Credentials | None:
    body = _read(file)
    if body is None:
        return None
    helper, found = _understood(file, body, host)
    if not helper:
        return found
    from .helpers import ask_helper  # and subprocess with it: 3 ms

    login = ask_helper(helper, _server(host), file.path, environ)
    if login is None:
        return None
    username, secret = login
    if username == _TOKEN_NAME:
        return Credentials("", "", identity_token=secret)
    return Credentials(username, secret)


def _read(file: _File) -> bytes | None:
    """The content; ``None`` where there may be no file and is none."""
    try:
        with open_file(file.path) as source:
            return source.read(_MAX_CONFIG + 1) or b""
    except (FileNotFoundError, NotADirectoryError) as error:
        if not file.required:
            return None
        raise InvalidArgument(
            f"$REGISTRY_AUTH_FILE is {file.path}, and there is no such file",
            remedy="Correct it, or unset it",
        ) from error
    except OSError as error:
        raise file.unusable(f"it cannot be read ({error.strerror})") from error


class _Safe(InvalidArgument):
    """An error whose message quotes nothing of the file."""


def _understood(file: _File, body: bytes, host: str) -> tuple[str, Credentials | None]:
    """The helper that has the credentials for ``host``, or ``""`` and what the file has itself."""
    try:
        config = Document.parse(body, "the file", limit=_MAX_CONFIG).known(_FIELDS)
        helper = _helper(config, file, host)
        return helper, None if helper else _entry(config, file, host)
    except _Safe as error:
        reason = error.message
    except InvalidArgument:
        # Its own message may quote a value, and here every value may be a secret.
        reason = "it is not as Docker and podman write it"
    raise file.unusable(reason)  # out here, lest that message goes along as the context


def _helper(config: Document, file: _File, host: str) -> str:
    """The helper for ``host``: its own, where ``""`` means none, or else that of all hosts."""
    own = config.table("credHelpers")
    keys = _keys(own, file, host)
    return own[keys[0]] if keys else config.text("credsStore")


def _entry(config: Document, file: _File, host: str) -> Credentials | None:
    auths = config.document("auths") or Document({}, "no auths")
    for key in _keys(auths.fields, file, host):
        entry = auths.document(key)
        found = _decode(entry.known(_ENTRY_FIELDS)) if entry else None
        if found:
            return found
    return None


def _keys(keys: Iterable[str], file: _File, host: str) -> list[str]:
    """Those of ``keys`` that stand for ``host``, the one that Docker would write first."""
    wanted = _HUB_NAMES if host in _HUB_NAMES else frozenset({host})
    found = [key for key in keys if file.host_of(key) in wanted]
    return sorted(found, key=lambda key: (key != _server(host), key != host))


def _server(host: str) -> str:
    """What Docker calls ``host``."""
    return _HUB_SERVER if host in _HUB_NAMES else host


def _decode(entry: Document) -> Credentials | None:
    """An entry of ``auths``; Docker leaves empty ones behind, which are none."""
    username, password = entry.text("username"), entry.text("password")
    token = entry.text("identitytoken")
    if text := entry.text("auth"):
        username, password = _pair(text)
    if token or (username and password):
        return Credentials(username, password, identity_token=token)
    return None


def _pair(text: str) -> tuple[str, str]:
    try:
        pair = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise _Safe("an 'auth' in it is not base64 of text") from None
    username, colon, password = pair.partition(":")
    if not (username and colon):
        raise _Safe("an 'auth' in it is not of the form user:password")
    # Docker's old files pad the password with NULs.
    return username, password.strip("\0")
