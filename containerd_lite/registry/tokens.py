"""Asking a token server, in the name of one registry.

What lives here: the union of scopes, the two ways to ask a realm (GET, and POST of a form), and
the reading of its answer (distribution, docs/spec/auth: token.md, oauth.md, scope.md).  What may
not: challenges, the keeping of tokens.
"""

from __future__ import annotations

import threading
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
from ..oci.document import Document, quoted
from ..records import field, record
from .credentials import Credentials
from .destinations import Url, check_realm
from .hosts import Host
from .http import Response, Transport
from .http_errors import MAX_ERROR, Again, status_failure

#: By what name a token server may note this client (RFC 6749, appendix A.1).
CLIENT_ID = "containerd_lite"
#: containers/image: a token that says it lives shorter is kept this long (seconds).
MIN_LIFETIME = 60.0
#: A token is not believed to live longer than a day, whatever it says.
_MAX_LIFETIME = 86400.0

#: How servers that want GET answer a POST, as containerd has met them.
_NO_POST = frozenset({400, 401, 404, 405})
#: Those of them that may speak of the refresh token alone (RFC 6749, section 5.2).
_REFUSED = frozenset({400, 401})

#: What may stand in a header as a token (RFC 6750, section 2.1).
_BEARER = lazy_pattern(r"[A-Za-z0-9._~+/-]+=*")
#: ``type:name:action,action``, where the name may have colons of its own.
_SCOPE = lazy_pattern(r"([^:]+:.+):([A-Za-z0-9_.*-]+(?:,[A-Za-z0-9_.*-]+)*)")
#: RFC 3339; its fraction does not matter, and Go writes more digits than Python 3.10 reads.
_MOMENT = lazy_pattern(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8})(?:\.[0-9]+)?(Z|[+-][0-9:]{5})")


def merge_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """The union of scopes, sorted: one of each resource, with its actions sorted.

    An item may hold several, with spaces between; what is not of the shape ``type:name:actions``
    is kept as it is (distribution, docs/spec/auth/scope.md).
    """
    actions: dict[str, set[str]] = {}
    others: set[str] = set()
    for scope in " ".join(scopes).split():
        if match := _SCOPE.fullmatch(scope):
            actions.setdefault(match[1], set()).update(match[2].split(","))
        else:
            others.add(scope)
    merged = {f"{resource}:{','.join(sorted(words))}" for resource, words in actions.items()}
    return tuple(sorted(merged | others))


@contextmanager
def held(lock: threading.RLock, deadline: Deadline, address: str) -> Iterator[None]:
    """Holds ``lock`` while others that want a token wait for it, each until its deadline.

    Raises RegistryUnavailable, naming ``address``, if it was not free in time, and Cancelled.
    """
    with holding(lock, deadline, check) as is_ours:
        if not is_ours:
            raise RegistryUnavailable(f"{address} gave no token in time", remedy="Try again later")
        yield


@record(frozen=True)
class Token:
    """The ``Authorization`` that a realm gave, and its lifetime in seconds."""

    header: str = field(repr=False)
    lifetime: float


class Realm:
    """One token server with one service, and what it has shown to take; thread-safe."""

    def __init__(
        self,
        url: Url,
        service: str,
        host: Host,
        transport: Transport,
        credentials: Credentials | None,
        trusted: Iterable[str],
    ) -> None:
        """``host`` is the registry that named it; ``trusted`` are as in ``check_realm``."""
        self.url = url
        self.service = service
        self._host = host
        self._transport = transport
        self._trusted = frozenset(trusted)
        self._takes_post = True
        self._user = credentials or Credentials("", "")
        self._basic = self._user.basic()
        self._refresh_token = self._user.identity_token
        self._has_secret = bool(self._basic or self._refresh_token)
        self._turn = threading.RLock()

    def fetch(self, scopes: tuple[str, ...], deadline: Deadline) -> Token:
        """A token for ``scopes``.

        Anonymously by GET; with a secret by POST, and where that is not taken by GET with the
        password.  Raises RegistryError for a realm that must not be asked or cannot be read,
        RegistryUnauthorized, RegistryUnavailable, or ``failures.Again`` with it.
        """
        try:
            return self._fetch(scopes, deadline)
        except (Again, ContainerdError) as failure:
            # Its cause may quote what came over the wire: a token, or a secret come back.
            raise failure from None

    def _fetch(self, scopes: tuple[str, ...], deadline: Deadline) -> Token:
        if not self._has_secret or not self._takes_post:
            return self._get(scopes, deadline)
        with self._in_turn(deadline):
            grant = self._grant()
            answer = self._post(grant, scopes, deadline)
            if answer.status not in _NO_POST:
                return self._read(answer, scopes)
            answer.snippet(MAX_ERROR)
            if not self._basic:
                raise self._not_taken(answer.status)
            spent = answer.status in _REFUSED and grant.get("refresh_token")
            if spent and self._refresh_token == spent:
                self._refresh_token = ""
        token = self._get(scopes, deadline)
        self._takes_post = bool(spent)
        return token

    def _in_turn(self, deadline: Deadline) -> AbstractContextManager[None]:
        """One at a time with a refresh token: it may be good for once, and bring the next."""
        if not self._refresh_token:
            return nullcontext()
        return held(self._turn, deadline, self.url.origin)

    def _grant(self) -> dict[str, str]:
        refresh_token, user = self._refresh_token, self._user
        if refresh_token:
            return {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return {"grant_type": "password", "username": user.username, "password": user.password}

    def _post(
        self, grant: Mapping[str, str], scopes: tuple[str, ...], deadline: Deadline
    ) -> Response:
        fields = {"service": self.service, "scope": " ".join(scopes), "client_id": CLIENT_ID}
        # An empty value means the same as none (RFC 6749, section 3.2).
        form = urlencode({**grant, **{name: value for name, value in fields.items() if value}})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", self.url, headers, deadline, form.encode("ascii"))

    def _get(self, scopes: tuple[str, ...], deadline: Deadline) -> Token:
        query = [("scope", scope) for scope in scopes]
        if self.service:
            query.insert(0, ("service", self.service))
        headers = {"Authorization": self._basic} if self._basic else {}
        answer = self._send("GET", self.url.with_query(query), headers, deadline)
        return self._read(answer, scopes)

    def _send(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        deadline: Deadline,
        body: bytes | None = None,
    ) -> Response:
        """Sends once the realm was judged, so that no secret can leave before."""
        base, realm = self._host.base, self.url
        check_realm(base, realm, self._has_secret, self._trusted)
        limit = self._transport.limit(base, realm, "the token realm")
        return self._transport.send(method, url, headers, deadline, limit, body=body, what="token")

    def _not_taken(self, status: int) -> RegistryUnauthorized:
        return RegistryUnauthorized(
            f"{self.url.origin} does not take the identity token (HTTP {status}), "
            "and there is no password",
            status=status,
            remedy="Log in again, or give a user name and a password",
        )

    def _read(self, answer: Response, scopes: tuple[str, ...]) -> Token:
        """The token in an answer of at most 1 MiB, and perhaps the next refresh token."""
        what = f"a token for {quoted(' '.join(scopes))}" if scopes else "a token"
        origin, known = answer.url.origin, self._has_secret
        body = answer.read(MAX_ERROR, "the token")
        if 300 <= answer.status < 400:
            raise RegistryError(f"{what}: {origin} redirects; tokens are asked of no other")
        if answer.status != 200:
            # A realm that was told a secret may quote it, in words or in part.
            said = b"" if known else body
            raise status_failure(
                answer.status, answer.headers, said, what=what, url=answer.url, known=known
            )
        try:
            document = Document.parse(body, "the token")
            text = document.text("token") or document.text("access_token")
            refresh_token = document.text("refresh_token")
            lifetime = _lifetime(document)
        except InvalidArgument:  # its message may quote the token
            raise RegistryError(f"{what}: {origin} gave none that can be read") from None
        if not _BEARER.fullmatch(text):
            raise RegistryUnauthorized(f"{what}: {origin} gave none that can be sent")
        if refresh_token:
            self._refresh_token = refresh_token
        return Token(f"Bearer {text}", lifetime)


def _lifetime(document: Document) -> float:
    """Seconds from now that the token lives, by ``expires_in`` and ``issued_at``.

    A token that came out of a cache has less left.  One that would be dead on arrival shows
    that the two clocks differ: then it counts from now.
    """
    said = document.fields.get("expires_in")
    is_over = isinstance(said, int) and said < 0
    seconds = 0 if is_over else document.integer("expires_in", 0)
    lifetime = min(max(float(seconds), MIN_LIFETIME), _MAX_LIFETIME)
    match = _MOMENT.fullmatch(document.text("issued_at"))
    if not match:
        return lifetime
    try:
        zone = "+00:00" if match[2] == "Z" else match[2]
        left = datetime.fromisoformat(match[1] + zone).timestamp() + lifetime - time()
    except ValueError:
        return lifetime
    return min(left, lifetime) if left > 0 else lifetime
