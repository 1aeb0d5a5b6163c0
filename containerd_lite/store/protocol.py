"""The protocols of content stores and their writers, and functions that work with any store.

The verbs for images use stores only through these protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from .. import interrupt, limits
from ..deadline import Deadline, backoff
from ..errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    SizeMismatch,
    Unavailable,
    is_away,
)
from ..oci import digest as digests
from ..oci import media_types
from ..oci.content import ContentInfo, IngestStatus
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..operation import cancellable

if TYPE_CHECKING:
    from ..operation import CancelToken

#: The first and the longest wait between attempts to open a write, in seconds.
_FIRST_WAIT, _LONGEST_WAIT = 0.016, 2.048
_AnyWriter = TypeVar("_AnyWriter")


class Writer(Protocol):
    """A write of one blob, which ``ContentStore.writer`` starts.

    A writer is a context manager, which closes the writer at the end of the ``with`` block. If the
    block ends without ``commit``, the store keeps the bytes written so far. A later writer with the
    same ref can append to the kept bytes. If an interrupt (``KeyboardInterrupt``) ends the block, a
    daemon can lose the last 4 MiB of these bytes.
    """

    @property
    def offset(self) -> int:
        """The number of bytes of the blob that the store has. ``write`` appends to these bytes.

        The offset of a new writer is above 0 if an earlier write was interrupted, or if the daemon
        has the content in another namespace.
        """

    @property
    def digest(self) -> str:
        """The digest of the ``offset`` bytes that the store has.

        A daemon computes this digest, so a daemon's writer waits for it.
        """

    def status(self) -> IngestStatus:
        """Return the state of the write, after the store has written all bytes.

        Raises:
            FailedPrecondition: The writer was committed or closed.
        """

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes to the blob.

        If the store cannot write ``data``, a later call of a method can raise the error.

        Args:
            data: The bytes. The caller can reuse the buffer as soon as the method returns.

        Returns:
            The length of ``data``.

        Raises:
            SizeMismatch: The blob would become longer than the ``size`` that the caller passed to
                ``ContentStore.writer``.
        """

    def truncate(self, size: int) -> None:
        """Delete the bytes that the store has, so that ``write`` starts with the first byte.

        Args:
            size: 0, or ``offset``, which deletes nothing. Stores support no other sizes.

        Raises:
            InvalidArgument: ``size`` is not 0 and not ``offset``.
            FailedPrecondition: The writer was committed or closed.
        """

    def commit(
        self, labels: Mapping[str, str] | None = None, *, size: int = 0, expected: str = ""
    ) -> str:
        """Verify the size and the digest of the blob, and make the blob visible.

        Args:
            labels: The labels of the blob. Default: none.
            size: The size of the blob in bytes. Default: the ``size`` that the caller passed to
                ``ContentStore.writer``.
            expected: The digest of the blob. Default: the ``expected`` that the caller passed to
                ``ContentStore.writer``.

        Returns:
            The digest of the blob.

        Raises:
            AlreadyExists: The store has the blob already.
            SizeMismatch: The blob does not have the expected size.
            DigestMismatch: The blob does not have the expected digest.
            FailedPrecondition: The writer was committed or closed.
        """

    def close(self) -> None:
        """Release the lock of the ref. The store keeps the bytes written so far.

        Raises:
            DeadlineExceeded: A daemon has not written all bytes within 60 seconds.
            ContainerdError: The store could not write all bytes.
        """

    def __enter__(self) -> Writer: ...

    def __exit__(self, *exception: object) -> None: ...


class ContentStore(Protocol):
    """A store of blobs and incomplete writes.

    Each blob is identified by its digest, and each incomplete write by its ref.
    """

    @property
    def identity(self) -> Hashable:
        """A value that identifies the store.

        Two objects for the same store have equal identities, and different stores have different
        identities.
        """

    def info(self, digest: str) -> ContentInfo:
        """Return the size, times and labels of a blob.

        Raises:
            NotFound: The store has no such blob.
        """

    def infos(self, digests: Iterable[str]) -> dict[str, ContentInfo]:
        """Return the infos of those of the blobs that exist, by their digests."""

    def walk(self, *filters: str) -> Iterator[ContentInfo]:
        """Yield all blobs, or the blobs that match at least one of ``filters``."""

    def reader(self, digest: str) -> BinaryIO:
        """Return a blob as a seekable binary file.

        Raises:
            NotFound: The store has no such blob.
        """

    def verified_reader(self, digest: str, size: int, report: Callable[[int], object]) -> BinaryIO:
        """Return a blob as a seekable binary file, whose content is verified before it is read.

        A daemon has verified the content when it was written. Somebody else can have made the
        folder of a layout, so a layout hashes the file first.

        Args:
            digest: The digest of the blob.
            size: The size of the blob in bytes.
            report: A function that is called with the number of bytes hashed so far.

        Raises:
            NotFound: The store has no such blob.
            SizeMismatch: The content does not have this size.
            DigestMismatch: The content does not have this digest.
        """

    def read(self, digest: str, *, limit: int = MAX_DOCUMENT) -> bytes:
        """Return the content of a blob, after verifying its digest.

        Args:
            digest: The digest of the blob.
            limit: The maximum size of the blob in bytes. Default: 4 MiB, the maximum size of
                manifests, indexes and configs.

        Raises:
            NotFound: The store has no such blob.
            SizeMismatch: The blob is larger than ``limit``.
            DigestMismatch: The content does not have this digest.
        """

    def writer(
        self, ref: str, *, size: int = 0, expected: str = "", lock_timeout: float | None = 0.0
    ) -> Writer:
        """Start a write, or continue an incomplete write.

        Args:
            ref: The name of the write.
            size: The size of the blob in bytes. Default: unknown.
            expected: The digest of the blob. Default: unknown.
            lock_timeout: Seconds to wait while another writer holds the lock of ``ref``. ``None``
                means no limit. Default: do not wait.

        Raises:
            AlreadyExists: The store has a blob with the digest ``expected``.
            Unavailable: Another writer holds the lock of ``ref``.
        """

    def put(
        self,
        data: bytes,
        *,
        media_type: str = media_types.OCTET_STREAM,
        labels: Mapping[str, str] | None = None,
    ) -> Descriptor:
        """Write a blob, unless the store has the blob already.

        If another writer writes the same blob, wait for this writer.

        Args:
            data: The content of the blob.
            media_type: The media type of the returned descriptor. A store does not keep this type.
            labels: Labels to set, also if the store has the blob already. Default: none. A daemon
                deletes a blob that no lease, no label of another object and no label
                ``containerd.io/gc.root`` protects.

        Returns:
            The descriptor of the blob.

        Raises:
            Unavailable: Another writer has made no progress for 60 seconds.
        """

    def update(self, digest: str, labels: Mapping[str, str]) -> ContentInfo:
        """Set labels of a blob. The other labels of the blob stay unchanged.

        Args:
            digest: The digest of the blob.
            labels: The labels to set.

        Returns:
            The new state of the blob.

        Raises:
            NotFound: The store has no such blob.
        """

    def delete(self, digest: str) -> None:
        """Delete a blob.

        Raises:
            NotFound: The store has no such blob.
        """

    def status(self, ref: str) -> IngestStatus:
        """Return the state of an incomplete write.

        A daemon's writer sends the bytes without waiting for the daemon. ``Writer.status`` waits.

        Raises:
            NotFound: The store has no such write.
        """

    def statuses(self) -> list[IngestStatus]:
        """Return the states of all incomplete writes."""

    def abort(self, ref: str) -> None:
        """Delete an incomplete write.

        Raises:
            NotFound: The store has no such write.
        """


def infos_one_by_one(store: ContentStore, digests: Iterable[str]) -> dict[str, ContentInfo]:
    """Return the infos of those of the blobs that exist, with one call of ``info`` for each."""
    found = {}
    for digest in digests:
        with suppress(NotFound):
            found[digest] = store.info(digest)
    return found


def read_blob(store: ContentStore, descriptor: Descriptor, limit: int) -> bytes:
    """Return the content of a small blob, after verifying its size and digest.

    Args:
        store: The store that has the blob.
        descriptor: The descriptor of the blob.
        limit: The maximum size of the blob in bytes.

    Raises:
        NotFound: The store has no such blob.
        SizeMismatch: The blob is larger than ``limit``, or does not have the descriptor's size.
        DigestMismatch: The blob does not have the descriptor's digest.
    """
    if descriptor.size > limit:
        raise SizeMismatch(f"{descriptor.digest} is larger than the {limit} bytes allowed")
    with store.reader(descriptor.digest) as file:
        body = file.read(descriptor.size + 1)
    digests.verify(body, descriptor.digest, descriptor.size)
    return body


def read_whole(store: ContentStore, digest: str, limit: int) -> bytes:
    """Return the content of a blob; see ``ContentStore.read``."""
    size = store.info(digest).size
    if size > limit:
        raise SizeMismatch(
            f"{digest} has {size} bytes, and only {limit} are allowed",
            remedy="Pass a larger limit=, or read the blob with reader()",
        )
    return read_blob(store, Descriptor(media_types.OCTET_STREAM, digest, size), limit)


def when_unlocked(
    open_writer: Callable[[], _AnyWriter],
    is_expired: Callable[[], bool],
    pause: Callable[[float], object],
) -> _AnyWriter:
    """Open a writer. While another writer holds the lock of the ref, try again.

    The waits are those of containerd's ``content.OpenWriter``.

    Args:
        open_writer: Opens the writer.
        is_expired: Is called after each failed attempt. If it returns true, the attempt's
            ``Unavailable`` propagates.
        pause: Sleeps for a number of seconds.
    """
    waits = backoff(_FIRST_WAIT, _LONGEST_WAIT)
    while True:
        try:
            return open_writer()
        except Unavailable as error:
            if is_away(error) or is_expired():
                raise
        pause(next(waits))


def open_in_time(
    open_writer: Callable[[], _AnyWriter], lock_timeout: float | None, cancel: CancelToken | None
) -> _AnyWriter:
    """Open a writer; wait ``lock_timeout`` seconds for the lock, or without a limit if ``None``."""
    deadline = Deadline(limits.seconds("lock_timeout", lock_timeout, may_be_zero=True))

    def pause(seconds: float) -> None:
        interrupt.pause(deadline.sooner(seconds).remaining() or 0.0)

    with cancellable("wait for the lock of a write", cancel):
        return when_unlocked(open_writer, lambda: deadline.expired, pause)


def ended_writer(ref: str) -> FailedPrecondition:
    """Return the error of a writer that is used after its commit or its close."""
    return FailedPrecondition(f"the writer of {ref} has ended", remedy="Open another writer")


def check_truncation(ref: str, offset: int, size: int) -> None:
    """Check that a writer can be truncated to ``size``; see ``Writer.truncate``."""
    if size not in (0, offset):
        raise InvalidArgument(
            f"the write {ref} of {offset} bytes can be truncated to 0 bytes, but not to {size}",
            remedy="Pass 0, and write all bytes again",
        )


def ingest_ref(descriptor: Descriptor) -> str:
    """Return the ref for a write of a blob, in the form of containerd's ``remotes.MakeRefKey``."""
    media_type = descriptor.media_type
    if media_types.is_manifest(media_type):
        kind = "manifest"
    elif media_types.is_index(media_type):
        kind = "index"
    elif media_types.is_layer(media_type):
        kind = "layer"
    else:
        kind = "config" if media_types.is_config(media_type) else "unknown"
    return f"{kind}-{digests.validate(descriptor.digest)}"
