"""How a registry asks who we are, and what it is told.

What lives here: challenges, Basic, and Bearer tokens with their cache (RFC 9110 section 11,
RFC 7617, distribution's token specification).  What may not: finding credentials.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlencode

from ..deadline import Deadline
from ..errors import InvalidArgument, RegistryError, RegistryUnauthorized, RegistryUnavailable
from ..oci.document import Document
from .credentials import Credentials, CredentialSource
from .failures import MAX_ERROR, status_failure
from .hosts import Host
from .http import Answer, Transport
from .network import Url, check_realm

#: containers/image: a token that says it lives shorter is kept this long (seconds).
MIN_LIFETIME = 60.0
#: A token is not believed to live longer than a day, whatever it says.
_MAX_LIFETIME = 86400.0
_MAX_HEADER = 16 << 10

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|$)")
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")(?=[ \t,]|$)')
_GAP = re.compile(r"[ \t,]*")
_JUNK = re.compile(r"[^,]+")
#: What may stand in a header as a token (RFC 6750, section 2.1).
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header; names are in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict, hash=False)


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Reads all challenges of all ``WWW-Authenticate`` headers (RFC 9110, section 11.6.1).

    What cannot be read is passed over up to the next comma; of a parameter that comes twice
    the first counts.
    """
    found: list[Challenge] = []
    for value in values:
        text, place = value[:_MAX_HEADER], 0
        inside = False
        while (place := _end(_GAP, text, place)) < len(text):
            if inside and (match := _PARAMETER.match(text, place)):
                plain, quoted = match[2], match[3]
                meant = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                found[-1].parameters.setdefault(match[1].lower(), meant)
            elif match := _SCHEME.match(text, place):
                found.append(Challenge(match[1].lower()))
                inside = True
            else:
                match = _JUNK.match(text, place)
            place = match.end() if match else len(text)
    return tuple(found)


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return match.end() if match else place


@dataclass
class _Slot:
    """The token of one scope; the lock is held while it is fetched."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    header: str = field(default="", repr=False)
    expires: float = 0.0

    def fresh(self) -> str:
        return self.header if time.monotonic() < self.expires else ""


class Authenticator:
    """Answers the challenges of one registry; thread-safe.

    After the first challenge it asks for tokens before they are asked of it.
    """

    def __init__(
        self,
        host: Host,
        transport: Transport,
        source: CredentialSource | None = None,
        realm_hosts: Iterable[str] = (),
    ) -> None:
        self._host = host
        self._transport = transport
        self._source = source
        self._realm_hosts = frozenset(realm_hosts)
        self._lock = threading.Lock()
        self._asked = False
        self._credentials: Credentials | None = None
        self._basic = False
        self._bearer: Challenge | None = None
        self._slots: dict[str, _Slot] = {}

    @property
    def credentials(self) -> Credentials | None:
        """The credentials, looked for once, when first needed."""
        with self._lock:
            if not self._asked:
                self._credentials = self._source(self._host.account) if self._source else None
                self._asked = True
            return self._credentials

    def header(self, scope: str, deadline: Deadline) -> str:
        """The ``Authorization`` to send at once for ``scope``; ``""`` where none is known."""
        if self._bearer:
            return self._token(self._bearer, scope, "", deadline)
        return self._basic_header() if self._basic else ""

    def answer(self, scope: str, values: Iterable[str], refused: str, deadline: Deadline) -> str:
        """The ``Authorization`` that answers a 401 with these ``WWW-Authenticate`` headers.

        ``refused`` is the one that earned the 401.  Gives ``""`` where there is no other, and
        raises RegistryError for a realm that must not be asked.
        """
        challenges = parse_challenges(values)
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                self._bearer = challenge
                return self._token(challenge, scope, refused, deadline)
        if any(challenge.scheme == "basic" for challenge in challenges):
            header = self._basic_header()
            self._basic = bool(header)
            return "" if header == refused else header
        return ""

    def _basic_header(self) -> str:
        credentials = self.credentials
        return credentials.basic() if credentials else ""

    def _token(self, challenge: Challenge, scope: str, refused: str, deadline: Deadline) -> str:
        """The token for ``scope``, fetched by one thread at a time."""
        with self._lock:
            slot = self._slots.setdefault(scope, _Slot())
        remaining = deadline.remaining()
        if not slot.lock.acquire(timeout=-1 if remaining is None else remaining):
            raise RegistryUnavailable(f"{self._host.address} gave no token in time")
        try:
            header = slot.fresh()
            if not header or header == refused:
                begun = time.monotonic()
                header, lifetime = self._fetch(challenge, scope, deadline)
                slot.header, slot.expires = header, begun + lifetime
            return header
        finally:
            slot.lock.release()

    def _fetch(self, challenge: Challenge, scope: str, deadline: Deadline) -> tuple[str, float]:
        """Asks the realm for a token: the ``Authorization`` and its lifetime in seconds."""
        try:
            realm = Url.parse(challenge.parameters["realm"])
        except InvalidArgument as error:
            raise RegistryError(f"the token realm of {self._host.address}: {error}") from None
        credentials = self.credentials
        base = self._host.base
        check_realm(base, realm, credentials is not None, self._realm_hosts)
        limit = None
        if realm.origin != base.origin:
            network = self._transport.network
            limit = network.reach(base.host)
            network.check(realm.host, limit, "the token realm")
        headers = {"Authorization": credentials.basic()} if credentials else {}
        url = _question(realm, challenge, scope)
        answer = self._transport.send("GET", url, headers, deadline, limit)
        return _read_token(answer, scope, credentials is not None)


def _question(realm: Url, challenge: Challenge, scope: str) -> Url:
    """The realm's URL with service and scope (distribution, token authentication)."""
    query = {"service": challenge.parameters.get("service", ""), "scope": scope}
    text = urlencode({name: value for name, value in query.items() if value})
    mark = "&" if "?" in realm.target else "?"
    return Url(realm.scheme, realm.host, realm.port, f"{realm.target}{mark}{text}")


def _read_token(answer: Answer, scope: str, known: bool) -> tuple[str, float]:
    body = answer.read(MAX_ERROR, "the token")
    what = f"a token for {scope}"
    if 300 <= answer.status < 400:
        raise RegistryError(f"{what}: {answer.url.origin} redirects; tokens are asked of no other")
    if answer.status != 200:
        raise status_failure(
            answer.status, answer.headers, body, what=what, url=answer.url, known=known
        )
    try:
        document = Document.parse(body, "the token")
        token = document.text("token") or document.text("access_token")
        lifetime = document.integer("expires_in", 0)
    except InvalidArgument:  # its message may quote the token
        raise RegistryError(f"{what}: {answer.url.origin} gave none that can be read") from None
    if not _BEARER.fullmatch(token):
        raise RegistryUnauthorized(f"{what}: {answer.url.origin} gave none that can be sent")
    return f"Bearer {token}", min(max(float(lifetime), MIN_LIFETIME), _MAX_LIFETIME)
