"""Logs in to registries and out of them: changes what the user's config files and helpers store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from ...arguments import check_types
from ...errors import InvalidArgument, RegistryError, RegistryNotFound, RegistryUnauthorized
from ...limits import refused
from ...oci.document import Document
from ...oci.reference import DEFAULT_HOST, is_host
from ...operation import CancelToken, operation
from ...records import replace
from ..credentials import Credentials
from ..hosts import TlsFiles
from ..hosts_file import HOSTS_DIRS, StrPath
from ..registry import Registry
from .auth_files import HUB_NAMES, AuthFile, auth_files, docker_name
from .helpers import erase_in_helper, store_in_helper


def login(
    registry: str,
    username: str,
    password: str,
    *,
    plain_http: bool | None = None,
    hosts_dirs: Sequence[StrPath] = HOSTS_DIRS,
    tls: TlsFiles | None = None,
    realm_hosts: Iterable[str] = (),
    timeout: float | None = None,
    cancel: CancelToken | None = None,
) -> None:
    """Store credentials for a registry, if the registry accepts them.

    The credentials are stored where ``docker login`` stores them: in the credential helper that
    Docker's config file names for the registry (``credHelpers``, ``credsStore``), or else in
    ``$DOCKER_CONFIG/config.json`` or ``~/.docker/config.json``, readable by the user only. The file
    does not encrypt them. If ``$REGISTRY_AUTH_FILE`` is set, as for podman, the file that it names
    is used instead. All later calls of this user find the credentials there, and so do ``docker``,
    ``skopeo``, ``crane`` and ``oras``.

    A registry that serves everyone accepts all credentials.

    Args:
        registry: The registry's host as it appears in references (``docker.io``,
            ``registry.example:5000``).
        username: The user name.
        password: The password, or an access token in place of a password.
        plain_http: Whether to use HTTP without TLS; see ``Registry``.
        hosts_dirs: Folders in which to look for the registry's ``hosts.toml`` or for Docker's
            certificate files.
        tls: TLS files for the registry, in addition to the files found in ``hosts_dirs``.
        realm_hosts: Host names of further token servers to which the client is allowed to send
            the credentials; see ``Registry``.
        timeout: Seconds that the whole call may take. Default: no limit, but each request to the
            registry may take 60 seconds, and a helper 30.
        cancel: A token that can cancel the call.

    Raises:
        RegistryUnauthorized: The registry does not accept the credentials. Nothing is stored.
        RegistryUnavailable: The registry cannot be reached. Nothing is stored.
        InvalidArgument: An argument is invalid, or a config file cannot be parsed. Nothing is
            stored, and the file stays as it is.
        FailedPrecondition: The credential helper is missing or fails.
        ContainerdError: The file cannot be written.
    """
    host = _host(registry)
    credentials = _credentials(username, password)
    with operation(f"login to {host}", timeout, cancel):
        file, environ = replace(next(auth_files(os.environ)), required=False), os.environ
        with Registry(
            host,
            credentials=credentials,
            plain_http=plain_http,
            hosts_dirs=hosts_dirs,
            tls=tls,
            realm_hosts=realm_hosts,
        ) as client:
            helper = _helper(file, host)
            _check(client)
        entry: dict[str, str] = {}
        if helper:
            store_in_helper(helper, docker_name(host), (username, password), environ)
        else:
            entry["auth"] = credentials.basic().removeprefix("Basic ")
        _write_entry(file, host, entry)


def logout(
    registry: str, *, timeout: float | None = None, cancel: CancelToken | None = None
) -> bool:
    """Remove the credentials for a registry, wherever this client would find them.

    These are the files of ``credentials.default_credentials``, and the credential helpers that
    they name. In podman's files, entries for a single repository stay.

    Args:
        registry: The registry's host as it appears in references (``docker.io``).
        timeout: Seconds that the whole call may take. Default: no limit, but a helper may take 30
            seconds.
        cancel: A token that can cancel the call.

    Returns:
        Whether there was an entry for the registry.

    Raises:
        InvalidArgument: An argument is invalid, or a config file cannot be parsed.
        FailedPrecondition: A credential helper is missing or fails.
        ContainerdError: A file cannot be written.
    """
    host = _host(registry)
    with operation(f"logout from {host}", timeout, cancel):
        removed = [_remove(file, host, os.environ) for file in auth_files(os.environ)]
        return any(removed)


def _host(registry: str) -> str:
    """Return the name of a registry in references."""
    if not isinstance(registry, str) or not is_host(registry):
        raise refused("registry", registry, "the host of a registry, such as 'ghcr.io'")
    return DEFAULT_HOST if registry in HUB_NAMES else registry


def _credentials(username: str, password: str) -> Credentials:
    """Return credentials that config files can store."""
    check_types({"username": username, "password": password})
    for name, text in (("username", username), ("password", password)):
        # The readers of config files drop NUL characters at the end of a password.
        if not text or "\0" in text or not _is_unicode(text):
            raise InvalidArgument(
                f"{name} must not be empty, and must not have characters that no config file can "
                "store",
                remedy=f"Pass another {name}",
            )
    return Credentials(username, password)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # UTF-8 cannot encode a lone surrogate
        return False
    return True


def _helper(file: AuthFile, host: str) -> str:
    """Return the name of the helper for a host, or ``""``.

    Raises:
        InvalidArgument: The file cannot be parsed.
    """

    def read(config: Document) -> str:
        config.document("auths")
        return file.helper_of(config, host)

    return file.parsed(read) or ""


def _check(client: Registry) -> None:
    """Ask a registry whether it accepts the client's credentials."""
    try:
        client.check_credentials()
    except RegistryUnauthorized as error:
        if error.status not in (401, 403):
            raise
        raise RegistryUnauthorized(
            f"{client.host} does not accept the user name and the password: {error.message}",
            status=error.status,
            codes=error.codes,
            remedy="Check the user name and the password. Some registries require an access token "
            "in place of the password",
        ) from None
    except RegistryNotFound as error:
        raise RegistryError(
            f"{client.host} is not the host of a registry: {error.message}",
            status=error.status,
            remedy="Check the name of the host",
        ) from None


def _write_entry(file: AuthFile, host: str, entry: dict[str, str]) -> None:
    """Write an entry that comes before all other entries for the host.

    Docker writes an empty entry if a helper has the credentials. The change of the file also ends
    the caching of the helper's earlier answers.
    """
    own_key = file.key_of(host)

    def edit(auths: dict[str, object]) -> bool:
        for key in file.matching_keys([*auths, own_key], host):
            if key == own_key:
                break
            del auths[key]
        auths[own_key] = entry
        return True

    file.change(edit)


def _remove(file: AuthFile, host: str, environ: Mapping[str, str]) -> bool:
    """Remove all entries for a host from one file, and from the helper that the file names."""

    def read(config: Document) -> tuple[str, bool]:
        auths = config.document("auths")
        keys = file.matching_keys(auths.fields, host) if auths else []
        return file.helper_of(config, host), bool(keys)

    found = replace(file, required=False).parsed(read)
    if found is None:
        return False
    helper, has_keys = found
    is_erased = bool(helper) and erase_in_helper(helper, docker_name(host), environ)

    def edit(auths: dict[str, object]) -> bool:
        keys = file.matching_keys(auths, host)
        for key in keys:
            del auths[key]
        return is_erased or bool(keys)

    if has_keys or is_erased:
        file.change(edit)
    return has_keys or is_erased
