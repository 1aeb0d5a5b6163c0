"""A stream of one blob, which verifies the content and continues after a broken connection."""

from __future__ import annotations

import io
from collections.abc import Callable

from ..errors import RegistryError, RegistryUnavailable, SizeMismatch
from ..oci.descriptor import Descriptor
from ..oci.digest import Verifier
from .http import Response
from .http_errors import Retryable, naming
from .session import TransferRetries

#: Bytes per read while the reader skips bytes.
_SKIP_CHUNK = 1 << 20
#: A reader skips at most so many times the size of the blob.
_MAX_SKIPPED = 4

#: A function that requests a blob from an offset. It returns the response, and the offset in the
#: blob at which the response's body begins.
RequestFrom = Callable[[int], tuple[Response, int]]


class BlobReader(io.RawIOBase):
    """A binary stream of a blob's bytes from an offset to the end of the blob.

    The reader never returns more bytes than the descriptor's size. If the reader verifies the blob
    and the content is wrong, the last read raises an error and returns no bytes.

    If a connection breaks or stalls, the reader requests the rest of the blob over a new
    connection. If this fails too often, the reader raises RegistryUnavailable. ``tell()`` then
    returns the offset at which a new reader can continue. Every error closes the reader.

    Args:
        descriptor: The blob.
        request_from: A function that requests the blob from an offset.
        offset: The offset of the first byte to read.
        retries: Decides whether to continue after a broken connection.
        operation: The name of the operation, for errors.
        verify: Whether to verify the size and the digest. A reader can verify only a whole blob:
            ``offset`` must be 0, and ``end`` must be ``None``.
        end: The offset at which reading ends (exclusive). Default: the blob's size.
        response: A response whose body begins at ``offset``. Default: the reader sends a request.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        request_from: RequestFrom,
        offset: int,
        *,
        retries: TransferRetries,
        operation: str,
        verify: bool = False,
        end: int | None = None,
        response: Response | None = None,
    ) -> None:
        super().__init__()
        self.descriptor = descriptor
        self._request_from = request_from
        self._offset = offset
        self._end = descriptor.size if end is None else end
        self._retries = retries
        #: Bytes that were received again, because the registry ignores ranges.
        self._skipped = 0
        self._operation = operation
        whole = verify and offset == 0 and end is None
        self._verifier = Verifier(descriptor.digest, descriptor.size) if whole else None
        self._response = response
        if response is None and (offset < self._end or not self._end):
            self._open()

    def readable(self) -> bool:
        """Return true, because the stream is readable."""
        return True

    def tell(self) -> int:
        """Return the offset of the next byte in the blob."""
        return self._offset

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read bytes into ``buffer`` and return their number; 0 means the end.

        Raises:
            SizeMismatch: The blob is shorter or longer than the descriptor says.
            DigestMismatch: The blob's content does not match the digest.
            RegistryUnavailable: The connection broke or stalled too often.
            RegistryError: The registry sent an unexpected response.
            ValueError: The reader is closed.
        """
        if self.closed:
            raise ValueError("the reader is closed")
        if self._response is None:
            return 0
        try:
            with naming(self._operation):
                return self._read_next(memoryview(buffer).cast("B"))
        except BaseException:
            self.close()
            raise

    def _read_next(self, view: memoryview) -> int:
        view = view[: self._end - self._offset]
        while True:
            response = self._response
            try:
                if response is None:
                    response = self._open()
                count = _read_into(response, view) if view else 0
                if count == len(view) or (count and response.content_length is not None):
                    break
                self._raise_early_end(response, count)
            except RegistryUnavailable as error:
                self._close_response()
                self._retries.wait_or_raise(error, self._offset, self.descriptor.size)
        if self._verifier:
            self._verifier.update(view[:count])
        self._offset += count
        if self._offset == self._end:
            self._complete(response)
        return count

    def _open(self) -> Response:
        """Request the blob from the current offset. Skip earlier bytes, if the response has any."""
        response, body_start = self._request_from(self._offset)
        self._response = response
        try:
            self._skip(response, self._offset - body_start)
        except BaseException:
            self._close_response()
            raise
        return response

    def _raise_early_end(self, response: Response, count: int) -> None:
        """Raise the error for a body that ended early.

        If the registry announced a length, the error says that the connection broke. Otherwise,
        the error says that the blob is too short.
        """
        position, digest, size = self._offset + count, self.descriptor.digest, self.descriptor.size
        if response.content_length is not None:
            raise RegistryUnavailable(
                f"{response.url.origin} broke the connection after {position} of {size} bytes "
                f"of {digest}",
                remedy="Try again; the bytes received so far can be kept",
            )
        raise SizeMismatch(f"{digest} has {position} bytes instead of the expected {size}")

    def _complete(self, response: Response) -> None:
        """Check that no more bytes follow, verify the digest, and release the connection."""
        whole = self._end == self.descriptor.size
        if whole and response.length != 0 and _read_into(response, memoryview(bytearray(1))):
            raise SizeMismatch(
                f"{self.descriptor.digest} is longer than the expected {self.descriptor.size} bytes"
            )
        if self._verifier:
            self._verifier.check()
        self._response = None
        response.finish()

    def _skip(self, response: Response, count: int) -> None:
        """Read and drop ``count`` bytes. A registry that ignores ranges sends the whole blob."""
        self._skipped += count
        if self._skipped > _MAX_SKIPPED * self.descriptor.size:
            raise RegistryError(
                f"{response.url.origin} ignores ranges, and broke the connection too often: the "
                f"first {self._offset} of {self.descriptor.size} bytes of {self.descriptor.digest} "
                "came again and again",
                remedy="Try again later",
            )
        scratch = memoryview(bytearray(min(_SKIP_CHUNK, count)))
        while count:
            skipped = _read_into(response, scratch[:count])
            if not skipped:
                raise RegistryError(f"{self.descriptor.digest} ends before the requested offset")
            count -= skipped

    def _close_response(self) -> None:
        """Close the response, if there is one."""
        response, self._response = getattr(self, "_response", None), None
        if response is not None:
            response.close()

    def close(self) -> None:
        """Close the reader and its connection, even in the middle of the body."""
        self._close_response()
        super().close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def _read_into(response: Response, view: memoryview) -> int:
    """Read into ``view``. If the read raises ``Retryable``, raise the wrapped error instead."""
    try:
        return response.readinto(view)
    except Retryable as retryable:
        raise retryable.error from retryable.__cause__
