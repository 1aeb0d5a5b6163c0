"""Credentials for transfers by the daemon, and the registry errors of such transfers.

The daemon asks the client for the credentials of a host. The daemon reports a registry error only
as text, from which this module derives the error class.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import suppress

from ...errors import (
    ContainerdError,
    InvalidArgument,
    NoMatchingPlatform,
    NotFound,
    ProtocolError,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    Unimplemented,
    Unknown,
)
from ...lazy import lazy_pattern
from ...oci.reference import Reference
from ...printable import printable, quoted
from ...registry.addresses import is_loopback
from ...registry.credentials import CredentialSource
from ...registry.hosts import Host, own_host
from ...registry.hosts_file import HOSTS_DIRS, find_hosts
from ...registry.redaction import Redactor
from ...services.streaming import Stream
from ...services.transfer_types import AuthRequest, AuthResponse, transfer_value

#: A pattern for the HTTP status in the errors of containerd's remotes/errors and
#: remotes/docker/fetcher.go.
_STATUS, _CODE = lazy_pattern(r"unexpected (?:HEAD )?status "), lazy_pattern(r": (\d{3})\b")
#: A pattern for a URL with a query. If a registry has redirected the daemon, the query can contain
#: a secret.
_QUERY = lazy_pattern(r"(https?://[^\s\"?]*)(\?[^\s\"]*)?")
_TLS_REQUIRED = "server gave HTTP response to HTTPS client"
_LOGGER = logging.getLogger(__package__)
_CLIENT = 'pull or push with via="client"'


def registry_accounts(namespace: str, hosts_dir: str) -> dict[str, str]:
    """Return the hosts of a registry and of its mirrors, with the names of their credentials.

    Args:
        namespace: The registry's name as it appears in references.
        hosts_dir: The folder with ``hosts.toml`` files that the daemon uses; ``""`` for its default
            folders. The client reads the files if they are on its own machine, too.
    """
    hosts: tuple[Host, ...] = (own_host(namespace),)
    with suppress(InvalidArgument):  # the daemon reports its own reading of the files
        hosts += find_hosts(namespace, (hosts_dir,) if hosts_dir else HOSTS_DIRS)
    return {**{host.address: host.account for host in hosts}, namespace: namespace}


class CredentialAnswers:
    """Answers the daemon's requests for the credentials of a host.

    The registry and its configured mirrors get credentials. A registry can redirect the daemon to
    any other host, which gets none.

    Args:
        find: A function that returns the credentials of a host.
        accounts: For each host that gets credentials, the name under which they are stored; see
            ``registry_accounts``.
    """

    def __init__(self, find: CredentialSource, accounts: Mapping[str, str]) -> None:
        self._find = find
        self._accounts = accounts
        self._secrets: set[str] = set()
        self._redactor = Redactor()

    def serve(self, stream: Stream) -> None:
        """Answer requests until the stream ends.

        Errors of the credential source propagate to the caller.
        """
        for value in stream:
            request = transfer_value(value)
            if not isinstance(request, AuthRequest):
                raise ProtocolError(f"received {value.type_url} instead of a credential request")
            stream.send(self._response(request.host).to_any())

    def _response(self, host: str) -> AuthResponse:
        if host not in self._accounts:
            _LOGGER.warning(
                "the daemon asked for credentials of %s, which is neither the registry nor one of "
                "its configured mirrors",
                quoted(host),
            )
            return AuthResponse()
        found = self._find(self._accounts[host])
        if found is None:
            return AuthResponse()
        self._secrets.update(found.secrets)
        self._redactor.add(found.secrets)
        if found.password:
            return AuthResponse("credentials", found.password, found.username)
        return AuthResponse("refresh", found.identity_token)

    def without_secrets(self, error: ContainerdError) -> ContainerdError:
        """Remove secrets from the daemon's error, and from the errors in ``joined``."""
        error.message = self.safe(error.raw_message)
        error.args = (error.message,)
        error.joined = tuple(map(self.without_secrets, error.joined))
        values = (value for _, value in error.details)
        if not all(self._is_clean(value.decode("latin-1")) for value in values):
            error.details = ()
        return error

    def safe(self, message: str) -> str:
        """Return the daemon's message without the queries of URLs, and without secrets."""
        if not self._is_clean(message):
            return "failed; the daemon's reason is not shown, because it contains a secret"
        return _QUERY.sub(_without_query, message)

    def _is_clean(self, text: str) -> bool:
        """Return whether a text contains no secret, not even a short or an encoded secret."""
        return self._redactor.is_clean(text) and not any(key in text for key in self._secrets)

    @property
    def were_sent(self) -> bool:
        """Whether the daemon has received credentials."""
        return bool(self._secrets)


def _without_query(url: re.Match[str]) -> str:
    """Return a URL without its query. A colon between the URL and the following text stays."""
    has_colon = url[2] and url[2].endswith(":") and url.end() < len(url.string)
    return f"{url[1]}:" if has_colon else url[1]


def _status_in(message: str) -> int:
    """Return the HTTP status in a message, or 0.

    Two searches take time in proportion to the message. One pattern would search the rest of the
    message again for each of its beginnings.
    """
    start = _STATUS.search(message)
    found = _CODE.search(message, start.end()) if start else None
    return int(found[1]) if found else 0


def explain_failure(
    error: ContainerdError,
    reference: Reference,
    plain_http: bool | None,
    answers: CredentialAnswers,
) -> ContainerdError:
    """Return the error to raise for a failed transfer, without secrets.

    The daemon's message determines the class of the returned error. If no other class fits,
    ``error`` itself is returned.

    Args:
        error: The daemon's error.
        reference: The reference that was pulled or pushed.
        plain_http: Whether the caller chose HTTP without TLS. ``None`` means that the caller did
            not choose.
        answers: The object that has sent credentials to the daemon.
    """
    if type(error) is Unknown:
        result = _registry_failure(error, reference, plain_http, answers.were_sent)
    else:
        result = _known_failure(error, reference)
    result.message = error.raw_message
    result.operation, result.address = error.operation, error.address
    result.details, result.joined = error.details, error.joined
    return answers.without_secrets(result)


def _known_failure(error: ContainerdError, reference: Reference) -> ContainerdError:
    message = printable(error.raw_message)
    if (failure := unpack_failure(error)) is not None:
        return failure
    if type(error) is not NotFound:
        return error
    if "no match for platform" in message:
        return NoMatchingPlatform(remedy="Pass platform= with a platform that the image has")
    if message.startswith("failed to resolve") or "content at " in message:
        return RegistryNotFound(status=404, remedy="Check the name and the tag")
    return error


def _registry_failure(
    error: ContainerdError, reference: Reference, plain_http: bool | None, has_credentials: bool
) -> ContainerdError:
    message = printable(error.raw_message)
    if _TLS_REQUIRED in message:
        host = reference.host.rpartition(":")[0] or reference.host
        if plain_http or (plain_http is None and is_loopback(host)):
            return Unimplemented(remedy=f"This daemon needs a registry with TLS; {_CLIENT}")
        return RegistryUnavailable(remedy="Pass plain_http=True if the registry has no TLS")
    status = _status_in(message)
    if status in (401, 403) or "no basic auth credentials" in message:
        remedy = "Check the user name and password" if has_credentials else "Pass credentials"
        return RegistryUnauthorized(status=status, remedy=f"{remedy} for {reference.host}")
    if status == 404:
        return RegistryNotFound(status=status, remedy="Check the name and the tag")
    if status in (408, 429) or status >= 500:
        return RegistryUnavailable(status=status, remedy="Try again later")
    if status:
        return RegistryError(status=status)
    if (
        "failed to do request" in message
        or "failed to authorize" in message
        or "dial tcp" in message
    ):
        return RegistryUnavailable(remedy="Check the host, its certificate and the network")
    return error


def unpack_failure(error: ContainerdError) -> Unimplemented | None:
    """Return the error to raise if the daemon is not configured to unpack as requested.

    Return ``None`` if ``error`` has another cause.
    """
    if "no unpack platforms defined" not in error.raw_message:
        return None
    return Unimplemented(
        error.raw_message,
        operation=error.operation,
        address=error.address,
        remedy='Pass unpack=False or via="client", or configure the daemon to unpack in transfers',
    )
