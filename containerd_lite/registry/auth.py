"""How a registry asks who we are, and what it is told.

What lives here: the choice between Basic and Bearer, and the cache of tokens (RFC 7617,
RFC 6750).  What may not: finding credentials; reading challenges and asking realms, which are
``challenges``' and ``tokens``'.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from ..deadline import Deadline
from ..errors import InvalidArgument, RegistryError, RegistryUnauthorized
from ..oci.document import quoted
from ..records import field, record
from .challenges import Challenge, parse_challenges
from .credentials import Credentials, CredentialSource
from .destinations import Url
from .hosts import Host
from .http import Transport
from .http_errors import Again, status_failure
from .tokens import Realm, held, merge_scopes

#: How many sets of scopes have their tokens kept: more than a registry's mirror asks for.
_MAX_SETS = 1024
#: A token is renewed so long before its end (seconds), or a tenth of its life if that is less:
#: it must not die under way.
_EARLY = 10.0
#: How many tokens one request gets: the second is for a registry that then wants more scopes.
_MAX_ANSWERS = 2
#: What a registry says of a token that it will not take (RFC 6750, section 3.1).
_REFUSALS = frozenset({"invalid_token", "insufficient_scope"})


@record
class _TokenSlot:
    """The token of one set of scopes; the lock is held while it is fetched."""

    scopes: tuple[str, ...]
    lock: threading.RLock = field(default_factory=threading.RLock)
    header: str = field(default="", repr=False)
    renewal: float = 0.0


class _TokenRequest(threading.local):
    """How this thread's request was answered: the sets of scopes in turn, the last token."""

    sets: tuple[tuple[str, ...], ...] = ()
    header: str = ""


class Authenticator:
    """Answers the challenges of one registry; thread-safe, usable after ``fork`` if not before.

    After the first challenge it asks for tokens before they are asked of it.  A request begins
    with ``header``; each 401 that it earns goes to ``answer``, in the same thread.
    """

    def __init__(
        self,
        host: Host,
        transport: Transport,
        source: CredentialSource | None = None,
        realm_hosts: Iterable[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` tells seconds and never goes back; it is there for tests."""
        self._host = host
        self._transport = transport
        self._source = source
        self._realm_hosts = frozenset(realm_hosts)
        self._clock = clock
        self._asking = threading.Lock()
        self._asked = False
        self._credentials: Credentials | None = None
        self._lock = threading.Lock()
        self._basic = False
        self._realm: Realm | None = None
        self._slots: dict[tuple[str, ...], _TokenSlot] = {}
        self._request = _TokenRequest()

    @property
    def credentials(self) -> Credentials | None:
        """The credentials, looked for once, when first needed; raises what the source raises."""
        with self._asking:
            if not self._asked:
                self._credentials = self._source(self._host.account) if self._source else None
                self._asked = True
            return self._credentials

    def secrets(self) -> list[str]:
        """What the registry may have been told of this user: passwords, and tokens of now."""
        with self._lock:
            headers = [slot.header for slot in self._slots.values() if slot.header]
        known = list(self._credentials.secrets) if self._credentials else []
        return known + [header.partition(" ")[2] for header in headers]

    def header(self, scopes: Iterable[str], deadline: Deadline) -> str:
        """The ``Authorization`` to send at once for ``scopes``; ``""`` where none is known.

        ``scopes`` are as ``repository:app:pull``.  Raises as ``answer``.
        """
        self._request.header = ""
        with self._lock:
            realm = self._realm
            slot = self._slot(merge_scopes(scopes)) if realm else None
        if realm and slot:
            try:
                return self._token(realm, slot, "", deadline)
            except RegistryUnauthorized:
                raise
            except (RegistryError, Again):
                # It cannot be asked, or no longer; the registry may name another by now.
                self._forget(realm)
        return self._basic_header() if self._basic else ""

    def _forget(self, realm: Realm) -> None:
        with self._lock:
            if self._realm is realm:
                self._realm = None
                self._slots.clear()

    def answer(
        self, scopes: Iterable[str], values: Iterable[str], refused: str, deadline: Deadline
    ) -> str:
        """The ``Authorization`` that answers a 401 with these ``WWW-Authenticate`` headers.

        ``refused`` is the one that earned the 401.  Gives ``""`` where there is no other.
        Raises RegistryError for a realm that must not be asked, RegistryUnauthorized when the
        registry refuses what its realm gave for this request, RegistryUnavailable, or
        ``failures.Again`` with it.
        """
        challenges = parse_challenges(values)
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                return self._bearer(challenge, merge_scopes(scopes), refused, deadline)
        # Without TLS only where the host is loopback or was configured so: see ``hosts``.
        if any(challenge.scheme == "basic" for challenge in challenges):
            header = self._basic_header()
            self._basic = bool(header)
            return "" if header == refused else header
        return ""

    def _basic_header(self) -> str:
        credentials = self.credentials
        return credentials.basic() if credentials else ""

    def _bearer(
        self, challenge: Challenge, own: tuple[str, ...], refused: str, deadline: Deadline
    ) -> str:
        wanted = merge_scopes((*own, challenge.parameters.get("scope", "")))
        realm, slot = self._remember(challenge, own, wanted)
        request = self._request
        sets = request.sets if refused and refused == request.header else ()
        if wanted not in sets and len(sets) < _MAX_ANSWERS:
            header = self._token(realm, slot, refused, deadline)
            if header != refused:
                request.sets, request.header = (*sets, wanted), header
                return header
        # What the realm gives, the registry does not take: another try would end the same way.
        error = challenge.parameters.get("error", "")
        if error not in _REFUSALS:
            return ""
        raise status_failure(
            401,
            {},
            b"",
            what=f"{quoted(' '.join(wanted))} with the token of its realm: {error}",
            url=self._host.base,
            known=self.credentials is not None,
        )

    def _remember(
        self, challenge: Challenge, own: tuple[str, ...], wanted: tuple[str, ...]
    ) -> tuple[Realm, _TokenSlot]:
        """The realm and the slot to answer from, now and for further requests of ``own``."""
        try:
            url = Url.parse(challenge.parameters["realm"])
        except InvalidArgument as error:
            raise RegistryError(f"the token realm of {self._host.address}: {error}") from None
        service = challenge.parameters.get("service", "")
        credentials = self.credentials
        with self._lock:
            realm = self._realm
            if realm is None or (realm.url, realm.service) != (url, service):
                arguments = self._host, self._transport, credentials, self._realm_hosts
                self._realm = realm = Realm(url, service, *arguments)
                self._slots.clear()  # no token goes from one realm to what another stands for
            slot = self._slot(wanted)
            self._keep(own, slot)
            return realm, slot

    def _slot(self, scopes: tuple[str, ...]) -> _TokenSlot:
        slot = self._slots.get(scopes)
        return self._keep(scopes, _TokenSlot(scopes)) if slot is None else slot

    def _keep(self, scopes: tuple[str, ...], slot: _TokenSlot) -> _TokenSlot:
        self._slots[scopes] = slot
        if len(self._slots) > _MAX_SETS:
            del self._slots[next(iter(self._slots))]
        return slot

    def _token(self, realm: Realm, slot: _TokenSlot, refused: str, deadline: Deadline) -> str:
        """The token of ``slot``, fetched by one thread at a time."""
        with held(slot.lock, deadline, realm.url.origin):
            begun = self._clock()
            if not slot.header or slot.header == refused or begun >= slot.renewal:
                token = realm.fetch(slot.scopes, deadline)
                life = token.lifetime
                slot.header, slot.renewal = token.header, begun + life - min(_EARLY, life / 10)
            return slot.header
