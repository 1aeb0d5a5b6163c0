"""The requests of a pull: resolve a reference, fetch a manifest, read a blob.

See the distribution-spec, Pull. Each request is sent to one host of the registry after another,
until the request succeeds. Some blobs are also requested from the URLs in their descriptors.
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
from ..undo import Undo
from . import responses
from .blob import BlobReader
from .destinations import Url
from .failover import Failover
from .hosts import PULL, RESOLVE
from .http import Response
from .http_errors import naming
from .pace import TransferRate
from .parts import PART, PartsReader
from .session import ApiRequest, Session, TransferRetries, pull_scope

_ACCEPT = ", ".join((*media_types.ACCEPTED, "*/*"))
#: Largest number of a descriptor's URLs that are tried. The image's author could list any number.
_MAX_URLS = 8
#: If an error has one of these statuses, the registry cannot send the rest of a blob. Status 0
#: means that the registry sent a range that was not requested.
_RANGE_REFUSED = frozenset({0, 400, 416, 501})

_Result = TypeVar("_Result")
#: A function that returns the deadline of a request that begins now. Each host gets its own
#: deadline. If all hosts shared one deadline, two mirrors that do not answer would leave no time
#: for the registry.
NewDeadline = Callable[[], Deadline]


def resolve(hosts: Failover, reference: Reference, new_deadline: NewDeadline) -> Descriptor:
    """Return the descriptor of ``reference``.

    The descriptor comes from a HEAD response. If the HEAD request fails or its response is
    incomplete, the client sends a GET request and hashes the body of the response.
    """
    scope = pull_scope(reference.repository)

    def resolve_on(session: Session) -> Descriptor:
        deadline = new_deadline()
        try:
            descriptor = head_manifest(session, reference, scope, deadline)
        except (RegistryUnavailable, RegistryUnauthorized):
            raise
        except RegistryError as error:
            if not error.status:
                raise
            # A response to HEAD has no body, so the error does not contain the reason. Some
            # registries do not support HEAD.
            descriptor = None
        if descriptor is not None:
            return descriptor
        return session.send(
            _manifest_request("GET", reference, scope),
            deadline,
            lambda response: responses.descriptor_from_body(response, reference),
        )

    # The content of a digest never changes, so every host with the capability PULL can
    # resolve a digest.
    return hosts.first_success(resolve_on, *((RESOLVE, PULL) if reference.digest else (RESOLVE,)))


def head_manifest(
    session: Session, reference: Reference, scope: str, deadline: Deadline
) -> Descriptor | None:
    """Return the descriptor of ``reference`` from a HEAD response; ``None`` if it is incomplete."""
    return session.send(
        _manifest_request("HEAD", reference, scope),
        deadline,
        lambda response: responses.descriptor_from_head(response, reference),
    )


def _manifest_request(method: str, reference: Reference, scope: str) -> ApiRequest:
    return ApiRequest(
        method,
        f"{reference.repository}/manifests/{reference.target}",
        f"manifest {reference.target}",
        (scope,),
        {"Accept": _ACCEPT},
    )


def fetch_manifest(
    hosts: Failover, reference: Reference, descriptor: Descriptor, new_deadline: NewDeadline
) -> bytes:
    """Fetch and verify the manifest or index of ``descriptor``, and return its bytes."""
    if descriptor.size > MAX_DOCUMENT:
        raise RegistryError(f"the manifest has more than the {MAX_DOCUMENT} bytes allowed")
    request = _content_request(reference, descriptor)
    return hosts.first_success(
        lambda session: session.send(
            request,
            new_deadline(),
            lambda response: responses.verified_document(response, descriptor),
        ),
        PULL,
    )


def size_of(
    hosts: Failover, reference: Reference, descriptor: Descriptor, new_deadline: NewDeadline
) -> int:
    """Return the size of a blob in bytes, from a HEAD response."""
    request = replace(_content_request(reference, descriptor), method="HEAD")
    return hosts.first_success(
        lambda session: session.send(
            request, new_deadline(), lambda response: responses.size_from_head(response, descriptor)
        ),
        PULL,
    )


def _content_request(
    reference: Reference, descriptor: Descriptor, byte_range: str = ""
) -> ApiRequest:
    """Return the request for a manifest or a blob by its digest."""
    media_type, kind, accept = descriptor.media_type, "blobs", "*/*"
    if media_types.is_document(media_type) or media_types.is_schema1(media_type):
        kind, accept = "manifests", media_type
    return ApiRequest(
        "GET",
        f"{reference.repository}/{kind}/{descriptor.digest}",
        f"{kind[:-1]} {descriptor.digest}",
        (pull_scope(reference.repository),),
        {"Accept": accept, **({"Range": byte_range} if byte_range else {})},
        expect=(200, 206) if byte_range else (200,),
    )


class BlobSource:
    """Opens one blob at any offset, from the registry's hosts or from the descriptor's URLs.

    ``timeout`` is the number of seconds that a request may take until the headers of its
    response arrive. If ``deadline`` is given, it replaces ``timeout``, and also limits the reading.
    ``retries`` makes the object that decides whether to continue after a failure. Its argument is
    the offset at which a transfer begins.
    """

    def __init__(
        self,
        hosts: Failover,
        reference: Reference,
        descriptor: Descriptor,
        *,
        retries: Callable[[int], TransferRetries],
        timeout: float | None,
        deadline: Deadline | None,
    ) -> None:
        self._hosts = hosts
        self._reference = reference
        self.descriptor = descriptor
        self._retries = retries
        self._timeout = timeout
        self._deadline = deadline
        self.operation = f"fetch {descriptor.digest} of {reference.name}"

    def reader(self, offset: int, *, verify: bool) -> BlobReader:
        """Return a reader of the blob from ``offset`` (bytes) to its end."""
        size = self.descriptor.size
        if not 0 <= offset <= size:
            raise OutOfRange(
                f"offset {offset} is outside the {size} bytes of {self.descriptor.digest}"
            )
        retries = self._retries(offset)
        with naming(self.operation):
            return BlobReader(
                self.descriptor,
                lambda at: self._request_from(at, None, retries.rate),
                offset,
                retries=retries,
                operation=self.operation,
                verify=verify,
            )

    def part(self, start: int, end: int) -> BlobReader:
        """Return a reader of the bytes from ``start`` to ``end`` (exclusive)."""
        retries = self._retries(start)
        return BlobReader(
            self.descriptor,
            lambda at: self._request_from(at, end, retries.rate),
            start,
            retries=retries,
            operation=self.operation,
            end=end,
        )

    def parallel(self, connections: int, *, verify: bool) -> BlobReader | PartsReader:
        """Return a reader that uses several connections.

        The reader uses a single connection if the blob is small or the host does not support
        ranges.
        """
        size = self.descriptor.size
        if connections < 2 or size <= 2 * PART:
            return self.reader(0, verify=verify)
        interrupt, retries = Interrupt(), self._retries(0)
        with naming(self.operation), interrupt.watching():
            response, _ = self._request_from(0, PART, retries.rate)
        ranged = response.status == 206
        first = BlobReader(
            self.descriptor,
            lambda at: self._request_from(at, PART if ranged else None, retries.rate),
            0,
            retries=retries,
            operation=self.operation,
            verify=verify,
            end=PART if ranged else None,
            response=response,
        )
        if not ranged:
            return first
        with Undo(first.close):
            return PartsReader(
                self.descriptor,
                first,
                interrupt,
                self.part,
                connections=connections,
                operation=self.operation,
                verify=verify,
            )

    def _request_from(
        self, offset: int, end: int | None, rate: TransferRate
    ) -> tuple[Response, int]:
        """Request the bytes from ``offset``; return the response and its body's offset."""
        descriptor = self.descriptor
        last = descriptor.size - 1 if end is None else end - 1
        if end is not None:
            return self._request_range(f"bytes={offset}-{last}", offset, last, rate)
        if not offset:
            return self._request_range("", offset, last, rate)
        try:
            return self._request_range(f"bytes={offset}-", offset, last, rate)
        except RegistryError as error:
            if type(error) is not RegistryError or error.status not in _RANGE_REFUSED:
                raise
            # The registry does not support this range. Request the whole blob. The reader skips
            # the bytes before ``offset``.
            with suppress(RegistryError):
                return self._request_range("", offset, last, rate)
            raise

    def _request_range(
        self, byte_range: str, offset: int, last: int, rate: TransferRate
    ) -> tuple[Response, int]:
        """Request one range of the blob, or the whole blob if ``byte_range`` is ``""``."""
        descriptor = self.descriptor
        request = replace(_content_request(self._reference, descriptor, byte_range), rate=rate)

        def new_deadline() -> Deadline:
            return self._deadline or Deadline(self._timeout)

        def check_start(response: Response) -> tuple[Response, int]:
            body_start = responses.body_start(response, descriptor, offset, last)
            response.set_deadline(self._deadline or Deadline())
            return response, body_start

        def from_registry() -> tuple[Response, int]:
            return self._hosts.first_success(
                lambda session: session.send(request, new_deadline(), check_start), PULL
            )

        if not descriptor.is_foreign:
            try:
                return from_registry()
            except RegistryNotFound:
                if not descriptor.urls:
                    raise
                return self._request_foreign(request, new_deadline(), check_start)
        try:
            return self._request_foreign(request, new_deadline(), check_start)
        except RegistryError as error:
            foreign_error = error
        try:
            return from_registry()
        except RegistryNotFound:
            raise foreign_error from None

    def _request_foreign(
        self, request: ApiRequest, deadline: Deadline, read_response: Callable[[Response], _Result]
    ) -> _Result:
        """Send the request, without credentials, to the descriptor's URLs in turn.

        Return the result for the first URL at which the request succeeds.
        """
        last_error: RegistryError | None = None
        for text in self.descriptor.urls[:_MAX_URLS]:
            try:
                foreign_request = replace(request, url=Url.parse(text), anonymous=True)
                return self._hosts.own.send(foreign_request, deadline, read_response)
            except InvalidArgument as error:
                last_error = RegistryError(f"{self.descriptor.digest} cannot be fetched: {error}")
            except RegistryError as error:
                last_error = error
        raise last_error or RegistryError(f"{self.descriptor.digest} has no URL")
