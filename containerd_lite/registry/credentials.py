"""Credentials for registries, from the config files of Docker and podman.

``helpers`` runs credential helpers, and ``auth`` decides where the client sends credentials.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ..arguments import check_types
from ..errors import InvalidArgument
from ..oci.document import Document
from ..oci.reference import DEFAULT_HOST
from ..records import field, record
from ..system import open_regular

#: Largest config file in bytes. Manifests have the same limit. Docker's own file has a few
#: kilobytes.
_MAX_CONFIG = 4 << 20
#: The names of Docker Hub in config files. All these names mean the same account.
_HUB_NAMES = frozenset({DEFAULT_HOST, "index.docker.io", "registry-1.docker.io"})
#: The name of Docker Hub that Docker writes to config files and passes to helpers.
_HUB_SERVER = "https://index.docker.io/v1/"
#: The user name that a helper returns if the secret is an identity token.
_TOKEN_USERNAME = "<token>"

_FIELDS = ("auths", "credHelpers", "credsStore")
_ENTRY_FIELDS = ("auth", "username", "password", "identitytoken")


@record(frozen=True)
class Credentials:
    """A user name and a password for a registry. The ``repr`` shows neither.

    Attributes:
        username: The user name.
        password: The password, or an access token in place of a password.
        identity_token: An OAuth 2.0 refresh token, as in Docker's config files. With an
            identity token, the user name and the password can be empty.

    Raises:
        InvalidArgument: The user name contains a colon, which Basic authentication does not allow
            (RFC 7617).
    """

    username: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False, kw_only=True)

    def __post_init__(self) -> None:
        check_types(vars(self))
        if ":" in self.username:
            raise InvalidArgument("a user name with a colon cannot be sent to a registry")

    def basic(self) -> str:
        """Return the value of an ``Authorization`` header (RFC 7617), or ``""`` without a password.

        The value is a secret.
        """
        if not self.password:
            return ""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret texts: the password, the encoded Basic credentials, and the identity token."""
        encoded = self.basic().removeprefix("Basic ")
        return tuple(text for text in (self.password, encoded, self.identity_token) if text)


#: A function that returns the credentials for a host. ``None`` means anonymous access. The
#: argument is the host as it appears in references (``docker.io``).
CredentialSource = Callable[[str], "Credentials | None"]


@record(frozen=True)
class _CredentialsFile:
    """A file that may contain credentials. It is an error if a ``required`` file does not exist.

    If ``repositories`` is true, as for podman's files, a key can be for a single repository. If
    ``repositories`` is false, as for Docker's file, every key is for a whole host.
    """

    path: Path
    required: bool = False
    repositories: bool = True

    def host_of(self, key: str) -> str:
        """Return the host to which a key belongs, or ``""`` for the key of a single repository.

        A key is a host name, a host name with a path, or a URL with any path.
        """
        before, mark, after = key.partition("://")
        host, _, path = (after if mark else before).partition("/")
        return "" if path and self.repositories and not mark else host

    def unusable(self, reason: str) -> InvalidArgument:
        """Return the error that says why this file cannot be used."""
        return InvalidArgument(
            f"the credentials file {self.path} cannot be used: {reason}",
            remedy="Correct the file, or log in again",
        )


def default_credentials(host: str, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """Return the first credentials for ``host`` that the user's config files contain.

    If ``$REGISTRY_AUTH_FILE`` is set, only the file that this variable names is read. Otherwise,
    the client reads the following files in order. Files 2 and 3 belong to podman
    (containers-auth.json(5)):

    1. Docker's config file, as ``docker_config`` reads it.
    2. ``$XDG_RUNTIME_DIR/containers/auth.json``, or ``/run/containers/<uid>/auth.json`` if the
       variable is not set.
    3. ``$XDG_CONFIG_HOME/containers/auth.json``, or ``~/.config/containers/auth.json`` if the
       variable is not set.

    The rules of ``docker_config`` apply to all these files. In files other than Docker's, keys
    for a single repository are skipped.

    Args:
        host: The host as it appears in references (``docker.io``).
        environ: The environment variables. Default: ``os.environ``.

    Returns:
        The credentials, or ``None`` if no file has credentials for ``host``.

    Raises:
        InvalidArgument: A file cannot be parsed, or the file that ``$REGISTRY_AUTH_FILE`` names
            does not exist. The message names the file, but does not quote its content.
        RegistryUnauthorized: A credential helper failed.
    """
    environ = os.environ if environ is None else environ
    found_in_files = (_find_in_file(file, host, environ) for file in _files(environ))
    return next(filter(None, found_in_files), None)


def docker_config(host: str, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """Return the credentials for ``host`` from Docker's config file.

    The file is ``$DOCKER_CONFIG/config.json``, or ``~/.docker/config.json`` if the variable is
    not set. If the file does not exist, the result is ``None``.

    As in docker/cli (cli/config/configfile/file.go), the host's helper in ``credHelpers`` has
    precedence over the helper in ``credsStore``. If the file names a helper for the host, ``auths``
    is ignored, even if the helper has no credentials or fails.

    Args:
        host: The host as it appears in references (``docker.io``).
        environ: The environment variables. Default: ``os.environ``.

    Returns:
        The credentials, or ``None`` if the file has none for ``host``.

    Raises:
        InvalidArgument: The file cannot be parsed. The message names the file, but does not
            quote its content.
        RegistryUnauthorized: The credential helper failed.
    """
    environ = os.environ if environ is None else environ
    return _find_in_file(_docker_file(environ), host, environ)


def _files(environ: Mapping[str, str]) -> Iterator[_CredentialsFile]:
    """Yield the files to read, in order."""
    only = environ.get("REGISTRY_AUTH_FILE")
    if only:
        yield _CredentialsFile(Path(only), required=True)
        return
    yield _docker_file(environ)
    runtime = environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime, "containers") if runtime else Path("/run/containers", str(os.getuid()))
    yield _CredentialsFile(folder / "auth.json")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(_home(environ), ".config")
    yield _CredentialsFile(Path(config, "containers", "auth.json"))


def _docker_file(environ: Mapping[str, str]) -> _CredentialsFile:
    folder = environ.get("DOCKER_CONFIG") or os.path.join(_home(environ), ".docker")
    return _CredentialsFile(Path(folder, "config.json"), repositories=False)


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def _find_in_file(
    file: _CredentialsFile, host: str, environ: Mapping[str, str]
) -> Credentials | None:
    """Return the credentials for ``host`` from one file, or from the helper that the file names."""
    body = _read(file)
    if body is None:
        return None
    helper, found = _parse_file(file, body, host)
    if not helper:
        return found
    # ``helpers`` imports subprocess, which takes 3 ms.
    from .helpers import ask_helper

    login = ask_helper(helper, _docker_name(host), file.path, environ)
    if login is None:
        return None
    username, secret = login
    if username == _TOKEN_USERNAME:
        return Credentials("", "", identity_token=secret)
    return Credentials(username, secret)


def _read(file: _CredentialsFile) -> bytes | None:
    """Return the file's content, or ``None`` if the file does not exist and is not required."""
    try:
        with open_regular(file.path) as source:
            return source.read(_MAX_CONFIG + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not file.required:
            return None
        raise InvalidArgument(
            f"$REGISTRY_AUTH_FILE names {file.path}, but no such file exists",
            remedy="Correct the variable, or unset it",
        ) from error
    except OSError as error:
        raise file.unusable(f"it cannot be read ({error.strerror})") from error


class _SafeError(InvalidArgument):
    """An error whose message quotes no part of the file."""


def _parse_file(file: _CredentialsFile, body: bytes, host: str) -> tuple[str, Credentials | None]:
    """Return two values: the helper's name, and the credentials in the file itself.

    The name is ``""`` if the file names no helper for ``host``. The credentials are ``None`` if
    the file names a helper.
    """
    try:
        config = Document.parse(body, "the file", limit=_MAX_CONFIG).check_case(_FIELDS)
        helper = _helper_name(config, file, host)
        return helper, None if helper else _find_in_auths(config, file, host)
    except _SafeError as error:
        reason = error.message
    except InvalidArgument:
        # The message may quote a value of the file, and every value may be a secret.
        reason = "it does not have the form that Docker and podman write"
    # The error is raised outside the ``except`` block. Inside the block, the caught error would
    # become the context of the raised error.
    raise file.unusable(reason)


def _helper_name(config: Document, file: _CredentialsFile, host: str) -> str:
    """Return the name of the helper for ``host``, or ``""``.

    The host's entry in ``credHelpers`` overrides ``credsStore``, even if the entry is empty.
    """
    helpers = config.table("credHelpers")
    keys = _matching_keys(helpers, file, host)
    return helpers[keys[0]] if keys else config.text("credsStore")


def _find_in_auths(config: Document, file: _CredentialsFile, host: str) -> Credentials | None:
    """Return the credentials for ``host`` in the file's ``auths``."""
    auths = config.document("auths") or Document({}, "no auths")
    for key in _matching_keys(auths.fields, file, host):
        entry = auths.document(key)
        found = _decode_entry(entry.check_case(_ENTRY_FIELDS)) if entry else None
        if found:
            return found
    return None


def _matching_keys(keys: Iterable[str], file: _CredentialsFile, host: str) -> list[str]:
    """Return the keys that name ``host``; the key that Docker would write comes first."""
    wanted = _HUB_NAMES if host in _HUB_NAMES else frozenset({host})
    found = [key for key in keys if file.host_of(key) in wanted]
    return sorted(found, key=lambda key: (key != _docker_name(host), key != host))


def _docker_name(host: str) -> str:
    """Return Docker's name for ``host``."""
    return _HUB_SERVER if host in _HUB_NAMES else host


def _decode_entry(entry: Document) -> Credentials | None:
    """Return the credentials of an ``auths`` entry, or ``None`` if Docker left the entry empty."""
    username, password = entry.text("username"), entry.text("password")
    token = entry.text("identitytoken")
    if text := entry.text("auth"):
        username, password = _decode_auth(text)
    if token or (username and password):
        return Credentials(username, password, identity_token=token)
    return None


def _decode_auth(text: str) -> tuple[str, str]:
    """Return the user name and the password of an entry's ``auth`` text."""
    try:
        pair = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise _SafeError("an 'auth' value is not base64-encoded text") from None
    username, colon, password = pair.partition(":")
    if not (username and colon):
        raise _SafeError("an 'auth' value does not have the form user:password")
    # In old files of Docker, NUL bytes follow the password.
    return username, password.strip("\0")
