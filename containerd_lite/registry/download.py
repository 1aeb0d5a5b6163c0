"""From a reference to a descriptor, and from a descriptor to its bytes (distribution-spec, Pull).

What lives here: what is asked, of which host, and in which order.  What may not: containerd,
stores, choosing what to fetch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ..deadline import Deadline
from ..errors import (
    InvalidArgument,
    OutOfRange,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from ..interrupt import Interrupt
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.reference import Reference
from ..records import replace
from . import responses as answers
from .blob import BlobReader
from .destinations import Url
from .failover import Failover
from .hosts import PULL, RESOLVE
from .http import Response
from .http_errors import naming
from .parts import PART, PartsReader
from .session import Ask, Cuts, Session

_ACCEPT = ", ".join((*media_types.ACCEPTED, "*/*"))
#: Of a descriptor's URLs no more are tried: their number is somebody else's choice.
_MOST_URLS = 8
#: How a registry answers that cannot give the rest of a blob; 0 is for a range that is another.
_NO_RANGE = frozenset({0, 400, 416, 501})

_Result = TypeVar("_Result")
#: The deadline of what begins now: each host has one of its own, or two that are silent would
#: leave none to the registry behind them.
Until = Callable[[], Deadline]


def pull_scope(repository: str) -> str:
    """What a token must allow for reading."""
    return f"repository:{repository}:pull"


def resolve(hosts: Failover, reference: Reference, until: Until) -> Descriptor:
    """The descriptor of what ``reference`` names, by HEAD, else by GET and hashing."""

    def ask(method: str) -> Ask:
        return Ask(
            method,
            f"{reference.repository}/manifests/{reference.target}",
            f"manifest {reference.target}",
            (pull_scope(reference.repository),),
            {"Accept": _ACCEPT},
        )

    def on(session: Session) -> Descriptor:
        deadline = until()
        try:
            found = session.send(
                ask("HEAD"), deadline, lambda answer: answers.described(answer, reference)
            )
        except (RegistryUnavailable, RegistryUnauthorized):
            raise
        except RegistryError as error:
            if not error.status:
                raise
            found = None  # HEAD has no body to say why, and not every registry knows it
        if found is not None:
            return found
        return session.send(ask("GET"), deadline, lambda answer: answers.hashed(answer, reference))

    # A digest is resolved by whoever has the content: it cannot be another.
    return hosts.first(on, *((RESOLVE, PULL) if reference.digest else (RESOLVE,)))


def fetch_manifest(
    hosts: Failover, reference: Reference, descriptor: Descriptor, until: Until
) -> bytes:
    """The manifest or index of ``descriptor``, or its manifest of schema 1, verified."""
    if descriptor.size > MAX_DOCUMENT:
        raise RegistryError(f"the manifest has more than the {MAX_DOCUMENT} bytes allowed")
    ask = _ask(reference, descriptor)
    return hosts.first(
        lambda session: session.send(
            ask, until(), lambda answer: answers.verified(answer, descriptor)
        ),
        PULL,
    )


def size_of(hosts: Failover, reference: Reference, descriptor: Descriptor, until: Until) -> int:
    """The size of a blob in bytes, by HEAD."""
    ask = replace(_ask(reference, descriptor), method="HEAD")
    return hosts.first(
        lambda session: session.send(
            ask, until(), lambda answer: answers.sized(answer, descriptor)
        ),
        PULL,
    )


def _ask(reference: Reference, descriptor: Descriptor, byte_range: str = "") -> Ask:
    """Asks for content by its digest, manifests at their own place."""
    media_type, kind, accept = descriptor.media_type, "blobs", "*/*"
    if media_types.is_document(media_type) or media_types.is_schema1(media_type):
        kind, accept = "manifests", media_type
    return Ask(
        "GET",
        f"{reference.repository}/{kind}/{descriptor.digest}",
        f"{kind[:-1]} {descriptor.digest}",
        (pull_scope(reference.repository),),
        {"Accept": accept, **({"Range": byte_range} if byte_range else {})},
        expect=(200, 206) if byte_range else (200,),
    )


class BlobSource:
    """One blob, wherever it can be had; opens it at any offset."""

    def __init__(
        self,
        hosts: Failover,
        reference: Reference,
        descriptor: Descriptor,
        *,
        cuts: Callable[[], Cuts],
        timeout: float | None,
        deadline: Deadline | None,
    ) -> None:
        """``timeout`` bounds each wait for headers (seconds), ``deadline`` the reading too."""
        self._hosts = hosts
        self._reference = reference
        self.descriptor = descriptor
        self._cuts = cuts
        self._timeout = timeout
        self._deadline = deadline
        self.operation = f"fetch {descriptor.digest} of {reference.name}"

    def reader(self, offset: int, *, verify: bool) -> BlobReader:
        """The rest of the blob from ``offset`` (bytes)."""
        size = self.descriptor.size
        if not 0 <= offset <= size:
            raise OutOfRange(f"{self.descriptor.digest} has {size} bytes, not {offset}")
        with naming(self.operation):
            return BlobReader(
                self.descriptor,
                lambda at: self._start(at, None),
                offset,
                cuts=self._cuts(),
                operation=self.operation,
                verify=verify,
            )

    def part(self, start: int, end: int) -> BlobReader:
        """The bytes from ``start`` up to ``end``, which is not among them."""
        return BlobReader(
            self.descriptor,
            lambda at: self._start(at, end),
            start,
            cuts=self._cuts(),
            operation=self.operation,
            end=end,
        )

    def parallel(self, connections: int, *, verify: bool) -> BlobReader | PartsReader:
        """The blob over several connections, if it is big enough and the host knows ranges."""
        size = self.descriptor.size
        if connections < 2 or size <= 2 * PART:
            return self.reader(0, verify=verify)
        word = Interrupt()
        with naming(self.operation), word.watching():
            answer, _ = self._start(0, PART)
        ranged = answer.status == 206
        first = BlobReader(
            self.descriptor,
            lambda at: self._start(at, PART if ranged else None),
            0,
            cuts=self._cuts(),
            operation=self.operation,
            verify=verify,
            end=PART if ranged else None,
            answer=answer,
        )
        if not ranged:
            return first
        return PartsReader(
            self.descriptor,
            first,
            word,
            self.part,
            connections=connections,
            operation=self.operation,
            verify=verify,
        )

    def _start(self, offset: int, end: int | None) -> tuple[Response, int]:
        """Asks for the bytes from ``offset``; gives the answer and where its body begins."""
        descriptor = self.descriptor
        last = descriptor.size - 1 if end is None else end - 1
        if end is not None:
            return self._ask_for(f"bytes={offset}-{last}", offset, last)
        if not offset:
            return self._ask_for("", offset, last)
        try:
            return self._ask_for(f"bytes={offset}-", offset, last)
        except RegistryError as error:
            if type(error) is not RegistryError or error.status not in _NO_RANGE:
                raise
            # The rest is more than it can give: then all, of which what is here is passed over.
            with suppress(RegistryError):
                return self._ask_for("", offset, last)
            raise

    def _ask_for(self, byte_range: str, offset: int, last: int) -> tuple[Response, int]:
        descriptor = self.descriptor
        ask = _ask(self._reference, descriptor, byte_range)

        def until() -> Deadline:
            return self._deadline or Deadline(self._timeout)

        def begun(answer: Response) -> tuple[Response, int]:
            begin = answers.begin(answer, descriptor, offset, last)
            answer.renew(self._deadline or Deadline())
            return answer, begin

        def registry() -> tuple[Response, int]:
            return self._hosts.first(lambda session: session.send(ask, until(), begun), PULL)

        if not descriptor.is_foreign:
            try:
                return registry()
            except RegistryNotFound:
                if not descriptor.urls:
                    raise
                return self._foreign(ask, until(), begun)
        try:
            return self._foreign(ask, until(), begun)
        except RegistryError as error:
            foreign = error
        try:
            return registry()
        except RegistryNotFound:
            raise foreign from None

    def _foreign(
        self, ask: Ask, deadline: Deadline, begun: Callable[[Response], _Result]
    ) -> _Result:
        """The same from the URLs in the descriptor: strangers, who are told no secret."""
        failed: RegistryError | None = None
        for text in self.descriptor.urls[:_MOST_URLS]:
            try:
                away = replace(ask, url=Url.parse(text), anonymous=True)
                return self._hosts.own.send(away, deadline, begun)
            except InvalidArgument as error:
                failed = RegistryError(f"a URL of {self.descriptor.digest}: {error}")
            except RegistryError as error:
                failed = error
        raise failed or RegistryError(f"{self.descriptor.digest} has no URL")
