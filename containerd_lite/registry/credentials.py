"""Credentials for registries, from the config files of Docker and podman.

``auth_files`` finds and parses the files, ``helpers`` runs credential helpers, and ``auth`` decides
where the client sends credentials.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping

from ..arguments import check_types
from ..errors import InvalidArgument
from ..oci.document import Document
from ..records import field, record
from .logins.auth_files import AuthFile, SafeError, auth_files, docker_file, docker_name

#: The user name that a helper returns if the secret is an identity token.
_TOKEN_USERNAME = "<token>"

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
    found_in_files = (_find_in_file(file, host, environ) for file in auth_files(environ))
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
    return _find_in_file(docker_file(environ), host, environ)


def _find_in_file(file: AuthFile, host: str, environ: Mapping[str, str]) -> Credentials | None:
    """Return the credentials for ``host`` from one file, or from the helper that the file names."""
    helper, found = file.parsed(lambda config: _find(config, file, host)) or ("", None)
    if not helper:
        return found
    # ``helpers`` imports subprocess, which takes 3 ms.
    from .logins.helpers import ask_helper

    login = ask_helper(helper, docker_name(host), file.path, environ)
    if login is None:
        return None
    username, secret = login
    if username == _TOKEN_USERNAME:
        return Credentials("", "", identity_token=secret)
    return Credentials(username, secret)


def _find(config: Document, file: AuthFile, host: str) -> tuple[str, Credentials | None]:
    """Return two values: the helper's name, and the credentials in the file itself.

    The name is ``""`` if the file names no helper for ``host``. The credentials are ``None`` if
    the file names a helper.
    """
    helper = file.helper_of(config, host)
    return helper, None if helper else _find_in_auths(config, file, host)


def _find_in_auths(config: Document, file: AuthFile, host: str) -> Credentials | None:
    """Return the credentials for ``host`` in the file's ``auths``."""
    auths = config.document("auths") or Document({}, "no auths")
    for key in file.matching_keys(auths.fields, host):
        entry = auths.document(key)
        found = _decode_entry(entry.check_case(_ENTRY_FIELDS)) if entry else None
        if found:
            return found
    return None


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
        raise SafeError("an 'auth' value is not base64-encoded text") from None
    username, colon, password = pair.partition(":")
    if not (username and colon):
        raise SafeError("an 'auth' value does not have the form user:password")
    # In old files of Docker, NUL bytes follow the password.
    return username, password.strip("\0")
