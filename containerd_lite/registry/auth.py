"""Authentication to a registry with Basic or Bearer (RFC 7617, RFC 6750).

``challenges`` parses the registry's challenges, ``tokens`` requests and keeps tokens, and
``credentials`` finds the user's credentials.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..deadline import Deadline
from ..errors import InvalidArgument, RegistryError, RegistryUnauthorized
from ..printable import quoted
from .challenges import Challenge, parse_challenges
from .credentials import Credentials, CredentialSource
from .destinations import Url
from .hosts import Host
from .http import Transport
from .http_errors import Retryable, status_failure
from .tokens import (
    MAX_SETS,
    Realm,
    Scopes,
    TokenCache,
    TokenSlot,
    acquire_for_token,
    merge_scopes,
)

if TYPE_CHECKING:
    from .host_cache import CachedHost

#: Seconds between the renewal of a token and its expiry. For a token with a short lifetime, this
#: is a tenth of the lifetime. Without this margin, a token could expire during a request.
_RENEW_EARLY = 10.0
#: Largest number of tokens for one request. A registry that receives the first token can require
#: a second token with more scopes.
_MAX_TOKENS_PER_REQUEST = 2
#: Error codes with which a registry refuses a token (RFC 6750, section 3.1).
_REFUSALS = frozenset({"invalid_token", "insufficient_scope"})


class _RequestTokens(threading.local):
    """The tokens that this thread's request has used: all scope sets, and the last header."""

    scope_sets: tuple[Scopes, ...] = ()
    header: str = ""


class Authenticator:
    """Answers the authentication challenges of one registry.

    It is thread-safe. A forked child can use an ``Authenticator`` only if the parent did not use
    it before the fork.

    A thread calls ``header`` before it sends a request. After each 401 response to this request,
    the same thread calls ``answer``. After the registry's first challenge, ``header``
    fetches tokens without waiting for further challenges.

    ``cached`` has the tokens that clients of this host share. ``clock`` is a function that returns
    monotonic seconds. Tests replace it.
    """

    def __init__(
        self,
        host: Host,
        transport: Transport,
        cached: CachedHost,
        source: CredentialSource | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._transport = transport
        self._cached = cached
        self._source = source
        self._clock = clock
        self._credentials_lock = threading.Lock()
        self._credentials_loaded = False
        self._credentials: Credentials | None = None
        self._lock = threading.Lock()
        self._tokens: TokenCache | None = None
        #: The headers with tokens that this client has used. The keys are the headers.
        self._used: dict[str, None] = {}
        self._request = _RequestTokens()

    @property
    def credentials(self) -> Credentials | None:
        """The user's credentials for this registry, or ``None``.

        The first access to this property calls the credential source. The source's errors
        propagate.
        """
        with self._credentials_lock:
            if not self._credentials_loaded:
                self._credentials = self._source(self._host.account) if self._source else None
                self._credentials_loaded = True
            return self._credentials

    def secrets(self) -> list[str]:
        """Return the secrets that a response could repeat: the credentials and the tokens.

        Tokens that only earlier clients have used are not among them. There may be many, and the
        ``Redactor`` needs 2 ms for each.
        """
        with self._lock:
            headers = list(self._used)
        secrets = list(self._credentials.secrets) if self._credentials else []
        secrets += self._tokens.refresh_tokens() if self._tokens else ()
        return secrets + [header.partition(" ")[2] for header in headers]

    def _find_tokens(self) -> TokenCache | None:
        """Return the token cache, or ``None`` before the host's first challenge.

        The tokens of an earlier client are used only if the user still has the same credentials.
        """
        cached = self._cached.tokens
        if self._tokens is None and cached and cached.credentials == self.credentials:
            self._tokens = cached
        return self._tokens

    def _make_tokens(self) -> TokenCache:
        """Return the token cache for the user's credentials. If it is missing, make it."""
        credentials = self.credentials
        with self._lock:
            tokens = self._find_tokens()
            if tokens is None:
                tokens = self._tokens = self._cached.tokens = TokenCache(credentials)
            return tokens

    def header(self, scopes: Iterable[str], deadline: Deadline) -> str:
        """Return the ``Authorization`` header for the first try of a request.

        The result is ``""`` if the client has no header yet. ``scopes`` have the form
        ``repository:app:pull``. Raises the same errors as ``answer``.
        """
        self._request.header = ""
        tokens = self._find_tokens()
        if tokens is None:
            return ""
        if found := tokens.find(merge_scopes(scopes)):
            try:
                return self._token(*found, "", deadline)
            except RegistryUnauthorized:
                raise
            except (RegistryError, Retryable):
                # The token realm does not work. The next challenge may name another realm.
                tokens.forget(found[0])
        return self._basic_header() if tokens.uses_basic else ""

    def answer(
        self, scopes: Iterable[str], values: Iterable[str], refused: str, deadline: Deadline
    ) -> str:
        """Return the ``Authorization`` header that answers a 401 response.

        ``values`` are the response's ``WWW-Authenticate`` headers. ``refused`` is the
        ``Authorization`` header of the refused request. The result is ``""`` if the client has no
        other header to send.

        Raises:
            RegistryError: The client must not send a request to the token realm.
            RegistryUnauthorized: The token realm refuses the credentials, or the registry refuses
                the token that the realm issued.
            RegistryUnavailable: The token realm cannot be reached.
            Retryable: The token realm is unavailable, but a retry may help.
        """
        challenges = parse_challenges(values)
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                return self._bearer(challenge, merge_scopes(scopes), refused, deadline)
        # The password is sent without TLS only to a loopback host, or if the user configured plain
        # HTTP: see ``hosts``.
        if any(challenge.scheme == "basic" for challenge in challenges):
            header = self._basic_header()
            self._make_tokens().uses_basic = bool(header)
            return "" if header == refused else header
        return ""

    def _basic_header(self) -> str:
        credentials = self.credentials
        return credentials.basic() if credentials else ""

    def _bearer(
        self, challenge: Challenge, requested: Scopes, refused: str, deadline: Deadline
    ) -> str:
        all_scopes = merge_scopes((*requested, challenge.parameters.get("scope", "")))
        realm, slot = self._remember(challenge, requested, all_scopes)
        request = self._request
        scope_sets = request.scope_sets if refused and refused == request.header else ()
        if all_scopes not in scope_sets and len(scope_sets) < _MAX_TOKENS_PER_REQUEST:
            header = self._token(realm, slot, refused, deadline)
            if header != refused:
                request.scope_sets, request.header = (*scope_sets, all_scopes), header
                return header
        # The registry does not accept the realm's token, and would not accept another token.
        error = challenge.parameters.get("error", "")
        if error not in _REFUSALS:
            return ""
        raise status_failure(
            401,
            {},
            b"",
            what=f"{quoted(' '.join(all_scopes))} with a token from the token realm: {error}",
            url=self._host.base,
            had_credentials=self.credentials is not None,
        )

    def _remember(
        self, challenge: Challenge, requested: Scopes, all_scopes: Scopes
    ) -> tuple[Realm, TokenSlot]:
        """Return the challenge's realm and the token slot of ``all_scopes``."""
        try:
            url = Url.parse(challenge.parameters["realm"])
        except InvalidArgument as error:
            raise RegistryError(f"the token realm of {self._host.address}: {error}") from None
        service = challenge.parameters.get("service", "")
        realm = Realm(url, service, self._host, self.credentials)
        return self._make_tokens().store(realm, requested, all_scopes)

    def _token(self, realm: Realm, slot: TokenSlot, refused: str, deadline: Deadline) -> str:
        """Return the header with the slot's token.

        If the token is missing, was refused or is about to expire, fetch a new token. Only one
        thread at a time fetches a token for the slot.
        """
        with acquire_for_token(slot.lock, deadline, realm.url.origin):
            now = self._clock()
            if not slot.header or slot.header == refused or now >= slot.renewal:
                token = realm.fetch(self._transport, slot.scopes, deadline)
                life = token.lifetime
                slot.header, slot.renewal = token.header, now + life - min(_RENEW_EARLY, life / 10)
            header = slot.header
        with self._lock:
            self._used[header] = None
            if len(self._used) > MAX_SETS:
                del self._used[next(iter(self._used))]
        return header
