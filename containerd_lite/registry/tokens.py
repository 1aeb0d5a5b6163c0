"""Requests tokens from a registry's token server, with GET or with a form sent by POST.

See token.md, oauth.md and scope.md in distribution's docs/spec/auth. ``TokenCache`` keeps the
tokens.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from time import time
from urllib.parse import urlencode

from ..deadline import Deadline
from ..errors import (
    ContainerdError,
    InvalidArgument,
    RegistryError,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from ..interrupt import check
from ..lazy import lazy_pattern
from ..locks import holding
from ..oci.document import Document
from ..printable import quoted
from ..records import field, record
from .credentials import Credentials
from .destinations import Url
from .hosts import Host
from .http import Response, Transport
from .http_errors import MAX_ERROR, Retryable, status_failure
from .realms import check_realm

#: The ``client_id`` that this client sends to token servers (RFC 6749, appendix A.1).
CLIENT_ID = "containerd_lite"
#: Shortest lifetime of a token in seconds. A shorter lifetime is replaced by this value, as in
#: containers/image.
MIN_LIFETIME = 60.0
#: Longest lifetime of a token in seconds: a day. A longer lifetime is replaced by this value.
_MAX_LIFETIME = 86400.0
#: Largest number of scope sets whose tokens are cached. A program that mirrors a whole registry
#: needs fewer.
MAX_SETS = 1024
#: How many refresh tokens a realm remembers, to remove them from errors.
_MAX_REFRESH_TOKENS = 16

#: Statuses with which a server that accepts only GET answers a POST request. containerd uses the
#: same list.
_POST_REFUSED = frozenset({400, 401, 404, 405})
#: Statuses with which a server may refuse only the refresh token, and not every POST request
#: (RFC 6749, section 5.2).
_GRANT_REFUSED = frozenset({400, 401})

#: Largest number of characters of a token. Few servers accept longer lines in a request, and the
#: removal of a token from errors takes time in proportion to its length.
_MAX_TOKEN = 32 << 10

#: The form of a token in a header (RFC 6750, section 2.1).
_BEARER = lazy_pattern(r"[A-Za-z0-9._~+/-]+=*")
#: A scope of the form ``type:name:action,action``. The name can contain colons.
_SCOPE = lazy_pattern(r"([^:]+:.+):([A-Za-z0-9_.*-]+(?:,[A-Za-z0-9_.*-]+)*)")
#: A time in the form of RFC 3339. Fractions of a second are dropped, because Go writes more
#: digits than Python 3.10 can parse.
_TIME = lazy_pattern(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8})(?:\.[0-9]+)?(Z|[+-][0-9:]{5})")


#: Scopes of one token, as ``merge_scopes`` returns them.
Scopes = tuple[str, ...]


def merge_scopes(scopes: Iterable[str]) -> Scopes:
    """Return the union of ``scopes``, sorted, with one scope for each resource.

    The actions of each scope are sorted, too. An item of ``scopes`` can contain several scopes,
    separated by spaces. A scope that does not have the form ``type:name:actions`` stays unchanged
    (distribution, docs/spec/auth/scope.md).
    """
    actions: dict[str, set[str]] = {}
    others: set[str] = set()
    for scope in " ".join(scopes).split():
        if match := _SCOPE.fullmatch(scope):
            actions.setdefault(match[1], set()).update(match[2].split(","))
        else:
            others.add(scope)
    merged = {f"{resource}:{','.join(sorted(names))}" for resource, names in actions.items()}
    return tuple(sorted(merged | others))


@contextmanager
def acquire_for_token(lock: threading.RLock, deadline: Deadline, address: str) -> Iterator[None]:
    """Run the block with ``lock`` acquired, so that only one thread at a time requests a token.

    Raises RegistryUnavailable if the lock cannot be acquired before the deadline, and Cancelled
    after an interrupt. ``address`` names the token server in the error.
    """
    with holding(lock, deadline, check) as acquired:
        if not acquired:
            raise RegistryUnavailable(f"{address} sent no token in time", remedy="Try again later")
        yield


@record(frozen=True)
class Token:
    """A token as an ``Authorization`` header, and its lifetime in seconds."""

    header: str = field(repr=False)
    lifetime: float


class Realm:
    """A token server that issues tokens for one service. Thread-safe.

    A ``Realm`` remembers whether its server accepts POST requests.

    Args:
        url: The URL of the token server.
        service: The service in the registry's challenge.
        host: The registry that named the token server.
        credentials: The user's credentials for the registry.
    """

    def __init__(
        self,
        url: Url,
        service: str,
        host: Host,
        credentials: Credentials | None,
    ) -> None:
        self.url = url
        self.service = service
        self._host = host
        self._accepts_post = True
        self._user = credentials or Credentials("", "")
        self._basic = self._user.basic()
        self._refresh_token = self._user.identity_token
        self._has_secret = bool(self._basic or self._refresh_token)
        self._refresh_lock = threading.RLock()
        #: The last refresh tokens that the server has sent.
        self.secrets: deque[str] = deque(maxlen=_MAX_REFRESH_TOKENS)

    def fetch(self, transport: Transport, scopes: Scopes, deadline: Deadline) -> Token:
        """Request a token for ``scopes`` through ``transport``.

        Without credentials, this method sends a GET request. With credentials, this method sends
        a POST request. If the server does not accept POST, this method sends a GET request with the
        password.

        Raises:
            RegistryError: The client must not send a request to the server, or cannot parse the
                server's response.
            RegistryUnauthorized: The server refuses the credentials, or sends no valid token.
            RegistryUnavailable: The server cannot be reached.
            http_errors.Retryable: The server is unavailable, but a retry may help.
        """
        try:
            return self._fetch(transport, scopes, deadline)
        except (Retryable, ContainerdError) as failure:
            # The error's cause may quote received bytes: a token, or a secret that the server
            # sent back.
            raise failure from None

    def _fetch(self, transport: Transport, scopes: Scopes, deadline: Deadline) -> Token:
        if not self._has_secret or not self._accepts_post:
            return self._get(transport, scopes, deadline)
        with self._refreshing(deadline):
            grant = self._grant()
            response = self._post(transport, grant, scopes, deadline)
            if response.status not in _POST_REFUSED:
                return self._read(response, scopes)
            response.snippet(MAX_ERROR)
            if not self._basic:
                raise self._token_refused(response.status)
            refused_token = response.status in _GRANT_REFUSED and grant.get("refresh_token")
            if refused_token and self._refresh_token == refused_token:
                self._refresh_token = ""
        token = self._get(transport, scopes, deadline)
        self._accepts_post = bool(refused_token)
        return token

    def _refreshing(self, deadline: Deadline) -> AbstractContextManager[None]:
        """Return a context manager that keeps other threads from using the refresh token.

        Some servers accept a refresh token only once, and send the next refresh token in their
        response.
        """
        if not self._refresh_token:
            return nullcontext()
        return acquire_for_token(self._refresh_lock, deadline, self.url.origin)

    def _grant(self) -> dict[str, str]:
        """Return form fields: the refresh token if the realm has one, otherwise the password."""
        refresh_token, user = self._refresh_token, self._user
        if refresh_token:
            return {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return {"grant_type": "password", "username": user.username, "password": user.password}

    def _post(
        self,
        transport: Transport,
        grant: Mapping[str, str],
        scopes: Scopes,
        deadline: Deadline,
    ) -> Response:
        fields = {"service": self.service, "scope": " ".join(scopes), "client_id": CLIENT_ID}
        # Servers ignore empty fields, so the form omits empty fields (RFC 6749, section 3.2).
        form = urlencode({**grant, **{name: value for name, value in fields.items() if value}})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = form.encode("ascii")
        return self._send(
            transport, "POST", self.url, headers=headers, deadline=deadline, body=body
        )

    def _get(self, transport: Transport, scopes: Scopes, deadline: Deadline) -> Token:
        query = [("scope", scope) for scope in scopes]
        if self.service:
            query.insert(0, ("service", self.service))
        headers = {"Authorization": self._basic} if self._basic else {}
        url = self.url.with_query(query)
        response = self._send(transport, "GET", url, headers=headers, deadline=deadline)
        return self._read(response, scopes)

    def _send(
        self,
        transport: Transport,
        method: str,
        url: Url,
        *,
        headers: Mapping[str, str],
        deadline: Deadline,
        body: bytes | None = None,
    ) -> Response:
        """Check that the token server is allowed to receive a request, and send the request."""
        base, realm = self._host.base, self.url
        check_realm(base, realm, self._has_secret, self._host.realm_hosts)
        max_level = transport.max_level(base, realm, "the token realm", deadline)
        return transport.send(method, url, headers, deadline, max_level, body=body, what="token")

    def _token_refused(self, status: int) -> RegistryUnauthorized:
        return RegistryUnauthorized(
            f"{self.url.origin} refuses the identity token (HTTP {status}), "
            "and no password was given",
            status=status,
            remedy="Log in again, or give a user name and a password",
        )

    def _read(self, response: Response, scopes: Scopes) -> Token:
        """Return the token in a response of at most 1 MiB. Store the refresh token, if any."""
        what = f"a token for {quoted(' '.join(scopes))}" if scopes else "a token"
        origin, sent_secret = response.url.origin, self._has_secret
        body = response.read(MAX_ERROR, "the token")
        if 300 <= response.status < 400:
            raise RegistryError(
                f"{what}: {origin} redirects the request, but token requests follow no redirects"
            )
        if response.status != 200:
            # A server that received a secret may quote the secret, encoded or in part.
            error_body = b"" if sent_secret else body
            raise status_failure(
                response.status,
                response.headers,
                error_body,
                what=what,
                url=response.url,
                had_credentials=sent_secret,
            )
        try:
            document = Document.parse(body, "the token")
            text = document.text("token") or document.text("access_token")
            refresh_token = document.text("refresh_token")
            lifetime = _lifetime(document)
        except InvalidArgument:  # the error's message may quote the token
            raise RegistryError(f"{what}: {origin} sent a response that cannot be read") from None
        if max(len(text), len(refresh_token)) > _MAX_TOKEN or not _BEARER.fullmatch(text):
            raise RegistryUnauthorized(f"{what}: {origin} sent no valid token")
        if refresh_token:
            self._refresh_token = refresh_token
            self.secrets.append(refresh_token)
        return Token(f"Bearer {text}", lifetime)


@record
class TokenSlot:
    """The cached token of one scope set. A thread holds ``lock`` while it fetches the token."""

    scopes: Scopes
    lock: threading.RLock = field(default_factory=threading.RLock)
    header: str = field(default="", repr=False)
    renewal: float = 0.0


class TokenCache:
    """The token realm of one host, and the tokens that it has issued to one user. Thread-safe.

    Attributes:
        credentials: The user's credentials, or ``None`` for anonymous access.
        uses_basic: Whether the host's last challenge was for Basic authentication.
    """

    def __init__(self, credentials: Credentials | None) -> None:
        self.credentials = credentials
        self.uses_basic = False
        self._lock = threading.Lock()
        self._realm: Realm | None = None
        self._slots: dict[Scopes, TokenSlot] = {}

    def refresh_tokens(self) -> list[str]:
        """Return the last refresh tokens that the realm has sent."""
        realm = self._realm
        return list(realm.secrets) if realm else []

    def find(self, scopes: Scopes) -> tuple[Realm, TokenSlot] | None:
        """Return the realm and the slot of these scopes, or ``None`` before the first challenge."""
        with self._lock:
            return (self._realm, self._slot(scopes)) if self._realm else None

    def store(self, realm: Realm, requested: Scopes, all_scopes: Scopes) -> tuple[Realm, TokenSlot]:
        """Return the challenge's realm and the token slot of ``all_scopes``.

        Also store the realm and the slot for later requests for the scopes ``requested``. If the
        cache has this realm already, return the cached realm.
        """
        with self._lock:
            known = self._realm
            if known is None or (known.url, known.service) != (realm.url, realm.service):
                self._realm = known = realm
                self._slots.clear()  # a token must not be used with another realm
            slot = self._slot(all_scopes)
            self._store(requested, slot)
            return known, slot

    def forget(self, realm: Realm) -> None:
        """Forget the realm and its tokens, unless another thread has replaced the realm."""
        with self._lock:
            if self._realm is realm:
                self._realm = None
                self._slots.clear()

    def _slot(self, scopes: Scopes) -> TokenSlot:
        """Return the slot of these scopes; create the slot if it does not exist."""
        slot = self._slots.get(scopes)
        return self._store(scopes, TokenSlot(scopes)) if slot is None else slot

    def _store(self, scopes: Scopes, slot: TokenSlot) -> TokenSlot:
        """Store a slot. If there are too many slots, drop the oldest slot."""
        self._slots[scopes] = slot
        if len(self._slots) > MAX_SETS:
            del self._slots[next(iter(self._slots))]
        return slot


def _lifetime(document: Document) -> float:
    """Return the seconds until the token expires, according to ``expires_in`` and ``issued_at``.

    If the server sends a token from its cache, a part of the token's lifetime has passed. If the
    token seems to have expired already, the clocks of the server and the client probably differ. In
    this case, the lifetime counts from now.
    """
    expires_in = document.fields.get("expires_in")
    is_negative = isinstance(expires_in, int) and expires_in < 0
    seconds = 0 if is_negative else document.integer("expires_in", 0)
    lifetime = min(max(float(seconds), MIN_LIFETIME), _MAX_LIFETIME)
    match = _TIME.fullmatch(document.text("issued_at"))
    if not match:
        return lifetime
    try:
        zone = "+00:00" if match[2] == "Z" else match[2]
        left = datetime.fromisoformat(match[1] + zone).timestamp() + lifetime - time()
    except ValueError:
        return lifetime
    return min(left, lifetime) if left > 0 else lifetime
