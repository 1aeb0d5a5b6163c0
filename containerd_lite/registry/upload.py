"""Uploads one blob to a repository (distribution-spec, Pushing Blobs).

A blob can be mounted from another repository, or sent in one request or in chunks. The upload
continues after a broken connection. If the upload fails, the client cancels it at the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from enum import Enum
from typing import TypeVar

from .. import limits
from ..deadline import Deadline
from ..errors import (
    ContainerdError,
    DigestMismatch,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    SizeMismatch,
)
from ..interrupt import delayed, shielded
from ..lazy import lazy_pattern
from ..oci import digest as digests
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.reference import Reference
from ..printable import quoted
from ..progress import ProgressCallback, ProgressEvent
from . import responses
from .destinations import Url
from .http import Body, Response
from .openers import LocalFault, Opener, local_faults, open_content, read_content
from .session import (
    MAX_TRIES,
    ApiRequest,
    Session,
    TransferRetries,
    location_of,
    pull_scope,
    push_scope,
)

#: Largest number of bytes that are read from the content at a time.
_PIECE = 1 << 20
_RANGE = lazy_pattern(r"(?:bytes=)?0-([0-9]{1,19})")
#: Seconds that the client may take to cancel a failed upload. The caller waits during this time.
_DELETE_TIMEOUT = 1.5
#: An upload stops if the registry accepts chunks, but does not keep so many times the blob's size.
_MAX_RESENT = 2

_T = TypeVar("_T")


class Outcome(Enum):
    """The result of an upload: the blob existed before, was mounted or was uploaded."""

    EXISTS = "exists"
    MOUNTED = "mounted"
    UPLOADED = "uploaded"


class _OffsetMismatch(RegistryError):
    """The registry and the client disagree about the number of received bytes."""


class Upload:
    """The upload of one blob.

    Args:
        session: Sends the requests.
        reference: The repository.
        descriptor: The blob.
        open_at: A function that opens the content at an offset in bytes.
        deadline: The deadline for the whole upload. ``None`` means no deadline.
        timeout: Seconds that each request without content may take if ``deadline`` is ``None``.
        retries: Decides whether to continue after a failure.
        report: A function that is called with an event for each piece that is sent, and with an
            event for the outcome.
    """

    def __init__(
        self,
        session: Session,
        reference: Reference,
        descriptor: Descriptor,
        open_at: Opener,
        *,
        deadline: Deadline | None,
        timeout: float | None,
        retries: TransferRetries,
        report: ProgressCallback,
    ) -> None:
        self._session = session
        self._repository = reference.repository
        self._descriptor = descriptor
        self._open_at = open_at
        self._deadline = deadline
        self._timeout = timeout
        self._retries = retries
        self._report = report
        self._scopes = (push_scope(reference.repository),)
        self._url: Url | None = None
        #: Whether the registry has started the upload, but no content has been sent.
        self._is_empty = False
        self._min_chunk = 0
        #: Bytes of accepted chunks that the registry did not keep, and that are sent again.
        self._resent = 0
        self._restarts = 0
        self._files = ExitStack()

    def __repr__(self) -> str:
        return f"<Upload {self._descriptor.digest} to {self._repository}>"

    def run(
        self,
        mount_from: Sequence[str] = (),
        chunk_size: int | None = None,
        single: bool = False,
        *,
        ask: bool = True,
        mount_first: bool = False,
    ) -> Outcome:
        """Upload the blob, unless the repository has it; see ``Registry.upload_blob``."""
        chunk_size = limits.count("chunk_size", chunk_size)
        try:
            first = mount_from[: int(mount_first)]
            if self._mount_from_any(first):
                return self._report_outcome(Outcome.MOUNTED)
            if ask and self._exists():
                self._delete_upload()
                return self._report_outcome(Outcome.EXISTS)
            if self._url is None and self._mount_from_any(mount_from[len(first) :]):
                return self._report_outcome(Outcome.MOUNTED)
            if self._url is not None or not self._start(single):
                self._transfer(chunk_size)
            return self._report_outcome(Outcome.UPLOADED)
        except BaseException as error:
            self._delete_upload()
            if not isinstance(error, LocalFault):
                raise
            local_error = error.error
        # The error is raised outside the ``except`` block, so that its context does not change.
        raise local_error

    def _mount_from_any(self, repositories: Sequence[str]) -> bool:
        """Mount the blob from the first repository that has it; return whether this succeeded."""
        for repository in repositories:
            if self._mount(repository):
                return True
            if self._url is not None:
                break  # the registry did not mount the blob, but started an upload
        return False

    def _report_outcome(self, outcome: Outcome) -> Outcome:
        size = self._descriptor.size
        self._report(ProgressEvent(outcome.value, self._descriptor.digest, size, size))
        return outcome

    # The requests

    def _exists(self) -> bool:
        """Return whether the repository has the blob."""
        request = self._request("HEAD", f"blobs/{self._descriptor.digest}")
        try:
            return self._send(request, lambda response: _is_whole(response, self._descriptor))
        except RegistryNotFound:
            return False
        except RegistryError as error:
            # A registry that was killed during an upload may have stored half of a blob. This
            # registry answers 5xx until the blob is uploaded again. A registry that does not
            # support HEAD answers 405.
            if error.status < 500 and error.status != 405:
                raise
            return False

    def _mount(self, repository: str) -> bool:
        """Mount the blob from another repository, and return whether this succeeded.

        If the mount failed, the registry may have started an upload (status 202).
        """
        request = self._request(
            "POST",
            "blobs/uploads/",
            query={"mount": self._descriptor.digest, "from": repository},
            scopes=(*self._scopes, pull_scope(repository)),
            expect=(201, 202),
        )
        try:
            # An interrupt must not end this request at once. The registry may start an upload, and
            # only the response contains the URL that cancels the upload.
            with delayed(_DELETE_TIMEOUT):
                return self._send(request, self._read_start)
        except (RegistryUnavailable, RegistryUnauthorized):
            return False  # the blob cannot be mounted, so it is uploaded
        except RegistryError as error:
            if not error.status:
                raise
            return False

    def _start(self, single: bool) -> bool:
        """Start an upload. If ``single`` is true, the request also carries the content.

        Returns true if the registry accepted the content. The upload is then complete.
        """
        algorithm = digests.algorithm(self._descriptor.digest)
        query, body = {"digest-algorithm": algorithm} if algorithm != "sha256" else {}, None
        if single:
            query["digest"] = self._descriptor.digest
            body = self._body(0, self._descriptor.size)
            # The host's authentication challenge must arrive before the content is sent.
            self._session.request_challenge(self._scopes, self._request_deadline())
        request = self._request("POST", "blobs/uploads/", query=query, body=body, expect=(201, 202))
        try:
            with nullcontext() if single else delayed(_DELETE_TIMEOUT):
                return self._send(request, self._read_start, has_content=single)
        except RegistryUnavailable as error:
            if not single:
                raise
            self._retries.wait_or_raise(error, 0, self._descriptor.size)
            return self._start(False)

    def _read_start(self, response: Response) -> bool:
        """Read the response to the start of an upload; return whether the upload is complete."""
        if response.status == 201:
            responses.check_stored_digest(response, self._descriptor.digest)
            response.snippet(0)
            return True
        text = response.headers.get("OCI-Chunk-Min-Length", "").strip()
        if text.isascii() and text.isdigit() and len(text) < 12:
            self._min_chunk = int(text)
        self._store_location(response)
        if self._url is None:
            raise RegistryError(
                f"{response.url.origin} started an upload without a Location header"
            )
        self._is_empty = True
        return False

    def _transfer(self, chunk_size: int | None) -> None:
        """Send the content. After a failure, continue at the offset that the registry reports."""
        size, furthest = self._descriptor.size, 0
        offset: int | None = 0
        while offset is not None:
            try:
                if self._is_empty and not chunk_size:
                    return self._complete(0)
                chunk = max(chunk_size, self._min_chunk) if chunk_size else size
                while offset < size:
                    offset = self._patch(offset, min(offset + chunk, size))
                return self._complete(size)
            except (RegistryUnavailable, RegistryNotFound, _OffsetMismatch) as error:
                # Only an offset beyond all earlier offsets counts as progress.
                furthest = max(furthest, offset)
                self._retries.wait_or_raise(error, furthest, size)
                offset = self._recover(error, offset)

    def _recover(self, error: RegistryError, offset: int) -> int | None:
        """Return the offset at which to continue after ``error``.

        The result is ``None`` if the registry has the whole blob.
        """
        if offset == self._descriptor.size and isinstance(error, RegistryUnavailable):
            return offset  # only the request that completes the upload is missing
        if not isinstance(error, RegistryNotFound):
            # If the registry refused a chunk at offset 0, the registry has content. In this case,
            # the ``Range`` "0-0" means one byte.
            expected = int(error.status == 416 and not offset)
            request = self._request("GET", "", expect=(204, 200), url=self._url)
            with suppress(RegistryNotFound):
                received = self._send(
                    request, lambda response: self._received_bytes(response, expected)
                )
                if received > self._descriptor.size:
                    digest = self._descriptor.digest
                    raise SizeMismatch(f"the registry has too many bytes of {digest}: {received}")
                return received
        # The registry lost the upload, or the upload is complete and only the response got lost.
        self._url = None
        if self._exists():
            return None
        self._restarts += 1
        if self._restarts > MAX_TRIES:
            raise error
        self._retries.rate.waited = 0.0
        return None if self._start(False) else 0

    def _patch(self, start: int, end: int) -> int:
        """Send one chunk, and return the offset that the registry has reached."""
        request = self._request(
            "PATCH",
            "",
            headers={
                "Content-Type": media_types.OCTET_STREAM,
                "Content-Range": f"{start}-{end - 1}",
            },
            body=self._body(start, end),
            expect=(202, 201, 204, 416),
            url=self._url,
        )

        def read_response(response: Response) -> int:
            if response.status == 416:
                response.snippet(0)
                raise _OffsetMismatch(
                    f"{response.url.origin} did not expect the chunk {start}-{end - 1}",
                    status=416,
                )
            received = self._received_bytes(response, end)
            return received if "Range" in response.headers else end

        received = self._send(request, read_response, has_content=True)
        if not start < received <= end:
            raise _OffsetMismatch(
                f"the registry has {received} bytes after the chunk {start}-{end - 1}, "
                f"but must have {start + 1} to {end} bytes"
            )
        self._resent += end - received
        if self._resent > _MAX_RESENT * self._descriptor.size:
            raise RegistryError(
                f"the registry keeps too little of each chunk: {received} of "
                f"{self._descriptor.size} bytes, after {self._resent} bytes that it did not keep",
                remedy="Push again with another chunk_size",
            )
        return received

    def _received_bytes(self, response: Response, expected: int) -> int:
        """Return how many bytes the registry has, according to the ``Range`` of its response.

        distribution sends "0-0" both for zero bytes and for one byte. For "0-0", this method
        returns 0 if ``expected`` is 0, and otherwise 1. ``expected`` is the number of bytes that
        the registry should have. This method also stores the ``Location`` of the response.
        """
        text = response.headers.get("Range", "").strip()
        match = _RANGE.fullmatch(text)
        self._store_location(response)
        if text and not match:
            raise RegistryError(f"{response.url.origin} sent the invalid range {quoted(text)}")
        received = int(match[1]) + 1 if match else 0
        return received if received > 1 else min(expected, received)

    def _complete(self, offset: int) -> None:
        """Complete the upload. The request carries the content from ``offset`` to the end."""
        size = self._descriptor.size
        if self._url is None:
            raise RegistryError("the upload has no URL")
        body = self._body(offset, size) if offset < size else b""
        headers = {"Content-Type": media_types.OCTET_STREAM}
        digest = self._descriptor.digest
        url = self._url.with_query({"digest": digest})
        expect = (201, 204, 416)
        request = self._request(
            "PUT", "", headers=headers, body=body, expect=expect, url=url, tries=1
        )

        def read_response(response: Response) -> None:
            response.snippet(0)
            if response.status == 416:
                raise _OffsetMismatch(
                    f"{response.url.origin} has an unexpected number of bytes of {digest}",
                    status=416,
                )
            responses.check_stored_digest(response, digest)

        self._send(request, read_response, has_content=True)
        self._url = None

    def _delete_upload(self) -> None:
        """Send a DELETE request for a failed upload. Errors of this request are ignored."""
        if self._url is None:
            return
        request = self._request("DELETE", "", expect=(204, 202, 200, 404), url=self._url, tries=1)
        with suppress(ContainerdError), shielded():
            self._session.send(
                request, Deadline(_DELETE_TIMEOUT), lambda response: response.snippet(0)
            )

    # How requests are sent

    def _request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        scopes: tuple[str, ...] = (),
        body: bytes | Body | None = None,
        expect: tuple[int, ...] = (200,),
        url: Url | None = None,
        tries: int | None = None,
    ) -> ApiRequest:
        """Return a request for this blob. A request with content is tried only once."""
        if isinstance(body, Body):
            # Before a second try, the registry must say how many bytes it has received.
            tries = 1
        return ApiRequest(
            method,
            f"{self._repository}/{path}",
            f"blob {self._descriptor.digest}",
            scopes=scopes or self._scopes,
            headers=headers or {},
            query=query or {},
            body=b"" if body is None and method in ("POST", "PUT") else body,
            url=url,
            expect=expect,
            tries=tries or MAX_TRIES,
            rate=self._retries.rate,
        )

    def _send(
        self,
        request: ApiRequest,
        read_response: Callable[[Response], _T],
        has_content: bool = False,
    ) -> _T:
        """Send a request. Only the upload's own deadline limits a request with content."""
        if not has_content:
            return self._session.send(request, self._request_deadline(), read_response)
        self._is_empty = False
        try:
            with self._files:
                return self._session.send(request, self._deadline or Deadline(), read_response)
        except RegistryError as error:
            if "DIGEST_INVALID" in error.codes:
                raise DigestMismatch(
                    f"the content does not match the digest: {error.message}"
                ) from error
            raise

    def _request_deadline(self) -> Deadline:
        """Return the deadline of a request without content."""
        return self._deadline or Deadline(self._timeout)

    def _store_location(self, response: Response) -> None:
        """Store the URL for the next request. Without a ``Location``, the old URL stays valid."""
        found = location_of(response, "the upload")
        response.snippet(0)
        self._url = found or self._url

    def _body(self, start: int, end: int) -> Body:
        """Return the content from ``start`` to ``end`` (exclusive) as a request body."""
        return Body(end - start, lambda: self._pieces(start, end))

    def _pieces(self, start: int, end: int) -> Iterator[memoryview]:
        """Read and yield the content from ``start`` to ``end``, and report the progress."""
        digest, total = self._descriptor.digest, self._descriptor.size
        buffer = memoryview(bytearray(min(_PIECE, end - start)))
        # ``_send`` closes the file, because a request that fails does not close this generator.
        file = self._files.enter_context(open_content(self._open_at, start, digest))
        while start < end:
            piece = buffer[: end - start]
            count = read_content(file, piece, digest)
            if not count:
                raise SizeMismatch(
                    f"the content of {digest} has {start} bytes instead of the expected {total}"
                )
            yield piece[:count]
            start += count
            with local_faults():
                self._report(ProgressEvent("uploading", digest, start, total))


def _is_whole(response: Response, descriptor: Descriptor) -> bool:
    """Return false if the response to HEAD states a size other than the blob's.

    Raises DigestMismatch if the response states a digest other than the blob's.
    """
    responses.check_stored_digest(response, descriptor.digest)
    size = response.content_length
    response.snippet(0)
    return size in (None, descriptor.size)
