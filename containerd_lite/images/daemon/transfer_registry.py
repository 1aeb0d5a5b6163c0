"""What the daemon wants and says of a registry, while it transfers.

What lives here: answering who we are, and the daemon's sentences on registries → our errors.  What
may not: streams' ends, calls.
"""

from __future__ import annotations

from ...errors import (
    ContainerdError,
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
from ...oci.reference import DEFAULT_HOST, Reference
from ...registry.credentials import CredentialSource
from ...registry.destinations import is_loopback
from ...registry.hosts import own_host
from ...services.streaming import Stream
from ...services.transfer_types import AuthRequest, AuthResponse, transfer_value

#: remotes/errors, remotes/docker/fetcher.go.
_STATUS = lazy_pattern(r"unexpected (?:HEAD )?status .*?: (\d{3})\b")
#: A query may be what lets one in, where a registry has sent the daemon elsewhere.
_QUERY = lazy_pattern(r"(https?://[^\s\"?]+)\?[^\s\"]*?(?=:?[\s\"]|$)")
_TLS_ALONE = "server gave HTTP response to HTTPS client"
_CLIENT = 'pull or push with via="client"'


class Answers:
    """Says who we are, each time that the daemon asks for a host."""

    def __init__(self, find: CredentialSource) -> None:
        self._find = find
        self._secrets: set[str] = set()

    def give(self, stream: Stream) -> None:
        """Answer until the stream ends.  Raises what the source of credentials does."""
        for value in stream:
            request = transfer_value(value)
            if not isinstance(request, AuthRequest):
                raise ProtocolError(f"a {value.type_url} came where credentials are asked for")
            stream.send(self._answer(request.host).to_any())

    def _answer(self, host: str) -> AuthResponse:
        is_hub = host == own_host(DEFAULT_HOST).address
        found = self._find(DEFAULT_HOST if is_hub else host)
        if found is None:
            return AuthResponse()
        self._secrets.update(found.secrets)
        if found.password:
            return AuthResponse("credentials", found.password, found.username)
        return AuthResponse("refresh", found.identity_token)

    def cleaned(self, error: ContainerdError) -> ContainerdError:
        """An error of the daemon's, with what it joins, without what nobody may be shown."""
        error.message = self.safe(error.message)
        error.args = (error.message,)
        error.joined = tuple(map(self.cleaned, error.joined))
        kept = (value for _, value in error.details)
        if any(secret.encode() in value for value in kept for secret in self._secrets):
            error.details = ()
        return error

    def safe(self, message: str) -> str:
        """A sentence of the daemon's, without what nobody may be shown."""
        if any(secret in message for secret in self._secrets):
            return "failed, and the daemon's reason repeats a secret"
        return _QUERY.sub(r"\1", message)

    @property
    def are_given(self) -> bool:
        """Whether the daemon was told any credentials."""
        return bool(self._secrets)


def explained(
    error: ContainerdError, reference: Reference, plain_http: bool | None, answers: Answers
) -> ContainerdError:
    """The error for what a transfer failed with: daemons tell a registry's failures in words."""
    if type(error) is Unknown:
        better = _registry_failure(error, reference, plain_http, answers.are_given)
    else:
        better = _known_failure(error, reference)
    better.message = error.message
    better.operation, better.address = error.operation, error.address
    better.details, better.joined = error.details, error.joined
    return answers.cleaned(better)


def _known_failure(error: ContainerdError, reference: Reference) -> ContainerdError:
    said = error.message
    if (refusal := unpack_failure(error)) is not None:
        return refusal
    if type(error) is not NotFound:
        return error
    if "no match for platform" in said:
        return NoMatchingPlatform(remedy="Ask for a platform that the image has, with platform=")
    if said.startswith("failed to resolve") or "content at " in said:
        return RegistryNotFound(status=404, remedy="Check the name and the tag")
    return error


def _registry_failure(
    error: ContainerdError, reference: Reference, plain_http: bool | None, is_known: bool
) -> ContainerdError:
    said = error.message
    if _TLS_ALONE in said:
        host = reference.host.rpartition(":")[0] or reference.host
        if plain_http or (plain_http is None and is_loopback(host)):
            return Unimplemented(remedy=f"This daemon's transfers want TLS; {_CLIENT}")
        return RegistryUnavailable(remedy="plain_http=True is for registries without TLS")
    found = _STATUS.search(said)
    status = int(found[1]) if found else 0
    if status in (401, 403) or "no basic auth credentials" in said:
        remedy = "Check the user name and password" if is_known else "Give credentials"
        return RegistryUnauthorized(status=status, remedy=f"{remedy} for {reference.host}")
    if status == 404:
        return RegistryNotFound(status=status, remedy="Check the name and the tag")
    if status in (408, 429) or status >= 500:
        return RegistryUnavailable(status=status, remedy="Try again later")
    if status:
        return RegistryError(status=status)
    if "failed to do request" in said or "failed to authorize" in said or "dial tcp" in said:
        return RegistryUnavailable(remedy="Check the host, its certificate and the network")
    return error


def unpack_failure(error: ContainerdError) -> Unimplemented | None:
    """The error for what the daemon says that does not unpack so."""
    if "no unpack platforms defined" not in error.message:
        return None
    return Unimplemented(
        error.message,
        operation=error.operation,
        address=error.address,
        remedy='Its transfer service is not configured to unpack so; unpack=False, or via="client"',
    )
