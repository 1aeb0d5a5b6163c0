"""The client of one registry: resolve a reference, fetch manifests and blobs.

What lives here: the distribution-spec's pull (spec.md, Pull), with authorization, redirects and
retries around each request.  What may not: containerd, stores, choosing what to fetch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from ..deadline import Deadline, backoff
from ..errors import (
    InvalidArgument,
    OutOfRange,
    RegistryError,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.reference import Reference
from ..version import USER_AGENT
from . import answers
from .auth import Authenticator
from .blob import BlobReader
from .credentials import Credentials, CredentialSource
from .failures import MAX_ERROR, Again, naming, status_failure
from .hosts import own_host
from .http import Answer, Transport
from .network import Network, check_redirect

MAX_REDIRECTS = 5
MAX_TRIES = 5
#: Bounds of the waits between tries where the registry names none (seconds).
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ACCEPT = ", ".join((*media_types.ACCEPTED, "*/*"))
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Ask:
    """One request, as often as it takes: a path below ``/v2/`` and what to call it."""

    method: str
    path: str
    what: str
    scope: str
    headers: dict[str, str] = field(default_factory=dict)


class Registry:
    """One registry; thread-safe, usable after ``fork`` only if not used before it.

    Nothing is sent before a method is called.  ``close()`` (or ``with``) closes the idle
    connections.
    """

    def __init__(
        self,
        host: str,
        *,
        credentials: Credentials | CredentialSource | None = None,
        plain_http: bool | None = None,
        timeout: float = 60.0,
        connect_timeout: float = 10.0,
        stall_timeout: float = 30.0,
        realm_hosts: Iterable[str] = (),
        user_agent: str = USER_AGENT,
        ca_file: str | None = None,
        network: Network | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """``host`` is as references name it (``docker.io``, ``127.0.0.1:5000``).

        ``credentials`` are the pair, or a function that finds it by host, asked once and only
        when needed (``credentials.docker_config``); ``None`` is anonymous.  ``plain_http=None``
        uses it for loopback only.  In seconds: ``timeout`` bounds a call with its tries up to
        the body, ``stall_timeout`` any wait for a byte.  ``realm_hosts`` are further hosts that
        may be told the credentials; ``ca_file`` (PEM) holds authorities to trust beside the
        system's.  ``network`` and ``sleep`` are there for tests.  Raises
        InvalidArgument for a host that cannot be.
        """
        self._host = own_host(host, plain_http)
        self._timeout = timeout
        self._sleep = sleep
        self._network = network or Network()
        self._transport = Transport(
            connect_timeout=connect_timeout,
            stall_timeout=stall_timeout,
            user_agent=user_agent,
            network=self._network,
            ca_file=ca_file,
        )
        given = credentials
        source = (lambda _: given) if isinstance(given, Credentials) else given
        self._auth = Authenticator(self._host, self._transport, source, realm_hosts)

    @property
    def host(self) -> str:
        """The host as references name it."""
        return self._host.namespace

    def __repr__(self) -> str:
        return f"<Registry {self._host.base.origin}>"

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the idle connections; open readers go on until they are closed."""
        self._transport.close()

    def resolve(self, reference: Reference, *, deadline: Deadline | None = None) -> Descriptor:
        """The descriptor of the manifest or index that ``reference`` names.

        Asks by HEAD; where the answer does not tell digest, size and type, gets the document,
        checks and hashes it.  Raises RegistryNotFound, RegistryUnauthorized,
        RegistryUnavailable, DigestMismatch where the registry contradicts the reference or
        itself, RegistryError for all else.
        """
        deadline = deadline or Deadline(self._timeout)
        with naming(f"resolve {reference}"):
            ask = self._ask(reference, "manifests", reference.target, _ACCEPT, "HEAD")
            try:
                found = self._send(
                    ask, deadline, lambda answer: answers.described(answer, reference)
                )
            except (RegistryUnavailable, RegistryUnauthorized):
                raise
            except RegistryError as error:
                if not error.status:
                    raise
                found = None  # HEAD has no body to say why, and not every registry knows it
            if found is not None:
                return found
            ask = self._ask(reference, "manifests", reference.target, _ACCEPT)
            return self._send(ask, deadline, lambda answer: answers.hashed(answer, reference))

    def fetch_manifest(
        self, reference: Reference, descriptor: Descriptor, *, deadline: Deadline | None = None
    ) -> bytes:
        """The manifest or index of ``descriptor`` in ``reference``'s repository, verified.

        At most 4 MiB.  Raises as ``resolve``, and SizeMismatch.
        """
        deadline = deadline or Deadline(self._timeout)
        with naming(f"fetch {descriptor.digest} of {reference.name}"):
            if descriptor.size > MAX_DOCUMENT:
                raise RegistryError(f"the manifest has more than the {MAX_DOCUMENT} bytes allowed")
            ask = self._ask(reference, "manifests", descriptor.digest, descriptor.media_type)
            return self._send(ask, deadline, lambda answer: answers.verified(answer, descriptor))

    def open_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        offset: int = 0,
        *,
        verify: bool = True,
        deadline: Deadline | None = None,
    ) -> BlobReader:
        """The content of ``descriptor`` in ``reference``'s repository as a stream from ``offset``.

        Manifests are asked for at their own endpoint.  From offset 0 the reader verifies digest
        and size, unless ``verify`` is false because the store does; size is always kept to.
        ``deadline`` bounds the reading too; without one it is bounded by stalls only.  Raises
        as ``resolve``; OutOfRange for an offset beyond the end; SizeMismatch if the registry
        announces another size.
        """
        if not 0 <= offset <= descriptor.size:
            raise OutOfRange(f"{descriptor.digest} has {descriptor.size} bytes, not {offset}")
        operation = f"fetch {descriptor.digest} of {reference.name}"
        if offset and offset == descriptor.size:
            return BlobReader(descriptor, None, offset, verify, operation)
        kind, accept = "blobs", "*/*"
        if media_types.is_manifest(descriptor.media_type) or media_types.is_index(
            descriptor.media_type
        ):
            kind, accept = "manifests", descriptor.media_type
        extra = {"Range": f"bytes={offset}-"} if offset else {}

        def start(answer: Answer) -> BlobReader:
            begin = answers.begin(answer, descriptor, offset)
            answer.renew(deadline or Deadline())
            reader = BlobReader(descriptor, answer, offset, verify, operation)
            reader.skip(offset - begin)
            return reader

        with naming(operation):
            ask = self._ask(reference, kind, descriptor.digest, accept, extra=extra)
            return self._send(ask, deadline or Deadline(self._timeout), start)

    def _ask(
        self,
        reference: Reference,
        kind: str,
        name: str,
        accept: str,
        method: str = "GET",
        extra: dict[str, str] | None = None,
    ) -> _Ask:
        if reference.host != self.host:
            raise InvalidArgument(f"{reference} is not on the registry {self.host}")
        return _Ask(
            method,
            f"{reference.repository}/{kind}/{name}",
            f"{kind[:-1]} {name}",
            f"repository:{reference.repository}:pull",
            {"Accept": accept, **(extra or {})},
        )

    def _send(self, ask: _Ask, deadline: Deadline, use: Callable[[Answer], _Result]) -> _Result:
        """What ``use`` makes of the answer, after as many tries as are allowed and needed."""
        waits = backoff(_FIRST_WAIT, _LONGEST_WAIT)
        tries = 0
        while True:
            tries += 1
            try:
                return self._use(self._authorised(ask, deadline), use)
            except Again as again:
                wait = next(waits) if again.after is None else again.after
                remaining = deadline.remaining()
                if tries == MAX_TRIES or (remaining is not None and wait >= remaining):
                    raise again.error from again.__cause__
            self._sleep(wait)

    def _use(self, answer: Answer, use: Callable[[Answer], _Result]) -> _Result:
        try:
            return use(answer)
        except BaseException:
            answer.close()
            raise

    def _authorised(self, ask: _Ask, deadline: Deadline) -> Answer:
        """The answer to one try, after answering a challenge if there is one."""
        header = self._auth.header(ask.scope, deadline)
        answer = self._follow(ask, header, deadline)
        if answer.status == 401 and self._own(answer):
            values = answer.header_list("WWW-Authenticate")
            body = answer.snippet(MAX_ERROR)
            second = self._auth.answer(ask.scope, values, header, deadline)
            if not second or second == header:
                raise self._failure(ask, answer, body)
            answer = self._follow(ask, second, deadline)
        if answer.status != 200 and not (answer.status == 206 and "Range" in ask.headers):
            raise self._failure(ask, answer, answer.snippet(MAX_ERROR))
        return answer

    def _own(self, answer: Answer) -> bool:
        return answer.url.origin == self._host.base.origin

    def _failure(self, ask: _Ask, answer: Answer, body: bytes) -> Exception:
        if answer.status in (401, 403) and not self._own(answer):
            return RegistryError(
                f"{answer.url.origin}, where the registry redirects to, refuses {ask.what} "
                f"(HTTP {answer.status}); credentials are not sent there",
                status=answer.status,
            )
        return status_failure(
            answer.status,
            answer.headers,
            body,
            what=ask.what,
            url=answer.url,
            known=answer.status in (401, 403) and self._auth.credentials is not None,
        )

    def _follow(self, ask: _Ask, authorization: str, deadline: Deadline) -> Answer:
        """Sends and follows redirects; the authorization never leaves the registry's origin."""
        base = self._host.base
        url, limit = self._host.url(ask.path), None
        secret = {"Authorization": authorization} if authorization else {}
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._transport.send(
                ask.method, url, {**ask.headers, **secret}, deadline, limit
            )
            if answer.status not in _REDIRECTS:
                return answer
            location = answer.headers.get("Location")
            answer.snippet(MAX_ERROR)
            if not location:
                raise RegistryError(f"{url.origin} redirects {ask.what} without saying where")
            try:
                target = url.join(location)
            except InvalidArgument as error:
                raise RegistryError(f"{url.origin} redirects {ask.what}: {error}") from None
            check_redirect(url, target)
            if target.origin != base.origin:
                limit, secret = self._network.reach(base.host), {}
                self._network.check(target.host, limit, "the redirect")
            url = target
        raise RegistryError(f"{base.origin} redirects {ask.what} more than {MAX_REDIRECTS} times")
